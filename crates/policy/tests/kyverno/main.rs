//! Kyverno's policies over requests, with images that were really signed. Names that begin with `cve_`, `ghsa_` or a
//! number of an issue are past mistakes of Kyverno.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::needless_pass_by_value,
    reason = "helpers of tests"
)]

mod attestations;
mod cel;
mod exceptions;
mod image_validating;
mod images;
mod matching;
mod notary;
mod past_mistakes;
mod reading;
mod samples;
mod signatures;
mod signed_otherwise;
#[path = "../../../verify/tests/engine/common.rs"]
#[expect(dead_code, reason = "shared with the tests of the engine, which need more of it")]
mod sigstore;
#[path = "../support/mod.rs"]
mod support;
mod validate;

use countersign_crypto::{KeyPair, Signer as _};
use countersign_policy::kyverno::ClusterPolicy;
use countersign_policy::{Decision, Request, RuleResult, Status};
use serde_json::{Value, json};
use support::Cluster;

/// A policy over pods, enforced, with this one entry of `verifyImages`.
fn verifying(entry: Value) -> Value {
    json!({"apiVersion": "kyverno.io/v1", "kind": "ClusterPolicy", "metadata": {"name": "signed"}, "spec": {
        "validationFailureAction": "Enforce",
        "rules": [{
            "name": "check",
            "match": {"any": [{"resources": {"kinds": ["Pod"]}}]},
            "verifyImages": [entry],
        }],
    }})
}

/// An entry for all images with these attestors.
fn signed_by(attestors: Value) -> Value {
    verifying(json!({"imageReferences": ["*"], "attestors": attestors}))
}

/// A key as an attestor, whose signatures need not be in a log.
fn key_entry(key: &KeyPair) -> Value {
    json!({"keys": {"publicKeys": key.public_key().to_pem(), "rekor": {"ignoreTlog": true}}})
}

/// Alice as an attestor, with changes.
fn alice(changes: Value) -> Value {
    let mut keyless = json!({"subject": "alice@example.com", "issuer": "https://issuer.example",
        "rekor": {"url": "https://log0.example"}});
    for (name, value) in changes.as_object().unwrap() {
        keyless[name] = value.clone();
    }
    json!({"keyless": keyless})
}

fn read(policy: &Value) -> ClusterPolicy {
    ClusterPolicy::read(policy).unwrap_or_else(|error| panic!("{error}"))
}

fn request(object: Value) -> Request {
    Request::of_object(object)
}

/// The one result that is not a skip.
fn result(decision: &Decision) -> &RuleResult {
    let said: Vec<&RuleResult> =
        decision.results.iter().filter(|result| result.status != Status::Skip).collect();
    let [result] = said.as_slice() else { panic!("expected one result, found {decision:#?}") };
    result
}

/// Whether a request is admitted, and by what reason.
fn told(decision: &Decision) -> (bool, Status, &str) {
    let result = result(decision);
    (decision.admits(), result.status, &result.reason)
}

/// Whether an object is admitted by a policy, how its one result ended, and by what reason.
fn ends(cluster: &Cluster, policy: &Value, object: Value) -> (bool, Status, String) {
    let decision = cluster.decide(read(policy), &request(object));
    let (admits, status, reason) = told(&decision);
    (admits, status, reason.to_owned())
}
