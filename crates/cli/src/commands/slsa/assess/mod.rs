//! `countersign slsa assess`: every row of SLSA's tables, with the evidence that decides it.

mod clone;
mod gather;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use countersign_builder::materials::LockFile;
use countersign_client::artifact::read_limited;
use countersign_clock::{Clock as _, SystemClock};
use countersign_slsa::assess::{Assessment, Claims, Evidence, Format, Locked, Rules, Track};
use countersign_slsa::workflow::Workflow;
use countersign_slsa::yaml;

use super::prepare::RevokedArgs;
use crate::args::identity::IdentityArgs;
use crate::args::registry::RegistryArgs;
use crate::args::services::TrustArgs;
use crate::failure::{Failure, Outcome, REJECTED};
use crate::out::Terminal;
use clone::CloneArgs;

/// The largest lock file read, in bytes.
const MAX_LOCK_FILE: usize = 64 << 20;

/// The form of the assessment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// Tables, as people know them.
    Markdown,
    /// One document with schema and version.
    Json,
    /// For code scanning: each finding at its line.
    Sarif,
    /// One page without scripts.
    Html,
    /// A verification summary, to be signed with attest-blob --statement.
    Vsa,
}

/// Assess an artifact, or the workflow files that build one, by SLSA v0.1 and by v1.2's build and source tracks
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:
  countersign slsa assess --workflow .github/workflows/release.yml
  countersign slsa assess app.tar.gz --provenance app.intoto.jsonl --workflow release.yml
  countersign slsa assess app.tar.gz --clone . --ref refs/tags/v1.0.0
  countersign slsa assess registry.example/app:v1 --roots roots.yaml --format html > page.html
  countersign slsa assess app.tar.gz --statement self.json --key ciso.pub --count-asserted
  countersign slsa assess app.tar.gz --require v1.2-build=3",
    after_help = "Each row is met, not met, asserted by somebody until some day, or not assessable from what was given. A level is the highest \
of which all rows are met. See docs/assessment.md."
)]
pub(crate) struct Assess {
    /// A file, an image, or a digest such as sha256:9f86…; without one, only the workflow files are read
    #[arg(value_name = "FILE|IMAGE|DIGEST", required_unless_present = "workflow")]
    artifact: Option<String>,
    /// A file with signed provenance of it; an image's is looked for beside it too
    #[arg(long, value_name = "FILE")]
    provenance: Vec<PathBuf>,
    /// Who signs for which builder, up to which level, YAML or JSON; else the builders that many use
    #[arg(long, value_name = "FILE")]
    roots: Option<PathBuf>,
    /// A workflow file of GitHub, read without being run
    #[arg(long, value_name = "FILE")]
    workflow: Vec<PathBuf>,
    /// A lock file, whose entries the provenance must name by digest
    #[arg(long, value_name = "FILE")]
    lock_file: Vec<PathBuf>,
    #[command(flatten)]
    clone: CloneArgs,
    /// A file with other signed statements: of the source control system, self-assessments, rebuilds
    #[arg(long, value_name = "FILE")]
    statement: Vec<PathBuf>,
    /// Let rows count that somebody only answers for
    #[arg(long, requires = "statement")]
    count_asserted: bool,
    /// Take statements that no transparency log has, as verify does
    #[arg(long)]
    insecure_ignore_tlog: bool,
    /// A file with what the project claims, to be shown beside what is found
    #[arg(long, value_name = "FILE")]
    claims: Option<PathBuf>,
    /// End with exit code 2 when a level is not reached: v0.1=N, v1.2-build=N, v1.2-source=N
    #[arg(long, value_name = "TRACK=LEVEL", value_parser = required)]
    require: Vec<(Track, u8)>,
    /// The form of the assessment on standard output
    #[arg(short, long, value_enum, default_value = "markdown", value_name = "FORM")]
    format: Form,
    /// With --format vsa: who verifies, a URI
    #[arg(long, value_name = "URI", required_if_eq("format", "vsa"))]
    verifier: Option<String>,
    /// With --format vsa: what is verified, as consumers name it
    #[arg(long, value_name = "URI", required_if_eq("format", "vsa"))]
    resource: Option<String>,
    #[command(flatten)]
    identity: IdentityArgs,
    #[command(flatten)]
    trust: TrustArgs,
    #[command(flatten)]
    revoked: RevokedArgs,
    #[command(flatten)]
    registry: RegistryArgs,
}

/// A level that must be reached.
fn required(text: &str) -> Result<(Track, u8), String> {
    let wrong = || format!("expected v0.1=N, v1.2-build=N or v1.2-source=N, found \"{text}\"");
    let (name, level) = text.split_once('=').ok_or_else(wrong)?;
    let track = [Track::V0_1, Track::Build, Track::Source].into_iter().find(|track| track.name() == name);
    let track = track.ok_or_else(wrong)?;
    let level = level.parse().ok().filter(|level| (1..=track.highest()).contains(level)).ok_or_else(wrong)?;
    Ok((track, level))
}

