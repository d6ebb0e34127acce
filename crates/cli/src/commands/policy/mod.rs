//! `countersign policy`: policies over images and files, read from files.

mod artifacts;
mod cluster;
mod convert;
mod explain;
mod lint;
mod record;
mod resources;
mod test;
mod values;
mod verify;
mod yaml;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use countersign_client::artifact::read_limited;
use countersign_policy::{Document, Loaded, ReadError, load, read_documents};

use crate::failure::{Failure, Outcome};
use crate::out::Terminal;

pub(super) use verify::{
    Roots, fetch_trust_roots, tell_trust_troubles, trust_root, without_repository, without_revocations,
};

/// The largest file, in bytes.
const MAX_FILE: usize = 16 << 20;

#[derive(Debug, Args)]
#[command(before_help = "Examples:
  countersign policy lint policies/            what is wrong, what is read more strictly
  countersign policy explain policy.yaml       what they demand, in plain words
  countersign policy test policies/            Kyverno's tests of them
  countersign policy convert kyverno.yaml      other languages in Countersign's own
  countersign verify --policy policy.yaml registry.example/app:v1")]
pub(crate) struct PolicyCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Lint(lint::Lint),
    Explain(explain::Explain),
    Test(Box<test::Test>),
    Convert(convert::Convert),
    Verify(Box<verify::Verify>),
}

impl PolicyCommand {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        match &self.action {
            Action::Lint(command) => command.run(terminal),
            Action::Explain(command) => command.run(terminal),
            Action::Test(command) => command.run(terminal),
            Action::Convert(command) => command.run(terminal),
            Action::Verify(command) => command.run(terminal),
        }
    }
}

/// The files that are meant: a directory stands for those in it that end in `.yaml`, `.yml` or `.json`.
pub(crate) fn files(named: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    files_ending(named, &["yaml", "yml", "json"])
}

/// The same for files with other endings.
fn files_ending(named: &[PathBuf], endings: &[&str]) -> Result<Vec<PathBuf>, Failure> {
    let mut all = Vec::new();
    for path in named {
        if !path.is_dir() {
            all.push(path.clone());
            continue;
        }
        let wrong = |error: std::io::Error| Failure::usage(format!("{}: {error}", path.display()));
        let mut inside = Vec::new();
        for entry in std::fs::read_dir(path).map_err(wrong)? {
            let file = entry.map_err(wrong)?.path();
            let ending = file.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
            if file.is_file() && endings.contains(&ending) {
                inside.push(file);
            }
        }
        if inside.is_empty() {
            return Err(Failure::usage(format!(
                "{}: expected files that end in .{}, found none",
                path.display(),
                endings.join(" or .")
            )));
        }
        inside.sort();
        all.extend(inside);
    }
    Ok(all)
}

/// The objects in a file. What is no YAML is an error of the document.
fn documents(path: &Path) -> Result<Result<Vec<Document>, ReadError>, Failure> {
    Ok(read_documents(&text_of(path)?))
}

pub(crate) fn text_of(path: &Path) -> Result<String, Failure> {
    String::from_utf8(read_limited(path, MAX_FILE)?)
        .map_err(|_| Failure::usage(format!("{}: expected UTF-8 text", path.display())))
}

/// Everything in these files. That something in them is wrong is the failure of all: a policy that is passed over
/// refuses nothing.
pub(super) fn loaded(named: &[PathBuf]) -> Result<Loaded, Failure> {
    let mut all = Vec::new();
    for path in files(named)? {
        let found = documents(&path)?.map_err(|error| wrong(&path, &[error]))?;
        load(found.clone()).map_err(|errors| wrong(&path, &errors))?;
        all.extend(found);
    }
    let loaded = load(all).map_err(|errors| wrong(Path::new("policies"), &errors))?;
    if loaded.policies().next().is_none() {
        return Err(Failure::usage("expected at least one policy in the files, found none"));
    }
    Ok(loaded)
}

fn wrong(path: &Path, errors: &[ReadError]) -> Failure {
    let lines: Vec<String> = errors.iter().map(|error| format!("{}: {error}", path.display())).collect();
    Failure::usage(lines.join("\n")).next(format!("countersign policy lint {}", path.display()))
}
