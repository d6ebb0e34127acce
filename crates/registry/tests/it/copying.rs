//! Copies: every platform, every form of evidence, checked afterwards.

use std::sync::Mutex;

use axum::http::Method;
use countersign_registry::copy::{CopyOptions, Progress, copy, load, plan, save};
use countersign_registry::evidence::{Found, Search, attach_bundle, attach_signature, discover};
use countersign_registry::{Descriptor, Layout, RegistryError, Store, Tag};

use crate::evidence::{PREDICATE, attach_all, now, signed};
use crate::images::{image, tagged, two_platforms};
use crate::support::{Fake, answer};

fn tag(text: &str) -> Tag {
    Tag::parse(text).unwrap()
}

/// What there is, whatever the place.
async fn evidence(store: &dyn Store, image: &Descriptor) -> Vec<(String, String, Vec<u8>)> {
    let search = Search::default();
    let found = discover(store, &image.digest, &search).await.unwrap();
    let label = |f: Found| (f.form.name().to_owned(), f.layer.digest.to_string(), f.bytes);
    let mut all: Vec<_> = found.into_iter().map(label).collect();
    all.sort();
    all
}

#[tokio::test]
async fn an_image_goes_from_any_kind_of_store_to_any_other_with_all_its_evidence() {
    for from_old in [false, true] {
        for to_old in [false, true] {
            let start = |old| async move { if old { Fake::old().await } else { Fake::start().await } };
            let (from, to) = (start(from_old).await, start(to_old).await);
            let (from, to) = (from.app(), to.app());
            let images = two_platforms(&from, "v1").await;
            for image in &images {
                attach_all(&from, image).await;
            }
            let options = CopyOptions::default();
            let written = copy(&from, &tagged("v1"), &to, Some(&tag("prod")), &options).await.unwrap();
            assert_eq!(written.last().unwrap().name, "prod");
            assert_eq!(to.resolve(&tagged("prod")).await.unwrap().digest, images[0].digest);
            for image in &images {
                let there = evidence(&to, image).await;
                assert_eq!((there.len(), &there), (4, &evidence(&from, image).await));
            }
            // And through a layout.
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("saved");
            save(&to, &tagged("prod"), &path, &options).await.unwrap();
            let third = Fake::start().await.app();
            load(&path, &third, Some(&tag("v1")), &options).await.unwrap();
            assert_eq!(evidence(&third, &images[2]).await, evidence(&from, &images[2]).await);
        }
    }
}

#[tokio::test]
async fn an_image_saved_by_its_digest_is_loaded_again() {
    let from = Fake::start().await.app();
    let image = image(&from, "v1", "content").await;
    let directory = tempfile::tempdir().unwrap();
    let options = CopyOptions::default();
    save(&from, &image.digest.into(), directory.path(), &options).await.unwrap();
    let to = Fake::start().await.app();
    load(directory.path(), &to, Some(&tag("v2")), &options).await.unwrap();
    assert_eq!(to.resolve(&tagged("v2")).await.unwrap().digest, image.digest);
    // Two images in one layout: which one is not guessed.
    let layout = Layout::open(directory.path()).unwrap();
    crate::images::image(&layout, "other", "other").await;
    let error = load(directory.path(), &to, None, &options).await.unwrap_err();
    assert!(error.to_string().contains("holds 2 images"), "{error}");
}

#[tokio::test]
async fn evidence_that_is_there_already_stays() {
    let (from, to) = (Fake::start().await.app(), Fake::old().await.app());
    let image = image(&from, "v1", "content").await;
    crate::images::image(&to, "v1", "content").await;
    attach_signature(&from, &image.digest, &signed("from")).await.unwrap();
    attach_bundle(&from, &image, b"from", PREDICATE, now()).await.unwrap();
    attach_signature(&to, &image.digest, &signed("to")).await.unwrap();
    attach_bundle(&to, &image, b"to", PREDICATE, now()).await.unwrap();
    copy(&from, &tagged("v1"), &to, None, &CopyOptions::default()).await.unwrap();
    assert_eq!(evidence(&to, &image).await.len(), 4);
}

#[tokio::test]
async fn evidence_about_evidence_goes_along() {
    let (from, to) = (Fake::start().await.app(), Fake::start().await.app());
    let image = image(&from, "v1", "content").await;
    attach_bundle(&from, &image, b"one", PREDICATE, now()).await.unwrap();
    let first = from.referrers(&image.digest).await.unwrap().descriptors.remove(0);
    attach_bundle(&from, &first, b"about one", PREDICATE, now()).await.unwrap();
    copy(&from, &tagged("v1"), &to, None, &CopyOptions::default()).await.unwrap();
    assert_eq!(evidence(&to, &first).await[0].2, b"about one");
    // Only the image, when asked so.
    let bare = Fake::start().await.app();
    let options = CopyOptions { only_image: true, ..CopyOptions::default() };
    copy(&from, &tagged("v1"), &bare, None, &options).await.unwrap();
    assert!(evidence(&bare, &image).await.is_empty());
}

