//! Releases: that the subjects are a release of a package.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::small::{Predicate, rename};
use crate::json::JsonError;
use crate::purl::Purl;

/// A release.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Release {
    /// The package URL of what is released.
    pub purl: String,
    /// The number that a registry gave the package and never gives to another. The first version calls it `releaseId`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub package_id: String,
}

impl Release {
    /// The package.
    ///
    /// # Errors
    /// [`JsonError`] when the text is no package URL.
    pub fn package(&self) -> Result<Purl, JsonError> {
        Purl::parse(&self.purl)
            .ok_or_else(|| JsonError::Shape(format!("purl: expected a package URL, found \"{}\"", self.purl)))
    }
}

impl Predicate for Release {
    const TYPES: &'static [&'static str] =
        &["https://in-toto.io/attestation/release/v0.2", "https://in-toto.io/attestation/release/v0.1"];

    fn check(&self) -> Result<(), JsonError> {
        self.package().map(drop)
    }

    // The scheme of the second version prints the first one's type, so that either name stands under either type.
    fn renewed(_: &str, mut members: Map<String, Value>) -> Map<String, Value> {
        rename(&mut members, "releaseId", "packageId");
        members
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::small::tests::refused;
    use super::*;

    #[test]
    fn a_release_is_read_in_both_versions() {
        let good = json!({ "purl": "pkg:npm/shop@1.0", "packageId": "12" });
        refused::<Release>(
            &good,
            &[
                ("/purl", json!("shop 1.0"), "package URL"),
                ("/purl", Value::Null, "purl"),
                ("/packageId", json!(12), "packageId"),
            ],
        );
        for kind in Release::TYPES {
            let old = json!({ "purl": "pkg:npm/shop@1.0", "releaseId": "12" });
            assert_eq!(Release::from_json(kind, &old.to_string()).unwrap().package_id, "12");
        }
    }
}
