//! Signing images, and `attest`: what is signed along, where it is written, and what a dry run shows.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use countersign_attestation::{Statement, predicate};
use countersign_client::artifact::{read_limited, write_atomically};
use countersign_client::image::{
    Attesting, Forms, Images, Made, Signing, Target, attest, each, sign, targets,
};
use countersign_client::sign::Session;
use countersign_client::trust::Trust;
use countersign_clock::{Clock as _, SystemClock};
use countersign_crypto::encoding;
use countersign_registry::evidence::OlderTag;
use countersign_registry::{Reference, RemoteRepository, Store};
use serde_json::value::RawValue;

use crate::args::refused::{AttestRefused, SignImageRefused};
use crate::args::registry::{RegistryArgs, image};
use crate::commands::cosign_sign::{MAX_PREDICATE, PredicateArgs, predicate_type};
use crate::commands::sign::SigningArgs;
use crate::commands::verify_image::annotations;
use crate::failure::{Failure, Outcome};
use crate::out::{Terminal, block_on};

/// Where signatures lie, by cosign's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ReferrersMode {
    /// At cosign's older tags.
    #[value(name = "legacy")]
    Legacy,
    /// As referrers of the image.
    #[value(name = "oci-1-1")]
    Oci11,
}

/// Arguments about the form of evidence, and where it is written.
#[derive(Debug, Args)]
#[command(next_help_heading = "Images")]
pub(crate) struct FormArgs {
    /// Write cosign's older form too, which older verifiers and scanners look for
    #[arg(long)]
    also_legacy: bool,
    /// With false, as cosign has it: write the older form only
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_short_help = true, hide_possible_values = true, value_name = "BOOL")]
    new_bundle_format: Option<bool>,
    /// As cosign has it: legacy is the older form only, oci-1-1 is what is done anyhow
    #[arg(long, value_enum, value_name = "MODE", hide_short_help = true, hide_possible_values = true)]
    registry_referrers_mode: Option<ReferrersMode>,
    #[command(flatten)]
    pub(crate) registry: RegistryArgs,
}

impl FormArgs {
    pub(crate) fn forms(&self) -> Result<Forms, Failure> {
        let older_only = self.new_bundle_format == Some(false)
            || self.registry_referrers_mode == Some(ReferrersMode::Legacy);
        if older_only && self.registry_referrers_mode == Some(ReferrersMode::Oci11) {
            return Err(Failure::usage(
                "--new-bundle-format=false writes tags, and --registry-referrers-mode=oci-1-1 referrers; for both forms \
                 give --also-legacy",
            ));
        }
        Ok(Forms { bundle: !older_only || self.also_legacy, older: older_only || self.also_legacy })
    }

    fn is_given(&self) -> bool {
        self.also_legacy || self.registry_referrers_mode.is_some()
    }
}

/// Arguments about images, for `sign`.
#[derive(Debug, Args)]
#[command(next_help_heading = "Images")]
pub(crate) struct SignImageArgs {
    /// Sign this annotation along with the image
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub(crate) annotations: Vec<String>,
    /// Sign every manifest below an index too: every platform
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", hide_default_value = true, hide_possible_values = true, value_name = "BOOL")]
    recursive: bool,
    /// Whether the signature is written to the registry; with false it is printed
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", hide_default_value = true, hide_possible_values = true, value_name = "BOOL")]
    upload: bool,
    /// Sign nothing and write nothing: show what would be signed, and written where
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// The name of the image in the older form, instead of its repository
    #[arg(long, value_name = "NAME", hide_short_help = true)]
    sign_container_identity: Option<String>,
    #[command(flatten)]
    form: FormArgs,
    #[command(flatten)]
    refused: SignImageRefused,
}

impl SignImageArgs {
    /// Refuses what is not taken, before anything else is looked at.
    pub(crate) fn refuse(&self) -> Result<(), Failure> {
        self.refused.check()?;
        self.form.registry.check()
    }

    /// The one repository for all evidence, when there is one.
    pub(crate) fn evidence(&self) -> Option<String> {
        self.form.registry.evidence()
    }

