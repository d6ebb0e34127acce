//! What an entry of a transparency log is found by: a pure function from its body to typed texts.
//!
//! `digest:sha256:…` is what was signed: a file's digest, or that of the envelope around a statement. `key:sha256:…` is the
//! key's fingerprint, over its `SubjectPublicKeyInfo`. From a certificate come `email:…` (in lower case), `uri:…` and
//! `subject:…` (other names), `issuer:…`, `repository:…` and `workflow:…`. The log keeps no statements, so their subjects
//! and predicate types are no terms.

use countersign_bundle::rekor::{HashedRekordV2, Verifier};
use countersign_crypto::{PublicKey, encoding};
use countersign_x509::{Certificate, San};

/// Names these rules; changed when the terms of any entry change, so that indexes are made anew.
pub const RULES: &str = "1";

/// The terms of an entry of Rekor v2, each once. A body of another kind has none.
#[must_use]
pub fn of_body(body: &[u8]) -> Vec<String> {
    let Ok(entry) = HashedRekordV2::parse_body(body) else { return Vec::new() };
    let mut terms = vec![format!("digest:{}:{}", entry.digest.algorithm().name(), entry.digest.to_hex())];
    match &entry.verifier {
        Verifier::Certificate(der) => {
            if let Ok(certificate) = Certificate::from_der(der) {
                of_certificate(&certificate, &mut terms);
            }
        }
        Verifier::PublicKey(spki) => terms.extend(PublicKey::from_spki_der(spki).ok().as_ref().map(of_key)),
    }
    terms.sort();
    terms.dedup();
    terms
}

/// The term of a key.
#[must_use]
pub fn of_key(key: &PublicKey) -> String {
    format!("key:sha256:{}", encoding::hex_encode(&key.fingerprint()))
}

/// The term of an e-mail address.
#[must_use]
pub fn of_email(address: &str) -> String {
    format!("email:{}", address.to_lowercase())
}

fn of_certificate(certificate: &Certificate, terms: &mut Vec<String>) {
    terms.push(of_key(certificate.public_key()));
    for name in certificate.sans() {
        terms.extend(match name {
            San::Email(address) => Some(of_email(address)),
            San::Uri(uri) => Some(format!("uri:{uri}")),
            other => other.as_text().map(|name| format!("subject:{name}")),
        });
    }
    let fulcio = certificate.fulcio();
    let repository = fulcio.source_repository_uri.as_deref().or(fulcio.github_workflow_repository.as_deref());
    for (kind, value) in [
        ("issuer", fulcio.issuer()),
        ("repository", repository),
        ("workflow", fulcio.build_signer_uri.as_deref()),
        ("workflow", fulcio.build_config_uri.as_deref()),
    ] {
        terms.extend(value.map(|value| format!("{kind}:{value}")));
    }
}
