//! Credential helpers: the programs `docker-credential-NAME`, which speak JSON over their standard streams.

use std::process::Stdio;
use std::time::Duration;

use countersign_http::text::printable;
use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use zeroize::Zeroizing;

use super::Credential;
use crate::RegistryError;
use crate::reference::DOCKER_HUB;

/// How long a helper may think: it may ask a cloud, or a person.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The longest answer, in bytes.
const MAX_ANSWER_LEN: u64 = 64 << 10;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    #[serde(default, rename = "ServerURL")]
    server: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    secret: Zeroizing<String>,
}

/// Whether a helper can be found.
pub(super) fn is_there(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(format!("docker-credential-{name}")).is_file())
}

/// Asks a helper for the credential of a registry; `None` when it has none.
pub(super) async fn ask(name: &str, registry: &str) -> Result<Option<Credential>, RegistryError> {
    let wrong = |message: String| {
        RegistryError::Usage(format!(
            "the credential helper docker-credential-{}: {message}",
            printable(name)
        ))
    };
    let harmless = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if name.is_empty() || !name.bytes().all(harmless) {
        return Err(wrong("its name holds characters which no helper's name has".into()));
    }
    let server = if registry == DOCKER_HUB { "https://index.docker.io/v1/" } else { registry };
    let mut child = Command::new(format!("docker-credential-{name}"))
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| {
            wrong(format!("cannot be run: {e}; install it, or take it out of Docker's config.json"))
        })?;
    let mut stdin = child.stdin.take();
    let mut stdout = child.stdout.take();
    let mut said = Zeroizing::new(Vec::new());
    let exchange = async {
        if let Some(mut stdin) = stdin.take() {
            // A helper that does not read its input says so by its exit.
            let _ = stdin.write_all(server.as_bytes()).await;
        }
        if let Some(stdout) = stdout.as_mut() {
            stdout.take(MAX_ANSWER_LEN).read_to_end(&mut said).await?;
        }
        child.wait().await
    };
    let status = tokio::time::timeout(TIMEOUT, exchange)
        .await
        .map_err(|_| wrong(format!("no answer in {} seconds", TIMEOUT.as_secs())))?
        .map_err(|e| wrong(e.to_string()))?;
    read_answer(status.success(), &said, server).map_err(wrong)
}

/// Reads what a helper said. Its words are shown only when it failed: else they hold the secret.
fn read_answer(success: bool, said: &[u8], server: &str) -> Result<Option<Credential>, String> {
    if !success {
        let words = String::from_utf8_lossy(said);
        let words = words.trim();
        return if words.contains("credentials not found") { Ok(None) } else { Err(printable(words)) };
    }
    let answer: Answer = serde_json::from_slice(said)
        .map_err(|_| "expected JSON with ServerURL, Username and Secret".to_owned())?;
    let bare = |url: &str| {
        let url = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")).unwrap_or(url);
        url.trim_end_matches('/').to_ascii_lowercase()
    };
    if !answer.server.is_empty() && bare(&answer.server) != bare(server) {
        return Err(format!("asked for {server}, it answered for {}", printable(&answer.server)));
    }
    if answer.secret.is_empty() {
        return Ok(None);
    }
    Ok(Some(if answer.username == "<token>" {
        Credential::Identity(answer.secret)
    } else {
        Credential::Password { user: answer.username, password: answer.secret }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_helpers_are_read() {
        let said = br#"{"ServerURL":"https://r.example/","Username":"u","Secret":"s"}"#;
        assert_eq!(read_answer(true, said, "r.example"), Ok(Some(Credential::password("u", "s"))));
        let said = br#"{"Username":"<token>","Secret":"s"}"#;
        let identity = Credential::Identity("s".to_owned().into());
        assert_eq!(read_answer(true, said, "r.example"), Ok(Some(identity)));
        assert_eq!(read_answer(false, b"credentials not found in native keychain\n", "r.example"), Ok(None));
        assert_eq!(read_answer(false, b"locked\x1b[2K", "r.example"), Err("locked\\u{1b}[2K".into()));
    }

    #[test]
    fn v27_an_answer_for_another_host_is_not_used() {
        let said = br#"{"ServerURL":"example.com","Username":"u","Secret":"s"}"#;
        for other in ["ample.com", "example.com.evil", "example.com:5000"] {
            let error = read_answer(true, said, other).unwrap_err();
            assert!(error.contains("answered for example.com"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_helper_is_a_name_and_no_path() {
        for name in ["", "../../bin/sh", "a b", "x;y", "é"] {
            let error = ask(name, "r.example").await.unwrap_err();
            assert!(error.to_string().contains("characters which no helper"), "{error}");
        }
        let error = ask("countersign-has-no-such-helper", "r.example").await.unwrap_err();
        assert!(error.to_string().contains("cannot be run"), "{error}");
    }
}
