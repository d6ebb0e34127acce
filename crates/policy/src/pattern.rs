//! Patterns in policies: over images, identities and names. Each language has its own wildcards; all of them become
//! [`Matcher`]s, which match the whole text or not at all.

use countersign_verify::Matcher;

/// What is wrong with a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It is empty, which is never what somebody meant.
    #[error("expected a pattern, found an empty text")]
    Empty,
    /// It holds what may not stand in it.
    #[error("\"{pattern}\": {detail}")]
    Malformed {
        /// The pattern.
        pattern: String,
        /// What is wrong.
        detail: String,
    },
}

/// A pattern over a text, as data: equal patterns are equal, which compiled ones are not.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Pattern {
    /// This text.
    Exact(String),
    /// Kyverno's wildcards: `*` is any text, `?` one character, everything else itself.
    Wildcard(String),
    /// A regular expression over the whole text, whatever anchors it has.
    Regex(String),
}

impl Pattern {
    /// A pattern with `*` and `?`; without them it is exact.
    #[must_use]
    pub fn wildcard(text: &str) -> Self {
        if text.contains(['*', '?']) { Self::Wildcard(text.to_owned()) } else { Self::Exact(text.to_owned()) }
    }

    /// As it is matched.
    ///
    /// # Errors
    /// [`PatternError`].
    pub fn compile(&self) -> Result<Matcher, PatternError> {
        let text = match self {
            Self::Exact(text) | Self::Wildcard(text) | Self::Regex(text) => text,
        };
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        match self {
            Self::Exact(text) => Matcher::exact(text),
            Self::Wildcard(text) => Matcher::pattern(&wildcard_regex(text)),
            Self::Regex(text) => Matcher::pattern(text),
        }
        .map_err(|error| PatternError::Malformed { pattern: text.clone(), detail: error.to_string() })
    }
}

impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact(text) | Self::Wildcard(text) => f.write_str(text),
            Self::Regex(text) => write!(f, "/{text}/"),
        }
    }
}

fn wildcard_regex(text: &str) -> String {
    let mut regex = String::from("(?s)");
    for character in text.chars() {
        match character {
            '*' => regex.push_str(".*"),
            '?' => regex.push('.'),
            other => regex.push_str(&regex::escape(other.encode_utf8(&mut [0; 4]))),
        }
    }
    regex
}

/// A compiled pattern over names of images.
#[derive(Debug, Clone)]
pub struct Glob {
    text: String,
    matcher: Matcher,
}

impl Glob {
    /// Kyverno's: `*` crosses slashes, `?` is one character, a dot is a dot.
    ///
    /// # Errors
    /// [`PatternError`].
    pub fn wildcard(text: &str) -> Result<Self, PatternError> {
        Ok(Self { text: text.to_owned(), matcher: Pattern::Wildcard(text.to_owned()).compile()? })
    }

    /// policy-controller's: `*` stays within a segment, `**` crosses slashes.
    ///
    /// # Errors
    /// [`PatternError`].
    pub fn segments(text: &str) -> Result<Self, PatternError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-_:/*.@".contains(c);
        if let Some(found) = text.chars().find(|c| !allowed(*c)) {
            let detail = format!("expected letters, digits and -_:/*.@ only, found \"{found}\"");
            return Err(PatternError::Malformed { pattern: text.to_owned(), detail });
        }
        let regex = text
            .split("**")
            .map(|part| part.split('*').map(regex::escape).collect::<Vec<_>>().join("[^/]*"))
            .collect::<Vec<_>>()
            .join(".*");
        Ok(Self { text: text.to_owned(), matcher: Pattern::Regex(regex).compile()? })
    }

    /// Whether the whole text matches.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        self.matcher.matches(text)
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_cross_slashes_and_leave_dots_alone() {
        let glob = Glob::wildcard("ghcr.io/org/*").unwrap();
        assert!(glob.matches("ghcr.io/org/a/b:v1"));
        assert!(!glob.matches("ghcrxio/org/a"));
        assert!(!glob.matches("ghcr.io/org-evil/a"));
        assert!(!glob.matches("evil.example/ghcr.io/org/a"));
        assert!(Glob::wildcard("a?c").unwrap().matches("abc"));
        assert!(!Glob::wildcard("a?c").unwrap().matches("abbc"));
    }

    #[test]
    fn segments_stop_at_slashes_unless_two_stars_stand_there() {
        let one = Glob::segments("ghcr.io/org/*").unwrap();
        assert!(one.matches("ghcr.io/org/a"));
        assert!(!one.matches("ghcr.io/org/a/b"));
        assert!(Glob::segments("ghcr.io/org/**").unwrap().matches("ghcr.io/org/a/b"));
        assert!(Glob::segments("ghcr.io/org?").is_err());
    }

    #[test]
    fn an_empty_pattern_is_refused() {
        assert!(Pattern::Exact(String::new()).compile().is_err());
        assert!(Pattern::Wildcard(String::new()).compile().is_err());
        assert!(Glob::wildcard("").is_err());
        assert!(Glob::segments("").is_err());
    }
}
