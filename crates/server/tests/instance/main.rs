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
mod rekor_v1;
mod requests;
mod services;
mod shards;
mod strain;
mod witnesses;
