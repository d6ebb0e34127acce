//! Tests of the crate from outside, one file per subject.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::needless_pass_by_value,
    reason = "a test"
)]

mod adversarial;
mod certificates;
mod envelopes;
mod policies;
mod revoked;
mod support;
mod timestamps;
mod vectors;
mod verification;
