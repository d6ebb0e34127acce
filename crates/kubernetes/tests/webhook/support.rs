//! A registry with images that were really signed, a webhook before it, and an API server's side of the line.

use std::collections::BTreeMap;
use std::future::IntoFuture as _;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use countersign_client::image::{Forms, Signing, Target, sign};
use countersign_client::policy::{Cluster, NoCluster, Source, SourceOptions};
use countersign_client::services::Services;
use countersign_client::sign::{Identity, Session};
use countersign_client::trust::Trust;
use countersign_clock::{SystemClock, Timestamp};
use countersign_crypto::encoding::base64_decode;
use countersign_crypto::{KeyPair, KeyType, Signer as _};
use countersign_http::{Http, HttpOptions};
use countersign_kubernetes::admit::Admission;
use countersign_kubernetes::certificate::{Certificates, Keeper, Memory};
use countersign_kubernetes::webhook::{Metrics, WebhookOptions, start};
use countersign_policy::own::ImagePolicy;
use countersign_policy::{Policy, PolicySet};
use countersign_registry::descriptor::media_type;
use countersign_registry::evidence::attach_bundle;
use countersign_registry::{
    Content, Descriptor, Layout, Manifest, Name, Reference, RegistryOptions, Store as _, Tag,
};
use countersign_server::listen::Patience;
use countersign_server::serve::Running;
use countersign_x509::San;
use reqwest::{Certificate, Client};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A registry on loopback with one repository, `app`.
pub(crate) struct Registry {
    pub(crate) host: String,
    layout: Arc<Layout>,
    _folder: tempfile::TempDir,
    seen: Arc<Mutex<Vec<String>>>,
    hangs: Arc<AtomicBool>,
    lie: Arc<Mutex<Lie>>,
    /// Requests that are being answered, and the most there ever were.
    load: Arc<(AtomicUsize, AtomicUsize)>,
}

/// What is answered instead, by path and headers.
type Lie = Box<dyn FnMut(&str, &HeaderMap) -> Option<Response> + Send>;

