//! OpenVEX documents: whether a vulnerability touches a product, in somebody's word. [`super::triage`] says which statement
//! holds; [`write`](mod@write) makes documents, and one of several.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use jiff::Timestamp;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::{read, time};
use crate::json::{Bounded, Index, JsonError, UniqueMap, null_is_default};
use crate::purl::Purl;

pub mod write;

/// The types of predicates that hold such a document.
///
/// The last one is of an example of the specification, and no URI; it is read, as documents under it exist.
pub const TYPES: [&str; 5] = [
    "https://openvex.dev/ns",
    "https://openvex.dev/ns/v0.2.0",
    "https://openvex.dev/ns/v0.0.1",
    "https://openvex.dev/ns/v0.0.2",
    "text/vex",
];
/// What `@context` may be; without a version it is the first one.
const CONTEXTS: [&str; 4] = [
    "https://openvex.dev/ns/v0.2.0",
    "https://openvex.dev/ns",
    "https://openvex.dev/ns/v0.0.1",
    "https://openvex.dev/ns/v0.0.2",
];

/// The most statements of one document.
pub const MAX_STATEMENTS: usize = 20_000;
/// The most products of one statement, and components of one product.
pub const MAX_PRODUCTS: usize = 4096;
/// The most other names of a vulnerability, and hashes of a product.
pub const MAX_NAMES: usize = 256;

/// What is said of a vulnerability in a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Status {
    /// It does no harm there.
    NotAffected,
    /// It was mended there.
    Fixed,
    /// Nobody knows yet.
    UnderInvestigation,
    /// It does harm there.
    Affected,
}

impl Status {
    /// All of them, the most harmless first.
    pub const ALL: [Self; 4] = [Self::NotAffected, Self::Fixed, Self::UnderInvestigation, Self::Affected];

    /// As documents spell it.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::NotAffected => "not_affected",
            Self::Fixed => "fixed",
            Self::UnderInvestigation => "under_investigation",
            Self::Affected => "affected",
        }
    }

    /// Whether a vulnerability of which this is said need not be counted.
    #[must_use]
    pub const fn clears(self) -> bool {
        matches!(self, Self::NotAffected | Self::Fixed)
    }
}

/// Why something is not affected, in the words that are allowed.
pub const JUSTIFICATIONS: [&str; 5] = [
    "component_not_present",
    "vulnerable_code_not_present",
    "vulnerable_code_not_in_execute_path",
    "vulnerable_code_cannot_be_controlled_by_adversary",
    "inline_mitigations_already_exist",
];

/// A document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenVex {
    /// Its name, an IRI.
    pub id: String,
    /// Who says all this.
    pub author: String,
    /// When.
    pub time: Timestamp,
    /// Which version of the document it is.
    pub version: u64,
    /// What is said; at least one.
    pub statements: Vec<Statement>,
}

/// What is said of one vulnerability.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// The names of the vulnerability; at least one.
    pub vulnerability: Vec<String>,
    /// The products; none for what the document is attached to.
    pub products: Vec<Product>,
    /// What is said.
    pub status: Status,
    /// Why it is not affected: one of [`JUSTIFICATIONS`].
    pub justification: Option<String>,
    /// The same in words, or what to do.
    pub words: String,
    /// When it was said: the statement's own time, or the document's.
    pub time: Timestamp,
}

/// A product, or a part of one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Product {
    /// Its name, an IRI.
    pub id: String,
    /// Its package URL, by whichever member it is named.
    pub purl: Option<Purl>,
    /// Its digests, hexadecimal in small letters, by algorithm: `sha256`.
    pub hashes: BTreeMap<String, String>,
    /// The parts that are meant; none for all of it.
    pub parts: Vec<Product>,
}

