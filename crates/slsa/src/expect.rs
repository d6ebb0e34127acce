//! What is expected of a build: from where, how, by whom, at which level. What is not expected is not checked; what is
//! expected and not said is refused.

use std::collections::BTreeMap;

use crate::git::{Source, is_version};
use crate::roots::{MAX_LEVEL, is_builder_id};

/// What is wrong with expectations.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ExpectationsError(pub String);

/// What is expected. By default nothing but that signer and builder stand in the roots of trust together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expectations {
    /// The repository: `github.com/acme/shop`, with or without `git+https://`.
    pub source: Option<String>,
    /// The tag, with or without `refs/tags/`.
    pub tag: Option<String>,
    /// A version of which the tag must be: `v1` is any 1.x.y.
    pub versioned_tag: Option<String>,
    /// The branch, with or without `refs/heads/`.
    pub branch: Option<String>,
    /// The builder: its id, or the id without `@` and version.
    pub builder: Option<String>,
    /// The type of build.
    pub build_type: Option<String>,
    /// Inputs of a workflow that somebody started by hand. Others are reported.
    pub inputs: BTreeMap<String, String>,
    /// External parameters that are accepted although nothing is known of them: any value, or this one.
    pub parameters: BTreeMap<String, Option<String>>,
    /// The lowest level. Without one, signer and builder must stand in the roots together, at whatever level from 1. With
    /// one of 1, a builder that stands in none is believed that far, if its signer stands in one and no builder is expected
    /// by name. 0 also accepts statements of who uploaded.
    pub level: Option<u8>,
    /// The package, `pkg:npm/name@version`, or the name of a distribution file for Python: the subject's name must be it.
    pub package: Option<Package>,
    /// Whether provenance without an entry of a transparency log is accepted.
    pub allow_unlogged: bool,
}

/// Which package is expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Package {
    /// One of npm.
    Npm {
        /// Its name, with its scope.
        name: String,
        /// Its version; any, if none is given.
        version: Option<String>,
    },
    /// A distribution file of Python, by its file name.
    Python(String),
}

impl Package {
    /// Reads a package URL of npm; a version may be in it.
    #[must_use]
    pub fn npm(purl: &str) -> Option<Self> {
        let (name, version) = crate::package::npm(purl)?;
        Some(Self::Npm { name, version })
    }
}

impl Expectations {
    /// Whether they can be held against anything.
    ///
    /// # Errors
    /// [`ExpectationsError`]: texts that are empty or of another form, which would match nothing, and pairs that exclude each
    /// other.
    pub fn check(&self) -> Result<(), ExpectationsError> {
        let wrong = |text: String| Err(ExpectationsError(text));
        if let Some(source) = &self.source {
            match Source::parse(source) {
                None => {
                    return wrong(format!(
                        "source: expected a repository such as github.com/acme/shop, found \"{source}\""
                    ));
                }
                Some(Source { reference: Some(found), .. }) => {
                    return wrong(format!(
                        "source: expected a repository without a ref, found \"@{found}\"; tag and branch are asked for by themselves"
                    ));
                }
                Some(_) => {}
            }
        }
        let texts = [("tag", &self.tag), ("branch", &self.branch), ("build type", &self.build_type)];
        if let Some((what, _)) =
            texts.iter().find(|(_, text)| text.as_ref().is_some_and(|text| text.trim().is_empty()))
        {
            return wrong(format!("{what}: expected a text, found an empty one"));
        }
        if let Some(builder) = &self.builder
            && !is_builder_id(builder)
        {
            return wrong(format!("builder: expected a URI of printable ASCII, found {builder:?}"));
        }
        if self.tag.is_some() && self.versioned_tag.is_some() {
            return wrong("expected a tag or a versioned tag, found both".into());
        }
        if let Some(version) = &self.versioned_tag {
            is_version("refs/tags/v0.0.0", version)
                .map_err(|e| ExpectationsError(format!("versioned tag: {e}")))?;
        }
        if self.level.is_some_and(|level| level > MAX_LEVEL) {
            return wrong(format!("level: expected 0 to {MAX_LEVEL}"));
        }
        let empty = |name: &String| name.is_empty();
        if self.inputs.keys().any(empty) || self.parameters.keys().any(empty) {
            return wrong("inputs and parameters: expected a name, found an empty one".into());
        }
        Ok(())
    }
}

