//! Whatever comes, there is an answer, and it is no admission.

use std::time::Instant;

use countersign_kubernetes::review::MAX_REVIEW;
use countersign_policy::{Ask, Pin, Policy, PolicyKind, PolicyName, PolicySet, Request, RuleResult, Stop};

use crate::support::{Hook, Registry, SECOND, key, pod, review, signed_by};

/// A policy with a fault.
#[derive(Debug)]
struct Panics;

impl Policy for Panics {
    fn name(&self) -> PolicyName {
        PolicyName { kind: PolicyKind::Countersign, namespace: String::new(), name: "panics".into() }
    }

    fn evaluate(&self, request: &Request, _: &Ask<'_>) -> Result<(Vec<RuleResult>, Vec<Pin>), Stop> {
        assert_ne!(request.name, "app", "a fault");
        Ok((Vec::new(), Vec::new()))
    }
}

#[tokio::test]
async fn a_panic_in_a_policy_is_a_denial_and_the_webhook_goes_on() {
    let hook = Hook::start(vec![Box::new(Panics)]).await;
    let mut harmless = review("CREATE", &pod(&["r.example/a"]));
    harmless["request"]["name"] = "other".into();
    for _ in 0..3 {
        let answer = hook.review("/validate", &review("CREATE", &pod(&["r.example/a"]))).await;
        assert!(
            !answer.allowed() && answer.code() == 500 && answer.message().contains("fault"),
            "{answer:?}"
        );
        assert!(hook.review("/validate", &harmless).await.allowed());
    }
    let page = hook.get("/metrics").await.1;
    let counted = r#"countersign_admission_reviews_total{webhook="validate",outcome="fault"} 3"#;
    assert!(page.contains(counted), "{page}");
}

#[tokio::test]
async fn a_registry_that_hangs_is_a_denial_before_the_api_server_gives_up() {
    let (registry, own) = (Registry::start().await, key());
    registry.put("v1").await;
    registry.sign("v1", &own).await;
    let hook = Hook::start(vec![signed_by("acme", &registry, &own)]).await;
    registry.hang();
    let started = Instant::now();
    let asked = review("CREATE", &pod(&[&registry.image("v1")]));
    let waiting = hook.review("/validate?timeout=2s", &asked);
    let answer = tokio::time::timeout(2 * SECOND, waiting).await.expect("an answer in time");
    assert!(!answer.allowed() && answer.code() == 500, "{answer:?}");
    assert!(answer.message().contains("could not be checked"), "{answer:?}");
    assert!(answer.message().contains("no answer within the time"), "{answer:?}");
    assert!(started.elapsed() >= SECOND, "the time there is was used");
    let page = hook.get("/metrics").await.1;
    for counted in [
        r#"countersign_admission_reviews_total{webhook="validate",outcome="could_not_check"} 1"#,
        "countersign_admission_rules_unchecked_total 1",
    ] {
        assert!(page.contains(counted), "{page}");
    }
}

#[tokio::test]
async fn what_is_no_review_is_refused() {
    let hook = Hook::start(Vec::new()).await;
    let mut old = review("CREATE", &pod(&["r.example/a"]));
    old["apiVersion"] = "admission.k8s.io/v1beta1".into();
    let mut nothing = review("CREATE", &pod(&["r.example/a"]));
    nothing["request"]["object"] = serde_json::Value::Null;
    for broken in [old, nothing] {
        let answer = hook.review("/mutate", &broken).await;
        assert!(!answer.allowed() && answer.code() == 400, "{answer:?}");
    }
    for body in ["", "{", "[]", "null", "{\"request\": 1}"] {
        for path in ["/mutate", "/validate"] {
            let (status, text) = hook.post(path, body).await;
            assert_eq!(status, 400, "{body}");
            assert!(String::from_utf8_lossy(&text).contains("AdmissionReview"), "{body}");
        }
    }
    let (status, text) = hook.post("/mutate", vec![b' '; MAX_REVIEW + 1]).await;
    assert_eq!(status, 413, "{}", String::from_utf8_lossy(&text));
    let deep = "[".repeat(1 << 20);
    assert_eq!(hook.post("/mutate", deep).await.0, 400);
    assert_eq!(hook.post("/elsewhere", "{}").await.0, 404);
    assert_eq!(hook.get("/mutate").await.0, 405);
    assert_eq!(hook.get("/healthz").await.0, 200);
}

#[tokio::test]
async fn images_that_cannot_be_read_are_no_images_that_may_pass() {
    let (registry, own) = (Registry::start().await, key());
    let hook = Hook::start(vec![signed_by("acme", &registry, &own)]).await;
    let mut broken = pod(&[]);
    broken["spec"]["containers"] = serde_json::json!({"image": registry.image("v1")});
    assert!(!hook.review("/validate", &review("CREATE", &broken)).await.allowed());
    let mut many = pod(&[]);
    many["spec"]["containers"] = vec![serde_json::json!({"image": registry.image("v1")}); 300].into();
    assert!(!hook.review("/validate", &review("CREATE", &many)).await.allowed());
}

#[tokio::test]
async fn pull_secrets_that_cannot_be_read_are_not_none() {
    let (registry, own) = (Registry::start().await, key());
    registry.put("v1").await;
    registry.sign("v1", &own).await;
    for (secrets, admitted) in [(true, false), (false, true)] {
        let hook = Hook::asking(secrets).await;
        hook.admission.set_policies(PolicySet::new(vec![signed_by("acme", &registry, &own)]));
        let answer = hook.review("/mutate", &review("CREATE", &pod(&[&registry.image("v1")]))).await;
        assert_eq!(answer.allowed(), admitted, "{answer:?}");
        assert!(
            admitted || (answer.code() == 500 && answer.message().contains("shop/default")),
            "{answer:?}"
        );
    }
}
