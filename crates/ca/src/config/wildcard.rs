//! Issuer URLs with wildcards: `https://oidc.eks.*.amazonaws.com/id/*`.

use regex::Regex;

/// An issuer URL in which each `*` stands for one or more of `[-_a-zA-Z0-9]`: part of one label of the host name, or
/// of one segment of the path. It always matches the whole text.
#[derive(Debug, Clone)]
pub struct Wildcard {
    pattern: String,
    regex: Regex,
}

impl Wildcard {
    /// Reads a pattern.
    ///
    /// # Errors
    /// A text saying what is wrong: no `*`, not `https://`, or a host which is not fixed in its last two labels and
    /// could thus be anybody's.
    pub fn parse(pattern: &str) -> Result<Self, String> {
        if !pattern.contains('*') {
            return Err("expected at least one \"*\"".into());
        }
        let rest = pattern.strip_prefix("https://").ok_or("a wildcard issuer must begin with https://")?;
        let host = rest.split('/').next().unwrap_or_default();
        if rest.contains(['?', '#', '@', '\\']) || !rest.bytes().all(|b| b.is_ascii_graphic()) {
            return Err("a wildcard issuer has only a host and a path".into());
        }
        if host.contains(':') {
            return Err("a wildcard issuer has no port".into());
        }
        let mut labels = host.rsplit('.');
        let fixed = labels.next().zip(labels.next());
        match fixed {
            Some((top, second)) if ![top, second].iter().any(|l| l.is_empty() || l.contains('*')) => {}
            _ => return Err("the last two labels of the host must not contain \"*\"".into()),
        }
        let regex = regex::escape(pattern).replace("\\*", "[-_a-zA-Z0-9]+");
        let regex = Regex::new(&format!("\\A{regex}\\z")).map_err(|e| e.to_string())?;
        Ok(Self { pattern: pattern.to_owned(), regex })
    }

    /// The pattern as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.pattern
    }

    /// Whether the whole of this URL matches.
    #[must_use]
    pub fn matches(&self, url: &str) -> bool {
        url.len() <= 2048 && self.regex.is_match(url)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The meaning of a pattern, written down a second time: naive and obvious.
    fn naive(pattern: &[u8], text: &[u8]) -> bool {
        match pattern {
            [] => text.is_empty(),
            [b'*', rest @ ..] => (1..=text.len())
                .take_while(|n| text[n - 1].is_ascii_alphanumeric() || b"-_".contains(&text[n - 1]))
                .any(|n| naive(rest, &text[n..])),
            [first, rest @ ..] => text.first() == Some(first) && naive(rest, &text[1..]),
        }
    }

    #[test]
    fn s06_only_the_whole_url_matches() {
        let eks = Wildcard::parse("https://oidc.eks.*.amazonaws.com/id/*").unwrap();
        assert!(eks.matches("https://oidc.eks.us-west-2.amazonaws.com/id/B02C93B6A2D30341AD01E1B6D48164CB"));
        for evil in [
            "https://evil/?https://oidc.eks.us-west-2.amazonaws.com/id/B02C",
            "https://evil/https://oidc.eks.us-west-2.amazonaws.com/id/B02C",
            "https://oidc.eks.us-west-2.amazonaws.com/id/B02C/more",
            "https://oidc.eks.us-west-2.amazonaws.com/id/B02C?x",
            "https://oidc.eks.us-west-2.amazonaws.com/id/B02C\n",
            "https://oidc.eks.a.b.amazonaws.com/id/B02C",
            "https://oidc.eks.evil/x.amazonaws.com/id/B02C",
            "https://oidc.eks.x@evil.amazonaws.com/id/B02C",
            "https://oidc.eks.x#.amazonaws.com/id/B02C",
            "https://oidc.eks..amazonaws.com/id/B02C",
            "https://oidc.eks.us-west-2.amazonaws.com/id/",
            "https://oidc.eks.us-west-2.amazonawsxcom/id/B02C",
            "https://OIDC.eks.us-west-2.amazonaws.com/id/B02C",
            "http://oidc.eks.us-west-2.amazonaws.com/id/B02C",
        ] {
            assert!(!eks.matches(evil), "{evil:?}");
        }
    }

    #[test]
    fn patterns_that_could_be_anybodys_are_refused() {
        for pattern in [
            "https://example.com",
            "http://*.example.com",
            "https://*",
            "https://*.com/x",
            "https://example.*/",
            "https://*example.com/*",
            "https://x.example.com:443/*",
            "https://*@x.example.com/",
            "https://x.example.com/*?a",
            "https://x.example.com/*#a",
            "https://x.example.com\\*",
            "*",
        ] {
            assert!(Wildcard::parse(pattern).is_err(), "{pattern}");
        }
    }

    proptest! {
        #[test]
        fn s06_a_star_never_spans_a_separator(
            tail in "[-_a-z0-9/.@#?:%&=\\\\ é\n*]{0,12}",
            region in "[-_a-z0-9/.@#?:%]{0,8}",
        ) {
            let pattern = "https://oidc.*.example.com/id/*";
            let url = format!("https://oidc.{region}.example.com/id/{tail}");
            let matched = Wildcard::parse(pattern).unwrap().matches(&url);
            prop_assert_eq!(matched, naive(pattern.as_bytes(), url.as_bytes()));
            let plain = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
            prop_assert_eq!(matched, plain(&tail) && plain(&region));
        }

        #[test]
        fn s06_a_prefix_or_suffix_never_matches(before in ".{1,8}", after in ".{1,8}") {
            let wildcard = Wildcard::parse("https://a.example.com/*/x").unwrap();
            let good = "https://a.example.com/1/x";
            prop_assert!(wildcard.matches(good));
            let prefixed = format!("{}{}", before, good);
            let suffixed = format!("{}{}", good, after);
            prop_assert!(!wildcard.matches(&prefixed));
            prop_assert!(!wildcard.matches(&suffixed));
        }
    }
}
