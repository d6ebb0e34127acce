//! Records of decisions: a signed summary of verification (VSA) for each artifact, one in each line of a file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use clap::Args;
use countersign_attestation::dsse::IN_TOTO_PAYLOAD_TYPE;
use countersign_attestation::predicate::levels::Word;
use countersign_attestation::predicate::resource::Resource;
use countersign_attestation::predicate::small::Predicate as _;
use countersign_attestation::predicate::vsa::{V1, Verdict, Verifier, Vsa};
use countersign_attestation::{Statement, statement::Subject as Of};
use countersign_client::artifact::{read_limited, write_atomically};
use countersign_client::sign::Session;
use countersign_crypto::{Digest, HashAlgorithm};
use countersign_policy::{Decision, Status};
use jiff::Timestamp;

use super::artifacts::Subject;
use super::{MAX_FILE, files};
use crate::commands::sign::SigningArgs;
use crate::failure::Failure;
use crate::out::Terminal;

/// Who verified, unless told otherwise.
const VERIFIER: &str = "https://countersign.dev/policy";

/// What to keep of decisions.
#[derive(Debug, Args)]
#[command(next_help_heading = "Record")]
pub(super) struct RecordArgs {
    /// Write the decision down as a signed summary (VSA), a line for each artifact; signed as countersign sign does
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// The verifier that the record names; whoever reads it takes it together with the key or identity that signed
    #[arg(long, value_name = "URI", requires = "record", default_value = VERIFIER)]
    verifier: String,
}

impl RecordArgs {
    /// Whether a record is to be made.
    pub(super) const fn wanted(&self) -> bool {
        self.record.is_some()
    }

    /// Signs and writes the records. What could not be checked was neither passed nor refused, and has none.
    pub(super) fn write(
        &self,
        terminal: &Terminal,
        signing: &SigningArgs,
        policies: &[PathBuf],
        decided: &[(&Subject, &Decision, Option<Verdict>)],
        now: Timestamp,
    ) -> Result<(), Failure> {
        let Some(path) = &self.record else { return Ok(()) };
        let policy = policy(policies)?;
        let mut payloads = Vec::new();
        for (subject, decision, verdict) in decided {
            match (verdict, digest(subject, decision)) {
                (Some(verdict), Some(digest)) => {
                    let vsa = self.summary(subject, decision, *verdict, &policy, now);
                    payloads.push(statement(subject, &digest, &vsa)?);
                }
                _ => terminal.talk(&format!("{}: not recorded, for it could not be checked", subject.name())),
            }
        }
        if payloads.is_empty() {
            return Ok(());
        }
        let lines = signing.with_session(terminal, async |session: &Session<'_>, _: &_| {
            let mut lines = Vec::new();
            for payload in payloads {
                let signed = session.sign_payload(IN_TOTO_PAYLOAD_TYPE, payload).await?;
                lines.extend(signed.json.trim_ascii_end());
                lines.push(b'\n');
            }
            Ok(lines)
        })?;
        write_atomically(path, &lines)?;
        terminal.talk(&format!("{} recorded: {}", terminal.yes(), path.display()));
        Ok(())
    }

    fn summary(
        &self,
        subject: &Subject,
        decision: &Decision,
        verdict: Verdict,
        policy: &Resource,
        now: Timestamp,
    ) -> Vsa {
        let inputs: BTreeSet<String> = decision
            .results
            .iter()
            .flat_map(|result| &result.decided_by)
            .map(|deciding| deciding.statement.to_hex())
            .collect();
        let passed = decision.results.iter().filter(|result| result.status == Status::Pass);
        let level = passed.filter_map(|result| result.level).min();
        let verified_levels = match (verdict, level) {
            (Verdict::Failed, _) => vec![Word::Failed],
            (Verdict::Passed, Some(level)) => vec![Word::Level { track: "BUILD".to_owned(), level }],
            (Verdict::Passed, None) => Vec::new(),
        };
        let resource_uri = match subject {
            Subject::Image(image) => format!("oci://{image}"),
            Subject::File { artifact, .. } => artifact.name.clone(),
        };
        let version = BTreeMap::from([("countersign".to_owned(), env!("CARGO_PKG_VERSION").to_owned())]);
        Vsa {
            verifier: Verifier { id: self.verifier.clone(), version },
            time_verified: Some(now),
            resource_uri,
            policy: policy.clone(),
            input_attestations: inputs.into_iter().map(|hex| of_sha256("", hex)).collect(),
            verification_result: verdict,
            verified_levels,
            dependency_levels: None,
            slsa_version: "1.2".to_owned(),
        }
    }
}

fn of_sha256(uri: &str, hex: String) -> Resource {
    Resource {
        uri: uri.to_owned(),
        digest: BTreeMap::from([("sha256".to_owned(), hex)]),
        ..Resource::default()
    }
}

/// The policies: one file, or several as a list of their digests and names, as `sha256sum` writes it.
fn policy(named: &[PathBuf]) -> Result<Resource, Failure> {
    let hash = |path: &Path| -> Result<String, Failure> {
        Ok(HashAlgorithm::Sha256.digest(&read_limited(path, MAX_FILE)?).to_hex())
    };
    let files = files(named)?;
    if let [only] = files.as_slice() {
        return Ok(of_sha256(&only.display().to_string(), hash(only)?));
    }
    let mut list = String::new();
    for path in &files {
        list.push_str(&format!("{}  {}\n", hash(path)?, path.display()));
    }
    let uri = named.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" ");
    Ok(of_sha256(&uri, HashAlgorithm::Sha256.digest(list.as_bytes()).to_hex()))
}

/// The digest that was judged.
fn digest(subject: &Subject, decision: &Decision) -> Option<Digest> {
    match subject {
        Subject::Image(image) => {
            decision.results.iter().find_map(|result| result.digest).or_else(|| image.digest().copied())
        }
        Subject::File { artifact, .. } => Some(artifact.digest),
    }
}

fn statement(subject: &Subject, digest: &Digest, vsa: &Vsa) -> Result<Vec<u8>, Failure> {
    let wrong = |e: countersign_attestation::JsonError| Failure::internal(e.to_string());
    let name = match subject {
        Subject::Image(image) => image.repository().to_string(),
        Subject::File { artifact, .. } => artifact.name.clone(),
    };
    let predicate = vsa.to_json().map_err(wrong)?;
    Statement::new(vec![Of::of(name, digest)], V1, predicate).and_then(|made| made.to_json()).map_err(wrong)
}
