//! Is a certificate to be believed, for one purpose, at one time?
//!
//! # Why not rustls-webpki
//! Sigstore hands over short, explicit chains: a leaf, an intermediate or two, a root. For those a search of
//! our own is small, and it is stricter in what matters here. webpki takes no notice of key usage bits, of the
//! validity of an anchor, of "critical and only" for time stamping; it hides which certificates it used, and an
//! SCT must be checked with the key of exactly that issuer; and it does not tell "expired" from "untrusted" when
//! a path exists but is too old. All of these would have been written beside it anyway.
//!
//! # The rules (RFC 5280 section 6, and stricter)
//! - Every certificate of the path, the anchor included, is valid at the given time.
//! - Issuers are found by name and key identifier, but only a signature which verifies makes one an issuer.
//! - Authorities: CA flag, `keyCertSign` (an anchor may lack the key usage extension), path length. An
//!   authority that lists extended key usages lists the purpose, or any.
//! - Code signing leaf: not an authority, key usage with `digitalSignature`, extended key usage with code signing
//!   by name.
//! - Time stamping leaf (RFC 3161 section 2.3): not an authority, extended key usage critical and nothing but
//!   time stamping; key usage, if there, with `digitalSignature` or `contentCommitment`.
//! - An unknown critical extension anywhere is a refusal. Name constraints and policies are not interpreted, so
//!   a critical one counts as unknown.
//! - A precertificate is never valid.
//!
//! Revocation is not checked: these certificates live for minutes, or stand in the trust root by themselves.

use std::fmt;

use countersign_crypto::CryptoError;
use jiff::Timestamp;

use crate::{Certificate, oid};

/// How long a path may be, leaf and anchor included.
const MAX_PATH_LEN: usize = 8;
/// How many intermediates, and how many anchors, may be offered.
const MAX_OFFERED: usize = 64;
/// How many signatures are checked before the search gives up. The search tries every order of certificates
/// with equal names; an attacker who sends many of them shall not buy many checks with few bytes.
const MAX_SIGNATURE_CHECKS: u32 = 64;

/// What the leaf's key is to be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Purpose {
    /// Signing artifacts.
    CodeSigning,
    /// Signing RFC 3161 timestamps.
    TimeStamping,
}

impl Purpose {
    pub(crate) const fn oid(self) -> der::asn1::ObjectIdentifier {
        match self {
            Self::CodeSigning => oid::CODE_SIGNING,
            Self::TimeStamping => oid::TIME_STAMPING,
        }
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CodeSigning => "code signing",
            Self::TimeStamping => "time stamping",
        })
    }
}

/// Why no path was found, or why the one found does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChainError {
    /// There is no anchor to end at, so nothing can be trusted.
    #[error("no trusted certificate authority was given")]
    NoAnchors,
    /// No path of valid signatures leads to an anchor.
    #[error(
        "{certificate} was issued by \"{issuer}\", which does not lead to a trusted certificate authority"
    )]
    Untrusted {
        /// The last certificate on the way to which no issuer was found.
        certificate: String,
        /// The name of the issuer that was looked for.
        issuer: String,
    },
    /// A certificate of the path was no longer valid.
    #[error("{certificate} expired at {not_after}, before {at}")]
    Expired {
        /// Which certificate.
        certificate: String,
        /// Its last valid second.
        not_after: Timestamp,
        /// The time for which the path was checked.
        at: Timestamp,
    },
    /// A certificate of the path was not yet valid.
    #[error("{certificate} is valid from {not_before}, after {at}")]
    NotYetValid {
        /// Which certificate.
        certificate: String,
        /// Its first valid second.
        not_before: Timestamp,
        /// The time for which the path was checked.
        at: Timestamp,
    },
    /// A certificate of the path is not made for what it is used for.
    #[error("{certificate}: expected {expected}, found {found}")]
    Usage {
        /// Which certificate.
        certificate: String,
        /// What it must say.
        expected: String,
        /// What it says.
        found: String,
    },
    /// An extension is marked critical and is not known here.
    #[error("{certificate} has the critical extension {extension}, which is not supported")]
    UnknownCriticalExtension {
        /// Which certificate.
        certificate: String,
        /// The OID of the extension.
        extension: String,
    },
    /// A precertificate was given for a certificate.
    #[error("{certificate} is a precertificate, which is never valid")]
    Precertificate {
        /// Which certificate.
        certificate: String,
    },
    /// A signature on the way is of an algorithm which is not accepted.
    #[error("{certificate}: {source}")]
    Algorithm {
        /// Which certificate.
        certificate: String,
        /// What the crypto crate says.
        source: CryptoError,
    },
    /// Too many certificates, or too many of the same name.
    #[error("the certificates given are too many to search for a path (limit {limit})")]
    TooComplex {
        /// The limit that was reached.
        limit: usize,
    },
}

