//! What an entry of a transparency log is found by: pure functions from its body to typed texts.
//!
//! `digest:sha256:…` is what was signed: a file's digest, or that of the envelope around a statement, or of the statement.
//! `key:sha256:…` is the key's fingerprint, over its `SubjectPublicKeyInfo`. From a certificate come its names as
//! `email:…`, `uri:…` and `subject:…` (any other), and `issuer:…`, `repository:…`, `workflow:…` and `commit:…`. All in lower
//! case, so that each is found however it is written. A log keeps digests and no statements, so the subjects and
//! predicate types of these are no terms. An index may have the identities among them as hashes under a [`SearchKey`].

mod search_key;

use countersign_bundle::rekor::{BodyV1, HashedRekordV2, Verifier};
use countersign_crypto::{Digest, PublicKey, encoding};
use countersign_x509::{Certificate, San};
use serde::Deserialize;

pub use search_key::{IDENTITIES, SearchKey, is_identity, may_hide};

/// Names these rules; changed when the terms of any entry change, so that indexes are made anew.
pub const RULES: &str = "2";

/// The kinds of terms.
pub const KINDS: [&str; 9] =
    ["digest", "key", "email", "uri", "subject", "issuer", "repository", "workflow", "commit"];

/// The term of a kind and a value.
#[must_use]
pub fn term(kind: &str, value: &str) -> String {
    format!("{kind}:{}", value.to_lowercase())
}

/// The terms of an entry of Rekor v2, each once. A body of another kind has none.
#[must_use]
pub fn of_body(body: &[u8]) -> Vec<String> {
    let Ok(entry) = HashedRekordV2::parse_body(body) else { return Vec::new() };
    let mut terms = vec![of_digest(&entry.digest)];
    match &entry.verifier {
        Verifier::Certificate(der) => {
            if let Ok(certificate) = Certificate::from_der(der) {
                of_certificate(&certificate, &mut terms);
            }
        }
        Verifier::PublicKey(spki) => terms.extend(PublicKey::from_spki_der(spki).ok().as_ref().map(of_key)),
    }
    each_once(terms)
}

/// The terms of an entry of Rekor v1, each once. A body of another kind has none.
#[must_use]
pub fn of_body_v1(body: &[u8]) -> Vec<String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Head {
        kind: String,
        api_version: String,
    }
    let head = serde_json::from_slice::<Head>(body);
    let Some(entry) = head.ok().and_then(|h| BodyV1::parse(&h.kind, &h.api_version, body).ok()) else {
        return Vec::new();
    };
    let mut terms = Vec::new();
    match &entry {
        BodyV1::HashedRekord { digest, verifier_pem, .. } => {
            terms.push(of_digest(digest));
            of_verifier(verifier_pem, &mut terms);
        }
        BodyV1::Dsse { envelope_hash, payload_hash, signatures } => {
            terms.extend([of_digest(envelope_hash), of_digest(payload_hash)]);
            signatures.iter().for_each(|s| of_verifier(&s.verifier_pem, &mut terms));
        }
        // The digest of its envelope is whatever its sender said.
        BodyV1::Intoto { payload_hash, signatures, .. } => {
            terms.push(of_digest(payload_hash));
            signatures.iter().for_each(|s| of_verifier(&s.verifier_pem, &mut terms));
        }
        _ => {}
    }
    each_once(terms)
}

fn each_once(mut terms: Vec<String>) -> Vec<String> {
    terms.sort();
    terms.dedup();
    terms
}

/// The term of a digest.
#[must_use]
pub fn of_digest(digest: &Digest) -> String {
    format!("digest:{}:{}", digest.algorithm().name(), digest.to_hex())
}

/// The term of a key.
#[must_use]
pub fn of_key(key: &PublicKey) -> String {
    format!("key:sha256:{}", encoding::hex_encode(&key.fingerprint()))
}

/// What a name in a certificate may be found by, of whatever kind it is.
#[must_use]
pub fn of_name(name: &str) -> [String; 3] {
    ["email", "uri", "subject"].map(|kind| term(kind, name))
}

/// A certificate or key in PEM.
fn of_verifier(pem: &str, terms: &mut Vec<String>) {
    let Ok(Ok([block])) = encoding::pem_decode(pem).map(<[_; 1]>::try_from) else { return };
    match block.label.as_str() {
        "PUBLIC KEY" => terms.extend(PublicKey::from_spki_der(&block.der).ok().as_ref().map(of_key)),
        "CERTIFICATE" => {
            if let Ok(certificate) = Certificate::from_der(&block.der) {
                of_certificate(&certificate, terms);
            }
        }
        _ => {}
    }
}

fn of_certificate(certificate: &Certificate, terms: &mut Vec<String>) {
    terms.push(of_key(certificate.public_key()));
    for name in certificate.sans() {
        let kind = match name {
            San::Email(_) => "email",
            San::Uri(_) => "uri",
            _ => "subject",
        };
        terms.extend(name.as_text().map(|text| term(kind, text)));
    }
    let fulcio = certificate.fulcio();
    let repository = fulcio.source_repository_uri.as_deref().or(fulcio.github_workflow_repository.as_deref());
    let commit = fulcio.source_repository_digest.as_deref().or(fulcio.github_workflow_sha.as_deref());
    for (kind, value) in [
        ("issuer", fulcio.issuer()),
        ("repository", repository),
        ("workflow", fulcio.build_signer_uri.as_deref()),
        ("workflow", fulcio.build_config_uri.as_deref()),
        ("commit", commit),
    ] {
        terms.extend(value.map(|value| term(kind, value)));
    }
}
