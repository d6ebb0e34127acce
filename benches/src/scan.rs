//! A scan of a cluster's worth of workloads against a registry in a process of its own, which Debian's docker-registry is: the
//! images are signed by a key, a fifth as many as there are workloads.
//!
//! Each scan runs in a process of its own, so that its memory is its own.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use countersign_client::image::{Forms, Signing, Target, sign};
use countersign_client::policy::{NoCluster, Source, SourceOptions};
use countersign_client::services::Services;
use countersign_client::sign::{Identity, Session};
use countersign_client::trust::Trust;
use countersign_clock::SystemClock;
use countersign_crypto::{KeyPair, KeyType, Signer as _};
use countersign_http::{Http, HttpOptions};
use countersign_kubernetes::scan::{Control, ScanOptions, Scanner, Settings, read_resources};
use countersign_policy::{Demands, KeySource, PolicySet, TrustRoot};
use countersign_registry::descriptor::media_type;
use countersign_registry::{
    Content, Descriptor, Manifest, Name, Reference, Registry, RegistryOptions, Repository, Store, Tag,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::growth::child;
use crate::instance::memory_mib;
use crate::table::{Beside, Table, time};

/// The goals: of a thousand workloads cold and again, and of the memory for ten thousand objects.
const COLD: Duration = Duration::from_secs(5);
const WARM: Duration = Duration::from_secs(1);
const MEMORY_MIB: f64 = 256.0;

/// Scans a file of workloads twice.
#[derive(Debug, Args)]
pub(crate) struct Scan {
    workloads: PathBuf,
    key: PathBuf,
}

/// What a scan took.
#[derive(Debug, Serialize, Deserialize)]
struct Scanned {
    /// The first time.
    cold: Duration,
    /// Again, with what lies under digests known.
    warm: Duration,
    /// The most memory that the process had.
    peak_mib: f64,
}

/// The rows of scans. `workloads` is how many there are in the one that is timed.
pub(crate) async fn rows(table: &mut Table, work: &Path, workloads: usize) -> Result<()> {
    let folder = work.join("scan");
    std::fs::create_dir(&folder)?;
    let images = (workloads / 5).max(1);
    let Some(registry) = LocalRegistry::start(&folder)? else {
        let why = Beside::absent("docker-registry is not there: install it");
        table.add("scan of workloads", "not measured", [why]);
        return Ok(());
    };
    let key = Arc::new(KeyPair::generate(KeyType::EcdsaP256)?);
    let pem = folder.join("key.pub");
    std::fs::write(&pem, key.public_key().to_pem())?;
    let names = signed_images(registry.address, &key, images).await?;
    let scan = |count: usize| -> Result<Scanned> {
        let path = folder.join(format!("{count}.json"));
        std::fs::write(&path, deployments(&names, count).to_string())?;
        let text = |path: &Path| path.to_str().map(str::to_owned).context("the folder's name is not text");
        child(&["scan", &text(&path)?, &text(&pem)?])
    };
    let timed = scan(workloads)?;
    let what = format!("scan of {workloads} workloads, {images} signed images (exists, verifies)");
    for (kind, took, goal) in [("cold", timed.cold, COLD), ("again, warm", timed.warm, WARM)] {
        let beside =
            Beside::new(format!("goal {} at 1000", time(goal)), took.as_secs_f64() / goal.as_secs_f64());
        table.add(format!("{what}, {kind}"), time(took), [beside]);
    }
    let large = scan(workloads * 10)?;
    table.add(
        format!("scan of {} workloads: most memory", workloads * 10),
        format!("{:.0} MiB", large.peak_mib),
        [
            Beside::new(format!("goal {MEMORY_MIB:.0} MiB at 10000"), large.peak_mib / MEMORY_MIB),
            Beside::new(
                format!("{workloads} workloads {:.0} MiB", timed.peak_mib),
                large.peak_mib / timed.peak_mib,
            ),
        ],
    );
    Ok(())
}

/// Scans twice, and prints what it took.
pub(crate) async fn scan(arguments: &Scan) -> Result<()> {
    let text = std::fs::read_to_string(&arguments.workloads)?;
    let key = KeySource::Pem(std::fs::read_to_string(&arguments.key)?);
    let trust = Arc::new(TrustRoot::new(Trust::nobody().root)?);
    // One source for both scans: what it keeps is what makes the second one warm.
    let source = Source::new(SourceOptions {
        registry: RegistryOptions::default(),
        cluster: Arc::new(NoCluster),
        trust: [(None, trust)].into(),
    });
    let source = Arc::new(source);
    let scan = async || {
        let started = Instant::now();
        let settings = Settings {
            keys: vec![key.clone()],
            demands: Demands { log: false, sct: false, timestamp: false },
            ..Settings::default()
        };
        let options = ScanOptions {
            controls: vec![Control::SignatureExists, Control::SignatureVerifies],
            settings,
            policies: PolicySet::default(),
            repository: None,
            at_once: 16,
        };
        let mut resources = read_resources(&text, "bench")?;
        resources.iter_mut().for_each(|resource| resource.object = None);
        let count = resources.len();
        let report = Scanner::new(options, Arc::clone(&source), Arc::new(SystemClock)).scan(resources).await;
        ensure!(report.resources.passed == count, "of {count} workloads {:?}", report.resources);
        anyhow::Ok(started.elapsed())
    };
    let (cold, warm) = (scan().await?, scan().await?);
    let peak_mib = memory_mib("self", "VmHWM:")?;
    println!("{}", serde_json::to_string(&Scanned { cold, warm, peak_mib })?);
    Ok(())
}

/// Makes images that differ by their layer, and signs each.
async fn signed_images(address: SocketAddr, key: &Arc<KeyPair>, count: usize) -> Result<Vec<String>> {
    let repository = Repository::parse(&format!("{address}/app"))?;
    let store = Registry::new(RegistryOptions::default()).repository(&repository);
    let (http, trust) = (Http::new(HttpOptions::default()), Trust::nobody());
    let identity = Identity::Key(Arc::clone(key) as _);
    let session = Session::new(&http, &trust, Services::default(), identity, Arc::new(SystemClock))?;
    let config = blob(&store, media_type::OCI_CONFIG, br#"{"os":"linux"}"#).await?;
    let mut names = Vec::new();
    for number in 0..count {
        let layer = blob(&store, media_type::OCI_LAYER, number.to_string().as_bytes()).await?;
        let document = json!({
            "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "config": config, "layers": [layer],
        });
        let manifest = Manifest::parse("image", None, document.to_string().into_bytes())?;
        let tag = format!("v{number}");
        store.put_manifest(&Name::Tag(Tag::parse(&tag)?), &manifest).await?;
        let name = format!("{repository}:{tag}");
        let reference = Reference::parse(&name)?.at(manifest.descriptor.digest);
        let target = Target { reference, descriptor: manifest.descriptor, platform: None };
        let forms = Forms { bundle: true, older: false };
        let signing = Signing { annotations: Vec::new(), forms, identity: None };
        sign(&session, Some(&store), &target, &signing, Timestamp::now()).await?;
        names.push(name);
    }
    Ok(names)
}

async fn blob(store: &dyn Store, kind: &str, bytes: &[u8]) -> Result<Descriptor> {
    let descriptor = Descriptor::of(kind, bytes);
    store.put_blob(&descriptor, &Content::from(bytes.to_vec())).await?;
    Ok(descriptor)
}

/// Workloads that take turns with the images.
fn deployments(images: &[String], count: usize) -> Value {
    let deployment = |(number, image): (usize, &String)| {
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": { "name": format!("app-{number}"), "namespace": format!("team-{}", number % 20) },
            "spec": { "template": { "spec": { "containers": [{ "name": "app", "image": image }] } } },
        })
    };
    let items: Vec<Value> = images.iter().cycle().take(count).enumerate().map(deployment).collect();
    json!({ "apiVersion": "v1", "kind": "List", "items": items })
}

/// docker-registry, which keeps all in memory; killed when dropped.
struct LocalRegistry {
    process: Child,
    address: SocketAddr,
}

impl LocalRegistry {
    /// `None` when it is not installed.
    fn start(folder: &Path) -> Result<Option<Self>> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let config = folder.join("registry.yml");
        let text = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\nstorage: {{inmemory: {{}}}}\nhttp: {{addr: '{address}'}}\n"
        );
        std::fs::write(&config, text)?;
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = match command.spawn() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            process => process?,
        };
        let registry = Self { process, address };
        let started = Instant::now();
        while TcpStream::connect(address).is_err() {
            ensure!(started.elapsed() < Duration::from_secs(10), "docker-registry was not ready in 10 s");
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(Some(registry))
    }
}

impl Drop for LocalRegistry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
