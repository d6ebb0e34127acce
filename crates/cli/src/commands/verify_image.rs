//! `verify-attestation`, and what verifying images is made of: the arguments, the verdict, and how it is shown.

use std::path::PathBuf;

use clap::Args;
use countersign_client::image::{ImageReport, Place, Wanted, verify_image};
use countersign_client::verify::{Expectations, Says};
use countersign_clock::{Clock as _, SystemClock};
use countersign_registry::Layout;
use countersign_verify::{Payload, Report, Requirements, SIGN_PREDICATE_TYPE, TrustMaterial, Verified};
use serde_json::{Value, json};

use crate::args::authority::certificates;
use crate::args::refused::VerifyImageRefused;
use crate::args::registry::{RegistryArgs, image};
use crate::args::{OutputArgs, number};
use crate::checklist::others;
use crate::commands::cosign_sign::predicate_type;
use crate::commands::verify::VerifyingArgs;
use crate::failure::{Failure, Outcome};
use crate::out::{Terminal, block_on, say};
use crate::view::{checklist, report_json};

/// How many pieces of evidence of an image are looked at unless told otherwise.
const MAX_EVIDENCE: usize = 100;

/// Arguments about images, for all commands that verify them.
#[derive(Debug, Args)]
#[command(next_help_heading = "Images")]
pub(crate) struct ImageArgs {
    /// Require this annotation, signed along with the image; several must all be in one signature
    #[arg(short, long, value_name = "NAME=VALUE")]
    annotations: Vec<String>,
    /// The image is an OCI layout on disk, as `countersign save` writes it, and no registry is asked
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", hide_default_value = true, hide_possible_values = true, value_name = "BOOL")]
    local_image: bool,
    /// The certificate, PEM, for signatures that come without theirs
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    certificate: Option<PathBuf>,
    /// How many pieces of evidence are looked at, at most; more of them is an error [default: 100]
    #[arg(long, value_name = "NUMBER", value_parser = number::<usize>, hide_short_help = true)]
    max_evidence: Option<usize>,
    #[command(flatten)]
    pub(crate) registry: RegistryArgs,
    #[command(flatten)]
    refused: VerifyImageRefused,
}

/// What an image is judged by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Checks<'a> {
    pub(crate) wanted: Wanted,
    pub(crate) predicate_types: &'a [String],
    pub(crate) trust: &'a TrustMaterial,
    pub(crate) requirements: &'a Requirements,
}

/// `name=value` pairs.
pub(crate) fn annotations(texts: &[String]) -> Result<Vec<(String, String)>, Failure> {
    let mut all: Vec<(String, String)> = Vec::with_capacity(texts.len());
    for text in texts {
        let (name, value) = text
            .split_once('=')
            .filter(|(name, _)| !name.is_empty())
            .ok_or_else(|| Failure::usage(format!("-a: expected name=value, found \"{text}\"")))?;
        if all.iter().any(|(own, _)| own == name) {
            return Err(Failure::usage(format!(
                "-a: {name} is given twice; one of them would not be checked"
            )));
        }
        all.push((name.to_owned(), value.to_owned()));
    }
    Ok(all)
}

impl ImageArgs {
    pub(crate) fn is_local(&self) -> bool {
        self.local_image
    }

    pub(crate) fn annotations(&self) -> Result<Vec<(String, String)>, Failure> {
        annotations(&self.annotations)
    }

    /// Refuses what is not taken, before anything else is looked at.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        self.refused.check()?;
        self.registry.check()
    }

    /// What says nothing about files is refused where there are no images, so that nobody believes that it was checked.
    pub(crate) fn refuse_for_files(&self) -> Result<(), Failure> {
        if self.certificate.is_some() {
            return Err(Failure::usage(
                "--certificate is for images; the certificate of a file is in its bundle",
            )
            .next("for a signature by itself: countersign verify-blob --signature FILE --certificate FILE"));
        }
        if self.max_evidence.is_some() {
            return Err(Failure::usage("--max-evidence is for images; a file has one bundle"));
        }
        Ok(())
    }

    /// Verifies one image.
    pub(crate) fn verify(
        &self,
        terminal: &Terminal,
        text: &str,
        checks: &Checks<'_>,
    ) -> Result<Verdict, Failure> {
        let certificate = match &self.certificate {
            None => None,
            Some(path) => certificates(path)?.first().map(|certificate| certificate.der().to_vec()),
        };
        let how = countersign_client::image::Checks {
            wanted: checks.wanted,
            trust: checks.trust,
            requirements: checks.requirements,
            certificate: certificate.as_deref(),
            predicate_types: checks.predicate_types,
            max_evidence: self.max_evidence.unwrap_or(MAX_EVIDENCE),
            now: SystemClock.now(),
        };
        if self.local_image {
            let layout = Layout::open(text.strip_prefix("oci:").unwrap_or(text).as_ref())?;
            let name = layout.image()?;
            let found = block_on(terminal, async {
                let place = Place { image: &layout, evidence: &layout, name: &name };
                Ok(verify_image(place, &how).await?)
            })?;
            return Ok(Verdict::new(text.to_owned(), checks.wanted, found));
        }
        let reference = image(text)?;
        let images = self.registry.images([&reference])?;
        let found = block_on(terminal, async {
            let (home, evidence) = (images.home(&reference), images.evidence(&reference));
            let place = Place { image: &home, evidence: &evidence, name: &reference.name() };
            Ok(verify_image(place, &how).await?)
        })?;
        Ok(Verdict::new(reference.at(found.digest).to_string(), checks.wanted, found))
    }
}

