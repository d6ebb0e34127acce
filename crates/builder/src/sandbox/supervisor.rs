//! The outer process of the sandbox: makes the namespaces and the file system, starts the inner one and ends it when its time is over.
//! Only when everything within is dead does it hand out what lies in the directory of the outputs. The build cannot see it: it is in
//! another namespace of processes, and its way to the control side is a pipe that nobody within ever held.

use std::fs;
use std::io::{Write as _, stdin, stdout};
use std::os::fd::AsFd as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::thread::{CapabilitySet, capabilities, configure_capability_in_ambient_set, set_capabilities};

use super::init::{BROKEN, FAILED};
use super::mounts;
use super::plan::{PLAN, Plan};
use super::report::{End, send_outputs, write_end};
use super::{INIT_COMMAND, PROGRAM};

/// The longest plan, in bytes.
const MAX_PLAN: u64 = 16 << 20;

/// Runs the outer process. Its standard input is the work directory, its standard output takes the report, and its standard error is
/// the log.
///
/// # Errors
/// In words; they are reported too.
pub(super) fn run() -> Result<(), String> {
    let end = sandboxed();
    let mut report = stdout().lock();
    match end {
        Ok((end, plan)) => {
            let done = end == End::Done;
            write_end(&mut report, &end)?;
            if done {
                send_outputs(&mut report, Path::new(&plan.places.out), &plan.limits)?;
            }
        }
        Err(message) => write_end(&mut report, &End::Broken(message))?,
    }
    report.flush().map_err(|e| format!("the report cannot be written: {e}"))
}

fn sandboxed() -> Result<(End, Plan), String> {
    close_inherited()?;
    nix::unistd::fchdir(stdin()).map_err(|e| {
        format!("this is the inside of build and started by itself only (no work directory: {e})")
    })?;
    let plan = read_plan()?;
    let (user, group) = (nix::unistd::getuid(), nix::unistd::getgid());
    unshare(
        CloneFlags::CLONE_NEWUSER
            | CloneFlags::CLONE_NEWPID
            | CloneFlags::CLONE_NEWNET
            | CloneFlags::CLONE_NEWIPC
            | CloneFlags::CLONE_NEWUTS
            | CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWCGROUP,
    )
    .map_err(|e| {
        format!("namespaces cannot be made: {e}; a build needs user namespaces for ordinary users")
    })?;
    // Only now: a change of credentials forgets it.
    die_with_parent()?;
    let own = plan.disguise.uid;
    write("/proc/self/setgroups", "deny")?;
    write("/proc/self/uid_map", &format!("{own} {user} 1"))?;
    write("/proc/self/gid_map", &format!("{own} {group} 1"))?;
    nix::unistd::sethostname(&plan.disguise.hostname).map_err(|e| format!("no name for the machine: {e}"))?;
    mounts::make_root(&plan)?;
    let started = Instant::now();
    let mut inner = start(&plan)?;
    let status = wait(&mut inner, started, Duration::from_secs(u64::from(plan.limits.seconds)))?;
    let end = match status {
        None => End::Late,
        Some(status) => match (status.code(), status.signal()) {
            (Some(0), _) => End::Done,
            (Some(code), _) if code == i32::from(FAILED) => End::Failed,
            (Some(code), _) if code == i32::from(BROKEN) => {
                End::Broken("a wall of the sandbox could not be put up; the log says which".into())
            }
            (_, signal) => End::Ended(signal.unwrap_or(0)),
        },
    };
    Ok((end, plan))
}

/// Ends this process with the one that started it.
pub(super) fn die_with_parent() -> Result<(), String> {
    set_pdeathsig(Signal::SIGKILL).map_err(|e| format!("the process cannot be tied to its parent: {e}"))
}

/// Closes every file that whoever started this program left open.
fn close_inherited() -> Result<(), String> {
    let fails = |e: std::io::Error| format!("/proc/self/fd: {e}");
    let open: Vec<i32> = fs::read_dir("/proc/self/fd")
        .map_err(fails)?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    for file in open.into_iter().filter(|file| *file > 2) {
        // That of the listing itself is closed already.
        let _ = nix::unistd::close(file);
    }
    Ok(())
}

fn read_plan() -> Result<Plan, String> {
    let length = fs::metadata(PLAN).map_err(|e| format!("{PLAN}: {e}"))?.len();
    if length > MAX_PLAN {
        return Err(format!("{PLAN}: expected at most {MAX_PLAN} bytes, found {length}"));
    }
    let bytes = fs::read(PLAN).map_err(|e| format!("{PLAN}: {e}"))?;
    serde_json::from_slice(&bytes).map_err(|e| format!("{PLAN}: {e}"))
}

fn write(path: &str, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|e| format!("{path}: {e}"))
}

/// Starts the inner process: the first of its namespace, so that all others end with it.
fn start(plan: &Plan) -> Result<Child, String> {
    let fails = |e: rustix::io::Errno| format!("capabilities cannot be handed on: {e}");
    // Mounting /proc must be done from within; what else the user namespace would allow is not handed on.
    let kept = CapabilitySet::SYS_ADMIN | CapabilitySet::SETPCAP;
    let mut sets = capabilities(None).map_err(fails)?;
    sets.inheritable = kept;
    set_capabilities(None, sets).map_err(fails)?;
    for capability in kept.iter() {
        configure_capability_in_ambient_set(capability, true).map_err(fails)?;
    }
    let log = std::io::stderr().as_fd().try_clone_to_owned().map_err(|e| format!("the log: {e}"))?;
    let mut inner = Command::new(PROGRAM)
        .arg(INIT_COMMAND)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(log)
        .stderr(Stdio::inherit())
        .spawn()
        .map_err(|e| format!("the inner process does not start: {e}"))?;
    let text = serde_json::to_vec(plan).map_err(|e| e.to_string())?;
    let mut input = inner.stdin.take().ok_or("the inner process has no input")?;
    input.write_all(&text).map_err(|e| format!("the inner process takes no plan: {e}"))?;
    Ok(inner)
}

/// Waits for the inner process; ends it when its time is over, or when nobody waits for the report any more. `None` when it was late.
/// When this returns, no process of the build is left: they end with the first of their namespace, before it is reported dead.
fn wait(inner: &mut Child, started: Instant, limit: Duration) -> Result<Option<ExitStatus>, String> {
    let fails = |e: &dyn std::fmt::Display| format!("the inner process cannot be waited for: {e}");
    let pid = rustix::process::Pid::from_child(inner);
    let watched =
        rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).map_err(|e| fails(&e))?;
    let out = stdout();
    let late = loop {
        let left = limit.saturating_sub(started.elapsed());
        let timeout = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        };
        let mut files = [PollFd::new(&watched, PollFlags::IN), PollFd::new(&out, PollFlags::empty())];
        match poll(&mut files, Some(&timeout)) {
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(fails(&e)),
            Ok(0) => break true,
            Ok(_) if files.first().is_some_and(|file| !file.revents().is_empty()) => break false,
            Ok(_) => break true,
        }
    };
    if late {
        inner.kill().map_err(|e| fails(&e))?;
    }
    let status = inner.wait().map_err(|e| fails(&e))?;
    Ok((!late).then_some(status))
}
