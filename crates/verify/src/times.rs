//! RFC 3161 timestamps: each bound to the one authority that made it, and to that authority's window.

use countersign_x509::chain::ChainError;
use countersign_x509::timestamp::{Imprinted, TimestampError, TimestampToken};
use jiff::Timestamp;

use crate::Reason;
use crate::material::{Stamping, TrustMaterial, without_room};
use crate::report::Failure;

/// A token that was verified.
#[derive(Debug)]
pub(crate) struct Stamped<'a> {
    pub(crate) time: Timestamp,
    pub(crate) by: &'a Stamping,
}

/// Verifies a token over the signature's bytes. Authorities are tried one by one and never put together; of their
/// refusals the one that came nearest to success is told.
pub(crate) fn verify_token<'a>(
    token: &[u8],
    signature: &[u8],
    material: &'a TrustMaterial,
    now: Timestamp,
) -> Result<Stamped<'a>, Failure> {
    let token = TimestampToken::parse(token)
        .map_err(|e| Failure::new(Reason::TimestampMalformed, "an RFC 3161 timestamp", e.to_string()))?;
    if material.stamping.is_empty() {
        return Err(Failure::new(
            Reason::NoTrustedTimestampAuthority,
            "a timestamp authority in the trust root",
            "none",
        ));
    }
    let mut nearest: Option<(u8, Failure)> = None;
    for by in &material.stamping {
        match verify_with(&token, signature, by) {
            Ok(time) if time > now => {
                return Err(Failure::new(
                    Reason::TimeInFuture,
                    format!("a time not after {now}"),
                    time.to_string(),
                ));
            }
            Ok(time) => return Ok(Stamped { time, by }),
            Err((rank, failure)) => {
                if nearest.as_ref().is_none_or(|(best, _)| rank > *best) {
                    nearest = Some((rank, failure));
                }
            }
        }
    }
    Err(nearest.map_or_else(
        || Failure::new(Reason::TimestampUntrusted, "a trusted timestamp authority", "none"),
        |(_, failure)| failure,
    ))
}

fn verify_with(token: &TimestampToken, signature: &[u8], by: &Stamping) -> Result<Timestamp, (u8, Failure)> {
    let verified = token.verify(Imprinted::Bytes(signature), None, &by.authority).map_err(|e| {
        let (rank, reason, expected) = match &e {
            TimestampError::Imprint { .. } => (5, Reason::TimestampMismatch, "a timestamp of this signature"),
            TimestampError::Chain(ChainError::Expired { .. } | ChainError::NotYetValid { .. }) => {
                (3, Reason::TimestampOutsideValidity, "a time within the authority's certificates")
            }
            TimestampError::Signature(_) | TimestampError::Attribute { .. } => {
                (2, Reason::TimestampInvalid, "a signature of the timestamp authority")
            }
            TimestampError::Chain(_) => (1, Reason::TimestampUntrusted, "a trusted timestamp authority"),
            TimestampError::Malformed(_) => (1, Reason::TimestampMalformed, "an RFC 3161 timestamp"),
            _ => (0, Reason::TimestampUntrusted, "a trusted timestamp authority"),
        };
        (rank, Failure::new(reason, expected, e.to_string()))
    })?;
    if let Some(authority) = without_room(&by.above, verified.chain()) {
        let expected = format!("a path no longer than {} allows", authority.describe());
        let found = format!("{} certificates below it", verified.chain().certificates().count());
        return Err((1, Failure::new(Reason::TimestampUntrusted, expected, found)));
    }
    let time = verified.time();
    let outside = |expected: String| {
        Err((4, Failure::new(Reason::TimestampOutsideValidity, expected, time.to_string())))
    };
    if !by.valid_for.contains(time) {
        return outside(format!("a time at which {} is trusted", by.name));
    }
    if let Some(authority) = by.above.iter().find(|c| !c.is_valid_at(time)) {
        return outside(format!("a time at which {} is valid", authority.describe()));
    }
    Ok(time)
}
