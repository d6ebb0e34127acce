//! Making OpenVEX documents: new ones, and one of several. What is made is checked as [`super::check`] does.

use std::collections::BTreeMap;

use countersign_crypto::{Digest, HashAlgorithm};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{CONTEXTS, MAX_STATEMENTS, OpenVex, Status, check, read};
use crate::json::{JsonError, UniqueValue};
use crate::purl::Purl;

/// Who speaks, and when.
#[derive(Debug, Clone)]
pub struct Author {
    /// Who.
    pub name: String,
    /// As what: `vendor`, `maintainer`; empty for none.
    pub role: String,
    /// The name of the document; empty for one made from what it says.
    pub id: String,
    /// When.
    pub time: Timestamp,
}

/// What is to be said of one vulnerability.
#[derive(Debug, Clone)]
pub struct NewStatement {
    /// Its name.
    pub vulnerability: String,
    /// Its other names.
    pub aliases: Vec<String>,
    /// The products; none for what the document will be attached to.
    pub products: Vec<Purl>,
    /// The parts of them that are meant; none for all of them.
    pub parts: Vec<Purl>,
    /// What is said.
    pub status: Status,
    /// Why it is not affected, in one of the words that are allowed; empty for none.
    pub justification: String,
    /// The same in the author's own words; empty for none.
    pub impact: String,
    /// What to do where it is affected; empty for nothing.
    pub action: String,
}

/// The package URL by which statements name an image: by its digest, with its repository.
///
/// ```
/// use countersign_attestation::predicate::openvex::write::image_purl;
/// let digest = countersign_crypto::HashAlgorithm::Sha256.digest(b"manifest");
/// let purl = image_purl("registry.example/team/shop", &digest);
/// assert_eq!((purl.name.as_str(), purl.version), ("shop", Some(digest.to_string())));
/// ```
#[must_use]
pub fn image_purl(repository: &str, digest: &Digest) -> Purl {
    let last = repository.rsplit('/').next().unwrap_or(repository);
    Purl {
        kind: "oci".to_owned(),
        namespace: String::new(),
        name: last.to_ascii_lowercase(),
        version: Some(digest.to_string()),
        qualifiers: [("repository_url".to_owned(), repository.to_owned())].into(),
        subpath: String::new(),
    }
}

/// A document of new statements.
///
/// # Errors
/// [`JsonError`]: what a reader or [`super::check`] would refuse.
pub fn create(author: &Author, statements: &[NewStatement]) -> Result<String, JsonError> {
    let statements: Vec<Value> =
        statements.iter().map(|statement| statement.members(author.time).into()).collect();
    document(author, &statements)
}

/// One document of several. Each statement keeps its own time, or the one that it had from its document, so that the later
/// word still holds; what is said twice is said once.
///
/// # Errors
/// [`JsonError`], with the name of the document: one that cannot be read, and a statement that names no product, because it
/// is about whatever its own document is attached to.
pub fn merge(author: &Author, documents: &[(&str, &str)]) -> Result<String, JsonError> {
    let mut all: BTreeMap<(Timestamp, String), Value> = BTreeMap::new();
    for (name, text) in documents {
        let within = |why: String| JsonError::Shape(format!("{name}: {why}"));
        let model = OpenVex::from_json(text).map_err(|e| within(e.to_string()))?;
        let UniqueValue(mut raw) = read(text).map_err(|e| within(e.to_string()))?;
        let list = raw.get_mut("statements").and_then(Value::as_array_mut).map(std::mem::take);
        for (index, (statement, raw)) in model.statements.iter().zip(list.unwrap_or_default()).enumerate() {
            if statement.products.is_empty() {
                return Err(within(format!(
                    "statements[{index}].products: expected at least one; this statement is about whatever the document is \
                     attached to, which another document is not"
                )));
            }
            let mut members = match raw {
                Value::Object(members) => renewed(members),
                _ => Map::new(),
            };
            members.insert("timestamp".to_owned(), statement.time.to_string().into());
            let value = Value::Object(members);
            all.insert((statement.time, value.to_string()), value);
            if all.len() > MAX_STATEMENTS {
                return Err(within(format!("more than {MAX_STATEMENTS} statements in all")));
            }
        }
    }
    document(author, &all.into_values().collect::<Vec<_>>())
}

