//! What the tests share: images in a registry, signed and attested; scanners; pods.

use std::sync::Arc;

use countersign_client::image::{Attesting, Forms, Signing, Target, attest, sign};
use countersign_client::policy::{NoCluster, Source, SourceOptions};
use countersign_client::services::Services;
use countersign_client::sign::{Identity, Session};
use countersign_client::trust::Trust;
use countersign_clock::SystemClock;
use countersign_crypto::KeyPair;
use countersign_http::{Http, HttpOptions};
use countersign_kubernetes::scan::{
    Control, ControlResult, ImageResult, Report, Resource, ScanOptions, Scanner, Settings, read_resources,
};
use countersign_policy::{Demands, KeySource, PolicySet, TrustRoot};
use countersign_registry::{Descriptor, Reference, RemoteRepository};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::images;
use crate::registry::{Fake, answer, options};

/// A registry on loopback.
pub(crate) struct Bench {
    pub(crate) fake: Fake,
    pub(crate) host: String,
    pub(crate) store: RemoteRepository,
}

/// The forms in which the tests sign.
pub(crate) const BUNDLE: Forms = Forms { bundle: true, older: false };
pub(crate) const OLDER: Forms = Forms { bundle: false, older: true };

impl Bench {
    /// A registry. What lies in the repository `secret` may not be seen.
    pub(crate) async fn start() -> Self {
        let fake = Fake::start().await;
        fake.lie(|seen| seen.path.starts_with("/v2/secret/").then(|| answer(403, &[], "")));
        Self { host: fake.host.clone(), store: fake.app(), fake }
    }

    /// Puts an image that differs from others by a word, under this tag.
    pub(crate) async fn put(&self, tag: &str, word: &str) -> Target {
        self.target(&images::image(&self.store, tag, word).await)
    }

    /// What evidence is made for.
    pub(crate) fn target(&self, descriptor: &Descriptor) -> Target {
        let reference = Reference::parse(&self.image("any")).unwrap().at(descriptor.digest);
        Target { reference, descriptor: descriptor.clone(), platform: None }
    }

    pub(crate) fn image(&self, tag: &str) -> String {
        format!("{}/app:{tag}", self.host)
    }

    pub(crate) async fn sign(&self, target: &Target, key: &Arc<KeyPair>, forms: Forms) {
        let signing = Signing { annotations: Vec::new(), forms, identity: None };
        let (http, trust) = (Http::new(HttpOptions::default()), Trust::nobody());
        let session = session(&http, &trust, key);
        sign(&session, Some(&self.store), target, &signing, Timestamp::UNIX_EPOCH).await.unwrap();
    }

    pub(crate) async fn attest(&self, target: &Target, key: &Arc<KeyPair>, kind: &str, forms: Forms) {
        self.say(target, key, kind, &json!({}), forms).await;
    }

    /// Attaches a statement with this predicate.
    pub(crate) async fn say(
        &self,
        target: &Target,
        key: &Arc<KeyPair>,
        kind: &str,
        predicate: &Value,
        forms: Forms,
    ) {
        let predicate = serde_json::value::to_raw_value(predicate).unwrap();
        let attesting = Attesting::about(target, kind, predicate, forms).unwrap();
        let (http, trust) = (Http::new(HttpOptions::default()), Trust::nobody());
        let session = session(&http, &trust, key);
        attest(&session, Some(&self.store), target, &attesting, Timestamp::UNIX_EPOCH).await.unwrap();
    }
}

fn session<'a>(http: &'a Http, trust: &'a Trust, key: &Arc<KeyPair>) -> Session<'a> {
    let identity = Identity::Key(Arc::clone(key) as _);
    Session::new(http, trust, Services::default(), identity, Arc::new(SystemClock)).unwrap()
}

/// A key as settings name it.
pub(crate) fn named(key: &Arc<KeyPair>) -> KeySource {
    use countersign_crypto::Signer as _;
    KeySource::Pem(key.public_key().to_pem())
}

/// Settings without logs, which trust these keys.
pub(crate) fn trusting(keys: &[&Arc<KeyPair>]) -> Settings {
    Settings {
        keys: keys.iter().map(|key| named(key)).collect(),
        demands: Demands { log: false, sct: false, timestamp: false },
        ..Settings::default()
    }
}

/// A scanner without logs, which trusts these keys.
pub(crate) fn scanner(controls: &[Control], keys: &[&Arc<KeyPair>], policies: PolicySet) -> Scanner {
    scanner_with(controls, trusting(keys), policies)
}

/// A scanner with these settings.
pub(crate) fn scanner_with(controls: &[Control], settings: Settings, policies: PolicySet) -> Scanner {
    let root = TrustRoot::new(Trust::nobody().root).unwrap();
    let source = Source::new(SourceOptions {
        registry: options(),
        cluster: Arc::new(NoCluster),
        trust: [(None, Arc::new(root))].into(),
    });
    let options =
        ScanOptions { controls: controls.to_vec(), settings, policies, repository: None, at_once: 8 };
    Scanner::new(options, source, Arc::new(SystemClock))
}

/// A pod with these images.
pub(crate) fn pod(images: &[&str]) -> Vec<Resource> {
    let containers: Vec<Value> = images
        .iter()
        .enumerate()
        .map(|(n, image)| json!({ "name": format!("c{n}"), "image": image }))
        .collect();
    let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "pod" }, "spec": { "containers": containers } });
    read_resources(&pod.to_string(), "pod.json").unwrap()
}

/// The results of the one resource's one control.
pub(crate) fn found(report: &Report) -> &[ImageResult] {
    let [result] = report.results.as_slice() else { panic!("{report:?}") };
    let [ControlResult { images, .. }] = result.controls.as_slice() else { panic!("{report:?}") };
    images
}
