//! slsa-verifier's commands: its flags, its lines on standard error, its exit codes 0 and 1. What it asks of a network is
//! refused instead: evidence is in the provenance.

use std::path::PathBuf;

use clap::Args;
use countersign_client::artifact::read_limited;
use countersign_client::image::Images;
use countersign_client::provenance;
use countersign_client::verify::{Artifact, with_subject};
use countersign_clock::{Clock as _, SystemClock};
use countersign_http::text::printable;
use countersign_registry::Repository;
use countersign_slsa::{Build, Expectations, Package, Report, npm};

use super::expect::pairs;
use super::prepare::{Prepared, RevokedArgs};
use super::show::{build_facts, checklist};
use crate::args::registry::{Named, RegistryArgs, image};
use crate::args::services::TrustArgs;
use crate::failure::{Failure, Outcome, USAGE};
use crate::out::{Terminal, say};

const SUCCESS: &str = "PASSED: SLSA verification passed";
const FAILURE: &str = "FAILED: SLSA verification failed";
/// The largest file with keys of a registry of npm, in bytes.
const MAX_KEYS: usize = 1 << 20;

/// Ends as slsa-verifier does: its line on standard error, and 0 or 1.
pub(super) fn passed(outcome: Outcome) -> Outcome {
    match outcome {
        Ok(0) => {
            say(SUCCESS);
            Ok(0)
        }
        Ok(_) => Ok(USAGE),
        Err(failure) => {
            say(&format!("{FAILURE}: {}", printable(&failure.message)));
            if let Some(step) = &failure.next {
                say(&format!("next:  {}", printable(step)));
            }
            Ok(USAGE)
        }
    }
}

/// What all of them take beyond slsa-verifier's flags.
#[derive(Debug, Args)]
pub(super) struct OwnArgs {
    /// Who signs for which builder, up to which level (docs/slsa.md); else the public builders
    #[arg(long, value_name = "FILE", help_heading = "Trust")]
    pub(super) roots: Option<PathBuf>,
    /// Accept provenance that stands in no transparency log
    #[arg(long, help_heading = "Trust")]
    pub(super) allow_unlogged: bool,
    #[command(flatten)]
    pub(super) trust: TrustArgs,
    #[command(flatten)]
    pub(super) revoked: RevokedArgs,
}

impl OwnArgs {
    fn prepare(&self, terminal: &Terminal, expectations: Expectations) -> Result<Prepared, Failure> {
        let expectations = Expectations { allow_unlogged: self.allow_unlogged, ..expectations };
        expectations.check().map_err(|e| Failure::usage(e.to_string()))?;
        Prepared::new(terminal, &self.trust, &self.revoked, self.roots.as_deref(), expectations)
    }
}

/// slsa-verifier's flags about source and builder.
#[derive(Debug, Args)]
struct SourceArgs {
    /// The repository that the artifact is built from: github.com/acme/shop
    #[arg(long, value_name = "URI")]
    source_uri: String,
    /// The branch it is built from
    #[arg(long, value_name = "BRANCH")]
    source_branch: Option<String>,
    /// The tag it is built from
    #[arg(long, value_name = "TAG", conflicts_with = "source_versioned_tag")]
    source_tag: Option<String>,
    /// A version of which the tag is
    #[arg(long, value_name = "VERSION")]
    source_versioned_tag: Option<String>,
    /// An input of a workflow that was started by hand
    #[arg(long, value_name = "KEY=VALUE")]
    build_workflow_input: Vec<String>,
    /// Print the provenance that is verified on standard output
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", hide_default_value = true, hide_possible_values = true, value_name = "BOOL")]
    print_provenance: bool,
}

impl SourceArgs {
    fn expectations(&self, builder: Option<&String>) -> Result<Expectations, Failure> {
        Ok(Expectations {
            source: Some(self.source_uri.clone()),
            branch: self.source_branch.clone(),
            tag: self.source_tag.clone(),
            versioned_tag: self.source_versioned_tag.clone(),
            inputs: pairs("--build-workflow-input", &self.build_workflow_input)?,
            builder: builder.cloned(),
            ..Expectations::default()
        })
    }
}

