//! Verifying one bundle: as a process beside other programs, and in this process beside another library and beside the
//! signature operations themselves.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use countersign_bundle::{Bundle, TrustedRoot};
use countersign_verify::{Identity, Requirements, Subject, TrustMaterial, verify};
use jiff::Timestamp;
use sigstore_verify::{VerificationPolicy, Verifier};

use crate::evidence::{Evidence, PREDICATE_TYPE};
use crate::process::{Peers, at_home, medians};
use crate::raw::RawOperations;
use crate::services::Size;
use crate::table::{Beside, Table, median, time};
use crate::workflow::OWNER;

/// How many verifications are timed together.
const ROUND: u32 = 20;

/// `countersign verify-blob` or `verify-blob-attestation`, with the arguments of cosign.
fn own_command(binary: &Path, evidence: &Evidence, home: &Path) -> Command {
    let mut command = at_home(binary, home);
    if evidence.statement {
        command.args(["verify-blob-attestation", "--type", PREDICATE_TYPE]);
    } else {
        command.arg("verify-blob");
    }
    command.arg("--bundle").arg(&evidence.bundle).arg("--trusted-root").arg(&evidence.root);
    command.args(["--certificate-identity", &evidence.identity]);
    command.args(["--certificate-oidc-issuer", &evidence.issuer]).arg(&evidence.artifact);
    command
}

fn peer_command(program: &Path, evidence: &Evidence) -> Command {
    let mut command = Command::new(program);
    command.arg(&evidence.root).arg(&evidence.bundle).arg(&evidence.identity).arg(&evidence.issuer);
    command.arg(&evidence.artifact);
    command
}

/// gh reads trust roots of one line each.
fn gh_command(program: &Path, evidence: &Evidence, home: &Path) -> Result<Command> {
    let root: serde_json::Value = serde_json::from_slice(&std::fs::read(&evidence.root)?)?;
    let lines = home.join("trusted_root.jsonl");
    std::fs::write(&lines, format!("{root}\n"))?;
    let mut command = at_home(program, home);
    command.env("GH_TOKEN", "none").env("GH_NO_UPDATE_NOTIFIER", "1").env("GH_CONFIG_DIR", home.join("gh"));
    command.args(["attestation", "verify"]).arg(&evidence.artifact).arg("--bundle").arg(&evidence.bundle);
    command.args(["--owner", OWNER, "--predicate-type", PREDICATE_TYPE, "--format", "json"]);
    command.arg("--custom-trusted-root").arg(lines).args(["--cert-identity", &evidence.identity]);
    command.args(["--cert-oidc-issuer", &evidence.issuer]);
    Ok(command)
}

/// The row of a whole process.
pub(crate) fn process(
    table: &mut Table,
    evidence: &Evidence,
    binary: &Path,
    peers: &Peers,
    home: &Path,
    size: Size,
) -> Result<()> {
    let mut names =
        vec!["own", "a process that does nothing (true)", "a process on the sigstore-verify crate"];
    let mut commands = vec![
        own_command(binary, evidence, home),
        Command::new("true"),
        peer_command(&peers.sigstore_verify, evidence),
    ];
    if let Some(gh) = peers.gh.as_ref().filter(|_| evidence.statement) {
        names.push("gh attestation verify");
        commands.push(gh_command(gh, evidence, home)?);
    }
    let times = medians(size.processes, &mut commands)?;
    let own = times.first().copied().unwrap_or_default();
    let mut beside = vec![Beside::new("goal 5 ms", own.as_secs_f64() / 0.005)];
    for (name, other) in names.iter().zip(&times).skip(1) {
        beside.push(Beside::new(format!("{name} {}", time(*other)), own.as_secs_f64() / other.as_secs_f64()));
    }
    if evidence.statement && peers.gh.is_none() {
        beside.push(Beside::absent("gh is not there: name it in GH"));
    }
    table.add(format!("verify one bundle, process: {}", evidence.name), time(own), beside);
    Ok(())
}

/// The rows of the engine in this process.
pub(crate) fn in_process(table: &mut Table, evidence: &Evidence, size: Size) -> Result<()> {
    let (json, root) = (std::fs::read(&evidence.bundle)?, std::fs::read(&evidence.root)?);
    let artifact = std::fs::read(&evidence.artifact)?;
    let bundle = Bundle::from_json(&json)?;
    let root_document = TrustedRoot::from_json(&root)?;
    let material = TrustMaterial::from_trusted_root(&root_document)?;
    let identity = Identity::exact(&evidence.identity, &evidence.issuer)?;
    let requirements = Requirements::builder().identity(identity).build();
    let now = Timestamp::now();
    let own = |bundle: &Bundle| {
        verify(&Subject::from_bytes(&artifact), bundle, &material, &requirements, now).verified().is_ok()
    };

    let text = std::str::from_utf8(&json)?;
    let their_bundle = sigstore_verify::types::Bundle::from_json(text)?;
    let their_root = sigstore_verify::trust_root::TrustedRoot::from_json(std::str::from_utf8(&root)?)?;
    let verifier = Verifier::new(&their_root)?;
    let policy = VerificationPolicy::new(evidence.identity.as_str(), evidence.issuer.as_str());
    let raw = RawOperations::of(&bundle, &root_document)?;

    let times = interleaved(
        size.rounds,
        &[
            &|| own(&bundle),
            &|| Bundle::from_json(&json).is_ok_and(|bundle| own(&bundle)),
            &|| verifier.verify(artifact.as_slice(), &their_bundle, &policy).is_ok(),
            &|| raw.all_verify(),
        ],
    )?;
    let [own, whole, theirs, limit] = times.as_slice() else {
        return Err(anyhow!("expected four times, found {}", times.len()));
    };
    let beside = |text: String, other: &Duration| {
        Beside::new(format!("{text} {}", time(*other)), own.as_secs_f64() / other.as_secs_f64())
    };
    table.add(
        format!("verify one bundle, in process: {}", evidence.name),
        time(*own),
        [
            beside(format!("its signatures alone ({})", raw.describe()), limit),
            beside("the sigstore-verify crate".into(), theirs),
        ],
    );
    table.add(
        format!("the same from the bundle's bytes: {}", evidence.name),
        time(*whole),
        [Beside::new(format!("parsed already {}", time(*own)), whole.as_secs_f64() / own.as_secs_f64())],
    );
    Ok(())
}

/// The median time of each piece of work; they take turns, so that what disturbs one disturbs all.
fn interleaved(rounds: usize, works: &[&dyn Fn() -> bool]) -> Result<Vec<Duration>> {
    let mut times = vec![Vec::with_capacity(rounds); works.len()];
    for _ in 0..rounds {
        for (i, (work, times)) in works.iter().zip(&mut times).enumerate() {
            let started = Instant::now();
            for _ in 0..ROUND {
                ensure!(work(), "verification {i} was refused while it was timed");
            }
            times.push(started.elapsed() / ROUND);
        }
    }
    Ok(times.into_iter().map(median).collect())
}
