//! SCAI reports: attributes of an artifact or of what made it, with the evidence for them.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::resource::{self, Resource};
use super::small::{self, Predicate, filled, some};
use crate::json::JsonError;

/// One attribute.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Attribute {
    /// What holds.
    pub attribute: String,
    /// Of what, if not of the subjects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Resource>,
    /// Under which conditions.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub conditions: Map<String, Value>,
    /// What shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Resource>,
}

/// A report.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Scai {
    /// What holds; at least one.
    #[serde(deserialize_with = "small::list")]
    pub attributes: Vec<Attribute>,
    /// What made the artifact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub producer: Option<Resource>,
}

impl Predicate for Scai {
    const TYPES: &'static [&'static str] = &[
        "https://in-toto.io/attestation/scai/v0.3",
        "https://in-toto.io/attestation/scai/attribute-report/v0.3",
        "https://in-toto.io/attestation/scai/attribute-report/v0.2",
    ];

    fn check(&self) -> Result<(), JsonError> {
        some("attributes", &self.attributes)?;
        for one in &self.attributes {
            filled("attributes[].attribute", &one.attribute)?;
            resource::check("attributes[].target", one.target.as_slice())?;
            resource::check("attributes[].evidence", one.evidence.as_slice())?;
        }
        resource::check("producer", self.producer.as_slice())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::small::tests::refused;
    use super::*;

    #[test]
    fn a_report_is_read_and_each_defect_alone_refuses_it() {
        let good = json!({ "attributes": [{ "attribute": "HARDENED", "target": { "name": "a", "digest": { "sha256": "00" } },
                "conditions": { "flags": "-z now" }, "evidence": { "uri": "log" } }], "producer": { "uri": "gcc" } });
        refused::<Scai>(
            &good,
            &[
                ("/attributes", json!([]), "at least one"),
                ("/attributes", Value::Null, "attributes"),
                ("/attributes/0/attribute", json!(""), "attribute"),
                ("/attributes/0/target", json!({ "name": "a" }), "target"),
                ("/attributes/0/evidence", json!({}), "evidence"),
                ("/attributes/0/conditions", json!([]), "conditions"),
                ("/producer", json!({}), "producer"),
            ],
        );
    }
}
