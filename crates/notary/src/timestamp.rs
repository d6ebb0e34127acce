//! Timestamp counter-signatures: an RFC 3161 token over the envelope's signature, by an authority of the policy's stores.

use std::time::Duration;

use countersign_x509::Certificate;
use countersign_x509::chain::ChainError;
use countersign_x509::timestamp::{Authority, Imprinted, TimestampError, TimestampToken, VerifiedTimestamp};
use jiff::Timestamp;

use crate::{Reason, Refusal, chain};

/// The policy under which an authority is accurate to a second, when it does not say how accurate it is (RFC 3628
/// section 5.2).
const BASELINE_POLICY: &str = "0.4.0.2023.1.1";

/// A token that was verified.
#[derive(Debug)]
pub(crate) struct Stamped {
    /// Between these two times it was stamped.
    pub(crate) earliest: Timestamp,
    pub(crate) latest: Timestamp,
    pub(crate) time: Timestamp,
    /// The authority's certificates.
    pub(crate) chain: Vec<Certificate>,
}

/// Verifies a token over a signature. Roots are tried one by one; of their refusals, the one that came nearest to
/// success is told.
pub(crate) fn verify(
    token: &[u8],
    signature: &[u8],
    roots: &[Certificate],
    now: Timestamp,
) -> Result<Stamped, Refusal> {
    let token = TimestampToken::parse_token(token).map_err(|e| {
        Refusal::new(Reason::TimestampMalformed, "an RFC 3161 timestamp token", e.to_string())
    })?;
    let mut nearest: Option<(u8, Refusal)> = None;
    for root in roots {
        match verify_under(&token, signature, root) {
            Ok(verified) => return stamped(&verified, now),
            Err((rank, refusal)) if nearest.as_ref().is_none_or(|(best, _)| rank > *best) => {
                nearest = Some((rank, refusal));
            }
            Err(_) => {}
        }
    }
    Err(nearest.map_or_else(
        || Refusal::new(Reason::TimestampUntrusted, "a trusted timestamp authority", "none"),
        |(_, refusal)| refusal,
    ))
}

fn verify_under(
    token: &TimestampToken,
    signature: &[u8],
    root: &Certificate,
) -> Result<VerifiedTimestamp, (u8, Refusal)> {
    let of = |e: &TimestampError| {
        let (rank, reason, expected) = match e {
            TimestampError::Imprint { .. } => (4, Reason::TimestampMismatch, "a timestamp of this signature"),
            TimestampError::Chain(ChainError::Expired { .. } | ChainError::NotYetValid { .. }) => {
                (3, Reason::CertificateNotValid, "a timestamp authority that was valid then")
            }
            TimestampError::Signature(_) | TimestampError::Attribute { .. } => {
                (2, Reason::TimestampInvalid, "a signature of the timestamp authority")
            }
            TimestampError::Malformed(_) => (1, Reason::TimestampMalformed, "an RFC 3161 timestamp"),
            _ => (0, Reason::TimestampUntrusted, "a timestamp authority of the trust stores"),
        };
        (rank, Refusal::new(reason, expected, e.to_string()))
    };
    let authority = Authority::from_chain(std::slice::from_ref(root)).map_err(|e| of(&e))?;
    token.verify(Imprinted::Bytes(signature), None, &authority).map_err(|e| of(&e))
}

fn stamped(verified: &VerifiedTimestamp, now: Timestamp) -> Result<Stamped, Refusal> {
    let chain: Vec<Certificate> = verified.chain().certificates().cloned().collect();
    chain::check_time_stamping(&chain)?;
    let info = verified.info();
    let unsaid = if info.policy.to_string() == BASELINE_POLICY { 1 } else { 0 };
    let accuracy = info.accuracy.unwrap_or(Duration::from_secs(unsaid));
    let out_of_range =
        |_| Refusal::new(Reason::TimestampMalformed, "a time within the calendar", format!("± {accuracy:?}"));
    let time = verified.time();
    let earliest = time.checked_sub(accuracy).map_err(out_of_range)?;
    let latest = time.checked_add(accuracy).map_err(out_of_range)?;
    if earliest > now {
        return Err(Refusal::new(Reason::TimeInFuture, format!("a time not after {now}"), time.to_string()));
    }
    Ok(Stamped { earliest, latest, time, chain })
}
