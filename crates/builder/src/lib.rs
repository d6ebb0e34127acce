//! Builds: isolated ones whose provenance the build cannot forge, and provenance of builds that were made elsewhere.
//!
//! | module | what |
//! |---|---|
//! | [`environment`] | where a build runs and for which source, as the variables of CI platforms say |
//! | [`checkout`] | what is checked out, as git says |
//! | [`dockerfile`] | the images that Dockerfiles name |
//! | [`materials`] | what went into a build, as its lock files say |
//! | [`run`] | a command with what it found and what it left |
//! | [`level`] | what such provenance is worth |
//! | [`address`], [`secrets`] | that no secret is told |

pub mod address;
pub mod checkout;
pub mod dockerfile;
pub mod environment;
pub mod level;
pub mod materials;
pub mod run;
pub mod secrets;
