//! Trust roots: how they are made, published, fetched and kept.
//!
//! - [`tuf`]: The Update Framework, both sides. A repository that a private instance publishes, and a client
//!   that follows any Sigstore-like repository.

pub mod tuf;
