//! Reviews over TLS, as an API server sends them, against images in a registry that were really signed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

mod hostile;
mod reviews;
mod revocation;
mod running;
mod support;
