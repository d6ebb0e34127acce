//! Instances whose keys live in a token of SoftHSM2: made, run under load, the token pulled out and put back (R21).
#![cfg(all(unix, feature = "pkcs11"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

#[path = "../../server/tests/instance/requests.rs"]
mod requests;
mod softhsm;

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use countersign_crypto::encoding::base64_encode;
use countersign_crypto::{KeyPair, KeyType, Signer as _};
use reqwest::Client;
use serde_json::{Value, json};

use requests::entry_request;
use softhsm::{PIN, SoftHsm, signal, until, workers};

/// An instance in a process of its own, with everything it prints.
struct Served {
    process: Child,
    url: String,
    log: Option<std::thread::JoinHandle<String>>,
    client: Client,
}

fn command(hsm: &SoftHsm, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command
        .args(arguments)
        .current_dir(hsm.path(""))
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", hsm.path(""))
        .env("SOFTHSM2_CONF", hsm.configuration())
        .env("COUNTERSIGN_PKCS11_PIN", PIN)
        .env("COUNTERSIGN_PKCS11_MODULE_PATH", hsm.module)
        .stdin(Stdio::null());
    command
}

fn run(hsm: &SoftHsm, arguments: &[&str]) -> Output {
    let output = command(hsm, arguments).output().unwrap();
    let printed =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(!printed.contains(PIN), "{printed}");
    output
}

fn good(hsm: &SoftHsm, arguments: &[&str]) -> String {
    let output = run(hsm, arguments);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{arguments:?}\n{text}\n{}", String::from_utf8_lossy(&output.stderr));
    text
}

