//! Writing answers: `TimeStampResp` (RFC 3161 section 2.4.2), granted or rejected.

use countersign_crypto::{HashAlgorithm, Signer};
use der::asn1::ObjectIdentifier;
use jiff::Timestamp;

use super::token::WHAT;
use super::{TimestampRequest, directory_name, write_hash, write_imprint};
use crate::chain::{self, ChainError, Purpose};
use crate::{Certificate, X509Error, oid, write};

/// Why a request is rejected (`PKIFailureInfo`, RFC 3161 section 2.4.2): the number of a bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FailureInfo {
    /// An algorithm that is unknown or not supported.
    BadAlgorithm = 0,
    /// A transaction that is not allowed or not supported.
    BadRequest = 2,
    /// The data has the wrong format.
    BadDataFormat = 5,
    /// The authority has no time to give.
    TimeNotAvailable = 14,
    /// The policy asked for is not supported.
    UnacceptedPolicy = 15,
    /// The extension asked for is not supported.
    UnacceptedExtension = 16,
    /// A failure of the authority.
    SystemFailure = 25,
}

/// Writes a rejection, with a text for people.
#[must_use]
pub fn reject(failure: FailureInfo, text: &str) -> Vec<u8> {
    let bit = failure as u8;
    // A named bit list ends with its highest set bit.
    let mut bits = vec![0_u8; usize::from(bit / 8) + 1];
    if let Some(last) = bits.last_mut() {
        *last = 0x80 >> (bit % 8);
    }
    let failure_info = write::tlv(0x03, &[&[7 - bit % 8], &bits]);
    let status = write::sequence(&[
        &write::unsigned(&[2]),
        &write::sequence(&[&write::utf8_string(text)]),
        &failure_info,
    ]);
    write::sequence(&[&status])
}

/// An authority's certificate and what does not change from one answer to the next, written once.
#[derive(Debug, Clone)]
pub struct Responder {
    leaf: Certificate,
    policy: ObjectIdentifier,
    digest: HashAlgorithm,
    /// `certificates` with the leaf alone.
    embedded: Vec<u8>,
    /// `IssuerAndSerialNumber` of the signer.
    signer_id: Vec<u8>,
    /// The attribute `signingCertificateV2`.
    signing_certificate: Vec<u8>,
    /// `[0] tsa` of `TSTInfo`.
    tsa: Vec<u8>,
    signature_algorithm: Vec<u8>,
}

impl Responder {
    /// Prepares answers by the key of this certificate.
    ///
    /// # Errors
    /// [`ResponderError`] when the certificate is not one for time stamping, when the key is another, or when the
    /// key's scheme has no place in CMS.
    pub fn new(
        leaf: Certificate,
        policy: ObjectIdentifier,
        signer: &dyn Signer,
    ) -> Result<Self, ResponderError> {
        chain::check_leaf(&leaf, Purpose::TimeStamping)?;
        if leaf.public_key() != signer.public_key() {
            return Err(ResponderError::OtherKey { certificate: leaf.describe() });
        }
        let scheme = signer.scheme();
        let signature_algorithm = scheme.x509_algorithm().map_err(X509Error::crypto(WHAT))?;
        // Ed25519 takes the message whole; RFC 8419 section 3.1 then wants SHA-512 for the content.
        let digest = scheme.hash().unwrap_or(HashAlgorithm::Sha512);
        let serial = write::unsigned(leaf.serial());
        let issuer_serial =
            write::sequence(&[&write::sequence(&[&directory_name(&leaf.issuer().der)]), &serial]);
        // SHA-256 is the default of ESSCertIDv2, so DER leaves its name out.
        let hash = HashAlgorithm::Sha256.digest(leaf.der());
        let id = write::sequence(&[&write::octet_string(hash.as_bytes()), &issuer_serial]);
        let ids = write::sequence(&[&write::sequence(&[&id])]);
        Ok(Self {
            policy,
            digest,
            embedded: write::constructed(0, &[leaf.der()]),
            signer_id: write::sequence(&[&leaf.issuer().der, &serial]),
            signing_certificate: attribute(&oid::SIGNING_CERTIFICATE_V2, ids),
            tsa: write::constructed(0, &[&directory_name(&leaf.subject().der)]),
            signature_algorithm,
            leaf,
        })
    }

