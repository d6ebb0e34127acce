//! The signature itself: over the artifact's digest, over the artifact, over a statement's encoding, or over the
//! payload that names an image.

use countersign_bundle::Content;
use countersign_crypto::{HashAlgorithm, KeyType, PublicKey, Scheme};

use crate::report::Failure;
use crate::{Reason, Subject};

/// The schemes which a key may have signed with: over the hash that is required, if one is; the log entry's, if it
/// says; else those of the algorithm registry. An Ed25519 signature says not of itself whether it is over a digest.
pub(crate) fn schemes(key: &PublicKey, hash: Option<HashAlgorithm>, logged: Option<Scheme>) -> Vec<Scheme> {
    let own = match (key.key_type(), hash) {
        (KeyType::Ed25519, _) => vec![Scheme::Ed25519ph, Scheme::Ed25519],
        (KeyType::Rsa { .. }, hash) => {
            let hash = hash.unwrap_or(HashAlgorithm::Sha256);
            vec![Scheme::RsaPkcs1(hash), Scheme::RsaPss(hash)]
        }
        (_, Some(hash)) => vec![Scheme::Ecdsa(hash)],
        (other, None) => vec![other.default_scheme()],
    };
    match logged.filter(|scheme| scheme.fits(key.key_type())) {
        // What a log says does not take the place of what is required.
        Some(scheme) if hash.is_none() || own.contains(&scheme) => vec![scheme],
        _ => own,
    }
}

/// Verifies the bundle's signature with a key. Returns the scheme that fits.
pub(crate) fn verify_signature(
    key: &PublicKey,
    schemes: &[Scheme],
    content: &Content,
    subject: &Subject<'_>,
) -> Result<Scheme, Failure> {
    let mut unavailable = None;
    let mut invalid = None;
    for scheme in schemes {
        let result = match content {
            Content::Dsse(envelope) | Content::StoredDsse { envelope, .. } => {
                key.verify(*scheme, &envelope.pae(), content.signature())
            }
            Content::SimpleSigning { payload, signature } => key.verify(*scheme, payload, signature),
            Content::MessageSignature { signature, .. } => match (scheme.hash(), subject.bytes()) {
                (Some(hash), _) => match subject.digest(hash) {
                    Some(digest) => key.verify_digest(*scheme, &digest, signature),
                    None => {
                        unavailable.get_or_insert(format!("the artifact's {hash} digest"));
                        continue;
                    }
                },
                (None, Some(bytes)) => key.verify(*scheme, bytes, signature),
                (None, None) => {
                    unavailable.get_or_insert("the artifact itself".to_owned());
                    continue;
                }
            },
        };
        match result {
            Ok(()) => return Ok(*scheme),
            Err(error) => invalid = Some(format!("{scheme}: {error}")),
        }
    }
    Err(match (unavailable, invalid) {
        (Some(needed), _) => Failure::new(Reason::DigestUnavailable, needed, "other digests only"),
        (None, invalid) => Failure::new(
            Reason::SignatureInvalid,
            format!("a signature by the {} key of the signer", key.key_type()),
            invalid.unwrap_or_else(|| "none".into()),
        ),
    })
}
