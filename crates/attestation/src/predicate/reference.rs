//! References: where other statements and documents about the subjects are. They are about all subjects together.

use serde::{Deserialize, Serialize};

use super::resource::Resource;
use super::small::{self, Predicate, filled, some, with_digests};
use crate::json::JsonError;

/// Who says where things are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attester {
    /// Its URI.
    pub id: String,
}

/// Where things are.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Reference {
    /// Who says it.
    pub attester: Attester,
    /// What is where: each with a place, a media type and a digest.
    #[serde(deserialize_with = "small::list")]
    pub references: Vec<Resource>,
}

impl Predicate for Reference {
    const TYPES: &'static [&'static str] = &["https://in-toto.io/attestation/reference/v0.1"];

    fn check(&self) -> Result<(), JsonError> {
        filled("attester.id", &self.attester.id)?;
        some("references", &self.references)?;
        with_digests("references", &self.references)?;
        for one in &self.references {
            filled("references[].downloadLocation", &one.download_location)?;
            filled("references[].mediaType", &one.media_type)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::small::tests::refused;
    use super::*;

    #[test]
    fn references_are_read_and_each_defect_alone_refuses_them() {
        let good = json!({ "attester": { "id": "https://example.com" }, "references": [{ "downloadLocation": "https://a/sbom",
            "mediaType": "application/spdx+json", "digest": { "sha256": "00" } }] });
        refused::<Reference>(
            &good,
            &[
                ("/attester/id", json!(""), "attester.id"),
                ("/references", json!([]), "at least one"),
                ("/references/0/downloadLocation", json!(""), "downloadLocation"),
                ("/references/0/mediaType", json!(""), "mediaType"),
                ("/references/0/digest", json!({}), "digest"),
            ],
        );
    }
}
