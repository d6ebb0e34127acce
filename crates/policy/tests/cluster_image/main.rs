//! policy-controller's policies over requests, with images that were really signed. Names that begin with `cve_` or `ghsa_`
//! are past mistakes of policy-controller and cosign.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::needless_pass_by_value,
    reason = "helpers of tests"
)]

mod attestations;
mod controller;
mod documents;
mod reading;
mod signatures;
#[path = "../../../verify/tests/engine/common.rs"]
#[expect(dead_code, reason = "shared with the tests of the engine, which need more of it")]
mod sigstore;
#[path = "../support/mod.rs"]
mod support;
mod trust_roots;

use countersign_crypto::{KeyPair, Signer as _};
use countersign_policy::cluster_image::ClusterImagePolicy;
use countersign_policy::{Decision, Request, RuleResult, Status};
use serde_json::{Value, json};

const IMAGE: &str = "ghcr.io/acme/app:v1";

/// A policy over all images with these authorities.
fn policy(authorities: Value) -> Value {
    json!({"apiVersion": "policy.sigstore.dev/v1beta1", "kind": "ClusterImagePolicy", "metadata": {"name": "signed"},
        "spec": {"images": [{"glob": "**"}], "authorities": authorities}})
}

/// A key as an authority.
fn by_key(key: &KeyPair) -> Value {
    json!({"name": "key", "key": {"data": key.public_key().to_pem()}})
}

/// Alice as an authority.
fn alice() -> Value {
    json!({"name": "alice", "keyless": {"identities": [
        {"issuer": "https://issuer.example", "subject": "alice@example.com"}]}})
}

/// The same with other values, by their pointers.
fn with(mut value: Value, changes: &[(&str, Value)]) -> Value {
    for (pointer, change) in changes {
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        let parent = value.pointer_mut(parent).unwrap_or_else(|| panic!("{pointer}"));
        match parent {
            Value::Array(list) => list[name.parse::<usize>().unwrap()] = change.clone(),
            parent => parent[name] = change.clone(),
        }
    }
    value
}

fn read(policy: &Value) -> ClusterImagePolicy {
    ClusterImagePolicy::read(policy).unwrap_or_else(|error| panic!("{error}"))
}

fn request(object: Value) -> Request {
    Request::of_object(object)
}

/// The one result.
fn result(decision: &Decision) -> &RuleResult {
    let [result] = decision.results.as_slice() else { panic!("expected one result, found {decision:#?}") };
    result
}

/// Whether the pod of one image is admitted, and how the only rule ended.
fn told(cluster: &support::Cluster, policy: &Value) -> (bool, Status, String) {
    let decision = cluster.decide(read(policy), &request(support::pod(&[IMAGE])));
    let result = result(&decision);
    (decision.admits(), result.status, result.reason.clone())
}
