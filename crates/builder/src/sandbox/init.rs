//! The inner process of the sandbox: the first of its namespace. Enters the new root, puts up the walls, and runs the steps one after
//! the other. When it ends, the kernel ends everything else within.

use std::io::{Read as _, stdin};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitStatus, Stdio};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::{Mode, umask};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use super::plan::{self, Plan};
use super::{calls, mounts, supervisor, walls};

/// The exit code when a step failed.
pub(super) const FAILED: u8 = 101;
/// The exit code when a wall could not be put up.
pub(super) const BROKEN: u8 = 102;

/// Runs the inner process; gives its exit code. What it says goes to the log.
pub(super) fn run() -> u8 {
    match walled() {
        Err(message) => {
            eprintln!("countersign: {message}");
            BROKEN
        }
        Ok(plan) => {
            for (at, command) in plan.commands.iter().enumerate() {
                eprintln!("countersign: step {}: {}", at + 1, command.argv.join(" "));
                let ended = step(&plan, command);
                sweep();
                if let Err(message) = ended {
                    eprintln!("countersign: step {}: {message}", at + 1);
                    return FAILED;
                }
            }
            0
        }
    }
}

fn walled() -> Result<Plan, String> {
    supervisor::die_with_parent()?;
    // Nobody within may look into this process or trace it.
    nix::sys::prctl::set_dumpable(false).map_err(|e| format!("the inner process cannot be hidden: {e}"))?;
    let mut text = Vec::new();
    stdin().read_to_end(&mut text).map_err(|e| format!("no plan: {e}"))?;
    let plan: Plan = serde_json::from_slice(&text).map_err(|e| format!("no plan: {e}"))?;
    mounts::enter_root()?;
    nix::unistd::setsid().map_err(|e| format!("no session of its own: {e}"))?;
    umask(Mode::from_bits_truncate(plan.disguise.umask));
    walls::limit(&plan.limits)?;
    walls::drop_capabilities()?;
    walls::landlock(&[&plan.places.build, &plan.places.out, "/tmp"])?;
    calls::apply()?;
    Ok(plan)
}

/// Runs one step to its end.
fn step(plan: &Plan, command: &plan::Command) -> Result<(), String> {
    let (program, arguments) = command.argv.split_first().ok_or("it names no program")?;
    let child = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(&plan.environment)
        .current_dir(&command.directory)
        .stdin(Stdio::null())
        .spawn()
        .map_err(|e| format!("{program} does not start: {e}"))?;
    let own = i32::try_from(child.id()).map_err(|e| e.to_string())?;
    // Whatever lost its parent is this process' child; each is taken, or the limit of processes would fill with the dead.
    loop {
        match reap().map_err(|e| format!("{program} cannot be waited for: {e}"))? {
            WaitStatus::Exited(pid, 0) if pid.as_raw() == own => return Ok(()),
            WaitStatus::Exited(pid, code) if pid.as_raw() == own => {
                return Err(format!("{program} ended with {}", ExitStatus::from_raw(code << 8)));
            }
            WaitStatus::Signaled(pid, signal, _) if pid.as_raw() == own => {
                return Err(format!("{program} was ended by {signal}"));
            }
            _ => {}
        }
    }
}

/// The next child that ended. Signals from within only interrupt the wait: they mean nothing here.
fn reap() -> nix::Result<WaitStatus> {
    loop {
        match waitpid(None, None) {
            Err(Errno::EINTR) => {}
            other => return other,
        }
    }
}

/// Ends what a step left running, so that no step meets another's processes.
fn sweep() {
    // To all that this process may signal: everything within but itself.
    let _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
    while reap().is_ok() {}
}
