//! Policies driven over a registry in the test: what is asked, how often, and what is believed for how long.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "helpers of tests")]

mod elsewhere;
#[path = "../../../registry/tests/it/images.rs"]
#[expect(dead_code, reason = "shared with the tests of the registry's client, which need more of it")]
mod images;
#[path = "../../../registry/tests/it/support/mod.rs"]
#[expect(dead_code, reason = "shared with the tests of the registry's client, which need more of it")]
mod registry;

mod trust_roots;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use countersign_bundle::TrustedRoot;
use countersign_client::image::{Forms, Signing, Target, sign};
use countersign_client::policy::{Deciding, NoCluster, Source, SourceOptions, decide};
use countersign_client::services::Services;
use countersign_client::sign::{Identity, Session};
use countersign_client::trust::Trust;
use countersign_clock::SystemClock;
use countersign_crypto::{KeyPair, KeyType, Signer as _};
use countersign_http::{Http, HttpOptions};
use countersign_policy::kyverno::{ClusterPolicy, ImageValidatingPolicy};
use countersign_policy::own::ImagePolicy;
use countersign_policy::{Decision, Policy, PolicySet, Request, Status, TrustRoot};
use countersign_registry::{Descriptor, Reference};
use futures_util::future::join_all;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::images::image;
use crate::registry::{Fake, answer};

/// Long enough for anything on loopback.
const BUDGET: Duration = Duration::from_secs(30);

/// A registry, a key, and a policy that wants its signature under every image in the registry.
struct Bench {
    fake: Fake,
    key: Arc<KeyPair>,
    policies: PolicySet,
    source: Source,
}

impl Bench {
    async fn new() -> Self {
        let fake = Fake::start().await;
        let host = fake.host.clone();
        Self::over(fake, &host)
    }

    fn over(fake: Fake, host: &str) -> Self {
        let key = Arc::new(KeyPair::generate(KeyType::EcdsaP256).unwrap());
        let policy = own_policy(host, &key.public_key().to_pem());
        let root = TrustRoot::new(TrustedRoot::default()).unwrap();
        let source = Source::new(SourceOptions {
            registry: registry::options(),
            cluster: Arc::new(NoCluster),
            trust: BTreeMap::from([(None, Arc::new(root))]),
        });
        let policies = PolicySet::new(vec![Box::new(ImagePolicy::read(&policy).unwrap())]);
        Self { fake, key, policies, source }
    }

    /// Puts an image under a tag.
    async fn put(&self, tag: &str, content: &str) -> Descriptor {
        image(&self.fake.app(), tag, content).await
    }

    async fn sign(&self, descriptor: &Descriptor) {
        let (http, trust) = (Http::new(HttpOptions::default()), Trust::nobody());
        let identity = Identity::Key(Arc::clone(&self.key) as _);
        let session =
            Session::new(&http, &trust, Services::default(), identity, Arc::new(SystemClock)).unwrap();
        let target = Target {
            reference: Reference::parse(&self.name("v1")).unwrap(),
            descriptor: descriptor.clone(),
            platform: None,
        };
        let signing =
            Signing { annotations: Vec::new(), forms: Forms { bundle: true, older: false }, identity: None };
        sign(&session, Some(&self.fake.app()), &target, &signing, Timestamp::now()).await.unwrap();
        self.fake.seen();
    }

    fn name(&self, tag: &str) -> String {
        format!("{}/app:{tag}", self.fake.host)
    }

    async fn decide(&self, image: &str) -> Decision {
        self.decide_within(image, BUDGET).await
    }

    async fn decide_within(&self, image: &str, budget: Duration) -> Decision {
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "n"},
            "spec": {"containers": [{"name": "c", "image": image}]}});
        decide(&self.policies, &Request::of_object(pod), &self.source, &SystemClock, budget).await
    }

    /// The paths that were asked for since the last time: those with a digest, and those with a tag.
    fn asked(&self) -> (Vec<String>, Vec<String>) {
        let paths = self.fake.seen().into_iter().map(|seen| seen.path).filter(|path| path != "/v2/");
        paths.partition(|path| path.contains("sha256:"))
    }
}

/// A policy of our own: what lies in a registry is signed by the holder of a key.
fn own_policy(host: &str, pem: &str) -> Value {
    json!({
        "apiVersion": "countersign.dev/v1alpha1", "kind": "ImagePolicy", "metadata": {"name": "own"},
        "spec": {
            "images": [format!("{host}/**")],
            "signedBy": {"key": pem},
            "require": {"transparencyLog": false},
        },
    })
}

/// How the one result ended, and why.
fn told(decision: &Decision) -> (bool, Status, &str) {
    let [result] = &decision.results[..] else { panic!("{decision:?}") };
    (decision.admits(), result.status, &result.reason)
}

const ADMITTED: (bool, Status, &str) = (true, Status::Pass, "verified");
const UNSIGNED: (bool, Status, &str) = (false, Status::Fail, "no_signature");

