//! The engine against bundles of a Sigstore of our own.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "code of tests")]

mod common;
mod faults;
mod images;
mod revocation;
mod rows;
