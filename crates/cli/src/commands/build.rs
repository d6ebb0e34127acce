//! `countersign build`: a source in, files and their provenance out. This process is the control side; it starts the sandbox and the signer.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use clap::Args;
use countersign_attestation::dsse::IN_TOTO_PAYLOAD_TYPE;
use countersign_builder::control::{Built, Place, Request, SourceRef, Store, default_store, prepare};
use countersign_builder::escape::{Row, Verdict, suite};
use countersign_builder::{BuildError, sandbox, signer};
use countersign_client::artifact::write_atomically;
use countersign_client::sign::Session;
use countersign_http::parse_url;
use countersign_http::text::printable;

use crate::args::registry::RegistryArgs;
use crate::commands::sign::{SigningArgs, quoted};
use crate::failure::{Failure, INTERNAL, Outcome, REJECTED, USAGE};
use crate::out::{Terminal, block_on};

/// What this process was started for, when a build started it.
static ROLE: OnceLock<Role> = OnceLock::new();

/// What a build asks of its signer.
#[derive(Debug, Clone, Copy)]
enum Role {
    /// To find out whether it could sign.
    Check,
    /// To sign.
    Sign,
}

/// The bundle with the provenance.
const PROVENANCE: &str = "provenance.sigstore.json";

impl From<BuildError> for Failure {
    fn from(error: BuildError) -> Self {
        let code = match &error {
            BuildError::Step(_) | BuildError::Output(_) => REJECTED,
            BuildError::Sandbox(_) | BuildError::Journal(_) => INTERNAL,
            BuildError::Signer { code } => code.unwrap_or(INTERNAL),
            _ => USAGE,
        };
        Self::new(code, error.to_string())
    }
}

#[derive(Debug, Args)]
#[command(before_help = "Examples:
  countersign build git+https://git.example/acme/shop@refs/tags/v1 --key release.key --no-tlog
  countersign build git+file:///srv/shop@main --place https://files.example/=file:///srv/mirror/
  countersign build git+file:///srv/shop@main --twice               and bit by bit the same
  countersign build git+file:///srv/shop@main --development         with the host's tools; level 1
  countersign build --escape-suite                                  try to get out of the sandbox")]
pub(crate) struct Build {
    /// What to build: git+https://HOST/PATH@REF, git+file:///PATH@REF, or tar+URL@sha256:HEX
    #[arg(value_name = "SOURCE", required_unless_present = "escape_suite")]
    source: Option<String>,
    /// The recipe's path in the source
    #[arg(long, value_name = "PATH", default_value = ".countersign/build.toml")]
    config: String,
    /// A new directory for the outputs, their provenance, the log and the journal
    #[arg(long, value_name = "DIR", default_value = "built")]
    output: PathBuf,
    /// A place that inputs may come from: https://host/path/, or =file:///mirror/ behind it for a mirror, or oci://registry/path/; several times
    #[arg(long, value_name = "PLACE")]
    place: Vec<String>,
    /// Where inputs are kept by digest, instead of the cache of the user
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
    /// Build again as another user, elsewhere, later; sign only what is the same bit by bit
    #[arg(long)]
    twice: bool,
    /// Use the tools of this machine, of which nobody knows what they are: level 1, under another builder's id
    #[arg(long)]
    development: bool,
    /// A path of this machine that a development build sees beside the usual ones; several times
    #[arg(long, value_name = "PATH", requires = "development")]
    host_path: Vec<String>,
    /// The user that the signer runs as, when root builds: the one who may read the key
    #[arg(long, value_name = "USER")]
    signer_user: Option<String>,
    /// Where the ids of the builder are: your own address, when others are to tell your builder from ours
    #[arg(long, value_name = "URL", default_value = "https://countersign.dev")]
    builder_base: String,
    /// Build nothing: try every known way out of the sandbox on this machine, and print what came of it
    #[arg(long, conflicts_with = "source")]
    escape_suite: bool,
    #[command(flatten)]
    registry: RegistryArgs,
    #[command(flatten)]
    signing: SigningArgs,
}

/// The command line without a word that makes it the signer's.
pub(crate) fn as_signer(mut arguments: Vec<std::ffi::OsString>) -> Vec<std::ffi::OsString> {
    let role = match arguments.get(1).and_then(|first| first.to_str()) {
        Some(signer::SIGNER_COMMAND) => Role::Sign,
        Some(signer::CHECK_COMMAND) => Role::Check,
        _ => return arguments,
    };
    arguments.remove(1);
    let _ = ROLE.set(role);
    arguments
}

