//! `countersign provenance`: what is known of the build that runs here, signed, beside files and images.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use clap::Args;
use countersign_attestation::dsse::IN_TOTO_PAYLOAD_TYPE;
use countersign_attestation::statement::Subject;
use countersign_builder::environment::Environment;
use countersign_builder::level::level;
use countersign_client::artifact::{hash_file, write_atomically};
use countersign_client::image::{Images, Target, targets};
use countersign_client::sign::{Session, Signed};
use countersign_client::trust::Trust;
use countersign_clock::{Clock as _, SystemClock};
use countersign_crypto::HashAlgorithm;
use countersign_http::text::printable;
use countersign_registry::Reference;
use countersign_registry::evidence;

use crate::args::OutputArgs;
use crate::args::registry::{Named, RegistryArgs};
use crate::commands::sign::SigningArgs;
use crate::failure::{Failure, Outcome};
use crate::out::{Terminal, block_on};

mod build;

pub(crate) use build::{Build, BuildArgs};

/// What a file's provenance is called beside it.
const ENDING: &str = ".provenance.sigstore.json";

#[derive(Debug, Args)]
#[command(before_help = "Examples:
  countersign provenance --subject dist/*                        in a CI job, as its identity
  countersign provenance --subject registry.example/app:v1 --key env://SIGNING_KEY
  countersign provenance --subject app.tar --dry-run             show the statement, sign nothing
  countersign provenance --subject app.tar --parameter CHANNEL   with a variable as a parameter")]
pub(crate) struct Provenance {
    /// What was built: files and images; file: and oci: in front force which it is
    #[arg(long, required = true, num_args = 1.., value_name = "FILE|IMAGE")]
    subject: Vec<String>,
    /// Sign nothing and write nothing: print the statement
    #[arg(long)]
    dry_run: bool,
    /// Write the signed statement to this file, instead of FILE.provenance.sigstore.json beside each file
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    build: BuildArgs,
    #[command(flatten)]
    registry: RegistryArgs,
    #[command(flatten)]
    signing: SigningArgs,
}

impl Provenance {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        self.signing.refused.check()?;
        self.registry.check()?;
        let (mut files, mut references) = (Vec::new(), Vec::new());
        for name in &self.subject {
            match Named::read(name)? {
                Named::File(file) => files.push(PathBuf::from(file)),
                Named::Image(reference) => references.push(*reference),
            }
        }
        let mut subjects = files.iter().map(|file| subject(file)).collect::<Result<Vec<_>, _>>()?;
        let build = self.build.look()?;
        let images = self.registry.images(&references)?;
        let found = resolve(terminal, &images, &references)?;
        subjects.extend(
            found.iter().map(|target| {
                Subject::of(target.reference.repository().to_string(), &target.descriptor.digest)
            }),
        );
        distinct(&subjects)?;
        let mut provenance = build.environment.provenance();
        provenance.dependencies.extend(build.pinned.iter().cloned());
        let made = self.build.statement(&build, subjects, &provenance)?;
        tell(terminal, &build);
        if self.dry_run {
            terminal.line(&String::from_utf8_lossy(&made.payload))?;
            return Ok(0);
        }
        self.signing.with_session(terminal, async |session: &Session<'_>, _: &Trust| {
            let signed = session.sign_payload(IN_TOTO_PAYLOAD_TYPE, made.payload.clone()).await?;
            let mut places = Vec::new();
            let beside = files.iter().map(|file| beside(file));
            for path in self.bundle.clone().map_or_else(|| beside.collect(), |path| vec![path]) {
                write_atomically(&path, &signed.json)?;
                places.push(path.display().to_string());
            }
            for target in &found {
                let store = images.evidence(&target.reference);
                let (json, now) = (&signed.json, SystemClock.now());
                let written =
                    evidence::attach_bundle(&store, &target.descriptor, json, made.kind, now).await?;
                places.extend(written.iter().map(|written| format!("{} {}", written.place, written.name)));
            }
            self.say(terminal, &build.environment, &signed, &places)
        })
    }

    /// Where it is, and what it is worth.
    fn say(
        &self,
        terminal: &Terminal,
        environment: &Environment,
        signed: &Signed,
        places: &[String],
    ) -> Outcome {
        let worth = worth(terminal, environment, signed);
        if self.output.is_json() {
            let found = serde_json::json!({
                "written": places, "platform": environment.platform.name(), "builder": environment.builder,
                "level": worth.level, "because": worth.because,
            });
            terminal.json("provenance", 1, &found)?;
        } else {
            for place in places {
                terminal.line(place)?;
            }
        }
        Ok(0)
    }
}

/// A file's place for its provenance.
fn beside(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(ENDING);
    PathBuf::from(name)
}

/// A file by its digest, under its path from here, or its name where it is elsewhere.
fn subject(file: &Path) -> Result<Subject, Failure> {
    if file == Path::new("-") {
        return Err(Failure::usage("provenance is for files and images; standard input has no name"));
    }
    let found = hash_file(file, &[HashAlgorithm::Sha256])?;
    let digest = found.get(HashAlgorithm::Sha256).ok_or_else(|| Failure::internal("no digest was made"))?;
    let inside = file.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    let parts = file.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_string_lossy()),
        _ => None,
    });
    let parts: Vec<_> = parts.collect();
    let name =
        if inside { parts.join("/") } else { parts.last().map(ToString::to_string).unwrap_or_default() };
    Ok(Subject::of(name, digest))
}

/// Two of one name would be told apart by nobody.
fn distinct(subjects: &[Subject]) -> Result<(), Failure> {
    let mut seen = BTreeSet::new();
    match subjects.iter().find(|subject| !seen.insert(&subject.name)) {
        None => Ok(()),
        Some(twice) => Err(Failure::usage(format!("two subjects are called \"{}\"", printable(&twice.name)))
            .next("name each once, from a folder in which their paths differ")),
    }
}

/// The images, by what their names stand for now.
fn resolve(terminal: &Terminal, images: &Images, references: &[Reference]) -> Result<Vec<Target>, Failure> {
    if references.is_empty() {
        return Ok(Vec::new());
    }
    block_on(terminal, async { Ok(targets(images, references, false).await?) })
}

/// What whoever signs should know of what is signed.
pub(crate) fn tell(terminal: &Terminal, build: &Build) {
    let environment = &build.environment;
    let source = environment.source.as_ref().map_or("none", |source| source.uri.as_str());
    terminal.talk(&format!("platform {}, source {}", environment.platform, printable(source)));
    for note in &build.notes {
        terminal.talk(&format!("note: {}", printable(note)));
    }
}

/// Says the level of a statement, which is never the third.
pub(crate) fn worth(
    terminal: &Terminal,
    environment: &Environment,
    signed: &Signed,
) -> countersign_builder::level::Level {
    let found = level(environment, signed.certificate.as_ref().map(|certificate| certificate.fulcio()));
    terminal.talk(&format!("SLSA Build level {}: {}", found.level, printable(&found.because)));
    terminal.talk(
        "The steps of this build can write such a statement themselves, so it is never level 3; which level it counts for \
         is decided by whoever verifies it, by signer and builder.",
    );
    found
}
