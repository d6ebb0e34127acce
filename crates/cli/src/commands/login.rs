//! `login` to a registry, and `env`: where the program's surroundings come in.

use std::io::{IsTerminal as _, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::Args;
use countersign_client::artifact::read_limited;
use countersign_crypto::encoding;
use countersign_keys::file::{PRIVATE, replace};
use countersign_registry::Repository;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use crate::commands::keys::ask;
use crate::failure::{Failure, Outcome};
use crate::out::Terminal;

/// The largest configuration, in bytes.
const MAX_CONFIG: usize = 1 << 20;
/// How Docker calls its own registry.
const DOCKER_HUB: (&str, &str) = ("docker.io", "https://index.docker.io/v1/");

#[derive(Debug, Args)]
#[command(
    before_help = "Examples:
  countersign login registry.example -u alice
  echo \"$TOKEN\" | countersign login registry.example -u alice --password-stdin",
    after_help = "The credential goes to the credential helper that Docker's config.json names for the registry, else into that file."
)]
pub(crate) struct Login {
    /// The registry
    #[arg(value_name = "REGISTRY")]
    registry: String,
    /// The user
    #[arg(short, long, value_name = "NAME")]
    username: String,
    /// The password; better asked for, or from standard input
    #[arg(short, long, value_name = "PASSWORD", hide_short_help = true, conflicts_with = "password_stdin")]
    password: Option<String>,
    /// Read the password from standard input
    #[arg(long)]
    password_stdin: bool,
}

impl Login {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        // A repository in it tells whether it is the name of a host.
        let host = Repository::parse(&format!("{}/login", self.registry.trim_end_matches('/')))?
            .registry()
            .to_owned();
        if host == DOCKER_HUB.0 && !self.registry.contains("docker.io") {
            return Err(Failure::usage(format!("expected a registry's host, found \"{}\"", self.registry)));
        }
        let password = self.password()?;
        if password.is_empty() {
            return Err(Failure::usage("expected a password, found an empty one"));
        }
        let path = config_path()?;
        let mut config = read_config(&path)?;
        let server = if host == DOCKER_HUB.0 { DOCKER_HUB.1 } else { &host };
        let helper = config
            .get("credHelpers")
            .and_then(|helpers| helpers.get(server)?.as_str())
            .or_else(|| config.get("credsStore")?.as_str())
            .filter(|name| !name.is_empty())
            .map(str::to_owned);
        if let Some(helper) = helper {
            store(&helper, server, &self.username, &password)?;
            terminal.talk(&format!("kept by docker-credential-{helper}"));
            return Ok(0);
        }
        let both = Zeroizing::new(format!("{}:{}", self.username, *password));
        let auths = config.entry("auths").or_insert_with(|| json!({}));
        let Some(auths) = auths.as_object_mut() else {
            return Err(Failure::usage(format!("{}: expected \"auths\" to be an object", path.display())));
        };
        auths.insert(server.to_owned(), json!({ "auth": encoding::base64_encode(both.as_bytes()) }));
        let text = serde_json::to_string_pretty(&config).map_err(|e| Failure::internal(e.to_string()))?;
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)
                .map_err(countersign_client::ClientError::file("create", folder))?;
        }
        replace(&path, Zeroizing::new(text).as_bytes(), PRIVATE)?;
        terminal.talk(&format!("kept in {}, readable by you alone", path.display()));
        Ok(0)
    }

    fn password(&self) -> Result<Zeroizing<String>, Failure> {
        if let Some(password) = &self.password {
            return Ok(Zeroizing::new(password.clone()));
        }
        let read = if self.password_stdin {
            let mut text = Zeroizing::new(String::new());
            std::io::stdin().lock().take(64 << 10).read_to_string(&mut text).map(|_| text)
        } else if std::io::stdin().is_terminal() {
            ask(&self.registry, false)
        } else {
            return Err(
                Failure::usage("no terminal to ask for the password on").next("give --password-stdin")
            );
        };
        let text = read.map_err(|e| Failure::usage(format!("the password: {e}")))?;
        Ok(Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()))
    }
}

/// Docker's configuration.
fn config_path() -> Result<PathBuf, Failure> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("DOCKER_CONFIG")
        .or_else(|| Some(set("HOME")?.join(".docker")))
        .map(|folder| folder.join("config.json"))
        .ok_or_else(|| Failure::usage("neither DOCKER_CONFIG nor HOME says where to keep the credential"))
}

