//! Is a timestamp to be believed?
//!
//! The signer is found by what the token's one `SignerInfo` says, never by looking for a likely certificate
//! among those that came along. Where the trust root knows the authority's own certificate, it must be that one.

use std::sync::OnceLock;

use countersign_crypto::{CryptoError, Digest};
use jiff::Timestamp;
use sha1::Digest as _;

use super::token::CertificateId;
use super::{SignerId, TimestampToken, TstInfo, directory_name};
use crate::chain::{self, ChainError, Purpose, VerifiedChain};
use crate::{Certificate, X509Error, oid};

/// A timestamp authority as the trust root knows it. Each authority is checked by itself: certificates of
/// several are never put together, and whether the authority was to be trusted at that time (the trust root's
/// `validFor`) is for the caller to check with [`VerifiedTimestamp::time`].
#[derive(Debug, Clone)]
pub struct Authority {
    leaf: Option<Certificate>,
    intermediates: Vec<Certificate>,
    anchor: Certificate,
    /// The path from the leaf above: its signatures hold at any time, so they are checked once.
    path: OnceLock<Option<VerifiedChain>>,
}

impl Authority {
    /// Takes a chain in the order of a trust root: the authority's own certificate first, if it is there, then
    /// those above it, the anchor last.
    ///
    /// # Errors
    /// [`TimestampError::NoAuthority`] for an empty chain, and for one that is a leaf alone: it would have no
    /// anchor.
    pub fn from_chain(chain: &[Certificate]) -> Result<Self, TimestampError> {
        let (anchor, below) = chain.split_last().ok_or(TimestampError::NoAuthority)?;
        if !anchor.is_ca() {
            return Err(TimestampError::NoAuthority);
        }
        let (leaf, intermediates) = match below.split_first() {
            Some((first, rest)) if !first.is_ca() => (Some(first.clone()), rest),
            _ => (None, below),
        };
        Ok(Self {
            leaf,
            intermediates: intermediates.to_vec(),
            anchor: anchor.clone(),
            path: OnceLock::new(),
        })
    }

    /// The path from the authority's own certificate, if the trust root has that and every certificate of the path
    /// is valid at the time.
    fn path_at(&self, at: Timestamp) -> Option<&VerifiedChain> {
        let find = || {
            let leaf = self.leaf.as_ref()?;
            let anchors = std::slice::from_ref(&self.anchor);
            chain::verify(leaf, &self.intermediates, anchors, Purpose::TimeStamping, leaf.not_before()).ok()
        };
        let path = self.path.get_or_init(find).as_ref()?;
        path.certificates().all(|c| c.is_valid_at(at)).then_some(path)
    }

    /// The authority's own certificate, if the trust root has it.
    #[must_use]
    pub fn leaf(&self) -> Option<&Certificate> {
        self.leaf.as_ref()
    }
}

