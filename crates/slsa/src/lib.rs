//! SLSA: which level an artifact has, by who signed its provenance and which builder made it, and whether it was made from what
//! was expected.
//!
//! | module | subject | specification |
//! |---|---|---|
//! | [`roots`] | signer and builder together, and the level that is believed | SLSA v1.2, "verifying artifacts" |
//!
//! The crate does no I/O: what files, registries, logs and git say comes in as verified statements and plain data.

mod git;
pub mod roots;

pub use git::{Source, branch_reference, is_version, same_repository, tag_reference};
pub use roots::{Roots, RootsError, TrustedBuilders};
