//! X.509 as this field uses it: certificates read and issued, paths checked at a given time, signed
//! certificate timestamps, RFC 3161 timestamps.
//!
//! | module | subject |
//! |---|---|
//! | [`Certificate`] | reading a certificate once, into an owned value |
//! | [`FulcioExtensions`] | the identity in a Fulcio certificate (OIDs 1.3.6.1.4.1.57264.1.*) |
//! | [`chain`] | is this certificate trusted, for this purpose, at this time? |
//! | [`sct`] | signed certificate timestamps (RFC 6962 section 3.2) |
//! | [`issue`] | writing certificates: precertificate and leaf, CA certificates, timestamping leaf |
//! | [`csr`] | certificate signing requests (PKCS#10), for their key only |
//! | [`timestamp`] | RFC 3161 requests, responses, tokens |
//! | [`crl`] | certificate revocation lists |
//!
//! The crate does no I/O, reads no clock and makes no random numbers. Every reader checks the size and the
//! depth of its input before it parses it, and accepts DER only: minimal lengths, canonical booleans and
//! integers, nothing behind the end.
//!
//! # Why own structs on `der`
//! Tags, lengths, integers, object identifiers and booleans are read by the `der` crate, which is strict
//! about them. The structures above that are written here, because three of the things needed are bytes and
//! not values: the part of a certificate that was signed, the same part without its SCT list, and the signed
//! attributes of a token. Taking them from the input is exact; writing them again from a parsed value is a
//! guess that two writers agree.

mod asn1;
mod certificate;
pub mod chain;
pub mod crl;
pub mod csr;
mod error;
mod fulcio;
pub mod issue;
mod name;
pub mod oid;
pub mod sct;
pub mod timestamp;
mod usage;
mod write;

pub use certificate::{Certificate, MAX_CERTIFICATE_LEN};
pub use error::X509Error;
pub use fulcio::{FulcioExtension, FulcioExtensions, is_hosted_runner};
pub use name::{Name, San};
pub use usage::{BasicConstraints, ExtendedKeyUsage, KeyUsage};
