//! The trust root made ready: certificates and keys read once, the upper part of each chain checked once.

use std::sync::Arc;

use countersign_bundle::{CertificateAuthority, TransparencyLog, TrustedRoot, ValidFor};
use countersign_crypto::{CryptoError, HashAlgorithm, KeyDetails, PublicKey};
use countersign_tlog::note::NoteError;
use countersign_tlog::{NoteVerifier, Witnesses};
use countersign_x509::chain::{Purpose, VerifiedChain};
use countersign_x509::timestamp::Authority;
use countersign_x509::{Certificate, X509Error, oid};
use jiff::Timestamp;

use crate::Reason;
use crate::revocation::Revocations;

/// Why a trust root cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    /// A certificate does not parse.
    #[error("trust root: {authority}: {source}")]
    Certificate {
        /// Whose certificate.
        authority: String,
        /// What is wrong with it.
        source: X509Error,
    },
    /// A key does not parse.
    #[error("trust root: log {log}: {source}")]
    Key {
        /// Whose key.
        log: String,
        /// What is wrong with it.
        source: CryptoError,
    },
    /// A key is of another type than the trust root says.
    #[error("trust root: log {log}: expected a key of {expected}, found {found}")]
    KeyType {
        /// Whose key.
        log: String,
        /// What the trust root says.
        expected: String,
        /// What the key is.
        found: String,
    },
    /// A witness that cannot be one.
    #[error("witness {name}: {source}")]
    Witness {
        /// Its name.
        name: String,
        /// What stands against it.
        source: NoteError,
    },
}

impl TrustError {
    /// The reason under which a verification that never began is reported.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        Reason::TrustRootMalformed
    }
}

/// A chain of certificate authorities, checked as far as it can be without a leaf and a time.
#[derive(Debug, Clone)]
pub(crate) struct Chain {
    /// What a path has to end in.
    pub(crate) anchor: Certificate,
    /// What may stand below the anchor.
    pub(crate) intermediates: Vec<Certificate>,
    /// What stands above: signatures, usage and path lengths hold; left is the time.
    pub(crate) above: Vec<Certificate>,
}

impl Chain {
    /// The authorities of a chain, issuing one first, anchor last. When every link holds, the issuing authority
    /// is made the anchor, so that the links above are not checked again with each signature. When one does not,
    /// nothing is assumed, and each path is searched up to the given anchor.
    fn prepare(authorities: &[Certificate], purpose: Purpose) -> Option<Self> {
        let (first, above) = authorities.split_first()?;
        if links_hold(first, above, purpose) {
            return Some(Self { anchor: first.clone(), intermediates: Vec::new(), above: above.to_vec() });
        }
        let (anchor, intermediates) = authorities.split_last()?;
        Some(Self { anchor: anchor.clone(), intermediates: intermediates.to_vec(), above: Vec::new() })
    }

    /// A certificate above the path that is not valid at the time.
    pub(crate) fn invalid_above(&self, at: Timestamp) -> Option<&Certificate> {
        self.above.iter().find(|c| !c.is_valid_at(at))
    }
}

/// A certificate above a path which has no room for the authorities in the path. How many those are was not known when
/// the chain was prepared: evidence may bring some that stand below the trust root's.
pub(crate) fn without_room<'a>(above: &'a [Certificate], path: &VerifiedChain) -> Option<&'a Certificate> {
    let in_path = path.certificates().skip(1).count();
    let full = |(i, authority): &(usize, &Certificate)| {
        let limit = authority.basic_constraints().and_then(|b| b.path_len);
        limit.is_some_and(|limit| in_path + i > usize::from(limit))
    };
    above.iter().enumerate().find(full).map(|(_, authority)| authority)
}

fn links_hold(first: &Certificate, above: &[Certificate], purpose: Purpose) -> bool {
    // An anchor may lack the key usage; the issuing authority is one only if nothing stands above it.
    if !above.is_empty() && !first.key_usage().is_some_and(|u| u.key_cert_sign()) {
        return false;
    }
    let mut below = first;
    for (i, authority) in above.iter().enumerate() {
        let is_last = i + 1 == above.len();
        if below.issuer().der != authority.subject().der
            || !may_stand_above(authority, i + 1, is_last, purpose)
            || below.verify_signed_by(authority.public_key()).is_err()
        {
            return false;
        }
        below = authority;
    }
    true
}

