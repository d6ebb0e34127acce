//! Exceptions: by an owner, for a reason, until a day.

use countersign_policy::own::PolicyException;
use countersign_policy::{Decision, PolicySet, Request, Status};
use serde_json::{Value, json};

use crate::support::{Cluster, pod};
use crate::{IMAGE, alice, policy, read, with};

fn exception(changes: Value) -> Value {
    let spec = json!({"policies": ["acme"], "images": ["ghcr.io/acme/app"], "owner": "payments@acme.example",
        "reason": "signed from 2.0 on", "until": "2023-12-31"});
    json!({"apiVersion": "countersign.dev/v1alpha1", "kind": "PolicyException", "metadata": {"name": "old"},
        "spec": with(spec, changes)})
}

fn decided(exception: &Value) -> Decision {
    let mut cluster = Cluster::new();
    cluster.put(IMAGE);
    let policies: Vec<Box<dyn countersign_policy::Policy>> =
        vec![Box::new(read(&policy(json!({"signedBy": alice()}))))];
    let set = PolicySet::new(policies).excusing(vec![PolicyException::read(exception).unwrap()]);
    set.evaluate(&Request::of_object(pod(&[IMAGE])), &cluster, cluster.now).unwrap()
}

#[test]
fn each_field_of_an_exception_alone_can_make_it_not_hold() {
    for (changes, holds) in [
        (json!({}), true),
        (json!({"policies": ["other"]}), false),
        (json!({"policies": ["other", "ImagePolicy/ac*"]}), true),
        (json!({"policies": ["ClusterPolicy/acme"]}), false),
        (json!({"images": ["ghcr.io/acme/other"]}), false),
        (json!({"images": ["**"]}), true),
        (json!({"namespaces": ["prod"]}), true),
        (json!({"namespaces": ["test"]}), false),
        (json!({"until": "2023-11-14"}), true),
        (json!({"until": "2023-11-13"}), false),
        (json!({"until": "2023-11-14T23:13:21Z"}), true),
        (json!({"until": "2023-11-14T23:13:20Z"}), false),
    ] {
        let decision = decided(&exception(changes.clone()));
        assert_eq!(decision.admits(), holds, "{changes}");
        let [result] = &decision.results[..] else { panic!("{decision:?}") };
        if holds {
            assert_eq!((result.status, result.reason.as_str()), (Status::Skip, "exception"));
            for part in ["payments@acme.example", "signed from 2.0 on", "expected a signature"] {
                assert!(result.message.contains(part), "{}", result.message);
            }
            assert!(decision.pins.is_empty());
        } else {
            assert_eq!(result.reason, "no_signature");
        }
    }
}

#[test]
fn one_without_owner_reason_end_policy_or_image_is_refused() {
    for (field, empty) in [
        ("owner", json!("")),
        ("owner", json!(" ")),
        ("reason", json!("")),
        ("until", json!("")),
        ("until", json!("soon")),
        ("until", json!("2026-13-01")),
        ("policies", json!([])),
        ("images", json!([])),
        ("namespaces", json!([])),
    ] {
        let error = PolicyException::read(&exception(json!({field: empty}))).unwrap_err();
        assert_eq!(error.path, format!("spec.{field}"));
    }
    for field in ["owner", "reason", "until", "policies", "images"] {
        assert!(PolicyException::read(&exception(json!({field: null}))).is_err(), "{field}");
    }
    assert!(PolicyException::read(&exception(json!({"forever": true}))).is_err());
}