    /// Options for images are refused where there are none, so that nobody believes that they took effect.
    pub(crate) fn check(&self, no_images: bool) -> Result<(), Failure> {
        let given = !self.annotations.is_empty()
            || self.recursive
            || !self.upload
            || self.sign_container_identity.is_some()
            || self.form.is_given();
        if no_images && given {
            return Err(Failure::usage(
                "-a, -r, --upload, --also-legacy, --registry-referrers-mode and --sign-container-identity are for \
                 images, and only files are named",
            ));
        }
        if no_images && self.form.new_bundle_format == Some(false) {
            return Err(Failure::usage(
                "--new-bundle-format=false is for images; the older form of a file cannot carry what offline verification \
                 needs, and every verifier since cosign 2.4 reads the new one",
            ));
        }
        Ok(())
    }

    /// All that is needed to sign these images.
    pub(crate) fn run<'a>(
        &'a self,
        references: &'a [Reference],
        bundle: Option<&'a Path>,
    ) -> Result<Run<'a>, Failure> {
        let forms = self.form.forms()?;
        if bundle.is_some() && !references.is_empty() && (!forms.bundle || self.recursive) {
            return Err(Failure::usage(
                "--bundle names one file for one bundle; it goes with neither -r nor the older form",
            ));
        }
        let signing = Signing {
            annotations: annotations(&self.annotations)?,
            forms,
            identity: self.sign_container_identity.clone(),
        };
        let images = self.form.registry.images(references)?;
        Ok(Run { arguments: self, references, bundle, signing, images })
    }
}

/// The signing of some images.
#[derive(Debug)]
pub(crate) struct Run<'a> {
    arguments: &'a SignImageArgs,
    references: &'a [Reference],
    bundle: Option<&'a Path>,
    signing: Signing,
    images: Images,
}

impl Run<'_> {
    pub(crate) async fn targets(&self) -> Result<Vec<Target>, Failure> {
        Ok(targets(&self.images, self.references, self.arguments.recursive).await?)
    }

    /// Signs the images, several at once, and tells of each in their order. Gives the failure of those that were not
    /// signed, if there were any.
    pub(crate) async fn sign(
        &self,
        terminal: &Terminal,
        session: &Session<'_>,
        targets: &[Target],
        mut tell: impl FnMut(&Target, &Made),
    ) -> Result<Option<Failure>, Failure> {
        session.prepare().await?;
        let mut failed = Failed::new(terminal, targets, "signed");
        let signed = |target: &Target, made| {
            if let Some(made) = failed.take(target, made) {
                self.signed(terminal, target, &made)?;
                tell(target, &made);
            }
            Ok::<(), Failure>(())
        };
        each(targets, async |target| self.sign_one(session, target).await, signed).await?;
        Ok(failed.end())
    }

    async fn sign_one(&self, session: &Session<'_>, target: &Target) -> Result<Made, Failure> {
        let store = self.images.evidence(&target.reference);
        let store: Option<&dyn Store> = if self.arguments.upload { Some(&store) } else { None };
        Ok(sign(session, store, target, &self.signing, SystemClock.now()).await?)
    }

    /// What is done with a signature beside writing it to the registry.
    fn signed(&self, terminal: &Terminal, target: &Target, made: &Made) -> Result<(), Failure> {
        if target.reference.digest().is_some()
            && self.references.iter().any(|r| r.digest().is_none())
            && terminal.verbose
        {
            terminal.talk(&format!("a tag was resolved; what is signed is {}", target.reference));
        }
        if let (Some(path), Some(signed)) = (self.bundle, &made.signed) {
            write_atomically(path, &signed.json)?;
        }
        if !self.arguments.upload && self.bundle.is_none() {
            print(terminal, made)?;
        }
        Ok(())
    }

    /// What would be signed, and written where. Asks the registry for the images, and nobody else for anything.
    pub(crate) fn plan(&self, terminal: &Terminal) -> Result<(), Failure> {
        if self.references.is_empty() {
            return Ok(());
        }
        let targets = block_on(terminal, self.targets())?;
        for target in &targets {
            terminal.line(&format!("would sign {}", target.reference))?;
            if self.signing.forms.bundle {
                let statement = self.signing.statement(target)?;
                terminal.line(&format!("    statement  {}", String::from_utf8_lossy(&statement)))?;
            }
            if self.signing.forms.older {
                let payload =
                    self.signing.payload(target).to_json().map_err(|e| Failure::usage(e.to_string()))?;
                terminal.line(&format!("    payload    {}", String::from_utf8_lossy(&payload)))?;
            }
            if self.arguments.upload {
                let store = self.images.evidence(&target.reference);
                plan(terminal, &store, target, self.signing.forms, OlderTag::Signature)?;
            }
        }
        Ok(())
    }
}

