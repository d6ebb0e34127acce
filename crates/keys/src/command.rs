//! Programs of others which know keys or credentials: run with bounded output, killed when nobody waits any more.

use std::process::Stdio;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use crate::KeyError;
use crate::service::unavailable;

/// Runs a program with this standard input and gives its standard output, at most `limit` bytes, whatever its exit
/// code. Its standard error is ours.
pub(crate) async fn output(
    program: &str,
    arguments: &[String],
    variables: &[(String, String)],
    input: &[u8],
    limit: usize,
) -> Result<Vec<u8>, KeyError> {
    let mut command = Command::new(program);
    command.args(arguments).envs(variables.iter().map(|(name, value)| (name, value)));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| {
        KeyError::Refused(match error.kind() {
            std::io::ErrorKind::NotFound => format!("no program {program} in PATH; install it"),
            _ => format!("the program {program} cannot be started: {error}"),
        })
    })?;
    let broken = |error: std::io::Error| unavailable(format!("{program}: {error}"));
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let feed = async {
        if let Some(mut stdin) = stdin {
            // A program need not read what it was given; then the pipe breaks.
            let _ = stdin.write_all(input).await;
        }
    };
    let mut found = Vec::new();
    let read = async {
        match stdout {
            Some(stdout) => stdout.take(limit as u64 + 1).read_to_end(&mut found).await.map(drop),
            None => Ok(()),
        }
    };
    let ((), read) = tokio::join!(feed, read);
    read.map_err(broken)?;
    if found.len() > limit {
        return Err(KeyError::Refused(format!("{program}: the answer is longer than {limit} bytes")));
    }
    child.wait().await.map_err(broken)?;
    Ok(found)
}
