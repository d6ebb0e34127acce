//! Simple verification results (SVR): the properties that somebody found an artifact to have. There is no form that says that
//! something failed.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::resource::{self, Resource};
use super::small::{self, Predicate, filled, when};
use super::vsa::Verifier;
use crate::json::JsonError;

/// The type before the one that is written; it names no policies.
const V0_1: &str = "https://in-toto.io/attestation/svr/v0.1";

/// A result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Svr {
    /// Who verified.
    pub verifier: Verifier,
    /// When.
    #[serde(with = "when")]
    pub time_created: Timestamp,
    /// What the artifact was found to be; none says nothing at all, see [`Svr::has`].
    #[serde(deserialize_with = "small::list")]
    pub properties: Vec<String>,
    /// By which policies.
    #[serde(deserialize_with = "small::list")]
    pub policies: Vec<Resource>,
}

impl Svr {
    /// Whether the artifact was found to have all of these properties. To ask for none is never answered with yes.
    #[must_use]
    pub fn has(&self, properties: &[&str]) -> bool {
        let has = |wanted: &&str| self.properties.iter().any(|own| own == wanted);
        !properties.is_empty() && properties.iter().all(has)
    }
}

impl Predicate for Svr {
    const TYPES: &'static [&'static str] = &["https://in-toto.io/attestation/svr/v0.2", V0_1];

    fn check(&self) -> Result<(), JsonError> {
        filled("verifier.id", &self.verifier.id)?;
        self.properties.iter().try_for_each(|property| filled("properties", property))?;
        resource::check("policies", &self.policies)
    }

    fn renewed(predicate_type: &str, mut members: Map<String, Value>) -> Map<String, Value> {
        if predicate_type == V0_1 {
            members.entry("policies").or_insert_with(|| Vec::<Value>::new().into());
        }
        members
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::small::tests::refused;
    use super::*;

    #[test]
    fn a_result_has_what_it_names_and_each_defect_alone_refuses_it() {
        let good = json!({ "verifier": { "id": "v" }, "timeCreated": "2026-01-01T00:00:00Z",
            "properties": ["A", "B"], "policies": [{ "uri": "p" }] });
        refused::<Svr>(
            &good,
            &[
                ("/verifier/id", json!(""), "verifier.id"),
                ("/timeCreated", Value::Null, "timeCreated"),
                ("/timeCreated", json!("0001-01-01T00:00:00Z"), "expected a time"),
                ("/properties", Value::Null, "properties"),
                ("/properties/0", json!(" "), "properties"),
                ("/policies", Value::Null, "policies"),
                ("/policies/0", json!({}), "policies[0]"),
            ],
        );
        let read = Svr::from_json(Svr::TYPES[0], &good.to_string()).unwrap();
        assert!(read.has(&["A", "B"]) && !read.has(&["A", "C"]));
    }

    #[test]
    fn empty_properties_are_no_success_and_the_older_form_names_no_policies() {
        let old =
            json!({ "verifier": { "id": "v" }, "timeCreated": "2026-01-01T00:00:00Z", "properties": [] });
        let read = Svr::from_json(V0_1, &old.to_string()).unwrap();
        assert!(!read.has(&[]) && !read.has(&["A"]));
    }
}
