//! Registries, honest and lying: what is written, what is found, and what is refused.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests"
)]

mod archives;
mod attached;
mod copying;
mod docker_registry;
mod evidence;
mod hostile;
mod images;
mod login;
mod support;
mod tarball;
