//! Whole processes, timed from their start to their end.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::table::median;

/// Programs of others to be measured beside; those that are not there are named in the table.
#[derive(Debug)]
pub(crate) struct Peers {
    /// cosign v3.
    pub(crate) cosign: Option<PathBuf>,
    /// GitHub's gh.
    pub(crate) gh: Option<PathBuf>,
    /// The verifier on the `sigstore-verify` crate, built with this program.
    pub(crate) sigstore_verify: PathBuf,
}

/// Runs one command; it must succeed.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let output = command.output().with_context(|| format!("running {command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} failed: {}: {said}", output.status);
    Ok(())
}

/// The median times of some commands. They take turns, so that what disturbs one disturbs all.
pub(crate) fn medians(runs: usize, commands: &mut [Command]) -> Result<Vec<Duration>> {
    let mut times = vec![Vec::with_capacity(runs); commands.len()];
    for _ in 0..runs {
        for (command, times) in commands.iter_mut().zip(&mut times) {
            let started = Instant::now();
            run(command)?;
            times.push(started.elapsed());
        }
    }
    Ok(times.into_iter().map(median).collect())
}

/// A command with a home of its own, so that nothing of the user's is read.
pub(crate) fn at_home(program: &Path, home: &Path) -> Command {
    let mut command = Command::new(program);
    command.env("HOME", home).env("TUF_ROOT", home.join("no-tuf-root")).env("NO_COLOR", "1");
    command
}
