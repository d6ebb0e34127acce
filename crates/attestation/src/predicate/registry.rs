//! The predicates that are known: their names, their types in every version, and what reads them. Nothing is known by how its
//! type begins; a version that is not in the table is another type.

use super::code_review::CodeReview;
use super::link::Link;
use super::provenance::Provenance;
use super::reference::Reference;
use super::release::Release;
use super::runtime_trace::RuntimeTrace;
use super::sarif::Sarif;
use super::sbom::Sbom;
use super::scai::Scai;
use super::small::Predicate as _;
use super::svr::Svr;
use super::test_result::TestResult;
use super::vsa::Vsa;
use super::vulnerabilities::VulnerabilityScan;
use super::{code_review, link, openvex, sarif, vsa, vulnerabilities};
use crate::json::JsonError;

/// The type of what has no other: any file, as text.
pub const CUSTOM: &str = "https://cosign.sigstore.dev/attestation/v1";

/// A predicate in all its versions.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// What it is called: any version of it.
    pub name: &'static str,
    /// The types that are it.
    pub types: &'static [&'static str],
    /// The names for `--type`, each with the type that it stands for.
    pub names: &'static [(&'static str, &'static str)],
    /// Whether a text is such a predicate; `None` for what may be anything.
    read: Option<Reader>,
}

/// Reads a text as predicate of a type, and keeps nothing of it.
type Reader = fn(&str, &str) -> Result<(), JsonError>;

/// All of them.
pub const KINDS: &[Kind] = &[
    Kind { name: "custom", types: &[CUSTOM], names: &[("custom", CUSTOM)], read: None },
    Kind {
        name: "provenance",
        types: &[
            "https://slsa.dev/provenance/v1",
            "https://slsa.dev/provenance/v0.2",
            "https://slsa.dev/provenance/v0.1",
            "https://in-toto.io/Provenance/v0.1",
        ],
        names: &[
            ("slsaprovenance", "https://slsa.dev/provenance/v0.2"),
            ("slsaprovenance02", "https://slsa.dev/provenance/v0.2"),
            ("slsaprovenance1", "https://slsa.dev/provenance/v1"),
        ],
        read: Some(|kind, text| Provenance::from_json(kind, text).map(drop)),
    },
    Kind {
        name: "link",
        types: Link::TYPES,
        names: &[("link", link::OLDER), ("link03", "https://in-toto.io/attestation/link/v0.3")],
        read: Some(|kind, text| Link::from_json(kind, text).map(drop)),
    },
    Kind {
        name: "spdx",
        types: &[
            "https://spdx.dev/Document",
            "https://spdx.dev/Document/v2.2",
            "https://spdx.dev/Document/v2.3",
            "https://spdx.dev/Document/v3",
            "https://spdx.dev/Document/v3.0",
            "https://spdx.dev/Document/v3.0.1",
        ],
        names: &[("spdx", "https://spdx.dev/Document"), ("spdxjson", "https://spdx.dev/Document")],
        read: Some(|kind, text| Sbom::from_json(kind, text).map(drop)),
    },
    Kind {
        name: "cyclonedx",
        types: &[
            "https://cyclonedx.org/bom",
            "https://cyclonedx.org/bom/v1.2",
            "https://cyclonedx.org/bom/v1.3",
            "https://cyclonedx.org/bom/v1.4",
            "https://cyclonedx.org/bom/v1.5",
            "https://cyclonedx.org/bom/v1.6",
            "https://cyclonedx.org/bom/v1.7",
        ],
        names: &[("cyclonedx", "https://cyclonedx.org/bom")],
        read: Some(|kind, text| Sbom::from_json(kind, text).map(drop)),
    },
    Kind {
        name: "vuln",
        types: &[vulnerabilities::COSIGN],
        names: &[("vuln", vulnerabilities::COSIGN)],
        read: Some(|kind, text| VulnerabilityScan::from_json(kind, text)?.is_dated()),
    },
    Kind {
        name: "vulns",
        types: &[vulnerabilities::IN_TOTO_V0_2, vulnerabilities::IN_TOTO_V0_1],
        names: &[("vulns", vulnerabilities::IN_TOTO_V0_2), ("vulns01", vulnerabilities::IN_TOTO_V0_1)],
        read: Some(|kind, text| VulnerabilityScan::from_json(kind, text)?.is_whole()),
    },
    Kind {
        name: "openvex",
        types: &openvex::TYPES,
        names: &[("openvex", "https://openvex.dev/ns")],
        read: Some(|_, text| openvex::check(text)),
    },
    Kind {
        name: "vsa",
        types: Vsa::TYPES,
        names: &[("vsa", vsa::V1)],
        read: Some(|kind, text| Vsa::from_json(kind, text).map(drop)),
    },
    Kind {
        name: "svr",
        types: Svr::TYPES,
        names: &[("svr", "https://in-toto.io/attestation/svr/v0.2")],
        read: Some(|kind, text| Svr::from_json(kind, text).map(drop)),
    },
    Kind {
        name: "scai",
        types: Scai::TYPES,
        names: &[("scai", "https://in-toto.io/attestation/scai/v0.3")],
        read: Some(|kind, text| Scai::from_json(kind, text).map(drop)),
    },
    Kind {
        name: "test-result",
        types: TestResult::TYPES,
        names: &[("test-result", "https://in-toto.io/attestation/test-result/v0.1")],
        read: Some(|kind, text| TestResult::from_json(kind, text).map(drop)),
    },
    Kind {
        name: "release",
        types: Release::TYPES,
        names: &[("release", "https://in-toto.io/attestation/release/v0.2")],
        read: Some(|kind, text| Release::from_json(kind, text).map(drop)),
    },
    Kind {
        name: "runtime-trace",
        types: RuntimeTrace::TYPES,
        names: &[("runtime-trace", "https://in-toto.io/attestation/runtime-trace/v0.1")],
        read: Some(|kind, text| RuntimeTrace::from_json(kind, text).map(drop)),
    },
    Kind {
        name: "reference",
        types: Reference::TYPES,
        names: &[("reference", "https://in-toto.io/attestation/reference/v0.1")],
        read: Some(|kind, text| Reference::from_json(kind, text).map(drop)),
    },
    Kind {
        name: "code-review",
        types: CodeReview::TYPES,
        names: &[("code-review", code_review::TYPE)],
        read: Some(|kind, text| CodeReview::from_json(kind, text).map(drop)),
    },
    Kind {
        name: "sarif",
        types: &[sarif::TYPE],
        names: &[("sarif", sarif::TYPE)],
        read: Some(|kind, text| Sarif::from_json(kind, text).map(drop)),
    },
];

