//! The Notary Project's signatures: JWS and COSE envelopes, trust policy, trust store, and one function that decides.
//!
//! | module | subject | specification (notaryproject/specifications) |
//! |---|---|---|
//! | [`Envelope`] | reading and checking a signature envelope | `signature-envelope-jws.md`, `signature-envelope-cose.md` |
//! | [`sign()`] | writing one | the same, and `signing-scheme.md` |
//! | [`Payload`] | what is signed: a descriptor of the artifact | `signature-specification.md`, "Payload" |
//! | [`chain`] | what certificates must say | `signature-specification.md`, "Certificate Requirements" |
//! | [`policy`] | trust policy documents | `trust-store-trust-policy.md` |
//! | [`TrustStore`] | named certificates | the same |
//! | [`verify()`] | an artifact, an envelope, a policy and a time to a [`Report`] | the same, "Signature Verification" |
//!
//! The crate is pure: no network, no files, no clock. Whoever calls it brings the bytes and the time.
//!
//! # What is decided here
//! - Success is a value, [`Verified`], which only [`verify()`] makes. A policy with level `skip` gives
//!   [`Verdict::Skipped`], which is no such value.
//! - A check which the policy only logs never disappears: it stands in the report, and in [`Verified::logged`].
//!   [`Request::enforce_logged`] turns such checks into refusals.
//! - Revocation is answered by the lists that are given. Nothing is fetched, so a certificate which names a place to
//!   ask, and for which no list is given, is *not checked*: a failure, which the policy enforces, logs or skips.
//! - Attributes which are critical and not known are a refusal, and so is one that asks for a verification plugin:
//!   there are none here.
//!
//! # Why an own CBOR reader
//! An envelope needs integers, two kinds of strings, lists, maps and two tags; a reader for these, with limits and one
//! spelling for each value, is shorter than the code around a general one. The general crates take what must be refused
//! here (keys twice, lengths in a longer form, indefinite lengths), and `coset` reads through one of them.

mod algorithm;
mod cbor;
pub mod chain;
mod envelope;
mod payload;
pub mod policy;
mod refusal;
mod report;
mod revocation;
mod sign;
mod store;
mod timestamp;
mod verify;

pub use algorithm::Algorithm;
pub use countersign_verify::Reason;
pub use envelope::{Attributes, Envelope, Format, MAX_ENVELOPE_LEN, SigningScheme, annotations};
pub use payload::{Payload, RESERVED_PREFIX, TargetArtifact};
pub use refusal::Refusal;
pub use report::{AuthenticTime, Check, CheckName, Outcome, Rejection, Report, Verdict, Verified};
pub use sign::{Draft, SignError, SignRequest, sign};
pub use store::{StoreName, StoreType, TrustStore};
pub use verify::{Request, Subject, verify};

/// The type by which a signature is found beside an artifact in a registry.
pub const ARTIFACT_TYPE: &str = "application/vnd.cncf.notary.signature";
