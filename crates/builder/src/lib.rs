//! Builds: isolated ones whose provenance the build cannot forge, and provenance of builds that were made elsewhere.
//!
//! | module | what |
//! |---|---|
//! | [`control`] | the first trust domain: what is built, from a reference to files whose digests are known |
//! | [`sandbox`] | the second: where strangers' commands run |
//! | [`journal`] | what control writes down, and all that the third domain sees |
//! | [`signer`] | the third: the statement, made of the journal alone |
//! | [`recipe`] | the file in the source that says how to build it |
//! | [`reproduce`] | the same build as somebody else, and where it differs |
//! | [`escape`] | every known way out of the sandbox, tried |
//! | [`environment`] | where a build runs and for which source, as the variables of CI platforms say |
//! | [`checkout`] | what is checked out, as git says |
//! | [`dockerfile`] | the images that Dockerfiles name |
//! | [`materials`] | what went into a build, as its lock files say |
//! | [`run`] | a command with what it found and what it left |
//! | [`level`] | what such provenance is worth |
//! | [`address`], [`secrets`] | that no secret is told |
//!
//! Isolated builds are there on Linux only.

pub mod address;
pub mod checkout;
#[cfg(target_os = "linux")]
pub mod control;
pub mod dockerfile;
pub mod environment;
#[cfg(target_os = "linux")]
mod error;
#[cfg(target_os = "linux")]
pub mod escape;
#[cfg(target_os = "linux")]
pub mod journal;
pub mod level;
pub mod materials;
#[cfg(target_os = "linux")]
pub mod recipe;
#[cfg(target_os = "linux")]
pub mod reproduce;
pub mod run;
#[cfg(target_os = "linux")]
pub mod sandbox;
pub mod secrets;
#[cfg(target_os = "linux")]
pub mod signer;

#[cfg(target_os = "linux")]
pub use error::BuildError;
#[cfg(target_os = "linux")]
pub use recipe::Recipe;
