//! The questions of Rekor v1's search, put to the index of a tree.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use countersign_crypto::PublicKey;
use countersign_crypto::encoding::pem_decode;
use countersign_log::{Leaf, Log, LogError};
use countersign_verify::terms::{self, SearchKey};
use countersign_x509::Certificate;
use serde::Deserialize;

use crate::index::Index;

/// The most entries found for one term in one tree: the newest. An answer of more is of no use to anyone.
const MOST: usize = 10_000;

/// What a stored entry is found by.
pub(crate) fn terms_of(stored: &[u8]) -> Vec<String> {
    Leaf::parts_v1(stored).map(|(_, body)| terms::of_body_v1(body)).unwrap_or_default()
}

/// The index of a tree that lies in this directory. No checkpoint of this log states its root: clients of Rekor v1 know
/// no such line.
pub(super) fn open(directory: &Path, log: Log, key: Option<Arc<SearchKey>>) -> Result<Index, LogError> {
    Index::open(directory, log, terms_of, key, false)
}

/// A question: entries with all that is asked for, or with one thing of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Query {
    /// The terms of each thing, of which an entry has one.
    things: Vec<Vec<String>>,
    all: bool,
}

/// Why a question is none.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum QueryError {
    /// A member's text is not of its form.
    Form(&'static str),
    /// An operator nobody knows.
    Operator,
    /// The key cannot be read.
    Key,
    /// No JSON of the expected shape.
    Syntax(String),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireQuery {
    #[serde(default)]
    email: Option<String>,
    #[serde(default)]
    subject: Option<String>,
    #[serde(default)]
    public_key: Option<WireKey>,
    #[serde(default)]
    hash: Option<String>,
    #[serde(default)]
    operator: Option<String>,
}

/// A `url` in it is not read: the log fetches nothing.
#[derive(Debug, Deserialize)]
struct WireKey {
    #[serde(default)]
    content: Option<countersign_attestation::json::Base64>,
}

impl Query {
    /// Reads the body of `POST /api/v1/index/retrieve`.
    pub(crate) fn parse(body: &[u8], limit: usize) -> Result<Self, QueryError> {
        let wire: WireQuery = countersign_attestation::json::from_slice(body, limit)
            .map_err(|e| QueryError::Syntax(e.to_string()))?;
        let given = |text: Option<String>| text.filter(|t| !t.is_empty());
        let all = match given(wire.operator).as_deref() {
            Some("and") => true,
            None | Some("or") => false,
            Some(_) => return Err(QueryError::Operator),
        };
        let mut things = Vec::new();
        if let Some(hash) = given(wire.hash) {
            things.push(vec![hash_term(&hash).ok_or(QueryError::Form("hash"))?]);
        }
        if let Some(email) = given(wire.email) {
            things.push(vec![terms::term("email", &email)]);
        }
        if let Some(subject) = given(wire.subject) {
            things.push(terms::of_name(&subject).to_vec());
        }
        if let Some(key) = wire.public_key {
            let pem = key.content.and_then(|content| String::from_utf8(content.0).ok());
            let key = pem.and_then(|pem| read_key(&pem)).ok_or(QueryError::Key)?;
            things.push(vec![terms::of_key(&key)]);
        }
        Ok(Self { things, all })
    }

    /// The entries that it finds, the newest first. Blocks.
    pub(super) fn ask(&self, index: &Index) -> Result<Vec<u64>, LogError> {
        let mut found: Option<BTreeSet<u64>> = None;
        for terms in &self.things {
            let mut these = BTreeSet::new();
            for term in terms {
                these.extend(index.find(term, MOST)?);
            }
            found = Some(match found {
                None => these,
                Some(before) if self.all => &before & &these,
                Some(before) => &before | &these,
            });
        }
        Ok(found.unwrap_or_default().into_iter().rev().collect())
    }
}

/// The key of a certificate, or a key.
fn read_key(pem: &str) -> Option<PublicKey> {
    let [block] = <[_; 1]>::try_from(pem_decode(pem).ok()?).ok()?;
    match block.label.as_str() {
        "PUBLIC KEY" => PublicKey::from_spki_der(&block.der).ok(),
        "CERTIFICATE" => Some(Certificate::from_der(&block.der).ok()?.public_key().clone()),
        _ => None,
    }
}

/// A digest with or without the name of its algorithm, which then goes by its length.
fn hash_term(text: &str) -> Option<String> {
    let (name, hex) = text.split_once(':').unwrap_or(match text.len() {
        128 => ("sha512", text),
        64 => ("sha256", text),
        _ => ("sha1", text),
    });
    let digits = [("sha512", 128), ("sha256", 64), ("sha1", 40)].into_iter().find(|(n, _)| *n == name)?.1;
    let fits = hex.len() == digits && hex.bytes().all(|b| b.is_ascii_hexdigit());
    fits.then(|| format!("digest:{name}:{}", hex.to_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Result<Vec<String>, QueryError> {
        Query::parse(text.as_bytes(), 10_000).map(|q| q.things.concat())
    }

    #[test]
    fn questions_become_terms_and_what_is_none_is_told() {
        let hex = "AB".repeat(32);
        let digest = format!("digest:sha256:{}", "ab".repeat(32));
        for hash in [hex.clone(), format!("sha256:{hex}")] {
            assert_eq!(query(&format!(r#"{{"hash":"{hash}"}}"#)).unwrap(), std::slice::from_ref(&digest));
        }
        let both = query(r#"{"email":"A@b.C","subject":"https://X","operator":"and"}"#).unwrap();
        assert_eq!(both, ["email:a@b.c", "email:https://x", "uri:https://x", "subject:https://x"]);
        assert_eq!(query("{}").unwrap(), Vec::<String>::new());
        for (bad, expected) in [
            (r#"{"hash":"junk"}"#, QueryError::Form("hash")),
            (r#"{"hash":"sha256:abcd"}"#, QueryError::Form("hash")),
            (r#"{"email":"a","operator":"xor"}"#, QueryError::Operator),
            (r#"{"publicKey":{"url":"http://127.0.0.1/key"}}"#, QueryError::Key),
            (r#"{"publicKey":{"content":"AAAA"}}"#, QueryError::Key),
        ] {
            assert_eq!(query(bad), Err(expected), "{bad}");
        }
        assert!(matches!(query("{"), Err(QueryError::Syntax(_))));
        assert!(matches!(query(r#"{"email":7}"#), Err(QueryError::Syntax(_))));
    }
}
