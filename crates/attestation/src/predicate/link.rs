//! Links: that a step was done, with which materials. The older form lists the products beside them; in the newer they are
//! the subjects of the statement.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::resource::Resource;
use super::small::{self, Predicate, filled, with_digests};
use crate::json::JsonError;

/// The older form, to which cosign's `--type link` leads.
pub const OLDER: &str = "https://in-toto.io/Link/v1";

/// A step that was done.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Link {
    /// The name of the step.
    pub name: String,
    /// What was run.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "small::list")]
    pub command: Vec<String>,
    /// What went in: each with a name and digests.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "small::list")]
    pub materials: Vec<Resource>,
    /// What came out, in the older form.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "small::list")]
    pub products: Vec<Resource>,
    /// What else came of it, such as its exit code.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub byproducts: Map<String, Value>,
    /// Where it was done.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub environment: Map<String, Value>,
}

impl Predicate for Link {
    const TYPES: &'static [&'static str] = &["https://in-toto.io/attestation/link/v0.3", OLDER];

    fn check(&self) -> Result<(), JsonError> {
        filled("name", &self.name)?;
        for (path, list) in [("materials", &self.materials), ("products", &self.products)] {
            with_digests(path, list)?;
            let mut names = BTreeMap::new();
            for (index, one) in list.iter().enumerate() {
                name(&one.name).map_err(|why| JsonError::Shape(format!("{path}[{index}].name: {why}")))?;
                if let Some(first) = names.insert(one.name.as_str(), index) {
                    let text =
                        format!("{path}[{index}].name: expected another name than that of {path}[{first}]");
                    return Err(JsonError::Shape(text));
                }
            }
        }
        Ok(())
    }

    fn renewed(predicate_type: &str, mut members: Map<String, Value>) -> Map<String, Value> {
        if predicate_type == OLDER {
            for list in ["materials", "products"] {
                if let Some(Value::Object(files)) = members.get_mut(list).map(Value::take) {
                    let named =
                        files.into_iter().map(|(name, digest)| json!({ "name": name, "digest": digest }));
                    members.insert(list.to_owned(), named.collect());
                }
            }
        }
        members
    }
}

/// That the name of an artifact can be compared with another: a path has one spelling, and leads nowhere else.
fn name(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("expected a name, found none".to_owned());
    }
    if text.chars().any(char::is_control) {
        return Err(format!("expected no control characters, found {text:?}"));
    }
    // An address is no path.
    if text.contains("://") {
        return Ok(());
    }
    if text.trim_start_matches('/').split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(format!("expected a path without \".\", \"..\" and empty parts, found {text:?}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::small::tests::refused;
    use super::*;

    fn link() -> Value {
        json!({ "name": "build", "command": ["make"], "byproducts": { "return-value": 0 }, "environment": {},
            "materials": [{ "name": "src/main.rs", "digest": { "sha256": "00" } },
                          { "name": "https://example.com//a", "digest": { "sha256": "01" } }] })
    }

    #[test]
    fn a_link_is_read_and_each_defect_alone_refuses_it() {
        refused::<Link>(
            &link(),
            &[
                ("/name", json!(""), "name"),
                ("/command", json!("make"), "command"),
                ("/materials/0/digest", json!({}), "materials[0].digest"),
                ("/materials/0/name", json!(""), "materials[0].name"),
                ("/materials/1/name", json!("src/main.rs"), "another name than that of materials[0]"),
                ("/byproducts", json!([]), "byproducts"),
            ],
        );
    }

    #[test]
    fn p14_a_path_of_another_spelling_is_no_name_of_an_artifact() {
        for path in ["dir/../foo", "../foo", "./foo", "dir//foo", "dir/.", "foo/", "//", "a\0b", "a\nb"] {
            let mut changed = link();
            changed["materials"][0]["name"] = path.into();
            let error = Link::from_json(Link::TYPES[0], &changed.to_string()).unwrap_err().to_string();
            assert!(error.contains("materials[0].name"), "{path}: {error}");
        }
    }

    #[test]
    fn the_older_form_lists_its_files_by_name() {
        let old = json!({ "_type": "link", "name": "build", "command": ["make"], "byproducts": {}, "environment": null,
            "materials": { "a": { "sha256": "00" } }, "products": { "b": { "sha256": "01" } } });
        let read = Link::from_json(OLDER, &old.to_string()).unwrap();
        assert_eq!(
            (read.materials[0].name.as_str(), read.products[0].digest["sha256"].as_str()),
            ("a", "01")
        );
        assert!(Link::from_json(Link::TYPES[0], &old.to_string()).is_err());
        let up = json!({ "name": "build", "products": { "a/../b": { "sha256": "00" } } });
        assert!(Link::from_json(OLDER, &up.to_string()).is_err());
    }
}