/// The images with which something could not be done, while it is done with the others.
struct Failed<'a> {
    terminal: &'a Terminal,
    /// How many there are in all, and what is done with them.
    all: usize,
    done: &'static str,
    first: Option<Failure>,
    count: usize,
}

impl<'a> Failed<'a> {
    fn new(terminal: &'a Terminal, targets: &[Target], done: &'static str) -> Self {
        Self { terminal, all: targets.len(), done, first: None, count: 0 }
    }

    /// What came out for an image; of a failure is told at once, when there are other images to tell it from.
    fn take<T>(&mut self, target: &Target, result: Result<T, Failure>) -> Option<T> {
        match result {
            Ok(done) => Some(done),
            Err(failure) => {
                if self.all > 1 {
                    let no = self.terminal.no();
                    crate::out::say(&format!(
                        "{no} not {}: {}: {}",
                        self.done, target.reference, failure.message
                    ));
                }
                self.count += 1;
                self.first.get_or_insert(failure);
                None
            }
        }
    }

    /// The failure of the whole: the only one, or the code of the first.
    fn end(self) -> Option<Failure> {
        let first = self.first?;
        if self.all == 1 {
            return Some(first);
        }
        let message = format!("{} of {} images were not {}", self.count, self.all, self.done);
        Some(Failure { code: first.code, message, next: first.next })
    }
}

/// Where evidence would be written.
fn plan(
    terminal: &Terminal,
    store: &RemoteRepository,
    target: &Target,
    forms: Forms,
    tag: OlderTag,
) -> Result<(), Failure> {
    let digest = target.descriptor.digest;
    if forms.bundle {
        terminal.line(&format!("    would write a bundle to {} as a referrer of {digest}", store.place()))?;
    }
    if forms.older {
        terminal.line(&format!("    would add a layer to {}:{}", store.place(), tag.of(&digest)))?;
    }
    Ok(())
}

/// What is not written to a registry is printed: the bundle, or the older form's signature.
fn print(terminal: &Terminal, made: &Made) -> Result<(), Failure> {
    if let Some(signed) = &made.signed {
        terminal.line(&String::from_utf8_lossy(&signed.json))?;
    }
    if let Some(older) = &made.older {
        let document = encoding::base64_encode(&older.document);
        terminal.line(
            &serde_json::json!({ "payload": document, "annotations": older.annotations }).to_string(),
        )?;
    }
    Ok(())
}

#[derive(Debug, Args)]
#[command(before_help = "Examples:
  countersign attest --predicate sbom.json --type spdxjson --key cosign.key registry.example/app:v1
  countersign attest --predicate slsa.json --type slsaprovenance1 registry.example/app@sha256:9f86…
  countersign attest --statement statement.json --key cosign.key registry.example/app:v1")]
pub(crate) struct Attest {
    /// The images the statement is about
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
    /// The file with the predicate; - for standard input
    #[arg(long, value_name = "FILE", conflicts_with = "statement", required_unless_present = "statement")]
    predicate: Option<PathBuf>,
    /// What the predicate is, or a URI: custom, slsaprovenance, slsaprovenance02, slsaprovenance1, link, link03, spdx, spdxjson, cyclonedx, vuln, vulns, vulns01, openvex, vsa, svr, scai, test-result, release, runtime-trace, reference, code-review, sarif
    #[arg(long = "type", value_name = "TYPE", default_value = "custom")]
    kind: String,
    /// A whole statement to be signed as it is; it must be about the image
    #[arg(long, value_name = "FILE")]
    statement: Option<PathBuf>,
    /// Write nothing to the registry: print the statement's bundle
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", hide_default_value = true, hide_possible_values = true, value_name = "BOOL")]
    no_upload: bool,
    /// Write the bundle to this file too
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
    /// Sign nothing and write nothing: show what would be signed, and written where
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    checks: PredicateArgs,
    #[command(flatten)]
    form: FormArgs,
    #[command(flatten)]
    signing: SigningArgs,
    #[command(flatten)]
    refused: AttestRefused,
}

