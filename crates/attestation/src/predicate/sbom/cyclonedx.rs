//! CycloneDX as it is written, JSON, 1.2 to 1.7.

use serde::Deserialize;
use serde_json::Value;

use super::{Component, Format, MAX_COMPONENTS, MAX_REFERENCES, Sbom, digest_in, said};
use crate::json::{Bounded, JsonError, null_is_default};
use crate::predicate::time;
use crate::purl::Purl;

/// The versions that are read.
const VERSIONS: [&str; 6] = ["1.2", "1.3", "1.4", "1.5", "1.6", "1.7"];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Document {
    bom_format: String,
    spec_version: String,
    #[serde(default, deserialize_with = "null_is_default")]
    components: Components,
    #[serde(default, deserialize_with = "null_is_default")]
    metadata: Metadata,
    #[serde(default, deserialize_with = "null_is_default")]
    dependencies: Bounded<Dependency, MAX_COMPONENTS>,
}

type Components = Bounded<WireComponent, MAX_COMPONENTS>;

#[derive(Default, Deserialize)]
struct Metadata {
    timestamp: Option<String>,
    #[serde(default, deserialize_with = "null_is_default")]
    component: Option<WireComponent>,
    #[serde(default, deserialize_with = "null_is_default")]
    authors: Bounded<Named, MAX_REFERENCES>,
    #[serde(default, deserialize_with = "null_is_default")]
    manufacture: Named,
    #[serde(default, deserialize_with = "null_is_default")]
    manufacturer: Named,
    #[serde(default, deserialize_with = "null_is_default")]
    supplier: Named,
    /// A list of tools, or an object of lists since 1.5.
    #[serde(default)]
    tools: Value,
}

/// Somebody with a name, or only an address.
#[derive(Default, Deserialize)]
struct Named {
    #[serde(default, deserialize_with = "null_is_default")]
    name: String,
    #[serde(default, deserialize_with = "null_is_default")]
    email: String,
}

impl Named {
    fn text(self) -> String {
        let name = said(&self.name);
        if name.is_empty() { said(&self.email) } else { name }
    }
}

#[derive(Default, Deserialize)]
struct WireComponent {
    #[serde(rename = "type", default, deserialize_with = "null_is_default")]
    kind: String,
    #[serde(default, deserialize_with = "null_is_default")]
    name: String,
    #[serde(default, deserialize_with = "null_is_default")]
    version: String,
    #[serde(default, deserialize_with = "null_is_default")]
    purl: String,
    #[serde(default, deserialize_with = "null_is_default")]
    cpe: String,
    #[serde(default)]
    swid: Value,
    #[serde(default, deserialize_with = "null_is_default")]
    supplier: Named,
    #[serde(default, deserialize_with = "null_is_default")]
    manufacturer: Named,
    #[serde(default, deserialize_with = "null_is_default")]
    publisher: String,
    #[serde(default, deserialize_with = "null_is_default")]
    author: String,
    #[serde(default, deserialize_with = "null_is_default")]
    authors: Bounded<Named, MAX_REFERENCES>,
    #[serde(default, deserialize_with = "null_is_default")]
    hashes: Bounded<Hash, MAX_REFERENCES>,
    #[serde(default, deserialize_with = "null_is_default")]
    components: Components,
}

#[derive(Deserialize)]
struct Hash {
    alg: String,
    content: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Dependency {
    #[serde(default, deserialize_with = "null_is_default")]
    depends_on: Bounded<String, MAX_COMPONENTS>,
}

impl Document {
    pub(super) fn summary(self) -> Result<Sbom, JsonError> {
        if self.bom_format != "CycloneDX" {
            let text = format!("bomFormat: expected \"CycloneDX\", found \"{}\"", self.bom_format);
            return Err(JsonError::Shape(text));
        }
        if !VERSIONS.contains(&self.spec_version.as_str()) {
            let text = format!(
                "specVersion: expected one of {}, found \"{}\"",
                VERSIONS.join(", "),
                self.spec_version
            );
            return Err(JsonError::Shape(text));
        }
        let (mut parts, mut components) = (Vec::new(), 0);
        let mut left = self.components.0;
        left.reverse();
        while let Some(mut one) = left.pop() {
            left.extend(std::mem::take(&mut one.components.0).into_iter().rev());
            components += 1;
            if one.kind != "file" {
                parts.push(Component::from(one));
            }
        }
        let metadata = self.metadata;
        let created = match &metadata.timestamp {
            Some(text) => time("metadata.timestamp", text)?,
            None => None,
        };
        let mut authors: Vec<String> = metadata.authors.0.into_iter().map(Named::text).collect();
        authors.extend([metadata.manufacture, metadata.manufacturer, metadata.supplier].map(Named::text));
        authors.extend(tools(&metadata.tools));
        authors.retain(|author| !author.is_empty());
        let digests = metadata.component.as_ref().map(named_digests).unwrap_or_default();
        Ok(Sbom {
            format: Format::CycloneDx,
            version: self.spec_version,
            components,
            digests: digests.into_iter().collect(),
            root: metadata.component.map(Component::from),
            parts,
            authors,
            created,
            has_relationships: self.dependencies.0.iter().any(|one| !one.depends_on.0.is_empty()),
        })
    }
}

/// The digests that are given to what the document is about: its hashes, and its version or package URL where it is an image.
fn named_digests(root: &WireComponent) -> Vec<String> {
    let hashes = root.hashes.0.iter().filter(|hash| hash.alg == "SHA-256");
    let hashes = hashes.map(|hash| format!("sha256:{}", hash.content));
    let named = hashes.chain([root.version.clone(), root.purl.clone()]);
    named.filter_map(|text| digest_in(&text)).collect()
}

impl From<WireComponent> for Component {
    fn from(wire: WireComponent) -> Self {
        let hashes = wire.hashes.0.iter().filter(|hash| hash.alg == "SHA-256");
        let digests = hashes.filter_map(|hash| digest_in(&format!("sha256:{}", hash.content))).collect();
        let authors = wire.authors.0.into_iter().map(Named::text);
        let supplier =
            [wire.supplier.text(), wire.manufacturer.text(), said(&wire.publisher), said(&wire.author)]
                .into_iter()
                .chain(authors)
                .find(|text| !text.is_empty());
        Self {
            name: said(&wire.name),
            version: said(&wire.version),
            supplier: supplier.unwrap_or_default(),
            purl: Purl::parse(&wire.purl),
            otherwise_identified: !said(&wire.cpe).is_empty() || wire.swid.is_object(),
            digests,
        }
    }
}

/// The names of the tools: a list in the older form, lists of components and services in the newer.
fn tools(value: &Value) -> Vec<String> {
    let lists = [Some(value), value.get("components"), value.get("services")];
    let all = lists.into_iter().flatten().filter_map(Value::as_array).flatten();
    all.filter_map(|tool| tool.get("name")?.as_str()).map(said).collect()
}
