//! Past mistakes of other webhooks, each by its number in the table of threats.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use countersign_policy::{
    Action, Ask, Pin, Policy, PolicyKind, PolicyName, PolicySet, Request, RuleResult, Status, Stop,
};
use futures_util::stream;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{Hook, Registry, key, pod, review, signed_by};

#[tokio::test]
async fn k01_a_registry_that_swaps_the_image_between_requests_has_the_first_one_pinned() {
    let (registry, own) = (Registry::start().await, key());
    let signed = registry.put("signed").await;
    registry.sign("signed", &own).await;
    let evil = registry.put("v1").await;
    let (good, bad) =
        (signed.rsplit_once('@').unwrap().1.to_owned(), evil.rsplit_once('@').unwrap().1.to_owned());
    let times = Arc::new(AtomicUsize::new(0));
    let (host, count) = (registry.host.clone(), Arc::clone(&times));
    registry.lie(move |path, _| {
        if path != "/v2/app/manifests/v1" {
            return None;
        }
        let name = if count.fetch_add(1, Ordering::SeqCst) == 0 { &good } else { &bad };
        let place = format!("http://{host}/v2/app/manifests/{name}");
        Some((StatusCode::TEMPORARY_REDIRECT, [("location", place)], "").into_response())
    });
    let hook = Hook::start(vec![signed_by("acme", &registry, &own)]).await;
    let answer = hook.review("/mutate", &review("CREATE", &pod(&[&registry.image("v1")]))).await;
    let pins = answer.pins();
    let expected = format!("{}@{}", registry.image("v1"), signed.rsplit_once('@').unwrap().1);
    assert_eq!(pins.values().collect::<Vec<_>>(), [&expected], "{answer:?}");
    assert_eq!(times.load(Ordering::SeqCst), 1, "a tag is resolved once");
    // Next time the tag names the other, which nobody signed.
    assert!(!hook.review("/mutate", &review("CREATE", &pod(&[&registry.image("v1")]))).await.allowed());
}

/// Bytes without an end.
fn endless() -> Response {
    let bytes = stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b' '; 64 << 10]));
    Response::builder()
        .header("content-type", "application/vnd.oci.image.manifest.v1+json")
        .body(Body::from_stream(bytes))
        .unwrap()
}

#[tokio::test]
async fn k02_a_manifest_or_a_signature_without_an_end_is_a_denial_in_time() {
    let (registry, own) = (Registry::start().await, key());
    registry.put("v1").await;
    registry.sign("v1", &own).await;
    for part in ["/manifests/v1", ".sig", "/blobs/"] {
        registry.lie(move |path, _| path.contains(part).then(endless));
        let hook = Hook::start(vec![signed_by("acme", &registry, &own)]).await;
        let started = Instant::now();
        let answer = hook.review("/mutate", &review("CREATE", &pod(&[&registry.image("v1")]))).await;
        assert!(!answer.allowed() && answer.pins().is_empty(), "{part} {answer:?}");
        assert!(started.elapsed() < Duration::from_secs(8), "{part} {:?}", started.elapsed());
        registry.lie(|_, _| None);
    }
}

#[tokio::test]
async fn k03_what_a_registry_gives_for_a_digest_is_what_has_it() {
    let (registry, own) = (Registry::start().await, key());
    registry.put("signed").await;
    registry.sign("signed", &own).await;
    let evil = registry.put("v1").await;
    // The evidence of another image, under the names of this one.
    let digest = evil.rsplit_once("@sha256:").unwrap().1.to_owned();
    let signed = registry.put("signed").await.rsplit_once("@sha256:").unwrap().1.to_owned();
    let host = registry.host.clone();
    registry.lie(move |path, _| {
        let asked = format!("sha256-{digest}.sig");
        path.ends_with(&asked).then(|| {
            let place = format!("http://{host}/v2/app/manifests/sha256-{signed}.sig");
            (StatusCode::TEMPORARY_REDIRECT, [("location", place)], "").into_response()
        })
    });
    let hook = Hook::start(vec![signed_by("acme", &registry, &own)]).await;
    for image in [registry.image("v1"), evil] {
        let answer = hook.review("/mutate", &review("CREATE", &pod(&[&image]))).await;
        assert!(!answer.allowed() && answer.code() == 403, "{answer:?}");
    }
}

/// A policy that pins what is not there.
#[derive(Debug)]
struct Nowhere;

impl Policy for Nowhere {
    fn name(&self) -> PolicyName {
        PolicyName { kind: PolicyKind::Countersign, namespace: String::new(), name: "nowhere".into() }
    }

