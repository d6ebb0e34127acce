//! Packages by the names of subjects: npm's package URLs, and the file names of Python's distributions.

use countersign_attestation::purl::Purl;
use countersign_verify::Reason;

use crate::expect::Package;
use crate::report::{CheckName, Recorder};

/// Whether a statement with so many subjects, of which this is the name of the artifact's, is about the expected package.
/// Where it matters which package it is, a statement is about one: another subject would be another package.
pub(crate) fn check(
    expected: Option<&Package>,
    name: &str,
    subjects: usize,
    is_publish: bool,
    out: &mut Recorder,
) {
    if (expected.is_some() || is_publish) && subjects != 1 {
        let found = format!("{subjects} subjects");
        return out.fail(CheckName::Package, Reason::PackageMismatch, "a statement about one package", found);
    }
    match expected {
        None => out.skip(CheckName::Package, "not asked for"),
        Some(Package::Npm { name: wanted, version }) => {
            let expected =
                version.as_ref().map_or_else(|| wanted.clone(), |version| format!("{wanted}@{version}"));
            let holds = npm(name).is_some_and(|(found, at)| {
                found == *wanted && version.as_ref().is_none_or(|version| at.as_ref() == Some(version))
            });
            out.settle(CheckName::Package, holds, Reason::PackageMismatch, expected, name);
        }
        Some(Package::Python(file)) => {
            let holds = distribution(file).is_some_and(|wanted| distribution(name) == Some(wanted));
            out.settle(CheckName::Package, holds, Reason::PackageMismatch, file.clone(), name);
        }
    }
}

/// Name with scope, and version, of a package URL of npm.
pub(crate) fn npm(purl: &str) -> Option<(String, Option<String>)> {
    let purl = Purl::parse(purl)
        .filter(|purl| purl.kind == "npm" && purl.subpath.is_empty() && purl.qualifiers.is_empty())?;
    let name =
        if purl.namespace.is_empty() { purl.name } else { format!("{}/{}", purl.namespace, purl.name) };
    Some((name, purl.version))
}

/// A distribution file taken apart: project and version, normalised; what stands behind them; and the kind.
#[derive(Debug, PartialEq, Eq)]
struct Distribution {
    project: String,
    version: String,
    tags: String,
    kind: &'static str,
}

/// Reads the name of a wheel or a source distribution; `None` for a path, and for what is neither.
fn distribution(file: &str) -> Option<Distribution> {
    if file.contains(['/', '\\', '\0']) || !file.bytes().all(|b| b.is_ascii_graphic()) {
        return None;
    }
    // Runs of -, _ and . are one sign in a project's name; in a file it is _ or -.
    let project = |text: &str| {
        let parts: Vec<&str> = text.split(['-', '_', '.']).filter(|part| !part.is_empty()).collect();
        parts.join("-").to_ascii_lowercase()
    };
    let (project, version, tags, kind) = if let Some(stem) = file.strip_suffix(".whl") {
        let parts: Vec<&str> = stem.split('-').collect();
        let (name, version, tags) = match parts.as_slice() {
            [name, version, rest @ ..] if (3..=4).contains(&rest.len()) => (*name, *version, rest.join("-")),
            _ => return None,
        };
        (project(name), version, tags, "whl")
    } else {
        let known = [(".tar.gz", "tar.gz"), (".zip", "zip")];
        let (stem, kind) = known.into_iter().find_map(|(end, kind)| Some((file.strip_suffix(end)?, kind)))?;
        let (name, version) = stem.rsplit_once('-')?;
        (project(name), version, String::new(), kind)
    };
    if project.is_empty() || !version.starts_with(|c: char| c.is_ascii_digit() || c == 'v') {
        return None;
    }
    Some(Distribution { project, version: version.to_ascii_lowercase(), tags, kind })
}

#[cfg(test)]
mod tests {
    use super::*;
    use countersign_verify::Outcome;

    fn holds(expected: &Package, name: &str, subjects: usize) -> bool {
        let mut out = Recorder::default();
        check(Some(expected), name, subjects, false, &mut out);
        assert_eq!(out.0.len(), 1);
        out.0[0].outcome == Outcome::Passed
    }

    #[test]
    fn v53_another_package_and_another_version_are_refused() {
        let of = |name: &str, version: Option<&str>| Package::Npm {
            name: name.into(),
            version: version.map(Into::into),
        };
        assert!(holds(&of("gundam", Some("1.0.1")), "pkg:npm/gundam@1.0.1", 1));
        assert!(holds(&of("@acme/gundam", None), "pkg:npm/%40acme/gundam@1.0.1", 1));
        for (name, version, found) in [
            ("gundam", Some("1.0.1"), "pkg:npm/gundam@1.0.2"),
            ("gundam", Some("1.0.1"), "pkg:npm/gundam"),
            ("gundam", Some("1.0.1"), "pkg:npm/gundam@1.0.1?x=y"),
            ("gundam", None, "pkg:npm/gundam-evil@1.0.1"),
            ("gundam", None, "pkg:npm/%40evil/gundam@1.0.1"),
            ("gundam", None, "pkg:pypi/gundam@1.0.1"),
            ("gundam", None, "gundam"),
            ("gundam", None, ""),
        ] {
            assert!(!holds(&of(name, version), found, 1), "{found}");
        }
        assert!(!holds(&of("gundam", None), "pkg:npm/gundam@1.0.1", 2), "one of two packages");
    }

    #[test]
    fn distributions_are_compared_as_projects_are_spelled() {
        let of = |file: &str| Package::Python(file.into());
        for (file, same) in [
            ("shop_app-1.0-py3-none-any.whl", "Shop.App-1.0-py3-none-any.whl"),
            ("shop-app-1.0.tar.gz", "shop_app-1.0.tar.gz"),
            ("a-1.0-1-py3-none-any.whl", "a-1.0-1-py3-none-any.whl"),
        ] {
            assert!(holds(&of(file), same, 1), "{file} {same}");
        }
        for (file, other) in [
            ("a-1.0-py3-none-any.whl", "a-1.0-py2-none-any.whl"),
            ("a-1.0-py3-none-any.whl", "a-1.1-py3-none-any.whl"),
            ("a-1.0-py3-none-any.whl", "b-1.0-py3-none-any.whl"),
            ("a-1.0-py3-none-any.whl", "a-1.0.tar.gz"),
            ("a-1.0.tar.gz", "../a-1.0.tar.gz"),
            ("a-1.0.tar.gz", "dir/a-1.0.tar.gz"),
            ("a-1.0.tar.gz", "a-1.0.zip"),
            ("a-1.0.tar.gz", "a-1.0.tar.gz\0"),
            ("a.exe", "a.exe"),
        ] {
            assert!(!holds(&of(file), other, 1), "{file} {other}");
        }
    }
}
