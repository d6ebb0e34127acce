//! Bills of materials, CycloneDX and SPDX: enough to judge whether one parses, has components, is about the artifact that it
//! is bound to, and has the minimum elements of the NTIA.

use std::collections::BTreeSet;

use countersign_crypto::Digest;
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{read, registry};
use crate::json::JsonError;
use crate::purl::Purl;
use crate::statement::MAX_STATEMENT_LEN;

mod cyclonedx;
mod spdx;
mod spdx3;

/// The most components of one document, at each level.
pub const MAX_COMPONENTS: usize = 200_000;
/// The most references or digests of one component.
pub const MAX_REFERENCES: usize = 4096;
/// How many components a gap names.
pub const MAX_EXAMPLES: usize = 5;

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

/// Whether a predicate type is that of a bill of materials, in any version.
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
    match registry::kind_of(predicate_type)?.name {
        "spdx" => Some(true),
        "cyclonedx" => Some(false),
        _ => None,
    }
}

/// Something that the artifact is made of, or the artifact itself. What is not said is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Component {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Who made it or supplies it.
    pub supplier: String,
    /// Its package URL.
    pub purl: Option<Purl>,
    /// Whether anything else tells it apart: a CPE, a SWID tag, an identifier of git's.
    pub otherwise_identified: bool,
    /// Its digests (`sha256:…`).
    pub digests: BTreeSet<String>,
}

/// What a bill of materials comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sbom {
    /// Its form.
    pub format: Format,
    /// The version of the form.
    pub version: String,
    /// How many components it names, files among them.
    pub components: usize,
    /// The digests (`sha256:…`) that it gives to what it is about. Mostly none: the statement around it has the digest.
    pub digests: BTreeSet<String>,
    /// What it is about, by name.
    pub root: Option<Component>,
    /// The packages; no files, which have less that could be told of them.
    pub parts: Vec<Component>,
    /// Who or what made the document.
    pub authors: Vec<String>,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// Whether it says how anything in it hangs together.
    pub has_relationships: bool,
}

/// How a bill of materials and an artifact go together, by the bill's own word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Binding {
    /// It gives this digest to what it is about.
    Named,
    /// It gives none.
    Silent,
    /// It gives others.
    Other,
}

/// One of the minimum elements of a bill of materials, by the NTIA's list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Element {
    /// Who made the document.
    Author,
    /// When it was made.
    Timestamp,
    /// Who supplies a component.
    Supplier,
    /// What a component is called.
    Name,
    /// Which version it is of.
    Version,
    /// What else tells it apart from others.
    Identifier,
    /// How things hang together.
    Relationship,
}

impl Element {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Author,
        Self::Timestamp,
        Self::Supplier,
        Self::Name,
        Self::Version,
        Self::Identifier,
        Self::Relationship,
    ];

    /// As the list calls it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Author => "author of SBOM data",
            Self::Timestamp => "timestamp",
            Self::Supplier => "supplier name",
            Self::Name => "component name",
            Self::Version => "version of the component",
            Self::Identifier => "other unique identifiers",
            Self::Relationship => "dependency relationship",
        }
    }
}

/// An element that is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Which.
    pub element: Element,
    /// With how many components; 1 for the document.
    pub count: usize,
    /// Some of them.
    pub examples: Vec<String>,
}

impl Sbom {
    /// Reads a predicate of a type for which [`is_type`] holds. Types name what they hold: a CycloneDX document under SPDX's
    /// is refused, and one of version 1.4 under the type of 1.6.
    ///
    /// # Errors
    /// [`JsonError`]: another type, limits, what is no such document.
    pub fn from_json(predicate_type: &str, text: &str) -> Result<Self, JsonError> {
        let spdx = is_spdx(predicate_type).ok_or_else(|| {
            let wanted = "https://spdx.dev/Document, https://cyclonedx.org/bom";
            JsonError::Shape(format!("expected a bill of materials ({wanted}), found {predicate_type}"))
        })?;
        let read = if spdx { Self::spdx(text)? } else { read::<cyclonedx::Document>(text)?.summary()? };
        let named = predicate_type.rsplit_once("/v").map(|(_, version)| version);
        let own = read.version.strip_prefix("SPDX-").unwrap_or(&read.version);
        if let Some(named) = named.filter(|named| *named != own && !own.starts_with(&format!("{named}."))) {
            return Err(JsonError::Shape(format!("expected version {named} as its type says, found {own}")));
        }
        Ok(read)
    }