/// A statement of an older version in the words of the newest: names become objects.
fn renewed(mut members: Map<String, Value>) -> Map<String, Value> {
    let named = |value: &mut Value, member: &str| {
        if let Value::String(name) = value {
            *value = json!({ member: name });
        }
    };
    if let Some(vulnerability) = members.get_mut("vulnerability") {
        named(vulnerability, "name");
    }
    for product in members.get_mut("products").and_then(Value::as_array_mut).into_iter().flatten() {
        named(product, "@id");
        for part in product.get_mut("subcomponents").and_then(Value::as_array_mut).into_iter().flatten() {
            named(part, "@id");
        }
    }
    members.retain(|_, member| !member.is_null());
    members
}

#[derive(Serialize)]
struct Document<'a> {
    #[serde(rename = "@context")]
    context: &'a str,
    #[serde(rename = "@id")]
    id: &'a str,
    author: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    role: &'a str,
    timestamp: String,
    version: u64,
    statements: &'a [Value],
}

fn document(author: &Author, statements: &[Value]) -> Result<String, JsonError> {
    if author.name.trim().is_empty() {
        return Err(JsonError::Shape("author: expected a name, found none".into()));
    }
    let context = CONTEXTS.first().copied().unwrap_or_default();
    let id = if author.id.is_empty() { id_of(author, statements) } else { author.id.clone() };
    let document = Document {
        context,
        id: &id,
        author: &author.name,
        role: &author.role,
        timestamp: author.time.to_string(),
        version: 1,
        statements,
    };
    let mut text = serde_json::to_string_pretty(&document)?;
    text.push('\n');
    check(&text)?;
    Ok(text)
}

/// A name made from what is said, the members of each object in order: the same words by the same author have the same name.
fn id_of(author: &Author, statements: &[Value]) -> String {
    let said = json!([author.name, author.role, author.time.to_string(), statements]);
    format!("urn:countersign:vex:{}", HashAlgorithm::Sha256.digest(said.to_string().as_bytes()).to_hex())
}

impl NewStatement {
    fn members(&self, time: Timestamp) -> Map<String, Value> {
        let mut vulnerability = object([("name", self.vulnerability.clone().into())]);
        if !self.aliases.is_empty() {
            vulnerability.insert("aliases".to_owned(), self.aliases.clone().into());
        }
        let mut statement = object([
            ("vulnerability", vulnerability.into()),
            ("status", self.status.code().into()),
            ("timestamp", time.to_string().into()),
        ]);
        let parts: Vec<Value> = self.parts.iter().map(|purl| named(purl).into()).collect();
        let product = |purl: &Purl| -> Value {
            let mut product = named(purl);
            if !parts.is_empty() {
                product.insert("subcomponents".to_owned(), parts.clone().into());
            }
            product.into()
        };
        let products: Vec<Value> = self.products.iter().map(product).collect();
        if !products.is_empty() {
            statement.insert("products".to_owned(), products.into());
        }
        let texts = [
            ("justification", &self.justification),
            ("impact_statement", &self.impact),
            ("action_statement", &self.action),
        ];
        let said = texts.into_iter().filter(|(_, text)| !text.is_empty());
        statement.extend(said.map(|(name, text)| (name.to_owned(), text.clone().into())));
        statement
    }
}