/// A path that was checked: the leaf first, the anchor last, at least two. Only [`verify`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedChain {
    leaf: Certificate,
    issuer: Certificate,
    rest: Vec<Certificate>,
}

impl VerifiedChain {
    /// The leaf.
    #[must_use]
    pub fn leaf(&self) -> &Certificate {
        &self.leaf
    }

    /// The certificate whose key signed the leaf. SCTs are checked with this key.
    #[must_use]
    pub fn issuer(&self) -> &Certificate {
        &self.issuer
    }

    /// The trusted certificate in which the path ends.
    #[must_use]
    pub fn anchor(&self) -> &Certificate {
        self.rest.last().unwrap_or(&self.issuer)
    }

    /// The whole path, leaf first.
    pub fn certificates(&self) -> impl Iterator<Item = &Certificate> {
        [&self.leaf, &self.issuer].into_iter().chain(&self.rest)
    }
}

/// Searches a path from the leaf over some of the intermediates to one of the anchors, and checks it for a
/// purpose at a time. The order of the certificates does not matter. An anchor need not be self-signed; its own
/// signature is not looked at.
///
/// # Errors
/// [`ChainError`]. When paths fail for several reasons, the one that came nearest to success is reported: a path
/// whose signatures hold and which is too old says "expired", not "untrusted".
pub fn verify(
    leaf: &Certificate,
    intermediates: &[Certificate],
    anchors: &[Certificate],
    purpose: Purpose,
    at: Timestamp,
) -> Result<VerifiedChain, ChainError> {
    if anchors.is_empty() {
        return Err(ChainError::NoAnchors);
    }
    if intermediates.len() > MAX_OFFERED || anchors.len() > MAX_OFFERED {
        return Err(ChainError::TooComplex { limit: MAX_OFFERED });
    }
    let mut search = Search { intermediates, anchors, purpose, at, checks: 0, reason: None };
    let mut path = vec![leaf.clone()];
    if !search.extend(&mut path)? {
        return Err(search.reason.unwrap_or_else(|| untrusted(leaf)));
    }
    check_common(leaf, at)?;
    check_leaf(leaf, purpose)?;
    let mut path = path.into_iter().skip(1);
    match path.next() {
        Some(issuer) => Ok(VerifiedChain { leaf: leaf.clone(), issuer, rest: path.collect() }),
        None => Err(untrusted(leaf)),
    }
}

/// Checks a leaf for its purpose, apart from any path.
pub(crate) fn check_leaf(leaf: &Certificate, purpose: Purpose) -> Result<(), ChainError> {
    let wrong = |expected: &str, found: &str| {
        Err(ChainError::Usage {
            certificate: leaf.describe(),
            expected: expected.into(),
            found: found.into(),
        })
    };
    if leaf.is_ca() {
        return wrong("a leaf", "a certificate authority");
    }
    let usage = leaf.key_usage();
    match purpose {
        Purpose::CodeSigning => {
            if !usage.is_some_and(|u| u.digital_signature()) {
                return wrong("key usage with digitalSignature", "none such");
            }
            if !leaf.extended_key_usage().is_some_and(|e| e.lists(&oid::CODE_SIGNING)) {
                return wrong("extended key usage with code signing", "none such");
            }
        }
        Purpose::TimeStamping => {
            if usage.is_some_and(|u| !u.digital_signature() && !u.content_commitment()) {
                return wrong("key usage with digitalSignature", "a key usage without it");
            }
            let Some(extended) = leaf.extended_key_usage() else {
                return wrong("extended key usage time stamping", "no extended key usage");
            };
            if !extended.is_only(&oid::TIME_STAMPING) {
                return wrong("extended key usage time stamping only", "other or further purposes");
            }
            if !extended.critical {
                return wrong("a critical extended key usage", "one that is not critical");
            }
        }
    }
    Ok(())
}

fn untrusted(certificate: &Certificate) -> ChainError {
    ChainError::Untrusted { certificate: certificate.describe(), issuer: certificate.issuer().to_string() }
}