    /// Reads a document whose form is not known: CycloneDX, or SPDX in any form, its lines of tags among them.
    ///
    /// # Errors
    /// [`JsonError`]: limits, what is no such document.
    pub fn of_any_form(text: &str) -> Result<Self, JsonError> {
        if !text.trim_start().starts_with('{') {
            if text.len() > MAX_STATEMENT_LEN {
                return Err(JsonError::TooLarge { limit: MAX_STATEMENT_LEN, found: text.len() });
            }
            return spdx::tags(text);
        }
        match read::<Form>(text)?.bom_format {
            Some(_) => read::<cyclonedx::Document>(text)?.summary(),
            None => Self::spdx(text),
        }
    }

    fn spdx(text: &str) -> Result<Self, JsonError> {
        match text.trim_start().bytes().next() {
            Some(b'"') => spdx::tags(&read::<String>(text)?),
            _ => match read::<Form>(text)?.graph {
                Some(_) => read::<spdx3::Document>(text)?.summary(),
                None => read::<spdx::Document>(text)?.summary(),
            },
        }
    }

    /// Whether it is about an artifact, by its own word.
    #[must_use]
    pub fn binding(&self, digest: &Digest) -> Binding {
        if self.digests.is_empty() {
            Binding::Silent
        } else if self.digests.contains(&digest.to_string()) {
            Binding::Named
        } else {
            Binding::Other
        }
    }

    /// The minimum elements of the NTIA that it lacks; none when it has all of them. Without components, there is nothing
    /// that could have any: all those of components are missing.
    #[must_use]
    pub fn missing(&self) -> Vec<Missing> {
        Element::ALL.into_iter().filter_map(|element| self.lacks(element)).collect()
    }

    fn lacks(&self, element: Element) -> Option<Missing> {
        let document = |has: bool| (!has).then(|| Missing { element, count: 1, examples: Vec::new() });
        let each = |has: fn(&Component) -> bool| {
            let without: Vec<&Component> = self.parts.iter().filter(|part| !has(part)).collect();
            let none = self.parts.is_empty();
            let named = |part: &&Component| match (&part.purl, part.name.as_str()) {
                (Some(purl), _) => purl.to_string(),
                (None, "") => "a component without a name".to_owned(),
                (None, name) => name.to_owned(),
            };
            let examples = without.iter().take(MAX_EXAMPLES).map(named).collect();
            (none || !without.is_empty()).then_some(Missing { element, count: without.len(), examples })
        };
        match element {
            Element::Author => document(!self.authors.is_empty()),
            Element::Timestamp => document(self.created.is_some()),
            Element::Relationship => document(self.has_relationships),
            Element::Supplier => each(|part| !part.supplier.is_empty()),
            Element::Name => each(|part| !part.name.is_empty()),
            Element::Version => each(|part| !part.version.is_empty()),
            Element::Identifier => each(|part| part.purl.is_some() || part.otherwise_identified),
        }
    }
}

