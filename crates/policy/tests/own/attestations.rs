//! What must be said of an image, by whom, when, and what must hold of it.

use countersign_policy::Status;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::sigstore::T;
use crate::support::{By, Cluster, key, statement};
use crate::{IMAGE, alice, answer, decide, holder, policy, with};

const SCAN: &str = "https://example.com/scan";

/// A cluster with an image of which Alice says this.
fn scanned(predicates: &[Value]) -> Cluster {
    let mut cluster = Cluster::new();
    cluster.put(IMAGE);
    for predicate in predicates {
        cluster.attest(IMAGE, By::Alice, SCAN, predicate);
    }
    cluster
}

fn attested(changes: Value) -> Value {
    let attestation = json!({"predicate": SCAN, "signedBy": alice()});
    policy(json!({"attestations": [with(attestation, changes)]}))
}

#[test]
fn each_field_of_an_attestation_alone_can_fail() {
    let cluster = scanned(&[json!({"critical": 0})]);
    for (changes, expected) in [
        (json!({}), Ok(())),
        (json!({"predicate": "https://example.com/other"}), Err("no_signature")),
        (json!({"predicate": "slsaprovenance1"}), Err("no_signature")),
        (json!({"signedBy": holder(&key())}), Err("key_expected")),
        (json!({"signedBy": {"allOf": [alice(), holder(&key())]}}), Err("key_expected")),
        (json!({"notOlderThan": "2h"}), Ok(())),
        (json!({"notOlderThan": "59m"}), Err("too_old")),
    ] {
        assert_eq!(
            answer(&cluster, &attested(changes.clone())),
            expected.map_err(str::to_owned),
            "{changes}"
        );
    }
    assert_eq!(answer(&scanned(&[]), &attested(json!({}))), Err("no_signature".into()));
}

#[test]
fn all_that_is_asked_for_must_be_there_and_is_told_one_by_one() {
    let mut cluster = scanned(&[json!({"critical": 0})]);
    let both = policy(json!({
        "signedBy": alice(),
        "attestations": [
            {"name": "scan", "predicate": SCAN, "signedBy": alice()},
            {"predicate": "spdxjson", "signedBy": alice()},
        ],
    }));
    let decision = decide(&cluster, &both);
    let told: Vec<_> = decision.results.iter().map(|r| (r.rule.as_str(), r.status)).collect();
    let expected = [("signedBy", Status::Fail), ("scan", Status::Pass), ("spdxjson", Status::Fail)];
    assert_eq!(told, expected);
    assert!(decision.pins.is_empty());
    cluster.sign(IMAGE, By::Alice, &json!({}));
    cluster.attest(IMAGE, By::Alice, "https://spdx.dev/Document", &json!({}));
    assert!(decide(&cluster, &both).pins.len() == 1);
}

#[test]
fn a_statement_about_an_image_is_no_signature_of_it() {
    let cluster = scanned(&[json!({})]);
    assert_eq!(answer(&cluster, &policy(json!({"signedBy": alice()}))), Err("no_signature".into()));
}

#[test]
fn an_age_needs_a_time_that_somebody_vouches_for() {
    let key = key();
    let mut cluster = Cluster::new();
    let digest = cluster.put(IMAGE);
    cluster.add_bundle(IMAGE, By::Key(&key), &statement(&digest, SCAN, &json!({}), &json!({})), false);
    let by_key = |changes: Value| attested(with(changes, json!({"signedBy": holder(&key)})));
    assert_eq!(answer(&cluster, &by_key(json!({}))), Ok(()));
    assert_eq!(answer(&cluster, &by_key(json!({"notOlderThan": "1h"}))), Err("signing_time_unknown".into()));
    assert_eq!(answer(&cluster, &by_key(json!({"which": "newest"}))), Err("signing_time_unknown".into()));
}

#[test]
fn a_statement_grows_old() {
    let mut cluster = scanned(&[json!({})]);
    let day = attested(json!({"notOlderThan": "1d"}));
    cluster.now = Timestamp::from_second(T + 86_400).unwrap();
    assert_eq!(answer(&cluster, &day), Ok(()));
    cluster.now = Timestamp::from_second(T + 86_401).unwrap();
    assert_eq!(answer(&cluster, &day), Err("too_old".into()));
}
