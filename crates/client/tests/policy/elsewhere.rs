//! What lies elsewhere than beside the image: keys and certificates in Secrets, documents that are attached to it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use countersign_bundle::TrustedRoot;
use countersign_client::policy::{Cluster, SecretData, Source, SourceOptions, Told, decide};
use countersign_clock::SystemClock;
use countersign_crypto::encoding::pem_decode;
use countersign_crypto::{KeyPair, Signer as _};
use countersign_notary::{Format, SignRequest, SigningScheme, TargetArtifact, sign};
use countersign_policy::cluster_image::ClusterImagePolicy;
use countersign_policy::kyverno::ClusterPolicy;
use countersign_policy::{
    CouldNot, CouldNotReason, Decision, ObjectName, Policy, PolicySet, Request, Status, TrustRoot,
};
use countersign_registry::descriptor::media_type;
use countersign_registry::evidence::attach_notary;
use countersign_registry::{Content, Descriptor, Manifest, Name, Store};
use countersign_x509::Certificate;
use jiff::Timestamp;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::registry::Fake;
use crate::{ADMITTED, BUDGET, Bench, images, registry, told};

const SIGNER: &str = include_str!("../data/notary/signer.key");
const CHAIN: &str = include_str!("../data/notary/chain.pem");
const ROOT: &str = include_str!("../data/notary/root.pem");
const SCAN: &str = "application/vnd.example.scan+json";

/// A cluster that has these Secrets and nothing else.
#[derive(Debug)]
struct Secrets(BTreeMap<String, SecretData>);

fn nothing<T: Send + 'static>() -> Told<'static, T> {
    Box::pin(async { Err(CouldNot::new(CouldNotReason::NotFound, "not there")) })
}

impl Cluster for Secrets {
    fn config_map<'a>(&'a self, _: &'a ObjectName) -> Told<'a, BTreeMap<String, String>> {
        nothing()
    }

    fn namespace_labels<'a>(&'a self, _: &'a str) -> Told<'a, BTreeMap<String, String>> {
        nothing()
    }

    fn secret<'a>(&'a self, name: &'a ObjectName) -> Told<'a, SecretData> {
        let found = self.0.get(&name.to_string()).cloned();
        Box::pin(async { found.ok_or_else(|| CouldNot::new(CouldNotReason::NotFound, "not there")) })
    }

    fn pull_secrets<'a>(&'a self, _: &'a ObjectName) -> Told<'a, Vec<ObjectName>> {
        nothing()
    }
}

/// A cluster that has one ConfigMap, and counts how often it is asked for it.
#[derive(Debug, Default)]
struct Allowed {
    registries: Mutex<String>,
    asked: AtomicUsize,
}

impl Cluster for Allowed {
    fn config_map<'a>(&'a self, _: &'a ObjectName) -> Told<'a, BTreeMap<String, String>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let data = BTreeMap::from([("registries".to_owned(), self.registries.lock().unwrap().clone())]);
        Box::pin(async { Ok(data) })
    }

    fn namespace_labels<'a>(&'a self, _: &'a str) -> Told<'a, BTreeMap<String, String>> {
        nothing()
    }

    fn secret<'a>(&'a self, _: &'a ObjectName) -> Told<'a, SecretData> {
        nothing()
    }

    fn pull_secrets<'a>(&'a self, _: &'a ObjectName) -> Told<'a, Vec<ObjectName>> {
        nothing()
    }
}

