//! Verifying on a user's machine.

use countersign_bundle::Bundle;
use countersign_crypto::{Digest, PublicKey, Scheme};
use countersign_x509::Certificate;
use jiff::Timestamp;

use crate::ClientError;
use crate::trust::Trust;

/// Checks a signature just made, as it was written.
pub(crate) fn check_own(
    json: &[u8],
    digest: &Digest,
    _trust: &Trust,
    certificate: Option<&Certificate>,
    key: &PublicKey,
    _now: Timestamp,
) -> Result<(), ClientError> {
    let bundle = Bundle::from_json(json).map_err(|e| ClientError::SelfCheck(e.to_string()))?;
    let key = certificate.map_or(key, Certificate::public_key);
    let scheme = match key.key_type().default_scheme() {
        Scheme::Ed25519 => Scheme::Ed25519ph,
        other => other,
    };
    key.verify_digest(scheme, digest, bundle.content.signature())
        .map_err(|e| ClientError::SelfCheck(e.to_string()))
}
