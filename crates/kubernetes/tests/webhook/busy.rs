//! More than can be done: an answer all the same, and registries are not overrun.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use countersign_client::policy::NoCluster;
use countersign_clock::SystemClock;
use countersign_kubernetes::admit::{Admission, Face};
use countersign_kubernetes::load::Limits;
use countersign_kubernetes::review::{MAX_REVIEW, Outcome};
use countersign_policy::PolicySet;
use futures_util::future::join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{Hook, Registry, SECOND, key, pod, review, signed_by, source};

fn within(limits: Limits) -> Admission {
    Admission::new(Arc::new(source(NoCluster)), Arc::new(SystemClock)).without_secrets().within(limits)
}

#[tokio::test]
async fn a_body_that_there_is_no_memory_for_is_refused_at_once_and_counted() {
    let hook = Hook::of(within(Limits { bytes: MAX_REVIEW, reviews: 10 })).await;
    hook.admission.set_policies(PolicySet::default());
    let small = review("CREATE", &pod(&["r.example/a"]));
    assert!(hook.review("/validate", &small).await.allowed());
    // One that says how long it is, and does not come.
    let mut slow = hook.connect().await;
    let head = format!("POST /mutate HTTP/1.1\r\nhost: localhost\r\ncontent-length: {MAX_REVIEW}\r\n\r\n{{");
    slow.write_all(head.as_bytes()).await.unwrap();
    loop {
        let (status, body) = hook.post("/validate", small.to_string()).await;
        if status == 200 {
            continue;
        }
        let body = String::from_utf8_lossy(&body).into_owned();
        assert!(status == 503 && body.contains("--max-review-memory"), "{status} {body}");
        break;
    }
    let page = hook.get("/metrics").await.1;
    assert!(page.contains(r#"reviews_total{webhook="validate",outcome="busy"} 1"#), "{page}");
    slow.shutdown().await.unwrap();
    let mut rest = Vec::new();
    let _ = slow.read_to_end(&mut rest).await;
    drop(slow);
    // Its room is free again.
    while hook.post("/validate", small.to_string()).await.0 != 200 {}
}

#[tokio::test]
async fn a_review_that_gets_no_turn_in_its_time_is_refused_and_told_why() {
    let (registry, own) = (Registry::start().await, key());
    registry.put("v1").await;
    let hook = Arc::new(Hook::of(within(Limits { bytes: 0, reviews: 1 })).await);
    hook.admission.set_policies(PolicySet::new(vec![signed_by("acme", &registry, &own)]));
    registry.hang();
    let asked = review("CREATE", &pod(&[&registry.image("v1")]));
    let (held, first) = (Arc::clone(&hook), asked.clone());
    let first = tokio::spawn(async move { held.review("/validate?timeout=8s", &first).await });
    while registry.count("") == 0 {
        tokio::task::yield_now().await;
    }
    let answer = hook.review("/validate?timeout=1s", &asked).await;
    assert!(!answer.allowed() && answer.code() == 503, "{answer:?}");
    assert!(answer.message().contains("--max-reviews"), "{answer:?}");
    first.abort();
}

#[tokio::test]
async fn two_hundred_reviews_of_fifty_images_keep_within_the_registrys_limit() {
    let (registry, own) = (Registry::start().await, key());
    let tags: Vec<String> = (0..50).map(|number| format!("v{number}")).collect();
    for tag in &tags {
        registry.put(tag).await;
        registry.sign(tag, &own).await;
    }
    let hook = Hook::start(vec![signed_by("acme", &registry, &own)]).await;
    registry.count("");
    let reviews: Vec<_> = (0..200)
        .map(|number| review("CREATE", &pod(&[&registry.image(&tags[number % tags.len()])])).to_string())
        .collect();
    let judged =
        reviews.iter().map(|asked| hook.admission.answer(Face::Mutate, asked.as_bytes(), 30 * SECOND));
    let answers = join_all(judged).await;
    assert!(answers.iter().all(|answer| answer.outcome == Outcome::Admitted && answer.pins.len() == 1));
    assert!(registry.most() <= 8, "{} at once", registry.most());
    assert!(registry.count(".sig") <= 50, "evidence is fetched once for each image");
}

#[tokio::test]
async fn a_registry_that_is_asked_too_often_is_left_alone_by_all() {
    let (registry, own) = (Registry::start().await, key());
    let tags: Vec<String> = (0..20).map(|number| format!("v{number}")).collect();
    for tag in &tags {
        registry.put(tag).await;
    }
    let refused = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&refused);
    registry.lie(move |_, _| {
        count.fetch_add(1, Ordering::SeqCst);
        Some((StatusCode::TOO_MANY_REQUESTS, [("retry-after", "20")], "").into_response())
    });
    let hook = Hook::start(vec![signed_by("acme", &registry, &own)]).await;
    let reviews: Vec<_> = tags.iter().map(|tag| review("CREATE", &pod(&[&registry.image(tag)]))).collect();
    for _ in 0..3 {
        let answers = join_all(reviews.iter().map(|asked| hook.review("/mutate?timeout=1s", asked))).await;
        assert!(answers.iter().all(|answer| !answer.allowed() && answer.code() == 500));
    }
    // No more than were under way when it first said so.
    assert!(refused.load(Ordering::SeqCst) <= 8, "{}", refused.load(Ordering::SeqCst));
}