#[tokio::test]
async fn ghsa_2r43_6962_xcw5_a_tag_that_moves_between_two_evaluations_is_resolved_anew() {
    let bench = Bench::new().await;
    bench.sign(&bench.put("v1", "signed").await).await;
    assert_eq!(told(&bench.decide(&bench.name("v1")).await), ADMITTED);
    bench.put("v1", "another").await;
    assert_eq!(told(&bench.decide(&bench.name("v1")).await), UNSIGNED);
}

/// A registry that names one image to whoever verifies, and another one to whoever pulls.
#[tokio::test]
async fn cve_2022_47633_an_image_is_pinned_to_what_was_verified() {
    let bench = Bench::new().await;
    let signed = bench.put("v1", "signed").await;
    bench.sign(&signed).await;
    let decision = bench.decide(&bench.name("v1")).await;
    let (_, tags) = bench.asked();
    assert_eq!(tags.len(), 1, "a tag is resolved once: {tags:?}");
    bench.put("v1", "another").await;
    let [pin] = &decision.pins[..] else { panic!("{decision:?}") };
    assert_eq!(pin.to, format!("{}@{}", bench.name("v1"), signed.digest));
    assert_eq!(told(&bench.decide(&pin.to).await), ADMITTED, "what is pinned is what holds");
}

#[tokio::test]
async fn one_signature_by_key_costs_three_requests_by_digest_and_none_the_second_time() {
    let bench = Bench::new().await;
    bench.sign(&bench.put("v1", "signed").await).await;
    assert_eq!(told(&bench.decide(&bench.name("v1")).await), ADMITTED);
    let (by_digest, by_tag) = bench.asked();
    assert!(by_digest.len() <= 3 && by_tag.len() == 1, "{by_digest:?} {by_tag:?}");
    assert_eq!(told(&bench.decide(&bench.name("v1")).await), ADMITTED);
    let (by_digest, by_tag) = bench.asked();
    assert!(by_digest.is_empty() && by_tag.len() == 1, "{by_digest:?} {by_tag:?}");
}

#[tokio::test]
async fn equal_questions_at_once_are_one_request() {
    let bench = Bench::new().await;
    bench.sign(&bench.put("v1", "signed").await).await;
    let name = bench.name("v1");
    let decisions = join_all((0..50).map(|_| bench.decide(&name))).await;
    assert!(decisions.iter().all(|decision| told(decision) == ADMITTED));
    let (by_digest, by_tag) = bench.asked();
    assert!(by_digest.len() <= 3 && by_tag.len() == 1, "{by_digest:?} {by_tag:?}");
}

#[tokio::test]
async fn whoever_signs_a_refused_image_need_not_wait() {
    let bench = Bench::new().await;
    let unsigned = bench.put("v1", "to be signed").await;
    assert_eq!(told(&bench.decide(&bench.name("v1")).await), UNSIGNED);
    bench.sign(&unsigned).await;
    assert_eq!(told(&bench.decide(&bench.name("v1")).await), ADMITTED);
}

#[tokio::test]
async fn an_error_is_kept_for_three_seconds_and_no_longer() {
    let bench = Bench::new().await;
    bench.sign(&bench.put("v1", "signed").await).await;
    bench.fake.lie(|seen| seen.path.contains("/referrers/").then(|| answer(500, &[], "")));
    let first = bench.decide(&bench.name("v1")).await;
    assert_eq!((first.admits(), told(&first).1), (false, Status::Error));
    let (asked, _) = bench.asked();
    assert!(!asked.is_empty());

    bench.fake.lie(|_| None);
    assert_eq!(told(&bench.decide(&bench.name("v1")).await).1, Status::Error, "it is kept");
    assert_eq!(bench.asked().0, Vec::<String>::new(), "and spares the registry");
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(3)).await;
    tokio::time::resume();
    assert_eq!(told(&bench.decide(&bench.name("v1")).await), ADMITTED, "and no longer");
}

/// A registry that takes connections and says nothing.
#[tokio::test]
async fn when_the_time_is_over_there_is_an_answer_that_says_so() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = silent.local_addr().unwrap().to_string();
    let bench = Bench::over(Fake::start().await, &host);
    let began = std::time::Instant::now();
    let decision = bench.decide_within(&format!("{host}/app:v1"), Duration::from_millis(200)).await;
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert_eq!(told(&decision), (false, Status::Error, "unreachable"));
    let message = &decision.results[0].message;
    assert!(message.contains("no answer within the time"), "{message}");
}

#[tokio::test]
async fn a_registry_that_refuses_is_not_one_without_signatures() {
    for (status, reason) in
        [(401, "unauthorized"), (403, "unauthorized"), (429, "too_many_requests"), (404, "not_found")]
    {
        let bench = Bench::new().await;
        bench.put("v1", "content").await;
        bench.fake.lie(move |_| Some(answer(status, &[], "")));
        assert_eq!(told(&bench.decide(&bench.name("v1")).await), (false, Status::Error, reason), "{status}");
    }
}