impl OpenVex {
    /// Reads a document, of version 0.2.0 or of those before.
    ///
    /// A member of a statement or a product that is not known is refused: it could say that less is meant.
    ///
    /// # Errors
    /// [`JsonError`]: limits, members missing or of another type, a status or justification that is not known, nothing that
    /// says why something is not affected.
    pub fn from_json(text: &str) -> Result<Self, JsonError> {
        let wire: WireDocument = read(text)?;
        if !CONTEXTS.contains(&wire.context.as_str()) {
            let text = format!("@context: expected {}, found \"{}\"", CONTEXTS[0], wire.context);
            return Err(JsonError::Shape(text));
        }
        let when = |path: &str, text: &str| {
            time(path, text)?.ok_or_else(|| JsonError::Shape(format!("{path}: expected a time, found none")))
        };
        let own = when("timestamp", &wire.timestamp)?;
        if wire.version.0 == 0 {
            return Err(JsonError::Shape("version: expected 1 or more, found 0".into()));
        }
        if wire.statements.0.is_empty() {
            return Err(JsonError::Shape("statements: expected at least one, found none".into()));
        }
        let statement = |(index, wire): (usize, WireStatement)| {
            let path = |field: &str| format!("statements[{index}].{field}");
            let time = match &wire.timestamp {
                Some(text) => when(&path("timestamp"), text)?,
                None => own,
            };
            wire.check(time).map_err(|(field, why)| JsonError::Shape(format!("{}: {why}", path(field))))
        };
        Ok(Self {
            id: wire.id,
            author: wire.author,
            time: own,
            version: wire.version.0,
            statements: wire.statements.0.into_iter().enumerate().map(statement).collect::<Result<_, _>>()?,
        })
    }
}

/// Whether a text is a document that may be published: one that can be read, and in which each statement says what its status
/// demands, and nothing that goes with another one. Readers take more, because a warning that is badly written is still one.
///
/// # Errors
/// [`JsonError`] with the statement and what was expected there.
pub fn check(text: &str) -> Result<(), JsonError> {
    OpenVex::from_json(text)?;
    let wire: WireDocument = read(text)?;
    for (index, statement) in wire.statements.0.iter().enumerate() {
        let filled = |text: &Option<String>| text.as_deref().is_some_and(|text| !text.trim().is_empty());
        let (clear, affected) = (statement.status == "not_affected", statement.status == "affected");
        let members = [
            ("justification", filled(&statement.justification), clear),
            ("impact_statement", filled(&statement.impact_statement), clear),
            ("action_statement", filled(&statement.action_statement), affected),
        ];
        for (name, is_there, belongs) in members {
            if is_there && !belongs {
                let status = &statement.status;
                return Err(JsonError::Shape(format!(
                    "statements[{index}].{name}: expected none with the status {status}"
                )));
            }
        }
        if affected && !filled(&statement.action_statement) {
            return Err(JsonError::Shape(format!(
                "statements[{index}].action_statement: expected what to do about it, as it is affected; found none"
            )));
        }
    }
    Ok(())
}

#[derive(Deserialize)]
struct WireDocument {
    #[serde(rename = "@context")]
    context: String,
    #[serde(rename = "@id")]
    id: String,
    author: String,
    timestamp: String,
    version: Index,
    statements: Bounded<WireStatement, MAX_STATEMENTS>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "members that are allowed and say nothing here")]
struct WireStatement {
    #[serde(rename = "@id")]
    id: Option<String>,
    version: Option<Value>,
    #[serde(deserialize_with = "text_or_object")]
    vulnerability: WireVulnerability,
    timestamp: Option<String>,
    last_updated: Option<String>,
    #[serde(default, deserialize_with = "null_is_default")]
    products: Bounded<WireProduct, MAX_PRODUCTS>,
    status: String,
    supplier: Option<String>,
    status_notes: Option<String>,
    justification: Option<String>,
    impact_statement: Option<String>,
    action_statement: Option<String>,
    action_statement_timestamp: Option<String>,
}

impl WireStatement {
    fn check(self, time: Timestamp) -> Result<Statement, (&'static str, String)> {
        let known = || Status::ALL.map(Status::code).join(", ");
        let status = Status::ALL
            .into_iter()
            .find(|status| status.code() == self.status)
            .ok_or_else(|| ("status", format!("expected one of {}, found \"{}\"", known(), self.status)))?;
        let some = |text: Option<String>| text.filter(|text| !text.trim().is_empty());
        let justification = some(self.justification);
        if let Some(other) = justification.as_deref().filter(|text| !JUSTIFICATIONS.contains(text)) {
            let text = format!("expected one of {}, found \"{other}\"", JUSTIFICATIONS.join(", "));
            return Err(("justification", text));
        }
        let impact = some(self.impact_statement);
        if status == Status::NotAffected && justification.is_none() && impact.is_none() {
            let text = "not_affected without one, or an impact_statement: nothing says why".to_owned();
            return Err(("justification", text));
        }
        let vulnerability: Vec<String> =
            std::iter::once(self.vulnerability.name).chain(self.vulnerability.aliases.0).collect();
        if vulnerability.iter().any(|name| name.trim().is_empty()) {
            return Err(("vulnerability", "expected a name, found none".to_owned()));
        }
        let mut products = Vec::new();
        for product in self.products.0 {
            products.push(product.0.product().map_err(|why| ("products", why))?);
        }
        let words = impact.or(some(self.action_statement)).or(some(self.status_notes)).unwrap_or_default();
        Ok(Statement { vulnerability, products, status, justification, words, time })
    }
}

