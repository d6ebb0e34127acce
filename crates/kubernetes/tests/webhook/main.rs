//! Reviews over TLS, as an API server sends them, against images in a registry that were really signed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::needless_pass_by_value,
    reason = "helpers of tests"
)]

mod api;
mod busy;
mod chaos;
#[path = "../../../policy/tests/support/mod.rs"]
#[expect(dead_code, reason = "shared with the tests of the policies, which need more of it")]
mod cluster;
mod hostile;
mod in_cluster;
mod recorded;
mod replicas;
mod reviews;
mod revocation;
mod rows;
mod running;
#[path = "../../../verify/tests/engine/common.rs"]
#[expect(dead_code, reason = "shared with the tests of the engine, which need more of it")]
mod sigstore;
mod statements;
mod support;
