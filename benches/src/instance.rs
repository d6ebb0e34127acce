//! A `countersign serve` process for the benchmarks, on loopback in a temporary directory.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::json;

use crate::load::{Connection, Request};
use crate::workflow::Workflows;

/// A running server; killed when dropped.
#[derive(Debug)]
pub(crate) struct Instance {
    child: Child,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// The identity provider of workflows that it trusts.
    pub(crate) workflows: Workflows,
    /// From the start of the process to the first 200 of /readyz.
    pub(crate) start_time: Duration,
}

impl Instance {
    /// Makes an instance and starts it, with rate limits off and the development identity provider on.
    pub(crate) async fn start(binary: &Path, directory: PathBuf) -> Result<Self> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let status = Command::new(binary)
            .arg("init")
            .arg(&directory)
            .args(["--url", &format!("http://localhost:{}", address.port())])
            .args(["--listen", &address.to_string(), "--requests-per-second", "0"])
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .status()
            .with_context(|| format!("running {}", binary.display()))?;
        ensure!(status.success(), "countersign init failed: {status}");
        let workflows = Workflows::configure(&directory)?;
        let started = Instant::now();
        let child = Command::new(binary)
            .arg("serve")
            // Its marks beside it, and not in the home of whoever measures.
            .env("XDG_STATE_HOME", directory.with_extension("state"))
            .arg(&directory)
            .arg("--dev")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let mut instance = Self { child, address, workflows, start_time: Duration::ZERO };
        let ready = Request::get(address, "/readyz");
        loop {
            if let Ok(mut connection) = Connection::open(address).await
                && matches!(connection.send(&ready).await, Ok((200, _)))
            {
                instance.start_time = started.elapsed();
                return Ok(instance);
            }
            if let Some(status) = instance.child.try_wait()? {
                bail!("countersign serve ended: {status}");
            }
            ensure!(started.elapsed() < Duration::from_secs(30), "the server was not ready in 30 s");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// The name of the development identity provider.
    pub(crate) fn development_issuer(&self) -> String {
        format!("http://localhost:{}/development-identity-provider", self.address.port())
    }

    /// An identity token of the development identity provider.
    pub(crate) async fn token(&self, email: &str) -> Result<String> {
        let body = json!({"email": email, "email_verified": true, "sub": email}).to_string();
        let request = Request::post(
            self.address,
            "/development-identity-provider/mint",
            "Content-Type: application/json\r\n",
            body.as_bytes(),
        );
        let (status, answer) = Connection::open(self.address).await?.send(&request).await?;
        ensure!(status == 200, "no token: status {status}");
        let answer: serde_json::Value = serde_json::from_slice(&answer)?;
        Ok(answer.get("id_token").and_then(|t| t.as_str()).context("no id_token")?.to_owned())
    }

    /// Resident memory in MiB.
    pub(crate) fn resident_mib(&self) -> Result<f64> {
        resident_mib(&self.child.id().to_string())
    }
}

/// The resident memory of a process in MiB, by its number or `self`.
pub(crate) fn resident_mib(process: &str) -> Result<f64> {
    memory_mib(process, "VmRSS:")
}

/// A figure of a process' memory in MiB, by its name: `VmRSS:` is what it has, `VmHWM:` the most that it had.
pub(crate) fn memory_mib(process: &str, name: &str) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let kib: f64 = status
        .lines()
        .find_map(|l| l.strip_prefix(name))
        .and_then(|v| v.split_whitespace().next())
        .and_then(|v| v.parse().ok())
        .with_context(|| format!("no {name}"))?;
    Ok(kib / 1024.0)
}

impl Drop for Instance {
    fn drop(&mut self) {
        // Killed, not asked: the directory is temporary and the log survives a kill by design.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
