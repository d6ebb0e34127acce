//! Writing certificates: Fulcio's leaves ([`Precertificate`]), the long-lived certificates of an instance
//! ([`root_ca`], [`intermediate_ca`], [`tsa_leaf`]), and those of TLS servers ([`server_leaf`]).
//!
//! Writing is deterministic: the same profile, keys and SCTs give the same signed bytes, in the order in which
//! Fulcio writes them. Serial numbers and times come from the caller; nothing here is random but an ECDSA
//! signature.
//!
//! # Key identifiers
//! Subject key identifiers are the SHA-1 of the key's bits (RFC 5280 section 4.2.1.2, method 1), because Fulcio's
//! are, so that a certificate of ours cannot be told from one of theirs and linters know the method. It is a
//! label by which issuers are looked up and says nothing about trust, so SHA-1's weakness does not matter.

mod authority;
mod leaf;

use countersign_crypto::{CryptoError, PublicKey, Signer};
use der::asn1::ObjectIdentifier;
use jiff::Timestamp;
use sha1::Digest as _;

use crate::{Certificate, Name, X509Error, oid, write};

pub use authority::{AuthorityProfile, intermediate_ca, root_ca, server_leaf, tsa_leaf};
pub use leaf::{LeafProfile, Precertificate};

/// Why a certificate cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IssueError {
    /// The signer's key is not the one in the issuer's certificate.
    #[error("the key is not that of the issuer, {issuer}")]
    OtherKey {
        /// The issuer.
        issuer: String,
    },
    /// The issuer's certificate does not allow it to issue this certificate.
    #[error("{issuer} cannot issue: expected {expected}")]
    Issuer {
        /// The issuer.
        issuer: String,
        /// What its certificate would have to say.
        expected: &'static str,
    },
    /// The validity ends before it begins, or outlasts the issuer's.
    #[error("a validity from {not_before} to {not_after} does not lie within {limit}")]
    Validity {
        /// The first valid second asked for.
        not_before: Timestamp,
        /// The last valid second asked for.
        not_after: Timestamp,
        /// What it must lie within.
        limit: String,
    },
    /// The serial number is zero.
    #[error("a serial number must not be zero")]
    Serial,
    /// The certificate lacks what every certificate of its kind has.
    #[error("the certificate needs {0}")]
    Missing(&'static str),
    /// A name or a list that cannot be written.
    #[error(transparent)]
    Encoding(#[from] X509Error),
    /// The signer failed, or its algorithm has no place in a certificate.
    #[error(transparent)]
    Signing(#[from] CryptoError),
}

/// The subject key identifier of a key.
#[must_use]
pub fn key_id(key: &PublicKey) -> [u8; 20] {
    sha1::Sha1::digest(key.raw()).into()
}

/// One extension; `critical` is written only when true, as DER asks for.
fn extension(kind: &ObjectIdentifier, critical: bool, value: &[u8]) -> Vec<u8> {
    let critical = if critical { write::boolean_true() } else { Vec::new() };
    write::sequence(&[&write::object_identifier(kind), &critical, &write::octet_string(value)])
}

const DIGITAL_SIGNATURE: [u8; 4] = [0x03, 0x02, 0x07, 0x80];
const KEY_CERT_SIGN_AND_CRL_SIGN: [u8; 4] = [0x03, 0x02, 0x01, 0x06];

fn key_usage(bits: &[u8]) -> Vec<u8> {
    extension(&oid::KEY_USAGE, true, bits)
}

fn extended_key_usage(purpose: &ObjectIdentifier, critical: bool) -> Vec<u8> {
    let value = write::sequence(&[&write::object_identifier(purpose)]);
    extension(&oid::EXTENDED_KEY_USAGE, critical, &value)
}

fn subject_key_id(key: &PublicKey) -> Vec<u8> {
    extension(&oid::SUBJECT_KEY_ID, false, &write::octet_string(&key_id(key)))
}

/// The identifier which the issuer's certificate carries, or what it would be.
fn authority_key_id(issuer: &Certificate) -> Vec<u8> {
    let computed;
    let id = match issuer.subject_key_id() {
        Some(id) => id,
        None => {
            computed = key_id(issuer.public_key());
            &computed
        }
    };
    extension(&oid::AUTHORITY_KEY_ID, false, &write::sequence(&[&write::primitive(0, id)]))
}

/// The part of a `TBSCertificate` before the extensions.
struct Head<'a> {
    serial: &'a [u8; 20],
    issuer: &'a Name,
    not_before: Timestamp,
    not_after: Timestamp,
    subject: &'a Name,
    public_key: &'a PublicKey,
}

impl Head<'_> {
    /// Fields from the version to the key, joined. The serial number's top bit is cleared, so that it is
    /// positive in 20 bytes.
    fn write(&self, signature_algorithm: &[u8]) -> Result<Vec<u8>, IssueError> {
        let (not_before, not_after) = (self.not_before, self.not_after);
        if not_after < not_before {
            let limit = "any time: it ends before it begins".to_owned();
            return Err(IssueError::Validity { not_before, not_after, limit });
        }
        let mut serial = *self.serial;
        if let Some(first) = serial.first_mut() {
            *first &= 0x7f;
        }
        if serial == [0; 20] {
            return Err(IssueError::Serial);
        }
        Ok([
            write::constructed(0, &[&write::unsigned(&[2])]).as_slice(),
            &write::unsigned(&serial),
            signature_algorithm,
            &self.issuer.der,
            &write::sequence(&[&write::time(not_before), &write::time(not_after)]),
            &self.subject.der,
            self.public_key.spki_der(),
        ]
        .concat())
    }
}

fn write_tbs(head: &[u8], extensions: &[&[u8]]) -> Vec<u8> {
    write::sequence(&[head, &write::constructed(3, &[&write::sequence(extensions)])])
}

fn sign(tbs: &[u8], signature_algorithm: &[u8], signer: &dyn Signer) -> Result<Vec<u8>, IssueError> {
    let signature = signer.sign(tbs)?;
    Ok(write::sequence(&[tbs, signature_algorithm, &write::bit_string(&signature)]))
}

/// Checks what every issuer must be: an authority that may sign certificates, with this key, for this time.
fn check_issuer(
    issuer: &Certificate,
    signer: &dyn Signer,
    not_before: Timestamp,
    not_after: Timestamp,
) -> Result<(), IssueError> {
    if issuer.public_key() != signer.public_key() {
        return Err(IssueError::OtherKey { issuer: issuer.describe() });
    }
    if !issuer.is_ca() || issuer.key_usage().is_some_and(|u| !u.key_cert_sign()) {
        let expected = "a certificate authority with key usage keyCertSign";
        return Err(IssueError::Issuer { issuer: issuer.describe(), expected });
    }
    // Certificates know whole seconds only.
    if not_before.as_second() < issuer.not_before().as_second()
        || not_after.as_second() > issuer.not_after().as_second()
    {
        let limit = format!("{} to {} of {}", issuer.not_before(), issuer.not_after(), issuer.describe());
        return Err(IssueError::Validity { not_before, not_after, limit });
    }
    Ok(())
}
