//! The Update Framework (TUF specification 1.0): metadata, client and repository.
//!
//! - [`json`]: the canonical JSON that TUF signs, which is not RFC 8785.
//! - [`metadata`]: the four roles and delegations, parsed strictly.
//! - [`TrustedMetadata`]: the client's rules as a state machine without files or network.
//! - [`Updater`]: the client: a transport, a cache, and that state machine.
//! - [`repository`]: creates, signs and rotates a repository on disk.

mod cache;
mod error;
pub mod json;
pub mod metadata;
mod pattern;
pub mod repository;
mod trusted;
mod updater;

pub use error::TufError;
pub use trusted::{ExpiryRule, TrustedMetadata};
pub use updater::{MAX_ROOT_ROTATIONS, Transport, TransportError, Updater};
