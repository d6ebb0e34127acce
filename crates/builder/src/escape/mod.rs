//! The claim of isolation as a suite that anybody can run on the machine in question: every way out that is known, tried from within by name.
//! Where it can be shown, the same attempt is made outside first, and must succeed there: a check that cannot fail proves nothing.

mod attempts;
mod tools;

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::BuildError;
use crate::recipe::Limits;
use crate::sandbox::{self, Disguise, End, Places, Plan, PlannedCommand, Root};
use attempts::{ATTEMPTS, Attempt, Outside, PRELUDE, Proof};

/// The exit code of a script that was refused.
const REFUSED: i32 = 7;

/// What came of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It succeeded.
    Out(String),
    /// It did not, and this shows it.
    Held(String),
    /// Neither is shown, for this reason.
    NotShown(String),
}

/// One attempt and what came of it.
#[derive(Debug, Clone)]
pub struct Row {
    /// Its name.
    pub name: &'static str,
    /// Within the sandbox: must be held.
    pub inside: Verdict,
    /// Outside: must succeed where it can be tried.
    pub outside: Verdict,
    /// Whether it had to succeed outside on this machine, for whoever runs the suite.
    pub owed: bool,
}

impl Row {
    /// Whether this row supports the claim.
    #[must_use]
    pub fn holds(&self) -> bool {
        matches!(self.inside, Verdict::Held(_)) && (!self.owed || matches!(self.outside, Verdict::Out(_)))
    }
}

/// What the attempts try to reach, made outside; gone when dropped.
struct World {
    _directory: tempfile::TempDir,
    values: BTreeMap<&'static str, String>,
    _listeners: (TcpListener, UnixListener, UnixListener),
}

impl World {
    fn new() -> Result<Self, BuildError> {
        let fails = || BuildError::file("the world of the escape suite");
        let directory = tempfile::tempdir().map_err(fails())?;
        let at = directory.path();
        fs::create_dir_all(at.join("other/source")).map_err(fails())?;
        for file in ["signing.key", "journal.jsonl", "other/source/secret"] {
            fs::write(at.join(file), b"secret\n").map_err(fails())?;
        }
        let name = at.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let tcp = TcpListener::bind(("127.0.0.1", 0)).map_err(fails())?;
        let unix = UnixListener::bind(at.join("socket")).map_err(fails())?;
        let address = SocketAddr::from_abstract_name(&name).map_err(fails())?;
        let hidden = UnixListener::bind_addr(&address).map_err(fails())?;
        let port = tcp.local_addr().map_err(fails())?.port();
        let values = BTreeMap::from([
            ("PORT", port.to_string()),
            ("DIR", at.display().to_string()),
            ("PID", std::process::id().to_string()),
            ("MARK", format!("countersign-survivor-{}", std::process::id())),
            ("ABSTRACT", name),
        ]);
        Ok(Self { _directory: directory, values, _listeners: (tcp, unix, hidden) })
    }

    fn script(&self, attempt: &Attempt) -> String {
        let mut script = format!("{PRELUDE}{}", attempt.script);
        for (name, value) in &self.values {
            script = script.replace(&format!("@{name}@"), value);
        }
        for (name, number) in calls() {
            script = script.replace(&format!("@SYS_{name}@"), &number.to_string());
        }
        script
    }

