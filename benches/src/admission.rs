//! The admission webhook: reviews over TLS about images that it knows, sees for the first time, or either; beside the same
//! server answering what it does not judge.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use axum::Router;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use countersign_crypto::encoding::base64_encode;
use countersign_crypto::{HashAlgorithm, KeyPair, KeyType, Signer as _};
use serde_json::json;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::instance::resident_mib;
use crate::load::{Connection, Outcome, Request, Target, closed_loop_where};
use crate::services::Size;
use crate::table::{Beside, Table, time};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const SIGNED: &str = "https://sigstore.dev/cosign/sign/v1";
/// How many images are known already where all are.
const KNOWN: usize = 100;
/// One in so many images is new where some are.
const NEW: usize = 100;
/// How many reviews are under way at once.
const CONCURRENT: [usize; 3] = [1, 8, 50];

/// A registry on loopback, whose images are signed by one key, each with a bundle among its referrers.
struct Registry {
    host: String,
    /// Images by digest, as a pod names them.
    images: Vec<String>,
    requests: Arc<AtomicUsize>,
    key: KeyPair,
}

type Contents = HashMap<String, (&'static str, Vec<u8>)>;

impl Registry {
    async fn start(count: usize) -> Result<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let host = listener.local_addr()?.to_string();
        let key = KeyPair::generate(KeyType::EcdsaP256)?;
        let (mut contents, mut images) = (Contents::new(), Vec::with_capacity(count));
        for number in 0..count {
            let digest = put_signed(&mut contents, number, &key)?;
            images.push(format!("{host}/shop/app@{digest}"));
        }
        let (contents, requests) = (Arc::new(contents), Arc::<AtomicUsize>::default());
        let counted = Arc::clone(&requests);
        let router = Router::new().fallback(move |uri: Uri| {
            counted.fetch_add(1, Ordering::Relaxed);
            let answer = answer(&contents, uri.path());
            async move { answer }
        });
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { host, images, requests, key })
    }

    fn policy(&self) -> String {
        json!({"apiVersion": "countersign.dev/v1alpha1", "kind": "ImagePolicy", "metadata": {"name": "signed"},
            "spec": {"images": [format!("{}/**", self.host)], "signedBy": {"key": self.key.public_key().to_pem()},
                "require": {"transparencyLog": false}}})
        .to_string()
    }
}

fn answer(contents: &Contents, path: &str) -> Response {
    if path == "/v2/" {
        return StatusCode::OK.into_response();
    }
    let (_, name) = path.rsplit_once('/').unwrap_or_default();
    let key = if path.contains("/referrers/") { format!("referrers {name}") } else { name.to_owned() };
    match contents.get(&key) {
        Some((kind, bytes)) => ([("content-type", *kind)], bytes.clone()).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// Puts an image and its signature in; the image's digest.
fn put_signed(contents: &mut Contents, number: usize, key: &KeyPair) -> Result<String> {
    let mut put = |kind: &'static str, bytes: Vec<u8>| {
        let digest = HashAlgorithm::Sha256.digest(&bytes).to_string();
        let descriptor = json!({"mediaType": kind, "digest": digest, "size": bytes.len()});
        contents.insert(digest.clone(), (kind, bytes));
        (digest, descriptor)
    };
    let (_, empty) = put("application/vnd.oci.empty.v1+json", b"{}".to_vec());
    let (_, layer) = put("application/vnd.oci.image.layer.v1.tar", number.to_string().into_bytes());
    let image = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": empty, "layers": [layer]});
    let (digest, subject) = put(MANIFEST, image.to_string().into_bytes());
    let (_, bundle) = put(BUNDLE, bundle(&digest, key)?);
    let annotations = json!({"dev.sigstore.bundle.content": "dsse-envelope",
        "dev.sigstore.bundle.predicateType": SIGNED});
    let referrer = json!({"schemaVersion": 2, "mediaType": MANIFEST, "artifactType": BUNDLE, "config": empty,
        "layers": [bundle], "subject": subject, "annotations": annotations});
    let (_, mut listed) = put(MANIFEST, referrer.to_string().into_bytes());
    if let Some(listed) = listed.as_object_mut() {
        listed.insert("artifactType".into(), BUNDLE.into());
        listed.insert("annotations".into(), annotations);
    }
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [listed]});
    contents.insert(format!("referrers {digest}"), (INDEX, index.to_string().into_bytes()));
    Ok(digest)
}

/// A bundle by a key, in no log, as `cosign sign --key` makes it.
fn bundle(digest: &str, key: &KeyPair) -> Result<Vec<u8>> {
    let hex = digest.strip_prefix("sha256:").unwrap_or_default();
    let statement =
        json!({"_type": "https://in-toto.io/Statement/v1", "predicateType": SIGNED, "predicate": {},
        "subject": [{"name": "", "digest": {"sha256": hex}}]})
        .to_string();
    signed(&statement, key)
}

