//! Statements, and what is taken out of them.

use countersign_crypto::KeyPair;
use countersign_policy::Status;
use serde_json::{Value, json};

use super::{ALL_SIGNED, APP, by_key, ends, passes, policy, signed};
use crate::support::{By, key};

const SLSA: &str = "https://slsa.dev/provenance/v1";

/// A policy that asks for provenance, with this condition.
fn provenance(signer: &KeyPair, condition: &str) -> Value {
    policy(
        by_key(signer),
        json!({
            "attestations": [{"name": "slsa", "intoto": {"type": "slsaprovenance1"}}, {"name": "other", "intoto": {"type": "https://other.example"}}],
            "validations": [{"expression": condition}],
        }),
    )
}

const VERIFIED: &str =
    "images.containers.all(i, verifyAttestationSignatures(i, attestations.slsa, [attestors.who]) > 0";

#[test]
fn statements_are_judged_by_what_was_verified_of_them() {
    let (mut cluster, signer) = signed();
    let stranger = key();
    cluster.attest(APP, By::Key(&stranger), SLSA, &json!({"builder": "good"}));
    let good = format!("{VERIFIED} && extractPayload(i, attestations.slsa).predicate.builder == 'good')");
    // Only somebody else says so.
    let (status, reason) = ends(&cluster, &provenance(&signer, &good), &[APP]);
    assert_eq!(status, Status::Fail, "{reason}");
    cluster.attest(APP, By::Key(&signer), SLSA, &json!({"builder": "bad"}));
    assert_eq!(ends(&cluster, &provenance(&signer, &good), &[APP]), (Status::Fail, "not_as_asked".into()));
    assert!(passes(&cluster, &provenance(&signer, &good.replace("good", "bad"))));
    // A statement of another type is none of this one.
    let other = good.replace("attestations.slsa", "attestations.other");
    assert_eq!(ends(&cluster, &provenance(&signer, &other), &[APP]).0, Status::Fail);
}

#[test]
fn kyverno_17173_17130_a_payload_is_given_only_after_it_was_verified() {
    let (mut cluster, signer) = signed();
    cluster.attest(APP, By::Key(&signer), SLSA, &json!({"builder": "good"}));
    let payload = "extractPayload(i, attestations.slsa).predicate.builder == 'good'";
    let before = format!("{ALL_SIGNED} && images.containers.all(i, {payload})");
    assert_eq!(
        ends(&cluster, &provenance(&signer, &before), &[APP]),
        (Status::Error, "expression_failed".into())
    );
    let other_type =
        format!("{VERIFIED} && extractPayload(i, attestations.other).predicate.builder == 'good')");
    assert_eq!(ends(&cluster, &provenance(&signer, &other_type), &[APP]).0, Status::Error);
    // Who does not vouch for it does not open it.
    let stranger = provenance(
        &key(),
        &format!(
            "images.containers.all(i, verifyAttestationSignatures(i, \
        attestations.slsa, [attestors.who]) == 0 && {payload})"
        ),
    );
    assert_eq!(ends(&cluster, &stranger, &[APP]).0, Status::Error);
    // And again, with everything known: the condition is evaluated each time.
    let right = provenance(&signer, &format!("{VERIFIED} && {payload})"));
    for _ in 0..2 {
        assert!(passes(&cluster, &right));
        let wrong = format!("{VERIFIED} && {})", payload.replace("good", "bad"));
        assert_eq!(ends(&cluster, &provenance(&signer, &wrong), &[APP]).0, Status::Fail);
    }
}
