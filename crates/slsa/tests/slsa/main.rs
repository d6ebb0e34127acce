//! Verification of provenance and summaries, against a Sigstore of one's own: what holds, and that each thing that does not
//! is the reason for which it is refused.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "code of tests")]

mod builds;
mod forms;
mod real;
mod rows;
mod summaries;
mod world;