impl Registry {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let layout = Arc::new(Layout::create(folder.path()).unwrap());
        let (seen, hangs) = (Arc::<Mutex<Vec<String>>>::default(), Arc::<AtomicBool>::default());
        let (store, log, stuck) = (Arc::clone(&layout), Arc::clone(&seen), Arc::clone(&hangs));
        let lie = Arc::new(Mutex::new(Box::new(|_: &str, _: &HeaderMap| None) as Lie));
        let load = Arc::<(AtomicUsize, AtomicUsize)>::default();
        let (liar, busy) = (Arc::clone(&lie), Arc::clone(&load));
        let router = Router::new().fallback(move |method: Method, uri: Uri, headers: HeaderMap| {
            let (store, log, stuck) = (Arc::clone(&store), Arc::clone(&log), Arc::clone(&stuck));
            let (liar, busy) = (Arc::clone(&liar), Arc::clone(&busy));
            async move {
                log.lock().unwrap().push(format!("{method} {}", uri.path()));
                if stuck.load(Ordering::SeqCst) {
                    std::future::pending::<()>().await;
                }
                let lied = (liar.lock().unwrap())(uri.path(), &headers);
                if let Some(lied) = lied {
                    return lied;
                }
                busy.1.fetch_max(busy.0.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                // Whoever else is there may come in meanwhile.
                for _ in 0..20 {
                    tokio::task::yield_now().await;
                }
                let answer = served(&store, uri.path()).await;
                busy.0.fetch_sub(1, Ordering::SeqCst);
                answer.unwrap_or_else(|| StatusCode::NOT_FOUND.into_response())
            }
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        tokio::spawn(axum::serve(listener, router).into_future());
        Self { host, layout, _folder: folder, seen, hangs, lie, load }
    }

    /// From now on nothing is answered.
    pub(crate) fn hang(&self) {
        self.hangs.store(true, Ordering::SeqCst);
    }

    /// From now on this is answered where it answers.
    pub(crate) fn lie(&self, lie: impl FnMut(&str, &HeaderMap) -> Option<Response> + Send + 'static) {
        *self.lie.lock().unwrap() = Box::new(lie);
    }

    /// The most requests that were answered at once.
    pub(crate) fn most(&self) -> usize {
        self.load.1.load(Ordering::SeqCst)
    }

    /// How many requests there were with this in their path, since the last time.
    pub(crate) fn count(&self, part: &str) -> usize {
        let mut seen = self.seen.lock().unwrap();
        let count = seen.iter().filter(|request| request.contains(part)).count();
        seen.clear();
        count
    }

    pub(crate) fn image(&self, tag: &str) -> String {
        format!("{}/app:{tag}", self.host)
    }

    /// Puts an image under a tag, and gives its name with the digest.
    pub(crate) async fn put(&self, tag: &str) -> String {
        let store = &*self.layout;
        for bytes in [b"{}", tag.as_bytes()] {
            let blob = Descriptor::of(media_type::OCI_LAYER, bytes);
            store.put_blob(&blob, &Content::from(bytes.to_vec())).await.unwrap();
        }
        let document = json!({
            "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST,
            "config": Descriptor::of(media_type::OCI_CONFIG, b"{}"),
            "layers": [Descriptor::of(media_type::OCI_LAYER, tag.as_bytes())],
        });
        let manifest = Manifest::parse("image", None, document.to_string().into_bytes()).unwrap();
        store.put_manifest(&Name::Tag(Tag::parse(tag).unwrap()), &manifest).await.unwrap();
        format!("{}@{}", self.image(tag), manifest.descriptor.digest)
    }

    /// Attaches a bundle to what a tag names.
    pub(crate) async fn attach(&self, tag: &str, kind: &str, bundle: &[u8]) {
        let image = self.layout.fetch(&Name::Tag(Tag::parse(tag).unwrap())).await.unwrap().descriptor;
        attach_bundle(&*self.layout, &image, bundle, kind, Timestamp::UNIX_EPOCH).await.unwrap();
    }

    /// Signs what a tag names.
    pub(crate) async fn sign(&self, tag: &str, key: &Arc<KeyPair>) {
        let name = Name::Tag(Tag::parse(tag).unwrap());
        let target = Target {
            reference: Reference::parse(&self.image(tag)).unwrap(),
            descriptor: self.layout.fetch(&name).await.unwrap().descriptor,
            platform: None,
        };
        let signing =
            Signing { annotations: Vec::new(), forms: Forms { bundle: false, older: true }, identity: None };
        let (http, trust) = (Http::new(HttpOptions::default()), Trust::nobody());
        let identity = Identity::Key(Arc::clone(key) as _);
        let session = Session::new(&http, &trust, Services::default(), identity, Arc::new(SystemClock));
        let session = session.unwrap();
        sign(&session, Some(&*self.layout), &target, &signing, Timestamp::UNIX_EPOCH).await.unwrap();
    }
}

async fn served(store: &Layout, path: &str) -> Option<Response> {
    let (kind, name) = path.strip_prefix("/v2/app/")?.split_once('/')?;
    let digest = countersign_crypto::Digest::parse(name).ok();
    match (kind, digest) {
        ("manifests", digest) => {
            let name =
                digest.map_or_else(|| Tag::parse(name).ok().map(Name::Tag), |d| Some(Name::Digest(d)))?;
            let manifest = store.fetch(&name).await.ok()?;
            let digest = manifest.descriptor.digest.to_string();
            let kind = manifest.descriptor.media_type.clone();
            let headers = [(header::CONTENT_TYPE.as_str(), kind), ("docker-content-digest", digest)];
            Some((headers, manifest.bytes.to_vec()).into_response())
        }
        ("blobs", Some(digest)) => {
            let path = store.directory().join("blobs/sha256").join(digest.to_hex());
            Some(std::fs::read(path).ok()?.into_response())
        }
        ("referrers", Some(digest)) => {
            let manifests = store.listed_referrers(&digest).await.ok()?.filter(|list| !list.is_empty())?;
            let index =
                json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": manifests});
            Some(([(header::CONTENT_TYPE, media_type::OCI_INDEX)], index.to_string()).into_response())
        }
        _ => None,
    }
}

pub(crate) fn key() -> Arc<KeyPair> {
    Arc::new(KeyPair::generate(KeyType::EcdsaP256).unwrap())
}

/// A policy of our own: what lies in the registry is signed by the holder of a key.
pub(crate) fn signed_by(name: &str, registry: &Registry, key: &KeyPair) -> Box<dyn Policy> {
    let document = json!({"apiVersion": "countersign.dev/v1alpha1", "kind": "ImagePolicy",
        "metadata": {"name": name},
        "spec": {"images": [format!("{}/**", registry.host)], "signedBy": {"key": key.public_key().to_pem()},
            "require": {"transparencyLog": false, "ctLog": false}}});
    Box::new(ImagePolicy::read(&document).unwrap())
}

/// Where answers come from, in a cluster.
pub(crate) fn source(cluster: impl Cluster + 'static) -> Source {
    let (registry, trust) = (RegistryOptions::default(), BTreeMap::new());
    Source::new(SourceOptions { registry, cluster: Arc::new(cluster), trust })
}

/// A webhook that runs.
pub(crate) struct Hook {
    pub(crate) admission: Arc<Admission>,
    pub(crate) source: Arc<Source>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) certificates: Arc<Certificates>,
    pub(crate) running: Running,
}

impl Hook {
    /// By these policies; `kube-system` is exempt.
    pub(crate) async fn start(policies: Vec<Box<dyn Policy>>) -> Self {
        let hook = Self::without_policies().await;
        hook.admission.set_policies(PolicySet::new(policies));
        hook
    }

