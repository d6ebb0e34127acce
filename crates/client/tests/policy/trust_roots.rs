//! Trust roots in repositories elsewhere: fetched before anybody asks, kept until they end, and never going back.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::http::{StatusCode, Uri};
use axum::response::IntoResponse as _;
use countersign_bundle::TrustedRoot;
use countersign_client::policy::decide;
use countersign_clock::ManualClock;
use countersign_crypto::encoding::base64_encode;
use countersign_crypto::{KeyPair, KeyType, Signer};
use countersign_policy::cluster_image::TrustRootObject;
use countersign_policy::own::ImagePolicy;
use countersign_policy::{PolicySet, Request, Status};
use countersign_trust::tuf::repository::{Lifetimes, Repository, Role, Roles, TargetFile};
use jiff::Timestamp;
use serde_json::json;

use crate::{ADMITTED, BUDGET, Bench, told};

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// A repository with an empty trusted root, and who signs it.
struct Tuf {
    folder: tempfile::TempDir,
    ring: [Arc<dyn Signer>; 2],
    requests: Arc<AtomicUsize>,
}

impl Tuf {
    fn new(day: &str) -> Self {
        let key = || -> Arc<dyn Signer> { Arc::new(KeyPair::generate(KeyType::EcdsaP256).unwrap()) };
        let (folder, ring) = (tempfile::tempdir().unwrap(), [key(), key()]);
        let roles = Roles::offline_and_online(Role::single(ring[0].public_key()), ring[1].public_key());
        let targets = [TargetFile::new("own.json", TrustedRoot::default().to_json().unwrap())];
        Repository::create(folder.path(), &roles, Lifetimes::default(), &ring, &targets, at(day)).unwrap();
        Self { folder, ring, requests: Arc::default() }
    }

    /// Signs it anew.
    fn refresh(&self, day: &str) {
        let repository = Repository::open(self.folder.path(), Lifetimes::default(), at(day)).unwrap();
        repository.refresh(&self.ring, at(day)).unwrap();
    }

    /// Serves a directory, on which `requests` counts.
    async fn serve(&self) -> String {
        let (folder, requests) = (self.folder.path().to_owned(), Arc::clone(&self.requests));
        let router = Router::new().fallback(move |uri: Uri| {
            requests.fetch_add(1, Ordering::SeqCst);
            let read = std::fs::read(folder.join(uri.path().trim_start_matches('/')));
            async move {
                read.map_or_else(|_| StatusCode::NOT_FOUND.into_response(), |bytes| bytes.into_response())
            }
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(std::future::IntoFuture::into_future(axum::serve(listener, router)));
        url
    }

    fn asked(&self) -> usize {
        self.requests.swap(0, Ordering::SeqCst)
    }

    fn object(&self, mirror: &str) -> TrustRootObject {
        let root = std::fs::read(self.folder.path().join("1.root.json")).unwrap();
        let object = json!({"apiVersion": "policy.sigstore.dev/v1alpha1", "kind": "TrustRoot",
            "metadata": {"name": "own"}, "spec": {"remote": {"mirror": mirror, "root": base64_encode(&root),
                "trustedRootTarget": "own.json"}}});
        TrustRootObject::read(&object).unwrap()
    }
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let place = to.join(entry.file_name());
        if entry.path().is_dir() {
            std::fs::create_dir_all(&place).unwrap();
            copy(&entry.path(), &place);
        } else {
            std::fs::copy(entry.path(), place).unwrap();
        }
    }
}

/// A signed image, and a policy that names the trust root `own`.
async fn bench() -> Bench {
    let bench = Bench::new().await;
    bench.sign(&bench.put("v1", "signed").await).await;
    let policy = json!({
        "apiVersion": "countersign.dev/v1alpha1", "kind": "ImagePolicy", "metadata": {"name": "own"},
        "spec": {"images": ["**"], "signedBy": {"key": bench.key.public_key().to_pem()}, "trust": {"root": "own"},
            "require": {"transparencyLog": false, "ctLog": false}},
    });
    Bench { policies: PolicySet::new(vec![Box::new(ImagePolicy::read(&policy).unwrap())]), ..bench }
}

impl Bench {
    async fn decide_at(&self, time: &str) -> countersign_policy::Decision {
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "n"},
            "spec": {"containers": [{"name": "c", "image": self.name("v1")}]}});
        let clock = ManualClock::new(at(time));
        decide(&self.policies, &Request::of_object(pod), &self.source, &clock, BUDGET).await
    }
}