/// What came of one artifact, as slsa-verifier says it; the checklist where it was refused, or more is to be said.
fn end(terminal: &Terminal, what: &str, report: &Report, print: bool) -> Outcome {
    if terminal.verbose || report.verified().is_err() {
        terminal.talk(checklist(terminal, what, report, false, build_facts).trim_end());
    }
    match report.verified() {
        Ok(build) => {
            for note in &build.notes {
                terminal.talk(&format!("note: {}", printable(note)));
            }
            if print {
                print_payload(terminal, build.payload())?;
            }
            say(&format!("Verifying {}: PASSED\n", printable(what)));
            Ok(0)
        }
        Err(refusal) => {
            say(&format!("Verifying {}: FAILED: {}\n", printable(what), printable(&refusal.to_string())));
            Err(Failure::new(USAGE, refusal.to_string()))
        }
    }
}

/// The signed bytes of a statement, on standard output.
pub(super) fn print_payload(terminal: &Terminal, payload: &[u8]) -> Result<(), Failure> {
    terminal.line(&String::from_utf8_lossy(payload))
}

#[derive(Debug, Args)]
#[command(before_help = "Examples:
  countersign slsa verify-artifact --provenance-path app.intoto.jsonl \\
    --source-uri github.com/acme/shop --source-tag v1.2.3 app")]
pub(crate) struct VerifyArtifact {
    /// The files, all of one provenance
    #[arg(required = true, value_name = "ARTIFACT")]
    artifacts: Vec<PathBuf>,
    /// The file with the provenance
    #[arg(long, value_name = "FILE")]
    provenance_path: PathBuf,
    /// The builder that made the provenance
    #[arg(long, value_name = "URI")]
    builder_id: Option<String>,
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    own: OwnArgs,
}

impl VerifyArtifact {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        let expectations = self.source.expectations(self.builder_id.as_ref())?;
        let prepared = self.own.prepare(terminal, expectations)?;
        let pieces = provenance::read(std::slice::from_ref(&self.provenance_path))?;
        let mut builder: Option<String> = None;
        for artifact in &self.artifacts {
            let what = format!("artifact {}", artifact.display());
            let report = prepared.artifact(&Artifact::File(artifact.clone()), &pieces)?;
            end(terminal, &what, &report, self.source.print_provenance)?;
            let Ok(Build { builder: found, .. }) = report.verified() else { continue };
            if builder.get_or_insert_with(|| found.clone()) != found {
                return Err(Failure::new(
                    USAGE,
                    format!("expected one builder for all of them, found {found} too"),
                ));
            }
        }
        Ok(0)
    }
}

#[derive(Debug, Args)]
#[command(before_help = "Examples:
  countersign slsa verify-image registry.example/shop@sha256:9f86… \\
    --source-uri github.com/acme/shop --source-tag v1.2.3
  countersign slsa verify-image IMAGE@sha256:… --provenance-path gcloud.json --roots google.yaml \\
    --source-uri github.com/acme/shop")]
pub(crate) struct VerifyImage {
    /// The image, by its digest: what a tag names may be another one when it is used
    #[arg(value_name = "IMAGE")]
    image: String,
    /// A file with the provenance, instead of what the registry has
    #[arg(long, value_name = "FILE")]
    provenance_path: Option<PathBuf>,
    /// The repository of the provenance, if it is not beside the image
    #[arg(long, value_name = "REPOSITORY", conflicts_with = "repository")]
    provenance_repository: Option<String>,
    /// The builder that made the provenance
    #[arg(long, value_name = "URI")]
    builder_id: Option<String>,
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    own: OwnArgs,
    #[command(flatten)]
    registry: RegistryArgs,
}

impl VerifyImage {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        let reference = image(&self.image)?;
        let Some(digest) = reference.digest().copied() else {
            return Err(Failure::usage(format!(
                "expected the image by its digest, found {reference}, which can be moved"
            ))
            .next("write NAME@sha256:…; what a tag names is shown by: countersign tree IMAGE"));
        };
        let prepared = self.own.prepare(terminal, self.source.expectations(self.builder_id.as_ref())?)?;
        let what = format!("image {reference}");
        let report = match &self.provenance_path {
            Some(path) => {
                let pieces = provenance::read(std::slice::from_ref(path))?;
                prepared.artifact(&Artifact::Digest(digest), &pieces)?
            }
            None => {
                let images = match &self.provenance_repository {
                    None => self.registry.images([&reference])?,
                    Some(place) => {
                        let place = Repository::parse(place)?;
                        let hosts = [reference.registry(), place.registry()];
                        Images::new(self.registry.registry(hosts)?, Some(place.clone()))
                    }
                };
                prepared.image(terminal, &reference, &[], &images)?.report
            }
        };
        end(terminal, &what, &report, self.source.print_provenance)
    }
}

