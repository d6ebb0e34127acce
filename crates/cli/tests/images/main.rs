//! The program with images: against a registry in the test, of the kind that lists referrers and of the kind that does
//! not. The registry is the one with which the client of registries is tested.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::needless_pass_by_value,
    reason = "helpers of tests"
)]

#[path = "../../../registry/tests/it/images.rs"]
mod images;
#[path = "../../../registry/tests/it/support/mod.rs"]
#[expect(dead_code, reason = "shared with the tests of the registry's client, which need more of it")]
mod registry;
mod signing;
#[path = "../support/mod.rs"]
#[expect(dead_code, reason = "shared with the tests of the command line, which need more of it")]
mod support;
mod tools;
