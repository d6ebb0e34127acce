//! The sandbox: the second of the three trust domains. Two processes of the same program, under hidden commands: an outer one that makes
//! it, and an inner one that runs the build.
//!
//! ```text
//!   control ── work directory (fd 0) ─► outer: own user if root, all namespaces, mounts, clock ─► inner: root, walls, steps
//!           ◄── report, outputs (fd 1) ──┘                                                          │
//!           ◄── log (fd 2) ─────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Every step is a new start of the program, since a process with threads cannot go through these doors, and no code here is unsafe.

mod calls;
mod init;
mod mounts;
pub(crate) mod plan;
mod report;
mod supervisor;
mod walls;

use std::fs::{self, File};
use std::io::{BufReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

pub use calls::digest as calls_digest;
pub use plan::{Command as PlannedCommand, Disguise, Places, Plan, Root};
pub use report::{End, Output};

use crate::BuildError;
use crate::recipe::Limits;

/// The hidden command of the outer process.
pub const SANDBOX_COMMAND: &str = "__build-sandbox";
/// The hidden command of the inner process.
pub const INIT_COMMAND: &str = "__build-inside";
/// This program, wherever it lies and whoever may reach it there.
const PROGRAM: &str = "/proc/self/exe";
/// The first of the users that builds started by root run as: beyond all that systems give to people, services and containers.
const FIRST_USER: u32 = 2_100_000_000;
/// How many of them there are.
const USERS: u32 = 10_000_000;
/// The most of a log that is kept, in bytes.
const MAX_LOG: u64 = 64 << 20;

/// Runs a hidden command, when the first argument is one. To be called before the program does anything else.
#[must_use]
pub fn hidden(first: &str) -> Option<ExitCode> {
    match first {
        SANDBOX_COMMAND => Some(match supervisor::run() {
            Ok(()) => ExitCode::SUCCESS,
            Err(message) => {
                eprintln!("error: {message}");
                ExitCode::FAILURE
            }
        }),
        INIT_COMMAND => Some(ExitCode::from(init::run())),
        _ => None,
    }
}

/// Who the sandbox runs as: for root somebody who is nobody else and owns nothing, and another one for each build; for everybody else
/// themselves.
#[must_use]
pub fn own_user() -> Option<u32> {
    nix::unistd::geteuid().is_root().then(|| FIRST_USER + (std::process::id() % USERS))
}

/// A sandbox that ended.
#[derive(Debug)]
pub struct Ran {
    /// How.
    pub end: End,
    /// What it made, when it ended well; already in the directory that was given.
    pub outputs: Vec<Output>,
}

/// Runs a plan. The work directory holds `root`, `source` and `inputs`; what the build says goes to `log`, what it makes into
/// `outputs`.
///
/// # Errors
/// [`BuildError::Sandbox`] when it could not be made, [`BuildError::Output`] when what it left is no output.
pub fn run(
    work: &Path,
    plan: &Plan,
    user: Option<u32>,
    log: &Path,
    outputs: &Path,
) -> Result<Ran, BuildError> {
    let fails = |what: &str| {
        let what = what.to_owned();
        move |e: std::io::Error| BuildError::Sandbox(format!("{what}: {e}"))
    };
    fs::create_dir_all(work.join(plan::SCRATCH)).map_err(fails("the work directory"))?;
    if plan.root == Root::Unpacked {
        mounts::mount_points(work, plan).map_err(BuildError::Sandbox)?;
    }
    let text = serde_json::to_vec_pretty(plan).map_err(|e| BuildError::Sandbox(e.to_string()))?;
    fs::write(work.join(plan::PLAN), text).map_err(fails("the plan"))?;
    // Whatever mask whoever builds has: the sandbox may be another user.
    for (path, mode) in [(work.to_owned(), 0o755), (work.join(plan::PLAN), 0o644)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(fails("the work directory"))?;
    }
    let mut command = Command::new(PROGRAM);
    command
        .arg0("countersign-build-sandbox")
        .arg(SANDBOX_COMMAND)
        .env_clear()
        .stdin(File::open(work).map_err(fails("the work directory"))?)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if let Some(user) = user {
        command.uid(user).gid(user);
    }
    let mut outer = command.spawn().map_err(fails("the sandbox does not start"))?;
    let said = outer.stderr.take().ok_or_else(|| BuildError::Sandbox("no log".into()))?;
    let mut kept = File::create(log).map_err(fails("the log"))?;
    let keeping = std::thread::spawn(move || {
        let mut said = said;
        std::io::copy(&mut (&mut said).take(MAX_LOG), &mut kept)?;
        // What is too much is read all the same, or the build would wait for ever.
        let more = std::io::copy(&mut said, &mut std::io::sink())?;
        if more > 0 {
            writeln!(kept, "\ncountersign: {more} bytes more are left out")?;
        }
        kept.sync_all()
    });
    let mut report =
        BufReader::new(outer.stdout.take().ok_or_else(|| BuildError::Sandbox("no report".into()))?);
    let taken = take(&mut report, outputs, &plan.limits);
    drop(report);
    outer.wait().map_err(fails("the sandbox cannot be waited for"))?;
    match keeping.join() {
        Ok(kept) => kept.map_err(fails("the log"))?,
        Err(_) => return Err(BuildError::Sandbox("the log was not kept".into())),
    }
    taken
}

fn take(
    report: &mut BufReader<std::process::ChildStdout>,
    outputs: &Path,
    limits: &Limits,
) -> Result<Ran, BuildError> {
    let end = report::read_end(report).map_err(BuildError::Sandbox)?;
    match end {
        End::Broken(message) => Err(BuildError::Sandbox(message)),
        End::Done => {
            let outputs = report::receive(report, outputs, limits).map_err(BuildError::Output)?;
            Ok(Ran { end, outputs })
        }
        end => Ok(Ran { end, outputs: Vec::new() }),
    }
}
