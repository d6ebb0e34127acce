//! What is written to a cluster, against an API server in memory.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

mod api_server;
mod events;
mod reports;
mod revocations;
mod telling;
