//! What operators meet: a full disk, an order to stop under load, TLS, roles apart.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::common::{Served, make, socket};
use crate::requests::entry_request;
use countersign_bundle::TlogEntry;
use countersign_crypto::{KeyPair, KeyType};
use countersign_server::config::Role;
use countersign_server::serve::{ServeOptions, start};
use reqwest::{Certificate, Client};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

fn key() -> KeyPair {
    KeyPair::generate(KeyType::EcdsaP256).unwrap()
}

/// Where the child process of the test below finds its small disk.
const DISK: &str = "COUNTERSIGN_TEST_DISK";

/// R5, on a real file system: a small one of its own, in a mount namespace that ends with the process.
#[test]
fn r5_a_full_disk_refuses_writes_serves_reads_and_recovers_without_loss() {
    if let Some(disk) = std::env::var_os(DISK) {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        return runtime.block_on(on_a_small_disk(Path::new(&disk)));
    }
    let directory = tempfile::tempdir().unwrap();
    let mounted = |command: &str| {
        let script = format!("mount -t tmpfs -o size=100m countersign \"$0\" && exec {command}");
        let mut unshare = Command::new("unshare");
        unshare.args(["--user", "--map-root-user", "--mount", "sh", "-c", &script]).arg(directory.path());
        unshare.env(DISK, directory.path()).env("RUST_BACKTRACE", "0").output()
    };
    if !mounted("true").is_ok_and(|output| output.status.success()) {
        println!("skipped: no file system can be mounted here");
        return;
    }
    let own = std::env::current_exe().unwrap();
    let name = "operating::r5_a_full_disk_refuses_writes_serves_reads_and_recovers_without_loss";
    let output = mounted(&format!("'{}' --exact {name} --nocapture", own.display())).unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

async fn on_a_small_disk(disk: &Path) {
    let listener = socket();
    let path = disk.join("instance");
    make(&path, &listener);
    let serve = || ServeOptions { roles: Some(BTreeSet::from([Role::Log])), ..ServeOptions::default() };
    let running = start(&path, ServeOptions { listener: Some(listener), ..serve() }).await.unwrap();
    let client = Client::builder().no_proxy().build().unwrap();
    let base = format!("http://{}", running.address);
    let key = key();
    let send = async |message: usize| {
        let request = client
            .post(format!("{base}/api/v2/log/entries"))
            .body(entry_request(&key, &message.to_be_bytes()));
        let response = request.send().await.unwrap();
        let waits = response.headers().contains_key("retry-after");
        (response.status().as_u16(), waits, response.bytes().await.unwrap())
    };
    let mut acknowledged = Vec::new();
    let mut full = 0;
    let mut keep = |(status, waits, body): (u16, bool, bytes::Bytes)| match status {
        201 => {
            acknowledged.push(TlogEntry::from_json(&body).unwrap());
            true
        }
        503 | 507 => {
            assert!(waits, "no Retry-After");
            full += usize::from(status == 507);
            false
        }
        other => panic!("{other}: {}", String::from_utf8_lossy(&body)),
    };
    assert!(keep(send(0).await));

    // Somebody else fills the disk to its last byte.
    let ballast = disk.join("ballast");
    let mut file = std::fs::File::create(&ballast).unwrap();
    for size in [1 << 20, 1 << 12, 1] {
        while file.write_all(&vec![0; size]).is_ok() {}
    }
    // What fits into the space that was there already may still be taken; then no more is.
    let mut message = 1;
    while keep(send(message).await) {
        message += 1;
        assert!(message < 50_000, "the disk is never full");
    }
    for _ in 0..20 {
        message += 1;
        keep(send(message).await);
    }
    for path in ["/healthz", "/readyz", "/checkpoint", "/metrics"] {
        let status = client.get(format!("{base}{path}")).send().await.unwrap().status();
        assert_eq!(status, 200, "{path} while the disk is full");
    }
    std::fs::remove_file(&ballast).unwrap();
    drop(file);
    let space = std::time::Instant::now();
    message += 1;
    while !keep(send(message).await) {
        assert!(space.elapsed().as_secs() < 5, "it does not recover");
    }
    assert!(full >= 20, "a full disk is said to be full: {full} times 507");

    // All that was acknowledged is there, before and after a start.
    running.shutdown();
    running.wait().await.unwrap();
    let listener = socket();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let running = start(&path, ServeOptions { listener: Some(listener), ..serve() }).await.unwrap();
    all_there(&client, &base, &acknowledged).await;
    running.shutdown();
    running.wait().await.unwrap();
}

/// That each of these entries stands in the log where it was said to stand.
async fn all_there(client: &Client, base: &str, acknowledged: &[TlogEntry]) {
    use countersign_tlog::tile::{TileKind, TilePath, parse_entries};
    let get = async |path: &str| {
        let response = client.get(format!("{base}/{path}")).send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        response.bytes().await.unwrap()
    };
    let checkpoint = get("checkpoint").await;
    let note = countersign_tlog::Note::parse(&checkpoint).unwrap();
    let size = countersign_tlog::Checkpoint::parse(note.text()).unwrap().size;
    for entry in acknowledged {
        let path =
            TilePath::in_tree(TileKind::Entries, entry.log_index / 256, size).expect("it is in the tree");
        let bundle = get(&path.to_string()).await;
        let entries = parse_entries(&bundle, path.width).unwrap();
        let place = usize::try_from(entry.log_index % 256).unwrap();
        assert_eq!(entries[place], entry.canonicalized_body, "index {}", entry.log_index);
    }
}

/// R6: what a disk has lost is found by the scrub while the server runs: health, metrics, and not one wrong byte served.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r6_a_scrub_tells_of_damage_and_the_rest_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("instance");
    let listener = socket();
    make(&path, &listener);
    let options = ServeOptions {
        listener: Some(listener),
        roles: Some(BTreeSet::from([Role::Log])),
        scrub_period: Some(std::time::Duration::from_millis(200)),
        ..ServeOptions::default()
    };
    let running = start(&path, options).await.unwrap();
    let client = Client::builder().no_proxy().build().unwrap();
    let key = key();
    let mut posts = tokio::task::JoinSet::new();
    for message in 0..300_usize {
        let body = entry_request(&key, &message.to_be_bytes());
        let url = format!("http://{}/api/v2/log/entries", running.address);
        posts.spawn(client.post(url).body(body).send());
    }
    assert!(posts.join_all().await.into_iter().all(|answer| answer.unwrap().status() == 201));
    let tile = path.join("log/tile/entries/000");
    let mut bytes = std::fs::read(&tile).unwrap();
    bytes[5000] ^= 1;
    std::fs::write(&tile, &bytes).unwrap();
    let get = async |path: &str| {
        let answer = client.get(format!("http://{}{path}", running.address)).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let start = std::time::Instant::now();
    while !get("/readyz").await.1.contains(r#""damagedLogs":["transparency"]"#) {
        assert!(start.elapsed().as_secs() < 60, "{:?}", get("/readyz").await);
        tokio::task::yield_now().await;
    }
    assert!(get("/readyz").await.1.contains("DEGRADED"));
    let metrics = get("/metrics").await.1;
    assert!(metrics.contains(r#"countersign_log_damaged_places{log="transparency"} 1"#), "{metrics}");
    assert!(metrics.contains(r#"countersign_log_scrubbed_files_total{log="transparency"}"#), "{metrics}");
    assert_eq!(get("/tile/entries/000").await.0, 503, "what is damaged is not served");
    assert_eq!(get("/tile/0/000").await.0, 200);
    let entry = client.post(format!("http://{}/api/v2/log/entries", running.address));
    assert_eq!(entry.body(entry_request(&key, b"one more")).send().await.unwrap().status(), 201);
    running.shutdown();
    running.wait().await.unwrap();
}

/// R9: a second server on one instance is told at once who has it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r9_a_second_server_is_told_who_has_the_instance() {
    let first = Served::new().await;
    let start_again = std::time::Instant::now();
    let second = ServeOptions { listener: Some(socket()), development: true, ..ServeOptions::default() };
    let error = start(&first.path, second).await.unwrap_err().to_string();
    assert!(error.contains(&format!("in use by process {} on ", std::process::id())), "{error}");
    assert!(start_again.elapsed().as_secs() < 5, "keys are decrypted before: {:?}", start_again.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r25_what_was_acknowledged_before_an_order_to_stop_is_there_afterwards() {
    let served = Served::new().await;
    let key = Arc::new(key());
    let begun = Arc::new(AtomicUsize::new(0));
    let writers: Vec<_> = (0..8_usize)
        .map(|writer| {
            let (key, begun) = (Arc::clone(&key), Arc::clone(&begun));
            let (client, url) = (served.client.clone(), served.url("/api/v2/log/entries"));
            tokio::spawn(async move {
                let mut acknowledged = Vec::new();
                for i in 0.. {
                    begun.fetch_add(1, Ordering::SeqCst);
                    let body = entry_request(&key, format!("{writer} {i}").as_bytes());
                    let Ok(response) = client.post(&url).body(body).send().await else { break };
                    let status = response.status().as_u16();
                    let Ok(body) = response.bytes().await else { break };
                    match status {
                        201 => acknowledged.push(TlogEntry::from_json(&body).unwrap()),
                        503 => break,
                        other => panic!("{other}"),
                    }
                }
                acknowledged
            })
        })
        .collect();
    // A connection that is open already sees that no more should come.
    let mut watching = tokio::net::TcpStream::connect(served.running.address).await.unwrap();
    while begun.load(Ordering::SeqCst) < 100 {
        tokio::task::yield_now().await;
    }
    served.running.shutdown();
    watching.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap_or_default();
    let mut answer = Vec::new();
    let _ = watching.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 503 "), "{answer}");
    let mut acknowledged = Vec::new();
    for writer in writers {
        acknowledged.extend(writer.await.unwrap());
    }
    assert!(acknowledged.len() > 50, "{}", acknowledged.len());
    served.running.wait().await.unwrap();

    let listener = socket();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let running = start(&served.path, ServeOptions { listener: Some(listener), ..ServeOptions::default() })
        .await
        .unwrap();
    all_there(&served.client, &base, &acknowledged).await;
    running.shutdown();
    running.wait().await.unwrap();
}

/// Makes a certificate for localhost with its key; `false` where there is no openssl.
fn certificate(directory: &Path, name: &str) -> bool {
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
        ])
        .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-keyout")
        .arg(directory.join(format!("{name}.key")))
        .arg("-out")
        .arg(directory.join(format!("{name}.pem")))
        .output();
    match made {
        Ok(output) => {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            true
        }
        Err(_) => false,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_by_configuration_serves_those_who_trust_it_and_nobody_in_the_clear() {
    let directory = tempfile::tempdir().unwrap();
    if !certificate(directory.path(), "own") || !certificate(directory.path(), "other") {
        println!("skipped: openssl is not installed");
        return;
    }
    let listener = socket();
    let address = listener.local_addr().unwrap();
    let path = directory.path().join("instance");
    make(&path, &listener);
    let file = path.join("countersign.toml");
    let plain = std::fs::read_to_string(&file).unwrap();
    let configure = |key: &str| {
        let section = format!("[tls]\ncertificate = \"../own.pem\"\nkey = \"../{key}\"\n\n[keys]");
        std::fs::write(&file, plain.replace("[keys]", &section)).unwrap();
    };
    for (wrong, told) in
        [("other.key", "do not work"), ("own.pem", "cannot be read"), ("none.key", "cannot be read")]
    {
        configure(wrong);
        let serve = ServeOptions { listener: Some(socket()), ..ServeOptions::default() };
        let error = start(&path, serve).await.unwrap_err().to_string();
        assert!(error.contains("TLS") && error.contains(told), "{wrong}: {error}");
    }
    configure("own.key");
    let running =
        start(&path, ServeOptions { listener: Some(listener), ..ServeOptions::default() }).await.unwrap();
    let url = format!("https://localhost:{}/healthz", address.port());
    let trusting = |name: &str| {
        let pem = std::fs::read(directory.path().join(name)).unwrap();
        Client::builder().no_proxy().tls_certs_only([Certificate::from_pem(&pem).unwrap()]).build().unwrap()
    };
    assert_eq!(trusting("own.pem").get(&url).send().await.unwrap().status(), 200);
    assert!(trusting("other.pem").get(&url).send().await.is_err());
    // R20: a new certificate is served without a restart. Its key comes a while later, as from an ACME client.
    std::fs::copy(directory.path().join("own.pem"), directory.path().join("before.pem")).unwrap();
    std::fs::copy(directory.path().join("other.pem"), directory.path().join("own.pem")).unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(trusting("before.pem").get(&url).send().await.unwrap().status(), 200);
    std::fs::rename(directory.path().join("other.key"), directory.path().join("own.key")).unwrap();
    while trusting("own.pem").get(&url).send().await.is_err() {}
    assert!(trusting("before.pem").get(&url).send().await.is_err());

    let say = async |words: &[u8]| {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.write_all(words).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        answer
    };
    let answer = say(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert!(!String::from_utf8_lossy(&answer).contains("HTTP/1.1"), "plain http was answered");
    // The same client hello as of TLS 1.2, which begins a handshake (22), and of TLS 1.1, which is answered with the
    // alert (21) protocol_version (70).
    let hello = |minor: u8| {
        let suite = [0, 2, 0xc0, 0x2b, 1, 0];
        let groups = [0, 10, 0, 4, 0, 2, 0, 0x17];
        let formats = [0, 11, 0, 2, 1, 0];
        let schemes = [0, 13, 0, 4, 0, 2, 4, 3];
        let extensions = [&groups[..], &formats, &schemes].concat();
        let length = u8::try_from(extensions.len()).unwrap();
        let body = [&[3, minor][..], &[7; 32], &[0], &suite, &[0, length], &extensions].concat();
        let length = u8::try_from(body.len()).unwrap();
        [&[22, 3, 1, 0, length + 4, 1, 0, 0, length][..], &body].concat()
    };
    let begun = say(&hello(3)).await;
    assert_eq!(begun[0], 22, "{begun:?}");
    let refused = say(&hello(2)).await;
    assert_eq!((refused[0], refused[5], refused[6]), (21, 2, 70), "{refused:?}");
    running.shutdown();
    running.wait().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_role_alone_answers_its_own_paths_and_needs_no_other_key() {
    let own: [(Role, &[&str], &str); 4] = [
        (Role::Ca, &["ca", "ct"], "/api/v2/trustBundle"),
        (Role::Log, &["log", "log-v1"], "/checkpoint"),
        (Role::Tsa, &["tsa"], "/api/v1/timestamp/certchain"),
        (Role::Trust, &["tuf-online"], "/trusted_root.json"),
    ];
    let client = Client::builder().no_proxy().build().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let whole = directory.path().join("whole");
    make(&whole, &socket());
    for (role, keys, _) in own {
        let listener = socket();
        let path = directory.path().join(role.to_string());
        assert!(Command::new("cp").arg("-R").args([&whole, &path]).status().unwrap().success());
        let mut removed = 0;
        for entry in std::fs::read_dir(path.join("keys")).unwrap() {
            let file = entry.unwrap().path();
            let stem = file.file_stem().unwrap().to_str().unwrap().to_owned();
            if file.extension().is_some_and(|e| e == "key") && !keys.contains(&stem.as_str()) {
                std::fs::remove_file(file).unwrap();
                removed += 1;
            }
        }
        assert_eq!(removed, 7 - keys.len(), "{role}");
        std::fs::remove_dir_all(path.join("keys/offline")).unwrap();
        let roles = Some(BTreeSet::from([role]));
        let serve = ServeOptions { listener: Some(listener), roles, ..ServeOptions::default() };
        let running = start(&path, serve).await.unwrap();
        for (other, _, question) in own {
            let url = format!("http://{}{question}", running.address);
            let expected = if other == role { 200 } else { 404 };
            assert_eq!(
                client.get(url).send().await.unwrap().status(),
                expected,
                "{role} asked for {question}"
            );
        }
        for question in ["/healthz", "/readyz"] {
            let url = format!("http://{}{question}", running.address);
            assert_eq!(client.get(url).send().await.unwrap().status(), 200, "{role}");
        }
        running.shutdown();
        running.wait().await.unwrap();
        // And without its own key it does not start.
        let key = path.join(format!("keys/{}.key", keys[0]));
        assert!(key.exists(), "{}", key.display());
        std::fs::remove_file(&key).unwrap();
        let serve = ServeOptions {
            listener: Some(socket()),
            roles: Some(BTreeSet::from([role])),
            ..ServeOptions::default()
        };
        let error = start(&path, serve).await.unwrap_err().to_string();
        assert!(error.contains(&format!("{}.key", keys[0])), "{role}: {error}");
    }
}