impl Assess {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        if self.format != Form::Vsa && (self.verifier.is_some() || self.resource.is_some()) {
            return Err(Failure::usage("--verifier and --resource go with --format vsa"));
        }
        if self.claims.is_some() && matches!(self.format, Form::Sarif | Form::Vsa) {
            return Err(Failure::usage("--claims goes with --format markdown, html and json"));
        }
        let about_artifact =
            !self.provenance.is_empty() || !self.statement.is_empty() || self.roots.is_some();
        if self.artifact.is_none() && about_artifact {
            let what = "--provenance, --statement and --roots are about an artifact";
            return Err(Failure::usage(format!("{what}; expected one, found none")));
        }
        if !self.identity.names_nobody() && self.statement.is_empty() && !self.clone.is_given() {
            let what = "it is said who may have signed other statements, and there are none";
            return Err(Failure::usage(what).next("give them with --statement, or a clone with --clone"));
        }
        let now = SystemClock.now();
        let now = jiff::Timestamp::from_second(now.as_second()).unwrap_or(now);
        let mut evidence =
            Evidence { workflows: self.workflows()?, locked: self.locked()?, ..Evidence::default() };
        self.gather(terminal, &mut evidence, now)?;
        let rules = Rules { now, count_asserted: self.count_asserted };
        let mut assessment = Assessment::of(&evidence, &rules);
        if let Some(path) = &self.claims {
            let beside = assessment.beside(read_claims(path)?);
            assessment = beside.map_err(|e| Failure::usage(format!("{}: claims: {e}", path.display())))?;
        }
        let internal = |e: &dyn std::fmt::Display| Failure::internal(e.to_string());
        let text = match self.format {
            Form::Markdown => Format::Markdown.write(&assessment).map_err(|e| internal(&e))?,
            Form::Json => Format::Json.write(&assessment).map_err(|e| internal(&e))?,
            Form::Sarif => Format::Sarif.write(&assessment).map_err(|e| internal(&e))?,
            Form::Html => Format::Html.write(&assessment).map_err(|e| internal(&e))?,
            Form::Vsa => {
                let (verifier, resource) = (self.verifier.as_deref(), self.resource.as_deref());
                let statement =
                    assessment.summary(&evidence, verifier.unwrap_or_default(), resource.unwrap_or_default());
                let bytes = statement.and_then(|statement| statement.to_json());
                let bytes = bytes.map_err(|e| Failure::usage(format!("--format vsa: {e}")))?;
                String::from_utf8_lossy(&bytes).into_owned() + "\n"
            }
        };
        terminal.data(&text)?;
        let missed = self.require.iter().map(|(track, level)| (track, level, assessment.level(*track)));
        let missed: Vec<String> = missed
            .filter(|(_, level, found)| found < level)
            .map(|(track, level, found)| format!("expected {} level {level}, found {found}", track.title()))
            .collect();
        for line in &missed {
            terminal.talk(&format!("{} {line}", terminal.no()));
        }
        Ok(if missed.is_empty() { 0 } else { REJECTED })
    }

    fn workflows(&self) -> Result<Vec<Workflow>, Failure> {
        let read = |path: &PathBuf| {
            let text = utf8(path, yaml::MAX_TEXT)?;
            Workflow::read(&path.display().to_string(), &text).map_err(|e| Failure::usage(e.to_string()))
        };
        self.workflow.iter().map(read).collect()
    }

    fn locked(&self) -> Result<Option<Locked>, Failure> {
        let mut all = Locked::default();
        for path in &self.lock_file {
            let shown = path.display().to_string();
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let kind = LockFile::of(&name).ok_or_else(|| {
                Failure::usage(format!("{shown}: expected a lock file by its usual name, found {name}"))
            })?;
            let bytes = read_limited(path, MAX_LOCK_FILE)?;
            let read = kind.read(&bytes).map_err(|e| Failure::usage(format!("{shown}: {e}")))?;
            all.pinned.extend(read.pinned.into_iter().map(|one| (one.uri, one.digest)));
            all.loose.extend(read.loose);
            all.files.push(shown);
        }
        Ok((!self.lock_file.is_empty()).then_some(all))
    }
}

fn read_claims(path: &Path) -> Result<Claims, Failure> {
    let text = utf8(path, yaml::MAX_TEXT)?;
    Claims::read(&text).map_err(|e| Failure::usage(format!("{}: {e}", path.display())))
}

fn utf8(path: &Path, limit: usize) -> Result<String, Failure> {
    String::from_utf8(read_limited(path, limit)?)
        .map_err(|_| Failure::usage(format!("{} is not UTF-8 text", path.display())))
}

/// Digests by their names.
fn named(digests: impl IntoIterator<Item = countersign_crypto::Digest>) -> BTreeMap<String, String> {
    digests.into_iter().map(|digest| (digest.algorithm().name().to_owned(), digest.to_hex())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_required_level_is_one_of_its_track() {
        assert_eq!(required("v1.2-build=3"), Ok((Track::Build, 3)));
        assert_eq!(required("v0.1=4"), Ok((Track::V0_1, 4)));
        for wrong in ["", "v0.1", "v0.1=0", "v0.1=5", "v1.2-build=4", "v1.2=1", "v0.1=x"] {
            assert!(required(wrong).is_err(), "{wrong}");
        }
    }
}
