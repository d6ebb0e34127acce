//! An instance on loopback for a test, and what its clients send.

use std::path::{Path, PathBuf};

use countersign_server::instance::{InitOptions, init};
use countersign_server::serve::{Running, ServeOptions, start};
use reqwest::Client;

use crate::requests;

pub(crate) struct Served {
    _directory: tempfile::TempDir,
    pub(crate) path: PathBuf,
    pub(crate) running: Running,
    pub(crate) client: Client,
}

/// A socket on loopback that nobody else has.
pub(crate) fn socket() -> std::net::TcpListener {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    listener
}

/// Makes an instance that will be served on this socket.
pub(crate) fn make(path: &Path, listener: &std::net::TcpListener) {
    let address = listener.local_addr().unwrap();
    let options = InitOptions {
        url: format!("http://localhost:{}", address.port()).parse().unwrap(),
        listen: address,
        requests_per_second: 0,
        ..InitOptions::default()
    };
    init(path, &options).unwrap();
}

/// Whether this process runs one test alone. If not, that test is run in a process of its own, which must succeed: what others
/// allocate meanwhile would be measured with it.
pub(crate) fn alone(test: &str) -> bool {
    const ALONE: &str = "COUNTERSIGN_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    let run = command.args(["--exact", test, "--nocapture"]).env(ALONE, "1").output().unwrap();
    let told = String::from_utf8_lossy(&run.stdout);
    println!("{told}");
    let errors = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success() && told.contains("1 passed"), "{told}{errors}");
    false
}

/// How many MiB of memory this process has more than some number of them.
pub(crate) fn grown(before: u64) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    (kib / 1024).saturating_sub(before)
}

impl Served {
    pub(crate) async fn new() -> Self {
        Self::with(ServeOptions::default(), |text| text).await
    }

    /// With other options and a changed configuration.
    pub(crate) async fn with(options: ServeOptions, configure: impl FnOnce(String) -> String) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = socket();
        let path = directory.path().join("instance");
        make(&path, &listener);
        let file = path.join("countersign.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, configure(text)).unwrap();
        let serve = ServeOptions { listener: Some(listener), development: true, ..options };
        let running = start(&path, serve).await.unwrap();
        Self { _directory: directory, path, running, client: Client::builder().no_proxy().build().unwrap() }
    }

    /// One that is a witness too, so that it has every face.
    pub(crate) async fn with_witness(options: ServeOptions) -> Self {
        const WITNESS: &str = "[witness]\nname = \"w.example\"\n[[witness.logs]]\norigin = \"localhost\"\nkey = \"keys/log.pub\"\n\n[limits]";
        Self::with(options, |text| text.replace("[limits]", WITNESS)).await
    }

    /// Stops, and serves the same directory again, with what was changed in it.
    pub(crate) async fn again(self, change: impl FnOnce(&Path)) -> Self {
        let Self { _directory, path, running, client } = self;
        running.shutdown();
        running.wait().await.unwrap();
        change(&path);
        let serve = ServeOptions { listener: Some(socket()), development: true, ..ServeOptions::default() };
        let running = start(&path, serve).await.unwrap();
        Self { _directory, path, running, client }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.running.address)
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Vec<u8>) {
        let response = self.client.get(self.url(path)).send().await.unwrap();
        (response.status().as_u16(), response.bytes().await.unwrap().to_vec())
    }

    pub(crate) async fn post(
        &self,
        path: &str,
        kind: &str,
        body: impl Into<reqwest::Body>,
    ) -> (u16, Vec<u8>) {
        let request = self.client.post(self.url(path)).header("content-type", kind).body(body);
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.bytes().await.unwrap().to_vec())
    }

    pub(crate) async fn token(&self, email: &str) -> String {
        let (status, body) = self.post(requests::MINT, "application/json", requests::claims(email)).await;
        assert_eq!(status, 200);
        requests::token_in(&body)
    }

    pub(crate) async fn entry(&self, request: String) -> (u16, Vec<u8>) {
        self.post("/api/v2/log/entries", "application/json", request).await
    }
}
