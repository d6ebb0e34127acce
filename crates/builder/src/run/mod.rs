//! A command that is run between two looks at the files: what was there before are its materials, what is new or changed
//! after are its products.
//!
//! The command runs as the same user, beside what records it: it can change a material between the look and its use, leave
//! something running that changes a product after the look, and write statements of its own. This is a record by an honest
//! build for those who trust it, and no proof against a dishonest one.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;

use countersign_attestation::predicate::link::Link;
use countersign_attestation::predicate::provenance::{Provenance, Resource};
use countersign_attestation::statement::{MAX_SUBJECTS, Subject};
use countersign_clock::Clock;
use countersign_crypto::{Digest, HashAlgorithm, Hasher};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::environment::Environment;

mod pattern;
mod tree;

pub use pattern::{Pattern, Patterns};
pub use tree::{MAX_FILES, Tree, record};

/// The type of build of a command that was run so. docs/provenance.md says what is in it.
pub const COMMAND_BUILD_TYPE: &str = "https://countersign.dev/buildtypes/command/v1";
/// Why a command was not run, or its files not recorded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The program could not be started.
    #[error("{program} could not be started: {source}")]
    Start {
        /// The program.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// A name that is not UTF-8, which no statement can hold.
    #[error("{}: the name of this file is no text", .0.display())]
    Name(PathBuf),
    /// A file became another between two looks.
    #[error("{}: it was exchanged while it was read", .0.display())]
    Exchanged(PathBuf),
    /// Folders in each other without end.
    #[error("{}: more than 128 folders in each other", .0.display())]
    Deep(PathBuf),
    /// More files than are recorded.
    #[error("more than {MAX_FILES} files; name those that matter with --material and --product")]
    ManyFiles,
    /// The command left nothing.
    #[error("no file that --product means is new or changed after the command")]
    NoProducts,
    /// It left more than a statement is about.
    #[error(
        "{0} products, and a statement is about at most {MAX_SUBJECTS}; name those that matter with --product"
    )]
    ManyProducts(usize),
}

impl RunError {
    fn file(path: &Path) -> impl Fn(io::Error) -> Self + '_ {
        move |source| Self::File { path: path.display().to_string(), source }
    }
}

/// What is to be run, and what of it recorded.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Where it runs; what is below is recorded.
    pub folder: PathBuf,
    /// Which files are materials.
    pub materials: Patterns,
    /// Which files can be products.
    pub products: Patterns,
    /// Where what it says is kept.
    pub log: Option<PathBuf>,
}

/// What was found.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// How it ended.
    pub status: ExitStatus,
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    pub finished: Timestamp,
    /// What was there before.
    pub materials: BTreeMap<String, Digest>,
    /// What was new or changed after it.
    pub products: BTreeMap<String, Digest>,
    /// The digest of all it said on both outputs, in the order in which it came.
    pub log: Digest,
    /// Links and others that were left out of the products.
    pub left_out: Vec<String>,
}

impl Wanted {
    /// Runs the command and hands its outputs through.
    ///
    /// # Errors
    /// [`RunError`]. A command that fails is no error: see [`Recorded::status`].
    pub fn run(&self, clock: &dyn Clock) -> Result<Recorded, RunError> {
        let before = record(&self.folder, &[&self.materials, &self.products])?;
        let started = clock.now();
        let (status, log) = self.command()?;
        let finished = clock.now();
        let after = record(&self.folder, &[&self.products])?;
        let own_log = self.log.as_ref().and_then(|path| self.relative(path));
        let new = |(path, digest): &(String, Digest)| {
            before.files.get(path) != Some(digest) && Some(path) != own_log.as_ref()
        };
        let products = after.files.into_iter().filter(new).collect();
        let mut left_out = after.links;
        left_out.extend(after.others);
        left_out.retain(|path| !before.links.contains(path) && !before.others.contains(path));
        Ok(Recorded {
            command: self.command.clone(),
            status,
            started,
            finished,
            materials: before.files.into_iter().filter(|(path, _)| self.materials.matches(path)).collect(),
            products,
            log,
            left_out,
        })
    }