#[tokio::test(start_paused = true)]
async fn a_config_map_is_kept_for_a_moment_and_asked_for_anew_before_it_refuses() {
    let policy = json!({"apiVersion": "kyverno.io/v1", "kind": "ClusterPolicy", "metadata": {"name": "p"}, "spec": {
        "validationFailureAction": "Enforce",
        "rules": [{"name": "r", "match": {"any": [{"resources": {"kinds": ["Pod"]}}]},
            "context": [{"name": "ours", "configMap": {"name": "ours", "namespace": "n"}}],
            "validate": {"pattern": {"spec": {"containers": [{"image": "{{ ours.data.registries }}"}]}}}}]}});
    let policies = PolicySet::new(vec![Box::new(ClusterPolicy::read(&policy).unwrap())]);
    let allowed = Arc::new(Allowed::default());
    let source = Source::new(SourceOptions {
        registry: registry::options(),
        cluster: allowed.clone(),
        trust: BTreeMap::new(),
    });
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "n"},
        "spec": {"containers": [{"name": "c", "image": "a.example/app:v1"}]}});
    let request = Request::of_object(pod);
    let admits = async || decide(&policies, &request, &source, &SystemClock, BUDGET).await.admits();
    // Whether it is admitted when this is allowed, and how often the cluster was asked by then.
    for (after, registries, expected) in [
        (0, "a.example/*", (true, 1)),
        (4, "a.example/*", (true, 1)),
        (0, "b.example/*", (true, 1)),
        (1, "b.example/*", (false, 2)),
        (1, "b.example/*", (false, 3)),
        (1, "a.example/*", (true, 4)),
    ] {
        tokio::time::advance(std::time::Duration::from_secs(after)).await;
        *allowed.registries.lock().unwrap() = registries.to_owned();
        let found = admits().await;
        assert_eq!((found, allowed.asked.load(Ordering::SeqCst)), expected, "{registries} after {after}");
    }
}

/// A Secret `cosign-system/it` with these entries.
fn secret(entries: &[(&str, &str)]) -> Secrets {
    let data =
        entries.iter().map(|(name, text)| ((*name).to_owned(), Zeroizing::new(text.as_bytes().to_vec())));
    Secrets(BTreeMap::from([("cosign-system/it".to_owned(), data.collect())]))
}

async fn decided(fake: &Fake, cluster: Secrets, policy: impl Policy + 'static) -> Decision {
    let trust = Arc::new(TrustRoot::new(TrustedRoot::default()).unwrap());
    let source = Source::new(SourceOptions {
        registry: registry::options(),
        cluster: Arc::new(cluster),
        trust: BTreeMap::from([(None, trust)]),
    });
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "n"},
        "spec": {"containers": [{"name": "c", "image": format!("{}/app:v1", fake.host)}]}});
    decide(&PolicySet::new(vec![Box::new(policy)]), &Request::of_object(pod), &source, &SystemClock, BUDGET)
        .await
}

fn by(authority: &Value) -> ClusterImagePolicy {
    ClusterImagePolicy::read(
        &json!({"apiVersion": "policy.sigstore.dev/v1beta1", "kind": "ClusterImagePolicy",
        "metadata": {"name": "p"}, "spec": {"images": [{"glob": "**"}], "authorities": [authority]}}),
    )
    .unwrap()
}

#[tokio::test]
async fn a_key_is_what_a_secret_calls_so_or_its_only_entry() {
    let bench = Bench::new().await;
    bench.sign(&bench.put("v1", "signed").await).await;
    let own = bench.key.public_key().to_pem();
    let by_secret = json!({"key": {"secretRef": {"name": "it"}}});
    for (entries, expected) in [
        (vec![("cosign.pub", own.as_str())], ADMITTED),
        (vec![("cosign.pub", own.as_str()), ("cosign.key", "x")], ADMITTED),
        (vec![("release.pem", own.as_str())], ADMITTED),
        (vec![("a", own.as_str()), ("b", own.as_str())], (false, Status::Error, "unusable")),
        (vec![("a", "no key")], (false, Status::Error, "unusable")),
        (vec![], (false, Status::Error, "unusable")),
    ] {
        let decision = decided(&bench.fake, secret(&entries), by(&by_secret)).await;
        assert_eq!(told(&decision), expected, "{entries:?}");
    }
    let nowhere = decided(&bench.fake, Secrets(BTreeMap::new()), by(&by_secret)).await;
    assert_eq!(told(&nowhere), (false, Status::Error, "not_found"));
}

