//! The rules of the house, as tests over the workspace's own files.
//!
//! A rule which nobody checks is a wish. Each test here reads the sources, the manifests or `cargo metadata`
//! and lists every place that breaks its rule, so that one run shows all of them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code: a failure to read the workspace is a failed test"
)]

mod deploy;
mod fuzzing;
mod layers;
mod purity;
mod readme;
mod sources;
mod workspace;

/// Fails with all the findings, one per line.
fn assert_none(rule: &str, findings: &[String]) {
    assert!(findings.is_empty(), "{rule}\n  {}\n", findings.join("\n  "));
}
