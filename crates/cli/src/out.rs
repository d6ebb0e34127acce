//! Standard output for data, standard error for talk; colour only where a person looks.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use clap::ValueEnum;
use countersign_http::text::printable_lines;
use serde::Serialize;

use crate::failure::{Failure, NETWORK};

/// When to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The form of a command's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[value(alias = "human")]
    Text,
    /// One JSON document with `schema` and `schemaVersion`.
    Json,
}

/// What holds for the whole run of the program.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terminal {
    color_out: bool,
    ascii: bool,
    /// No talk on standard error but errors.
    pub(crate) quiet: bool,
    /// More talk.
    pub(crate) verbose: bool,
    /// How long the whole command may take.
    pub(crate) timeout: Option<Duration>,
}

impl Terminal {
    pub(crate) fn new(color: Color, quiet: bool, verbose: bool, timeout: Option<Duration>) -> Self {
        let wanted = |is_terminal: bool| match color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => is_terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()),
        };
        let dumb = std::env::var_os("TERM").is_some_and(|t| t == "dumb");
        Self {
            color_out: wanted(std::io::stdout().is_terminal() && !dumb),
            ascii: dumb,
            quiet,
            verbose,
            timeout,
        }
    }

    /// Writes data to standard output.
    pub(crate) fn data(&self, text: &str) -> Result<(), Failure> {
        let mut out = std::io::stdout().lock();
        out.write_all(text.as_bytes())
            .and_then(|()| out.flush())
            .map_err(|e| Failure::internal(format!("standard output: {e}")))
    }

    /// Writes one line of data to standard output.
    pub(crate) fn line(&self, text: &str) -> Result<(), Failure> {
        self.data(&format!("{text}\n"))
    }

    /// Writes a document with the id and version of its schema to standard output.
    pub(crate) fn json(&self, schema: &str, version: u32, content: &impl Serialize) -> Result<(), Failure> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Document<'a, T> {
            schema: String,
            schema_version: u32,
            #[serde(flatten)]
            content: &'a T,
        }
        let document = Document { schema: format!("countersign.{schema}"), schema_version: version, content };
        let text = serde_json::to_string_pretty(&document).map_err(|e| Failure::internal(e.to_string()))?;
        self.line(&text)
    }

    /// Talks on standard error. A closed standard error is no reason to fail.
    pub(crate) fn talk(&self, text: &str) {
        if !self.quiet {
            say(text);
        }
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.color_out { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    pub(crate) fn good(&self, text: &str) -> String {
        self.paint("32", text)
    }

    pub(crate) fn bad(&self, text: &str) -> String {
        self.paint("31;1", text)
    }

    pub(crate) fn dim(&self, text: &str) -> String {
        self.paint("2", text)
    }

    pub(crate) fn strong(&self, text: &str) -> String {
        self.paint("1", text)
    }

    /// The mark of a check that passed.
    pub(crate) fn yes(&self) -> String {
        self.good(if self.ascii { "+" } else { "✓" })
    }

    /// The mark of a check that failed.
    pub(crate) fn no(&self) -> String {
        self.bad(self.no_mark())
    }

    /// The same without its colour.
    pub(crate) const fn no_mark(&self) -> &'static str {
        if self.ascii { "x" } else { "✗" }
    }

    /// The mark of a check that does not apply.
    pub(crate) fn none(&self) -> String {
        self.dim(if self.ascii { "-" } else { "–" })
    }
}

/// A line on standard error, also where all else is quiet. One that cannot be written is no reason to fail: the exit code
/// tells.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// A number of things, in words that fit it.
pub(crate) fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// A failure, on standard error. What files and servers say may stand in it.
pub(crate) fn report(failure: &Failure) {
    say(&format!("error: {}", printable_lines(&failure.message)));
    if let Some(next) = &failure.next {
        say(&format!("next:  {}", printable_lines(next)));
    }
}

/// Waits for something within the time the person gave.
pub(crate) async fn within<T>(
    terminal: &Terminal,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    match terminal.timeout {
        None => work.await,
        Some(limit) => {
            // Kept until it is known what it was waiting for.
            let mut work = std::pin::pin!(work);
            tokio::time::timeout(limit, &mut work).await.unwrap_or_else(|_| Err(too_late(limit)))
        }
    }
}

/// The time is up, with what was waited for.
fn too_late(limit: Duration) -> Failure {
    let waited = countersign_http::waiting().first().map(|what| format!(": {what}")).unwrap_or_default();
    Failure::new(NETWORK, format!("not done within {} s (--timeout){waited}", limit.as_secs_f64()))
}

/// How much longer than it was given a command may take to end by itself.
const GRACE: Duration = Duration::from_secs(1);

/// Ends the program when its time is over and it waits for what cannot be called off, such as a key's home.
pub(crate) fn end_in_time(terminal: &Terminal) -> Result<(), Failure> {
    let Some(limit) = terminal.timeout else { return Ok(()) };
    let watch = move || {
        std::thread::sleep(limit.saturating_add(GRACE));
        report(&too_late(limit));
        std::process::exit(NETWORK.into());
    };
    let started = std::thread::Builder::new().name("timeout".into()).spawn(watch);
    started.map(drop).map_err(|e| Failure::internal(format!("cannot start: {e}")))
}

/// Runs something asynchronous to its end, within the time the person gave.
pub(crate) fn block_on<T>(
    terminal: &Terminal,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|e| Failure::internal(format!("cannot start: {e}")))?;
    let result = runtime.block_on(within(terminal, work));
    // Nothing that still waits for the network or a terminal holds the program up.
    runtime.shutdown_background();
    result
}

/// A length of time as cosign's `--timeout` takes it: `90s`, `3m`, `1m30s`, `1.5h`, or plain seconds.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let bad = || format!("expected a time such as 90s or 3m, found \"{text}\"");
    if let Ok(seconds) = text.parse() {
        return Ok(Duration::from_secs(seconds));
    }
    let read = countersign_policy::duration(text).map_err(|_| bad())?;
    Duration::try_from(read).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_writes_them() {
        for (text, ms) in [
            ("90", 90_000),
            ("3m", 180_000),
            ("3m0s", 180_000),
            ("1m30s", 90_000),
            ("1.5h", 5_400_000),
            ("250ms", 250),
        ] {
            assert_eq!(parse_duration(text).unwrap(), Duration::from_millis(ms), "{text}");
        }
        for bad in ["", "m", ".", "3x", "-3s", "3m2"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }
}
