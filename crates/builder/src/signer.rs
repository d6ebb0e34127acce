//! The third trust domain: the statement about a build. Every field comes from the journal of the control side; of the build itself it knows the
//! digests of what it left. The process has the key, and neither the source, nor the sandbox, nor what was built.

use std::io::{Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use countersign_attestation::predicate::provenance::{Builder, Provenance, Resource};
use countersign_attestation::statement::{Statement, Subject};
use countersign_crypto::{Digest, HashAlgorithm};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::BuildError;
use crate::journal::{self, Event, Isolation, MAX_JOURNAL};
use crate::sandbox::Output;

/// The word before the command line of a build, with which it signs.
pub const SIGNER_COMMAND: &str = "__build-signer";
/// The word before it, with which it only finds out whether it could sign.
pub const CHECK_COMMAND: &str = "__build-signer-check";
/// How the parameters of these builds are read.
pub const BUILD_TYPE: &str = "https://countersign.dev/buildtypes/recipe/v1";
/// The type of the predicate.
const PREDICATE_TYPE: &str = "https://slsa.dev/provenance/v1";
/// The longest bundle that a signer gives, in bytes.
const MAX_BUNDLE: u64 = 64 << 20;

/// The journal as a statement.
///
/// # Errors
/// [`BuildError::Journal`] unless it tells of one whole build: begun, source, inputs, plan, end, at least one output, closed.
pub fn statement(bytes: &[u8]) -> Result<Statement, BuildError> {
    let wrong = |message: String| BuildError::Journal(message);
    let mut lines = journal::read(bytes)?.into_iter().peekable();
    let mut next =
        |expected: &str| lines.next().ok_or_else(|| wrong(format!("expected {expected}, found its end")));
    let first = next("its beginning")?;
    let Event::Begun { invocation, base, isolation, version, program, parameters } = first.did else {
        return Err(wrong("it does not begin with the beginning".into()));
    };
    let mut stage = Stage::Begun;
    let mut told = Told::default();
    let closed = loop {
        let line = next("its end")?;
        stage =
            stage.after(&line.did).ok_or_else(|| wrong(format!("{} at the wrong place", name(&line.did))))?;
        match line.did {
            Event::Resolved(resource) | Event::Input(resource) => told.dependencies.push(resource),
            Event::Planned(plan) => told.plan = plan,
            Event::Ended(log) => told.byproducts.push(log),
            Event::Output(output) => told.outputs.push(output),
            Event::Reproduced(how) => told.reproduced = Some(how),
            Event::Begun { .. } => {}
            Event::Closed => break line.at,
        }
    };
    if lines.peek().is_some() {
        return Err(wrong("it goes on behind its end".into()));
    }
    told.byproducts.push(resource("journal.jsonl", &HashAlgorithm::Sha256.digest(bytes)));
    let mut internal = Map::new();
    internal.insert("network".into(), "none".into());
    internal.insert("plan".into(), told.plan);
    if let Some(how) = told.reproduced {
        internal.insert("reproduced".into(), how);
    }
    let provenance = Provenance {
        builder: Builder {
            id: builder_id(&base, isolation),
            version: [("countersign".to_owned(), version)].into(),
            dependencies: vec![program],
        },
        build_type: BUILD_TYPE.into(),
        parameters,
        internal_parameters: internal.into(),
        invocation,
        started: Some(time(&first.at)?),
        finished: Some(time(&closed)?),
        dependencies: told.dependencies,
        byproducts: told.byproducts,
        ..Provenance::default()
    };
    let subjects = told.outputs.iter().map(subject).collect::<Result<Vec<_>, _>>()?;
    let predicate = provenance.to_v1().map_err(|e| wrong(e.to_string()))?;
    Statement::new(subjects, PREDICATE_TYPE, predicate).map_err(|e| wrong(e.to_string()))
}

fn time(text: &str) -> Result<Timestamp, BuildError> {
    text.parse().map_err(|e| BuildError::Journal(format!("\"{text}\": {e}")))
}

/// The id of a builder: it names the isolation that was in use.
#[must_use]
pub fn builder_id(base: &str, isolation: Isolation) -> String {
    format!("{}/builders/{}/v1", base.trim_end_matches('/'), isolation.name())
}

/// A file by name and digest.
pub(crate) fn resource(name: &str, digest: &Digest) -> Resource {
    Resource {
        name: name.into(),
        digest: [(digest.algorithm().name().to_owned(), digest.to_hex())].into(),
        ..Resource::default()
    }
}

fn subject(output: &Output) -> Result<Subject, BuildError> {
    let digest = Digest::parse(&format!("sha256:{}", output.sha256))
        .map_err(|e| BuildError::Journal(format!("{}: {e}", output.path)))?;
    Ok(Subject::of(&output.path, &digest))
}

/// What a journal told.
#[derive(Default)]
struct Told {
    dependencies: Vec<Resource>,
    byproducts: Vec<Resource>,
    plan: Value,
    outputs: Vec<Output>,
    reproduced: Option<Value>,
}

/// How far a journal has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Begun,
    Resolved,
    Planned,
    Ended,
    Output,
    Reproduced,
    Closed,
}

