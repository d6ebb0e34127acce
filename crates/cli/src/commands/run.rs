//! `countersign run`: a command between two looks at the files, and signed provenance of what it left.

use std::path::PathBuf;

use clap::Args;
use countersign_attestation::dsse::IN_TOTO_PAYLOAD_TYPE;
use countersign_attestation::predicate::link::Link;
use countersign_attestation::predicate::small::Predicate as _;
use countersign_builder::run::{Patterns, Recorded, RunError, Wanted};
use countersign_client::artifact::write_atomically;
use countersign_client::sign::Session;
use countersign_client::trust::Trust;
use countersign_clock::SystemClock;
use countersign_http::text::printable;

use crate::commands::provenance::{Build, BuildArgs, tell, worth};
use crate::commands::sign::SigningArgs;
use crate::failure::{Failure, INTERNAL, Outcome, USAGE};
use crate::out::Terminal;

#[derive(Debug, Args)]
#[command(before_help = "Examples:
  countersign run -- make                                what make leaves, with provenance
  countersign run --product 'dist/**' --log build.log -- npm run build
  countersign run --key env://SIGNING_KEY --material 'src/**' --product app -- cc -o app src/app.c
  countersign run --link make.link.json --step make -- make     with a link of in-toto too")]
pub(crate) struct Run {
    /// The files that are recorded before the command: * within a name, ** for any folders; all of them by default
    #[arg(long, value_name = "PATTERN")]
    material: Vec<String>,
    /// Which new and changed files are its products; all of them by default
    #[arg(long, value_name = "PATTERN")]
    product: Vec<String>,
    /// Keep what the command says in this file too; its digest is recorded in any case
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Where the signed provenance is written
    #[arg(long, value_name = "FILE", default_value = "provenance.sigstore.json")]
    bundle: PathBuf,
    /// Write a signed link of in-toto to this file too
    #[arg(long, value_name = "FILE", requires = "step")]
    link: Option<PathBuf>,
    /// The name of the step in that link
    #[arg(long, value_name = "NAME", requires = "link")]
    step: Option<String>,
    #[command(flatten)]
    build: BuildArgs,
    #[command(flatten)]
    signing: SigningArgs,
    /// The command and its arguments, which everybody will read in the statement
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// An error of the run as the person at the terminal sees it.
fn failed(error: &RunError) -> Failure {
    let code = if matches!(error, RunError::File { .. }) { INTERNAL } else { USAGE };
    Failure::new(code, printable(&error.to_string()))
}

/// All files, where none are named.
fn patterns(flag: &str, texts: &[String]) -> Result<Patterns, Failure> {
    if texts.is_empty() {
        return Ok(Patterns::all());
    }
    Patterns::parse(texts).map_err(|e| Failure::usage(format!("{flag}: {}", printable(&e))))
}

impl Run {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        self.signing.refused.check()?;
        let wanted = Wanted {
            command: self.command.clone(),
            folder: PathBuf::from("."),
            materials: patterns("--material", &self.material)?,
            products: patterns("--product", &self.product)?,
            log: self.log.clone(),
        };
        let build = self.build.look()?;
        tell(terminal, &build);
        // In a session, so that a key which cannot be read is told before the command takes its time.
        self.signing.with_session(terminal, async |session: &Session<'_>, _: &Trust| {
            let recorded = wanted.run(&SystemClock).map_err(|e| failed(&e))?;
            if recorded.code() != 0 {
                terminal.talk(&format!("the command ended with {}: nothing is signed", recorded.code()));
                return Ok(recorded.code());
            }
            self.sign(terminal, session, &build, &recorded).await?;
            Ok(0)
        })
    }

    async fn sign(
        &self,
        terminal: &Terminal,
        session: &Session<'_>,
        build: &Build,
        recorded: &Recorded,
    ) -> Result<(), Failure> {
        let subjects = recorded.subjects().map_err(|e| failed(&e))?;
        if !recorded.left_out.is_empty() {
            let names: Vec<String> = recorded.left_out.iter().take(5).map(|name| printable(name)).collect();
            let count = recorded.left_out.len();
            terminal.talk(&format!("note: {count} links and others are no products: {} …", names.join(", ")));
        }
        // A lock file may be a material itself.
        let mut pinned = build.pinned.clone();
        pinned.retain(|resource| !recorded.materials.contains_key(&resource.name));
        let provenance = recorded.provenance(&build.environment, pinned);
        let made = self.build.statement(build, subjects.clone(), &provenance)?;
        let link = match &self.step {
            None => None,
            Some(step) => {
                let &[kind, ..] = Link::TYPES else { return Err(Failure::internal("links have no type")) };
                Some(build.statement(subjects, kind, recorded.link(step).to_json())?)
            }
        };
        let signed = session.sign_payload(IN_TOTO_PAYLOAD_TYPE, made.payload).await?;
        write_atomically(&self.bundle, &signed.json)?;
        terminal.talk(&format!(
            "{} {} materials, {} products: {}",
            terminal.yes(),
            recorded.materials.len(),
            recorded.products.len(),
            self.bundle.display()
        ));
        if let (Some(path), Some(link)) = (&self.link, link) {
            let signed = session.sign_payload(IN_TOTO_PAYLOAD_TYPE, link.payload).await?;
            write_atomically(path, &signed.json)?;
        }
        worth(terminal, &build.environment, &signed);
        terminal.talk(
            "A program that the command left running could still change a product; verify what you ship, not what lies here.",
        );
        Ok(())
    }
}
