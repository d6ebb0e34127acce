//! `countersign log check-fork`: whether a file shows that a log contradicts itself. Nobody is asked.

use std::path::{Path, PathBuf};

use clap::Args;
use countersign_client::artifact::read_limited;
use countersign_client::monitor::{MAX_EVIDENCE, read_evidence};
use countersign_client::trust::verifier_of;
use countersign_crypto::{PublicKey, encoding};
use countersign_http::text::printable;
use countersign_tlog::fork::{Contradiction, ForkError, ForkEvidence};
use countersign_tlog::{Checkpoint, NoteVerifier};
use serde_json::json;

use crate::args::OutputArgs;
use crate::args::services::TrustArgs;
use crate::failure::{Failure, Outcome, REJECTED};
use crate::out::Terminal;

/// Check a file of evidence that a log shows two histories
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:
  countersign log check-fork forked-1a2b3c4d5e6f7a8b.json --key log.pub
  countersign log check-fork evidence.json --trusted-root trusted_root.json",
    after_help = "Nothing but the file and the log's key is needed. The file holds two checkpoints that the log signed; of two sizes, \
also hashes of the larger tree, which show that it does not begin with the smaller one. Exit code 0 when they contradict each other, \
2 when the file does not show it."
)]
pub(super) struct CheckFork {
    /// The evidence, as `countersign log monitor` keeps it
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The log's public key (PEM), instead of the trust root's
    #[arg(long, value_name = "FILE", conflicts_with_all = ["instance", "trusted_root", "trust_config"])]
    key: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    trust: TrustArgs,
}

impl CheckFork {
    pub(super) fn run(&self, terminal: &Terminal) -> Outcome {
        let bytes = read_limited(&self.file, MAX_EVIDENCE)?;
        let evidence = read_evidence(&self.file.display().to_string(), &bytes)?;
        let found = self.check(&evidence)?;
        if self.output.is_json() {
            let content = json!({
                "origin": found.origin, "size": found.size,
                "rootSigned": encoding::base64_encode(&found.signed),
                "rootInTheOther": encoding::base64_encode(&found.other),
            });
            terminal.json("log.fork", 1, &content)?;
        } else {
            terminal.line(&printable(&format!(
                "{} signed two histories: of its first {} entries, one note has the root {}, the other {}",
                found.origin,
                found.size,
                encoding::base64_encode(&found.signed),
                encoding::base64_encode(&found.other)
            )))?;
        }
        Ok(0)
    }

    /// Checks it with each key that may be the log's.
    fn check(&self, evidence: &ForkEvidence) -> Result<Contradiction, Failure> {
        let mut last = None;
        for verifier in self.verifiers(evidence)? {
            match evidence.verify(&verifier) {
                Ok(found) => return Ok(found),
                // A key that signed both says more about the file than one that signed neither.
                Err(error @ ForkError::Note { .. }) => last = last.or(Some(error)),
                Err(error) => last = Some(error),
            }
        }
        let why = last.map_or_else(|| "no key is known by which it could be".into(), |e| e.to_string());
        let shown = printable(&format!("{}: it shows no contradiction: {why}", self.file.display()));
        Err(Failure::new(REJECTED, shown))
    }

    fn verifiers(&self, evidence: &ForkEvidence) -> Result<Vec<NoteVerifier>, Failure> {
        let Some(path) = &self.key else {
            let trust = self.trust.load(None)?;
            return Ok(trust.root.tlogs.iter().map(verifier_of).collect::<Result<_, _>>()?);
        };
        of_key(path, evidence)
    }
}

/// The verifiers that a key may be, under the name in the notes: they say which log it is, the key says that it is true.
fn of_key(path: &Path, evidence: &ForkEvidence) -> Result<Vec<NoteVerifier>, Failure> {
    let text = String::from_utf8_lossy(&read_limited(path, 64 * 1024)?).into_owned();
    let key = PublicKey::from_pem(&text)?;
    let wrong = |e: &dyn std::fmt::Display| Failure::new(REJECTED, printable(&e.to_string()));
    let checkpoint = Checkpoint::parse(evidence.first.text()).map_err(|e| wrong(&e))?;
    let origin = checkpoint.origin.as_str();
    let host = origin.split_once(" - ").map_or(origin, |(host, _)| host);
    let kinds = [
        NoteVerifier::rekor_v2(origin, key.clone()),
        NoteVerifier::rekor_v1(host, key.clone()),
        NoteVerifier::rfc6962(origin, key),
    ];
    Ok(kinds.into_iter().flatten().collect())
}