#[derive(Deserialize)]
struct WireVulnerability {
    name: String,
    #[serde(default, deserialize_with = "null_is_default")]
    aliases: Bounded<String, MAX_NAMES>,
}

impl From<String> for WireVulnerability {
    fn from(name: String) -> Self {
        Self { name, aliases: Bounded::default() }
    }
}

/// A product in the list: the older form is its name.
struct WireProduct(WireComponent);

impl<'de> Deserialize<'de> for WireProduct {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text_or_object(deserializer).map(Self)
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireComponent {
    #[serde(rename = "@id", default, deserialize_with = "null_is_default")]
    id: String,
    #[serde(default, deserialize_with = "null_is_default")]
    identifiers: UniqueMap<String, MAX_NAMES>,
    #[serde(default, deserialize_with = "null_is_default")]
    hashes: UniqueMap<String, MAX_NAMES>,
    #[serde(default, deserialize_with = "null_is_default")]
    subcomponents: Bounded<WirePart, MAX_PRODUCTS>,
    #[serde(default)]
    #[expect(dead_code, reason = "allowed, and says nothing here")]
    supplier: Option<String>,
}

/// A part of a product, which has no parts of its own.
struct WirePart(WireComponent);

impl<'de> Deserialize<'de> for WirePart {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let part: WireComponent = text_or_object(deserializer)?;
        if part.subcomponents.0.is_empty() {
            Ok(Self(part))
        } else {
            Err(D::Error::custom("subcomponents: expected none in a subcomponent"))
        }
    }
}

impl From<String> for WireComponent {
    fn from(id: String) -> Self {
        Self { id, ..Self::default() }
    }
}

impl WireComponent {
    fn product(self) -> Result<Product, String> {
        let named = match self.identifiers.0.get("purl") {
            Some(text) => {
                Some(Purl::parse(text).ok_or_else(|| format!("expected a package URL, found \"{text}\""))?)
            }
            None => None,
        };
        let mut hashes = BTreeMap::new();
        for (name, value) in self.hashes.0 {
            // `sha-256` and `sha256` are both in circulation.
            hashes.insert(name.to_ascii_lowercase().replace('-', ""), value.to_ascii_lowercase());
        }
        let parts =
            self.subcomponents.0.into_iter().map(|part| part.0.product()).collect::<Result<Vec<_>, _>>()?;
        let purl = named.or_else(|| Purl::parse(&self.id));
        if self.id.is_empty() && purl.is_none() && hashes.is_empty() && self.identifiers.0.is_empty() {
            return Err("a product without a name".to_owned());
        }
        Ok(Product { id: self.id, purl, hashes, parts })
    }
}

