//! The wire types of Sigstore: evidence, trust root, signing configuration, log entries.
//!
//! | module | subject | specification |
//! |---|---|---|
//! | [`Bundle`] | signature, key material, log entries, timestamps | protobuf-specs, `sigstore_bundle.proto` |
//! | [`TlogEntry`] | an entry of a transparency log, with its proofs | `sigstore_rekor.proto` |
//! | [`TrustedRoot`] | the keys and certificates to trust | `sigstore_trustroot.proto` |
//! | [`SigningConfig`], [`ClientTrustConfig`] | where to get signatures from | `sigstore_trustroot.proto` |
//! | [`legacy`] | cosign's annotations and older bundle file | sigstore/cosign, `specs/SIGNATURE_SPEC.md` |
//! | [`rekor`] | what a log stores, and what is sent to it | rekor, rekor-tiles |
//!
//! Types here have plain public fields; nothing in them is verified, and certificates and keys stay the bytes
//! they were. Readers take all versions and every spelling that other programs write; writers write one form,
//! the one that all known clients take.
//!
//! The crate does no I/O.

mod bundle;
pub mod legacy;
pub mod rekor;
mod rekor_request;
mod rekor_v1;
mod rekor_v1_request;
mod signing_config;
mod tlog_entry;
mod trusted_root;
mod wire;

pub use bundle::{Bundle, BundleVersion, Content, KeyMaterial, MAX_BUNDLE_LEN, VerificationMaterial};
pub use signing_config::{
    ClientTrustConfig, SelectError, Selector, Service, ServiceConfiguration, SigningConfig,
};
pub use tlog_entry::{InclusionProof, TlogEntry};
pub use trusted_root::{CertificateAuthority, LogKey, TransparencyLog, TrustedRoot, ValidFor};

use countersign_attestation::JsonError;

/// Why a document was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// Limits, JSON that does not parse, members of another type, given twice or with bad base64.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// A media type which is not one of the supported ones.
    #[error("mediaType: expected {expected}, found \"{found}\"")]
    MediaType {
        /// The spellings that are read.
        expected: &'static str,
        /// What stands there.
        found: String,
    },
    /// It parses, and says something which the format does not allow.
    #[error("{0}")]
    Shape(String),
}

pub(crate) fn shape(text: impl Into<String>) -> BundleError {
    BundleError::Shape(text.into())
}
