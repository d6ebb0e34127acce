//! `countersign vex filter`: what remains of a scan once those who are trusted have said what does not touch this artifact.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Args;
use countersign_attestation::predicate::openvex::{OpenVex, TYPES};
use countersign_attestation::predicate::scan_document::ScanDocument;
use countersign_attestation::predicate::triage::{Held, Image, Triage, Unmatched};
use countersign_attestation::predicate::vulnerabilities::{Finding, Severity};
use countersign_attestation::purl::Purl;
use countersign_client::artifact::{read_limited, write_atomically};
use countersign_client::verify::{Says, read_bundle, verify_artifact};
use countersign_clock::{Clock as _, SystemClock};
use countersign_http::text::printable;
use countersign_policy::statements::vex_document;
use countersign_verify::{Report, Verified};
use serde_json::{Value, json};

use super::MAX_FILE;
use crate::args::OutputArgs;
use crate::args::artifact::KnownArtifact;
use crate::commands::verify::VerifyingArgs;
use crate::failure::{Failure, Outcome, REJECTED};
use crate::out::{Terminal, counted, say};
use crate::view::checklist;

fn severity(text: &str) -> Result<Severity, String> {
    let known = || Severity::ALL.map(Severity::name).join(", ");
    let found = Severity::ALL.into_iter().find(|severity| severity.name() == text);
    found.ok_or_else(|| format!("expected one of {}, found \"{text}\"", known()))
}

fn purl(text: &str) -> Result<Purl, String> {
    Purl::parse(text)
        .ok_or_else(|| format!("expected a package URL such as pkg:npm/shop@1.2, found \"{text}\""))
}

/// Takes out of a scan what signed VEX says does not touch this artifact
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:
  countersign vex filter trivy.json registry.example/app@sha256:9f86… \\
    --vex vex.sigstore.json --key vex.pub
  countersign vex filter grype.json app.tar --name pkg:generic/app@1.2 \\
    --vex vex.sigstore.json --email sec@example.com --issuer https://idp.example.com
  countersign vex filter scan.sarif app.tar --vex v.json --key vex.pub --write left.sarif",
    after_help = "The scan is the report of Trivy, of Grype, a SARIF log, or a predicate with one in it. VEX is taken from bundles about this artifact \
which verify; one that does not ends the command. A statement clears a finding only if it names this artifact (or none, then it is about the \
artifact the bundle is about), the vulnerability by any of its names, and, where it names parts, the package; and if no later one says otherwise. \
Statements that match nothing are told on standard error. The exit code is 2 when findings remain."
)]
pub(super) struct Filter {
    /// The report of the scan
    #[arg(value_name = "SCAN")]
    scan: PathBuf,
    /// What was scanned: an image with its digest, a file, or a digest
    #[arg(value_name = "IMAGE|FILE|DIGEST")]
    artifact: String,
    /// A bundle with VEX about the artifact
    #[arg(long, value_name = "FILE", required = true)]
    vex: Vec<PathBuf>,
    /// A package URL by which the artifact goes too
    #[arg(long, value_name = "PURL", value_parser = purl)]
    name: Vec<Purl>,
    /// Only findings of this severity or above remain; those of which nobody says how bad they are always do
    #[arg(long, value_name = "SEVERITY", value_parser = severity)]
    at_least: Option<Severity>,
    /// Write the report without what was cleared to this file
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    verifying: VerifyingArgs,
}

/// A document, and who signed it.
struct Voice {
    file: String,
    signer: String,
}

impl Filter {
    pub(super) fn run(&self, terminal: &Terminal) -> Outcome {
        let requirements = self.verifying.requirements(Says::OneOf(TYPES.map(str::to_owned).to_vec()))?;
        let text = String::from_utf8(read_limited(&self.scan, MAX_FILE)?)
            .map_err(|_| Failure::usage(format!("{} is not UTF-8 text", self.scan.display())))?;
        let scan =
            ScanDocument::read(&text).map_err(|e| Failure::usage(format!("{}: {e}", self.scan.display())))?;
        let known = KnownArtifact::read(&self.artifact)?;
        let trust = self.verifying.material(terminal)?;
        let now = SystemClock.now();
        let (mut voices, mut documents) = (Vec::new(), Vec::new());
        for path in &self.vex {
            let report = match read_bundle(path)? {
                Ok(bundle) => verify_artifact(&known.artifact, &bundle, &trust, &requirements, now)?,
                Err(error) => Report::malformed(&error),
            };
            match report.verified() {
                Ok(verified) => {
                    let document = vex_document(verified, now).map_err(|why| {
                        Failure::new(REJECTED, printable(&format!("{}: {why}", path.display())))
                    })?;
                    documents.push(document);
                    voices.push(Voice { file: path.display().to_string(), signer: signer(verified) });
                }
                Err(_) => {
                    let title = path.display().to_string();
                    say(checklist(terminal, &title, &report, true).trim_end());
                    return Ok(report.exit_code());
                }
            }
        }
        let image = Image { digest: &known.digest, repository: &known.repository };
        let triage = Triage::of(image, &self.name, &documents);
        let held: Vec<Option<Held<'_>>> = scan.findings.iter().map(|finding| triage.held(finding)).collect();
        let judged: Vec<Judged<'_>> =
            scan.findings.iter().zip(held).map(|(finding, held)| Judged { finding, held }).collect();
        let unmatched = triage.unmatched(&scan.findings);
        let remain = judged.iter().filter(|one| !one.is_cleared() && self.counts(one.finding)).count();
        if self.output.is_json() {
            terminal.json("vex-filter", 1, &self.json(&judged, &unmatched, &documents, &voices, remain))?;
        } else {
            self.show(terminal, &judged, &documents, &voices, remain)?;
        }
        loudly(&unmatched, &documents);
        if let Some(path) = &self.write {
            let cleared: BTreeSet<usize> = judged
                .iter()
                .enumerate()
                .filter(|(_, one)| one.is_cleared() || !self.counts(one.finding))
                .map(|(number, _)| number)
                .collect();
            let left = scan.clone().without(&cleared).map_err(|e| Failure::internal(e.to_string()))?;
            write_atomically(path, left.as_bytes())?;
        }
        Ok(if remain == 0 { 0 } else { REJECTED })
    }

