//! Trust roots: how they are made, published, fetched and kept.
//!
//! - [`tuf`]: The Update Framework, both sides. A repository that a private instance publishes, and a client
//!   that follows any Sigstore-like repository.
//! - [`documents`]: trusted root and signing configuration of an instance, and their rotation.
//! - [`instances`]: the named trust roots on a user's machine.
//! - [`revocations`]: what those instances have revoked.
//!
//! Network enters through [`tuf::Transport`], time through arguments.

pub mod documents;
mod error;
pub mod instances;
pub mod revocations;
pub mod tuf;
