//! `countersign verify`: a checklist for each file or image, the verdict in its last line. For files nobody is asked but the
//! instance for its revocation list, once a minute.

use std::path::{Path, PathBuf};

use clap::Args;
use countersign_client::ClientError;
use countersign_client::artifact::find_bundle;
use countersign_client::image::Wanted;
use countersign_client::trust::Trust;
use countersign_client::verify::{Artifact, Expectations, Says, Who, material, read_bundle, verify_artifact};
use countersign_clock::{Clock as _, SystemClock};
use countersign_verify::{Report, Requirements, TrustMaterial};
use serde_json::json;

use crate::args::authority::AuthorityArgs;
use crate::args::identity::IdentityArgs;
use crate::args::refused::VerifyRefused;
use crate::args::registry::Named;
use crate::args::revocation::RevocationArgs;
use crate::args::services::TrustArgs;
use crate::args::witness::WitnessArgs;
use crate::args::{OutputArgs, number};
use crate::commands::cosign_sign::predicate_type;
use crate::commands::verify_image::{Checks, ImageArgs};
use crate::failure::{Failure, Outcome};
use crate::out::Terminal;
use crate::view::{checklist, report_json};

/// How much evidence is needed.
#[derive(Debug, Args)]
#[command(next_help_heading = "How much evidence")]
pub(crate) struct ThresholdArgs {
    /// At least this many transparency logs; 1, unless said otherwise
    #[arg(long, value_name = "NUMBER", value_parser = number::<usize>)]
    min_logs: Option<usize>,
    /// At least this many timestamp authorities
    #[arg(long, value_name = "NUMBER", value_parser = number::<usize>, default_value_t = 0)]
    min_timestamps: usize,
    /// At least this many CT logs, for signatures by identity; 1, and none under an authority of your own
    #[arg(long, value_name = "NUMBER", value_parser = number::<usize>)]
    min_scts: Option<usize>,
    /// Require a timestamp authority, as cosign spells it
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_short_help = true, value_name = "BOOL")]
    use_signed_timestamps: Option<bool>,
    /// As cosign has it, for signatures made without a log; a signature by identity then needs a timestamp
    #[arg(long, visible_alias = "private-infrastructure", num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_short_help = true, value_name = "BOOL")]
    insecure_ignore_tlog: Option<bool>,
    /// Ask nobody: not even the instance whether its revocation list is a newer one than the kept one
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_short_help = true, value_name = "BOOL")]
    offline: Option<bool>,
    /// Accepted: bundles and cosign's older forms are all read
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_short_help = true, value_name = "BOOL")]
    new_bundle_format: Option<bool>,
    /// Accepted: that a signature is of this artifact is always checked
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_short_help = true, value_name = "BOOL")]
    check_claims: Option<bool>,
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
    authority: AuthorityArgs,
    #[command(flatten)]
    revocation: RevocationArgs,
    #[command(flatten)]
    refused: VerifyRefused,
}

impl VerifyingArgs {
    /// Refuses what is not taken, before anything else is looked at.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        self.refused.check()
    }

    /// What must hold, whatever it is of.
    pub(crate) fn expectations(&self) -> Result<Expectations, Failure> {
        self.check()?;
        self.authority.check(self.identity.by_key())?;
        let own = self.authority.is_own();
        let who = self.identity.who(own)?;
        let t = &self.thresholds;
        if t.offline == Some(false) {
            return Err(Failure::usage(
                "--offline=false is not taken: verification asks nobody but the instance for its revocation list, whatever is said",
            ));
        }
        if t.check_claims == Some(false) {
            return Err(Failure::usage(
                "--check-claims=false is not taken: a signature of something else says nothing about this artifact",
            ));
        }
        if t.new_bundle_format == Some(false) {
            return Err(Failure::usage(
                "--new-bundle-format=false is not taken: every form is read, and whichever verifies is enough",
            ));
        }
        let unlogged = t.insecure_ignore_tlog == Some(true);
        if unlogged && let Some(least @ 1..) = t.min_logs {
            return Err(Failure::usage(format!(
                "both --min-logs {least} and --insecure-ignore-tlog are given; one of them would not be heard"
            )));
        }
        // Where no log says when a certificate of ten minutes was used, a timestamp authority must.
        let stamped =
            t.use_signed_timestamps == Some(true) || unlogged && !own && matches!(who, Who::Identities(_));
        Ok(Expectations {
            logs: if unlogged { 0 } else { t.min_logs.unwrap_or(1) },
            timestamps: t.min_timestamps.max(usize::from(stamped)),
            scts: t.min_scts.unwrap_or(usize::from(!own)),
            witnesses: self.witness.load()?.1,
            now_as_time: own,
            ..Expectations::of(who)
        })
    }

    pub(crate) fn requirements(&self, says: Says) -> Result<Requirements, Failure> {
        Ok(Expectations { says, ..self.expectations()? }.requirements()?)
    }

    pub(crate) fn material(&self, terminal: &Terminal) -> Result<TrustMaterial, Failure> {
        let t = &self.thresholds;
        if t.offline != Some(true) {
            self.trust.refresh_revocations(terminal)?;
        }
        let unlogged = t.min_logs == Some(0) || t.insecure_ignore_tlog == Some(true);
        let needs_none = unlogged && (self.identity.by_key() || self.authority.is_own());
        let mut trust = match self.trust.load(None) {
            Ok(trust) => trust,
            // A key or an authority of one's own says whom to trust when no log is asked for.
            Err(failure) if needs_none && failure.code == crate::failure::TRUST => Trust::nobody(),
            Err(failure) => return Err(failure),
        };
        if self.authority.adds() {
            self.authority.apply(&mut trust.root)?;
        }
        trust.revocations.extend(self.revocation.load(&self.trust)?);
        Ok(material(&trust)?.with_witnesses(self.witness.load()?.0))
    }
}

