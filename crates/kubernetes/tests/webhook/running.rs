//! The webhook as something that runs: readiness, certificates, the end.

use countersign_policy::PolicySet;

use crate::support::{Hook, Registry, key, pod, review, signed_by};

#[tokio::test]
async fn nothing_is_admitted_and_nobody_is_told_to_come_before_the_policies_are_there() {
    let hook = Hook::without_policies().await;
    assert_eq!(hook.get("/healthz").await.0, 200);
    assert_eq!(hook.get("/readyz").await.0, 503);
    let asked = review("CREATE", &pod(&["r.example/a"]));
    let answer = hook.review("/validate", &asked).await;
    assert!(!answer.allowed() && answer.message().contains("not been read yet"), "{answer:?}");
    hook.admission.set_policies(PolicySet::default());
    assert_eq!(hook.get("/readyz").await.0, 200);
    assert!(hook.review("/validate", &asked).await.allowed());
}

#[tokio::test]
async fn only_who_knows_the_webhooks_authority_talks_to_it() {
    let (hook, other) = (Hook::without_policies().await, Hook::without_policies().await);
    let url = format!("{}/healthz", hook.running.url);
    assert!(other.client().get(&url).send().await.is_err());
    assert_eq!(hook.client().get(&url).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn reviews_under_way_are_answered_before_the_end() {
    let (registry, own) = (Registry::start().await, key());
    registry.put("v1").await;
    let hook = Hook::start(vec![signed_by("acme", &registry, &own)]).await;
    registry.hang();
    let url = format!("{}/validate?timeout=2s", hook.running.url);
    let body = review("CREATE", &pod(&[&registry.image("v1")])).to_string();
    let asking = tokio::spawn(hook.client().post(url).body(body).send());
    while registry.count("") == 0 {
        tokio::task::yield_now().await;
    }
    hook.running.shutdown();
    let answer: serde_json::Value = asking.await.unwrap().unwrap().json().await.unwrap();
    assert_eq!(answer["response"]["allowed"], false);
    hook.running.wait().await.unwrap();
}