impl Attest {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        self.refused.check()?;
        self.signing.refused.check()?;
        self.form.registry.check()?;
        if self.bundle.is_some() && self.images.len() > 1 {
            return Err(Failure::usage("--bundle names one file, and several images are named"));
        }
        let forms = self.form.forms()?;
        let file = self.statement.as_ref().or(self.predicate.as_ref());
        let file = file.ok_or_else(|| Failure::usage("--predicate is missing"))?;
        let bytes = read_limited(file, MAX_PREDICATE)?;
        let references = self.images.iter().map(|text| image(text)).collect::<Result<Vec<_>, _>>()?;
        let images = self.form.registry.images(&references)?;
        self.check(terminal, file, &bytes)?;
        let make = |target: &Target| self.attesting(target, &bytes, file, forms);
        if self.dry_run {
            for target in &block_on(terminal, async { Ok(targets(&images, &references, false).await?) })? {
                let attesting = make(target)?;
                terminal.line(&format!("would attest {}", target.reference))?;
                terminal.line(&format!("    statement  {}", String::from_utf8_lossy(&attesting.payload)))?;
                if !self.no_upload {
                    plan(
                        terminal,
                        &images.evidence(&target.reference),
                        target,
                        forms,
                        OlderTag::Attestation,
                    )?;
                }
            }
            return Ok(0);
        }
        self.signing.with_session(terminal, async |session: &Session<'_>, _: &Trust| {
            let targets = targets(&images, &references, false).await?;
            session.prepare().await?;
            let mut failed = Failed::new(terminal, &targets, "attested");
            let one = async |target: &Target| {
                let attesting = make(target)?;
                let store = images.evidence(&target.reference);
                let store: Option<&dyn Store> = if self.no_upload { None } else { Some(&store) };
                let made = attest(session, store, target, &attesting, SystemClock.now()).await?;
                Ok::<_, Failure>((made, attesting.predicate_type))
            };
            let attested = |target: &Target, made: Result<(Made, String), Failure>| {
                let Some((made, kind)) = failed.take(target, made) else { return Ok(()) };
                self.attested(terminal, target, &made, &kind)
            };
            each(&targets, one, attested).await?;
            failed.end().map_or(Ok(0), Err)
        })
    }

    /// Refuses what readers would refuse, before anybody logs in.
    fn check(&self, terminal: &Terminal, file: &Path, bytes: &[u8]) -> Result<(), Failure> {
        let wrong = |e: &dyn std::fmt::Display| Failure::usage(format!("{}: {e}", file.display()));
        if self.statement.is_some() {
            let statement = Statement::from_json(bytes).map_err(|e| wrong(&e))?;
            let text = statement.predicate.as_ref().map(|predicate| predicate.get());
            return self.checks.check(terminal, file, &statement.predicate_type, text);
        }
        let predicate = self.wrapped(file, bytes)?;
        self.checks.check(terminal, file, &predicate_type(&self.kind)?, Some(predicate.get()))
    }

    fn wrapped(&self, file: &Path, bytes: &[u8]) -> Result<Box<RawValue>, Failure> {
        let text = std::str::from_utf8(bytes)
            .map_err(|_| Failure::usage(format!("{} is not UTF-8 text", file.display())))?;
        predicate::wrap(&self.kind, text, &SystemClock.now().to_string())
            .map_err(|e| Failure::usage(format!("{}: {e}", file.display())))
    }

    /// What is done with a signed statement beside writing it to the registry.
    fn attested(&self, terminal: &Terminal, target: &Target, made: &Made, kind: &str) -> Result<(), Failure> {
        if let (Some(path), Some(signed)) = (&self.bundle, &made.signed) {
            write_atomically(path, &signed.json)?;
        } else if self.no_upload {
            print(terminal, made)?;
        }
        terminal.talk(&format!("{} attested: {} ({kind})", terminal.yes(), target.reference));
        if terminal.verbose {
            made.places.iter().for_each(|w| terminal.talk(&format!("    wrote {} {}", w.place, w.name)));
        }
        Ok(())
    }

    fn attesting(
        &self,
        target: &Target,
        bytes: &[u8],
        file: &Path,
        forms: Forms,
    ) -> Result<Attesting, Failure> {
        if self.statement.is_some() {
            return Ok(Attesting::whole(target, bytes.to_vec(), forms)?);
        }
        let predicate = self.wrapped(file, bytes)?;
        Ok(Attesting::about(target, &predicate_type(&self.kind)?, predicate, forms)?)
    }
}