#[derive(Default)]
struct Told(Mutex<(u64, u64, Vec<bool>)>);

impl Progress for Told {
    fn begins(&self, bytes: u64) {
        self.0.lock().unwrap().0 = bytes;
    }
    fn advanced(&self, bytes: u64) {
        self.0.lock().unwrap().1 += bytes;
    }
    fn done(&self, _: &Descriptor, copied: bool) {
        self.0.lock().unwrap().2.push(copied);
    }
}

#[tokio::test]
async fn progress_adds_up_and_what_is_there_is_not_copied_again() {
    let fake = Fake::start().await;
    let (from, to) = (Fake::start().await.app(), fake.app());
    image(&from, "v1", &"x".repeat(300_000)).await;
    let told = Told::default();
    let options = CopyOptions { progress: Some(&told), ..CopyOptions::default() };
    copy(&from, &tagged("v1"), &to, Some(&tag("v1")), &options).await.unwrap();
    let (total, moved, copied) = std::mem::take(&mut *told.0.lock().unwrap());
    assert_eq!((total, moved, copied), (300_014, 300_014, vec![true, true]));
    fake.seen();
    copy(&from, &tagged("v1"), &to, Some(&tag("v1")), &options).await.unwrap();
    assert_eq!(*told.0.lock().unwrap(), (0, 0, vec![false, false]));
    assert!(fake.seen().iter().all(|seen| !seen.is(&Method::POST, "uploads")));
}

#[tokio::test]
async fn a_plan_reads_and_writes_nothing() {
    let fake = Fake::start().await;
    let from = fake.app();
    let image = image(&from, "v1", "content").await;
    attach_all(&from, &image).await;
    fake.seen();
    let plan = plan(&from, &tagged("v1"), &CopyOptions::default()).await.unwrap();
    assert_eq!(plan.image(), Some(&image));
    assert_eq!((plan.manifests().count(), plan.older().count()), (2, 3));
    assert!(plan.blobs().count() >= 6);
    assert!(fake.seen().iter().all(|seen| seen.method == Method::GET && !seen.path.contains("/blobs/")));
}

#[tokio::test]
async fn a_blob_that_is_wrong_on_the_way_stops_the_copy() {
    let (fake, target) = (Fake::start().await, Fake::start().await);
    let from = fake.app();
    image(&from, "v1", "content").await;
    fake.lie(|seen| (seen.is(&Method::GET, "/blobs/")).then(|| answer(200, &[], "CONTENT")));
    let error = copy(&from, &tagged("v1"), &target.app(), Some(&tag("v1")), &CopyOptions::default()).await;
    let error = error.unwrap_err();
    assert!(matches!(error, RegistryError::WrongDigest { .. } | RegistryError::Malformed { .. }), "{error}");
    assert!(!target.has("app", "v1"));
    assert!(target.seen().iter().all(|seen| seen.method != Method::PUT), "nothing unchecked was sent on");
}

#[tokio::test]
async fn a_registry_that_forgets_what_it_took_is_found_out() {
    let (source, target) = (Fake::start().await, Fake::start().await);
    let from = source.app();
    let image = image(&from, "v1", "content").await;
    attach_all(&from, &image).await;
    for forgotten in ["/referrers/", "/blobs/", "/manifests/prod"] {
        target.lie(move |seen| match seen.method {
            Method::GET if seen.path.contains(forgotten) && forgotten == "/referrers/" => Some(answer(
                200,
                &[("content-type", "application/vnd.oci.image.index.v1+json")],
                r#"{"schemaVersion":2,"manifests":[]}"#,
            )),
            Method::GET | Method::HEAD if seen.path.contains(forgotten) => Some(answer(404, &[], "")),
            _ => None,
        });
        let error = copy(&from, &tagged("v1"), &target.app(), Some(&tag("prod")), &CopyOptions::default())
            .await
            .unwrap_err();
        let missing =
            error.to_string().contains("then missing") || matches!(error, RegistryError::NotFound { .. });
        assert!(missing, "{forgotten}: {error}");
    }
}

#[tokio::test]
async fn g04_layers_that_lie_elsewhere_are_not_fetched_from_there() {
    let (source, target, other) = (Fake::start().await, Fake::start().await, Fake::start().await);
    let from = source.app();
    let config =
        crate::images::blob(&from, countersign_registry::descriptor::media_type::OCI_CONFIG, b"{}").await;
    let foreign = serde_json::json!({
        "mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "size": 5,
        "digest": format!("sha256:{}", "cd".repeat(32)), "urls": [format!("http://{}/layer", other.host)],
    });
    let document = serde_json::json!({ "schemaVersion": 2, "config": config, "layers": [foreign] });
    let manifest =
        countersign_registry::Manifest::parse("it", None, document.to_string().into_bytes()).unwrap();
    crate::images::put(&from, "v1", &manifest).await;
    copy(&from, &tagged("v1"), &target.app(), Some(&tag("v1")), &CopyOptions::default()).await.unwrap();
    assert!(target.has("app", "v1"));
    assert!(other.seen().is_empty(), "the other host was asked");
}