fn object<const N: usize>(members: [(&str, Value); N]) -> Map<String, Value> {
    members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// A product or a part by its package URL.
fn named(purl: &Purl) -> Map<String, Value> {
    let text = purl.to_string();
    object([("@id", text.clone().into()), ("identifiers", object([("purl", text.into())]).into())])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn author() -> Author {
        Author { name: "Acme".into(), role: String::new(), id: String::new(), time: Timestamp::UNIX_EPOCH }
    }

    fn statement() -> NewStatement {
        NewStatement {
            vulnerability: "CVE-1".into(),
            aliases: vec!["GHSA-1".into()],
            products: Purl::parse("pkg:oci/shop@sha256%3A00").into_iter().collect(),
            parts: Purl::parse("pkg:deb/debian/openssl").into_iter().collect(),
            status: Status::NotAffected,
            justification: "component_not_present".into(),
            impact: String::new(),
            action: String::new(),
        }
    }

    #[test]
    fn what_is_made_is_read_again_and_has_the_same_name_each_time() {
        let text = create(&author(), &[statement()]).unwrap();
        let read = OpenVex::from_json(&text).unwrap();
        assert_eq!((read.author.as_str(), read.version), ("Acme", 1));
        let [one] = &read.statements[..] else { panic!("{read:?}") };
        assert_eq!(one.vulnerability, ["CVE-1", "GHSA-1"]);
        assert_eq!(one.products[0].purl.as_ref(), statement().products.first());
        assert_eq!(one.products[0].parts[0].purl.as_ref(), statement().parts.first());
        assert_eq!(text, create(&author(), &[statement()]).unwrap());
        assert!(
            read.id.starts_with("urn:countersign:vex:") && text.contains("\"https://openvex.dev/ns/v0.2.0\"")
        );
        let other = NewStatement { vulnerability: "CVE-2".into(), ..statement() };
        assert_ne!(OpenVex::from_json(&create(&author(), &[other]).unwrap()).unwrap().id, read.id);
    }

    #[test]
    fn each_gap_alone_keeps_a_document_from_being_made() {
        let why = |change: fn(&mut NewStatement)| {
            let mut changed = statement();
            change(&mut changed);
            create(&author(), &[changed]).unwrap_err().to_string()
        };
        assert!(why(|own| own.justification.clear()).contains("nothing says why"));
        assert!(why(|own| own.justification = "because".into()).contains("expected one of"));
        assert!(why(|own| own.status = Status::Affected).contains("justification: expected none"));
        assert!(why(|own| own.action = "x".into()).contains("action_statement: expected none"));
        assert!(why(|own| own.vulnerability.clear()).contains("vulnerability"));
        let affected: fn(&mut NewStatement) = |own| {
            own.status = Status::Affected;
            own.justification.clear();
        };
        assert!(why(affected).contains("what to do about it"));
        assert!(create(&author(), &[]).is_err(), "a document that says nothing");
        assert!(create(&Author { name: " ".into(), ..author() }, &[statement()]).is_err());
    }

    fn at(time: &str, statement: &Value) -> String {
        json!({ "@context": "https://openvex.dev/ns/v0.0.1", "@id": "https://example.com/1", "author": "A",
            "timestamp": time, "version": "1", "statements": [statement] })
        .to_string()
    }

    #[test]
    fn vex_a_merged_statement_keeps_the_time_that_it_inherited_and_comes_once() {
        let old = at(
            "2026-01-02T01:00:00+01:00",
            &json!({ "vulnerability": "CVE-1", "products": ["pkg:oci/shop"], "status": "fixed", "supplier": "S" }),
        );
        let new = at(
            "2026-01-03T00:00:00Z",
            &json!({ "vulnerability": { "name": "CVE-1" }, "products": [{ "@id": "pkg:oci/shop" }], "status": "affected",
                "action_statement": "update", "timestamp": "2026-01-01T00:00:00Z" }),
        );
        let text = merge(&author(), &[("new", &new), ("old", &old), ("again", &old)]).unwrap();
        let read = OpenVex::from_json(&text).unwrap();
        let said: Vec<_> = read.statements.iter().map(|one| (one.status, one.time.to_string())).collect();
        let wanted = [
            (Status::Affected, "2026-01-01T00:00:00Z".to_owned()),
            (Status::Fixed, "2026-01-02T00:00:00Z".to_owned()),
        ];
        assert_eq!(said, wanted);
        assert!(text.contains("\"supplier\": \"S\""), "what is not read here is kept: {text}");
        let swapped = merge(&author(), &[("old", &old), ("new", &new)]).unwrap();
        assert_eq!(text, swapped, "whatever the order");
    }

    #[test]
    fn vex_a_statement_that_inherits_its_subject_is_not_merged() {
        let bare = at("2026-01-02T00:00:00Z", &json!({ "vulnerability": "CVE-1", "status": "fixed" }));
        let error = merge(&author(), &[("a.json", &bare)]).unwrap_err().to_string();
        assert!(error.contains("a.json: statements[0].products"), "{error}");
        assert!(merge(&author(), &[("b.json", "{}")]).unwrap_err().to_string().contains("b.json"));
        assert!(merge(&author(), &[]).is_err());
    }
}
