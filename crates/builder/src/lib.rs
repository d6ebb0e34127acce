//! Builds: isolated ones whose provenance the build cannot forge, and provenance of builds that were made elsewhere.

#[cfg(target_os = "linux")]
mod error;
#[cfg(target_os = "linux")]
pub mod escape;
#[cfg(target_os = "linux")]
pub mod recipe;
#[cfg(target_os = "linux")]
pub mod sandbox;

#[cfg(target_os = "linux")]
pub use error::BuildError;
#[cfg(target_os = "linux")]
pub use recipe::Recipe;
