//! `countersign serve`: runs an instance.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use countersign_server::config::Role;
use countersign_server::serve::{Running, ServeOptions, start};
use tracing_subscriber::EnvFilter;

use crate::commands::init::{DIRECTORY, server_failure};
use crate::failure::{Failure, Outcome};
use crate::out::Terminal;

/// The directory of an instance, as an argument.
#[derive(Debug, Args)]
pub(crate) struct DirectoryArgs {
    /// The instance's directory
    #[arg(value_name = "DIR", conflicts_with = "dir")]
    directory: Option<PathBuf>,
    /// The same
    #[arg(long, value_name = "DIR", hide_short_help = true)]
    dir: Option<PathBuf>,
}

impl DirectoryArgs {
    pub(crate) fn path(&self) -> PathBuf {
        self.directory.clone().or_else(|| self.dir.clone()).unwrap_or_else(|| DIRECTORY.into())
    }
}

#[derive(Debug, Args)]
#[command(
    before_help = "Examples:
  countersign serve                               all of ./countersign-data
  countersign serve /srv/countersign --roles ca,tsa
  countersign serve --dev                         with an identity provider for trying",
    after_help = "SIGTERM and SIGINT end it: running requests finish, nothing is lost. Logs go to standard error; \
                  RUST_LOG sets what is logged."
)]
pub(crate) struct Serve {
    #[command(flatten)]
    directory: DirectoryArgs,
    /// The address to listen on, instead of the configured one
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// The roles to run, instead of the configured ones: ca, log, tsa, trust
    #[arg(long, value_name = "ROLES", value_delimiter = ',')]
    roles: Option<Vec<Role>>,
    /// Add an identity provider that believes everyone; on loopback only, and named as such in each certificate
    #[arg(long)]
    dev: bool,
    /// The form of the log on standard error
    #[arg(long, value_enum, default_value = "text", value_name = "FORM")]
    log_format: LogFormat,
}

/// The form of a server's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object in each line.
    Json,
}

/// Sends the server's log to standard error.
pub(crate) fn log_to_stderr(format: LogFormat, level: &str) -> Result<(), Failure> {
    let filter = match std::env::var(EnvFilter::DEFAULT_ENV) {
        Ok(text) if !text.is_empty() => EnvFilter::try_new(&text)
            .map_err(|e| Failure::usage(format!("{}: {e}", EnvFilter::DEFAULT_ENV)))?,
        _ => EnvFilter::new(level),
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => builder.with_ansi(false).try_init(),
        LogFormat::Json => builder.json().try_init(),
    }
    .map_err(|e| Failure::internal(format!("the log cannot be set up: {e}")))
}

/// The runtime of a server: all cores.
pub(crate) fn server_runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::internal(format!("cannot start: {e}")))
}

/// Waits until the process is told to end, then ends the server; or until it ends by itself.
pub(crate) async fn run_until_told(running: Running, told: impl Future<Output = ()>) -> Result<(), Failure> {
    let stop = running.stopper();
    let waiting = running.wait();
    tokio::pin!(waiting);
    // The server may also end by itself, when a disk fails it.
    let ended = tokio::select! {
        () = told => { stop(); waiting.await }
        ended = &mut waiting => ended,
    };
    ended.map_err(|e| server_failure(&e))
}

/// The order to end. Taken before a server starts: from the call on, an order that comes early is kept and no longer ends
/// the process on the spot.
#[cfg(unix)]
pub(crate) fn told_to_end() -> Result<impl Future<Output = ()>, Failure> {
    use tokio::signal::unix::{SignalKind, signal};
    let failed = |e: std::io::Error| Failure::internal(format!("signals cannot be received: {e}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// The order to end. Taken before a server starts.
#[cfg(not(unix))]
pub(crate) fn told_to_end() -> Result<impl Future<Output = ()>, Failure> {
    Ok(async {
        // Without a signal to wait for, the process ends when it is ended.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    })
}

impl Serve {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        if terminal.timeout.is_some() {
            return Err(Failure::usage("--timeout is not for serve: a server runs until it is told to end"));
        }
        let level = match (terminal.quiet, terminal.verbose) {
            (true, _) => "error",
            (false, true) => "debug",
            (false, false) => "info",
        };
        log_to_stderr(self.log_format, level)?;
        let directory = self.directory.path();
        let options = ServeOptions {
            listen: self.listen,
            roles: self.roles.as_ref().map(|roles| roles.iter().copied().collect::<BTreeSet<_>>()),
            development: self.dev,
            marks: countersign_server::marks::usual(&directory),
            ..ServeOptions::default()
        };
        server_runtime()?.block_on(async {
            let told = told_to_end()?;
            tokio::pin!(told);
            // A start may wait for a key's home; an order to end does not.
            let running = tokio::select! {
                () = &mut told => return Ok(()),
                started = start(&directory, options) => started.map_err(|e| server_failure(&e))?,
            };
            terminal.line(&format!("serving {} (listening on {})", running.url, running.address))?;
            run_until_told(running, told).await
        })?;
        Ok(0)
    }
}