/// What came of one image.
#[derive(Debug)]
pub(crate) struct Verdict {
    /// The image by its digest.
    title: String,
    /// What was looked for: a signature or a statement.
    what: &'static str,
    found: ImageReport,
    pub(crate) report: Report,
}

impl Verdict {
    fn new(title: String, wanted: Wanted, found: ImageReport) -> Self {
        let report = found.report();
        let what = if wanted == Wanted::Statements { "statement" } else { "signature" };
        Self { title, what, found, report }
    }

    /// cosign's document of what was verified on standard output, the checklist on standard error.
    pub(crate) fn show(&self, terminal: &Terminal, explain: bool) -> Result<(), Failure> {
        self.list(terminal, explain);
        if self.report.verified().is_err() {
            return Ok(());
        }
        let all: Vec<Value> =
            self.found.verified().map(|(_, verified)| simple_signing(&self.title, verified)).collect();
        terminal.line(&Value::from(all).to_string())
    }

    /// The checklist; a refusal even where all else is quiet.
    fn list(&self, terminal: &Terminal, explain: bool) {
        let list = checklist(terminal, &self.title, &self.report, explain);
        let list = list.trim_end();
        if self.report.verified().is_ok() {
            return terminal.talk(list);
        }
        say(list);
        if let Some(line) = others(self.found.pieces.len().saturating_sub(1), self.what) {
            terminal.talk(&line);
        }
        if !self.found.passed_over.is_empty() {
            let kinds: Vec<&str> = self.found.passed_over.iter().map(String::as_str).collect();
            let kinds = countersign_http::text::printable(&kinds.join(", "));
            terminal.talk(&format!("there are statements about it, which are no signature of it: {kinds}"));
        }
    }

    /// The report of the piece that decides, and in short those of all others.
    pub(crate) fn json(&self) -> Value {
        let mut document = report_json(&self.title, &self.report);
        let evidence: Vec<Value> = self
            .found
            .pieces
            .iter()
            .map(|piece| {
                let reason = piece.report.verified().err().map(|r| r.reason.code());
                json!({ "form": piece.form.name(), "digest": piece.digest.to_string(),
                    "verified": reason.is_none(), "reason": reason })
            })
            .collect();
        if let Some(document) = document.as_object_mut() {
            document.insert("evidence".into(), evidence.into());
        }
        document
    }
}

/// What was verified, in the shape in which cosign prints it. Only signed facts are in it.
fn simple_signing(image: &str, verified: &Verified) -> Value {
    let (reference, kind) = match verified.value() {
        Payload::SimpleSigning { payload, .. } => {
            (payload.docker_reference.as_str(), countersign_attestation::simple_signing::SIGNATURE_TYPE)
        }
        _ => (image, verified.statement().map_or(SIGN_PREDICATE_TYPE, |s| s.predicate_type.as_str())),
    };
    json!({
        "critical": {
            "identity": { "docker-reference": reference },
            "image": { "docker-manifest-digest": verified.digest().to_string() },
            "type": kind,
        },
        "optional": verified.annotations().cloned().unwrap_or_default(),
    })
}

#[derive(Debug, Args)]
#[command(
    before_help = "Examples:
  countersign verify-attestation --type spdxjson --key cosign.pub registry.example/app:v1
  countersign verify-attestation --type slsaprovenance1 --repo acme/app registry.example/app:v1 \\
    | jq -r .payload | base64 -d",
    after_help = "Prints the envelopes of the statements that are verified, one JSON document on each line. When none is left, nothing is \
printed (with --output json, the report of the refusal), and the exit code says why."
)]
pub(crate) struct VerifyAttestation {
    /// The images
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
    /// What the statement must say: a URI or one of cosign's short names
    #[arg(long = "type", value_name = "TYPE", default_value = "custom")]
    kind: String,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    image: ImageArgs,
    #[command(flatten)]
    verifying: VerifyingArgs,
}

impl VerifyAttestation {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        self.verifying.check()?;
        self.image.check()?;
        let kinds = [predicate_type(&self.kind)?];
        let expectations = Expectations {
            says: Says::OneOf(kinds.to_vec()),
            annotations: self.image.annotations()?,
            ..self.verifying.expectations()?
        };
        let requirements = expectations.requirements()?;
        let trust = self.verifying.material(terminal)?;
        let checks = Checks {
            wanted: Wanted::Statements,
            predicate_types: &kinds,
            trust: &trust,
            requirements: &requirements,
        };
        let mut code = 0;
        for text in &self.images {
            let verdict = self.image.verify(terminal, text, &checks)?;
            if code == 0 {
                code = verdict.report.exit_code();
            }
            if self.output.is_json() && verdict.report.verified().is_err() {
                let document = json!({ "verified": false, "reports": [verdict.json()] });
                terminal.json("verify", 1, &document)?;
            }
            verdict.list(terminal, terminal.verbose);
            for (piece, _) in verdict.found.verified() {
                if let Some(envelope) = &piece.envelope {
                    terminal.line(&String::from_utf8_lossy(&envelope.to_json()))?;
                }
            }
        }
        Ok(code)
    }
}