/// An object, or the text that older documents have in its place.
fn text_or_object<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + From<String>,
{
    struct Either<T>(PhantomData<T>);
    impl<'de, T: Deserialize<'de> + From<String>> Visitor<'de> for Either<T> {
        type Value = T;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object or a name")
        }
        fn visit_str<E>(self, text: &str) -> Result<T, E> {
            Ok(T::from(text.to_owned()))
        }
        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
            T::deserialize(MapAccessDeserializer::new(map))
        }
    }
    deserializer.deserialize_any(Either(PhantomData))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn document(statement: &Value) -> Value {
        json!({ "@context": "https://openvex.dev/ns/v0.2.0", "@id": "https://example.com/vex/1", "author": "Acme",
            "timestamp": "2026-01-02T00:00:00Z", "version": 1, "statements": [statement] })
    }

    fn statement() -> Value {
        json!({ "vulnerability": { "name": "CVE-1", "aliases": ["GHSA-1"] }, "status": "not_affected",
            "justification": "component_not_present", "products": [{ "@id": "pkg:oci/shop@sha256%3Aab",
                "hashes": { "SHA-256": "AB" }, "subcomponents": [{ "@id": "pkg:deb/debian/openssl" }] }] })
    }

    fn parse(value: &Value) -> Result<OpenVex, String> {
        OpenVex::from_json(&value.to_string()).map_err(|e| e.to_string())
    }

    #[test]
    fn a_document_is_read_and_statements_inherit_its_time() {
        let read = parse(&document(&statement())).unwrap();
        let [only] = &read.statements[..] else { panic!("{read:?}") };
        assert_eq!(only.vulnerability, ["CVE-1", "GHSA-1"]);
        assert_eq!((only.status, only.time), (Status::NotAffected, read.time));
        let [product] = &only.products[..] else { panic!("{only:?}") };
        assert_eq!((product.hashes["sha256"].as_str(), product.parts.len()), ("ab", 1));
        assert_eq!(product.purl.as_ref().unwrap().version.as_deref(), Some("sha256:ab"));
        let mut later = statement();
        later["timestamp"] = "2026-01-03T00:00:00Z".into();
        assert!(parse(&document(&later)).unwrap().statements[0].time > read.time);
    }

    #[test]
    fn what_is_published_says_what_its_status_demands_and_nothing_else_and_readers_take_more() {
        let good = document(&statement()).to_string();
        assert!(check(&good).is_ok());
        for (changes, says) in [
            (json!({ "status": "affected", "justification": null }), "what to do about it"),
            (json!({ "status": "affected", "action_statement": "update" }), "justification: expected none"),
            (
                json!({ "status": "fixed", "justification": null, "impact_statement": "x" }),
                "impact_statement: expected none",
            ),
            (json!({ "action_statement": "update" }), "action_statement: expected none"),
        ] {
            let mut changed = statement();
            for (name, value) in changes.as_object().unwrap() {
                changed[name] = value.clone();
            }
            let text = document(&changed).to_string();
            assert!(OpenVex::from_json(&text).is_ok(), "{text}");
            assert!(check(&text).unwrap_err().to_string().contains(says), "{says}");
        }
    }

    #[test]
    fn the_older_form_and_a_version_as_text_are_read() {
        let mut old =
            document(&json!({ "vulnerability": "CVE-1", "products": ["pkg:oci/shop"], "status": "fixed" }));
        old["@context"] = "https://openvex.dev/ns".into();
        old["version"] = "1".into();
        let read = parse(&old).unwrap();
        assert_eq!(read.statements[0].vulnerability, ["CVE-1"]);
        assert!(read.statements[0].products[0].purl.is_some());
    }

    #[test]
    fn not_affected_needs_a_reason_and_each_member_alone_can_refuse_a_document() {
        let mut words = statement();
        words["justification"] = Value::Null;
        words["impact_statement"] = "not built in".into();
        assert_eq!(parse(&document(&words)).unwrap().statements[0].words, "not built in");
        for (field, value, says) in [
            ("justification", Value::Null, "nothing says why"),
            ("justification", "because".into(), "expected one of component_not_present"),
            ("status", "ok".into(), "expected one of not_affected"),
            ("vulnerability", json!({ "name": " " }), "expected a name"),
            ("vulnerability", json!({}), "name"),
            ("products", json!([{}]), "without a name"),
            ("products", json!([{ "identifiers": { "purl": "x" } }]), "expected a package URL"),
            ("products", json!([{ "@id": "a", "subcomponent": [] }]), "subcomponent"),
            (
                "products",
                json!([{ "@id": "a", "subcomponents": [{ "@id": "b", "subcomponents": ["c"] }] }]),
                "expected none",
            ),
            ("only_if", "x".into(), "only_if"),
            ("timestamp", "0001-01-01T00:00:00Z".into(), "expected a time"),
        ] {
            let mut changed = statement();
            changed[field] = value;
            let error = parse(&document(&changed)).unwrap_err();
            assert!(error.contains(says), "{field}: {error}");
        }
        for (field, value) in [
            ("@context", json!("https://openvex.dev/ns/v9")),
            ("@id", Value::Null),
            ("author", Value::Null),
            ("timestamp", json!("now")),
            ("version", json!(0)),
            ("statements", json!([])),
        ] {
            let mut changed = document(&statement());
            changed[field] = value;
            assert!(parse(&changed).is_err(), "{field}");
        }
    }
}
