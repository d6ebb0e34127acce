//! Bills of materials, CycloneDX and SPDX: enough to know that one parses, has components, and which digests it gives to what
//! it is about.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::read;
use crate::json::{Bounded, JsonError, null_is_default};
use crate::purl::Purl;

/// The most components of one document, at its first level.
pub const MAX_COMPONENTS: usize = 200_000;
/// The most references or digests of one component.
pub const MAX_REFERENCES: usize = 4096;

/// Which form it is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// CycloneDX, JSON.
    CycloneDx,
    /// SPDX 2, JSON.
    Spdx,
    /// SPDX 2, lines of tags and values.
    SpdxTags,
    /// SPDX 3, JSON-LD.
    Spdx3,
}

impl Format {
    /// For people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::CycloneDx => "CycloneDX",
            Self::Spdx => "SPDX",
            Self::SpdxTags => "SPDX (tags)",
            Self::Spdx3 => "SPDX 3",
        }
    }
}

/// The types of predicates and whose they are; any version of each.
const KINDS: [(&str, bool); 2] = [("https://spdx.dev/Document", true), ("https://cyclonedx.org/bom", false)];

/// Whether a predicate type is that of a bill of materials: one of the two, or a version of it.
///
/// ```
/// use countersign_attestation::predicate::sbom::is_type;
/// assert!(is_type("https://cyclonedx.org/bom/v1.5") && is_type("https://spdx.dev/Document"));
/// assert!(!is_type("https://spdx.dev/Documents"));
/// ```
#[must_use]
pub fn is_type(predicate_type: &str) -> bool {
    is_spdx(predicate_type).is_some()
}

fn is_spdx(predicate_type: &str) -> Option<bool> {
    KINDS.iter().find_map(|(uri, spdx)| {
        let rest = predicate_type.strip_prefix(uri)?;
        (rest.is_empty() || rest.starts_with('/')).then_some(*spdx)
    })
}

/// What a bill of materials comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sbom {
    /// Its form.
    pub format: Format,
    /// The version of the form.
    pub version: String,
    /// How many components it names.
    pub components: usize,
    /// The digests (`sha256:…`) that it gives to what it is about. Mostly none: the statement around it has the digest.
    pub digests: BTreeSet<String>,
}

impl Sbom {
    /// Reads a predicate of a type for which [`is_type`] holds. Types name what they hold: a CycloneDX document under SPDX's
    /// is refused.
    ///
    /// # Errors
    /// [`JsonError`]: another type, limits, what is no such document.
    pub fn from_json(predicate_type: &str, text: &str) -> Result<Self, JsonError> {
        let spdx = is_spdx(predicate_type).ok_or_else(|| {
            let known = KINDS.map(|(uri, _)| uri).join(", ");
            JsonError::Shape(format!("expected a bill of materials ({known}), found {predicate_type}"))
        })?;
        if !spdx {
            return read::<CycloneDx>(text)?.summary();
        }
        match text.trim_start().bytes().next() {
            Some(b'"') => tags(&read::<String>(text)?),
            _ => match read::<Form>(text)?.graph {
                Some(_) => read::<Spdx3>(text)?.summary(),
                None => read::<Spdx>(text)?.summary(),
            },
        }
    }
}

/// What tells the two forms of SPDX's JSON apart.
#[derive(Deserialize)]
struct Form {
    #[serde(rename = "@graph")]
    graph: Option<IgnoredAny>,
}

/// The digest that a text is, or holds as the version of an image's package URL.
fn digest_in(text: &str) -> Option<String> {
    let named = Purl::parse(text).filter(|purl| purl.kind == "oci" || purl.kind == "docker");
    let text = named.map_or_else(|| Some(text.to_owned()), |purl| purl.version)?;
    let (_, hex) = text.split_once(':').filter(|(algorithm, _)| *algorithm == "sha256")?;
    (hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit())).then(|| text.to_ascii_lowercase())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CycloneDx {
    bom_format: String,
    spec_version: String,
    #[serde(default, deserialize_with = "null_is_default")]
    components: Bounded<IgnoredAny, MAX_COMPONENTS>,
    #[serde(default, deserialize_with = "null_is_default")]
    metadata: CycloneDxMetadata,
}

