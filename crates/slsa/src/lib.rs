//! SLSA: which level an artifact has, by who signed its provenance and which builder made it, and whether it was made from what
//! was expected.
//!
//! The crate does no I/O: what files, registries, logs and git say comes in as verified statements and plain data.

pub mod text;
pub mod workflow;
pub mod yaml;