impl Build {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        match ROLE.get() {
            Some(Role::Check) => return self.check(terminal),
            Some(Role::Sign) => return self.sign(terminal),
            None => {}
        }
        if self.escape_suite {
            return escapes(terminal);
        }
        self.signing.refused.check()?;
        self.registry.check()?;
        let source = self.source.as_deref().ok_or_else(|| Failure::usage("expected a source"))?;
        let base = parse_url(&self.builder_base)?;
        let request = Request {
            source: SourceRef::parse(source)?,
            config: self.config.clone(),
            base: base.as_str().trim_end_matches('/').to_owned(),
            development: self.development.then(|| self.host_path.clone()),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let signer_user = self.signer_user.as_deref().map(signer::user).transpose()?;
        let places = self.place.iter().map(|text| Place::parse(text)).collect::<Result<Vec<_>, _>>()?;
        let directory = self.store.clone().or_else(default_store).ok_or_else(|| {
            Failure::usage("expected a place for inputs: HOME is not set")
                .next("name a directory with --store")
        })?;
        let store = Store::new(directory, places, self.signing.http.http())?;
        match (signer_user, sandbox::own_user()) {
            (Some(_), None) => {
                return Err(Failure::usage("--signer-user: only root can give the signer a user"));
            }
            (None, Some(_)) => {
                terminal.talk("the signer runs as root; --signer-user gives it a user of its own");
            }
            _ => {}
        }
        signer::check(std::env::args_os().skip(1), signer_user)?;
        let outputs = self.directories()?;
        let registry = self.registry.registry([])?;
        terminal.talk(&format!("resolving {}", printable(source)));
        let prepared = block_on(terminal, async { Ok(prepare(&request, &store, &registry).await?) })?;
        terminal.talk(if self.twice { "building, twice" } else { "building" });
        let built = prepared.build(&outputs, &self.output.join("build.log"), self.twice)?;
        self.finish(terminal, &built, signer_user)
    }

    /// The directory of the outputs, which must be new: what lay there before would look as if it were built.
    fn directories(&self) -> Result<PathBuf, Failure> {
        let outputs = self.output.join("outputs");
        let fails = |e: std::io::Error| Failure::usage(format!("{}: {e}", self.output.display()));
        fs::create_dir(&self.output).map_err(|e| fails(e).next("name a new directory with --output"))?;
        fs::create_dir(&outputs).map_err(fails)?;
        Ok(outputs)
    }

    fn finish(&self, terminal: &Terminal, built: &Built, signer_user: Option<(u32, u32)>) -> Outcome {
        write_atomically(&self.output.join("journal.jsonl"), &built.journal)?;
        let arguments = std::env::args_os().skip(1);
        let bundle = signer::ask(arguments, &built.journal, signer_user)?;
        write_atomically(&self.output.join(PROVENANCE), &bundle)?;
        for output in &built.outputs {
            let path = self.output.join("outputs").join(&output.path);
            terminal.line(&format!("{}  {}", output.sha256, printable(&path.display().to_string())))?;
        }
        let shown = |path: &Path| quoted(&path.display().to_string());
        let bundle = shown(&self.output.join(PROVENANCE));
        terminal.talk(&format!("{} built; the provenance is in {bundle}", terminal.yes()));
        Ok(0)
    }

    /// The signer's process before the build: whether all that it signs with is there.
    fn check(&self, terminal: &Terminal) -> Outcome {
        self.signing.with_session(terminal, async |_: &Session<'_>, _: &_| Ok(()))?;
        Ok(0)
    }

    /// The signer's process: the journal in, the bundle out.
    fn sign(&self, terminal: &Terminal) -> Outcome {
        let statement = signer::statement(&signer::receive()?)?;
        let payload = statement.to_json().map_err(|e| Failure::internal(e.to_string()))?;
        let signed = self.signing.with_session(terminal, async |session: &Session<'_>, _: &_| {
            Ok(session.sign_payload(IN_TOTO_PAYLOAD_TYPE, payload).await?)
        })?;
        terminal.data(&String::from_utf8_lossy(&signed.json))?;
        Ok(0)
    }
}

/// Runs the escape suite and prints its table.
fn escapes(terminal: &Terminal) -> Outcome {
    let mut printed = Ok(());
    let rows = suite(sandbox::own_user(), |row: &Row| {
        let line = format!(
            "{} {:27} {:46} outside: {}",
            if row.holds() { terminal.yes() } else { terminal.no() },
            row.name,
            describe(&row.inside),
            describe(&row.outside)
        );
        printed = std::mem::replace(&mut printed, Ok(())).and_then(|()| terminal.line(&line));
    })?;
    printed?;
    let failed = rows.iter().filter(|row| !row.holds()).count();
    terminal.line(&format!("{} attempts, {failed} not held or not shown", rows.len()))?;
    if failed == 0 && !rows.is_empty() { Ok(0) } else { Ok(REJECTED) }
}

fn describe(verdict: &Verdict) -> String {
    let short = |text: &str| printable(&text.chars().take(120).collect::<String>());
    match verdict {
        Verdict::Out(how) => format!("gets through ({})", short(how)),
        Verdict::Held(why) => format!("held: {}", short(why)),
        Verdict::NotShown(why) => format!("not shown: {}", short(why)),
    }
}