    /// Whether something of this machine bears the mark of the survivor; it is ended.
    fn survivor(&self) -> bool {
        let mark = self.values.get("MARK").cloned().unwrap_or_default();
        let mut found = false;
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            if line.starts_with(mark.as_bytes()) {
                found = true;
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
        found
    }
}

/// The system calls that the scripts name.
fn calls() -> [(&'static str, i64); 21] {
    [
        ("mknodat", libc::SYS_mknodat),
        ("io_uring_setup", libc::SYS_io_uring_setup),
        ("ptrace", libc::SYS_ptrace),
        ("process_vm_readv", libc::SYS_process_vm_readv),
        ("setresuid", libc::SYS_setresuid),
        ("mount", libc::SYS_mount),
        ("umount2", libc::SYS_umount2),
        ("fsopen", libc::SYS_fsopen),
        ("chroot", libc::SYS_chroot),
        ("unshare", libc::SYS_unshare),
        ("clone", libc::SYS_clone),
        ("setns", libc::SYS_setns),
        ("keyctl", libc::SYS_keyctl),
        ("bpf", libc::SYS_bpf),
        ("userfaultfd", libc::SYS_userfaultfd),
        ("perf_event_open", libc::SYS_perf_event_open),
        ("name_to_handle_at", libc::SYS_name_to_handle_at),
        ("setsid", libc::SYS_setsid),
        ("getpid", libc::SYS_getpid),
        ("kill", libc::SYS_kill),
        ("exit", libc::SYS_exit),
    ]
}

/// Runs the suite: every attempt outside and inside, in the order of the table. `user` is who the sandbox runs as, for root.
///
/// # Errors
/// [`BuildError`] when the suite itself cannot be set up; an attempt that gets out is a row and no error.
pub fn suite(user: Option<u32>, mut told: impl FnMut(&Row)) -> Result<Vec<Row>, BuildError> {
    let own = tempfile::tempdir().map_err(BuildError::file("the escape suite"))?;
    let work = own.path().join("work");
    tools::prepare(&work)?;
    let mut rows = Vec::new();
    for attempt in ATTEMPTS {
        let world = World::new()?;
        let (outside, owed) = outside(&world, attempt)?;
        // What the attempt left outside is not what it finds inside.
        let world = World::new()?;
        let inside = inside(&world, attempt, &work, own.path(), user)?;
        let row = Row { name: attempt.name, inside, outside, owed };
        told(&row);
        rows.push(row);
    }
    Ok(rows)
}

fn outside(world: &World, attempt: &Attempt) -> Result<(Verdict, bool), BuildError> {
    let root = nix::unistd::geteuid().is_root();
    let owed = match attempt.outside {
        Outside::NotTried(why) => return Ok((Verdict::NotShown(why.into()), false)),
        Outside::Works => true,
        Outside::WorksForRoot => root,
        Outside::IfThere => false,
    };
    let ran = Command::new("perl")
        .args(["-e", &world.script(attempt)])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .output()
        .map_err(BuildError::file("perl, which the escape suite needs"))?;
    let said = String::from_utf8_lossy(&ran.stdout).trim().to_owned();
    let verdict = match ran.status.code() {
        Some(0) if attempt.proof != Proof::Gone || world.survivor() => Verdict::Out("works".into()),
        Some(0) => Verdict::NotShown("nothing was left running".into()),
        _ if said.is_empty() => Verdict::NotShown(String::from_utf8_lossy(&ran.stderr).trim().to_owned()),
        _ => Verdict::NotShown(said),
    };
    Ok((verdict, owed))
}

fn inside(
    world: &World,
    attempt: &Attempt,
    work: &Path,
    own: &Path,
    user: Option<u32>,
) -> Result<Verdict, BuildError> {
    let outputs = tempfile::tempdir_in(own).map_err(BuildError::file("the escape suite"))?;
    let log: PathBuf = own.join("log");
    let late = attempt.proof == Proof::Late;
    let plan = Plan {
        root: Root::Unpacked,
        places: Places::default(),
        disguise: Disguise::default(),
        environment: BTreeMap::from([("PATH".into(), "/usr/bin:/bin".into())]),
        commands: vec![PlannedCommand {
            argv: vec!["/usr/bin/perl".into(), "-e".into(), world.script(attempt)],
            directory: "/build".into(),
        }],
        limits: Limits { seconds: if late { 2 } else { 60 }, memory: 256, disk: 32, processes: 64 },
    };
    let ran = sandbox::run(work, &plan, user, &log, outputs.path());
    let said = fs::read_to_string(&log).unwrap_or_default();
    let refused = said.lines().find_map(|line| line.strip_prefix("refused: ")).unwrap_or_default();
    let failed_with = |code: i32| said.contains(&format!("ended with exit status: {code}"));
    Ok(match (attempt.proof, ran) {
        (Proof::Refused, Ok(ran)) if ran.end == End::Failed && failed_with(REFUSED) => {
            Verdict::Held(refused.to_owned())
        }
        (Proof::NoOutput(word), Err(BuildError::Output(why))) if why.contains(word) => Verdict::Held(why),
        (Proof::Late, Ok(ran)) if ran.end == End::Late => Verdict::Held("ended for its time".into()),
        (Proof::Gone, Ok(ran)) if ran.end == End::Done => {
            if world.survivor() {
                Verdict::Out("a process is left".into())
            } else {
                Verdict::Held("no process is left".into())
            }
        }
        (Proof::Unheard, Ok(ran)) if ran.end == End::Failed && failed_with(9) => {
            Verdict::Held("the build counts as failed".into())
        }
        (_, Ok(ran)) if matches!(ran.end, End::Done) => Verdict::Out(said),
        (_, other) => Verdict::NotShown(format!("{other:?} {said}")),
    })
}
