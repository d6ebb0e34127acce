//! A whole instance on loopback: its services, those who mean it harm, and what its operators meet.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod adversarial;
mod common;
mod hidden;
mod operating;
mod pages;
mod past_one_machine;
#[path = "../../../log/tests/log/support/postgres.rs"]
#[expect(dead_code, unreachable_pub, reason = "shared with the tests of the log, which need more of it")]
mod postgres;
mod rekor_v1;
mod requests;
#[path = "../../../log/tests/log/support/s3.rs"]
#[expect(dead_code, unreachable_pub, reason = "shared with the tests of the log, which need more of it")]
mod s3;
mod services;
mod shards;
mod strain;
mod witnesses;
