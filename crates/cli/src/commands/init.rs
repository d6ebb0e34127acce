//! `countersign init`: makes an instance.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use countersign_clock::SystemClock;
use countersign_http::parse_url;
use countersign_server::instance::{InitOptions, PASSWORD_VARIABLE, init};
use serde_json::json;
use zeroize::Zeroizing;

use crate::args::OutputArgs;
use crate::commands::sign::quoted;
use crate::failure::{Failure, INTERNAL, Outcome, TRUST, USAGE};
use crate::out::Terminal;

/// Where an instance lives unless told otherwise.
pub(crate) const DIRECTORY: &str = "countersign-data";

/// An instance's error with the exit code for it.
pub(crate) fn server_failure(error: &countersign_server::ServerError) -> Failure {
    use countersign_server::ServerError as E;
    let code = match error {
        E::Config { .. } | E::File { .. } | E::Key { .. } | E::Listen { .. } => USAGE,
        E::Trust(_) => TRUST,
        _ => INTERNAL,
    };
    Failure::new(code, error.to_string())
}

/// Make an instance: its keys, certificates, logs, trust root and configuration, in one directory
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:
  countersign init                                            for trying, on this machine
  countersign init /srv/countersign --url https://sigstore.example.com --oidc https://idp.example.com",
    after_help = "The password of the private keys is taken from COUNTERSIGN_PASSWORD; without it, one is made and put \
                  into keys/password."
)]
pub(crate) struct Init {
    /// The directory to make
    #[arg(value_name = "DIR", default_value = DIRECTORY)]
    directory: PathBuf,
    /// The address clients will use; its host name becomes the log's name
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// The address to listen on
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// The organisation named in its certificates
    #[arg(long, value_name = "NAME", default_value = "countersign")]
    organization: String,
    /// An OpenID Connect issuer whose users may sign under their e-mail addresses
    #[arg(long, visible_alias = "oidc-issuer", value_name = "URL")]
    oidc: Option<String>,
    /// Requests per second and client address; 0 for no limit
    #[arg(long, value_name = "NUMBER", default_value_t = 100)]
    requests_per_second: u32,
    /// For trying: on loopback, on a port that is free now
    #[arg(long, conflicts_with_all = ["url", "listen"])]
    dev: bool,
    #[command(flatten)]
    output: OutputArgs,
}

/// A loopback port nobody uses at this moment.
pub(crate) fn free_port() -> Result<u16, Failure> {
    TcpListener::bind(("127.0.0.1", 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|e| Failure::internal(format!("no free port on loopback: {e}")))
}

impl Init {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        let mut options = InitOptions {
            organization: self.organization.clone(),
            password: std::env::var(PASSWORD_VARIABLE).ok().filter(|p| !p.is_empty()).map(Zeroizing::new),
            oidc_issuer: self
                .oidc
                .as_deref()
                .map(parse_url)
                .transpose()?
                .map(|u| u.as_str().trim_end_matches('/').to_owned()),
            requests_per_second: self.requests_per_second,
            clock: Arc::new(SystemClock),
            ..InitOptions::default()
        };
        if self.dev {
            let port = free_port()?;
            options.listen = SocketAddr::from(([127, 0, 0, 1], port));
            options.url = parse_url(&format!("http://localhost:{port}"))?;
        }
        if let Some(listen) = self.listen {
            options.listen = listen;
        }
        if let Some(url) = &self.url {
            options.url = parse_url(url)?;
        }
        let report = init(&self.directory, &options).map_err(|e| server_failure(&e))?;
        let directory = quoted(&report.directory.display().to_string());
        if self.output.is_json() {
            terminal.json(
                "init",
                1,
                &json!({ "directory": report.directory, "url": report.url, "rootFingerprint": report.root_fingerprint,
                    "passwordFile": report.password_file, "offlineKeys": report.offline_keys }),
            )?;
            return Ok(0);
        }
        terminal.line(&format!(
            "{} made {directory} for {}\n  root of trust  sha256:{}",
            terminal.yes(),
            report.url,
            report.root_fingerprint
        ))?;
        if let Some(path) = &report.password_file {
            terminal.talk(&format!(
                "  password       {} (keep it apart from backups of the keys)",
                path.display()
            ));
        }
        terminal.talk("  offline keys   move these to another place; only rotations need them:");
        for key in &report.offline_keys {
            terminal.talk(&format!("                 {}", key.display()));
        }
        let dev = if self.oidc.is_none() { " --dev" } else { "" };
        terminal.talk(&format!("next: countersign serve {directory}{dev}"));
        Ok(0)
    }
}
