//! What tests of the program share: a home of their own, kept texts, and a running instance.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use crate::requests;

/// A bill of materials that says as little as one may.
pub(crate) const CYCLONEDX: &str = r#"{"bomFormat":"CycloneDX","specVersion":"1.6"}"#;
/// Provenance that says as little as it may.
pub(crate) const PROVENANCE: &str = r#"{"buildDefinition":{"buildType":"https://example.com/make","externalParameters":{}},"runDetails":{"builder":{"id":"https://example.com/builder"}}}"#;
/// A scan that found nothing.
pub(crate) const SCAN: &str = r#"{"scanner":{"uri":"pkg:grype","result":{"matches":[]}},"metadata":{"scanFinishedOn":"2026-01-01T00:00:00Z"}}"#;

/// A place with nothing of the user's in it.
pub(crate) struct Home(pub(crate) tempfile::TempDir);

impl Home {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
        command
            .args(arguments)
            .current_dir(self.0.path())
            .env_clear()
            .env("HOME", self.0.path())
            .env("COSIGN_PASSWORD", "pw")
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs and gives exit code, standard output and standard error.
    pub(crate) fn text(&self, arguments: &[&str]) -> (i32, String, String) {
        let output = self.run(arguments);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
    }

    /// A minute passes for the revocation list of the instance `dev`.
    pub(crate) fn forget_when_revocations_were_checked(&self) {
        let path = self.path(".config/countersign/instances/dev/instance.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with("revocations_checked"));
        std::fs::write(path, lines.collect::<Vec<_>>().join("\n")).unwrap();
    }

    /// Signs a file through the log of Rekor v1 of the trusted instance, as those do who speak no other interface.
    pub(crate) fn sign_v1(&self, file: &str, token: &str) {
        std::fs::write(self.path(file), file).unwrap();
        self.good(&["trust", "update"]);
        self.good(&["trust", "export", "--out", "site.json"]);
        let site = std::fs::read(self.path("site.json")).unwrap();
        let site: serde_json::Value = serde_json::from_slice(&site).unwrap();
        let mut config = site["signingConfig"].clone();
        config["rekorTlogUrls"].as_array_mut().unwrap().retain(|log| log["majorApiVersion"] == 1);
        for member in ["tsaUrls", "tsaConfig"] {
            config.as_object_mut().unwrap().remove(member);
        }
        std::fs::write(self.path("v1.json"), config.to_string()).unwrap();
        std::fs::write(self.path("root.json"), site["trustedRoot"].to_string()).unwrap();
        let told = ["--signing-config", "v1.json", "--trusted-root", "root.json"];
        self.good(&[&["sign", file, "--identity-token", token][..], &told].concat());
    }

    pub(crate) fn good(&self, arguments: &[&str]) -> String {
        let (code, out, err) = self.text(arguments);
        assert_eq!(code, 0, "{arguments:?}\n{out}\n{err}");
        out
    }
}

/// Says that a test is left out because a program is not installed here; with CI=true that is a failure.
pub(crate) fn left_out(program: &str) {
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{program} is not installed");
    eprintln!("skipped: {program} is not installed");
}

pub(crate) fn golden(name: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, found).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(found, kept, "{name} differs; if that is meant, run with UPDATE_GOLDEN=1");
}

/// A running instance, ended when dropped.
pub(crate) struct Instance {
    pub(crate) child: Child,
    pub(crate) url: String,
}

impl Instance {
    pub(crate) fn start(home: &Home) -> Self {
        home.good(&["init", "instance", "--dev"]);
        Self::start_again(home)
    }

    /// Serves the instance that was made before, at the address it has.
    pub(crate) fn start_again(home: &Home) -> Self {
        let mut child = home
            .command(&["serve", "instance", "--dev"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.split(' ').nth(1).expect("the address").to_owned();
        Self { child, url }
    }

    /// Orders the end as an operator does, and gives the exit code.
    pub(crate) fn stop(&mut self) -> Option<i32> {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        self.child.wait().unwrap().code()
    }

    pub(crate) fn token(&self) -> String {
        let host = self.url.trim_start_matches("http://").replace("localhost", "127.0.0.1");
        let body = requests::claims("alice@example.com");
        let mut stream = TcpStream::connect(host).unwrap();
        write!(
            stream,
            "POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n{body}",
            requests::MINT,
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").expect("an answer");
        requests::token_in(body.as_bytes())
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What differs from run to run, taken out.
pub(crate) fn settled(text: &str, url: &str) -> String {
    text.replace(url, "http://instance")
        .lines()
        .map(|line| {
            line.split(' ')
                .map(|word| if word.starts_with("20") && word.ends_with('Z') { "TIME" } else { word })
                .collect::<Vec<_>>()
                .join(" ")
                + "\n"
        })
        .collect()
}
