//! The program as its users run it. The images of these tests lie in a registry in the test, the one with which the
//! client of registries is tested, of the kind that lists referrers and of the kind that does not.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::needless_pass_by_value,
    reason = "helpers of tests"
)]

mod admission;
#[path = "../../../kubernetes/tests/cluster/api_server.rs"]
#[expect(dead_code, reason = "shared with the tests of the client of clusters, which need more of it")]
mod api_server;
mod assess;
#[cfg(target_os = "linux")]
mod build;
mod cluster;
mod command_line;
mod every_log;
#[path = "../../../registry/tests/it/images.rs"]
mod images;
mod incident;
mod log_at_rest;
mod migrate;
mod mistakes;
mod monitoring;
mod network;
mod notary;
mod policy;
mod policy_files;
#[path = "../../../log/tests/log/support/postgres.rs"]
#[expect(dead_code, unreachable_pub, reason = "shared with the tests of the log, which need more of it")]
mod postgres;
mod provenance;
#[path = "../../../kubernetes/tests/continuous/receivers.rs"]
mod receivers;
#[path = "../../../registry/tests/it/support/mod.rs"]
#[expect(dead_code, reason = "shared with the tests of the registry's client, which need more of it")]
mod registry;
#[path = "../../../server/tests/instance/requests.rs"]
mod requests;
mod revocation;
mod rotation;
#[path = "../../../log/tests/log/support/s3.rs"]
#[expect(dead_code, unreachable_pub, reason = "shared with the tests of the log, which need more of it")]
mod s3;
mod scan;
mod signing;
mod slsa;
mod source;
mod statements;
mod support;
mod told;
mod tools;
mod watch;