#[derive(Debug, Args)]
#[command(
    before_help = "Examples:
  countersign verify app.tar --email alice@example.com --issuer https://idp.example.com
  countersign verify app.tar --repo owner/name              built by a workflow on GitHub
  countersign verify app.tar --key release.pub
  countersign verify registry.example/app:v1 --key release.pub -a env=prod
  countersign verify sha256:9f86… --bundle app.tar.sigstore.json --repo owner/name",
    after_help = "Verifying a file asks nobody for evidence: everything it needs is in the bundle and in the trust root; only a --key that \
lives elsewhere is fetched, and the revocation list of the instance, when it has one and the kept one is older than a minute. With \
--offline, no socket is opened. For an image, only its registry is asked. For the Notary Project's signatures: countersign verify --notary --help. \
By policies in files: countersign verify --policy --help."
)]
pub(crate) struct Verify {
    /// Files, images, or a digest such as sha256:9f86…; file: and oci: in front force which it is
    #[arg(required = true, value_name = "FILE|IMAGE|DIGEST")]
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
    images: ImageArgs,
    #[command(flatten)]
    verifying: VerifyingArgs,
}

impl Verify {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        self.each(terminal, &self.artifacts)
    }

    /// Takes the arguments for files, and verifies the images that are read from them.
    pub(crate) fn of_files(
        &self,
        terminal: &Terminal,
        read: impl Fn(&Path) -> Result<Vec<String>, Failure>,
    ) -> Outcome {
        if self.images.is_local() {
            return Err(Failure::usage("--local-image: the images that are named here are in registries"));
        }
        let mut images = Vec::new();
        for file in &self.artifacts {
            images.extend(read(Path::new(file))?.into_iter().map(|name| format!("oci:{name}")));
        }
        if images.is_empty() {
            return Err(Failure::usage("no image is named, so there is nothing to verify"));
        }
        self.each(terminal, &images)
    }

    fn each(&self, terminal: &Terminal, artifacts: &[String]) -> Outcome {
        self.verifying.check()?;
        self.images.check()?;
        if self.bundle.is_some() && artifacts.len() > 1 {
            return Err(Failure::usage("--bundle names one file, and several artifacts are to be verified"));
        }
        let image = |text: &String| -> Result<bool, Failure> {
            Ok(self.images.is_local() || matches!(Named::read(text)?, Named::Image(_)))
        };
        let are_images = artifacts.iter().map(image).collect::<Result<Vec<_>, _>>()?;
        let has_images = are_images.contains(&true);
        if !has_images {
            self.images.refuse_for_files()?;
        }
        if has_images && self.bundle.is_some() {
            return Err(Failure::usage(
                "--bundle goes with a file; the signatures of an image are in its registry",
            ));
        }
        let kind = self.kind.as_deref().map(predicate_type).transpose()?;
        let expectations = Expectations {
            says: kind.clone().map_or(Says::Anything, |kind| Says::OneOf(vec![kind])),
            annotations: self.images.annotations()?,
            ..self.verifying.expectations()?
        };
        let for_files = expectations.requirements()?;
        let wanted = if kind.is_some() { Wanted::Statements } else { Wanted::Signatures };
        let for_images =
            if kind.is_some() { expectations } else { Expectations { says: Says::Signed, ..expectations } };
        let for_images = for_images.requirements()?;
        let trust = self.verifying.material(terminal)?;
        let image_checks =
            Checks { wanted, predicate_types: kind.as_slice(), trust: &trust, requirements: &for_images };
        let mut code = 0;
        let mut documents = Vec::new();
        for (text, is_image) in artifacts.iter().zip(are_images) {
            let (found, document) = if is_image {
                let verdict = self.images.verify(terminal, text, &image_checks)?;
                if !self.output.is_json() {
                    verdict.show(terminal, self.explain)?;
                }
                (verdict.report.exit_code(), verdict.json())
            } else {
                let text = text.strip_prefix("file:").unwrap_or(text);
                let report = match self.report(&Artifact::parse(text), &trust, &for_files) {
                    Ok(report) => report,
                    Err(ClientError::NoSignature(_)) if self.bundle.is_none() => Report::no_signature(),
                    Err(error) => return Err(error.into()),
                };
                if !self.output.is_json() {
                    terminal.data(&checklist(terminal, text, &report, self.explain))?;
                }
                (report.exit_code(), report_json(text, &report))
            };
            if code == 0 {
                code = found;
            }
            documents.push(document);
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
