//! What is admitted, pinned, refused.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::{Hook, Registry, key, pod, review, signed_by, spec};

#[tokio::test]
async fn a_signed_image_is_admitted_and_pinned_an_unsigned_and_a_wrongly_signed_one_refused() {
    let (registry, own, other) = (Registry::start().await, key(), key());
    let pinned = registry.put("signed").await;
    registry.put("unsigned").await;
    registry.put("wrong").await;
    registry.sign("signed", &own).await;
    registry.sign("wrong", &other).await;
    let hook = Hook::start(vec![signed_by("acme", &registry, &own)]).await;

    let signed = registry.image("signed");
    let answer = hook.review("/mutate?timeout=10s", &review("CREATE", &pod(&[&signed]))).await;
    assert!(answer.allowed(), "{answer:?}");
    assert_eq!(answer.pins(), BTreeMap::from([("/spec/containers/0/image".to_owned(), pinned.clone())]));

    for tag in ["unsigned", "wrong"] {
        let image = registry.image(tag);
        for path in ["/mutate?timeout=10s", "/validate?timeout=10s"] {
            let mut tried = review("CREATE", &pod(&[&signed, &image]));
            for dry in [false, true] {
                tried["request"]["dryRun"] = dry.into();
                let answer = hook.review(path, &tried).await;
                assert!(!answer.allowed() && answer.code() == 403, "{tag} {path} {answer:?}");
                assert!(answer.message().contains(&image) && answer.message().contains("acme"), "{answer:?}");
                assert!(answer.pins().is_empty());
            }
        }
    }

    let answer = hook.review("/validate?timeout=10s", &review("CREATE", &pod(&[&pinned]))).await;
    assert!(answer.allowed() && answer.pins().is_empty(), "{answer:?}");
    let answer = hook.review("/validate?timeout=10s", &review("CREATE", &pod(&[&signed]))).await;
    assert!(!answer.allowed() && answer.message().contains(&pinned), "not pinned in the end: {answer:?}");
}

#[tokio::test]
async fn every_kind_of_workload_and_of_container_is_judged() {
    let (registry, own) = (Registry::start().await, key());
    registry.put("signed").await;
    registry.put("unsigned").await;
    registry.sign("signed", &own).await;
    let hook = Hook::start(vec![signed_by("acme", &registry, &own)]).await;
    let (good, bad) = (registry.image("signed"), registry.image("unsigned"));
    let object = |version: &str, kind: &str, spec: Value| {
        let mut object = json!({"apiVersion": version, "kind": kind, "metadata": {"name": "app"}});
        match kind {
            "Pod" => object["spec"] = spec,
            "CronJob" => object["spec"] = json!({"jobTemplate": {"spec": {"template": {"spec": spec}}}}),
            "PodTemplate" => object["template"] = json!({"spec": spec}),
            _ => object["spec"] = json!({"template": {"spec": spec}}),
        }
        object
    };
    for (version, kind) in [
        ("v1", "Pod"),
        ("v1", "ReplicationController"),
        ("v1", "PodTemplate"),
        ("apps/v1", "Deployment"),
        ("apps/v1", "ReplicaSet"),
        ("apps/v1", "StatefulSet"),
        ("apps/v1", "DaemonSet"),
        ("batch/v1", "Job"),
        ("batch/v1", "CronJob"),
    ] {
        let admitted = review("CREATE", &object(version, kind, spec(&[&good])));
        let answer = hook.review("/mutate", &admitted).await;
        assert!(answer.allowed() && answer.pins().len() == 1, "{kind} {answer:?}");
        let mut everywhere = vec![spec(&[&good, &bad])];
        for (list, entry) in [
            ("initContainers", json!([{"name": "x", "image": bad}])),
            ("ephemeralContainers", json!([{"name": "x", "image": bad}])),
            ("volumes", json!([{"name": "x", "image": {"reference": bad}}])),
        ] {
            let mut spec = spec(&[&good]);
            spec[list] = entry;
            everywhere.push(spec);
        }
        for spec in everywhere {
            let answer =
                hook.review("/mutate", &review("CREATE", &object(version, kind, spec.clone()))).await;
            assert!(!answer.allowed(), "{kind} {spec}");
        }
    }
}

