//! Trust roots from outside: what is published, what is read back, and what must never be believed.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests")]

mod adversarial;
mod common;
mod documents;
mod instances;
mod neighbours;
mod repository;
mod revocations;
mod rotation;
mod verifiers;
