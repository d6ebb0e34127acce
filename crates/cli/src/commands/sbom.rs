//! `countersign sbom`: looking at bills of materials, and checking that one is about an artifact and says enough.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use countersign_attestation::Statement;
use countersign_attestation::predicate::registry;
use countersign_attestation::predicate::sbom::{Binding, Element, Missing, Sbom, is_type};
use countersign_bundle::Bundle;
use countersign_client::artifact::read_limited;
use countersign_client::verify::{Says, read_bundle, verify_artifact};
use countersign_clock::{Clock as _, SystemClock};
use countersign_http::text::printable;
use countersign_verify::Report;
use serde_json::{Value, json};

use crate::args::OutputArgs;
use crate::args::artifact::KnownArtifact;
use crate::commands::verify::VerifyingArgs;
use crate::failure::{Failure, Outcome, REJECTED};
use crate::out::{Terminal, say};
use crate::view::checklist;

/// The largest document, in bytes.
const MAX_FILE: usize = 32 << 20;

#[derive(Debug, Args)]
#[command(before_help = "Examples:
  countersign sbom inspect sbom.json
  countersign sbom check sbom.sigstore.json registry.example/app@sha256:9f86… --key ci.pub
  countersign sbom check --unsigned sbom.json app.tar")]
pub(crate) struct SbomCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Inspect(Inspect),
    Check(Box<Check>),
}

impl SbomCommand {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        match &self.action {
            Action::Inspect(command) => command.run(terminal),
            Action::Check(command) => command.run(terminal),
        }
    }
}

/// Shows what a bill of materials says, and what it lacks; verifies nothing
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:
  countersign sbom inspect sbom.spdx.json
  countersign sbom inspect -o json sbom.sigstore.json",
    after_help = "Read are CycloneDX 1.2 to 1.7 (JSON), SPDX 2 (JSON, tag-value) and SPDX 3 (JSON-LD), by themselves, in a statement, or in a bundle. \
Nobody's signature is looked at: that is `countersign sbom check`."
)]
struct Inspect {
    /// The document, a statement with it, or a bundle
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    output: OutputArgs,
}

impl Inspect {
    fn run(&self, terminal: &Terminal) -> Outcome {
        let text = text(&self.file)?;
        let wrong = |why: String| Failure::new(REJECTED, format!("{}: {why}", self.file.display()));
        let bundle = Bundle::from_json(text.as_bytes()).ok();
        let envelope = bundle.as_ref().and_then(|bundle| bundle.content.envelope());
        let payload = envelope.map_or(text.as_bytes(), |envelope| envelope.payload.as_slice());
        let sbom = match Statement::from_json(payload) {
            Ok(statement) => of_statement(&statement).map_err(wrong)?,
            Err(e) if envelope.is_some() => return Err(wrong(e.to_string())),
            Err(_) => Sbom::of_any_form(&text).map_err(|e| wrong(e.to_string()))?,
        };
        if self.output.is_json() {
            terminal.json("sbom", 1, &described(&sbom, &sbom.missing()))?;
        } else {
            show(terminal, &sbom)?;
            gaps(terminal, &sbom.missing())?;
        }
        Ok(0)
    }
}

/// Checks that a signed bill of materials is about an artifact, names components, and says enough of them
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:
  countersign sbom check sbom.sigstore.json registry.example/app@sha256:9f86… --key ci.pub
  countersign sbom check app.tar.sigstore.json app.tar --repo owner/name --without supplier
  countersign sbom check --unsigned sbom.json app.tar",
    after_help = "The bundle must verify, as with `countersign verify`, and be about the artifact; what the document itself says that it is about must \
not contradict that. Then the minimum elements of the NTIA must be there: author, timestamp, supplier, name, version, identifier, relationship. \
The exit code is 2 when something is missing."
)]
struct Check {
    /// The bundle with the bill of materials
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// What it must be about: an image with its digest, a file, or a digest
    #[arg(value_name = "IMAGE|FILE|DIGEST")]
    artifact: String,
    /// The file is the document itself, signed by nobody; it must name the digest of the artifact
    #[arg(long, conflicts_with_all = ["IdentityArgs", "TrustArgs", "ThresholdArgs", "WitnessArgs", "AuthorityArgs", "RevocationArgs"])]
    unsigned: bool,
    /// Do without this element: author, timestamp, supplier, name, version, identifier or relationship
    #[arg(long, value_name = "ELEMENT", value_parser = element)]
    without: Vec<Element>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    verifying: VerifyingArgs,
}

/// The short names of the elements.
const ELEMENTS: [(&str, Element); 7] = [
    ("author", Element::Author),
    ("timestamp", Element::Timestamp),
    ("supplier", Element::Supplier),
    ("name", Element::Name),
    ("version", Element::Version),
    ("identifier", Element::Identifier),
    ("relationship", Element::Relationship),
];

fn element(text: &str) -> Result<Element, String> {
    let found = ELEMENTS.iter().find(|(name, _)| *name == text).map(|(_, element)| *element);
    found.ok_or_else(|| {
        format!("expected one of {}, found \"{text}\"", ELEMENTS.map(|(name, _)| name).join(", "))
    })
}

fn short(element: Element) -> &'static str {
    ELEMENTS.iter().find(|(_, own)| *own == element).map_or("", |(name, _)| *name)
}

