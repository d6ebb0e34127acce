//! The program against a running instance: what it signs, it verifies, and the bundle is as the suite wants it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use countersign_bundle::{Bundle, Content, KeyMaterial};
use countersign_crypto::HashAlgorithm;
use countersign_http::{Http, HttpOptions, Request, parse_url};
use countersign_server::instance::{InitOptions, init};
use countersign_server::serve::{Running, ServeOptions, start};

const EMAIL: &str = "alice@example.com";

/// A running instance, with its documents and a token in a directory of their own.
struct Served {
    directory: tempfile::TempDir,
    _running: Running,
    issuer: String,
    token: String,
}

impl Served {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("http://localhost:{}", listener.local_addr().unwrap().port());
        let instance = directory.path().join("instance");
        let options = InitOptions {
            url: url.parse().unwrap(),
            listen: listener.local_addr().unwrap(),
            requests_per_second: 0,
            ..InitOptions::default()
        };
        init(&instance, &options).unwrap();
        let serve = ServeOptions { listener: Some(listener), development: true, ..ServeOptions::default() };
        let running = start(&instance, serve).await.unwrap();
        let http = Http::new(HttpOptions::default());
        for name in ["trusted_root.json", "signing_config.v0.2.json"] {
            let address = parse_url(&format!("{url}/{name}")).unwrap();
            let answer = http.send(Request::get("instance", &address)).await.unwrap();
            std::fs::write(directory.path().join(name), answer.body).unwrap();
        }
        let issuer = format!("{url}/development-identity-provider");
        let claims = serde_json::json!({"sub": EMAIL, "email": EMAIL, "email_verified": true}).to_string();
        let address = parse_url(&format!("{issuer}/mint")).unwrap();
        let request = Request::post("provider", &address, "application/json", claims.into_bytes());
        let answer: serde_json::Value = http.send(request).await.unwrap().json().unwrap();
        let token = answer["id_token"].as_str().unwrap().to_owned();
        Self { directory, _running: running, issuer, token }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        std::fs::write(self.path(name), content).unwrap();
        self.path(name)
    }

    /// Runs the program beside the server.
    async fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_countersign-conformance"));
        command.args(arguments).env_clear().env("HOME", self.directory.path());
        tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap()
    }

    async fn sign(&self, more: &[&str], file: &Path) -> (Output, Bundle) {
        let (bundle, root) = (self.path("bundle.json"), self.path("trusted_root.json"));
        let config = self.path("signing_config.v0.2.json");
        let mut arguments = vec!["sign-bundle"];
        arguments.extend(more);
        arguments.extend(["--identity-token", &self.token, "--bundle", bundle.to_str().unwrap()]);
        arguments.extend(["--trusted-root", root.to_str().unwrap()]);
        arguments.extend(["--signing-config", config.to_str().unwrap(), file.to_str().unwrap()]);
        let output = self.run(&arguments).await;
        assert!(output.status.success(), "{output:?}");
        let bundle = Bundle::from_json(&std::fs::read(bundle).unwrap()).unwrap();
        (output, bundle)
    }

    async fn verify(&self, identity: &str, issuer: &str, artifact: &str) -> bool {
        let (bundle, root) = (self.path("bundle.json"), self.path("trusted_root.json"));
        let arguments = [
            "verify-bundle",
            "--bundle",
            bundle.to_str().unwrap(),
            "--certificate-identity",
            identity,
            "--certificate-oidc-issuer",
            issuer,
            "--trusted-root",
            root.to_str().unwrap(),
            artifact,
        ];
        self.run(&arguments).await.status.success()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blob_signed_is_verified_by_path_and_by_digest_for_its_signer_only() {
    let served = Served::new().await;
    let file = served.write("a.txt", b"an artifact");
    let (output, bundle) = served.sign(&[], &file).await;
    let said = [output.stdout, output.stderr].concat();
    assert!(!String::from_utf8_lossy(&said).contains(&served.token), "the token is shown");
    assert!(matches!(bundle.content, Content::MessageSignature { .. }));
    // One certificate and no chain, so no root among them.
    assert!(matches!(bundle.verification_material.content, KeyMaterial::Certificate(_)));
    let entry = &bundle.verification_material.tlog_entries[0];
    assert_eq!((entry.kind.as_str(), entry.version.as_str()), ("hashedrekord", "0.0.2"));

    let (file, issuer) = (file.to_str().unwrap(), served.issuer.as_str());
    let digest = HashAlgorithm::Sha256.digest(b"an artifact").to_string();
    assert!(served.verify(EMAIL, issuer, file).await);
    assert!(served.verify(EMAIL, issuer, &digest).await);
    let other = served.write("b.txt", b"another artifact");
    assert!(!served.verify(EMAIL, issuer, other.to_str().unwrap()).await);
    assert!(!served.verify("mallory@example.com", issuer, file).await);
    assert!(!served.verify(EMAIL, "https://idp.example.com", file).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_is_signed_byte_for_byte_and_verified_for_its_subject() {
    let served = Served::new().await;
    let file = served.write("a.txt", b"an artifact");
    let digest = HashAlgorithm::Sha256.digest(b"an artifact").to_hex();
    // Written as no encoder would write it again.
    let statement = format!(
        "{{ \"predicate\" : {{}},\n\"predicateType\":\"https://example.com/p\", \"subject\": [{{\"name\":\"\\u0061.txt\",\
         \"digest\":{{\"sha256\":\"{digest}\"}}}}],  \"_type\":\"https://in-toto.io/Statement/v1\"}}\n\n"
    );
    let statement = served.write("statement.json", statement.as_bytes());
    let (_, bundle) = served.sign(&["--in-toto"], &statement).await;
    let Content::Dsse(envelope) = &bundle.content else { panic!("expected an envelope") };
    assert_eq!(envelope.payload, std::fs::read(&statement).unwrap());
    let (file, issuer) = (file.to_str().unwrap(), served.issuer.as_str());
    assert!(served.verify(EMAIL, issuer, file).await);
    assert!(served.verify(EMAIL, issuer, &format!("sha256:{digest}")).await);
    assert!(!served.verify(EMAIL, issuer, statement.to_str().unwrap()).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_statement_or_no_token_is_refused_before_anything_is_logged() {
    let served = Served::new().await;
    let file = served.write("a.txt", b"no statement");
    let (root, config) = (served.path("trusted_root.json"), served.path("signing_config.v0.2.json"));
    let mut arguments = vec!["sign-bundle", "--in-toto", "--identity-token", &served.token, "--bundle", "b"];
    arguments.extend(["--trusted-root", root.to_str().unwrap()]);
    arguments.extend(["--signing-config", config.to_str().unwrap(), file.to_str().unwrap()]);
    let output = served.run(&arguments).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    arguments.retain(|a| *a != "--in-toto");
    arguments[2] = "not-a-token";
    let output = served.run(&arguments).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    arguments[2] = &served.token;
    arguments.retain(|a| *a != "--signing-config" && *a != config.to_str().unwrap());
    let output = served.run(&arguments).await;
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("--signing-config"), "{output:?}");
}

/// Trusts a document under a name, as `countersign trust add` leaves it.
fn trust(home: &Path, name: &str, root: &[u8], config: &[u8]) {
    let directory = home.join(".config/countersign/instances").join(name);
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("trusted_root.json"), root).unwrap();
    std::fs::write(directory.join("signing_config.v0.2.json"), config).unwrap();
    let description =
        "fingerprint = \"00\"\nadded = \"2026-01-01T00:00:00Z\"\nupdated = \"2026-01-01T00:00:00Z\"\n";
    std::fs::write(directory.join("instance.toml"), description).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_file_trusted_instances_decide_and_staging_is_one_of_its_own() {
    let served = Served::new().await;
    let file = served.write("a.txt", b"an artifact");
    served.sign(&[], &file).await;
    let bundle = served.path("bundle.json");
    let plain = [
        "verify-bundle",
        "--bundle",
        bundle.to_str().unwrap(),
        "--certificate-identity",
        EMAIL,
        "--certificate-oidc-issuer",
        &served.issuer,
        file.to_str().unwrap(),
    ];
    let staging = [&["verify-bundle", "--staging"], &plain[1..]].concat();
    let output = served.run(&plain).await;
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("--trusted-root") && said.contains("countersign trust add"), "{said}");

    let read = |name: &str| std::fs::read(served.path(name)).unwrap();
    let (root, config) = (read("trusted_root.json"), read("signing_config.v0.2.json"));
    let nobody = countersign_bundle::TrustedRoot::default().to_json().unwrap();
    trust(served.directory.path(), "staging", &root, &config);
    trust(served.directory.path(), "production", &nobody, &config);
    let default = |name: &str| {
        std::fs::write(served.path(".config/countersign/instances/default"), format!("{name}\n")).unwrap();
    };
    default("production");
    assert!(served.run(&staging).await.status.success());
    // The default one trusts nobody, and the other does not stand in for it.
    let output = served.run(&plain).await;
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("a.txt: refused: "), "{output:?}");
    let sign = [
        "sign-bundle",
        "--staging",
        "--identity-token",
        &served.token,
        "--bundle",
        bundle.to_str().unwrap(),
        file.to_str().unwrap(),
    ];
    let output = served.run(&sign).await;
    assert!(output.status.success(), "{output:?}");
    default("staging");
    assert!(served.run(&plain).await.status.success());
}
