//! Registries that lie, fail and flood. Each lie ends in the right error, soon, and never in "there is nothing".

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::http::Method;
use countersign_registry::descriptor::media_type;
use countersign_registry::evidence::{Form, OlderTag, Search, attach_bundle, discover, list};
use countersign_registry::{Descriptor, Name, Registry, RegistryError, Store};
use serde_json::{Value, json};

use crate::evidence::{PREDICATE, attach_all, now};
use crate::images::{image, tagged};
use crate::support::{Fake, Seen, answer, client, options};

/// Whether an error is the expected one.
type IsIt = fn(&RegistryError) -> bool;

async fn everything(store: &dyn Store, image: &Descriptor) -> Result<usize, RegistryError> {
    discover(store, &image.digest, &Search::default()).await.map(|found| found.len())
}

fn hex(digest: &countersign_crypto::Digest) -> String {
    format!("sha256-{}", digest.to_hex())
}

#[tokio::test]
async fn an_error_of_the_registry_is_never_an_empty_list() {
    let fake = Fake::start().await;
    let store = fake.app();
    let image = image(&store, "v1", "content").await;
    attach_all(&store, &image).await;
    let kinds: [(u16, IsIt); 7] = [
        (401, |e| matches!(e, RegistryError::Unauthorized { .. })),
        (403, |e| matches!(e, RegistryError::Forbidden { .. })),
        (429, |e| matches!(e, RegistryError::TooManyRequests { .. })),
        (500, |e| matches!(e, RegistryError::Unreachable { .. })),
        (503, |e| matches!(e, RegistryError::Unreachable { .. })),
        (400, |e| matches!(e, RegistryError::Malformed { .. })),
        (302, |e| matches!(e, RegistryError::Malformed { .. })),
    ];
    for part in ["/referrers/", ".sig", ".att", ".sbom", "/blobs/", "/manifests/sha256:"] {
        for (status, is_it) in kinds {
            fake.lie(move |seen| {
                let header = [("retry-after", "3600"), ("www-authenticate", "Basic realm=\"x\"")];
                seen.path.contains(part).then(|| answer(status, &header, ""))
            });
            let error = everything(&store, &image).await.unwrap_err();
            assert!(is_it(&error), "{part} {status}: {error}");
        }
    }
}

#[tokio::test]
async fn a_busy_registry_is_asked_again() {
    let fake = Fake::start().await;
    let store = fake.app();
    let image = image(&store, "v1", "content").await;
    attach_all(&store, &image).await;
    let count = AtomicUsize::new(0);
    fake.lie(move |_| {
        let busy = count.fetch_add(1, Ordering::SeqCst).is_multiple_of(2);
        busy.then(|| {
            answer(if count.load(Ordering::SeqCst) % 4 == 1 { 429 } else { 503 }, &[("retry-after", "9")], "")
        })
    });
    // One request at a time, so that every second one is refused.
    let registry = Registry::new(countersign_registry::RegistryOptions { concurrency: Some(1), ..options() });
    let store = registry.repository(&fake.repository("app"));
    assert_eq!(everything(&store, &image).await.unwrap(), 4);
}

#[tokio::test]
async fn v54_a_tag_that_moves_between_two_reads_changes_nothing() {
    let fake = Fake::start().await;
    let store = fake.app();
    let good = image(&store, "v1", "good").await;
    let resolved = store.resolve(&tagged("v1")).await.unwrap();
    let evil = image(&store, "v1", "evil").await;
    // From the digest on, the tag plays no part.
    let name = Name::Digest(resolved.digest);
    assert_eq!(store.fetch(&name).await.unwrap().descriptor.digest, good.digest);
    // A registry that answers the question for one digest with another manifest is found out.
    let other = fake.document("app", &evil.digest.to_string()).to_string();
    fake.lie(move |seen| {
        seen.path
            .contains("/manifests/sha256:")
            .then(|| answer(200, &[("content-type", media_type::OCI_MANIFEST)], other.clone()))
    });
    let error = store.fetch(&name).await.unwrap_err();
    assert!(matches!(error, RegistryError::WrongDigest { .. }), "{error}");
}