impl Check {
    fn run(&self, terminal: &Terminal) -> Outcome {
        let known = KnownArtifact::read(&self.artifact)?;
        let sbom = if self.unsigned {
            let read = Sbom::of_any_form(&text(&self.file)?);
            read.map_err(|e| Failure::new(REJECTED, format!("{}: {e}", self.file.display())))?
        } else {
            match self.verified(terminal, &known)? {
                Ok(sbom) => sbom,
                Err(code) => return Ok(code),
            }
        };
        let mut missing = sbom.missing();
        missing.retain(|one| !self.without.contains(&one.element));
        let mut wrong = Vec::new();
        match sbom.binding(&known.digest) {
            Binding::Other => wrong.push(format!(
                "expected it to be about {}, found that it says {}",
                known.digest,
                sbom.digests.iter().cloned().collect::<Vec<_>>().join(", ")
            )),
            Binding::Silent if self.unsigned => wrong.push(format!(
                "expected it to be about {}, found that it says of nothing what it is about, and nobody signed for it",
                known.digest
            )),
            Binding::Named | Binding::Silent => {}
        }
        if sbom.components == 0 {
            wrong.push("expected at least one component, found none".to_owned());
        }
        let passed = wrong.is_empty() && missing.is_empty();
        if self.output.is_json() {
            let document = described(&sbom, &missing);
            let checked =
                json!({ "passed": passed, "signed": !self.unsigned, "wrong": wrong, "sbom": document });
            terminal.json("sbom-check", 1, &checked)?;
        } else {
            show(terminal, &sbom)?;
            for why in &wrong {
                terminal.line(&format!("{} {}", terminal.no(), printable(why)))?;
            }
            gaps(terminal, &missing)?;
            terminal.line(if passed { "PASSED" } else { "FAILED" })?;
        }
        Ok(if passed { 0 } else { REJECTED })
    }

    /// The document of a bundle that verifies; else the exit code of one that does not.
    fn verified(&self, terminal: &Terminal, known: &KnownArtifact) -> Result<Result<Sbom, u8>, Failure> {
        let kinds = registry::KINDS.iter().flat_map(|kind| kind.types).filter(|kind| is_type(kind));
        let types = kinds.map(|kind| (*kind).to_owned()).collect();
        let requirements = self.verifying.requirements(Says::OneOf(types))?;
        let trust = self.verifying.material(terminal)?;
        let report = match read_bundle(&self.file)? {
            Ok(bundle) => {
                verify_artifact(&known.artifact, &bundle, &trust, &requirements, SystemClock.now())?
            }
            Err(error) => Report::malformed(&error),
        };
        let title = self.file.display().to_string();
        let Ok(verified) = report.verified() else {
            say(checklist(terminal, &title, &report, true).trim_end());
            return Ok(Err(report.exit_code()));
        };
        if terminal.verbose {
            terminal.talk(&checklist(terminal, &title, &report, false));
        }
        let statement = verified.statement().ok_or_else(|| Failure::new(REJECTED, "it is no statement"))?;
        let read = of_statement(statement);
        read.map(Ok).map_err(|why| Failure::new(REJECTED, format!("{}: {why}", self.file.display())))
    }
}

fn text(path: &Path) -> Result<String, Failure> {
    String::from_utf8(read_limited(path, MAX_FILE)?)
        .map_err(|_| Failure::usage(format!("{} is not UTF-8 text", path.display())))
}

fn of_statement(statement: &Statement) -> Result<Sbom, String> {
    let predicate = statement.predicate.as_ref().ok_or("the statement has no predicate")?;
    Sbom::from_json(&statement.predicate_type, predicate.get()).map_err(|e| e.to_string())
}

fn show(terminal: &Terminal, sbom: &Sbom) -> Result<(), Failure> {
    let line = |name: &str, value: String| terminal.line(&format!("{name:<12}{}", printable(&value)));
    let version = sbom.version.strip_prefix("SPDX-").unwrap_or(&sbom.version);
    line("form", format!("{} {version}", sbom.format.name()))?;
    if let Some(root) = &sbom.root {
        line("about", format!("{} {}", root.name, root.version))?;
    }
    for digest in &sbom.digests {
        line("digest", digest.clone())?;
    }
    line("components", sbom.components.to_string())?;
    line("made by", sbom.authors.join(", "))?;
    line("made at", sbom.created.map_or_else(String::new, |time| time.to_string()))
}

fn gaps(terminal: &Terminal, missing: &[Missing]) -> Result<(), Failure> {
    for element in Element::ALL {
        let Some(one) = missing.iter().find(|one| one.element == element) else {
            terminal.line(&format!("{} {}", terminal.yes(), element.name()))?;
            continue;
        };
        let whose = if one.examples.is_empty() {
            "missing".to_owned()
        } else {
            let more = one.count.saturating_sub(one.examples.len());
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            format!("missing with {}: {}{more}", one.count, one.examples.join(", "))
        };
        terminal.line(&format!("{} {}: {}", terminal.no(), element.name(), printable(&whose)))?;
    }
    Ok(())
}

fn described(sbom: &Sbom, missing: &[Missing]) -> Value {
    let root = sbom.root.as_ref().map(|root| {
        json!({ "name": root.name, "version": root.version, "purl": root.purl.as_ref().map(ToString::to_string) })
    });
    let missing: Vec<Value> = missing
        .iter()
        .map(|one| json!({ "element": short(one.element), "count": one.count, "examples": one.examples }))
        .collect();
    json!({ "format": sbom.format.name(), "version": sbom.version, "components": sbom.components, "root": root,
        "digests": sbom.digests, "authors": sbom.authors, "created": sbom.created.map(|time| time.to_string()),
        "hasRelationships": sbom.has_relationships, "missing": missing })
}
