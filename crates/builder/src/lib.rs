//! Builds: isolated ones whose provenance the build cannot forge, and provenance of builds that were made elsewhere.
//!
//! | module | what |
//! |---|---|
//! | [`materials`] | what went into a build, as its lock files say |
//! | [`address`] | addresses without the secrets in them |

pub mod address;
pub mod materials;