/// Reads `name=value`; what stands behind the first `=` is the value, with whatever is in it.
///
/// ```
/// assert_eq!(countersign_slsa::expect::pair("a=b=c"), Ok(("a".into(), "b=c".into())));
/// ```
///
/// # Errors
/// In words.
pub fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!("expected name=value, found \"{text}\"")),
    }
}

/// Whether a builder is the expected one: the same id, the same without its version, or with the tag alone for
/// `refs/tags/` and the tag.
#[must_use]
pub fn is_builder(expected: &str, id: &str) -> bool {
    if !is_builder_id(id) {
        return false;
    }
    match (expected.split_once('@'), id.split_once('@')) {
        (None, Some((name, version))) => expected == name && !version.is_empty() && !version.contains('@'),
        (Some((name, tag)), Some((found, version))) if name == found && tag != version => {
            !tag.starts_with("refs/") && version.strip_prefix("refs/tags/") == Some(tag)
        }
        _ => expected == id,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expectations_that_match_nothing_are_told_and_not_taken_for_none() {
        let good = Expectations { source: Some("github.com/acme/shop".into()), ..Expectations::default() };
        good.check().unwrap();
        let some = |text: &str| Some(text.to_owned());
        for bad in [
            Expectations { source: some(""), ..Expectations::default() },
            Expectations { source: some("shop"), ..Expectations::default() },
            Expectations { source: some("github.com/acme/shop@v1"), ..Expectations::default() },
            Expectations { tag: some(""), ..Expectations::default() },
            Expectations { branch: some(" "), ..Expectations::default() },
            Expectations { build_type: some(""), ..Expectations::default() },
            Expectations { builder: some(""), ..Expectations::default() },
            Expectations { builder: some("https://b/\u{430}"), ..Expectations::default() },
            Expectations { versioned_tag: some("latest"), ..Expectations::default() },
            Expectations { tag: some("v1"), versioned_tag: some("v1"), ..Expectations::default() },
            Expectations { level: Some(4), ..Expectations::default() },
            Expectations { inputs: [(String::new(), "x".into())].into(), ..Expectations::default() },
        ] {
            assert!(bad.check().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn inputs_are_split_at_the_first_sign() {
        assert_eq!(pair("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert_eq!(pair("a="), Ok(("a".into(), String::new())));
        assert!(pair("a").is_err() && pair("=b").is_err() && pair("").is_err());
    }

    #[test]
    fn a_builder_is_asked_for_with_its_version_or_without() {
        let id = "https://github.com/a/b/.github/workflows/x.yml@refs/tags/v1.2.3";
        for expected in [
            id,
            "https://github.com/a/b/.github/workflows/x.yml",
            "https://github.com/a/b/.github/workflows/x.yml@v1.2.3",
        ] {
            assert!(is_builder(expected, id), "{expected}");
        }
        for other in [
            "https://github.com/a/b/.github/workflows/x.yml@v1.2",
            "https://github.com/a/b/.github/workflows/x.yml@",
            "https://github.com/a/b/.github/workflows/x.ym",
            "https://github.com/a/b",
            "https://github.com/a/b/.github/workflows/x.yml@refs/heads/v1.2.3",
        ] {
            assert!(!is_builder(other, id), "{other}");
        }
        let branch = "https://github.com/a/b/.github/workflows/x.yml@refs/heads/v1.2.3";
        assert!(
            !is_builder("https://github.com/a/b/.github/workflows/x.yml@v1.2.3", branch),
            "a branch called like a tag"
        );
        assert!(!is_builder("https://b", "https://b@v1@evil"));
        assert!(!is_builder("https://b", "https://b.evil@v1"));
        assert!(is_builder("https://b", "https://b"));
    }
}
