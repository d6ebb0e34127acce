//! What entries are found by, and the questions of Rekor v1's search.
//!
//! Terms are typed texts: `digest:sha256:…`, `key:sha256:…` (of a key's `SubjectPublicKeyInfo`), `email:…`, `subject:…`
//! (any name in a certificate). They come from what is in the tree and from nothing else. The subjects of a statement are
//! not, because the log keeps its digest only.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use countersign_bundle::rekor::BodyV1;
use countersign_crypto::encoding::{hex_encode, pem_decode};
use countersign_crypto::{Digest, PublicKey};
use countersign_log::{Leaf, Log, LogError, Terms};
use countersign_x509::{Certificate, San};
use serde::Deserialize;

/// The most entries found for one term in one tree: the newest. An answer of more is of no use to anyone.
const MOST: usize = 10_000;

/// The terms of a tree's entries. All that a search asks of an index is here.
#[derive(Debug)]
pub(super) struct Index(Terms);

impl Index {
    pub(super) fn open(directory: &Path, log: Log) -> Result<Self, LogError> {
        Terms::open(directory, log, Arc::new(terms_of)).map(Self)
    }

    /// The entries that a question finds, the newest first.
    pub(super) fn find(&self, query: &Query) -> Result<Vec<u64>, LogError> {
        let mut found: Option<BTreeSet<u64>> = None;
        for term in &query.terms {
            let these: BTreeSet<u64> = self.0.find(term, MOST)?.into_iter().collect();
            found = Some(match found {
                None => these,
                Some(before) if query.all => before.intersection(&these).copied().collect(),
                Some(before) => before.union(&these).copied().collect(),
            });
        }
        Ok(found.unwrap_or_default().into_iter().rev().collect())
    }

    pub(super) fn follow(&self) -> Result<(), LogError> {
        self.0.catch_up().map(drop)
    }
}

/// What an entry is found by.
fn terms_of(stored: &[u8]) -> Vec<String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Head {
        kind: String,
        api_version: String,
    }
    let Some((_, body)) = Leaf::parts_v1(stored) else { return Vec::new() };
    let head = serde_json::from_slice::<Head>(body);
    let Some(entry) = head.ok().and_then(|h| BodyV1::parse(&h.kind, &h.api_version, body).ok()) else {
        return Vec::new();
    };
    let mut terms = Vec::new();
    match &entry {
        BodyV1::HashedRekord { digest, verifier_pem, .. } => {
            terms.push(digest_term(digest));
            terms.extend(verifier_terms(verifier_pem));
        }
        BodyV1::Dsse { envelope_hash, payload_hash, signatures } => {
            terms.extend([digest_term(envelope_hash), digest_term(payload_hash)]);
            terms.extend(signatures.iter().flat_map(|s| verifier_terms(&s.verifier_pem)));
        }
        // The digest of its envelope is whatever its sender said.
        BodyV1::Intoto { payload_hash, signatures, .. } => {
            terms.push(digest_term(payload_hash));
            terms.extend(signatures.iter().flat_map(|s| verifier_terms(&s.verifier_pem)));
        }
        _ => {}
    }
    terms
}

fn digest_term(digest: &Digest) -> String {
    format!("digest:{}:{}", digest.algorithm().name(), digest.to_hex())
}

fn key_term(key: &PublicKey) -> String {
    format!("key:sha256:{}", hex_encode(&key.fingerprint()))
}

/// Key and names of a certificate or key.
fn verifier_terms(pem: &str) -> Vec<String> {
    let Some((key, names)) = read_verifier(pem) else { return Vec::new() };
    let mut terms = vec![key_term(&key)];
    for name in names {
        let (text, email) = match name {
            San::Email(text) => (text, true),
            San::Uri(text) | San::Dns(text) | San::OtherName { value: text, .. } => (text, false),
            _ => continue,
        };
        let text = text.to_lowercase();
        if email {
            terms.push(format!("email:{text}"));
        }
        terms.push(format!("subject:{text}"));
    }
    terms
}

fn read_verifier(pem: &str) -> Option<(PublicKey, Vec<San>)> {
    let [block] = <[_; 1]>::try_from(pem_decode(pem).ok()?).ok()?;
    match block.label.as_str() {
        "PUBLIC KEY" => Some((PublicKey::from_spki_der(&block.der).ok()?, Vec::new())),
        "CERTIFICATE" => {
            let certificate = Certificate::from_der(&block.der).ok()?;
            Some((certificate.public_key().clone(), certificate.sans().to_vec()))
        }
        _ => None,
    }
}

/// A question: entries with all of these terms, or with one of them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Query {
    terms: Vec<String>,
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
        let mut terms = Vec::new();
        if let Some(hash) = given(wire.hash) {
            terms.push(hash_term(&hash).ok_or(QueryError::Form("hash"))?);
        }
        if let Some(email) = given(wire.email) {
            terms.push(format!("email:{}", email.to_lowercase()));
        }
        if let Some(subject) = given(wire.subject) {
            terms.push(format!("subject:{}", subject.to_lowercase()));
        }
        if let Some(key) = wire.public_key {
            let pem = key.content.and_then(|content| String::from_utf8(content.0).ok());
            let (key, _) = pem.and_then(|pem| read_verifier(&pem)).ok_or(QueryError::Key)?;
            terms.push(key_term(&key));
        }
        Ok(Self { terms, all })
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
        Query::parse(text.as_bytes(), 10_000).map(|q| q.terms)
    }

    #[test]
    fn questions_become_terms_and_what_is_none_is_told() {
        let hex = "AB".repeat(32);
        let digest = format!("digest:sha256:{}", "ab".repeat(32));
        for hash in [hex.clone(), format!("sha256:{hex}")] {
            assert_eq!(query(&format!(r#"{{"hash":"{hash}"}}"#)).unwrap(), std::slice::from_ref(&digest));
        }
        let both = query(r#"{"email":"A@b.C","subject":"https://X","operator":"and"}"#).unwrap();
        assert_eq!(both, ["email:a@b.c", "subject:https://x"]);
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