/// The predicate that a type is a version of.
///
/// ```
/// use countersign_attestation::predicate::registry;
/// assert_eq!(registry::kind_of("https://slsa.dev/provenance/v0.2").map(|kind| kind.name), Some("provenance"));
/// assert!(registry::kind_of("https://slsa.dev/provenance/v1.0").is_none(), "there is no such version");
/// ```
#[must_use]
pub fn kind_of(predicate_type: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.types.contains(&predicate_type))
}

/// The types of any version of a predicate: by its own name, or by one that stands for a version of it.
///
/// ```
/// use countersign_attestation::predicate::registry;
/// let any = registry::any_version("vsa").expect("it is known");
/// assert!(any.contains(&"https://slsa.dev/verification_summary/v0.2"));
/// assert!(registry::any_version("vs").is_none());
/// ```
#[must_use]
pub fn any_version(name: &str) -> Option<&'static [&'static str]> {
    let by_own = KINDS.iter().find(|kind| kind.name == name);
    let named = |kind: &&Kind| kind.names.iter().any(|(own, _)| *own == name);
    by_own.or_else(|| KINDS.iter().find(named)).map(|kind| kind.types)
}

/// The type that a name for `--type` stands for.
#[must_use]
pub fn named(name: &str) -> Option<&'static str> {
    let mut names = KINDS.iter().flat_map(|kind| kind.names);
    names.find(|(own, _)| *own == name).map(|(_, uri)| *uri)
}

/// The names for `--type`, for messages.
#[must_use]
pub fn names() -> String {
    let names = KINDS.iter().flat_map(|kind| kind.names).map(|(name, _)| *name);
    names.collect::<Vec<_>>().join(", ")
}

