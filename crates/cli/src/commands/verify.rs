//! `countersign verify`: a checklist for each file, the verdict in the last line. Opens no socket.

use std::path::PathBuf;

use clap::Args;
use countersign_client::ClientError;
use countersign_client::artifact::find_bundle;
use countersign_client::verify::{Artifact, Expectations, Who, material, read_bundle, verify_artifact};
use countersign_clock::{Clock as _, SystemClock};
use countersign_verify::{Report, Requirements, TrustMaterial};
use serde_json::json;

use crate::args::OutputArgs;
use crate::args::identity::IdentityArgs;
use crate::args::refused::VerifyRefused;
use crate::args::services::TrustArgs;
use crate::args::witness::WitnessArgs;
use crate::commands::cosign_sign::predicate_type;
use crate::failure::{Failure, Outcome};
use crate::out::Terminal;
use crate::view::{checklist, report_json};

/// How much evidence is needed.
#[derive(Debug, Args)]
#[command(next_help_heading = "How much evidence")]
pub(crate) struct ThresholdArgs {
    /// At least this many transparency logs
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    min_logs: usize,
    /// At least this many timestamp authorities
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    min_timestamps: usize,
    /// At least this many CT logs, for signatures by identity
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    min_scts: usize,
    /// Require a timestamp authority, as cosign spells it
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_short_help = true, value_name = "BOOL")]
    use_signed_timestamps: Option<bool>,
    /// As cosign has it; with --key only, for signatures made without a log
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_short_help = true, value_name = "BOOL")]
    insecure_ignore_tlog: Option<bool>,
    /// Accepted: verification never asks anyone
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_short_help = true, value_name = "BOOL")]
    offline: Option<bool>,
}

/// What all commands that verify take.
#[derive(Debug, Args)]
pub(crate) struct VerifyingArgs {
    #[command(flatten)]
    pub(crate) identity: IdentityArgs,
    #[command(flatten)]
    trust: TrustArgs,
    #[command(flatten)]
    thresholds: ThresholdArgs,
    #[command(flatten)]
    witness: WitnessArgs,
    #[command(flatten)]
    refused: VerifyRefused,
}

impl VerifyingArgs {
    pub(crate) fn requirements(&self, predicate_types: Vec<String>) -> Result<Requirements, Failure> {
        self.refused.check()?;
        let who = self.identity.who()?;
        let t = &self.thresholds;
        if t.offline == Some(false) {
            return Err(Failure::usage(
                "--offline=false is not taken: verification asks nobody, whatever is said",
            ));
        }
        let unlogged = t.insecure_ignore_tlog == Some(true);
        if unlogged && matches!(who, Who::Identities(_)) {
            return Err(Failure::usage(
                "--insecure-ignore-tlog goes with --key only: a certificate of ten minutes is worth what the log says",
            ));
        }
        let expectations = Expectations {
            logs: if unlogged { 0 } else { t.min_logs },
            timestamps: t.min_timestamps.max(usize::from(t.use_signed_timestamps == Some(true))),
            scts: t.min_scts,
            witnesses: self.witness.load()?.1,
            predicate_types,
            ..Expectations::of(who)
        };
        Ok(expectations.requirements()?)
    }

    pub(crate) fn material(&self) -> Result<TrustMaterial, Failure> {
        let t = &self.thresholds;
        let needs_none = self.identity.by_key() && (t.min_logs == 0 || t.insecure_ignore_tlog == Some(true));
        let trusted = match self.trust.load(None) {
            Ok(trust) => material(&trust)?,
            // A key alone says whom to trust when no log and no timestamp is asked for.
            Err(failure) if needs_none && failure.code == crate::failure::TRUST => TrustMaterial::empty(),
            Err(failure) => return Err(failure),
        };
        Ok(trusted.with_witnesses(self.witness.load()?.0))
    }
}

/// Verify files: who signed them, when, and that nothing has changed since
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:
  countersign verify app.tar --email alice@example.com --issuer https://idp.example.com
  countersign verify app.tar --repo owner/name              built by a workflow on GitHub
  countersign verify app.tar --key release.pub
  countersign verify sha256:9f86… --bundle app.tar.sigstore.json --repo owner/name",
    after_help = "Verification opens no socket: everything it needs is in the bundle and in the trust root."
)]
pub(crate) struct Verify {
    /// The files, or a digest such as sha256:9f86…
    #[arg(required = true, value_name = "FILE|DIGEST")]
    artifacts: Vec<String>,
    /// The signature of a single file, instead of FILE.sigstore.json
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
    /// Require a statement of this type: a URI or one of cosign's short names
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// Say what each check expected and which part of the bundle it is about
    #[arg(long)]
    explain: bool,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    verifying: VerifyingArgs,
}

impl Verify {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        if self.bundle.is_some() && self.artifacts.len() > 1 {
            return Err(Failure::usage("--bundle names one file, and several artifacts are to be verified"));
        }
        let types = self.kind.as_deref().map(predicate_type).transpose()?.into_iter().collect();
        let requirements = self.verifying.requirements(types)?;
        let trust = self.verifying.material()?;
        let mut code = 0;
        let mut documents = Vec::new();
        for text in &self.artifacts {
            let artifact = Artifact::parse(text);
            let report = match self.report(&artifact, &trust, &requirements) {
                Ok(report) => report,
                Err(ClientError::NoSignature(_)) if self.bundle.is_none() => Report::no_signature(),
                Err(error) => return Err(error.into()),
            };
            if code == 0 {
                code = report.exit_code();
            }
            if self.output.is_json() {
                documents.push(report_json(text, &report));
            } else {
                terminal.data(&checklist(terminal, text, &report, self.explain))?;
            }
        }
        if self.output.is_json() {
            terminal.json("verify", 1, &json!({ "verified": code == 0, "reports": documents }))?;
        }
        Ok(code)
    }

    fn report(
        &self,
        artifact: &Artifact,
        trust: &TrustMaterial,
        requirements: &Requirements,
    ) -> Result<Report, ClientError> {
        let path = match (&self.bundle, artifact) {
            (Some(path), _) => path.clone(),
            (None, Artifact::File(file)) => {
                if !file.exists() {
                    // An artifact that is not there is a mistake in the command, not a missing signature.
                    std::fs::File::open(file).map_err(ClientError::file("open", file))?;
                }
                find_bundle(file)?
            }
            (None, Artifact::Digest(_)) => {
                return Err(ClientError::Usage(
                    "a digest says nothing about where its signature is: give --bundle".into(),
                ));
            }
        };
        match read_bundle(&path)? {
            Ok(bundle) => verify_artifact(artifact, &bundle, trust, requirements, SystemClock.now()),
            Err(error) => Ok(Report::malformed(&error)),
        }
    }
}