/// What holds for leaf and authority alike.
fn check_common(certificate: &Certificate, at: Timestamp) -> Result<(), ChainError> {
    if certificate.is_precertificate() {
        return Err(ChainError::Precertificate { certificate: certificate.describe() });
    }
    if let Some(extension) = certificate.unknown_critical_extensions().first() {
        return Err(ChainError::UnknownCriticalExtension {
            certificate: certificate.describe(),
            extension: extension.to_string(),
        });
    }
    if certificate.is_valid_at(at) {
        return Ok(());
    }
    let (not_before, not_after) = (certificate.not_before(), certificate.not_after());
    Err(if at < not_before {
        ChainError::NotYetValid { certificate: certificate.describe(), not_before, at }
    } else {
        ChainError::Expired { certificate: certificate.describe(), not_after, at }
    })
}

struct Search<'a> {
    intermediates: &'a [Certificate],
    anchors: &'a [Certificate],
    purpose: Purpose,
    at: Timestamp,
    checks: u32,
    /// The failure of the candidate that came furthest.
    reason: Option<ChainError>,
}

impl Search<'_> {
    /// Makes the path longer until it ends in an anchor; `Ok(false)` when it cannot be done.
    fn extend(&mut self, path: &mut Vec<Certificate>) -> Result<bool, ChainError> {
        if path.len() == MAX_PATH_LEN {
            return Ok(false);
        }
        let Some(last) = path.last().cloned() else { return Ok(false) };
        let (anchors, intermediates) = (self.anchors, self.intermediates);
        for anchor in anchors {
            if self.is_issuer(anchor, &last, path, true)? {
                path.push(anchor.clone());
                return Ok(true);
            }
        }
        for intermediate in intermediates {
            if path.contains(intermediate) || !self.is_issuer(intermediate, &last, path, false)? {
                continue;
            }
            path.push(intermediate.clone());
            if self.extend(path)? {
                return Ok(true);
            }
            path.pop();
        }
        if path.len() > 1 {
            self.reason.get_or_insert(untrusted(&last));
        }
        Ok(false)
    }

    /// Whether `candidate` issued `last`, the end of `path`, and was allowed to.
    fn is_issuer(
        &mut self,
        candidate: &Certificate,
        last: &Certificate,
        path: &[Certificate],
        is_anchor: bool,
    ) -> Result<bool, ChainError> {
        if candidate.subject().der != last.issuer().der || candidate == last {
            return Ok(false);
        }
        if let (Some(wanted), Some(found)) = (last.authority_key_id(), candidate.subject_key_id())
            && wanted != found
        {
            return Ok(false);
        }
        if let Err(source @ CryptoError::Unsupported(_)) = last.signature_scheme() {
            self.reason = Some(ChainError::Algorithm { certificate: last.describe(), source });
            return Ok(false);
        }
        self.checks += 1;
        if self.checks > MAX_SIGNATURE_CHECKS {
            return Err(ChainError::TooComplex {
                limit: usize::try_from(MAX_SIGNATURE_CHECKS).unwrap_or(usize::MAX),
            });
        }
        if last.verify_signed_by(candidate.public_key()).is_err() {
            return Ok(false);
        }
        // From here on the candidate is the issuer, so its failure is the reason worth telling.
        let allowed = check_authority(candidate, path, self.purpose, is_anchor)
            .and_then(|()| check_common(candidate, self.at));
        match allowed {
            Ok(()) => Ok(true),
            Err(reason) => {
                self.reason = Some(reason);
                Ok(false)
            }
        }
    }
}

/// What makes an authority one that may stand above this path.
fn check_authority(
    authority: &Certificate,
    below: &[Certificate],
    purpose: Purpose,
    is_anchor: bool,
) -> Result<(), ChainError> {
    let wrong = |expected: String, found: &str| {
        Err(ChainError::Usage { certificate: authority.describe(), expected, found: found.into() })
    };
    let Some(constraints) = authority.basic_constraints().filter(|b| b.ca) else {
        return wrong("a certificate authority".into(), "basic constraints without the CA flag");
    };
    match authority.key_usage() {
        Some(usage) if usage.key_cert_sign() => {}
        None if is_anchor => {}
        Some(_) => return wrong("key usage with keyCertSign".into(), "a key usage without it"),
        None => return wrong("key usage with keyCertSign".into(), "no key usage"),
    }
    if let Some(extended) = authority.extended_key_usage()
        && !extended.lists(&purpose.oid())
        && !extended.lists(&oid::ANY_EXTENDED_KEY_USAGE)
    {
        return wrong(format!("extended key usage with {purpose}"), "other purposes");
    }
    // Authorities between this one and the leaf; those that issued themselves do not count.
    let between = below.iter().skip(1).filter(|c| c.subject() != c.issuer()).count();
    if let Some(limit) = constraints.path_len
        && between > usize::from(limit)
    {
        return wrong(format!("at most {limit} authorities between it and the leaf"), &between.to_string());
    }
    Ok(())
}
