//! What is known of the build that runs here: its platform, what is checked out, its lock files.

use std::path::{Path, PathBuf};

use clap::Args;
use countersign_attestation::predicate::provenance::{Provenance, Resource};
use countersign_attestation::statement::{Statement, Subject};
use countersign_builder::checkout::Checkout;
use countersign_builder::environment::{Environment, Platform, Variables};
use countersign_builder::materials::{LockFile, MAX_LOCK_LEN};
use countersign_builder::secrets;
use countersign_client::artifact::read_limited;
use countersign_crypto::HashAlgorithm;
use countersign_http::text::printable;
use url::Url;

use crate::failure::Failure;

/// How many names are told before the rest is a number.
const TOLD: usize = 5;

/// Arguments about the build.
#[derive(Debug, Args)]
#[command(next_help_heading = "Build")]
pub(crate) struct BuildArgs {
    /// What runs the build, instead of what the variables say: github-actions, gitlab-ci, jenkins, tekton, buildkite, circleci or shell
    #[arg(long, value_name = "NAME", value_parser = platform)]
    platform: Option<Platform>,
    /// Who builds, a URI, instead of what the platform calls itself
    #[arg(long, value_name = "URI", value_parser = uri)]
    builder_id: Option<String>,
    /// Record this variable of the environment as a parameter of the build; no other is told
    #[arg(long, value_name = "VARIABLE")]
    parameter: Vec<String>,
    /// A lock file whose entries went into the build, instead of those in this folder
    #[arg(long, value_name = "FILE")]
    lock_file: Vec<PathBuf>,
    /// The form: v1, or v0.2 for those who read no other
    #[arg(long = "type", value_name = "FORM", default_value = "v1", value_parser = ["v1", "v0.2"])]
    form: String,
}

fn platform(text: &str) -> Result<Platform, String> {
    Platform::of(text).ok_or_else(|| {
        format!("expected one of {}, found \"{text}\"", Platform::ALL.map(Platform::name).join(", "))
    })
}

fn uri(text: &str) -> Result<String, String> {
    match Url::parse(text) {
        Ok(url) if url.password().is_none() && url.username().is_empty() => Ok(text.to_owned()),
        _ => Err("expected a URI without a password, such as https://builds.example.com/builders/1".into()),
    }
}

/// What is known of it.
#[derive(Debug)]
pub(crate) struct Build {
    pub(crate) environment: Environment,
    /// The lock files, and what they pin.
    pub(crate) pinned: Vec<Resource>,
    /// What whoever signs should know.
    pub(crate) notes: Vec<String>,
    variables: Variables,
}

impl BuildArgs {
    /// Looks at the variables, at the work tree and at the lock files of this folder.
    pub(crate) fn look(&self) -> Result<Build, Failure> {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        let variables: Variables = std::env::vars_os().filter_map(text).collect();
        let platform = self.platform.unwrap_or_else(|| Platform::detect(&variables));
        let checkout = Checkout::find(Path::new("."));
        let mut environment =
            Environment::read(platform, &variables, &self.parameter, checkout.as_ref().ok()).map_err(
                |e| {
                    Failure::usage(e.to_string()).next("docs/provenance.md lists what each platform must say")
                },
            )?;
        if let Some(id) = &self.builder_id {
            environment.builder.clone_from(id);
        }
        let mut notes = environment.notes.clone();
        if let Err(why) = checkout {
            notes.push(format!("nothing is said about the work tree: {}", printable(&why)));
        }
        let pinned = self.lock_files(&mut notes)?;
        Ok(Build { environment, pinned, notes, variables })
    }

    fn lock_files(&self, notes: &mut Vec<String>) -> Result<Vec<Resource>, Failure> {
        let mut pinned = Vec::new();
        let found = if self.lock_file.is_empty() { here()? } else { Vec::new() };
        for path in &found {
            if let Err(failure) = read(path, &mut pinned, notes) {
                notes.push(format!("{}: only its digest is recorded", failure.message));
            }
        }
        for path in &self.lock_file {
            read(path, &mut pinned, notes)?;
        }
        Ok(pinned)
    }

    /// The statement with which these subjects are said to come from such a build, and its type.
    pub(crate) fn statement(
        &self,
        build: &Build,
        subjects: Vec<Subject>,
        provenance: &Provenance,
    ) -> Result<Made, Failure> {
        let (kind, predicate) = match self.form.as_str() {
            "v0.2" => ("https://slsa.dev/provenance/v0.2", provenance.to_v02()),
            _ => ("https://slsa.dev/provenance/v1", provenance.to_v1()),
        };
        build.statement(subjects, kind, predicate)
    }
}

/// A statement, ready to be signed.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) kind: &'static str,
    pub(crate) payload: Vec<u8>,
}

impl Build {
    /// A statement in which no secret of the environment stands.
    pub(crate) fn statement(
        &self,
        subjects: Vec<Subject>,
        kind: &'static str,
        predicate: Result<Box<serde_json::value::RawValue>, countersign_attestation::JsonError>,
    ) -> Result<Made, Failure> {
        let written = predicate
            .and_then(|predicate| Statement::new(subjects, kind, predicate))
            .and_then(|statement| statement.to_json());
        let payload = written.map_err(|e| Failure::usage(format!("the statement cannot be written: {e}")))?;
        if let Some(name) = secrets::told(&String::from_utf8_lossy(&payload), &self.variables) {
            return Err(Failure::usage(format!(
                "the statement would tell the value of {name} to everybody; nothing was signed"
            ))
            .next(
                "hand secrets over in the environment or in a file, not in arguments, names or parameters",
            ));
        }
        Ok(Made { kind, payload })
    }
}

/// The lock files in this folder, by name.
fn here() -> Result<Vec<PathBuf>, Failure> {
    let unreadable = |e: std::io::Error| Failure::usage(format!("the current folder cannot be read: {e}"));
    let mut found = Vec::new();
    for entry in std::fs::read_dir(".").map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        // A link may lead anywhere.
        let is_file = entry.file_type().map_err(unreadable)?.is_file();
        let name = entry.file_name();
        if is_file && name.to_str().is_some_and(|name| LockFile::of(name).is_some()) {
            found.push(PathBuf::from(name));
        }
    }
    found.sort();
    Ok(found)
}

/// Records a lock file by its digest, and what it pins.
fn read(path: &Path, pinned: &mut Vec<Resource>, notes: &mut Vec<String>) -> Result<(), Failure> {
    let shown = printable(&path.display().to_string());
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let kind = LockFile::of(name)
        .ok_or_else(|| Failure::usage(format!("{shown}: no lock file is called so that is known")))?;
    let bytes = read_limited(path, MAX_LOCK_LEN)?;
    let digest = HashAlgorithm::Sha256.digest(&bytes);
    pinned.push(Resource {
        name: path.display().to_string(),
        digest: [("sha256".to_owned(), digest.to_hex())].into(),
        ..Resource::default()
    });
    let found = kind.read(&bytes).map_err(|e| Failure::usage(format!("{shown}: {e}")))?;
    if !found.loose.is_empty() {
        let names: Vec<String> = found.loose.iter().take(TOLD).map(|name| printable(name)).collect();
        let more = if found.loose.len() > TOLD { ", …" } else { "" };
        let count = found.loose.len();
        notes.push(format!("{shown}: {count} without a digest, not recorded: {}{more}", names.join(", ")));
    }
    pinned.extend(found.pinned);
    Ok(())
}