    /// The certificate with whose key is signed.
    #[must_use]
    pub fn leaf(&self) -> &Certificate {
        &self.leaf
    }

    /// The policy written into answers.
    #[must_use]
    pub fn policy(&self) -> &ObjectIdentifier {
        &self.policy
    }
}

/// Why a certificate and a key cannot answer for a timestamp authority.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResponderError {
    /// The certificate is not for time stamping.
    #[error(transparent)]
    Usage(#[from] ChainError),
    /// The key is not that of the certificate.
    #[error("the key is not that of {certificate}")]
    OtherKey {
        /// Which certificate.
        certificate: String,
    },
    /// Something that cannot be written.
    #[error(transparent)]
    Encoding(#[from] X509Error),
}

fn attribute(kind: &ObjectIdentifier, value: Vec<u8>) -> Vec<u8> {
    write::sequence(&[&write::object_identifier(kind), &write::set_of(vec![value])])
}

/// Answers a request: granted, with a new token.
///
/// `gen_time` is written in whole seconds (cut off), with an accuracy of one second. `serial` is up to 160
/// random bits. The request's policy is not looked at here: the answer names the responder's. `signer` is the
/// one given to [`Responder::new`].
///
/// # Errors
/// [`X509Error::Crypto`] when the signer fails.
pub fn respond(
    responder: &Responder,
    request: &TimestampRequest,
    gen_time: Timestamp,
    serial: &[u8; 20],
    signer: &dyn Signer,
) -> Result<Vec<u8>, X509Error> {
    let content = write::sequence(&[
        &write::unsigned(&[1]),
        &write::object_identifier(&responder.policy),
        &write_imprint(WHAT, &request.imprint)?,
        &write::unsigned(serial),
        &write::generalized_time(gen_time),
        &write::sequence(&[&write::unsigned(&[1])]),
        &request.nonce.as_ref().map(|n| write::tlv(0x02, &[n])).unwrap_or_default(),
        &responder.tsa,
    ]);
    let digest = responder.digest.digest(&content);
    let attributes = write::set_of(vec![
        attribute(&oid::CONTENT_TYPE, write::object_identifier(&oid::TST_INFO)),
        attribute(&oid::SIGNING_TIME, write::time(gen_time)),
        attribute(&oid::MESSAGE_DIGEST, write::octet_string(digest.as_bytes())),
        responder.signing_certificate.clone(),
    ]);
    let signature = signer.sign(&attributes).map_err(X509Error::crypto(WHAT))?;
    let digest_algorithm = write_hash(WHAT, responder.digest)?;
    let signer_info = write::sequence(&[
        &write::unsigned(&[1]),
        &responder.signer_id,
        &digest_algorithm,
        // The same content under [0] instead of SET (RFC 5652 section 5.3).
        &retag(attributes, 0xa0),
        &responder.signature_algorithm,
        &write::octet_string(&signature),
    ]);
    let encapsulated = write::sequence(&[
        &write::object_identifier(&oid::TST_INFO),
        &write::constructed(0, &[&write::octet_string(&content)]),
    ]);
    let certificates: &[u8] = if request.cert_req { &responder.embedded } else { &[] };
    let signed_data = write::sequence(&[
        // Version 3: the content is not of type data (RFC 5652 section 5.1).
        &write::unsigned(&[3]),
        &write::set_of(vec![digest_algorithm.clone()]),
        &encapsulated,
        certificates,
        &write::set_of(vec![signer_info]),
    ]);
    let token = write::sequence(&[
        &write::object_identifier(&oid::SIGNED_DATA),
        &write::constructed(0, &[&signed_data]),
    ]);
    let granted = write::sequence(&[&write::unsigned(&[0])]);
    Ok(write::sequence(&[&granted, &token]))
}

fn retag(mut der: Vec<u8>, tag: u8) -> Vec<u8> {
    if let Some(first) = der.first_mut() {
        *first = tag;
    }
    der
}
