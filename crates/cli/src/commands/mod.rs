//! One file for each command: its arguments, and what it does with the crates below.

pub(crate) mod admission;
pub(crate) mod attach;
#[cfg(target_os = "linux")]
pub(crate) mod build;
pub(crate) mod completion;
pub(crate) mod copy;
pub(crate) mod cosign_sign;
pub(crate) mod cosign_verify;
pub(crate) mod create;
pub(crate) mod doctor;
pub(crate) mod download;
pub(crate) mod env;
pub(crate) mod incident;
pub(crate) mod init;
pub(crate) mod inspect;
pub(crate) mod keys;
pub(crate) mod log;
mod log_find;
mod log_search;
pub(crate) mod login;
pub(crate) mod man;
pub(crate) mod notary;
#[cfg(all(unix, feature = "pkcs11"))]
pub(crate) mod pkcs11;
pub(crate) mod policy;
pub(crate) mod provenance;
pub(crate) mod quickstart;
pub(crate) mod references;
pub(crate) mod revoke;
pub(crate) mod rotate;
pub(crate) mod run;
pub(crate) mod sbom;
pub(crate) mod scan;
pub(crate) mod serve;
pub(crate) mod sign;
pub(crate) mod sign_image;
pub(crate) mod slsa;
pub(crate) mod source;
pub(crate) mod tree;
pub(crate) mod trust;
pub(crate) mod verify;
pub(crate) mod verify_image;
pub(crate) mod version;
pub(crate) mod vex;