    /// A path as the tree has it.
    fn relative(&self, path: &Path) -> Option<String> {
        let (folder, path) = (self.folder.canonicalize().ok()?, path.canonicalize().ok()?);
        let parts = path.strip_prefix(folder).ok()?.components();
        Some(parts.map(|part| part.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/"))
    }

    fn command(&self) -> Result<(ExitStatus, Digest), RunError> {
        let file = match &self.log {
            None => None,
            Some(path) => Some(File::create(path).map_err(RunError::file(path))?),
        };
        let program = self.command.first().map(String::as_str).unwrap_or_default();
        let start = |source| RunError::Start { program: program.to_owned(), source };
        let mut child = Command::new(program)
            .args(self.command.get(1..).unwrap_or_default())
            .current_dir(&self.folder)
            .stdin(Stdio::inherit())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(start)?;
        let log = Mutex::new(Log { hasher: Hasher::new(HashAlgorithm::Sha256), file });
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let handed: io::Result<()> = thread::scope(|scope| {
            let first = scope.spawn(|| hand_through(out, io::stdout(), &log));
            let second = hand_through(err, io::stderr(), &log);
            first.join().unwrap_or_else(|_| Err(io::Error::other("a thread ended early")))?;
            second
        });
        let status = child.wait().map_err(start)?;
        handed.map_err(|source| RunError::File { path: "the command's output".into(), source })?;
        let log = log.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok((status, log.hasher.finish()))
    }
}

struct Log {
    hasher: Hasher,
    file: Option<File>,
}

/// Gives on what a command says as it comes, and keeps it. Whoever no longer listens does not end the command.
fn hand_through(from: Option<impl Read>, mut to: impl Write, log: &Mutex<Log>) -> io::Result<()> {
    let Some(mut from) = from else { return Ok(()) };
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(read) => read,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        let piece = buffer.get(..read).unwrap_or_default();
        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
        log.hasher.update(piece);
        if let Some(file) = &mut log.file {
            file.write_all(piece)?;
        }
        drop(log);
        let _ = to.write_all(piece).and_then(|()| to.flush());
    }
}

impl Recorded {
    /// The exit code as a shell has it: 128 and the number of the signal that ended the command.
    #[must_use]
    pub fn code(&self) -> u8 {
        let code = self.status.code().or_else(|| signal(self.status).map(|signal| 128 + signal));
        code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
    }

    /// What the statement is about: each product.
    ///
    /// # Errors
    /// [`RunError`] for none, and for more than a statement holds.
    pub fn subjects(&self) -> Result<Vec<Subject>, RunError> {
        match self.products.len() {
            0 => Err(RunError::NoProducts),
            count if count > MAX_SUBJECTS => Err(RunError::ManyProducts(count)),
            _ => Ok(self.products.iter().map(|(path, digest)| Subject::of(path.clone(), digest)).collect()),
        }
    }

    /// Provenance: the command where the environment says, with `pinned` beside the files it found.
    #[must_use]
    pub fn provenance(&self, environment: &Environment, pinned: Vec<Resource>) -> Provenance {
        let mut parameters = Map::new();
        if let Some(source) = &environment.source {
            parameters.insert("source".into(), source.uri.clone().into());
        }
        parameters.insert("command".into(), self.command.clone().into());
        let log = Resource { name: "log".into(), digest: sha256(&self.log), ..Resource::default() };
        let mut provenance = environment.provenance();
        provenance.build_type = COMMAND_BUILD_TYPE.into();
        provenance.entry_point = String::new();
        provenance.internal_parameters = json!({
            "platform": environment.platform.name(),
            "externalParameters": environment.parameters,
            "internalParameters": environment.internal,
        });
        provenance.parameters = Value::Object(parameters);
        provenance.started = Some(self.started);
        provenance.finished = Some(self.finished);
        provenance.dependencies.extend(pinned);
        provenance.dependencies.extend(self.files(&self.materials));
        provenance.byproducts = vec![log];
        provenance
    }

    /// In-toto's link for this step of a supply chain; its products are the subjects of the statement.
    #[must_use]
    pub fn link(&self, step: &str) -> Link {
        let byproducts = [
            ("return-value".to_owned(), self.code().into()),
            ("log".to_owned(), json!({ "sha256": self.log.to_hex() })),
        ];
        Link {
            name: step.to_owned(),
            command: self.command.clone(),
            materials: self.files(&self.materials).collect(),
            byproducts: byproducts.into_iter().collect(),
            ..Link::default()
        }
    }

    fn files<'a>(&self, files: &'a BTreeMap<String, Digest>) -> impl Iterator<Item = Resource> + use<'a> {
        files.iter().map(|(path, digest)| Resource {
            name: path.clone(),
            digest: sha256(digest),
            ..Resource::default()
        })
    }
}

fn sha256(digest: &Digest) -> BTreeMap<String, String> {
    [(digest.algorithm().name().to_owned(), digest.to_hex())].into()
}

#[cfg(unix)]
fn signal(status: ExitStatus) -> Option<i32> {
    std::os::unix::process::ExitStatusExt::signal(&status)
}

#[cfg(not(unix))]
fn signal(_: ExitStatus) -> Option<i32> {
    None
}

#[cfg(all(test, unix))]
mod tests {
    use countersign_attestation::predicate::small::Predicate as _;
    use countersign_clock::SystemClock;

    use super::*;
    use crate::environment::{Platform, Variables};

    fn wanted(folder: &Path, script: &str) -> Wanted {
        Wanted {
            command: vec!["sh".into(), "-c".into(), script.into()],
            folder: folder.into(),
            materials: Patterns::all(),
            products: Patterns::all(),
            log: None,
        }
    }