fn read_config(path: &Path) -> Result<Map<String, Value>, Failure> {
    if !path.exists() {
        return Ok(Map::new());
    }
    let bytes = Zeroizing::new(read_limited(path, MAX_CONFIG)?);
    serde_json::from_slice(&bytes)
        .map_err(|_| Failure::usage(format!("{}: expected a JSON object", path.display())))
}

/// Hands a credential to a helper.
fn store(helper: &str, server: &str, user: &str, password: &str) -> Result<(), Failure> {
    let wrong = |what: String| Failure::usage(format!("docker-credential-{helper}: {what}"));
    if !helper.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')) {
        return Err(Failure::usage(
            "the credential helper's name holds characters which no helper's name has",
        ));
    }
    let text =
        Zeroizing::new(json!({ "ServerURL": server, "Username": user, "Secret": password }).to_string());
    let mut child = Command::new(format!("docker-credential-{helper}"))
        .arg("store")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| wrong(format!("cannot be run: {e}")))?;
    if let Some(mut input) = child.stdin.take() {
        // A helper that does not read its input says so by its exit.
        let _ = input.write_all(text.as_bytes());
    }
    let status = child.wait().map_err(|e| wrong(e.to_string()))?;
    if status.success() { Ok(()) } else { Err(wrong(format!("it ended with {status}"))) }
}

/// The variables that are read, and what for. Values of secrets are not shown unless asked for.
const VARIABLES: &[(&str, &str, bool)] = &[
    ("COSIGN_PASSWORD", "the password of key files", true),
    ("COSIGN_REPOSITORY", "one repository for the evidence of all images", false),
    ("COSIGN_NEW_PASSWORD", "the password of key files when it is changed", true),
    ("COUNTERSIGN_INSTANCE", "the trusted instance to use", false),
    ("SIGSTORE_ID_TOKEN", "the identity token to sign with", true),
    ("ACTIONS_ID_TOKEN_REQUEST_URL", "where GitHub Actions gives identity tokens", false),
    ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "what it is asked with", true),
    ("VAULT_ADDR", "the Vault of hashivault:// keys", false),
    ("VAULT_TOKEN", "what it is asked with", true),
    ("AWS_REGION", "the region of awskms:// keys", false),
    ("AWS_ACCESS_KEY_ID", "who asks there", false),
    ("AWS_SECRET_ACCESS_KEY", "what it is asked with", true),
    ("AWS_SESSION_TOKEN", "likewise", true),
    ("AZURE_TENANT_ID", "the tenant of azurekms:// keys", false),
    ("AZURE_CLIENT_ID", "who asks there", false),
    ("AZURE_CLIENT_SECRET", "what it is asked with", true),
    ("GOOGLE_APPLICATION_CREDENTIALS", "the file with the credential for gcpkms:// keys", false),
    ("KUBECONFIG", "the cluster of k8s:// keys", false),
    ("GITHUB_TOKEN", "what GitHub is asked with, for github:// keys", true),
    ("GITLAB_TOKEN", "what GitLab is asked with, for gitlab:// keys", true),
    ("BROWSER", "the program that opens the page to log in on", false),
    ("DOCKER_CONFIG", "the directory with Docker's config.json", false),
    ("REGISTRY_AUTH_FILE", "podman's auth.json", false),
    ("HTTP_PROXY", "the proxy for http", false),
    ("HTTPS_PROXY", "the proxy for https", false),
    ("NO_PROXY", "the hosts reached without a proxy", false),
    ("SSL_CERT_FILE", "a file with certificates of authorities to trust for TLS", false),
    ("SSL_CERT_DIR", "a directory with such files", false),
    ("NO_COLOR", "no colours", false),
    ("HOME", "where trusted instances and Docker's configuration are kept", false),
];

#[derive(Debug, Args)]
#[command(before_help = "Examples:\n  countersign env\n  countersign env --show-descriptions=false")]
pub(crate) struct Env {
    /// Whether it is said what each is for
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", hide_possible_values = true, value_name = "BOOL")]
    show_descriptions: bool,
    /// Whether secrets are shown too
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", hide_possible_values = true, value_name = "BOOL")]
    show_sensitive_values: bool,
}

impl Env {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        for (name, what, secret) in VARIABLES {
            let value = std::env::var(name).unwrap_or_default();
            let shown = match (secret, value.is_empty()) {
                (true, false) if !self.show_sensitive_values => "********".to_owned(),
                _ => countersign_http::text::printable(&value),
            };
            if self.show_descriptions {
                terminal.line(&format!("# {what}"))?;
            }
            terminal.line(&format!("{name}={shown}"))?;
        }
        Ok(0)
    }
}
