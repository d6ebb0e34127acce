//! Registries, honest and lying: what is written, what is found, and what is refused.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "helpers of tests")]

mod evidence;
mod images;
mod support;
