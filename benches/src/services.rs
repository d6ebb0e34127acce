//! The services under load: entries, certificates, timestamps per second, and `sign` from end to end.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use countersign_crypto::encoding::base64_encode;
use countersign_crypto::{HashAlgorithm, KeyPair, KeyType, Signer as _, sha256};
use serde_json::json;

use crate::instance::Instance;
use crate::load::{Outcome, Request, closed_loop, open_loop};
use crate::machine::Machine;
use crate::process::{Peers, at_home, medians};
use crate::table::{Beside, Table, time};

/// How much work a run does.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    /// Requests of each kind.
    pub(crate) requests: usize,
    /// Runs of whole processes.
    pub(crate) processes: usize,
    /// Rounds of work in this process.
    pub(crate) rounds: usize,
    /// How long an operation of the machine is repeated.
    pub(crate) spell: Duration,
    /// The largest tree, as a power of ten.
    pub(crate) largest_tree: u32,
    /// Proofs asked of each tree.
    pub(crate) proofs: u32,
    /// How many workloads are scanned.
    pub(crate) workloads: usize,
    /// Signed images that the admission webhook sees for the first time.
    pub(crate) images: usize,
}

fn rate_row(table: &mut Table, what: &str, outcome: &Outcome, goal: f64, limit: Beside) {
    table.add(
        what,
        format!("{:.0}/s, p50 {}, p99 {}", outcome.per_second, time(outcome.p50), time(outcome.p99)),
        [Beside::new(format!("goal {goal:.0}/s"), outcome.per_second / goal), limit],
    );
}

/// Entry requests whose signatures verify, all different.
pub(crate) fn entries(address: SocketAddr, count: usize) -> Result<Vec<Request>> {
    // A key of their own makes them different from all others too.
    let key = KeyPair::generate(KeyType::EcdsaP256)?;
    let spki = base64_encode(key.public_key().spki_der());
    (0..count)
        .map(|i| {
            let digest = HashAlgorithm::Sha256.digest(i.to_string().as_bytes());
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
                address,
                "/api/v2/log/entries",
                "Content-Type: application/json\r\n",
                body.to_string().as_bytes(),
            ))
        })
        .collect()
}

/// The transparency log: at saturation, and at a steady 300 per second.
pub(crate) async fn log(table: &mut Table, instance: &Instance, machine: Machine, size: Size) -> Result<()> {
    for connections in [64, 256] {
        let requests = entries(instance.address, size.requests)?;
        let outcome = closed_loop(instance.address, requests, connections, 201).await?;
        let what = format!("log: durable appends with proof, {connections} clients");
        // The request's signature is verified; the one flush and signature of a batch are everyone's.
        rate_row(table, &what, &outcome, 5000.0, machine.beside(outcome.per_second, 0, 1));
    }
    let requests = entries(instance.address, (size.requests / 10).max(300))?;
    let outcome = open_loop(&[instance.address.into()], requests, 300, |status, _| status == 201).await?;
    table.add(
        "log: latency at a steady 300/s",
        format!("p50 {}, p99 {}", time(outcome.p50), time(outcome.p99)),
        [Beside::new("goal p99 1000 ms", outcome.p99.as_secs_f64())],
    );
    Ok(())
}

/// The log of Rekor v1: every answer has a promise of its own.
pub(crate) async fn log_v1(
    table: &mut Table,
    instance: &Instance,
    machine: Machine,
    size: Size,
) -> Result<()> {
    let key = KeyPair::generate(KeyType::EcdsaP256)?;
    let pem = base64_encode(key.public_key().to_pem().as_bytes());
    let request = |i: usize| {
        let digest = HashAlgorithm::Sha256.digest(format!("v1 {i}").as_bytes());
        let body = json!({"apiVersion": "0.0.1", "kind": "hashedrekord", "spec": {
            "data": {"hash": {"algorithm": "sha256", "value": digest.to_hex()}},
            "signature": {
                "content": base64_encode(&key.sign_digest(&digest)?),
                "publicKey": {"content": pem},
            },
        }});
        let headers = "Content-Type: application/json\r\n";
        let body = body.to_string();
        Ok(Request::post(instance.address, "/api/v1/log/entries", headers, body.as_bytes()))
    };
    let requests = (0..size.requests).map(request).collect::<Result<Vec<_>>>()?;
    let outcome = closed_loop(instance.address, requests, 64, 201).await?;
    let limit = machine.beside(outcome.per_second, 1, 1);
    rate_row(table, "log of Rekor v1: durable appends with proof, 64 clients", &outcome, 2500.0, limit);
    Ok(())
}

/// The certificate authority, with an SCT in every certificate.
pub(crate) async fn certificates(
    table: &mut Table,
    instance: &Instance,
    machine: Machine,
    size: Size,
) -> Result<()> {
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
    // Token and proof of possession are verified; precertificate, SCT and certificate are signed.
    let limit = machine.beside(outcome.per_second, 3, 2);
    rate_row(table, "CA: certificates with SCT, 64 clients", &outcome, 3000.0, limit);
    Ok(())
}

/// The timestamp authority.
pub(crate) async fn timestamps(
    table: &mut Table,
    instance: &Instance,
    machine: Machine,
    size: Size,
) -> Result<()> {
    let mut query =
        countersign_crypto::encoding::hex_decode("30360201013031300d060960864801650304020105000420")?;
    query.extend_from_slice(&sha256(b"benchmark"));
    let headers = "Content-Type: application/timestamp-query\r\n";
    let requests = vec![Request::post(instance.address, "/api/v1/timestamp", headers, &query); size.requests];
    let outcome = closed_loop(instance.address, requests, 64, 200).await?;
    let limit = machine.beside(outcome.per_second, 1, 0);
    rate_row(table, "TSA: timestamps, 64 clients", &outcome, 5000.0, limit);
    Ok(())
}

/// `countersign sign-blob` as a process, beside cosign doing the same against the same instance.
pub(crate) fn sign(table: &mut Table, binary: &Path, peers: &Peers, folder: &Path, size: Size) -> Result<()> {
    let arguments = |program: &Path| {
        let mut command = at_home(program, folder);
        command.args([
            "sign-blob",
            "--yes",
            "--identity-token",
            "email.token",
            "--bundle",
            "again.sigstore.json",
        ]);
        command.args(["--trusted-root", "trusted_root.json", "--signing-config", "signing_config.v0.2.json"]);
        command.arg("artifact").current_dir(folder);
        command
    };
    let mut commands = vec![arguments(binary)];
    commands.extend(peers.cosign.as_deref().map(arguments));
    let times = medians(size.processes, &mut commands)?;
    let own = times.first().copied().unwrap_or_default().as_secs_f64();
    let peer = match times.get(1) {
        Some(theirs) => Beside::new(
            format!("cosign against the same instance {}", time(*theirs)),
            own / theirs.as_secs_f64(),
        ),
        None => Beside::absent("cosign is not there: name it in COSIGN"),
    };
    let figure = times.first().map(|t| time(*t)).unwrap_or_default();
    table.add("sign: one file, end to end", figure, [Beside::new("goal 100 ms", own / 0.1), peer]);
    Ok(())
}
