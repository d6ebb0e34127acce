//! Signing with the trust services, and checking what they answer.

pub mod artifact;
pub mod directory;
mod error;
pub mod fulcio;
pub mod image;
pub mod incident;
pub mod log;
pub mod log_search;
pub mod log_tree;
pub mod looking;
pub mod monitor;
pub mod notary;
pub mod oidc;
pub mod policy;
pub mod provenance;
pub mod rekor;
pub mod services;
pub mod sign;
pub mod trust;
pub mod tsa;
pub mod verify;

pub use error::ClientError;
