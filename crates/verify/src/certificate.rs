//! The signer's certificate: its path to the trust root at every known time, and its SCTs.

use std::collections::HashSet;

use countersign_x509::Certificate;
use countersign_x509::chain::{self, ChainError, Purpose, VerifiedChain};
use jiff::Timestamp;

use crate::Reason;
use crate::material::{Issuing, TrustMaterial, without_room};
use crate::report::Failure;

/// Finds an authority which vouches for the leaf at all of the times. `sent` are the intermediates that came with
/// the bundle: they are trusted for nothing, and may only stand below an anchor.
pub(crate) fn verify_chain(
    leaf: &Certificate,
    sent: &[Certificate],
    material: &TrustMaterial,
    times: &[Timestamp],
) -> Result<VerifiedChain, Failure> {
    if material.issuing.is_empty() {
        return Err(Failure::new(
            Reason::NoTrustedAuthority,
            "a certificate authority in the trust root",
            "none",
        ));
    }
    let mut nearest: Option<(u8, Failure)> = None;
    for authority in &material.issuing {
        match verify_under(leaf, sent, authority, times) {
            Ok(chain) => return Ok(chain),
            Err((rank, failure)) => {
                if nearest.as_ref().is_none_or(|(best, _)| rank > *best) {
                    nearest = Some((rank, failure));
                }
            }
        }
    }
    Err(nearest.map_or_else(
        || Failure::new(Reason::CertificateUntrusted, "a trusted certificate authority", "none"),
        |(_, failure)| failure,
    ))
}

fn verify_under(
    leaf: &Certificate,
    sent: &[Certificate],
    authority: &Issuing,
    times: &[Timestamp],
) -> Result<VerifiedChain, (u8, Failure)> {
    let no_time = || (0, Failure::new(Reason::NoTime, "a time of signing", "none"));
    let first = *times.first().ok_or_else(no_time)?;
    let intermediates: Vec<Certificate> = authority.chain.intermediates.iter().chain(sent).cloned().collect();
    let anchors = std::slice::from_ref(&authority.chain.anchor);
    let chain = chain::verify(leaf, &intermediates, anchors, Purpose::CodeSigning, first)
        .map_err(|e| of_chain_error(&e))?;
    if let Some(authority) = without_room(&authority.chain.above, &chain) {
        let expected = format!("a path no longer than {} allows", authority.describe());
        let found = format!("{} certificates below it", chain.certificates().count());
        return Err((2, Failure::new(Reason::CertificateUsage, expected, found)));
    }
    for time in times {
        if !authority.valid_for.contains(*time) {
            let expected = format!("a time at which {} is trusted", authority.name);
            return Err((4, Failure::new(Reason::AuthorityNotValid, expected, time.to_string())));
        }
        // The signatures hold at any time; what changes with it is who is still valid.
        let expired = chain
            .certificates()
            .find(|c| !c.is_valid_at(*time))
            .or_else(|| authority.chain.invalid_above(*time));
        if let Some(certificate) = expired {
            let expected = format!(
                "a time from {} to {}, while {} is valid",
                certificate.not_before(),
                certificate.not_after(),
                certificate.describe()
            );
            return Err((3, Failure::new(Reason::CertificateNotValid, expected, time.to_string())));
        }
    }
    Ok(chain)
}

fn of_chain_error(error: &ChainError) -> (u8, Failure) {
    let (rank, reason, expected) = match error {
        ChainError::Expired { .. } | ChainError::NotYetValid { .. } => {
            (3, Reason::CertificateNotValid, "certificates that were valid at the time of signing")
        }
        ChainError::Usage { .. }
        | ChainError::UnknownCriticalExtension { .. }
        | ChainError::Precertificate { .. } => {
            (2, Reason::CertificateUsage, "a certificate for code signing")
        }
        _ => (0, Reason::CertificateUntrusted, "a path to a trusted certificate authority"),
    };
    (rank, Failure::new(reason, expected, error.to_string()))
}

/// Counts the CT logs whose SCTs in the leaf verify under the key of its verified issuer. An SCT of a log which
/// the trust root does not have is not counted; one of a known log that does not verify is a refusal.
pub(crate) fn verify_scts(
    chain: &VerifiedChain,
    material: &TrustMaterial,
    required: usize,
    now: Timestamp,
) -> Result<usize, Failure> {
    let leaf = chain.leaf();
    let scts =
        leaf.scts().map_err(|e| Failure::new(Reason::SctMalformed, "a list of SCTs", e.to_string()))?;
    let mut counted = HashSet::new();
    for sct in &scts {
        let known: Vec<_> = material.ctlogs.iter().filter(|log| log.id == sct.log_id).collect();
        let mut failure = None;
        for log in &known {
            match verify_sct(sct, chain, log, now) {
                Ok(()) => {
                    counted.insert(log.counted_as);
                    failure = None;
                    break;
                }
                Err(e) => failure = Some(e),
            }
        }
        if let Some(failure) = failure {
            return Err(failure);
        }
    }
    if counted.len() >= required {
        return Ok(counted.len());
    }
    let expected = format!("SCTs of at least {required} trusted CT logs");
    Err(if material.ctlogs.is_empty() {
        Failure::new(Reason::NoTrustedCtLog, "a CT log in the trust root", "none")
    } else if scts.is_empty() {
        Failure::new(Reason::SctMissing, expected, "none")
    } else if counted.is_empty() {
        Failure::new(Reason::SctUntrusted, expected, format!("{} of unknown logs", scts.len()))
    } else {
        Failure::new(Reason::TooFewScts, expected, format!("those of {}", counted.len()))
    })
}

fn verify_sct(
    sct: &countersign_x509::sct::Sct,
    chain: &VerifiedChain,
    log: &crate::material::Log,
    now: Timestamp,
) -> Result<(), Failure> {
    sct.verify(chain.leaf(), chain.issuer().public_key(), &log.key).map_err(|e| {
        Failure::new(Reason::SctInvalid, format!("a signature of the CT log {}", log.name), e.to_string())
    })?;
    let time = i64::try_from(sct.timestamp_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    let Some(time) = time else {
        return Err(Failure::new(Reason::SctMalformed, "a time", sct.timestamp_ms.to_string()));
    };
    if time > now {
        return Err(Failure::new(Reason::TimeInFuture, format!("an SCT not after {now}"), time.to_string()));
    }
    if !log.valid_for.contains(time) {
        let expected = format!("a time at which the CT log {} is trusted", log.name);
        return Err(Failure::new(Reason::SctOutsideValidity, expected, time.to_string()));
    }
    Ok(())
}