impl Stage {
    /// The stage that an event leads to; `None` when it does not belong there.
    fn after(self, event: &Event) -> Option<Self> {
        Some(match (self, event) {
            (Self::Begun | Self::Resolved, Event::Resolved(_)) | (Self::Resolved, Event::Input(_)) => {
                Self::Resolved
            }
            (Self::Resolved, Event::Planned(_)) => Self::Planned,
            (Self::Planned, Event::Ended(_)) => Self::Ended,
            (Self::Ended | Self::Output, Event::Output(_)) => Self::Output,
            (Self::Output, Event::Reproduced(_)) => Self::Reproduced,
            (Self::Output | Self::Reproduced, Event::Closed) => Self::Closed,
            _ => return None,
        })
    }
}

fn name(event: &Event) -> String {
    let value = serde_json::to_value(event).unwrap_or_else(|_| json!({}));
    value.get("event").and_then(Value::as_str).unwrap_or("an event").to_owned()
}

/// The signer's process, under another user where one is given. Its arguments are those of this process, from which it takes how to sign.
fn process(
    word: &str,
    arguments: impl IntoIterator<Item = std::ffi::OsString>,
    user: Option<(u32, u32)>,
) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("countersign-build-signer").arg(word).args(arguments);
    if let Some((user, group)) = user {
        command.uid(user).gid(group);
    }
    command
}

/// Asks the signer whether it could sign, before anything is built: it alone may read the key. It keeps nothing from it, and neither does
/// this process.
///
/// # Errors
/// [`BuildError::Signer`] when it could not; it has said why itself.
pub fn check(
    arguments: impl IntoIterator<Item = std::ffi::OsString>,
    user: Option<(u32, u32)>,
) -> Result<(), BuildError> {
    let mut command = process(CHECK_COMMAND, arguments, user);
    // As when it signs: there is nobody at its standard input.
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let status = command.status().map_err(BuildError::file("the signer"))?;
    if status.success() {
        return Ok(());
    }
    Err(BuildError::Signer { code: status.code().and_then(|code| u8::try_from(code).ok()) })
}

/// Has the signer sign: it gets the journal and gives the bundle.
///
/// # Errors
/// [`BuildError::Step`] when it does not sign; it has said why itself.
pub fn ask(
    arguments: impl IntoIterator<Item = std::ffi::OsString>,
    journal: &[u8],
    user: Option<(u32, u32)>,
) -> Result<Vec<u8>, BuildError> {
    let fails = |e: &dyn std::fmt::Display| BuildError::Step(format!("the signer: {e}"));
    let mut command = process(SIGNER_COMMAND, arguments, user);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut signer = command.spawn().map_err(|e| fails(&e))?;
    let (Some(mut input), Some(output)) = (signer.stdin.take(), signer.stdout.take()) else {
        return Err(fails(&"no pipes"));
    };
    // It reads all before it says anything.
    let given = input.write_all(journal);
    drop(input);
    let mut bundle = Vec::new();
    output.take(MAX_BUNDLE).read_to_end(&mut bundle).map_err(|e| fails(&e))?;
    let status = signer.wait().map_err(|e| fails(&e))?;
    if !status.success() || bundle.is_empty() {
        return Err(fails(&format!("it ended with {status} and signed nothing")));
    }
    given.map_err(|e| fails(&e))?;
    Ok(bundle)
}

/// A user by name or number, with the group.
///
/// # Errors
/// [`BuildError::File`] when there is none.
pub fn user(text: &str) -> Result<(u32, u32), BuildError> {
    use nix::unistd::{Uid, User};
    let found = match text.parse() {
        Ok(number) => User::from_uid(Uid::from_raw(number)),
        Err(_) => User::from_name(text),
    };
    let found = found.map_err(BuildError::file(text))?;
    let message = || BuildError::File {
        what: text.into(),
        message: "expected a user of this machine, found none".into(),
    };
    found.map(|user| (user.uid.as_raw(), user.gid.as_raw())).ok_or_else(message)
}

/// The journal as the signer's process gets it.
///
/// # Errors
/// [`BuildError::Journal`] when it is too long or does not come.
pub fn receive() -> Result<Vec<u8>, BuildError> {
    let mut bytes = Vec::new();
    std::io::stdin()
        .take(MAX_JOURNAL as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| BuildError::Journal(e.to_string()))?;
    Ok(bytes)
}
