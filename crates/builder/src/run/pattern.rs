//! Patterns of paths: `*` and `?` within a name, `**` for any folders. Nothing else has a meaning, so that nothing has two.

/// The longest pattern, in bytes.
const MAX_PATTERN_LEN: usize = 1024;

/// A pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// What it is when it leads out of the tree or has signs with other meanings elsewhere.
    pub fn parse(text: &str) -> Result<Self, String> {
        let refused = |why: &str| Err(format!("the pattern \"{text}\" {why}"));
        if text.is_empty() || text.len() > MAX_PATTERN_LEN {
            return refused("must have 1 to 1024 bytes");
        }
        if let Some(sign) = text.chars().find(|c| "[]{}!\\".contains(*c) || c.is_control()) {
            return refused(&format!("has {sign:?}; only *, ? and ** have a meaning"));
        }
        let parts: Vec<&str> = text.split('/').collect();
        if parts.iter().any(|part| matches!(*part, "" | "." | "..")) {
            return refused("must be a path below the folder: no /, ./ or ../ in front, none twice");
        }
        if parts.iter().any(|part| part.contains("**") && *part != "**") {
            return refused("has ** beside other signs; it stands for whole folders");
        }
        Ok(Self(text.to_owned()))
    }

    /// It as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a path, relative and with slashes, fits.
    #[must_use]
    pub fn fits(&self, path: &str) -> bool {
        let (pattern, path): (Vec<&str>, Vec<&str>) =
            (self.0.split('/').collect(), path.split('/').collect());
        list(&pattern, &path, |part| *part == "**", |pattern, part| name(pattern, part))
    }
}

/// Some patterns; a path that any of them fits is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patterns(Vec<Pattern>);

impl Patterns {
    /// Reads patterns. A pattern without a slash is of that name in the topmost folder, as a shell has it.
    ///
    /// ```
    /// use countersign_builder::run::Patterns;
    /// let patterns = Patterns::parse(&["dist/**".into(), "*.tar".into()])?;
    /// assert!(patterns.matches("dist/a/b") && patterns.matches("a.tar"));
    /// assert!(!patterns.matches("src/a.tar"));
    /// # Ok::<(), String>(())
    /// ```
    ///
    /// # Errors
    /// What a pattern is that leads out of the tree or has signs with other meanings elsewhere.
    pub fn parse(texts: &[String]) -> Result<Self, String> {
        texts.iter().map(|text| Pattern::parse(text)).collect::<Result<_, _>>().map(Self)
    }

    /// All files.
    #[must_use]
    pub fn all() -> Self {
        Self(vec![Pattern("**".to_owned())])
    }

    /// Whether a path, relative and with slashes, is meant.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        self.0.iter().any(|pattern| pattern.fits(path))
    }
}

fn name(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    list(&pattern, &text, |sign| *sign == '*', |sign, c| *sign == '?' || sign == c)
}

/// Whether a list matches, where `many` stands for any number of items. Each place is come to once, so that no pattern
/// takes longer than its length times that of the text.
fn list<P, T>(pattern: &[P], text: &[T], many: impl Fn(&P) -> bool, one: impl Fn(&P, &T) -> bool) -> bool {
    // Which beginnings of the text are matched by the pattern so far.
    let mut reached = vec![false; text.len() + 1];
    if let Some(first) = reached.first_mut() {
        *first = true;
    }
    for sign in pattern {
        let mut next = vec![false; text.len() + 1];
        let mut open = false;
        for (at, slot) in next.iter_mut().enumerate() {
            let here = reached.get(at).copied().unwrap_or_default();
            if many(sign) {
                open |= here;
                *slot = open;
            } else if let Some(before) = at.checked_sub(1) {
                let was = reached.get(before).copied().unwrap_or_default();
                *slot = was && text.get(before).is_some_and(|item| one(sign, item));
            }
        }
        reached = next;
    }
    reached.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, path: &str) -> bool {
        Patterns::parse(&[pattern.to_owned()]).unwrap().matches(path)
    }

    #[test]
    fn stars_stay_within_a_name_and_two_of_them_do_not() {
        for (pattern, path, expected) in [
            ("*.tar", "a.tar", true),
            ("*.tar", "d/a.tar", false),
            ("**/*.tar", "a.tar", true),
            ("**/*.tar", "d/e/a.tar", true),
            ("dist/**", "dist/a/b", true),
            ("dist/**", "distant/a", false),
            ("dist/**/x", "dist/x", true),
            ("a+b", "a+b", true),
            ("a.b", "axb", false),
            ("a", "a\n", false),
            ("a?c", "abc", true),
            ("a?c", "a/c", false),
            ("a?c", "ac", false),
            ("**", ".hidden", true),
            ("a*b*c", "a-b-b-c", true),
            ("ä*", "äh", true),
        ] {
            assert_eq!(matches(pattern, path), expected, "{pattern} {path}");
        }
        assert!(Patterns::all().matches("a/b/c"));
        assert!(!Patterns::parse(&[]).unwrap().matches("a"), "no pattern means nothing");
    }

    #[test]
    fn patterns_that_lead_out_or_mean_something_elsewhere_are_refused() {
        for bad in [
            "", "/etc/**", "../x", "a/../b", "./a", "a//b", "a/", "[!x]", "[^x]", "{a,b}", "!a", "a\\b",
            "a**",
        ] {
            assert!(Patterns::parse(&[bad.to_owned()]).is_err(), "{bad}");
        }
        assert!(Patterns::parse(&["x".repeat(1025)]).is_err());
    }

    #[test]
    fn a_hostile_pattern_takes_no_longer_than_its_length() {
        assert!(!matches(&format!("{}b", "a*".repeat(500)), &"a".repeat(4000)));
    }
}
