//! What must be said of an image, by whom, when, and what must hold of it.

use countersign_crypto::Signer as _;
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
fn conditions_are_over_what_is_said_by_whom_of_what_and_when() {
    let cluster = scanned(&[json!({"critical": 0, "scanner": {"db": "2023-11-14T00:00:00Z"}})]);
    for (condition, holds) in [
        ("predicate.critical == 0", true),
        ("predicate.critical > 0", false),
        ("predicate.high == 0", false),
        ("predicate.scanner", false),
        ("now() - timestamp(predicate.scanner.db) < duration('24h')", true),
        ("now() - timestamp(predicate.scanner.db) < duration('1h')", false),
        ("signer.identity == 'alice@example.com' && signer.issuer == 'https://issuer.example'", true),
        ("signer.identity.endsWith('@example.org')", false),
        ("image.registry == 'ghcr.io' && image.repository == 'acme/app'", true),
        ("image.name.endsWith(':v1') && image.digest.startsWith('sha256:')", true),
        ("image.digest == 'sha256:00'", false),
        ("now() - signedAt <= duration('1h')", true),
        ("now() - signedAt < duration('1h')", false),
    ] {
        let found = answer(&cluster, &attested(json!({"conditions": [condition]})));
        let expected = if holds { Ok(()) } else { Err("condition_not_met".to_owned()) };
        assert_eq!(found, expected, "{condition}");
        // All must hold.
        let two = answer(&cluster, &attested(json!({"conditions": ["true", condition]})));
        assert_eq!(two, expected, "{condition}");
    }
}

#[test]
fn of_several_statements_all_the_newest_or_any_must_be_as_asked() {
    let good = || json!({"critical": 0});
    let bad = || json!({"critical": 3});
    let which = |word: &str| attested(json!({"which": word, "conditions": ["predicate.critical == 0"]}));
    for (predicates, all, any) in [
        (vec![good(), bad()], false, true),
        (vec![good(), json!({"critical": 0, "again": true})], true, true),
        (vec![bad(), json!({"critical": 4})], false, false),
    ] {
        let cluster = scanned(&predicates);
        assert_eq!(answer(&cluster, &which("all")).is_ok(), all, "{predicates:?}");
        assert_eq!(
            answer(&cluster, &attested(json!({"conditions": ["predicate.critical == 0"]}))).is_ok(),
            all
        );
        assert_eq!(answer(&cluster, &which("any")).is_ok(), any, "{predicates:?}");
    }
}

#[test]
fn a_later_statement_takes_the_place_of_an_earlier_one_where_the_newest_counts() {
    let newest = attested(json!({"which": "newest", "conditions": ["predicate.critical == 0"]}));
    for (earlier, later, holds) in [(3, 0, true), (0, 3, false)] {
        let mut cluster = scanned(&[]);
        cluster.stamped_at = T - 30;
        cluster.attest(IMAGE, By::Alice, SCAN, &json!({"critical": earlier}));
        cluster.stamped_at = T;
        cluster.attest(IMAGE, By::Alice, SCAN, &json!({"critical": later}));
        assert_eq!(answer(&cluster, &newest).is_ok(), holds, "{earlier} {later}");
    }
}

#[test]
fn somebody_elses_later_statement_takes_the_place_of_none_and_of_one_time_all_count() {
    let (one, other) = (key(), key());
    let reference = "k8s://security/scanners";
    let newest = attested(json!({"which": "newest", "signedBy": {"key": reference},
        "conditions": ["predicate.critical == 0"]}));
    let mut cluster = scanned(&[]);
    cluster.keys.insert(reference.into(), vec![one.public_key().clone(), other.public_key().clone()]);
    cluster.stamped_at = T - 30;
    cluster.attest(IMAGE, By::Key(&one), SCAN, &json!({"critical": 3}));
    cluster.stamped_at = T;
    cluster.attest(IMAGE, By::Key(&other), SCAN, &json!({"critical": 0}));
    assert_eq!(answer(&cluster, &newest), Err("condition_not_met".into()));
    cluster.attest(IMAGE, By::Key(&one), SCAN, &json!({"critical": 0}));
    assert_eq!(answer(&cluster, &newest), Ok(()));
    cluster.attest(IMAGE, By::Key(&one), SCAN, &json!({"critical": 4}));
    assert_eq!(answer(&cluster, &newest), Err("condition_not_met".into()), "nobody can tell which was last");
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