    pub(crate) async fn without_policies() -> Self {
        Self::asking(false).await
    }

    /// Whether it asks with the pull secrets of what it judges.
    pub(crate) async fn asking(secrets: bool) -> Self {
        let admission = Admission::new(Arc::new(source(NoCluster)), Arc::new(SystemClock));
        Self::of(if secrets { admission } else { admission.without_secrets() }).await
    }

    /// In a cluster.
    pub(crate) async fn in_cluster(cluster: impl Cluster + 'static) -> Self {
        let source = Arc::new(source(cluster).in_namespace("countersign"));
        Self::of(Admission::new(source, Arc::new(SystemClock))).await
    }

    /// That answers by this; `kube-system` is exempt.
    pub(crate) async fn of(admission: Admission) -> Self {
        Self::kept(admission, Arc::new(Memory::default())).await
    }

    /// The same with an authority that is kept here.
    pub(crate) async fn kept(admission: Admission, keeper: Arc<dyn Keeper>) -> Self {
        let admission = Arc::new(admission.exempting(["kube-system".to_owned()]));
        let names = vec![San::Dns("localhost".into()), San::ip([127, 0, 0, 1].into())];
        // The machine's own time: whoever connects checks by it.
        let machine = Arc::new(SystemClock);
        let (source, metrics) = (Arc::clone(admission.source()), Arc::<Metrics>::default());
        let certificates = Arc::new(Certificates::open(keeper, names, machine).await.unwrap());
        let running = start(WebhookOptions {
            listen: "127.0.0.1:0".parse().unwrap(),
            admission: Arc::clone(&admission),
            certificates: Arc::clone(&certificates),
            metrics: Arc::clone(&metrics),
            patience: Patience::default(),
        })
        .await
        .unwrap();
        Self { admission, source, metrics, certificates, running }
    }