#[tokio::test]
async fn without_a_cluster_or_a_trust_root_what_needs_them_could_not_be_checked() {
    let bench = Bench::new().await;
    bench.sign(&bench.put("v1", "signed").await).await;
    bench.source.set_trust(BTreeMap::new());
    assert_eq!(
        told(&bench.decide(&bench.name("v1")).await),
        ADMITTED,
        "a key without a log needs nobody's word"
    );
    let by_identity = json!({
        "apiVersion": "countersign.dev/v1alpha1", "kind": "ImagePolicy", "metadata": {"name": "own"},
        "spec": {"images": ["**"], "signedBy": {"email": "a@example.com", "issuer": "https://idp.example.com"}},
    });
    let policies = PolicySet::new(vec![Box::new(ImagePolicy::read(&by_identity).unwrap())]);
    let bench = Bench { policies, ..bench };
    let decision = bench.decide(&bench.name("v1")).await;
    assert_eq!(told(&decision), (false, Status::Error, "not_found"));
    assert!(decision.results[0].message.contains("countersign trust add"));
    let policy = json!({
        "apiVersion": "countersign.dev/v1alpha1", "kind": "ImagePolicy", "metadata": {"name": "own"},
        "spec": {"images": ["**"], "namespaceSelector": {"matchLabels": {"a": "b"}},
            "signedBy": {"key": "k8s://security/cosign"}},
    });
    let selecting =
        Bench { policies: PolicySet::new(vec![Box::new(ImagePolicy::read(&policy).unwrap())]), ..bench };
    let decision = selecting.decide(&selecting.name("v1")).await;
    assert_eq!(told(&decision), (false, Status::Error, "unsupported"));
}

/// Two policies of Kyverno over objects of a kind that name a time, over images that nobody answers for.
fn naming(seconds: u64, kind: &str, pem: &str) -> [Box<dyn Policy>; 2] {
    let older = json!({"apiVersion": "kyverno.io/v1", "kind": "ClusterPolicy", "metadata": {"name": "older"},
        "spec": {"webhookTimeoutSeconds": seconds, "rules": [{"name": "signed",
            "match": {"any": [{"resources": {"kinds": [kind]}}]},
            "verifyImages": [{"imageReferences": ["*"], "attestors": [{"entries": [{"keys": {"publicKeys": pem}}]}]}]}]}});
    let (group, resource) = if kind == "Pod" { ("", "pods") } else { ("batch", "jobs") };
    let newer = json!({"apiVersion": "policies.kyverno.io/v1", "kind": "ImageValidatingPolicy",
        "metadata": {"name": "newer", "annotations": {"pod-policies.kyverno.io/autogen-controllers": "none"}},
        "spec": {"webhookConfiguration": {"timeoutSeconds": seconds},
            "matchConstraints": {"resourceRules": [{"apiGroups": [group], "apiVersions": ["v1"],
                "operations": ["CREATE"], "resources": [resource]}]},
            "matchImageReferences": [{"glob": "*/*"}],
            "attestors": [{"name": "key", "cosign": {"key": {"data": pem}}}],
            "validations": [{"expression": "images.containers.map(i, verifyImageSignatures(i, [attestors.key])).all(n, n > 0)",
                "message": "not signed"}]}});
    let read = |value: &Value| ImageValidatingPolicy::read(value).unwrap();
    [Box::new(ClusterPolicy::read(&older).unwrap()), Box::new(read(&newer))]
}

#[tokio::test]
async fn the_shortest_time_of_a_policy_that_is_about_the_request_ends_it() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = silent.local_addr().unwrap().to_string();
    let bench = Bench::over(Fake::start().await, &host);
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "n"},
        "spec": {"containers": [{"name": "c", "image": format!("{host}/app:v1")}]}});
    let request = Request::of_object(pod);
    let pem = bench.key.public_key().to_pem();
    tokio::time::pause();
    for (seconds, kind, expected) in [(2, "Pod", 2), (2, "Job", 5), (30, "Pod", 5)] {
        for naming in naming(seconds, kind, &pem) {
            let own = ImagePolicy::read(&own_policy(&host, &pem)).unwrap();
            let policies = PolicySet::new(vec![naming, Box::new(own)]);
            let source = &bench.source;
            let began = tokio::time::Instant::now();
            let budget = Duration::from_secs(5);
            let deciding = Deciding::new(&policies, &request, source, &SystemClock, budget).in_time();
            let decision = deciding.decide().await;
            assert!(!decision.admits(), "{decision:?}");
            assert_eq!(began.elapsed().as_secs(), expected, "{seconds} {kind} {decision:?}");
            // Whoever waits for nobody has the time that there is.
            let began = tokio::time::Instant::now();
            decide(&policies, &request, source, &SystemClock, budget).await;
            assert_eq!(began.elapsed().as_secs(), 5);
        }
    }
}