    fn evaluate(&self, _: &Request, _: &Ask<'_>) -> Result<(Vec<RuleResult>, Vec<Pin>), Stop> {
        let result = RuleResult {
            policy: self.name(),
            rule: String::new(),
            image: None,
            digest: None,
            status: Status::Pass,
            action: Action::Deny,
            fail_closed: true,
            reason: "verified".into(),
            message: String::new(),
            properties: Default::default(),
            decided_by: Vec::new(),
            level: None,
        };
        let pin = Pin { pointer: "/spec/containers/7/image".into(), from: "a".into(), to: "a@b".into() };
        Ok((vec![result], vec![pin]))
    }
}

#[tokio::test]
async fn k05_a_patch_that_does_not_fit_is_no_admission() {
    let hook = Hook::start(vec![Box::new(Nowhere)]).await;
    let asked = review("CREATE", &pod(&["r.example/a"]));
    let answer = hook.review("/mutate", &asked).await;
    // An API server refuses an object whose patch cannot be applied, and the first step of this one is a test.
    let patch = answer.0["patch"].as_str().map(countersign_crypto::encoding::base64_decode);
    let patch: serde_json::Value = serde_json::from_slice(&patch.unwrap().unwrap()).unwrap();
    assert_eq!(patch[0], json!({"op": "test", "path": "/spec/containers/7/image", "value": "a"}));
    // And should somebody drop it, the other webhook finds the image as it was.
    let answer = hook.review("/validate", &asked).await;
    assert!(!answer.allowed() && answer.message().contains("expected the image pinned"), "{answer:?}");
}

#[tokio::test]
async fn k07_a_change_of_an_object_on_its_way_out_is_judged() {
    let (registry, own) = (Registry::start().await, key());
    registry.put("signed").await;
    registry.sign("signed", &own).await;
    registry.put("unsigned").await;
    let hook = Hook::start(vec![signed_by("acme", &registry, &own)]).await;
    let ending = |tag: &str| {
        let mut pod = pod(&[&registry.image(tag)]);
        pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        pod["metadata"]["finalizers"] = json!(["x.example/y"]);
        pod
    };
    let mut update = review("UPDATE", &ending("unsigned"));
    update["request"]["oldObject"] = ending("signed");
    assert!(!hook.review("/mutate", &update).await.allowed());
    assert!(!hook.review("/validate", &review("CREATE", &ending("unsigned"))).await.allowed());
}

/// A client's first words, for these versions and cipher suites.
fn hello(version: [u8; 2], suites: &[[u8; 2]]) -> Vec<u8> {
    let with_length = |bytes: &[u8]| [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat();
    let extension = |kind: u8, content: &[u8]| [&[0, kind][..], &with_length(content)].concat();
    let mut extensions = extension(10, &with_length(&[0, 29, 0, 23]));
    extensions.extend(extension(11, &[1, 0]));
    extensions.extend(extension(13, &with_length(&[4, 3, 5, 3, 8, 4, 4, 1, 2, 3, 2, 1])));
    extensions.extend(extension(0, &with_length(&[&[0][..], &with_length(b"localhost")].concat())));
    extensions.extend(extension(23, &[]));
    let mut body = [&version[..], &[7; 32], &[0]].concat();
    body.extend(with_length(&suites.concat()));
    body.extend([1, 0]);
    body.extend(with_length(&extensions));
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    let handshake = [&[1][..], &length[1..], &body].concat();
    [&[22, 3, 1][..], &with_length(&handshake)].concat()
}

#[tokio::test]
async fn k13_only_tls_1_2_and_newer_with_authenticated_ciphers() {
    let hook = Hook::start(Vec::new()).await;
    const ALERT: u8 = 21;
    const HANDSHAKE: u8 = 22;
    let good = [[0xc0, 0x2b], [0xc0, 0x2c], [0xcc, 0xa9]];
    let (new, old, older) = ([3, 3], [3, 2], [3, 1]);
    for (version, suites, expected) in [
        (new, &good[..], HANDSHAKE),
        (old, &good, ALERT),
        (older, &good, ALERT),
        // CBC, RC4, 3DES, no encryption; and key exchanges without forward secrecy.
        (new, &[[0xc0, 0x09], [0xc0, 0x0a], [0xc0, 0x23], [0xc0, 0x24]], ALERT),
        (new, &[[0xc0, 0x07], [0xc0, 0x08], [0xc0, 0x06]], ALERT),
        (new, &[[0x00, 0x2f], [0x00, 0x35], [0x00, 0x9c], [0x00, 0x9d], [0x00, 0x0a]], ALERT),
    ] {
        let mut stream = hook.plain().await;
        stream.write_all(&hello(version, suites)).await.unwrap();
        let mut first = [0];
        stream.read_exact(&mut first).await.unwrap();
        assert_eq!(first[0], expected, "{version:?} {suites:?}");
    }
    assert!(hook.admission.policies().is_some_and(|policies: Arc<PolicySet>| policies.names().is_empty()));
}