#[tokio::test]
async fn v54_the_digest_a_registry_names_is_that_of_what_it_sends() {
    let fake = Fake::start().await;
    let store = fake.app();
    let image = image(&store, "v1", "good").await;
    let bytes = fake.document("app", "v1").to_string();
    for said in [format!("sha256:{}", "ab".repeat(32)), "sha256:../../x".into(), "md5:00".into()] {
        let bytes = bytes.clone();
        fake.lie(move |seen| {
            seen.is(&Method::GET, "/manifests/").then(|| {
                let headers =
                    [("content-type", media_type::OCI_MANIFEST), ("docker-content-digest", said.as_str())];
                answer(200, &headers, bytes.clone())
            })
        });
        let error = store.resolve(&tagged("v1")).await.unwrap_err();
        let told = matches!(error, RegistryError::WrongDigest { .. } | RegistryError::Malformed { .. });
        assert!(told, "{error}");
    }
    assert!(image.size > 0);
}

#[tokio::test]
async fn blobs_that_are_other_longer_or_broken_off_are_refused() {
    let fake = Fake::start().await;
    let store = fake.app();
    let blob = crate::images::blob(&store, "x", b"content").await;
    for (body, is_it) in [
        ("CONTENT", (|e| matches!(e, RegistryError::WrongDigest { .. })) as IsIt),
        ("conten", |e| matches!(e, RegistryError::Malformed { .. })),
        ("", |e| matches!(e, RegistryError::Malformed { .. })),
        ("content and more", |e| matches!(e, RegistryError::TooLarge { .. })),
    ] {
        fake.lie(move |seen| seen.is(&Method::GET, "/blobs/").then(|| answer(200, &[], body)));
        let error = store.blob(&blob, 100).await.unwrap_err();
        assert!(is_it(&error), "{body}: {error}");
    }
    // A connection that breaks off in the middle of what was announced.
    fake.lie(|seen| {
        seen.is(&Method::GET, "/blobs/").then(|| answer(200, &[("content-length", "7")], Body::from("cont")))
    });
    let error = store.blob(&blob, 100).await.unwrap_err();
    assert!(!matches!(error, RegistryError::NotFound { .. }), "{error}");
}

#[tokio::test]
async fn v15_an_endless_attachment_ends_at_its_announced_size() {
    let fake = Fake::start().await;
    let store = fake.app();
    let blob = crate::images::blob(&store, "x", b"content").await;
    fake.lie(|seen| {
        let endless = futures_util::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![0_u8; 64 << 10]));
        seen.is(&Method::GET, "/blobs/").then(|| answer(200, &[], Body::from_stream(endless)))
    });
    let error = store.blob(&blob, 1 << 20).await.unwrap_err();
    assert!(matches!(error, RegistryError::TooLarge { .. }), "{error}");
    // One that says how long it is, is not even asked for.
    fake.seen();
    let huge = Descriptor { size: 10 << 30, ..blob };
    let error = store.blob(&huge, 128 << 20).await.unwrap_err();
    assert!(matches!(error, RegistryError::TooLarge { .. }), "{error}");
    assert!(fake.seen().is_empty());
}

#[tokio::test]
async fn v15_the_budget_holds_for_all_evidence_together() {
    let fake = Fake::start().await;
    let store = fake.app();
    let image = image(&store, "v1", "content").await;
    for n in 0..3_u8 {
        attach_bundle(&store, &image, &vec![n; 1000], PREDICATE, now()).await.unwrap();
    }
    fake.seen();
    let search = Search { max_bytes: 2999, ..Search::of([Form::Bundle]) };
    let error = discover(&store, &image.digest, &search).await.unwrap_err();
    assert!(error.to_string().contains("2999 bytes"), "{error}");
    assert!(fake.seen().iter().all(|seen| !seen.path.contains("/blobs/")), "nothing was fetched");
    let search = Search { max_bytes: 3000, ..search };
    assert_eq!(discover(&store, &image.digest, &search).await.unwrap().len(), 3);
}

