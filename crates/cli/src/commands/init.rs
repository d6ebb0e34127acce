//! `countersign init`: makes an instance.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use countersign_clock::SystemClock;
use countersign_http::{is_loopback, parse_url};
use countersign_keys::KeyRef;
use countersign_server::instance::{InitOptions, InstanceKey, KeyOrigin, PASSWORD_VARIABLE, init};
use serde_json::json;
use zeroize::Zeroizing;

use crate::args::{OutputArgs, number};
use crate::commands::sign::quoted;
use crate::failure::{Failure, INTERNAL, NETWORK, Outcome, TRUST, USAGE};
use crate::out::Terminal;

/// Where an instance lives unless told otherwise.
pub(crate) const DIRECTORY: &str = "countersign-data";

/// An instance's error with the exit code for it.
pub(crate) fn server_failure(error: &countersign_server::ServerError) -> Failure {
    use countersign_server::ServerError as E;
    let code = match error {
        E::Config { .. } | E::File { .. } | E::Key { .. } | E::Listen { .. } => USAGE,
        E::Away { .. } => NETWORK,
        E::Trust(_) => TRUST,
        _ => INTERNAL,
    };
    Failure::new(code, error.to_string())
}

#[derive(Debug, Args)]
#[command(
    before_help = "Examples:
  countersign init                                            for trying, on this machine
  countersign init /srv/countersign --url https://sigstore.example.com \\
    --oidc https://idp.example.com
  countersign init --ca-key 'pkcs11:token=hsm;object=ca?module-path=/usr/lib/softhsm/libsofthsm2.so'",
    after_help = "The password of the private keys is taken from COUNTERSIGN_PASSWORD; without it, one is made and put \
                  into keys/password. The PIN of a hardware token is taken from COUNTERSIGN_PKCS11_PIN or the file that \
                  the reference names as pin-source."
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
    #[arg(long, value_name = "NUMBER", value_parser = number::<u32>, default_value_t = 100)]
    requests_per_second: u32,
    #[command(flatten)]
    keys: InstanceKeyArgs,
    /// For trying: on loopback, on a port that is free now
    #[arg(long, conflicts_with_all = ["url", "listen"])]
    dev: bool,
    #[command(flatten)]
    output: OutputArgs,
}

/// Where keys of the instance are to live, when not in its directory.
#[derive(Debug, Args)]
#[command(next_help_heading = "Keys elsewhere")]
pub(crate) struct InstanceKeyArgs {
    /// The key that issues certificates: pkcs11:…, or another reference; one that is not there yet is made
    #[arg(long, value_name = "REFERENCE")]
    ca_key: Option<String>,
    /// The CT log's key (ECDSA P-256)
    #[arg(long, value_name = "REFERENCE")]
    ct_key: Option<String>,
    /// The transparency log's key (Ed25519)
    #[arg(long, value_name = "REFERENCE")]
    log_key: Option<String>,
    /// The key of the log of Rekor v1 (ECDSA P-256)
    #[arg(long, value_name = "REFERENCE")]
    log_v1_key: Option<String>,
    /// The timestamp authority's key
    #[arg(long, value_name = "REFERENCE")]
    tsa_key: Option<String>,
    /// The key that signs TUF's timestamp and snapshot
    #[arg(long, value_name = "REFERENCE")]
    tuf_key: Option<String>,
    /// The root key of the certificate authority, for rotations
    #[arg(long, value_name = "REFERENCE")]
    ca_root_key: Option<String>,
    /// The root key of the timestamp authority, for rotations
    #[arg(long, value_name = "REFERENCE")]
    tsa_root_key: Option<String>,
    /// The key of TUF's root, for rotations
    #[arg(long, value_name = "REFERENCE")]
    tuf_root_key: Option<String>,
    /// The key that signs revocation lists
    #[arg(long, value_name = "REFERENCE")]
    revocation_key: Option<String>,
}

impl InstanceKeyArgs {
    fn references(&self) -> Result<BTreeMap<InstanceKey, KeyRef>, Failure> {
        let given = [
            (InstanceKey::Ca, &self.ca_key),
            (InstanceKey::Ct, &self.ct_key),
            (InstanceKey::Log, &self.log_key),
            (InstanceKey::LogV1, &self.log_v1_key),
            (InstanceKey::Tsa, &self.tsa_key),
            (InstanceKey::TufOnline, &self.tuf_key),
            (InstanceKey::CaRoot, &self.ca_root_key),
            (InstanceKey::TsaRoot, &self.tsa_root_key),
            (InstanceKey::TufRoot, &self.tuf_root_key),
            (InstanceKey::Revocation, &self.revocation_key),
        ];
        let named = given.into_iter().filter_map(|(key, text)| Some((key, text.as_deref()?)));
        named.map(|(key, text)| Ok((key, KeyRef::parse(text)?))).collect()
    }
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
            keys: self.keys.references()?,
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
                    "passwordFile": report.password_file, "offlineKeys": report.offline_keys,
                    "keysElsewhere": report.elsewhere.iter().map(|(key, reference, origin)| json!({
                        "key": key.name(), "reference": reference.to_string(),
                        "made": *origin == KeyOrigin::Made })).collect::<Vec<_>>() }),
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
        if !report.offline_keys.is_empty() {
            terminal.talk("  offline keys   move these to another place; only rotations need them:");
        }
        for key in &report.offline_keys {
            terminal.talk(&format!("                 {}", key.display()));
        }
        for (key, reference, origin) in &report.elsewhere {
            let made = if *origin == KeyOrigin::Made { "made" } else { "found" };
            terminal.talk(&format!("  {:<14} {made} at {reference}", format!("{} key", key.name())));
        }
        let next = match (&self.oidc, is_loopback(&parse_url(&report.url)?)) {
            (Some(_), _) => format!("countersign serve {directory}"),
            (None, true) => format!("countersign serve {directory} --dev"),
            (None, false) => format!(
                "name your identity provider under [[ca.issuers]] in {directory}/countersign.toml; then: countersign serve {directory}"
            ),
        };
        terminal.talk(&format!("next: {next}"));
        Ok(0)
    }
}