/// A bundle with a statement by a key, in no log.
pub(crate) fn signed(statement: &str, key: &KeyPair) -> Result<Vec<u8>> {
    let kind = "application/vnd.in-toto+json";
    let signed = format!("DSSEv1 {} {kind} {} {statement}", kind.len(), statement.len());
    let hint = base64_encode(&key.public_key().fingerprint());
    let bundle = json!({"mediaType": BUNDLE, "verificationMaterial": {"publicKey": {"hint": hint}},
        "dsseEnvelope": {"payload": base64_encode(statement.as_bytes()), "payloadType": kind,
            "signatures": [{"sig": base64_encode(&key.sign(signed.as_bytes())?)}]}});
    Ok(bundle.to_string().into_bytes())
}

/// A webhook as a process; killed when dropped.
struct Webhook {
    child: Child,
    target: Target,
    address: SocketAddr,
}

impl Webhook {
    async fn start(binary: &Path, folder: &Path, policy: &str) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        std::fs::write(folder.join("policy.json"), policy)?;
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let mut child = Command::new(binary)
            .args(["admission", "serve", "--listen", &address.to_string(), "--tls-name", "127.0.0.1"])
            .args(["--policy", "policy.json", "--tls-dir", "tls"])
            .current_dir(folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let started = Instant::now();
        loop {
            if let Some(target) = ready(address, &folder.join("tls/ca.pem")).await {
                return Ok(Self { child, target, address });
            }
            if let Some(status) = child.try_wait()? {
                bail!("countersign admission serve ended: {status}");
            }
            ensure!(started.elapsed() < Duration::from_secs(30), "the webhook was not ready in 30 s");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// A review of a pod with one image.
    fn review(&self, namespace: &str, image: &str) -> Request {
        let container = json!({"name": "app", "image": image, "resources": {}, "imagePullPolicy": "IfNotPresent",
            "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"});
        let kind = json!({"group": "", "version": "v1", "kind": "Pod"});
        let resource = json!({"group": "", "version": "v1", "resource": "pods"});
        let review = json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": {
            "uid": "36b3cf0c-9bd0-4f43-bb5e-e69e1b7a5b29", "kind": kind, "resource": resource,
            "requestKind": kind, "requestResource": resource, "name": "app", "namespace": namespace,
            "operation": "CREATE", "userInfo": {"username": "admin", "groups": ["system:masters"]},
            "object": {"kind": "Pod", "apiVersion": "v1",
                "metadata": {"name": "app", "namespace": namespace, "labels": {"app": "app"}},
                "spec": {"containers": [container], "restartPolicy": "Always", "dnsPolicy": "ClusterFirst",
                    "schedulerName": "default-scheduler", "securityContext": {}}, "status": {}},
            "oldObject": null, "dryRun": false,
            "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1", "fieldManager": "kubectl"}}});
        let body = review.to_string();
        let headers = "Content-Type: application/json\r\n";
        Request::post(self.address, "/mutate?timeout=10s", headers, body.as_bytes())
    }

    async fn ask(&self, reviews: Vec<Request>, at_once: usize) -> Result<Asked> {
        let before = self.processor_time()?;
        let outcome =
            closed_loop_where(std::slice::from_ref(&self.target), reviews, at_once, |status, body| {
                status == 200 && body.windows(14).any(|found| found == b"\"allowed\":true")
            })
            .await?;
        let spent = self.processor_time()?.saturating_sub(before);
        Ok(Asked { outcome, spent })
    }

    /// What the process has used of the processors so far.
    fn processor_time(&self) -> Result<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The name in brackets may hold anything; user and system time are the 12th and 13th after it, in 1/100 s.
        let (_, rest) = stat.rsplit_once(") ").context("no name in /proc")?;
        let ticks: u64 = rest.split(' ').skip(11).take(2).filter_map(|text| text.parse::<u64>().ok()).sum();
        Ok(Duration::from_millis(10 * ticks))
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What came of some reviews, and the processor time of the webhook alone.
struct Asked {
    outcome: Outcome,
    spent: Duration,
}

/// Once the webhook answers that it is ready, how to reach it.
async fn ready(address: SocketAddr, authority: &Path) -> Option<Target> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(authority).ok()? {
        roots.add(certificate.ok()?).ok()?;
    }
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let target = Target::tls(address, TlsConnector::from(Arc::new(config)));
    let mut connection = Connection::open(target.clone()).await.ok()?;
    let (status, _) = connection.send(&Request::get(address, "/readyz")).await.ok()?;
    (status == 200).then_some(target)
}