/// The document at `.sig` with so many layers, and more at its end.
fn signatures(count: usize, more: &str) -> String {
    let layer = format!(r#"{{"mediaType":"x","size":1,"digest":"sha256:{}"}}"#, "ab".repeat(32));
    let layers = vec![layer.as_str(); count].join(",");
    format!(r#"{{"schemaVersion":2,"config":{layer},"layers":[{layers}]{more}}}"#)
}

#[tokio::test]
async fn v14_a_hundred_thousand_signatures_are_too_many_and_cost_one_request() {
    let fake = Fake::start().await;
    let store = fake.app();
    let image = image(&store, "v1", "content").await;
    let tag = OlderTag::Signature.of(&image.digest);
    let search = Search::of([Form::CosignSignature]);
    for (count, limit) in [(101, "100 pieces"), (30_000, "100 pieces"), (100_000, "4194304 bytes")] {
        fake.put_document("app", tag.as_str(), media_type::OCI_MANIFEST, signatures(count, ""));
        fake.seen();
        let error = discover(&store, &image.digest, &search).await.unwrap_err();
        assert!(matches!(&error, RegistryError::TooLarge { limit: said, .. } if said == limit), "{error}");
        assert!(fake.seen().iter().all(|seen| !seen.path.contains("/blobs/")));
    }
    fake.put_document("app", tag.as_str(), media_type::OCI_MANIFEST, signatures(100, ""));
    assert_eq!(list(&store, &image.digest, &search).await.unwrap().len(), 100);
}

#[tokio::test]
async fn v14_v55_pages_of_referrers_without_end_are_left() {
    let fake = Fake::start().await;
    let store = fake.app();
    let image = image(&store, "v1", "content").await;
    let page = |seen: &Seen, entries: usize| {
        let n: u64 = seen.query.trim_start_matches("p=").parse().unwrap_or(0);
        let manifests: Vec<Value> = (0..entries)
            .map(|at| {
                let digest = countersign_crypto::HashAlgorithm::Sha256.digest(format!("{n} {at}").as_bytes());
                json!({ "mediaType": media_type::OCI_MANIFEST, "size": 1, "digest": digest.to_string(),
                        "artifactType": media_type::BUNDLE })
            })
            .collect();
        let body = json!({ "schemaVersion": 2, "manifests": manifests });
        let link = format!("<{}?p={}>; rel=\"next\"", seen.path, n + 1);
        answer(200, &[("content-type", media_type::OCI_INDEX), ("link", link.as_str())], body.to_string())
    };
    for (entries, limit) in [(0, "100 pages"), (5000, "10000 entries")] {
        fake.lie(move |seen| seen.path.contains("/referrers/").then(|| page(seen, entries)));
        fake.seen();
        let error = everything(&store, &image).await.unwrap_err();
        assert!(error.to_string().contains(limit), "{error}");
        assert!(fake.seen().len() <= 105);
    }
    fake.lie(|seen| {
        let link = format!("<{}>; rel=\"next\"", seen.path);
        let index = r#"{"schemaVersion":2,"manifests":[]}"#;
        let headers = [("content-type", media_type::OCI_INDEX), ("link", link.as_str())];
        seen.path.contains("/referrers/").then(|| answer(200, &headers, index))
    });
    assert!(everything(&store, &image).await.unwrap_err().to_string().contains("circle"));
    fake.lie(|seen| {
        let headers =
            [("content-type", media_type::OCI_INDEX), ("link", "<http://127.0.0.1:1/x>; rel=\"next\"")];
        let index = r#"{"schemaVersion":2,"manifests":[]}"#;
        seen.path.contains("/referrers/").then(|| answer(200, &headers, index))
    });
    assert!(everything(&store, &image).await.unwrap_err().to_string().contains("another host"));
}

#[tokio::test]
async fn v55_ten_thousand_notary_signatures_are_too_many() {
    let fake = Fake::old().await;
    let store = fake.app();
    let image = image(&store, "v1", "content").await;
    let entries: Vec<Value> = (0..10_000)
        .map(|n: u32| {
            let digest = countersign_crypto::HashAlgorithm::Sha256.digest(&n.to_be_bytes());
            json!({ "mediaType": media_type::OCI_MANIFEST, "size": 1, "digest": digest.to_string(),
                    "artifactType": media_type::NOTARY_SIGNATURE })
        })
        .collect();
    let index = json!({ "schemaVersion": 2, "manifests": entries });
    fake.put_document("app", &hex(&image.digest), media_type::OCI_INDEX, index.to_string());
    fake.seen();
    let error = discover(&store, &image.digest, &Search::of([Form::Notary])).await.unwrap_err();
    assert!(matches!(error, RegistryError::TooLarge { .. }), "{error}");
    assert_eq!(fake.seen().len(), 2, "the list, and nothing on it");
    // Whoever looks for something else is not disturbed.
    assert!(discover(&store, &image.digest, &Search::of([Form::Bundle])).await.unwrap().is_empty());
}

#[tokio::test]
async fn v15_annotations_of_128_mib_meet_the_limit() {
    let fake = Fake::start().await;
    let store = fake.app();
    let image = image(&store, "v1", "content").await;
    let tag = OlderTag::Signature.of(&image.digest);
    let document = signatures(1, &format!(r#","annotations":{{"x":"{}"}}"#, "a".repeat(128 << 20)));
    fake.put_document("app", tag.as_str(), media_type::OCI_MANIFEST, document);
    let search = Search::of([Form::CosignSbom, Form::CosignAttestation]);
    assert!(discover(&store, &image.digest, &search).await.unwrap().is_empty());
    let search = Search { forms: [Form::CosignSbom, Form::CosignSignature].into(), ..search };
    let error = discover(&store, &image.digest, &search).await.unwrap_err();
    assert!(matches!(error, RegistryError::TooLarge { .. }), "{error}");
}

#[tokio::test]
async fn v15_v16_annotations_that_many_layers_share_do_not_multiply_without_end() {
    let fake = Fake::start().await;
    let store = fake.app();
    let image = image(&store, "v1", "content").await;
    let config = crate::images::blob(&store, media_type::OCI_EMPTY, b"{}").await;
    let search = Search::of([Form::InToto]);
    for (layers, annotation, limit) in [(101, 10, "100 pieces"), (100, 900_000, "64 MiB")] {
        let document = json!({
            "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "config": config, "subject": image,
            "artifactType": media_type::IN_TOTO, "layers": vec![&config; layers],
            "annotations": { "x": "a".repeat(annotation) },
        });
        let manifest =
            countersign_registry::Manifest::parse("it", None, document.to_string().into_bytes()).unwrap();
        let name = Name::Digest(manifest.descriptor.digest);
        store.put_manifest(&name, &manifest).await.unwrap();
        let error = list(&store, &image.digest, &search).await.unwrap_err();
        assert!(matches!(&error, RegistryError::TooLarge { limit: said, .. } if said == limit), "{error}");
        store.delete(&name).await.unwrap();
    }
}

#[tokio::test]
async fn v15_pages_of_long_annotations_have_a_limit_together() {
    let fake = Fake::start().await;
    let store = fake.app();
    let image = image(&store, "v1", "content").await;
    let entry = json!({ "mediaType": media_type::OCI_MANIFEST, "size": 1, "digest": image.digest.to_string(),
        "annotations": { "x": "a".repeat(4_000_000) } });
    let page = json!({ "schemaVersion": 2, "manifests": [entry] }).to_string();
    fake.lie(move |seen| {
        let link = format!("<{}?{}x>; rel=\"next\"", seen.path, seen.query);
        let headers = [("content-type", media_type::OCI_INDEX), ("link", link.as_str())];
        seen.path.contains("/referrers/").then(|| answer(200, &headers, page.clone()))
    });
    fake.seen();
    let error = everything(&store, &image).await.unwrap_err();
    assert!(error.to_string().contains("33554432 bytes"), "{error}");
    assert!(fake.seen().len() < 15, "nine pages, and the other places");
}

#[tokio::test]
async fn g01_a_document_that_is_image_and_index_is_neither() {
    let fake = Fake::start().await;
    let store = fake.app();
    let document = signatures(1, r#","manifests":[]"#);
    for said in [media_type::OCI_MANIFEST, media_type::OCI_INDEX, "text/plain"] {
        fake.put_document("app", "v1", said, document.clone());
        let error = store.resolve(&tagged("v1")).await.unwrap_err();
        assert!(matches!(error, RegistryError::Malformed { .. }), "{error}");
    }
}

#[tokio::test]
async fn g02_a_list_of_tags_is_asked_for_in_pages_of_our_size_and_ends() {
    let fake = Fake::start().await;
    let store = fake.app();
    fake.lie(|seen| {
        let n = seen.query.len();
        let tags: Vec<String> = (0..5000).map(|at| format!("t{n}-{at}")).collect();
        let link = format!("<{}?n=2147483648&last={}>; rel=\"next\"", seen.path, "x".repeat(n));
        let link = [("link", link.as_str())];
        seen.path.contains("/tags/").then(|| answer(200, &link, json!({ "tags": tags }).to_string()))
    });
    let error = store.tags().await.unwrap_err();
    assert!(error.to_string().contains("10000 entries"), "{error}");
    let seen = fake.seen();
    assert_eq!((seen[0].query.as_str(), seen.len()), ("n=1000", 3));
    fake.lie(|_| Some(answer(200, &[], r#"{"tags":["../../x"]}"#)));
    assert!(store.tags().await.is_err(), "a tag which is none");
}

#[tokio::test]
async fn a_referrer_of_something_else_is_not_evidence() {
    let fake = Fake::old().await;
    let store = fake.app();
    let (mine, other) = (image(&store, "v1", "mine").await, image(&store, "v2", "other").await);
    attach_bundle(&store, &other, b"{}", PREDICATE, now()).await.unwrap();
    let index = fake.document("app", &hex(&other.digest)).to_string();
    fake.put_document("app", &hex(&mine.digest), media_type::OCI_INDEX, index);
    let error = everything(&store, &mine).await.unwrap_err();
    assert!(error.to_string().contains("refers to something else"), "{error}");
}

#[tokio::test]
async fn a_registry_with_the_list_which_does_not_say_so_gets_the_index_too() {
    let fake = Fake::start().await;
    let store = fake.app();
    let image = image(&store, "v1", "content").await;
    // The header OCI-Subject is missing: the specification asks the writer to keep the index then.
    fake.lie(|seen| seen.is(&Method::PUT, "/manifests/sha256:").then(|| answer(201, &[], "")));
    attach_bundle(&store, &image, b"{}", PREDICATE, now()).await.unwrap();
    assert!(fake.has("app", &hex(&image.digest)));
}

#[tokio::test]
async fn a_writer_between_reading_and_writing_loses_nothing_of_another() {
    let fake = Fake::old().await;
    let (store, other) = (fake.app(), fake.app());
    let image = image(&store, "v1", "content").await;
    attach_bundle(&other, &image, b"theirs", PREDICATE, now()).await.unwrap();
    let theirs = fake.document("app", &hex(&image.digest));
    // Right after we write, a slower writer puts an index made from what it had read before.
    let (overwritten, again) = (AtomicUsize::new(0), fake.clone());
    let tag = hex(&image.digest);
    let index = tag.clone();
    let stale = theirs.to_string();
    attach_bundle(&store, &image, b"first", PREDICATE, now()).await.unwrap();
    fake.lie(move |seen| {
        let ours = seen.method == Method::GET && seen.path.ends_with(&index);
        let second = ours && overwritten.fetch_add(1, Ordering::SeqCst) == 1;
        second.then(|| answer(200, &[("content-type", media_type::OCI_INDEX)], stale.clone()))
    });
    attach_bundle(&store, &image, b"ours", PREDICATE, now()).await.unwrap();
    assert_eq!(again.document("app", &tag)["manifests"].as_array().unwrap().len(), 2);
    let puts =
        fake.seen().iter().filter(|seen| seen.method == Method::PUT && seen.path.ends_with(&tag)).count();
    assert_eq!(puts, 4, "theirs, first, ours, and ours again after it was lost");
}

#[tokio::test]
async fn an_index_that_others_always_overwrite_is_an_error_in_the_end() {
    let fake = Fake::old().await;
    let store = fake.app();
    let image = image(&store, "v1", "content").await;
    fake.lie(|seen| {
        (seen.method == Method::GET && seen.path.contains("/manifests/")).then(|| answer(404, &[], ""))
    });
    let error = attach_bundle(&store, &image, b"{}", PREDICATE, now()).await.unwrap_err();
    assert!(error.to_string().contains("overwrote it 16 times"), "{error}");
}

#[tokio::test]
async fn a_silent_registry_is_left_in_time() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap();
    let mut slow = options();
    slow.http.timeout = Duration::from_millis(50);
    slow.http.attempts = 1;
    let repository = countersign_registry::Repository::parse(&format!("{host}/app")).unwrap();
    let error = Registry::new(slow).repository(&repository).fetch(&tagged("v1")).await.unwrap_err();
    assert!(
        matches!(&error, RegistryError::Unreachable { message, .. } if message.contains("no answer in time")),
        "{error}"
    );
    drop(listener);
    let error = client().repository(&repository).fetch(&tagged("v1")).await.unwrap_err();
    assert!(matches!(error, RegistryError::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn an_upload_that_was_lost_is_begun_again() {
    let fake = Fake::start().await;
    let store = fake.app();
    let count = AtomicUsize::new(0);
    fake.lie(move |seen| {
        let first = seen.is(&Method::PUT, "/uploads/") && count.fetch_add(1, Ordering::SeqCst) == 0;
        first.then(|| answer(404, &[], r#"{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN"}]}"#))
    });
    let blob = crate::images::blob(&store, "x", b"content").await;
    assert!(store.has(&blob).await.unwrap());
    fake.lie(|seen| seen.is(&Method::POST, "/uploads/").then(|| answer(202, &[], "")));
    let content = b"x".to_vec().into();
    let error = store.put_blob(&blob, &content).await.unwrap_err();
    assert!(error.to_string().contains("no place to upload to"), "{error}");
}

#[tokio::test]
async fn so_many_requests_run_at_once_and_no_more() {
    // Each request waits until there is a second: one at a time would never end. The third at once is counted.
    let (both, running, most) =
        (tokio::sync::Barrier::new(2), AtomicUsize::new(0), std::sync::Arc::new(AtomicUsize::new(0)));
    let (shared, seen) = (std::sync::Arc::new((both, running)), std::sync::Arc::clone(&most));
    let router = axum::Router::new().fallback(move || {
        let (shared, seen) = (std::sync::Arc::clone(&shared), std::sync::Arc::clone(&seen));
        async move {
            seen.fetch_max(shared.1.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            shared.0.wait().await;
            shared.1.fetch_sub(1, Ordering::SeqCst);
            "content"
        }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap();
    tokio::spawn(std::future::IntoFuture::into_future(axum::serve(listener, router)));
    let registry = Registry::new(countersign_registry::RegistryOptions { concurrency: Some(2), ..options() });
    let repository = countersign_registry::Repository::parse(&format!("{host}/app")).unwrap();
    let mut reads = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let store = registry.repository(&repository);
        reads.spawn(async move { store.blob(&Descriptor::of("x", b"content"), 100).await });
    }
    while let Some(read) = reads.join_next().await {
        assert_eq!(read.unwrap().unwrap(), b"content");
    }
    assert_eq!(most.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn plain_http_to_another_machine_is_refused_before_anything_is_sent() {
    let name = |text| countersign_registry::Reference::parse(text).unwrap();
    // Without permission the address is https, and nobody listens there.
    let reference = name("10.255.255.1:1/app");
    let mut quick = options();
    quick.http.timeout = Duration::from_millis(50);
    quick.http.attempts = 1;
    let store = Registry::new(quick).repository(reference.repository());
    let error = store.fetch(&reference.name()).await.unwrap_err();
    assert!(
        matches!(&error, RegistryError::Unreachable { message, .. } if message.starts_with("https://")),
        "{error}"
    );
}
