//! Signed statements about artifacts: DSSE envelopes, in-toto statements, and cosign's older payload for images.
//!
//! | module | subject | specification |
//! |---|---|---|
//! | [`dsse`] | envelope, pre-authentication encoding | secure-systems-lab/dsse, `protocol.md`, `envelope.md` |
//! | [`statement`] | in-toto statement v0.1 and v1 | in-toto/attestation, `spec/v1/statement.md` |
//! | [`predicate`] | predicates: their names, scans, VEX, provenance, bills of materials | sigstore/cosign, in-toto, OpenVEX, SLSA |
//! | [`purl`] | package URLs | package-url/purl-spec |
//! | [`simple_signing`] | cosign's older payload | sigstore/cosign, `specs/SIGNATURE_SPEC.md` |
//! | [`json`] | the reading rules of JSON which this crate and the bundle crate share | protobuf's JSON mapping |
//!
//! The crate does no I/O. Readers check the size and the depth of their input first, take what other writers
//! write (a number as string or number, `null` for absent, unknown members), and refuse what two readers could
//! understand in two ways: a member given twice, base64 of another spelling. Writers write one form.

pub mod dsse;
pub mod json;
pub mod predicate;
pub mod purl;
pub mod simple_signing;
pub mod statement;

pub use dsse::Envelope;
pub use json::JsonError;
pub use simple_signing::SimpleSigning;
pub use statement::Statement;
