//! `login` to a registry.

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
/// The longest password read from standard input, in bytes.
const MAX_PASSWORD: u64 = 64 << 10;
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
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", hide_default_value = true, hide_possible_values = true, value_name = "BOOL")]
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
            let read = std::io::stdin().lock().take(MAX_PASSWORD + 1).read_to_string(&mut text);
            if text.len() as u64 > MAX_PASSWORD {
                return Err(Failure::usage(format!("the password is longer than {MAX_PASSWORD} bytes")));
            }
            read.map(|_| text)
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