impl Served {
    fn start(hsm: &SoftHsm, directory: &Path) -> Self {
        let directory = directory.display().to_string();
        let mut process = command(hsm, &["serve", &directory, "--dev"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut errors = process.stderr.take().unwrap();
        let log = std::thread::spawn(move || {
            let mut text = String::new();
            errors.read_to_string(&mut text).map(|_| text).unwrap_or_default()
        });
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.strip_prefix("serving ").and_then(|rest| rest.split(' ').next());
        let Some(url) = url.map(str::to_owned) else {
            let _ = process.kill();
            panic!("{line}\n{}", log.join().unwrap());
        };
        Self { process, url, log: Some(log), client: Client::builder().no_proxy().build().unwrap() }
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let response = self.client.get(format!("{}{path}", self.url)).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    /// Status, Retry-After and body.
    async fn post(&self, path: &str, body: String) -> (u16, Option<String>, String) {
        let request =
            self.client.post(format!("{}{path}", self.url)).header("content-type", "application/json");
        let response = request.body(body).send().await.unwrap();
        let retry = response.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
        (response.status().as_u16(), retry, response.text().await.unwrap())
    }

    /// The body of a request for a certificate. Its token is good for many.
    async fn certificate_request(&self) -> String {
        let (status, _, body) = self.post(requests::MINT, requests::claims("a@example.com")).await;
        assert_eq!(status, 200, "{body}");
        let key = KeyPair::generate(KeyType::EcdsaP256).unwrap();
        json!({
            "credentials": {"oidcIdentityToken": requests::token_in(body.as_bytes())},
            "publicKeyRequest": {
                "publicKey": {"algorithm": "", "content": key.public_key().to_pem()},
                "proofOfPossession": base64_encode(&key.sign(b"a@example.com").unwrap()),
            },
        })
        .to_string()
    }

    async fn certificate(&self, request: &str) -> (u16, Option<String>, String) {
        self.post("/api/v2/signingCert", request.to_owned()).await
    }

    async fn timestamp(&self) -> (u16, Option<String>, String) {
        let body = json!({"artifactHash": base64_encode(&[1; 32]), "hashAlgorithm": "sha256"}).to_string();
        let request = self
            .client
            .post(format!("{}/api/v1/timestamp", self.url))
            .header("content-type", "application/json");
        let response = request.body(body).send().await.unwrap();
        let retry = response.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
        (response.status().as_u16(), retry, format!("{} bytes", response.bytes().await.unwrap().len()))
    }

    async fn entry(&self, key: &KeyPair, message: &[u8]) -> (u16, Option<String>, String) {
        self.post("/api/v2/log/entries", entry_request(key, message)).await
    }

    /// Ends it in order and gives what it has logged.
    fn stop(mut self) -> String {
        signal("-TERM", self.process.id());
        assert!(self.process.wait().unwrap().success());
        self.log.take().unwrap().join().unwrap()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Makes an instance on a free port with these keys on the token.
fn instance(hsm: &SoftHsm, keys: &[(&str, &str)]) -> PathBuf {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (url, listen) = (format!("http://localhost:{port}"), format!("127.0.0.1:{port}"));
    let uris: Vec<(String, String)> = keys
        .iter()
        .map(|(flag, object)| (format!("--{flag}"), format!("pkcs11:token=hsm;object={object}")))
        .collect();
    let mut arguments =
        vec!["init", "instance", "--url", &url, "--listen", &listen, "--requests-per-second", "0"];
    arguments.extend(uris.iter().flat_map(|(flag, uri)| [flag.as_str(), uri.as_str()]));
    good(hsm, &arguments);
    hsm.path("instance")
}

fn text_of(path: &str) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}

/// R21: certificates are issued under load, the token is pulled out and put back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r21_a_ca_whose_token_is_pulled_out_says_so_within_two_seconds_and_heals_within_five() {
    let Some(hsm) = SoftHsm::find() else { return };
    let token = hsm.token("hsm");
    let directory = instance(&hsm, &[("ca-key", "ca")]);
    assert!(!directory.join("keys/ca.key").exists(), "no private key outside of the token");
    let served = Arc::new(Served::start(&hsm, &directory));
    let request = served.certificate_request().await;
    let (status, _, body) = served.certificate(&request).await;
    assert_eq!(status, 200, "{body}");

    // The PIN is in no argument, and not in the environment of the module.
    let server = served.process.id();
    let running = workers(server);
    assert!(!running.is_empty());
    for pid in running.iter().chain([&server]) {
        assert!(!text_of(&format!("/proc/{pid}/cmdline")).contains(PIN));
    }
    for pid in &running {
        assert!(!text_of(&format!("/proc/{pid}/environ")).contains(PIN));
        let limits = text_of(&format!("/proc/{pid}/limits"));
        let core = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).unwrap();
        assert!(core.trim_start().starts_with("0 "), "{limits}");
    }

    let (stop, issued) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let load: Vec<_> = (0..4)
        .map(|_| {
            let (served, stop, issued, request) =
                (served.clone(), stop.clone(), issued.clone(), request.clone());
            tokio::spawn(async move {
                while !stop.load(Ordering::SeqCst) {
                    let started = Instant::now();
                    let (status, retry, body) = served.certificate(&request).await;
                    match status {
                        200 => drop(issued.fetch_add(1, Ordering::SeqCst)),
                        503 => {
                            assert!(retry.is_some(), "{body}");
                            assert!(body.contains("cannot be reached right now"), "{body}");
                            assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
                        }
                        other => panic!("{other}: {body}"),
                    }
                }
            })
        })
        .collect();
    until(|| (issued.load(Ordering::SeqCst) > 20).then_some(()));

    hsm.pull(&token);
    let pulled = Instant::now();
    loop {
        let (status, _, _) = served.certificate(&request).await;
        if status == 503 {
            break;
        }
        assert!(pulled.elapsed() < Duration::from_secs(2));
    }
    // What was under way at that moment has been answered when each of the others has been refused once.
    tokio::time::timeout(Duration::from_secs(5), async {
        loop {
            let before = issued.load(Ordering::SeqCst);
            for _ in 0..20 {
                assert_eq!(served.certificate(&request).await.0, 503, "no certificate without the token");
            }
            if issued.load(Ordering::SeqCst) == before {
                break;
            }
        }
    })
    .await
    .unwrap();

    // The other roles go on, and everybody says what is the matter.
    let (status, body) = served.get("/readyz").await;
    assert_eq!((status, body.as_str()), (200, r#"{"damagedLogs":[],"keysAway":["ca"],"status":"DEGRADED"}"#));
    let key = KeyPair::generate(KeyType::EcdsaP256).unwrap();
    assert_eq!(served.entry(&key, b"meanwhile").await.0, 201);
    assert_eq!(served.timestamp().await.0, 200);
    assert_eq!(served.get("/trusted_root.json").await.0, 200);
    let doctor = run(&hsm, &["doctor", "instance", "--output", "json"]);
    assert_eq!(doctor.status.code(), Some(1));
    let findings: Value = serde_json::from_slice(&doctor.stdout).unwrap();
    let problems: Vec<&Value> =
        findings["findings"].as_array().unwrap().iter().filter(|f| f["level"] == "problem").collect();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(problems[0]["what"], "key keys/ca");
    assert!(problems[0]["found"].as_str().unwrap().contains("the token is not there"), "{problems:?}");
    assert!(problems[0]["next"].as_str().unwrap().contains("plug the token in"), "{problems:?}");

    hsm.put_back(&token);
    let back = Instant::now();
    while served.certificate(&request).await.0 != 200 {
        assert!(back.elapsed() < Duration::from_secs(5));
    }
    let healed = back.elapsed();
    let so_far = issued.load(Ordering::SeqCst);
    until(|| (issued.load(Ordering::SeqCst) > so_far + 20).then_some(()));
    stop.store(true, Ordering::SeqCst);
    for task in load {
        task.await.unwrap();
    }
    assert_eq!(served.get("/readyz").await.1, r#"{"status":"READY"}"#);
    eprintln!("healed after {healed:?}, {} certificates in all", issued.load(Ordering::SeqCst));

    // A module that hangs is the same to clients.
    for pid in workers(server) {
        signal("-STOP", pid);
    }
    let started = Instant::now();
    let (status, retry, _) = served.certificate(&request).await;
    assert_eq!((status, retry.is_some()), (503, true));
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    let back = Instant::now();
    while served.certificate(&request).await.0 != 200 {
        assert!(back.elapsed() < Duration::from_secs(5));
    }

    let log = Arc::into_inner(served).unwrap().stop();
    assert!(log.contains("a key cannot be reached") && log.contains("the key is back"), "{log}");
    assert!(!log.contains(PIN));
    // Not a worker is left behind.
    until(|| workers(server).is_empty().then_some(()));
}

/// Every key on a token, the offline ones too: all roles answer 503 without it, nothing is lost, and rotation names the
/// next key.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r21_an_instance_with_all_keys_on_a_token_acknowledges_nothing_without_it_and_loses_nothing() {
    let Some(hsm) = SoftHsm::find() else { return };
    let token = hsm.token("hsm");
    let all = [
        ("ca-key", "ca"),
        ("ct-key", "ct"),
        ("log-key", "log"),
        ("log-v1-key", "log-v1"),
        ("tsa-key", "tsa"),
        ("tuf-key", "tuf"),
        ("ca-root-key", "ca-root"),
        ("tsa-root-key", "tsa-root"),
        ("tuf-root-key", "tuf-root"),
        ("revocation-key", "revocation"),
    ];
    let directory = instance(&hsm, &all);
    for part in ["keys", "keys/offline"] {
        for entry in std::fs::read_dir(directory.join(part)).unwrap() {
            let path = entry.unwrap().path();
            assert_ne!(path.extension().unwrap_or_default(), "key", "{path:?}");
        }
    }
    let configuration = std::fs::read_to_string(directory.join("countersign.toml")).unwrap();
    assert!(configuration.contains("\nca = \"pkcs11:token=hsm;object=ca\"\n"), "{configuration}");
    let key = KeyPair::generate(KeyType::EcdsaP256).unwrap();

    let served = Served::start(&hsm, &directory);
    let request = served.certificate_request().await;
    assert_eq!(served.certificate(&request).await.0, 200);
    assert_eq!(served.timestamp().await.0, 200);
    let entry = entry_request(&key, b"first");
    let (status, _, first) = served.post("/api/v2/log/entries", entry.clone()).await;
    assert_eq!(status, 201, "{first}");
    assert_eq!(served.get("/tuf/timestamp.json").await.0, 200);

    hsm.pull(&token);
    let (_, checkpoint) = served.get("/checkpoint").await;
    let started = Instant::now();
    let (status, retry, body) = served.entry(&key, b"second").await;
    assert_eq!((status, retry.is_some()), (503, true), "{body}");
    assert!(body.contains("signing key cannot be used right now"), "{body}");
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    for (status, retry, body) in [served.timestamp().await, served.certificate(&request).await] {
        assert_eq!((status, retry.is_some()), (503, true), "{body}");
    }
    assert_eq!(served.get("/checkpoint").await.1, checkpoint, "nothing was signed");
    let (status, body) = served.get("/readyz").await;
    assert_eq!(status, 200, "the trust root is still there: {body}");
    for name in ["\"ca\"", "\"log\"", "\"tsa\""] {
        assert!(body.contains(name), "{body}");
    }

    hsm.put_back(&token);
    let back = Instant::now();
    while served.entry(&key, b"second").await.0 != 201 {
        assert!(back.elapsed() < Duration::from_secs(5));
    }
    while served.timestamp().await.0 != 200 || served.certificate(&request).await.0 != 200 {
        assert!(back.elapsed() < Duration::from_secs(5));
    }
    // The entry of before is where it was.
    let (status, _, again) = served.post("/api/v2/log/entries", entry).await;
    assert_eq!(status, 201);
    let index = |body: &str| serde_json::from_str::<Value>(body).unwrap()["logIndex"].clone();
    assert_eq!(index(&first), index(&again));
    served.stop();

    // A server starts without its token, and heals.
    hsm.pull(&token);
    let served = Served::start(&hsm, &directory);
    let request = served.certificate_request().await;
    assert_eq!(served.certificate(&request).await.0, 503);
    hsm.put_back(&token);
    let back = Instant::now();
    while served.certificate(&request).await.0 != 200 || served.entry(&key, b"third").await.0 != 201 {
        assert!(back.elapsed() < Duration::from_secs(5));
    }
    served.stop();

    // A key on a token signs files too, and what it signed verifies without the token.
    std::fs::write(hsm.path("app.tar"), "artifact").unwrap();
    std::fs::write(
        hsm.path("root.json"),
        r#"{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1","tlogs":[],"certificateAuthorities":[],"ctlogs":[],"timestampAuthorities":[]}"#,
    )
    .unwrap();
    let release = "pkcs11:token=hsm;object=release";
    good(&hsm, &["generate-key-pair", "--kms", release, "--output-key-prefix", "release"]);
    let sign = ["sign", "app.tar", "--key", release, "--trusted-root", "root.json", "--tlog-upload=false"];
    good(&hsm, &sign);
    hsm.pull(&token);
    let verify =
        ["verify", "app.tar", "--key", "release.pub", "--min-logs", "0", "--trusted-root", "root.json"];
    assert!(good(&hsm, &verify).ends_with("VERIFIED\n"));
    let refused = run(&hsm, &sign);
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("the token is not there"), "{refused:?}");
    hsm.put_back(&token);

    // The next key of a rotation is named; nothing moves before it is.
    let refused = run(&hsm, &["rotate", "ca", "instance"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--key"), "{refused:?}");
    let refused = run(&hsm, &["rotate", "ca", "instance", "--key", "pkcs11:token=hsm;object=ca"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("to be replaced"), "{refused:?}");
    assert_eq!(std::fs::read_to_string(directory.join("countersign.toml")).unwrap(), configuration);
    for (target, flag, object) in [
        ("ca", "--key", "ca-2"),
        ("ct", "--key", "ct-2"),
        ("tsa", "--key", "tsa-2"),
        ("log", "--key", "log-2"),
    ] {
        good(&hsm, &["rotate", target, "instance", flag, &format!("pkcs11:token=hsm;object={object}")]);
    }
    good(
        &hsm,
        &[
            "rotate",
            "tuf",
            "instance",
            "--key",
            "pkcs11:token=hsm;object=tuf-2",
            "--root-key",
            "pkcs11:token=hsm;object=tuf-root-2",
        ],
    );
    let configuration = std::fs::read_to_string(directory.join("countersign.toml")).unwrap();
    for object in ["ca-2", "ct-2", "tsa-2", "log-2", "tuf-2", "tuf-root-2"] {
        assert!(configuration.contains(&format!("object={object}\"")), "{configuration}");
    }
    good(&hsm, &["doctor", "instance"]);
    let served = Served::start(&hsm, &directory);
    let request = served.certificate_request().await;
    assert_eq!(served.certificate(&request).await.0, 200);
    assert_eq!(served.entry(&key, b"fourth").await.0, 201);
    let log = served.stop();
    assert!(!log.contains(PIN));
}

/// A wrong PIN is said, tried once, and does not keep the other roles from running.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r21_a_wrong_pin_is_said_and_tried_once() {
    let Some(hsm) = SoftHsm::find() else { return };
    hsm.token("hsm");
    let directory = instance(&hsm, &[("ca-key", "ca")]);
    std::fs::write(hsm.path("wrong"), "111111").unwrap();
    let configuration = std::fs::read_to_string(directory.join("countersign.toml")).unwrap();
    let source = format!("object=ca?pin-source={}\"", hsm.path("wrong").display());
    std::fs::write(
        directory.join("countersign.toml"),
        configuration.replace("object=ca\"\n", &(source + "\n")),
    )
    .unwrap();
    let served = Served::start(&hsm, &directory);
    let request = served.certificate_request().await;
    let (status, _, body) = served.certificate(&request).await;
    assert_eq!(status, 503, "{body}");
    assert!(!body.contains("PIN"), "clients are not told more: {body}");
    assert_eq!(served.timestamp().await.0, 200);
    let doctor = String::from_utf8(run(&hsm, &["doctor", "instance"]).stdout).unwrap();
    assert!(doctor.contains("the token refuses the PIN") && !doctor.contains("111111"), "{doctor}");
    let log = served.stop();
    assert!(log.contains("the token refuses the PIN") && !log.contains("111111"), "{log}");
    assert_eq!(log.matches("a key cannot be reached").count(), 1, "{log}");

    let output = run(&hsm, &["init", "other", "--ca-key", "pkcs11:token=hsm;object=ca?pin-value=555555"]);
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("must not hold the PIN") && !error.contains("555555"), "{error}");
    assert!(!hsm.path("other").exists());
    let output = run(&hsm, &["pkcs11-tool", "list-keys-uris", "--slot-id", "1", "--pin", "555555"]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("--pin is not taken") && !error.contains("555555"), "{error}");
}