/// What a timestamp should be of.
#[derive(Debug, Clone, Copy)]
pub enum Imprinted<'a> {
    /// These bytes; for Sigstore, a signature's.
    Bytes(&'a [u8]),
    /// Something with this digest.
    Digest(&'a Digest),
}

/// Why a timestamp does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TimestampError {
    /// Not DER, or not a timestamp.
    #[error(transparent)]
    Malformed(#[from] X509Error),
    /// The authority answered, and refused.
    #[error("the timestamp authority refused with status {status}: {:?}", text)]
    NotGranted {
        /// `PKIStatus`: 2 is a rejection.
        status: u8,
        /// What the authority says.
        text: String,
    },
    /// The trust root's chain for this authority has no anchor.
    #[error("the timestamp authority has no trusted certificate")]
    NoAuthority,
    /// The timestamp is of other bytes.
    #[error("the timestamp is of {found}, expected {expected}")]
    Imprint {
        /// The digest it should have, as `sha256:<hex>`.
        expected: String,
        /// The digest it has.
        found: String,
    },
    /// The timestamp does not repeat the number that was asked for.
    #[error("the timestamp does not repeat the nonce of the request")]
    Nonce,
    /// The timestamp was made by another authority.
    #[error("the timestamp was not signed by {expected}")]
    OtherSigner {
        /// The certificate which should have signed.
        expected: String,
    },
    /// The trust root does not have the authority's certificate, and the timestamp does not bring it.
    #[error("the certificate of the timestamp's signer is neither in the trust root nor in the timestamp")]
    NoSignerCertificate,
    /// The timestamp brings several certificates that answer to its signer's identifier.
    #[error("the timestamp brings several certificates for its one signer")]
    AmbiguousSigner,
    /// A signed attribute does not fit the content or the signer.
    #[error("the signed attribute {attribute} does not fit: {detail}")]
    Attribute {
        /// Which attribute.
        attribute: &'static str,
        /// What is wrong with it.
        detail: String,
    },
    /// The signature does not verify.
    #[error("the timestamp's signature: {0}")]
    Signature(CryptoError),
    /// The signer's certificate is not to be trusted for time stamping at that time.
    #[error("the timestamp authority's certificate: {0}")]
    Chain(#[from] ChainError),
}

/// A timestamp that was verified. Only [`TimestampToken::verify`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedTimestamp {
    info: TstInfo,
    chain: VerifiedChain,
}

impl VerifiedTimestamp {
    /// When it was stamped.
    #[must_use]
    pub fn time(&self) -> Timestamp {
        self.info.gen_time
    }

    /// All that the authority states.
    #[must_use]
    pub fn info(&self) -> &TstInfo {
        &self.info
    }

    /// The path from the authority's certificate to the anchor.
    #[must_use]
    pub fn chain(&self) -> &VerifiedChain {
        &self.chain
    }
}

impl TimestampToken {
    /// Checks the token: it is of these bytes, it repeats the nonce (when one was sent), it was signed by this
    /// authority's key, its signed attributes bind content and certificate, and the certificate was good for
    /// time stamping, up to the anchor, at the time in the token.
    ///
    /// # Errors
    /// [`TimestampError`].
    pub fn verify(
        &self,
        imprinted: Imprinted<'_>,
        nonce: Option<&[u8]>,
        authority: &Authority,
    ) -> Result<VerifiedTimestamp, TimestampError> {
        let found = self.info.imprint;
        let expected = match imprinted {
            Imprinted::Bytes(bytes) => found.algorithm().digest(bytes),
            Imprinted::Digest(digest) => *digest,
        };
        if expected != found {
            let (expected, found) = (expected.to_string(), found.to_string());
            return Err(TimestampError::Imprint { expected, found });
        }
        if nonce.is_some() && nonce != self.info.nonce.as_deref() {
            return Err(TimestampError::Nonce);
        }
        let (signer, intermediates) = self.find_signer(authority)?;
        self.check_attributes(&signer)?;
        let scheme = self.scheme.clone().map_err(TimestampError::Signature)?;
        signer
            .public_key()
            .verify(scheme, &self.signed_attributes, &self.signature)
            .map_err(TimestampError::Signature)?;
        let at = self.info.gen_time;
        let chain = match authority.path_at(at) {
            Some(path) => path.clone(),
            None => {
                let anchors = std::slice::from_ref(&authority.anchor);
                chain::verify(&signer, &intermediates, anchors, Purpose::TimeStamping, at)?
            }
        };
        Ok(VerifiedTimestamp { info: self.info.clone(), chain })
    }

    /// The signer's certificate, and what may stand between it and the anchor.
    fn find_signer(&self, authority: &Authority) -> Result<(Certificate, Vec<Certificate>), TimestampError> {
        if let Some(leaf) = &authority.leaf {
            return if self.names(leaf) {
                Ok((leaf.clone(), authority.intermediates.clone()))
            } else {
                Err(TimestampError::OtherSigner { expected: leaf.describe() })
            };
        }
        let mut signer = None;
        let mut intermediates = authority.intermediates.clone();
        for der in &self.certificates {
            let certificate = Certificate::from_der(der)?;
            if !self.names(&certificate) {
                intermediates.push(certificate);
            } else if signer.as_ref().is_some_and(|s| *s != certificate) {
                return Err(TimestampError::AmbiguousSigner);
            } else {
                signer = Some(certificate);
            }
        }
        Ok((signer.ok_or(TimestampError::NoSignerCertificate)?, intermediates))
    }

    /// Whether the token's signer identifier is that of this certificate.
    fn names(&self, certificate: &Certificate) -> bool {
        match &self.signer {
            SignerId::IssuerAndSerial { issuer, serial } => {
                *issuer == certificate.issuer().der && serial == certificate.serial()
            }
            SignerId::KeyId(id) => certificate.subject_key_id() == Some(id),
        }
    }

    fn check_attributes(&self, signer: &Certificate) -> Result<(), TimestampError> {
        let wrong =
            |attribute, detail: &str| Err(TimestampError::Attribute { attribute, detail: detail.into() });
        if self.content_type != oid::TST_INFO {
            return wrong("contentType", "it names another type than the content's");
        }
        if self.message_digest != self.digest_algorithm.digest(&self.content).as_bytes() {
            return wrong("messageDigest", "it is not the digest of the content");
        }
        if self.signing_certificates.is_empty() {
            return wrong("signingCertificateV2", "it is missing");
        }
        if !self.signing_certificates.iter().all(|id| id.fits(signer)) {
            return wrong("signingCertificateV2", "it names another certificate than the signer's");
        }
        Ok(())
    }
}

impl CertificateId {
    fn fits(&self, certificate: &Certificate) -> bool {
        let hash_fits = match self.algorithm {
            Some(algorithm) => algorithm.digest(certificate.der()).as_bytes() == self.hash,
            // The older attribute. The signature was checked with this very certificate's key, so nothing rests
            // on SHA-1 here.
            None => sha1::Sha1::digest(certificate.der()).as_slice() == self.hash,
        };
        hash_fits
            && self.issuer_serial.as_ref().is_none_or(|(issuer, serial)| {
                *issuer == directory_name(&certificate.issuer().der) && serial == certificate.serial()
            })
    }
}
