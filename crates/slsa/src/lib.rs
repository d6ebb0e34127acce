//! SLSA: which level an artifact has, by who signed its provenance and which builder made it, and whether it was made from what
//! was expected.
//!
//! | module | subject | specification |
//! |---|---|---|
//! | [`roots`] | signer and builder together, and the level that is believed | SLSA v1.2, "verifying artifacts" |
//! | [`assess`] | levels row by row, each with the evidence that decides | SLSA v0.1; v1.2, build and source track |
//! | [`source`] | a source control system of one's own: what may be pushed, what is said of it | SLSA v1.2, source track |
//! | [`workflow`] | workflow files of GitHub, read without being run | |
//! | [`yaml`], [`text`] | YAML with its lines; foreign text in pages | |
//!
//! The crate does no I/O: what files, registries, logs and git say comes in as verified statements and plain data.

pub mod assess;
pub mod roots;
pub mod source;
pub mod text;
mod time;
pub mod workflow;
pub mod yaml;

pub use roots::{Roots, RootsError, TrustedBuilders};