/// The known predicate which a type that is not known seems to be meant for: another version of it, or another spelling.
///
/// ```
/// use countersign_attestation::predicate::registry;
/// assert_eq!(registry::meant("https://slsa.dev/provenance/v1.0").map(|kind| kind.name), Some("provenance"));
/// assert!(registry::meant("https://example.com/provenance").is_none());
/// ```
#[must_use]
pub fn meant(predicate_type: &str) -> Option<&'static Kind> {
    if kind_of(predicate_type).is_some() {
        return None;
    }
    let given = without_version(predicate_type);
    KINDS.iter().find(|kind| kind.types.iter().any(|own| without_version(own) == given))
}

/// A type in small letters, without scheme, version and what stands behind that.
fn without_version(uri: &str) -> String {
    let lower = uri.to_ascii_lowercase();
    let rest = lower.split_once("://").map_or(lower.as_str(), |(_, rest)| rest);
    let is_version = |part: &&str| {
        let number = part.strip_prefix('v').unwrap_or(part);
        number.starts_with(|c: char| c.is_ascii_digit())
    };
    let parts = rest.split(['/', '#', '?']).filter(|part| !part.is_empty());
    parts.take_while(|part| !is_version(part)).collect::<Vec<_>>().join("/")
}

/// Whether a text is a predicate of a type. `None` for a type that is not known, of which nobody here can tell.
#[must_use]
pub fn check(predicate_type: &str, text: &str) -> Option<Result<(), JsonError>> {
    let kind = kind_of(predicate_type)?;
    Some(kind.read.map_or(Ok(()), |read| read(predicate_type, text)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_type_and_each_name_is_there_once_and_each_name_is_of_its_own_predicate() {
        let types: Vec<&str> = KINDS.iter().flat_map(|kind| kind.types).copied().collect();
        assert_eq!(types.iter().collect::<BTreeSet<_>>().len(), types.len());
        let names: Vec<&str> = KINDS.iter().flat_map(|kind| kind.names).map(|(name, _)| *name).collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
        for kind in KINDS {
            assert!(kind.names.iter().all(|(_, uri)| kind.types.contains(uri)), "{}", kind.name);
            assert_eq!(any_version(kind.name), Some(kind.types));
        }
        let provenance: BTreeSet<_> = super::super::provenance::types().into();
        assert_eq!(
            any_version("slsaprovenance1").unwrap().iter().copied().collect::<BTreeSet<_>>(),
            provenance
        );
    }

    #[test]
    fn look_alikes_are_not_known_and_what_they_are_meant_for_is_told() {
        for (uri, name) in [
            ("https://slsa.dev/provenance/v1.0", "provenance"),
            ("https://slsa.dev/provenance/v1.0?draft", "provenance"),
            ("https://slsa.dev/provenance/v1/", "provenance"),
            ("http://slsa.dev/provenance/v1", "provenance"),
            ("https://SLSA.dev/Provenance/v1", "provenance"),
            ("https://slsa.dev/provenance", "provenance"),
            ("https://cyclonedx.org/bom/v2.0", "cyclonedx"),
            ("https://spdx.dev/Document/v9", "spdx"),
            ("https://openvex.dev/ns/v0.3.0", "openvex"),
            ("https://in-toto.io/attestation/test-result/v0.2", "test-result"),
        ] {
            assert!(kind_of(uri).is_none(), "{uri}");
            assert_eq!(meant(uri).map(|kind| kind.name), Some(name), "{uri}");
            assert!(check(uri, "{}").is_none());
        }
        assert!(meant("https://slsa.dev/provenance/v1").is_none(), "it is known");
        assert!(meant("https://spdx.dev/Documents").is_none() && meant("text/plain").is_none());
    }

    /// No predicate is empty, and none is another one.
    #[test]
    fn v02_p02_an_empty_predicate_and_one_of_another_type_is_refused_by_each() {
        let cosigns = |kind: &&Kind| kind.name != "custom";
        for kind in KINDS.iter().filter(cosigns) {
            for uri in kind.types {
                for text in ["{}", "null", "[]", "", "\"text\"", "1", r#"{"builder":1}"#, r#"{"a":"b"}"#] {
                    assert!(check(uri, text).unwrap().is_err(), "{uri} {text}");
                }
            }
        }
        assert_eq!(check(CUSTOM, "anything"), Some(Ok(())));
    }
}