#[tokio::test]
async fn certificates_are_the_only_entry_of_a_secret() {
    let bench = Bench::new().await;
    bench.sign(&bench.put("v1", "signed").await).await;
    let by_secret = json!({"keyless": {"ca-cert": {"secretRef": {"name": "it"}},
        "identities": [{"issuer": "https://idp.example", "subject": "a@example.com"}]}});
    for (entries, status) in [
        // They are read, and nobody below them signed.
        (vec![("ca.pem", ROOT)], Status::Fail),
        (vec![("ca.pem", ROOT), ("other.pem", ROOT)], Status::Error),
        (vec![("ca.pem", "no certificate")], Status::Error),
        (vec![], Status::Error),
    ] {
        let decision = decided(&bench.fake, secret(&entries), by(&by_secret)).await;
        assert!(!decision.admits());
        assert_eq!(told(&decision).1, status, "{entries:?}: {decision:?}");
    }
}

/// Attaches a document to an image.
async fn attach(store: &dyn Store, image: &Descriptor, document: &[u8]) -> Descriptor {
    let layer = Descriptor::of("application/json", document);
    store.put_blob(&layer, &Content::from(document.to_vec())).await.unwrap();
    let config = Descriptor::of(media_type::OCI_EMPTY, b"{}");
    store.put_blob(&config, &Content::from(b"{}".to_vec())).await.unwrap();
    let manifest = json!({"schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "artifactType": SCAN,
        "config": config, "layers": [layer], "subject": image.bare()});
    let manifest =
        Manifest::parse("it", Some(media_type::OCI_MANIFEST), manifest.to_string().into_bytes()).unwrap();
    store.put_manifest(&Name::Digest(manifest.descriptor.digest), &manifest).await.unwrap();
    manifest.descriptor
}

#[tokio::test]
async fn a_document_that_is_attached_and_signed_as_the_notary_project_does_is_an_attestation() {
    let fake = Fake::start().await;
    let store = fake.app();
    let image = images::image(&store, "v1", "content").await;
    let entry = json!({"imageReferences": ["*"], "type": "Notary", "attestations": [{"type": SCAN,
        "attestors": [{"entries": [{"certificates": {"certChain": ROOT}}]}],
        "conditions": [{"all": [{"key": "{{ critical }}", "operator": "Equals", "value": 0}]}]}]});
    let policy = || {
        let rule = json!({"name": "r", "match": {"any": [{"resources": {"kinds": ["Pod"]}}]}, "verifyImages": [entry]});
        ClusterPolicy::read(
            &json!({"apiVersion": "kyverno.io/v1", "kind": "ClusterPolicy", "metadata": {"name": "p"},
            "spec": {"validationFailureAction": "Enforce", "rules": [rule]}}),
        )
        .unwrap()
    };
    let answer = async |fake: &Fake| {
        let decision = decided(fake, Secrets(BTreeMap::new()), policy()).await;
        let said = decision.results.iter().find(|result| result.status != Status::Skip).unwrap();
        (decision.admits(), said.reason.clone())
    };
    let no = |reason: &str| (false, reason.to_owned());
    assert_eq!(answer(&fake).await, no("no_signature"));
    let document = attach(&store, &image, b"{\"critical\":0}").await;
    assert_eq!(answer(&fake).await, no("no_signature"), "nobody signed the document");
    let key = KeyPair::from_pkcs8(&pem_decode(SIGNER).unwrap().pop().unwrap().der).unwrap();
    let target = TargetArtifact {
        media_type: document.media_type.clone(),
        digest: document.digest,
        size: document.size,
        annotations: BTreeMap::new(),
    };
    let draft = sign(&SignRequest {
        format: Format::Jws,
        scheme: SigningScheme::X509,
        target: &target,
        signing_time: Timestamp::now(),
        expiry: None,
        agent: None,
        chain: &Certificate::chain_from_pem(CHAIN).unwrap(),
        signer: &key,
    })
    .unwrap();
    let envelope = draft.finish(None).unwrap().0;
    attach_notary(&store, &document, Format::Jws.media_type(), &envelope, BTreeMap::new()).await.unwrap();
    assert_eq!(answer(&fake).await, (true, "verified".to_owned()));
}
