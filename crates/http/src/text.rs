//! Text that others wrote, made safe for a terminal.

use std::fmt::Write as _;

/// The longest piece of foreign text that is shown, in characters.
const LONGEST: usize = 2048;

/// Foreign text (a name in a certificate, a server's message) for a terminal: control characters, escape
/// sequences, characters that change the direction of writing and invisible ones are shown as `\u{…}`, so that
/// nothing in a certificate can rewrite the line that judges it. Long text is cut.
///
/// ```
/// use countersign_http::text::printable;
/// assert_eq!(printable("alice@example.com"), "alice@example.com");
/// assert_eq!(printable("a\u{1b}[2Kb"), "a\\u{1b}[2Kb");
/// ```
#[must_use]
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(LONGEST));
    for (count, c) in text.chars().enumerate() {
        if count == LONGEST {
            out.push('…');
            break;
        }
        if is_unsafe(c) {
            // Writing to a String does not fail.
            let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    out
}

/// As [`printable`], but line feeds stay: for text of several lines, such as a checkpoint.
#[must_use]
pub fn printable_lines(text: &str) -> String {
    text.split('\n').map(printable).collect::<Vec<_>>().join("\n")
}

fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c,
            // Soft hyphen, grapheme joiner, Arabic letter mark, Khmer and Mongolian characters without a shape.
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            // Fillers of Hangul, an empty Braille cell: they look like blanks, or like nothing.
            | '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}' | '\u{2800}'
            // Zero width characters and direction marks; embeddings and overrides; separators.
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            // Word joiner, invisible operators, isolates, deprecated format characters.
            | '\u{2060}'..='\u{206f}'
            // Variation selectors, byte order mark, what is not assigned before the specials, interlinear annotation.
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{fff0}'..='\u{fffb}'
            // Format characters of shorthand and of music; tags and the other selectors.
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn s15_escapes_and_direction_changes_are_shown_not_obeyed() {
        for (hostile, shown) in [
            ("\u{1b}[31mred", "\\u{1b}[31mred"),
            ("a\rVERIFIED", "a\\u{d}VERIFIED"),
            ("evil\u{202e}moc.elpmaxe", "evil\\u{202e}moc.elpmaxe"),
            ("\u{9b}2K", "\\u{9b}2K"),
            ("\u{2066}x\u{2069}", "\\u{2066}x\\u{2069}"),
            ("zero\u{200b}width", "zero\\u{200b}width"),
            ("a\u{3164}b\u{fe0f}", "a\\u{3164}b\\u{fe0f}"),
            ("a\u{e0100}", "a\\u{e0100}"),
            ("<img onerror=x>", "<img onerror=x>"),
            ("日本語 é", "日本語 é"),
        ] {
            assert_eq!(printable(hostile), shown);
        }
    }

    #[test]
    fn lines_stay_lines() {
        assert_eq!(printable_lines("a\nb\u{7}\n"), "a\nb\\u{7}\n");
    }

    proptest! {
        #[test]
        fn nothing_unsafe_is_left(text in "\\PC{0,40}|[\\u{0}-\\u{ffff}]{0,40}") {
            prop_assert!(!printable(&text).chars().any(is_unsafe));
        }
    }

    #[test]
    fn long_text_is_cut() {
        assert_eq!(printable(&"a".repeat(10_000)).chars().count(), LONGEST + 1);
    }
}
