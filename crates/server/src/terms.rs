//! What the entries of the transparency log are found by.
//!
//! Typed texts, from what is in the tree and from nothing else: `digest:sha256:…` (of a file, or of the envelope around a
//! statement), `key:sha256:…` (of a `SubjectPublicKeyInfo`), and from a certificate `email:…`, `uri:…`, `subject:…` (any
//! name), `issuer:…`, `repository:…`, `workflow:…`, `commit:…`. Lower case, as people search.

use countersign_bundle::rekor::{HashedRekordV2, Verifier};
use countersign_crypto::PublicKey;
use countersign_crypto::encoding::hex_encode;
use countersign_x509::{Certificate, San};

/// The kinds of terms.
pub(crate) const KINDS: [&str; 9] =
    ["digest", "key", "email", "uri", "subject", "issuer", "repository", "workflow", "commit"];

/// The term of a kind and a value.
pub(crate) fn term(kind: &str, value: &str) -> String {
    format!("{kind}:{}", value.to_lowercase())
}

/// The terms of an entry as it is stored. What is no entry of Rekor v2, such as the first one, has none.
pub(crate) fn terms_of(stored: &[u8]) -> Vec<String> {
    let Ok(entry) = HashedRekordV2::parse_body(stored) else { return Vec::new() };
    let mut terms = vec![term("digest", &entry.digest.to_string())];
    match &entry.verifier {
        Verifier::PublicKey(spki) => {
            terms.extend(PublicKey::from_spki_der(spki).ok().map(|key| of_key(&key)))
        }
        Verifier::Certificate(der) => {
            if let Ok(certificate) = Certificate::from_der(der) {
                terms.push(of_key(certificate.public_key()));
                of_names(&certificate, &mut terms);
            }
        }
    }
    terms
}

fn of_key(key: &PublicKey) -> String {
    format!("key:sha256:{}", hex_encode(&key.fingerprint()))
}

fn of_names(certificate: &Certificate, terms: &mut Vec<String>) {
    for name in certificate.sans() {
        let kind = match name {
            San::Email(_) => "email",
            San::Uri(_) => "uri",
            _ => "subject",
        };
        if let Some(text) = name.as_text() {
            terms.push(term(kind, text));
            if kind != "subject" {
                terms.push(term("subject", text));
            }
        }
    }
    let says = certificate.fulcio();
    let parts = [
        ("issuer", says.issuer()),
        ("repository", says.source_repository_uri.as_deref()),
        ("workflow", says.build_config_uri.as_deref()),
        ("commit", says.source_repository_digest.as_deref()),
    ];
    terms.extend(parts.into_iter().filter_map(|(kind, value)| value.map(|value| term(kind, value))));
}