/// What tells the forms apart.
#[derive(Deserialize)]
struct Form {
    #[serde(rename = "bomFormat")]
    bom_format: Option<IgnoredAny>,
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

/// What is said, where "nobody says" is not taken for something said.
fn said(text: &str) -> String {
    if matches!(text.trim(), "NOASSERTION" | "NONE") { String::new() } else { text.trim().to_owned() }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

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
        let file = format!(
            "SPDXVersion: SPDX-2.3\nFileName: f\nSPDXID: f\nFileChecksum: SHA256: {HEX}\nPackageComment: <text>\nFileName: no\n\
             </text>\nRelationship: SPDXRef-DOCUMENT DESCRIBES f\n"
        );
        let read = parse(SPDX, &json!(file)).unwrap();
        assert_eq!(
            (read.components, read.digests),
            (1, [format!("sha256:{HEX}")].into()),
            "a file may be the subject"
        );
        let graph = json!({ "@context": "https://spdx.org/rdf/3.0.1/spdx-context.jsonld", "@graph": [
            { "type": "CreationInfo", "specVersion": "3.0.1" }, { "type": "SpdxDocument" }, { "type": "software_Package" }] });
        let read = parse("https://spdx.dev/Document/v3", &graph).unwrap();
        assert_eq!((read.format, read.version.as_str(), read.components), (Format::Spdx3, "3.0.1", 1));
        let of_image = |purpose: &str| {
            let graph = json!({ "@context": "https://spdx.org/rdf/3.0.1/spdx-context.jsonld", "@graph": [
                { "type": "CreationInfo", "specVersion": "3.0.1" }, { "type": "SpdxDocument", "rootElement": ["image"] },
                { "type": "software_Package", "spdxId": "image", "software_primaryPurpose": purpose }] });
            parse("https://spdx.dev/Document/v3", &graph).unwrap().components
        };
        assert_eq!((of_image("container"), of_image("application")), (0, 1), "the image is no component");
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

    fn whole() -> Value {
        json!({ "bomFormat": "CycloneDX", "specVersion": "1.6",
            "metadata": { "timestamp": "2026-01-01T00:00:00Z", "authors": [{ "name": "Ann" }],
                "component": { "bom-ref": "root", "name": "shop", "hashes": [{ "alg": "SHA-256", "content": HEX }] } },
            "components": [{ "bom-ref": "a", "name": "a", "version": "1", "purl": "pkg:npm/a@1", "supplier": { "name": "A" },
                "components": [{ "name": "b", "version": "2", "cpe": "cpe:2.3:a:b:b:2", "publisher": "B" }] },
                { "type": "file", "name": "/Cargo.lock" }],
            "dependencies": [{ "ref": "root", "dependsOn": ["a"] }] })
    }

    #[test]
    fn each_of_the_minimum_elements_alone_is_missed() {
        let good = parse(CYCLONEDX, &whole()).unwrap();
        assert_eq!(
            (good.missing(), good.parts.len(), good.components),
            (Vec::new(), 2, 3),
            "a file is no package"
        );
        assert_eq!(good.root.as_ref().map(|root| root.name.as_str()), Some("shop"));
        for (pointer, value, element) in [
            ("/metadata/timestamp", Value::Null, Element::Timestamp),
            ("/metadata/authors", json!([]), Element::Author),
            ("/components/0/name", json!(""), Element::Name),
            ("/components/0/components/0/version", json!(""), Element::Version),
            ("/components/0/supplier", json!({ "name": " " }), Element::Supplier),
            ("/components/0/components/0/cpe", Value::Null, Element::Identifier),
            ("/components/0/purl", json!("no package URL"), Element::Identifier),
            ("/dependencies", json!([{ "ref": "root", "dependsOn": [] }]), Element::Relationship),
        ] {
            let mut changed = whole();
            *changed.pointer_mut(pointer).unwrap() = value;
            let missing = parse(CYCLONEDX, &changed).unwrap().missing();
            let [one] = &missing[..] else { panic!("{pointer}: {missing:?}") };
            assert_eq!((one.element, one.count), (element, 1), "{pointer}");
        }
        let mut empty = whole();
        empty["components"] = json!([]);
        let of_components = |missing: &Missing| missing.count == 0;
        assert_eq!(
            parse(CYCLONEDX, &empty).unwrap().missing().iter().filter(|m| of_components(m)).count(),
            4
        );
    }

    #[test]
    fn spdx_has_the_minimum_elements_in_each_of_its_forms() {
        let package = json!({ "SPDXID": "a", "name": "a", "versionInfo": "1", "supplier": "Organization: A",
            "externalRefs": [{ "referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": "pkg:npm/a@1" }] });
        let document = json!({ "spdxVersion": "SPDX-2.3", "creationInfo": { "created": "2026-01-01T00:00:00Z", "creators": ["Tool: t"] },
            "packages": [package, { "SPDXID": "root", "name": "shop", "checksums": [{ "algorithm": "SHA256", "checksumValue": HEX }] }],
            "documentDescribes": ["root"],
            "relationships": [{ "spdxElementId": "root", "relationshipType": "CONTAINS", "relatedSpdxElement": "a" }] });
        let lines = json!(format!(
            "SPDXVersion: SPDX-2.3\nCreator: Tool: t\nCreated: 2026-01-01T00:00:00Z\n\
            FileName: x\nSPDXID: x\nPackageName: shop\n\
            SPDXID: root\nPackageChecksum: SHA256: {HEX}\nPackageName: a\nSPDXID: a\nPackageVersion: 1\nPackageSupplier: Person: A\n\
            ExternalRef: PACKAGE-MANAGER purl pkg:npm/a@1\nRelationship: SPDXRef-DOCUMENT DESCRIBES root\n\
            Relationship: root CONTAINS a\n"
        ));
        let graph = json!({ "@context": "https://spdx.org/rdf/3.0.1/spdx-context.jsonld", "@graph": [
            { "type": "CreationInfo", "specVersion": "3.0.1", "created": "2026-01-01T00:00:00Z", "createdBy": ["ann"] },
            { "type": "SpdxDocument", "rootElement": ["bom"] }, { "type": "software_Sbom", "spdxId": "bom", "rootElement": ["root"] },
            { "type": "Organization", "spdxId": "org", "name": "A" },
            { "type": "software_Package", "spdxId": "root", "name": "shop",
              "verifiedUsing": [{ "type": "Hash", "algorithm": "sha256", "hashValue": HEX }] },
            { "type": "software_Package", "spdxId": "a", "name": "a", "software_packageVersion": "1", "suppliedBy": "org",
              "software_packageUrl": "pkg:npm/a@1" },
            { "type": "Relationship", "relationshipType": "contains", "from": "root", "to": ["a"] }] });
        for document in [document, lines, graph] {
            let read = parse(SPDX, &document).unwrap();
            assert_eq!(read.missing(), Vec::new(), "{read:?}");
            assert_eq!(read.digests, [format!("sha256:{HEX}")].into(), "{document}");
            assert_eq!(read.root.map(|root| root.name).as_deref(), Some("shop"), "{document}");
            assert_eq!(read.parts.len(), 1, "{document}");
        }
        let nobody = json!({ "spdxVersion": "SPDX-2.3", "packages": [{ "name": "a", "versionInfo": "NOASSERTION", "supplier": "NOASSERTION" }] });
        let missing: Vec<Element> =
            parse(SPDX, &nobody).unwrap().missing().into_iter().map(|m| m.element).collect();
        assert!(!missing.contains(&Element::Name) && missing.len() == 6, "{missing:?}");
    }

    #[test]
    fn a_bill_is_bound_to_the_artifact_that_it_names() {
        let own = parse(CYCLONEDX, &whole()).unwrap();
        let digest = |text: &str| Digest::parse(text).unwrap();
        assert_eq!(own.binding(&digest(&format!("sha256:{HEX}"))), Binding::Named);
        assert_eq!(own.binding(&digest(&format!("sha256:{}", "0".repeat(64)))), Binding::Other);
        let mut silent = whole();
        silent["metadata"]["component"]["hashes"] = Value::Null;
        assert_eq!(
            parse(CYCLONEDX, &silent).unwrap().binding(&digest(&format!("sha256:{HEX}"))),
            Binding::Silent
        );
    }

    #[test]
    fn a_document_of_any_form_is_known_by_itself_and_a_type_of_another_version_is_refused() {
        assert_eq!(Sbom::of_any_form(&whole().to_string()).unwrap().format, Format::CycloneDx);
        assert_eq!(
            Sbom::of_any_form("SPDXVersion: SPDX-2.3\nPackageName: a\n").unwrap().format,
            Format::SpdxTags
        );
        assert_eq!(Sbom::of_any_form(r#"{"spdxVersion":"SPDX-2.3"}"#).unwrap().format, Format::Spdx);
        for bad in ["", "{}", "words", "[]", r#"{"bomFormat":"x"}"#] {
            assert!(Sbom::of_any_form(bad).is_err(), "{bad}");
        }
        assert!(parse("https://cyclonedx.org/bom/v1.6", &whole()).is_ok());
        assert!(
            parse("https://cyclonedx.org/bom/v1.5", &whole()).unwrap_err().contains("expected version 1.5")
        );
        assert!(parse("https://spdx.dev/Document/v3", &json!({ "spdxVersion": "SPDX-2.3" })).is_err());
        let mut new = whole();
        new["specVersion"] = "2.0".into();
        assert!(parse(CYCLONEDX, &new).unwrap_err().contains("specVersion"));
    }
}
