//! SPDX 3 as it is written, JSON-LD, as far as it takes to judge it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::{Component, Format, MAX_COMPONENTS, MAX_REFERENCES, Sbom, digest_in, said};
use crate::json::{Bounded, JsonError, null_is_default};
use crate::predicate::time;
use crate::purl::Purl;

#[derive(Deserialize)]
pub(super) struct Document {
    #[serde(rename = "@context")]
    context: Value,
    #[serde(rename = "@graph")]
    graph: Bounded<Element, MAX_COMPONENTS>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Element {
    #[serde(rename = "type", default, deserialize_with = "null_is_default")]
    kind: String,
    #[serde(default, deserialize_with = "null_is_default")]
    spdx_id: String,
    #[serde(default, deserialize_with = "null_is_default")]
    name: String,
    #[serde(default, deserialize_with = "null_is_default")]
    spec_version: String,
    created: Option<String>,
    #[serde(default, deserialize_with = "one_or_many")]
    created_by: Vec<String>,
    #[serde(default, deserialize_with = "one_or_many")]
    root_element: Vec<String>,
    #[serde(rename = "software_packageVersion", default, deserialize_with = "null_is_default")]
    version: String,
    #[serde(rename = "software_primaryPurpose", default, deserialize_with = "null_is_default")]
    purpose: String,
    #[serde(rename = "software_packageUrl", default, deserialize_with = "null_is_default")]
    purl: String,
    #[serde(default, deserialize_with = "one_or_many")]
    supplied_by: Vec<String>,
    #[serde(default, deserialize_with = "one_or_many")]
    originated_by: Vec<String>,
    #[serde(default, deserialize_with = "null_is_default")]
    external_identifier: Bounded<Identifier, MAX_REFERENCES>,
    #[serde(default, deserialize_with = "null_is_default")]
    verified_using: Bounded<Hash, MAX_REFERENCES>,
    #[serde(default, deserialize_with = "null_is_default")]
    relationship_type: String,
    #[serde(default, deserialize_with = "one_or_many")]
    to: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Identifier {
    #[serde(default, deserialize_with = "null_is_default")]
    external_identifier_type: String,
    #[serde(default, deserialize_with = "null_is_default")]
    identifier: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Hash {
    #[serde(default, deserialize_with = "null_is_default")]
    algorithm: String,
    #[serde(default, deserialize_with = "null_is_default")]
    hash_value: String,
}

/// The names of elements: JSON-LD has a list of one as the one itself. An element that stands there whole has no name here.
fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::String(one) => vec![one],
        Value::Array(many) => many
            .into_iter()
            .take(MAX_REFERENCES)
            .filter_map(|one| match one {
                Value::String(name) => Some(name),
                _ => None,
            })
            .collect(),
        _ => Vec::new(),
    })
}

impl Document {
    pub(super) fn summary(self) -> Result<Sbom, JsonError> {
        let known = |text: &str| text.starts_with("https://spdx.org/rdf/3.");
        let contexts = self.context.as_array().map_or(std::slice::from_ref(&self.context), Vec::as_slice);
        if !contexts.iter().filter_map(Value::as_str).any(known) {
            return Err(JsonError::Shape("@context: expected one of https://spdx.org/rdf/3.…".into()));
        }
        let graph = self.graph.0;
        let of = |kind: &'static str| graph.iter().filter(move |element| element.kind == kind);
        if of("SpdxDocument").next().is_none() {
            return Err(JsonError::Shape("@graph: expected an SpdxDocument, found none".into()));
        }
        let names: BTreeMap<&str, &str> =
            graph.iter().map(|element| (element.spdx_id.as_str(), element.name.as_str())).collect();
        let roots: BTreeSet<&str> = of("SpdxDocument")
            .chain(of("software_Sbom"))
            .flat_map(|element| element.root_element.iter().map(String::as_str))
            .collect();
        let is_root =
            |element: &&Element| !element.spdx_id.is_empty() && roots.contains(element.spdx_id.as_str());
        let (described, others): (Vec<&Element>, Vec<&Element>) = of("software_Package").partition(is_root);
        let files = of("software_File").filter(is_root);
        // The image itself is a package of its document, and no component of the image.
        let images = described.iter().filter(|element| element.purpose == "container").count();
        let digests = described.iter().copied().chain(files).flat_map(Element::digests).collect();
        let creation = || of("CreationInfo");
        let created = match creation().find_map(|element| element.created.as_deref()) {
            Some(text) => time("CreationInfo.created", text)?,
            None => None,
        };
        let related = |element: &Element| {
            let kind = element.relationship_type.as_str();
            !element.to.is_empty() && !matches!(kind, "" | "describes" | "other")
        };
        let version = graph.iter().map(|element| &element.spec_version).find(|version| !version.is_empty());
        Ok(Sbom {
            format: Format::Spdx3,
            version: version.cloned().unwrap_or_default(),
            components: described.len() - images + others.len() + of("software_File").count(),
            digests,
            root: described.first().map(|element| element.component(&names)),
            parts: others.iter().map(|element| element.component(&names)).collect(),
            authors: creation().flat_map(|element| element.created_by.clone()).collect(),
            created,
            has_relationships: of("Relationship").chain(of("LifecycleScopedRelationship")).any(related),
        })
    }
}

impl Element {
    fn digests(&self) -> Vec<String> {
        let hashes = self.verified_using.0.iter().filter(|hash| hash.algorithm == "sha256");
        let hashes = hashes.map(|hash| format!("sha256:{}", hash.hash_value));
        let named = hashes.chain([self.purl.clone(), self.version.clone()]);
        named.filter_map(|text| digest_in(&text)).collect()
    }

    fn component(&self, names: &BTreeMap<&str, &str>) -> Component {
        let mut agents = self.supplied_by.iter().chain(&self.originated_by);
        let supplier = agents.find_map(|id| names.get(id.as_str())).map(|name| said(name));
        let identifiers =
            || self.external_identifier.0.iter().filter(|one| !said(&one.identifier).is_empty());
        let purls = identifiers().filter(|one| one.external_identifier_type == "packageUrl");
        let known = |one: &Identifier| {
            matches!(one.external_identifier_type.as_str(), "cpe22" | "cpe23" | "swid" | "gitoid" | "swhid")
        };
        Component {
            name: said(&self.name),
            version: said(&self.version),
            supplier: supplier.unwrap_or_default(),
            purl: Purl::parse(&self.purl)
                .or_else(|| purls.filter_map(|one| Purl::parse(&one.identifier)).next()),
            otherwise_identified: identifiers().any(known),
            digests: self.digests().into_iter().collect(),
        }
    }
}
