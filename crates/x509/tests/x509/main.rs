//! Tests of the crate from outside, one file per subject.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test"
)]

mod certificate;
mod chain;
mod crl;
mod issue;
mod sct_vectors;
mod support;
mod timestamp;
mod timestamp_vectors;
