//! Signing with the trust services, and checking what they answer.

pub mod artifact;
mod error;
pub mod fulcio;
pub mod http;
pub mod log;
pub mod oidc;
pub mod text;

pub use error::ClientError;