    #[test]
    fn materials_are_what_was_there_and_products_what_is_new_or_changed() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["kept", "changed", "gone"] {
            std::fs::write(folder.path().join(name), name).unwrap();
        }
        let script = "echo out; echo err >&2; rm gone; echo 2 > changed; mkdir dist; cat kept > dist/new; ln -s /etc/passwd dist/link";
        let found = wanted(folder.path(), script).run(&SystemClock).unwrap();
        assert_eq!(found.materials.keys().collect::<Vec<_>>(), ["changed", "gone", "kept"]);
        assert_eq!(found.materials["changed"], HashAlgorithm::Sha256.digest(b"changed"));
        assert_eq!(found.products.keys().collect::<Vec<_>>(), ["changed", "dist/new"]);
        assert_eq!(found.products["dist/new"], HashAlgorithm::Sha256.digest(b"kept"));
        assert_eq!(found.left_out, ["dist/link"]);
        assert_eq!(found.code(), 0);
    }

    #[test]
    fn the_log_is_kept_hashed_and_no_product() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("build.log");
        let wanted = Wanted { log: Some(log.clone()), ..wanted(folder.path(), "echo out; echo x > product") };
        let found = wanted.run(&SystemClock).unwrap();
        assert_eq!(std::fs::read(&log).unwrap(), b"out\n");
        assert_eq!(found.log, HashAlgorithm::Sha256.digest(b"out\n"));
        assert_eq!(found.products.keys().collect::<Vec<_>>(), ["product"]);
    }

    #[test]
    fn patterns_say_what_is_recorded() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.c"), "").unwrap();
        std::fs::write(folder.path().join("notes"), "").unwrap();
        let wanted = Wanted {
            materials: Patterns::parse(&["*.c".into()]).unwrap(),
            products: Patterns::parse(&["*.o".into()]).unwrap(),
            ..wanted(folder.path(), "echo 1 > a.o; echo 2 > notes")
        };
        let found = wanted.run(&SystemClock).unwrap();
        assert_eq!(found.materials.keys().collect::<Vec<_>>(), ["a.c"]);
        assert_eq!(found.products.keys().collect::<Vec<_>>(), ["a.o"]);
    }

    #[test]
    fn a_command_that_fails_or_is_ended_hands_its_code_through() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(wanted(folder.path(), "exit 7").run(&SystemClock).unwrap().code(), 7);
        assert_eq!(wanted(folder.path(), "kill -TERM $$").run(&SystemClock).unwrap().code(), 143);
        let none = Wanted { command: vec!["/no/such/program".into()], ..wanted(folder.path(), "") };
        assert!(matches!(none.run(&SystemClock), Err(RunError::Start { .. })));
    }

    #[test]
    fn a_statement_about_nothing_is_not_made_nor_one_about_too_much() {
        let folder = tempfile::tempdir().unwrap();
        let mut found = wanted(folder.path(), "true").run(&SystemClock).unwrap();
        assert!(matches!(found.subjects(), Err(RunError::NoProducts)));
        let digest = HashAlgorithm::Sha256.digest(b"");
        found.products = (0..MAX_SUBJECTS).map(|n| (n.to_string(), digest)).collect();
        assert_eq!(found.subjects().unwrap().len(), MAX_SUBJECTS);
        found.products.insert("one more".into(), digest);
        assert!(matches!(found.subjects(), Err(RunError::ManyProducts(_))));
    }

    #[test]
    fn provenance_and_link_say_command_materials_and_log() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("in"), "i").unwrap();
        let found = wanted(folder.path(), "cat in > out; echo said").run(&SystemClock).unwrap();
        let environment = Environment::read(Platform::Shell, &Variables::new(), &[], None).unwrap();
        let text = found.provenance(&environment, vec![Resource::at("pkg:npm/a@1")]).to_v1().unwrap();
        let value: Value = serde_json::from_str(text.get()).unwrap();
        let definition = &value["buildDefinition"];
        assert_eq!(definition["buildType"], COMMAND_BUILD_TYPE);
        assert_eq!(definition["externalParameters"]["command"][0], "sh");
        assert_eq!(definition["resolvedDependencies"][0]["uri"], "pkg:npm/a@1");
        let material =
            json!({ "name": "in", "digest": { "sha256": HashAlgorithm::Sha256.digest(b"i").to_hex() } });
        assert_eq!(definition["resolvedDependencies"][1], material);
        let log = HashAlgorithm::Sha256.digest(b"said\n").to_hex();
        assert_eq!(value["runDetails"]["byproducts"][0]["digest"]["sha256"], log);
        let link: Value = serde_json::from_str(found.link("build").to_json().unwrap().get()).unwrap();
        assert_eq!((&link["name"], &link["materials"][0]), (&json!("build"), &material));
        assert_eq!(link["byproducts"]["return-value"], 0);
        assert!(found.link("").to_json().is_err(), "a step without a name");
        assert!(found.provenance(&environment, Vec::new()).to_v02().is_ok());
    }
}