#[tokio::test]
async fn a_change_is_judged_by_what_it_changes() {
    let (registry, own) = (Registry::start().await, key());
    registry.put("signed").await;
    registry.put("unsigned").await;
    registry.sign("signed", &own).await;
    let hook = Hook::start(vec![signed_by("acme", &registry, &own)]).await;
    let (good, bad) = (registry.image("signed"), registry.image("unsigned"));
    let update = |old: &Value, new: &Value| {
        let mut update = review("UPDATE", new);
        update["request"]["oldObject"] = old.clone();
        update
    };
    let labelled = |images: &[&str]| {
        let mut pod = pod(images);
        pod["metadata"]["labels"] = json!({"a": "b"});
        pod
    };
    registry.count("");
    let answer = hook.review("/mutate", &update(&pod(&[&bad]), &labelled(&[&bad]))).await;
    assert!(answer.allowed(), "it ran before: {answer:?}");
    assert_eq!(registry.count(""), 0, "an image that was there is not asked for");
    assert!(!hook.review("/mutate", &update(&pod(&[&good]), &pod(&[&bad]))).await.allowed());
    assert!(hook.review("/mutate", &update(&pod(&[&bad]), &pod(&[&good]))).await.allowed());

    let mut debugging = update(&pod(&[&good]), &pod(&[&good]));
    debugging["request"]["subResource"] = "ephemeralcontainers".into();
    debugging["request"]["object"]["spec"]["ephemeralContainers"] = json!([{"name": "debug", "image": bad}]);
    assert!(!hook.review("/mutate", &debugging).await.allowed());
    debugging["request"]["object"]["spec"]["ephemeralContainers"][0]["image"] = good.into();
    let answer = hook.review("/mutate", &debugging).await;
    assert_eq!(answer.pins().keys().collect::<Vec<_>>(), ["/spec/ephemeralContainers/0/image"]);
}

#[tokio::test]
async fn what_brings_no_image_and_what_is_exempt_is_passed_by() {
    let (registry, own) = (Registry::start().await, key());
    registry.put("unsigned").await;
    let hook = Hook::start(vec![signed_by("acme", &registry, &own)]).await;
    let bad = registry.image("unsigned");
    let mut deleted = review("DELETE", &pod(&[&bad]));
    deleted["request"]["oldObject"] = deleted["request"]["object"].take();
    assert!(hook.review("/validate", &deleted).await.allowed());
    for subresource in ["status", "scale", "binding", "eviction"] {
        let mut part = review("UPDATE", &pod(&[&bad]));
        part["request"]["subResource"] = subresource.into();
        assert!(hook.review("/validate", &part).await.allowed(), "{subresource}");
    }
    for (namespace, admitted) in [("kube-system", true), ("kube-system2", false), ("shop", false)] {
        let mut there = review("CREATE", &pod(&[&bad]));
        there["request"]["namespace"] = namespace.into();
        // What the object says of itself proves nothing.
        there["request"]["object"]["metadata"]["namespace"] = "kube-system".into();
        there["request"]["object"]["metadata"]["annotations"] = json!({"countersign.dev/verified": "true"});
        assert_eq!(hook.review("/validate", &there).await.allowed(), admitted, "{namespace}");
    }
}

#[tokio::test]
async fn one_of_two_policies_is_enough_to_refuse() {
    let (registry, own, other) = (Registry::start().await, key(), key());
    registry.put("v1").await;
    registry.sign("v1", &own).await;
    let both = vec![signed_by("holds", &registry, &own), signed_by("does-not", &registry, &other)];
    let hook = Hook::start(both).await;
    let answer = hook.review("/mutate", &review("CREATE", &pod(&[&registry.image("v1")]))).await;
    assert!(!answer.allowed() && answer.pins().is_empty());
    assert!(answer.message().contains("does-not") && !answer.message().contains("holds"), "{answer:?}");
    registry.sign("v1", &other).await;
    let answer = hook.review("/mutate", &review("CREATE", &pod(&[&registry.image("v1")]))).await;
    assert!(answer.allowed(), "signed after it was refused: {answer:?}");
}

#[tokio::test]
async fn eight_containers_of_one_image_fetch_its_evidence_once() {
    let (registry, own) = (Registry::start().await, key());
    registry.put("v1").await;
    registry.sign("v1", &own).await;
    let hook = Hook::start(vec![signed_by("acme", &registry, &own)]).await;
    let image = registry.image("v1");
    registry.count("");
    let reviewed = review("CREATE", &pod(&[image.as_str(); 8]));
    assert_eq!(hook.review("/mutate", &reviewed).await.pins().len(), 8);
    assert_eq!(registry.count(".sig"), 1);
    assert!(hook.review("/mutate", &reviewed).await.allowed());
    assert_eq!(registry.count(""), 1, "then only the tag is asked for");
}
