//! SLSA: which level an artifact has, by who signed its provenance and which builder made it, and whether it was made from what
//! was expected.
//!
//! | module | subject | specification |
//! |---|---|---|
//! | [`roots`] | signer and builder together, and the level that is believed | SLSA v1.2, "verifying artifacts" |
//! | [`wire`] | provenance as it circulates, made into bundles | in-toto bundles, PEP 740, npm, gcloud |
//! | [`build`], [`git`] | what provenance says of a build, by its type; repositories and refs | build types of the builders |
//! | [`expect`] | what is expected of a build | SLSA v1.2, "verifying artifacts" |
//! | [`Verifier`] | all of them together: a report | the same |
//! | [`summary`] | summaries of verification (VSA), verified and written | SLSA v1.2, "verification summary attestation" |
//! | [`signed`] | other statements of known signers, of whatever type | in-toto |
//! | [`npm`] | what npm's registry says of a package | npm/attestation |
//! | [`assess`] | levels row by row, each with the evidence that decides | SLSA v0.1; v1.2, build and source track |
//! | [`source`] | a source control system of one's own: what may be pushed, what is said of it | SLSA v1.2, source track |
//! | [`workflow`] | workflow files of GitHub, read without being run | |
//! | [`yaml`], [`text`] | YAML with its lines; foreign text in pages | |
//!
//! The crate does no I/O: what files, registries, logs and git say comes in as verified statements and plain data.

pub mod assess;
pub mod build;
mod certificate;
pub mod expect;
pub mod git;
pub mod npm;
mod package;
mod report;
pub mod roots;
pub mod signed;
pub mod source;
pub mod summary;
pub mod text;
mod time;
mod verify;
pub mod wire;
pub mod workflow;
pub mod yaml;

pub use build::Facts;
pub use certificate::agrees;
pub use expect::{Expectations, ExpectationsError, Package};
pub use git::Source;
pub use report::{Attempt, Build, Check, CheckName, Refusal, Report, Signed, Verdict};
pub use roots::{Roots, RootsError, TrustedBuilders};
pub use verify::Verifier;