/// What `countersign_x509::chain` asks of an authority, but for the time.
fn may_stand_above(authority: &Certificate, between: usize, is_last: bool, purpose: Purpose) -> bool {
    let wanted = match purpose {
        Purpose::TimeStamping => oid::TIME_STAMPING,
        _ => oid::CODE_SIGNING,
    };
    authority.is_ca()
        && !authority.is_precertificate()
        && authority.unknown_critical_extensions().is_empty()
        && authority.key_usage().map_or(is_last, |u| u.key_cert_sign())
        && authority
            .extended_key_usage()
            .is_none_or(|e| e.lists(&wanted) || e.lists(&oid::ANY_EXTENDED_KEY_USAGE))
        && authority
            .basic_constraints()
            .is_some_and(|b| b.path_len.is_none_or(|limit| between <= usize::from(limit)))
}

/// An authority which issues signing certificates.
#[derive(Debug, Clone)]
pub(crate) struct Issuing {
    pub(crate) name: String,
    pub(crate) chain: Chain,
    pub(crate) valid_for: ValidFor,
}

/// A timestamp authority.
#[derive(Debug, Clone)]
pub(crate) struct Stamping {
    pub(crate) name: String,
    pub(crate) authority: Authority,
    pub(crate) above: Vec<Certificate>,
    pub(crate) valid_for: ValidFor,
    /// By what it is counted: the key of its anchor, however many leaves and windows it has.
    pub(crate) counted_as: [u8; 32],
}

/// A transparency log or a CT log.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    /// The host name.
    pub(crate) name: String,
    pub(crate) id: Vec<u8>,
    pub(crate) key: PublicKey,
    /// By what it is counted: its key.
    pub(crate) counted_as: [u8; 32],
    pub(crate) valid_for: ValidFor,
    /// How its checkpoints are verified when it is a Rekor v1 log: under its host name, and under host and port,
    /// as servers on a port of their own sign.
    pub(crate) v1: Vec<NoteVerifier>,
    /// Likewise for Rekor v2.
    pub(crate) v2: Option<NoteVerifier>,
}

/// A trust root made ready for many verifications. Nothing of it is read or checked twice.
#[derive(Debug, Clone, Default)]
pub struct TrustMaterial {
    pub(crate) issuing: Vec<Issuing>,
    pub(crate) stamping: Vec<Stamping>,
    pub(crate) tlogs: Vec<Log>,
    pub(crate) ctlogs: Vec<Log>,
    pub(crate) witnesses: Witnesses,
    pub(crate) revocations: Vec<Arc<Revocations>>,
    ignored: Vec<String>,
}

impl TrustMaterial {
    /// Trusts nobody. Good only for signatures of a given key, with
    /// [`dangerous_without_log`](crate::RequirementsBuilder::dangerous_without_log).
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    /// Reads the certificates and keys of a trust root.
    ///
    /// An authority without certificates, a log whose kind of key is not supported and a tree hash other than
    /// SHA-256 are left out, because nothing can be verified with them; [`TrustMaterial::ignored`] tells which.
    ///
    /// # Errors
    /// [`TrustError`] for certificates and keys that do not parse.
    pub fn from_trusted_root(root: &TrustedRoot) -> Result<Self, TrustError> {
        let mut own = Self::default();
        for authority in &root.certificate_authorities {
            let name = authority_name(authority);
            let certificates = read_chain(authority, &name)?;
            match Chain::prepare(&certificates, Purpose::CodeSigning) {
                Some(chain) => {
                    own.issuing.push(Issuing { name, chain, valid_for: authority.valid_for });
                }
                None => own.ignored.push(format!("certificate authority {name}: it has no certificates")),
            }
        }
        for authority in &root.timestamp_authorities {
            let name = authority_name(authority);
            let certificates = read_chain(authority, &name)?;
            match stamping(name.clone(), &certificates, authority.valid_for) {
                Some(stamping) => own.stamping.push(stamping),
                None => own.ignored.push(format!("timestamp authority {name}: it has no anchor")),
            }
        }
        for (logs, kind, out) in
            [(&root.tlogs, "transparency log", &mut own.tlogs), (&root.ctlogs, "CT log", &mut own.ctlogs)]
        {
            for log in logs {
                match read_log(log)? {
                    Ok(log) => out.push(log),
                    Err(why) => own.ignored.push(format!("{kind} {}: {why}", log.base_url)),
                }
            }
        }
        Ok(own)
    }

    /// Adds a witness: its name and its Ed25519 key. The trust root's format has no place for witnesses yet.
    ///
    /// # Errors
    /// [`TrustError::Witness`] for a key of another type and a name that cannot stand in a note.
    pub fn with_witness(mut self, name: &str, key: PublicKey) -> Result<Self, TrustError> {
        self.witnesses
            .insert(name, key)
            .map_err(|source| TrustError::Witness { name: name.to_owned(), source })?;
        Ok(self)
    }

