//! A registry on loopback that serves a layout on disk, which the tests write to and sign in.

use std::future::IntoFuture as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
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
use countersign_registry::descriptor::media_type;
use countersign_registry::{
    Content, Descriptor, Layout, Manifest, Name, Reference, RegistryOptions, Store as _, Tag,
};
use jiff::Timestamp;
use serde_json::{Value, json};

/// The registry.
pub(crate) struct Bench {
    pub(crate) host: String,
    pub(crate) layout: Layout,
    pub(crate) seen: Arc<Mutex<Vec<String>>>,
    _folder: tempfile::TempDir,
}

/// The forms in which the tests sign.
pub(crate) const BUNDLE: Forms = Forms { bundle: true, older: false };
pub(crate) const OLDER: Forms = Forms { bundle: false, older: true };

impl Bench {
    /// A registry. What lies in the repository `secret` may not be seen.
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("layout");
        let layout = Layout::create(&root).unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = seen.clone();
        let router = Router::new().fallback(move |uri: Uri| {
            log.lock().unwrap().push(uri.path().to_owned());
            let answer = serve(&root, uri.path());
            async move { answer }
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        tokio::spawn(axum::serve(listener, router).into_future());
        Self { host, layout, seen, _folder: folder }
    }

    /// Puts an image that differs from others by a word, under this tag.
    pub(crate) async fn put(&self, tag: &str, word: &str) -> Target {
        for bytes in [b"{}".to_vec(), word.as_bytes().to_vec()] {
            let blob = Descriptor::of(media_type::OCI_LAYER, &bytes);
            self.layout.put_blob(&blob, &Content::from(bytes)).await.unwrap();
        }
        let config = Descriptor::of(media_type::OCI_CONFIG, b"{}");
        let layer = Descriptor::of(media_type::OCI_LAYER, word.as_bytes());
        self.put_document(tag, json!({ "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "config": config, "layers": [layer] })).await
    }

    /// Puts an index of these images.
    pub(crate) async fn put_index(&self, tag: &str, images: &[&Target]) -> Target {
        let entries: Vec<_> = images.iter().map(|image| &image.descriptor).collect();
        self.put_document(
            tag,
            json!({ "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": entries }),
        )
        .await
    }

    async fn put_document(&self, tag: &str, document: Value) -> Target {
        let manifest = Manifest::parse("image", None, document.to_string().into_bytes()).unwrap();
        self.layout.put_manifest(&Name::Tag(Tag::parse(tag).unwrap()), &manifest).await.unwrap();
        let reference = Reference::parse(&self.image(tag)).unwrap().at(manifest.descriptor.digest);
        Target { reference, descriptor: manifest.descriptor, platform: None }
    }

    pub(crate) fn image(&self, tag: &str) -> String {
        format!("{}/app:{tag}", self.host)
    }

    pub(crate) async fn sign(&self, target: &Target, key: &Arc<KeyPair>, forms: Forms) {
        let signing = Signing { annotations: Vec::new(), forms, identity: None };
        let (http, trust) = (Http::new(HttpOptions::default()), Trust::nobody());
        let session = session(&http, &trust, key);
        sign(&session, Some(&self.layout), target, &signing, Timestamp::UNIX_EPOCH).await.unwrap();
    }

    pub(crate) async fn attest(&self, target: &Target, key: &Arc<KeyPair>, kind: &str, forms: Forms) {
        let predicate = serde_json::value::to_raw_value(&json!({})).unwrap();
        let attesting = Attesting::about(target, kind, predicate, forms).unwrap();
        let (http, trust) = (Http::new(HttpOptions::default()), Trust::nobody());
        let session = session(&http, &trust, key);
        attest(&session, Some(&self.layout), target, &attesting, Timestamp::UNIX_EPOCH).await.unwrap();
    }
}

fn session<'a>(http: &'a Http, trust: &'a Trust, key: &Arc<KeyPair>) -> Session<'a> {
    let identity = Identity::Key(Arc::clone(key) as _);
    Session::new(http, trust, Services::default(), identity, Arc::new(SystemClock)).unwrap()
}

/// Answers from the files of the layout.
fn serve(root: &Path, path: &str) -> Response {
    let blob = |digest: &str| -> Option<PathBuf> {
        Some(root.join("blobs/sha256").join(digest.strip_prefix("sha256:")?))
    };
    let typed = |bytes: Vec<u8>| {
        let said: Value = serde_json::from_slice(&bytes).unwrap();
        ([(header::CONTENT_TYPE, said["mediaType"].as_str().unwrap().to_owned())], bytes).into_response()
    };
    let missing = || StatusCode::NOT_FOUND.into_response();
    if path.starts_with("/v2/secret/") {
        return StatusCode::FORBIDDEN.into_response();
    }
    let Some((kind, name)) = path.strip_prefix("/v2/app/").and_then(|rest| rest.split_once('/')) else {
        return "{}".into_response();
    };
    match kind {
        "manifests" => {
            let index: Value =
                serde_json::from_slice(&std::fs::read(root.join("index.json")).unwrap()).unwrap();
            let tagged = index["manifests"].as_array().unwrap().iter().find(|entry| {
                entry.pointer("/annotations/org.opencontainers.image.ref.name").and_then(Value::as_str)
                    == Some(name)
            });
            let digest = tagged.map_or(name, |entry| entry["digest"].as_str().unwrap());
            blob(digest).and_then(|path| std::fs::read(path).ok()).map_or_else(missing, typed)
        }
        "blobs" => {
            blob(name).and_then(|path| std::fs::read(path).ok()).map_or_else(missing, |b| b.into_response())
        }
        "referrers" => {
            let mut found = Vec::new();
            for entry in std::fs::read_dir(root.join("blobs/sha256")).unwrap() {
                let bytes = std::fs::read(entry.unwrap().path()).unwrap();
                let Ok(document) = serde_json::from_slice::<Value>(&bytes) else { continue };
                if document.pointer("/subject/digest").and_then(Value::as_str) != Some(name) {
                    continue;
                }
                let artifact = document.get("artifactType").or_else(|| document.pointer("/config/mediaType"));
                let descriptor = Descriptor::of(media_type::OCI_MANIFEST, &bytes);
                found.push(json!({ "mediaType": media_type::OCI_MANIFEST, "digest": descriptor.digest.to_string(),
                    "size": bytes.len(), "artifactType": artifact, "annotations": document.get("annotations") }));
            }
            let index = json!({ "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": found });
            typed(index.to_string().into_bytes())
        }
        _ => missing(),
    }
}

/// A scanner without logs, which trusts these keys.
pub(crate) fn scanner(controls: &[Control], keys: &[&Arc<KeyPair>], policies: PolicySet) -> Scanner {
    use countersign_crypto::Signer as _;
    let settings = Settings {
        keys: keys.iter().map(|key| KeySource::Pem(key.public_key().to_pem())).collect(),
        demands: Demands { log: false, sct: false, timestamp: false },
        ..Settings::default()
    };
    let zero = std::time::Duration::ZERO;
    let http = HttpOptions { backoff: zero, longest_wait: zero, ..HttpOptions::default() };
    let root = TrustRoot::new(Trust::nobody().root).unwrap();
    let source = Source::new(SourceOptions {
        registry: RegistryOptions { http, ..RegistryOptions::default() },
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
pub(crate) fn images(report: &Report) -> &[ImageResult] {
    let [result] = report.results.as_slice() else { panic!("{report:?}") };
    let [ControlResult { images, .. }] = result.controls.as_slice() else { panic!("{report:?}") };
    images
}