/// All rows.
pub(crate) async fn rows(table: &mut Table, binary: &Path, folder: &Path, size: Size) -> Result<()> {
    let count = size.requests;
    let registry = Registry::start(KNOWN + size.images + CONCURRENT.len() * (count / NEW)).await?;
    let (known, rest) = registry.images.split_at(KNOWN);
    let (firsts, mut news) = rest.split_at(size.images);
    let webhook = Webhook::start(binary, &folder.join("admission"), &registry.policy()).await?;
    let reviews = |namespace: &str, images: &[String], count: usize| -> Vec<Request> {
        images.iter().cycle().take(count).map(|image| webhook.review(namespace, image)).collect()
    };
    // The images that are known, and the processes as warm as they get.
    webhook.ask(reviews("shop", known, KNOWN), 1).await?;
    for at_once in CONCURRENT {
        let exempt = webhook.ask(reviews("kube-system", known, count), at_once).await?;
        let cached = webhook.ask(reviews("shop", known, count), at_once).await?;
        let raw = exempt.outcome.per_second;
        row(table, &format!("known images, {at_once} at once"), &cached, Some(raw), Some(5));
        let (some, later) = news.split_at(count / NEW);
        news = later;
        let mut mixed = reviews("shop", known, count - some.len());
        for (number, image) in some.iter().enumerate() {
            mixed.insert(number * NEW, webhook.review("shop", image));
        }
        let mixed = webhook.ask(mixed, at_once).await?;
        row(table, &format!("known images, 1 in {NEW} new, {at_once} at once"), &mixed, Some(raw), None);
    }
    let before = resident_mib(&webhook.child.id().to_string())?;
    registry.requests.store(0, Ordering::Relaxed);
    let share = firsts.len() / CONCURRENT.len();
    for (at_once, images) in CONCURRENT.into_iter().zip(firsts.chunks(share)) {
        let first = webhook.ask(reviews("shop", images, images.len()), at_once).await?;
        row(table, &format!("images seen for the first time, {at_once} at once"), &first, None, Some(20));
    }
    let asked = registry.requests.load(Ordering::Relaxed);
    let seen = share * CONCURRENT.len();
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    let each = asked as f64 / seen as f64;
    let goal = Beside::new("goal 3", each / 3.0);
    table.add("admission: requests to the registry for a first verification", format!("{each:.2}"), [goal]);
    let resident = resident_mib(&webhook.child.id().to_string())?;
    let beside = [
        Beside::new("goal 64 MiB", resident / 64.0),
        Beside::new(format!("before {before:.0} MiB"), resident / before),
    ];
    let known = KNOWN + seen + CONCURRENT.len() * (count / NEW);
    table.add(
        format!("admission: resident memory, {known} images known"),
        format!("{resident:.0} MiB"),
        beside,
    );
    Ok(())
}

/// A row beside the same server answering what it does not judge, a goal for the time that 99 in 100 stay under, and one
/// for the work of one core.
fn row(table: &mut Table, what: &str, asked: &Asked, raw: Option<f64>, goal: Option<u64>) {
    let Asked { outcome, spent } = asked;
    let per_core = outcome.per_second * outcome.total.as_secs_f64() / spent.as_secs_f64();
    let mut beside = vec![Beside::new("goal 1000/s of one core", per_core / 1000.0)];
    if let Some(goal) = goal.map(Duration::from_millis) {
        beside.push(Beside::new(
            format!("goal {} (p99)", time(goal)),
            outcome.p99.as_secs_f64() / goal.as_secs_f64(),
        ));
    }
    if let Some(raw) = raw {
        beside.push(Beside::new(format!("an exempt namespace {raw:.0}/s"), outcome.per_second / raw));
    }
    table.add(
        format!("admission: {what}"),
        format!(
            "{:.0}/s, p50 {}, p99 {}, {per_core:.0}/s of one core",
            outcome.per_second,
            time(outcome.p50),
            time(outcome.p99)
        ),
        beside,
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_found_by_their_digests_and_their_bundles_beside_them() {
        let (mut contents, key) = (Contents::new(), KeyPair::generate(KeyType::EcdsaP256).unwrap());
        let digest = put_signed(&mut contents, 1, &key).unwrap();
        let path = format!("/v2/shop/app/manifests/{digest}");
        assert_eq!(answer(&contents, &path).status(), 200);
        assert_eq!(answer(&contents, &path.replace("manifests", "referrers")).status(), 200);
        assert_eq!(answer(&contents, "/v2/shop/app/manifests/other").status(), 404);
        let (_, listed) = &contents[&format!("referrers {digest}")];
        let listed: serde_json::Value = serde_json::from_slice(listed).unwrap();
        assert_eq!(listed["manifests"][0]["artifactType"], BUNDLE);
    }
}