    /// Adds witnesses whose keys were read already.
    #[must_use]
    pub fn with_witnesses(mut self, witnesses: Witnesses) -> Self {
        self.witnesses.extend(witnesses);
        self
    }

    /// Adds a revocation list. Of several, each is obeyed.
    #[must_use]
    pub fn with_revocations(mut self, list: Arc<Revocations>) -> Self {
        self.revocations.push(list);
        self
    }

    /// The revocation lists.
    #[must_use]
    pub fn revocations(&self) -> &[Arc<Revocations>] {
        &self.revocations
    }

    pub(crate) fn without_revocations(mut self) -> Self {
        self.revocations.clear();
        self
    }

    /// What of the trust root is left out, and why.
    #[must_use]
    pub fn ignored(&self) -> &[String] {
        &self.ignored
    }
}

fn authority_name(authority: &CertificateAuthority) -> String {
    let parts = [&authority.uri, &authority.common_name, &authority.organization];
    parts.into_iter().find(|p| !p.is_empty()).cloned().unwrap_or_else(|| "(without a name)".into())
}

fn read_chain(authority: &CertificateAuthority, name: &str) -> Result<Vec<Certificate>, TrustError> {
    let read = |der: &Vec<u8>| {
        Certificate::from_der(der)
            .map_err(|source| TrustError::Certificate { authority: name.to_owned(), source })
    };
    authority.certificates.iter().map(read).collect()
}

fn stamping(name: String, certificates: &[Certificate], valid_for: ValidFor) -> Option<Stamping> {
    let counted_as = certificates.last()?.public_key().fingerprint();
    let (leaf, authorities) = match certificates.split_first() {
        Some((first, rest)) if !first.is_ca() => (Some(first), rest),
        _ => (None, certificates),
    };
    let chain = Chain::prepare(authorities, Purpose::TimeStamping)?;
    let mut path: Vec<Certificate> = leaf.into_iter().cloned().collect();
    path.extend(chain.intermediates);
    path.push(chain.anchor);
    let authority = Authority::from_chain(&path).ok()?;
    Some(Stamping { name, authority, above: chain.above, valid_for, counted_as })
}

/// A log, or why it is left out.
fn read_log(log: &TransparencyLog) -> Result<Result<Log, String>, TrustError> {
    if log.hash_algorithm != HashAlgorithm::Sha256 {
        return Ok(Err(format!("its tree is hashed with {}, expected sha256", log.hash_algorithm)));
    }
    let Ok(details) = KeyDetails::from_name(&log.public_key.key_details) else {
        return Ok(Err(format!("its kind of key, {}, is not supported", log.public_key.key_details)));
    };
    let key = PublicKey::from_spki_der(&log.public_key.raw_bytes)
        .map_err(|source| TrustError::Key { log: log.base_url.clone(), source })?;
    if key.key_type() != details.key_type {
        return Err(TrustError::KeyType {
            log: log.base_url.clone(),
            expected: details.key_type.to_string(),
            found: key.key_type().to_string(),
        });
    }
    let name = host_name(&log.base_url);
    Ok(Ok(Log {
        v1: [Some(name), with_port(&log.base_url)]
            .into_iter()
            .flatten()
            .filter_map(|name| NoteVerifier::rekor_v1(name, key.clone()).ok())
            .collect(),
        v2: NoteVerifier::rekor_v2(name, key.clone()).ok(),
        name: name.to_owned(),
        id: log.log_id.clone(),
        counted_as: key.fingerprint(),
        valid_for: log.public_key.valid_for,
        key,
    }))
}

/// Host and port in a URL, without user.
fn authority(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority.rsplit_once('@').map_or(authority, |(_, host)| host)
}

/// The host name in a URL: the name of a log in its checkpoints.
fn host_name(url: &str) -> &str {
    let authority = authority(url);
    match authority.strip_prefix('[').and_then(|v6| v6.split_once(']')) {
        Some((v6, _)) => v6,
        None => authority.split(':').next().unwrap_or_default(),
    }
}

/// Host and port, when the URL names a port.
fn with_port(url: &str) -> Option<&str> {
    Some(authority(url)).filter(|a| *a != host_name(url))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_are_without_scheme_user_port_and_path() {
        for (url, host) in [
            ("https://rekor.sigstore.dev", "rekor.sigstore.dev"),
            ("https://rekor.sigstore.dev/", "rekor.sigstore.dev"),
            ("http://localhost:3000/log/a?b#c", "localhost"),
            ("https://a@b@log.example:1/", "log.example"),
            ("http://[::1]:80/x", "::1"),
            ("log.example/x", "log.example"),
            ("", ""),
        ] {
            assert_eq!(host_name(url), host, "{url}");
        }
    }
}
