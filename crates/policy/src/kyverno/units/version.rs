//! Versions by semver.org, and ranges of them as Kyverno writes them: `>=1.2.0 <2.0.0 || 3.x`.

use std::cmp::Ordering;

use semver::Version;

/// Reads a version.
pub(in crate::kyverno) fn version(text: &str) -> Option<Version> {
    Version::parse(text).ok()
}

/// A range of versions: one of the alternatives, of which everything holds.
#[derive(Debug)]
pub(in crate::kyverno) struct Range(Vec<Vec<Bound>>);

/// What a range says of a version.
#[derive(Debug)]
enum Bound {
    /// How it compares with another.
    Compares(Version, fn(Ordering) -> bool),
    /// It is below the first, or the second or above.
    Outside(Version, Version),
}

impl Bound {
    /// What a version was built from does not count.
    fn holds(&self, version: &Version) -> bool {
        match self {
            Self::Compares(other, holds) => holds(version.cmp_precedence(other)),
            Self::Outside(low, high) => {
                version.cmp_precedence(low).is_lt() || version.cmp_precedence(high).is_ge()
            }
        }
    }
}

impl Range {
    /// Reads a range.
    pub(in crate::kyverno) fn parse(text: &str) -> Option<Self> {
        let mut alternatives = Vec::new();
        for alternative in text.split("||") {
            // An operator may stand apart from its version.
            let mut bounds = Vec::new();
            let mut operator = String::new();
            for word in alternative.split_whitespace() {
                let digits = word.find(|c: char| !"<>=!".contains(c)).unwrap_or(word.len());
                let (signs, version) = word.split_at(digits);
                operator.push_str(signs);
                if !version.is_empty() {
                    bound(&operator, version, &mut bounds)?;
                    operator.clear();
                }
            }
            if bounds.is_empty() || !operator.is_empty() {
                return None;
            }
            alternatives.push(bounds);
        }
        Some(Self(alternatives))
    }

    /// Whether a version is in it.
    pub(in crate::kyverno) fn holds(&self, version: &Version) -> bool {
        self.0.iter().any(|bounds| bounds.iter().all(|bound| bound.holds(version)))
    }
}

/// Adds what an operator and a version say. `1.x` stands for everything from 1.0.0 up to 2.0.0.
fn bound(operator: &str, text: &str, bounds: &mut Vec<Bound>) -> Option<()> {
    let wild = wild(text);
    let (low, high) = match &wild {
        Some((low, high)) => (low.clone(), high.clone()),
        None => version(text).map(|version| (version.clone(), version))?,
    };
    let last = match (operator, wild.is_some()) {
        ("" | "=" | "==", true) => {
            bounds.push(Bound::Compares(low, Ordering::is_ge));
            Bound::Compares(high, Ordering::is_lt)
        }
        ("!" | "!=", true) => Bound::Outside(low, high),
        (">", true) => Bound::Compares(high, Ordering::is_ge),
        ("<=", true) => Bound::Compares(high, Ordering::is_lt),
        ("" | "=" | "==", false) => Bound::Compares(low, Ordering::is_eq),
        ("!" | "!=", false) => Bound::Compares(low, Ordering::is_ne),
        (">", false) => Bound::Compares(low, Ordering::is_gt),
        ("<=", false) => Bound::Compares(low, Ordering::is_le),
        (">=", _) => Bound::Compares(low, Ordering::is_ge),
        ("<", _) => Bound::Compares(low, Ordering::is_lt),
        _ => return None,
    };
    bounds.push(last);
    Some(())
}

/// The lowest version of `1.x` or `1.2.x`, and the lowest above all of them.
fn wild(text: &str) -> Option<(Version, Version)> {
    let mut parts = text.split('.');
    let major = parts.next()?.parse::<u64>().ok()?;
    let second = parts.next()?;
    match (second, parts.next(), parts.next()) {
        ("x", None | Some("x"), None) => {
            Some((Version::new(major, 0, 0), Version::new(major.checked_add(1)?, 0, 0)))
        }
        (minor, Some("x"), None) => {
            let minor = minor.parse::<u64>().ok()?;
            Some((Version::new(major, minor, 0), Version::new(major, minor.checked_add(1)?, 0)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_hold_what_they_say() {
        for (text, range, holds) in [
            ("1.2.3", "1.2.3", true),
            ("1.2.3", "=1.2.3", true),
            ("1.2.3+build", "1.2.3", true),
            ("1.2.3-rc.1", "1.2.3", false),
            ("1.2.3-rc.1", "<1.2.3", true),
            ("1.2.3", "!1.2.3", false),
            ("1.2.4", "!=1.2.3", true),
            ("1.5.0", ">=1.2.0 <2.0.0", true),
            ("2.0.0", ">=1.2.0 <2.0.0", false),
            ("3.1.0", ">=1.2.0 <2.0.0 || >=3.0.0", true),
            ("1.9.9", "1.x", true),
            ("2.0.0", "1.x", false),
            ("1.2.9", "1.2.x", true),
            ("1.3.0", "1.2.x", false),
            ("1.3.0", ">1.2.x", true),
            ("1.3.0", "<=1.2.x", false),
            ("1.3.0", "> 1.2.0", true),
            ("4.1.3", "!4.x.x", false),
            ("5.0.0", "!=4.x", true),
            ("3.9.9", ">=4.x || <3.x", false),
        ] {
            let found = Range::parse(range).unwrap().holds(&version(text).unwrap());
            assert_eq!(found, holds, "{text} in {range}");
        }
    }

    #[test]
    fn what_is_no_version_or_range_is_none() {
        for text in ["", "1", "1.2", "v1.2.3", "01.2.3", "1.2.3-", "latest"] {
            assert!(version(text).is_none(), "{text}");
        }
        for text in ["", "||", ">=", "1.2.3 ||", "~1.2.3", "^1.0.0", "=<1.0.0", "x", "latest", ">=1.0.0 <"] {
            assert!(Range::parse(text).is_none(), "{text}");
        }
    }
}
