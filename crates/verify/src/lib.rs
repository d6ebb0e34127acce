//! The verification engine: is this artifact signed by whom it must be signed?
//!
//! One function, [`verify`], goes from an artifact ([`Subject`]), evidence ([`Bundle`](countersign_bundle::Bundle)),
//! a trust root ([`TrustMaterial`]), [`Requirements`] and a time to a [`Report`]. It is pure: no network, no files,
//! no clock. Every verdict on a Sigstore bundle comes from here; signatures of the Notary Project have their own engine
//! (`countersign-notary`), which shares the list of [`Reason`]s.
//!
//! The rules, in short:
//! - Success is a value, [`Verified`], which only the engine makes, from evidence for every required check.
//! - All evidence in the bundle must hold. A log entry or timestamp that does not verify is a refusal even where
//!   others would be enough.
//! - Authorities are counted, not items: keys of logs, anchors of timestamp authorities, keys of CT logs and
//!   witnesses.
//! - A time counts after its signature was checked, inside its authority's window, and never in the future. The
//!   certificate's path must hold at every time that counts.
//! - All checks that can run do, and stand in the report. The first that failed is the reason.
//!
//! The order of checks is that of sigstore/architecture-docs, `client-spec.md`, section 4.

mod binding;
mod certificate;
mod engine;
mod log;
mod material;
mod names;
mod policy;
mod reason;
mod report;
mod requirements;
pub mod revocation;
mod several;
mod signature;
mod subject;
// What an index of a log is made from, which no browser makes.
#[cfg(not(target_arch = "wasm32"))]
pub mod terms;
mod times;

pub use engine::verify;
pub use material::{TrustError, TrustMaterial};
pub use policy::SIGN_PREDICATE_TYPE;
pub use reason::Reason;
pub use report::{
    Check, CheckName, Outcome, Payload, Rejection, Report, Signer, TimeSource, Verified, VerifiedEntry,
    VerifiedTime,
};
pub use requirements::{
    Identities, Identity, Keys, Matcher, Nobody, Requirements, RequirementsBuilder, RequirementsError,
    SigningKey,
};
pub use several::{nearest, verify_each};
pub use subject::Subject;
