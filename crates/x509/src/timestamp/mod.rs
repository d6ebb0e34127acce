//! Timestamps (RFC 3161, with RFC 5816): a third party's word that some bytes existed at a time.
//!
//! [`TimestampRequest`] is what a client asks, [`TimestampToken`] what it gets, [`respond`] and [`reject`] write
//! the answers. A token says nothing until [`TimestampToken::verify`] has checked it against an [`Authority`].
//!
//! Imprints are SHA-256, SHA-384 or SHA-512; a request or token with anything else is refused.

mod request;
mod respond;
mod token;
mod verify;

use countersign_crypto::{Digest, HashAlgorithm};
use der::Tag;
use der::asn1::ObjectIdentifier;

use crate::asn1::Cursor;
use crate::{X509Error, oid, write};

pub use request::{MAX_NONCE_LEN, MAX_REQUEST_LEN, RequestError, TimestampRequest};
pub use respond::{FailureInfo, Responder, ResponderError, reject, respond};
pub use token::{MAX_TOKEN_LEN, SignerId, TimestampToken, TstInfo};
pub use verify::{Authority, Imprinted, TimestampError, VerifiedTimestamp};

/// The longest object identifier read, in bytes. It is checked before the identifier is taken apart.
const MAX_OID_LEN: usize = 39;

const fn hash_oid(algorithm: HashAlgorithm) -> Option<ObjectIdentifier> {
    match algorithm {
        HashAlgorithm::Sha256 => Some(oid::SHA256),
        HashAlgorithm::Sha384 => Some(oid::SHA384),
        HashAlgorithm::Sha512 => Some(oid::SHA512),
        _ => None,
    }
}

fn hash_of(kind: &ObjectIdentifier) -> Option<HashAlgorithm> {
    HashAlgorithm::ALL.into_iter().find(|a| hash_oid(*a) == Some(*kind))
}

/// Reads the `AlgorithmIdentifier` of a hash; parameters are absent or NULL (RFC 5754 section 2).
fn read_hash(what: &'static str, from: &mut Cursor<'_>) -> Result<ObjectIdentifier, X509Error> {
    let mut fields = from.sequence()?;
    let kind = fields.oid()?;
    fields.optional(Tag::Null)?;
    if !fields.is_finished() {
        return Err(X509Error::malformed(what, "parameters of a hash algorithm"));
    }
    Ok(kind)
}

/// A hash that must be one of SHA-2.
fn read_strong_hash(what: &'static str, from: &mut Cursor<'_>) -> Result<HashAlgorithm, X509Error> {
    let kind = read_hash(what, from)?;
    hash_of(&kind).ok_or_else(|| X509Error::Unsupported { what, detail: format!("hash algorithm {kind}") })
}

/// Writes the `AlgorithmIdentifier` of a hash, with NULL as everyone does.
fn write_hash(what: &'static str, algorithm: HashAlgorithm) -> Result<Vec<u8>, X509Error> {
    let kind =
        hash_oid(algorithm).ok_or_else(|| X509Error::Unsupported { what, detail: algorithm.to_string() })?;
    Ok(write::sequence(&[&write::object_identifier(&kind), &write::null()]))
}

fn write_imprint(what: &'static str, digest: &Digest) -> Result<Vec<u8>, X509Error> {
    Ok(write::sequence(&[&write_hash(what, digest.algorithm())?, &write::octet_string(digest.as_bytes())]))
}

/// `GeneralName`, the choice `directoryName`.
fn directory_name(name_der: &[u8]) -> Vec<u8> {
    write::constructed(4, &[name_der])
}
