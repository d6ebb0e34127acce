//! What texts in policies can mean beside themselves: lengths of time, quantities, versions, times, wildcards.

use std::str::Chars;

use super::jmespath::Budget;

mod duration;
mod moment;
mod quantity;
mod version;

pub(crate) use duration::Duration;
pub(super) use moment::Moment;
pub(super) use quantity::Quantity;
pub(super) use version::{Range, version};

/// Whether a text matches a pattern with `*` (any text) and `?` (one character). Patterns come with data here, so they
/// are walked through rather than compiled, and every step is charged. When the budget is spent the answer is worth
/// nothing: whoever asks looks at the budget afterwards.
pub(super) fn wildcard(pattern: &str, text: &str, budget: &Budget) -> bool {
    let (mut rest, mut left) = (pattern.chars(), text.chars());
    // Where to go on when what followed the last star did not fit: after the star, one character further.
    let mut retry: Option<(Chars<'_>, Chars<'_>)> = None;
    while budget.bytes(1).is_ok() {
        let before = left.clone();
        match (rest.next(), left.next()) {
            (Some('*'), _) => {
                left = before;
                retry = Some((rest.clone(), left.clone()));
                continue;
            }
            (Some('?'), Some(_)) => continue,
            (Some(wanted), Some(found)) if wanted == found => continue,
            (None, None) => return true,
            _ => {}
        }
        let Some((after_star, mut from)) = retry.take() else { return false };
        if from.next().is_none() {
            return false;
        }
        (rest, left) = (after_star.clone(), from.clone());
        retry = Some((after_star, from));
    }
    false
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn wildcards_match_the_whole_text() {
        for (pattern, text, matches) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "anything/at:all", true),
            ("?", "", false),
            ("?", "a", true),
            ("?", "ab", false),
            ("a*c", "abc", true),
            ("a*c", "abcd", false),
            ("a*b*c", "a-b-b-c", true),
            ("*.example", "xexample", false),
            ("ghcr.io/*", "ghcr.io/a/b", true),
            ("a**", "a", true),
            ("*ab", "aab", true),
            ("*aab", "aaab", true),
            ("é?", "éü", true),
        ] {
            assert_eq!(wildcard(pattern, text, &Budget::default()), matches, "{pattern} on {text}");
        }
    }

    #[test]
    fn a_pattern_that_takes_long_spends_the_budget() {
        let budget = Budget::default();
        wildcard(&format!("*{}b", "a".repeat(100_000)), &"a".repeat(200_000), &budget);
        assert!(budget.bytes(1).is_err());
    }

    proptest! {
        #[test]
        fn wildcards_match_as_the_compiled_pattern_does(pattern in "[ab*?]{1,8}", text in "[ab]{0,8}") {
            let compiled = crate::Pattern::Wildcard(pattern.clone()).compile().unwrap();
            prop_assert_eq!(wildcard(&pattern, &text, &Budget::default()), compiled.matches(&text));
        }
    }
}