#[derive(Debug, Args)]
#[command(before_help = "Examples:
  countersign slsa verify-npm-package shop-1.2.3.tgz --attestations-path attestations.json \\
    --package-name @acme/shop --package-version 1.2.3 --source-uri github.com/acme/shop \\
    --builder-id https://github.com/actions/runner/github-hosted --npm-keys keys.json")]
pub(crate) struct VerifyNpmPackage {
    /// The package's archive
    #[arg(value_name = "TARBALL")]
    tarball: PathBuf,
    /// The file with the package's attestations, as the registry gives it
    #[arg(long, value_name = "FILE")]
    attestations_path: PathBuf,
    /// The package's name, with its scope
    #[arg(long, value_name = "NAME")]
    package_name: String,
    /// The package's version
    #[arg(long, value_name = "VERSION")]
    package_version: String,
    /// The builder that made the provenance
    #[arg(long, value_name = "URI")]
    builder_id: String,
    /// The keys of the registry: the target registry.npmjs.org/keys.json of Sigstore's TUF repository
    #[arg(long, value_name = "FILE")]
    npm_keys: PathBuf,
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    own: OwnArgs,
}

impl VerifyNpmPackage {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        let package =
            Package::Npm { name: self.package_name.clone(), version: Some(self.package_version.clone()) };
        let expectations = self.source.expectations(Some(&self.builder_id))?;
        let prepared = self.own.prepare(terminal, Expectations { package: Some(package), ..expectations })?;
        let keys = npm::Keys::from_json(&read_limited(&self.npm_keys, MAX_KEYS)?)
            .map_err(|e| Failure::usage(format!("{}: {e}", self.npm_keys.display())))?;
        let pieces = provenance::read(std::slice::from_ref(&self.attestations_path))?;
        let artifact = Artifact::File(self.tarball.clone());
        let named = (self.package_name.as_str(), self.package_version.as_str());
        let published = with_subject(&artifact, |subject| {
            npm::verify_publish(subject, &pieces, &keys, named, prepared.material(), SystemClock.now())
        })?;
        let published = published.map_err(|e| Failure::from(countersign_client::ClientError::from(e)))?;
        let what = format!("npm package {}", self.tarball.display());
        end(terminal, &format!("{what} (published by the registry)"), &published, false)?;
        let report = prepared.artifact(&artifact, &pieces)?;
        end(terminal, &what, &report, self.source.print_provenance)
    }
}

#[derive(Debug, Args)]
#[command(before_help = "Examples:
  countersign slsa verify-github-attestation MODULE.bazel --attestation-path attestation.jsonl \\
    --source-uri github.com/acme/rules \\
    --builder-id https://github.com/acme/.github/.github/workflows/release.yaml")]
pub(crate) struct VerifyGithubAttestation {
    /// The file
    #[arg(value_name = "FILE")]
    file: String,
    /// The file with the attestation
    #[arg(long, value_name = "FILE")]
    attestation_path: PathBuf,
    /// The repository that the file is built from
    #[arg(long, value_name = "URI")]
    source_uri: String,
    /// The workflow that built it
    #[arg(long, value_name = "URI")]
    builder_id: String,
    /// Print the attestation that is verified on standard output
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", hide_default_value = true, hide_possible_values = true, value_name = "BOOL")]
    print_attestation: bool,
    #[command(flatten)]
    own: OwnArgs,
}

impl VerifyGithubAttestation {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        let expectations = Expectations {
            source: Some(self.source_uri.clone()),
            builder: Some(self.builder_id.clone()),
            ..Expectations::default()
        };
        let prepared = self.own.prepare(terminal, expectations)?;
        let Named::File(name) = Named::read(&format!("file:{}", self.file))? else {
            return Err(Failure::usage("expected a file"));
        };
        let pieces = provenance::read(std::slice::from_ref(&self.attestation_path))?;
        let report = prepared.artifact(&Artifact::File(PathBuf::from(&name)), &pieces)?;
        end(terminal, &format!("artifact {name}"), &report, self.print_attestation)
    }
}
