//! The services under load: entries, certificates, timestamps per second, and `sign` from end to end.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use countersign_crypto::encoding::base64_encode;
use countersign_crypto::{HashAlgorithm, KeyPair, KeyType, Signer as _, sha256};
use serde_json::json;

use crate::instance::Instance;
use crate::load::{Outcome, Request, closed_loop, open_loop};
use crate::table::Table;

/// How much work a run does.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    /// Requests of each kind.
    pub(crate) requests: usize,
    /// Runs of whole processes.
    pub(crate) processes: usize,
}

fn ms(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

fn rate_row(table: &mut Table, what: &str, outcome: &Outcome, goal: f64) {
    table.add(
        what,
        format!("{:.0}/s, p50 {}, p99 {}", outcome.per_second, ms(outcome.p50), ms(outcome.p99)),
        format!("goal {goal:.0}/s"),
        Some(outcome.per_second / goal),
    );
}

/// Entry requests whose signatures verify, all different.
fn entries(instance: &Instance, count: usize, salt: &str) -> Result<Vec<Request>> {
    let key = KeyPair::generate(KeyType::EcdsaP256)?;
    let spki = base64_encode(key.public_key().spki_der());
    (0..count)
        .map(|i| {
            let digest = HashAlgorithm::Sha256.digest(format!("{salt} {i}").as_bytes());
            let body = json!({"hashedRekordRequestV002": {
                "digest": base64_encode(digest.as_bytes()),
                "signature": {
                    "content": base64_encode(&key.sign_digest(&digest)?),
                    "verifier": {
                        "publicKey": {"rawBytes": spki},
                        "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                    },
                },
            }});
            Ok(Request::post(
                instance.address,
                "/api/v2/log/entries",
                "Content-Type: application/json\r\n",
                body.to_string().as_bytes(),
            ))
        })
        .collect()
}

/// The transparency log: at saturation, and at a steady 300 per second.
pub(crate) async fn log(table: &mut Table, instance: &Instance, size: Size) -> Result<()> {
    for connections in [64, 256] {
        let requests = entries(instance, size.requests, &format!("closed {connections}"))?;
        let outcome = closed_loop(instance.address, requests, connections, 201).await?;
        let what = format!("log: durable appends with proof, {connections} clients");
        rate_row(table, &what, &outcome, 5000.0);
    }
    let requests = entries(instance, (size.requests / 10).max(300), "open")?;
    let outcome = open_loop(instance.address, requests, 300, 201).await?;
    table.add(
        "log: latency at a steady 300/s",
        format!("p50 {}, p99 {}", ms(outcome.p50), ms(outcome.p99)),
        "goal p99 under 1000 ms".into(),
        Some(outcome.p99.as_secs_f64()),
    );
    Ok(())
}

/// The certificate authority, with an SCT in every certificate.
pub(crate) async fn certificates(table: &mut Table, instance: &Instance, size: Size) -> Result<()> {
    let email = "load@example.com";
    let token = instance.token(email).await?;
    // Keys may repeat: every certificate has a serial number and a time of its own.
    let key = KeyPair::generate(KeyType::EcdsaP256)?;
    let body = json!({"publicKeyRequest": {
        "publicKey": {"algorithm": "ECDSA", "content": key.public_key().to_pem()},
        "proofOfPossession": base64_encode(&key.sign(email.as_bytes())?),
    }})
    .to_string();
    let headers = format!("Content-Type: application/json\r\nAuthorization: Bearer {token}\r\n");
    let request = Request::post(instance.address, "/api/v2/signingCert", &headers, body.as_bytes());
    let requests = vec![request; size.requests];
    let outcome = closed_loop(instance.address, requests, 64, 200).await?;
    rate_row(table, "CA: certificates with SCT, 64 clients", &outcome, 3000.0);
    Ok(())
}

/// The timestamp authority.
pub(crate) async fn timestamps(table: &mut Table, instance: &Instance, size: Size) -> Result<()> {
    let mut query =
        countersign_crypto::encoding::hex_decode("30360201013031300d060960864801650304020105000420")?;
    query.extend_from_slice(&sha256(b"benchmark"));
    let headers = "Content-Type: application/timestamp-query\r\n";
    let requests = vec![Request::post(instance.address, "/api/v1/timestamp", headers, &query); size.requests];
    let outcome = closed_loop(instance.address, requests, 64, 200).await?;
    rate_row(table, "TSA: timestamps, 64 clients", &outcome, 5000.0);
    Ok(())
}

/// The median time of a command over some runs, each of which must succeed.
pub(crate) fn median_time(runs: usize, mut command: impl FnMut(usize) -> Command) -> Result<Duration> {
    let mut times = Vec::with_capacity(runs);
    for run in 0..runs {
        let mut command = command(run);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let started = Instant::now();
        let output = command.output().with_context(|| format!("running {command:?}"))?;
        times.push(started.elapsed());
        ensure!(
            output.status.success(),
            "{command:?} failed: {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    times.sort_unstable();
    times.get(times.len() / 2).copied().context("no runs")
}

/// `countersign sign` as a process, beside cosign doing the same against the same instance when it is there.
pub(crate) async fn sign(
    table: &mut Table,
    instance: &Instance,
    binary: &Path,
    cosign: Option<&Path>,
    work: &Path,
    size: Size,
) -> Result<()> {
    let token = instance.token("bench@example.com").await?;
    let trusted_root = work.join("trusted_root.json");
    let signing_config = work.join("signing_config.json");
    for (path, file) in
        [("/trusted_root.json", &trusted_root), ("/signing_config.v0.2.json", &signing_config)]
    {
        let mut connection = crate::load::Connection::open(instance.address).await?;
        let (status, body) = connection.send(&Request::get(instance.address, path)).await?;
        ensure!(status == 200, "{path}: status {status}");
        std::fs::write(file, body)?;
    }
    let artifact = work.join("artifact");
    std::fs::write(&artifact, b"benchmark artifact")?;
    let arguments = |program: &Path, run: usize, name: &str| {
        let mut command = Command::new(program);
        command
            .arg("sign-blob")
            .arg("--yes")
            .args(["--identity-token", &token])
            .arg("--trusted-root")
            .arg(&trusted_root)
            .arg("--signing-config")
            .arg(&signing_config)
            .arg("--bundle")
            .arg(work.join(format!("{name}-{run}.sigstore.json")))
            .arg(&artifact);
        command
    };
    let own = median_time(size.processes, |run| arguments(binary, run, "own"))?;
    table.add(
        "sign: one file, end to end",
        ms(own),
        "goal under 100 ms".into(),
        Some(own.as_secs_f64() / 0.1),
    );
    if let Some(cosign) = cosign {
        let theirs = median_time(size.processes.min(10), |run| arguments(cosign, run, "cosign"))?;
        table.add(
            "sign: one file, end to end, beside cosign",
            ms(own),
            format!("cosign against the same instance: {}", ms(theirs)),
            Some(own.as_secs_f64() / theirs.as_secs_f64()),
        );
    }
    Ok(())
}