    /// A client that believes the webhook's own authority and nobody else.
    pub(crate) fn client(&self) -> Client {
        let roots = Certificate::from_pem_bundle(self.certificates.bundle().as_bytes()).unwrap();
        Client::builder().no_proxy().tls_certs_only(roots).build().unwrap()
    }

    pub(crate) async fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> (u16, Vec<u8>) {
        let request = self.client().post(format!("{}{path}", self.running.url));
        let answer = request.header("content-type", "application/json").body(body).send().await.unwrap();
        (answer.status().as_u16(), answer.bytes().await.unwrap().to_vec())
    }

    /// A connection, to say things that no client says.
    pub(crate) async fn connect(&self) -> TlsStream<TcpStream> {
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(self.certificates.bundle().as_bytes()) {
            roots.add(certificate.unwrap()).unwrap();
        }
        let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let stream = self.plain().await;
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
    }

    /// A connection without TLS.
    pub(crate) async fn plain(&self) -> TcpStream {
        TcpStream::connect(self.running.url.strip_prefix("https://").unwrap()).await.unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        let answer = self.client().get(format!("{}{path}", self.running.url)).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    pub(crate) async fn review(&self, path: &str, review: &Value) -> Reviewed {
        let (status, body) = self.post(path, review.to_string()).await;
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
        let answer: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(answer["apiVersion"], "admission.k8s.io/v1");
        assert_eq!(answer["response"]["uid"], review["request"]["uid"]);
        Reviewed(answer["response"].clone())
    }
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Reviewed(pub(crate) Value);

impl Reviewed {
    pub(crate) fn allowed(&self) -> bool {
        self.0["allowed"].as_bool().unwrap()
    }

    pub(crate) fn message(&self) -> &str {
        self.0["status"]["message"].as_str().unwrap_or_default()
    }

    pub(crate) fn code(&self) -> u64 {
        self.0["status"]["code"].as_u64().unwrap_or_default()
    }

    /// What the patch puts where, after its tests.
    pub(crate) fn pins(&self) -> BTreeMap<String, String> {
        let Some(patch) = self.0["patch"].as_str() else { return BTreeMap::new() };
        assert_eq!(self.0["patchType"], "JSONPatch");
        let patch: Value = serde_json::from_slice(&base64_decode(patch).unwrap()).unwrap();
        let replaced = patch.as_array().unwrap().iter().filter(|operation| operation["op"] == "replace");
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        replaced.map(|operation| (text(&operation["path"]), text(&operation["value"]))).collect()
    }
}

/// A review as an API server of Kubernetes 1.36 sends it.
pub(crate) fn review(operation: &str, object: &Value) -> Value {
    let version = object["apiVersion"].as_str().unwrap();
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    let kind = json!({"group": group, "version": version, "kind": object["kind"]});
    json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": {
        "uid": "36b3cf0c-9bd0-4f43-bb5e-e69e1b7a5b29",
        "kind": kind, "requestKind": kind,
        "resource": {"group": group, "version": version, "resource": "things"},
        "requestResource": {"group": group, "version": version, "resource": "things"},
        "name": "app", "namespace": "shop", "operation": operation,
        "userInfo": {"username": "admin", "uid": "uid-admin", "groups": ["system:masters", "system:authenticated"]},
        "object": object, "oldObject": null, "dryRun": false,
        "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1", "fieldManager": "kubectl"}}})
}

pub(crate) fn pod(images: &[&str]) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "app", "namespace": "shop"},
        "spec": spec(images)})
}

pub(crate) fn spec(images: &[&str]) -> Value {
    let containers: Vec<Value> =
        (0..).zip(images).map(|(i, image)| json!({"name": format!("c{i}"), "image": image})).collect();
    json!({"containers": containers, "serviceAccountName": "default"})
}

/// As long as a webhook's timeout is at least.
pub(crate) const SECOND: Duration = Duration::from_secs(1);