    fn counts(&self, finding: &Finding) -> bool {
        self.at_least.is_none_or(|least| finding.severity.is_none_or(|severity| severity >= least))
    }

    fn show(
        &self,
        terminal: &Terminal,
        judged: &[Judged<'_>],
        documents: &[OpenVex],
        voices: &[Voice],
        remain: usize,
    ) -> Result<(), Failure> {
        for one in judged.iter().filter(|one| !one.is_cleared() && self.counts(one.finding)) {
            let why = one.words(documents, voices).map(|why| format!("  {why}")).unwrap_or_default();
            terminal.line(&format!("{} {}{}", terminal.no(), one.title(), terminal.dim(&why)))?;
        }
        for one in judged.iter().filter(|one| one.is_cleared()) {
            let why = one.words(documents, voices).unwrap_or_default();
            terminal.line(&format!("{} {}  {}", terminal.yes(), one.title(), terminal.dim(&why)))?;
        }
        let cleared = judged.iter().filter(|one| one.is_cleared()).count();
        let below = judged.len() - cleared - remain;
        let below =
            self.at_least.filter(|_| below > 0).map(|least| format!(", {below} below {}", least.name()));
        let found = counted(judged.len() as u64, "finding", "findings");
        terminal
            .line(&format!("{found}: {cleared} cleared by VEX{}, {remain} remain", below.unwrap_or_default()))
    }

    fn json(
        &self,
        judged: &[Judged<'_>],
        unmatched: &[Unmatched<'_>],
        documents: &[OpenVex],
        voices: &[Voice],
        remain: usize,
    ) -> Value {
        let findings: Vec<Value> = judged
            .iter()
            .map(|one| {
                let held = one.held.map(|held| said(&held, documents, voices));
                json!({ "id": one.finding.id, "aliases": one.finding.aliases, "package": one.finding.package.name,
                    "version": one.finding.package.version, "severity": one.finding.severity.map(Severity::name),
                    "cleared": one.is_cleared(), "counts": !one.is_cleared() && self.counts(one.finding), "vex": held })
            })
            .collect();
        let unmatched: Vec<Value> = unmatched
            .iter()
            .map(|one| {
                json!({ "vulnerability": one.statement.vulnerability, "status": one.statement.status.code(),
                    "document": documents.get(one.document).map(|document| &document.id),
                    "why": if one.is_about { "nothing_found" } else { "another_product" } })
            })
            .collect();
        json!({ "remain": remain, "findings": findings, "unmatched": unmatched })
    }
}

/// A finding, with the statement that holds for it.
struct Judged<'a> {
    finding: &'a Finding,
    held: Option<Held<'a>>,
}

impl Judged<'_> {
    fn is_cleared(&self) -> bool {
        self.held.is_some_and(|held| held.statement.status.clears())
    }

    fn title(&self) -> String {
        let severity = self.finding.severity.map_or("unknown", Severity::name);
        let package = &self.finding.package;
        printable(&format!("{severity:<10} {}  {} {}", self.finding.id, package.name, package.version))
    }

    fn words(&self, documents: &[OpenVex], voices: &[Voice]) -> Option<String> {
        let held = self.held?;
        let statement = held.statement;
        let why = statement.justification.as_ref().unwrap_or(&statement.words);
        let id = documents.get(held.document).map_or("", |document| &document.id);
        let signer = voices.get(held.document).map_or("", |voice| &voice.signer);
        let status = statement.status.code();
        Some(printable(&format!("{status} ({why}) since {}, {id}, signed by {signer}", statement.time)))
    }
}

fn said(held: &Held<'_>, documents: &[OpenVex], voices: &[Voice]) -> Value {
    let voice = voices.get(held.document);
    json!({ "status": held.statement.status.code(), "justification": held.statement.justification,
        "words": held.statement.words, "time": held.statement.time.to_string(),
        "document": documents.get(held.document).map(|document| &document.id),
        "file": voice.map(|voice| &voice.file), "signer": voice.map(|voice| &voice.signer) })
}

/// Tells of statements that match nothing, also where all else is quiet: whoever wrote them meant something by them.
fn loudly(unmatched: &[Unmatched<'_>], documents: &[OpenVex]) {
    for one in unmatched {
        let name = one.statement.vulnerability.first().map_or("", String::as_str);
        let why = if one.is_about {
            "nothing like it was found there"
        } else {
            "it names another product than this artifact"
        };
        let id = documents.get(one.document).map_or("", |document| &document.id);
        let status = one.statement.status.code();
        say(&printable(&format!("warning: VEX that matches nothing: {name} {status} in {id}: {why}")));
    }
}

/// Who signed, in words.
fn signer(verified: &Verified) -> String {
    let signer = verified.signer();
    match (signer.identity(), signer.issuer()) {
        (Some(identity), Some(issuer)) => format!("{identity} ({issuer})"),
        (Some(identity), None) => identity.to_owned(),
        _ => "the key".to_owned(),
    }
}