#[derive(Default, Deserialize)]
struct CycloneDxMetadata {
    #[serde(default, deserialize_with = "null_is_default")]
    component: CycloneDxRoot,
}

#[derive(Default, Deserialize)]
struct CycloneDxRoot {
    #[serde(default, deserialize_with = "null_is_default")]
    version: String,
    #[serde(default, deserialize_with = "null_is_default")]
    purl: String,
    #[serde(default, deserialize_with = "null_is_default")]
    hashes: Bounded<CycloneDxHash, MAX_REFERENCES>,
}

#[derive(Deserialize)]
struct CycloneDxHash {
    alg: String,
    content: String,
}

impl CycloneDx {
    fn summary(self) -> Result<Sbom, JsonError> {
        if self.bom_format != "CycloneDX" {
            let text = format!("bomFormat: expected \"CycloneDX\", found \"{}\"", self.bom_format);
            return Err(JsonError::Shape(text));
        }
        let root = self.metadata.component;
        let hashes = root.hashes.0.iter().filter(|hash| hash.alg == "SHA-256");
        let named = hashes.map(|hash| format!("sha256:{}", hash.content)).chain([root.version, root.purl]);
        Ok(Sbom {
            format: Format::CycloneDx,
            version: self.spec_version,
            components: self.components.0.len(),
            digests: named.filter_map(|text| digest_in(&text)).collect(),
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spdx {
    spdx_version: String,
    #[serde(default, deserialize_with = "null_is_default")]
    packages: Bounded<SpdxPackage, MAX_COMPONENTS>,
    #[serde(default, deserialize_with = "null_is_default")]
    files: Bounded<IgnoredAny, MAX_COMPONENTS>,
    #[serde(default, deserialize_with = "null_is_default")]
    document_describes: Bounded<String, MAX_COMPONENTS>,
    #[serde(default, deserialize_with = "null_is_default")]
    relationships: Bounded<SpdxRelationship, MAX_COMPONENTS>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SpdxPackage {
    #[serde(rename = "SPDXID", default, deserialize_with = "null_is_default")]
    id: String,
    #[serde(default, deserialize_with = "null_is_default")]
    version_info: String,
    #[serde(default, deserialize_with = "null_is_default")]
    checksums: Bounded<SpdxChecksum, MAX_REFERENCES>,
    #[serde(default, deserialize_with = "null_is_default")]
    external_refs: Bounded<SpdxReference, MAX_REFERENCES>,
    #[serde(default, deserialize_with = "null_is_default")]
    primary_package_purpose: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SpdxChecksum {
    algorithm: String,
    checksum_value: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SpdxReference {
    #[serde(default, deserialize_with = "null_is_default")]
    reference_locator: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SpdxRelationship {
    #[serde(default, deserialize_with = "null_is_default")]
    spdx_element_id: String,
    #[serde(default, deserialize_with = "null_is_default")]
    relationship_type: String,
    #[serde(default, deserialize_with = "null_is_default")]
    related_spdx_element: String,
}

fn spdx_2(version: &str) -> Result<(), JsonError> {
    if version.starts_with("SPDX-2.") {
        return Ok(());
    }
    Err(JsonError::Shape(format!("spdxVersion: expected \"SPDX-2.…\", found \"{version}\"")))
}

impl Spdx {
    fn summary(self) -> Result<Sbom, JsonError> {
        spdx_2(&self.spdx_version)?;
        let describes = self
            .relationships
            .0
            .iter()
            .filter(|r| r.relationship_type == "DESCRIBES" && r.spdx_element_id == "SPDXRef-DOCUMENT")
            .map(|r| &r.related_spdx_element);
        let roots: BTreeSet<&String> = self.document_describes.0.iter().chain(describes).collect();
        let is_root = |package: &&SpdxPackage| !package.id.is_empty() && roots.contains(&package.id);
        let mut digests = BTreeSet::new();
        for package in self.packages.0.iter().filter(is_root) {
            let sums = package.checksums.0.iter().filter(|sum| sum.algorithm == "SHA256");
            let sums = sums.map(|sum| format!("sha256:{}", sum.checksum_value));
            let named = package.external_refs.0.iter().map(|r| r.reference_locator.clone());
            let all = sums.chain(named).chain([package.version_info.clone()]);
            digests.extend(all.filter_map(|text| digest_in(&text)));
        }
        // The image itself is a package of its document, and no component of the image.
        let is_image =
            |package: &SpdxPackage| is_root(&package) && package.primary_package_purpose == "CONTAINER";
        let packages = self.packages.0.iter().filter(|package| !is_image(package)).count();
        Ok(Sbom {
            format: Format::Spdx,
            version: self.spdx_version,
            components: packages + self.files.0.len(),
            digests,
        })
    }
}

/// SPDX 2 as lines: `PackageName: openssl`.
fn tags(text: &str) -> Result<Sbom, JsonError> {
    let (mut version, mut components) = (None, 0);
    for line in text.lines() {
        match line.split_once(':').map(|(tag, value)| (tag.trim(), value.trim())) {
            Some(("SPDXVersion", value)) if version.is_none() => version = Some(value.to_owned()),
            Some(("PackageName" | "FileName", value)) if !value.is_empty() => components += 1,
            _ => {}
        }
    }
    let version =
        version.ok_or_else(|| JsonError::Shape("SPDXVersion: expected a line with it, found none".into()))?;
    spdx_2(&version)?;
    Ok(Sbom { format: Format::SpdxTags, version, components, digests: BTreeSet::new() })
}

#[derive(Deserialize)]
struct Spdx3 {
    #[serde(rename = "@context")]
    context: Value,
    #[serde(rename = "@graph")]
    graph: Bounded<Spdx3Element, MAX_COMPONENTS>,
}

#[derive(Deserialize)]
struct Spdx3Element {
    #[serde(rename = "type", default, deserialize_with = "null_is_default")]
    kind: String,
    #[serde(rename = "specVersion", default, deserialize_with = "null_is_default")]
    version: String,
}

impl Spdx3 {
    fn summary(self) -> Result<Sbom, JsonError> {
        let known = |text: &str| text.starts_with("https://spdx.org/rdf/3.");
        let contexts = self.context.as_array().map_or(std::slice::from_ref(&self.context), Vec::as_slice);
        if !contexts.iter().filter_map(Value::as_str).any(known) {
            return Err(JsonError::Shape("@context: expected one of https://spdx.org/rdf/3.…".into()));
        }
        let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
        for element in &self.graph.0 {
            *kinds.entry(element.kind.as_str()).or_default() += 1;
        }
        let count = |kind: &str| kinds.get(kind).copied().unwrap_or_default();
        if count("SpdxDocument") == 0 {
            return Err(JsonError::Shape("@graph: expected an SpdxDocument, found none".into()));
        }
        let version = self.graph.0.iter().map(|element| &element.version).find(|version| !version.is_empty());
        Ok(Sbom {
            format: Format::Spdx3,
            version: version.cloned().unwrap_or_default(),
            components: count("software_Package") + count("software_File"),
            digests: BTreeSet::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SPDX: &str = "https://spdx.dev/Document";
    const CYCLONEDX: &str = "https://cyclonedx.org/bom";
    const HEX: &str = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

    fn parse(kind: &str, value: &Value) -> Result<Sbom, String> {
        Sbom::from_json(kind, &value.to_string()).map_err(|e| e.to_string())
    }

    #[test]
    fn cyclonedx_is_read_and_the_digest_of_what_it_is_about() {
        for root in [
            json!({ "version": format!("sha256:{HEX}") }),
            json!({ "purl": format!("pkg:oci/shop@sha256%3A{HEX}?arch=amd64") }),
            json!({ "hashes": [{ "alg": "SHA-256", "content": HEX }, { "alg": "SHA-1", "content": "00" }] }),
        ] {
            let document = json!({ "bomFormat": "CycloneDX", "specVersion": "1.6", "components": [{ "name": "a" }],
                "metadata": { "component": root } });
            let read = parse(CYCLONEDX, &document).unwrap();
            assert_eq!((read.format, read.version.as_str(), read.components), (Format::CycloneDx, "1.6", 1));
            assert_eq!(read.digests, [format!("sha256:{HEX}")].into(), "{root}");
        }
        let none = json!({ "bomFormat": "CycloneDX", "specVersion": "1.4" });
        assert_eq!(parse("https://cyclonedx.org/bom/v1.4", &none).unwrap().components, 0);
    }

    #[test]
    fn spdx_is_read_in_three_forms() {
        let reference = json!({ "referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl",
            "referenceLocator": format!("pkg:oci/shop@sha256:{HEX}") });
        let document = json!({ "spdxVersion": "SPDX-2.3", "SPDXID": "SPDXRef-DOCUMENT",
            "packages": [{ "SPDXID": "root", "primaryPackagePurpose": "CONTAINER", "externalRefs": [reference] },
                         { "SPDXID": "a", "versionInfo": format!("sha256:{}", "0".repeat(64)) }],
            "relationships": [{ "spdxElementId": "SPDXRef-DOCUMENT", "relationshipType": "DESCRIBES",
                                "relatedSpdxElement": "root" }] });
        let read = parse(SPDX, &document).unwrap();
        assert_eq!(
            (read.components, read.digests),
            (1, [format!("sha256:{HEX}")].into()),
            "the image is no component"
        );
        let lines = json!("SPDXVersion: SPDX-2.3\nPackageName: a\nPackageName:\n##\nPackageName: b\n");
        assert_eq!(parse(SPDX, &lines).map(|read| (read.format, read.components)), Ok((Format::SpdxTags, 2)));
        let graph = json!({ "@context": "https://spdx.org/rdf/3.0.1/spdx-context.jsonld", "@graph": [
            { "type": "CreationInfo", "specVersion": "3.0.1" }, { "type": "SpdxDocument" }, { "type": "software_Package" }] });
        let read = parse("https://spdx.dev/Document/v3", &graph).unwrap();
        assert_eq!((read.format, read.version.as_str(), read.components), (Format::Spdx3, "3.0.1", 1));
    }

    #[test]
    fn what_is_no_bill_of_materials_is_an_error() {
        let cyclonedx = json!({ "bomFormat": "CycloneDX", "specVersion": "1.6" });
        let spdx = json!({ "spdxVersion": "SPDX-2.3" });
        for (kind, value) in [
            (SPDX, json!({})),
            (SPDX, cyclonedx.clone()),
            (CYCLONEDX, spdx.clone()),
            ("https://spdx.dev/Documents", spdx),
            (CYCLONEDX, json!({ "bomFormat": "Other", "specVersion": "1.6" })),
            (CYCLONEDX, json!({ "bomFormat": "CycloneDX" })),
            (CYCLONEDX, json!({ "bomFormat": "CycloneDX", "specVersion": "1.6", "components": {} })),
            (SPDX, json!({ "spdxVersion": "SPDX-1.2" })),
            (SPDX, json!("words")),
            (SPDX, json!("SPDXVersion: 1")),
            (SPDX, json!({ "@context": "x", "@graph": [{ "type": "SpdxDocument" }] })),
            (SPDX, json!({ "@context": "https://spdx.org/rdf/3.0.1/x", "@graph": [] })),
            (SPDX, json!([])),
        ] {
            assert!(parse(kind, &value).is_err(), "{value}");
        }
        assert!(Sbom::from_json(SPDX, "").is_err() && Sbom::from_json(CYCLONEDX, "{").is_err());
    }
}