const DAY: &str = "2026-01-01T00:00:00Z";
const LATER: &str = "2026-01-01T03:00:00Z";
const AFTER_THE_END: &str = "2036-01-01T00:00:00Z";

#[tokio::test]
async fn a_trust_root_elsewhere_is_had_once_it_was_fetched_and_until_it_ends() {
    let (bench, tuf) = (bench().await, Tuf::new(DAY));
    bench.source.set_trust_objects(vec![tuf.object(&tuf.serve().await)]);
    let decision = bench.decide_at(DAY).await;
    assert_eq!(told(&decision), (false, Status::Error, "unreachable"));
    assert_eq!(tuf.asked(), 0, "nothing is fetched while a request waits");

    assert_eq!(bench.source.fetch_trust_roots(at(DAY)).await, []);
    assert!(tuf.asked() > 0);
    assert_eq!(told(&bench.decide_at(DAY).await), ADMITTED);
    assert_eq!(bench.source.fetch_trust_roots(at(DAY)).await, [], "not due");
    assert_eq!(tuf.asked(), 0);
    let decision = bench.decide_at(AFTER_THE_END).await;
    assert_eq!(told(&decision), (false, Status::Error, "unreachable"));
    assert!(decision.results[0].message.contains("was good until"), "{decision:?}");
}

#[tokio::test]
async fn what_was_fetched_holds_while_the_repository_is_away_and_that_is_told() {
    let (bench, tuf) = (bench().await, Tuf::new(DAY));
    bench.source.set_trust_objects(vec![tuf.object(&tuf.serve().await)]);
    assert_eq!(bench.source.fetch_trust_roots(at(DAY)).await, []);
    std::fs::remove_file(tuf.folder.path().join("timestamp.json")).unwrap();
    tokio::time::pause();
    tokio::time::advance(std::time::Duration::from_secs(3600)).await;
    tokio::time::resume();
    let told_of = bench.source.fetch_trust_roots(at(LATER)).await;
    assert!(
        told_of.len() == 1 && told_of[0].usable && told_of[0].text.contains("timestamp.json"),
        "{told_of:?}"
    );
    assert_eq!(told(&bench.decide_at(LATER).await), ADMITTED);
    let told_of = bench.source.fetch_trust_roots(at(AFTER_THE_END)).await;
    assert!(told_of.len() == 1 && !told_of[0].usable, "{told_of:?}");
    assert!(told_of[0].text.contains("the last try"), "{told_of:?}");
}

#[tokio::test]
async fn a_repository_does_not_go_back_even_when_the_objects_are_set_anew() {
    let (bench, tuf) = (bench().await, Tuf::new(DAY));
    let old = tempfile::tempdir().unwrap();
    copy(tuf.folder.path(), old.path());
    tuf.refresh(LATER);
    let mirror = tuf.serve().await;
    bench.source.set_trust_objects(vec![tuf.object(&mirror)]);
    assert_eq!(bench.source.fetch_trust_roots(at(LATER)).await, []);

    copy(old.path(), tuf.folder.path());
    bench.source.set_trust_objects(vec![tuf.object(&mirror)]);
    tokio::time::pause();
    tokio::time::advance(std::time::Duration::from_secs(3600)).await;
    tokio::time::resume();
    let told_of = bench.source.fetch_trust_roots(at(LATER)).await;
    assert!(told_of.len() == 1 && told_of[0].text.contains("rolled back"), "{told_of:?}");
    assert_eq!(told(&bench.decide_at(LATER).await), ADMITTED, "what was had before is as good as it was");
}

#[tokio::test]
async fn a_repository_that_cannot_be_had_is_no_empty_trust_root() {
    let (bench, tuf, other) = (bench().await, Tuf::new(DAY), Tuf::new(DAY));
    for mirror in ["http://127.0.0.1:1".to_owned(), other.serve().await] {
        bench.source.set_trust_objects(vec![tuf.object(&mirror)]);
        let told_of = bench.source.fetch_trust_roots(at(DAY)).await;
        assert!(told_of.len() == 1 && told_of[0].name == "own" && !told_of[0].usable, "{told_of:?}");
        let decision = bench.decide_at(DAY).await;
        assert_eq!(told(&decision), (false, Status::Error, "unreachable"));
        assert!(decision.results[0].message.contains(&mirror), "{decision:?}");
    }
}
