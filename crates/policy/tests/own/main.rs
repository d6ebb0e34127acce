//! Countersign's own policies over requests, with images that were really signed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::needless_pass_by_value,
    reason = "helpers of tests"
)]

mod attestations;
mod converting;
mod converting_others;
mod custom;
mod examples;
mod exceptions;
mod files;
mod known;
mod languages;
mod reading;
mod revocation;
mod rows;
mod rows_of_evidence;
mod signatures;
#[path = "../../../verify/tests/engine/common.rs"]
#[expect(dead_code, reason = "shared with the tests of the engine, which need more of it")]
mod sigstore;
mod spelling;
#[path = "../support/mod.rs"]
mod support;

use countersign_crypto::{KeyPair, Signer as _};
use countersign_policy::own::ImagePolicy;
use countersign_policy::{Decision, Request, Status};
use serde_json::{Value, json};

use crate::support::{Cluster, pod};

const IMAGE: &str = "ghcr.io/acme/app:v1";

/// A policy with this specification, for all images of `acme`.
fn policy(spec: Value) -> Value {
    let mut spec = spec;
    if spec.get("images").is_none() {
        spec["images"] = json!(["ghcr.io/acme/**"]);
    }
    json!({"apiVersion": "countersign.dev/v1alpha1", "kind": "ImagePolicy", "metadata": {"name": "acme"},
        "spec": spec})
}

/// Alice as a signer.
fn alice() -> Value {
    json!({"email": "alice@example.com", "issuer": "https://issuer.example"})
}

/// A key as a signer.
fn holder(key: &KeyPair) -> Value {
    json!({"key": key.public_key().to_pem()})
}

/// A value with some of its members changed; null takes one away.
fn with(value: Value, changes: Value) -> Value {
    let mut value = value;
    for (name, change) in changes.as_object().unwrap() {
        match change {
            Value::Null => drop(value.as_object_mut().unwrap().remove(name)),
            change => value[name] = change.clone(),
        }
    }
    value
}

fn read(policy: &Value) -> ImagePolicy {
    ImagePolicy::read(policy).unwrap_or_else(|error| panic!("{error}"))
}

fn decide(cluster: &Cluster, policy: &Value) -> Decision {
    cluster.decide(read(policy), &Request::of_object(pod(&[IMAGE])))
}

/// The reasons of the results that are no passes.
fn reasons(decision: &Decision) -> Vec<&str> {
    let not_passed = decision.results.iter().filter(|result| result.status != Status::Pass);
    not_passed.map(|result| result.reason.as_str()).collect()
}

/// Whether the image is admitted because something passed, or the reasons why not.
fn answer(cluster: &Cluster, policy: &Value) -> Result<(), String> {
    let decision = decide(cluster, policy);
    let passed = decision.results.iter().any(|result| result.status == Status::Pass);
    if decision.admits() && passed { Ok(()) } else { Err(reasons(&decision).join(" ")) }
}
