//! `countersign sign`: files in, `FILE.sigstore.json` out, one login for all of them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use countersign_client::artifact::{bundle_path, write_atomically};
use countersign_client::sign::{Identity, Session, Signed};
use countersign_client::trust::Trust;
use countersign_clock::SystemClock;
use countersign_http::text::printable;
use countersign_keys::{KeyRef, load_artifact_signer};
use serde::Serialize;

use crate::args::OutputArgs;
use crate::args::login::LoginArgs;
use crate::args::refused::SignRefused;
use crate::args::services::{HttpArgs, ServiceArgs, TrustArgs};
use crate::commands::keys::{Algorithm, password};
use crate::failure::{Failure, Outcome};
use crate::out::{Terminal, block_on};

/// What all commands that sign take.
#[derive(Debug, Args)]
pub(crate) struct SigningArgs {
    /// Sign with this key instead of an identity: a file, env://VARIABLE, or a key elsewhere (docs/keys.md)
    #[arg(long, value_name = "KEY")]
    pub(crate) key: Option<String>,
    /// The algorithm of the key made for a signature by identity
    #[arg(
        long,
        value_enum,
        default_value = "ecdsa-sha2-256-nistp256",
        hide_possible_values = true,
        value_name = "NAME"
    )]
    pub(crate) signing_algorithm: Algorithm,
    /// Ask nothing (nothing is asked anyhow)
    #[arg(short, long, hide_short_help = true)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) login: LoginArgs,
    #[command(flatten)]
    pub(crate) trust: TrustArgs,
    #[command(flatten)]
    pub(crate) services: ServiceArgs,
    #[command(flatten)]
    pub(crate) http: HttpArgs,
    #[command(flatten)]
    pub(crate) refused: SignRefused,
}

impl SigningArgs {
    /// Runs some work with a session that can sign.
    pub(crate) fn with_session<T>(
        &self,
        terminal: &Terminal,
        work: impl AsyncFnOnce(&mut Session<'_>, &Trust) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        self.refused.check()?;
        let trust = self.trust.load(self.services.signing_config.clone())?;
        let services = self.services.services(&trust, self.key.is_some())?;
        let identity = match &self.key {
            Some(key) => Identity::Key(load_artifact_signer(&KeyRef::parse(key)?, &password(false))?),
            None => Identity::Keyless {
                login: Box::new(self.login.login(services.oidc.clone(), *terminal)?),
                key_type: self.signing_algorithm.key_type(),
            },
        };
        let http = self.http.http();
        block_on(terminal, async {
            let mut session = Session::new(&http, &trust, services, identity, Arc::new(SystemClock))?;
            work(&mut session, &trust).await
        })
    }
}

/// Sign files with your identity, or with a key
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  countersign sign app.tar                       log in once, write app.tar.sigstore.json
  countersign sign dist/*                        one login and one certificate for all
  countersign sign --key release.key app.tar     with a key
  countersign sign --login device app.tar        without a browser on this machine")]
pub(crate) struct Sign {
    /// The files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Where to write the signature of a single file, instead of FILE.sigstore.json
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    signing: SigningArgs,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    artifact: String,
    digest: String,
    bundle: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    identity: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer: Option<String>,
    verify: String,
}

impl Sign {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        if self.bundle.is_some() && self.files.len() > 1 {
            return Err(Failure::usage("--bundle names one file, and several files are to be signed"));
        }
        // A file that is not there is told before anyone logs in.
        for file in self.files.iter().filter(|f| f.as_path() != Path::new("-")) {
            std::fs::File::open(file).map_err(countersign_client::ClientError::file("open", file))?;
        }
        let written =
            self.signing.with_session(terminal, async |session: &mut Session<'_>, trust: &Trust| {
                let mut written = Vec::with_capacity(self.files.len());
                for file in &self.files {
                    let target = match &self.bundle {
                        Some(path) => path.clone(),
                        None if file == Path::new("-") => {
                            return Err(Failure::usage(
                                "the signature of standard input needs a file: give --bundle",
                            ));
                        }
                        None => bundle_path(file),
                    };
                    let signed = session.sign_file(file).await?;
                    write_atomically(&target, &signed.json)?;
                    let entry = self.describe(file, &target, &signed, trust);
                    terminal.talk(&format!("{} signed: {}", terminal.yes(), entry.bundle));
                    written.push(entry);
                }
                Ok(written)
            })?;
        if self.output.is_json() {
            terminal.json("sign", 1, &serde_json::json!({ "signed": written }))?;
        } else {
            terminal.talk("Send the file and its .sigstore.json. To verify:");
            for entry in &written {
                terminal.line(&entry.verify)?;
            }
        }
        Ok(0)
    }

    fn describe(&self, file: &Path, target: &Path, signed: &Signed, trust: &Trust) -> Written {
        let identity =
            signed.certificate.as_ref().and_then(|c| c.sans().first()?.as_text().map(str::to_owned));
        let issuer = signed.certificate.as_ref().and_then(|c| c.fulcio().issuer().map(str::to_owned));
        let mut verify = format!("countersign verify {}", quoted(&file.display().to_string()));
        if target != bundle_path(file) {
            verify.push_str(&format!(" --bundle {}", quoted(&target.display().to_string())));
        }
        match (&identity, &issuer, &self.signing.key) {
            (Some(identity), Some(issuer), _) => {
                verify.push_str(&format!(" --identity {} --issuer {}", quoted(identity), quoted(issuer)));
            }
            (_, _, Some(key)) => {
                verify.push_str(&format!(" --key {}", quoted(&public_name(key))));
                if signed.bundle.verification_material.tlog_entries.is_empty() {
                    verify.push_str(" --min-logs 0");
                }
            }
            _ => {}
        }
        verify.push_str(&trust.arguments);
        Written {
            artifact: file.display().to_string(),
            digest: signed.digest.to_string(),
            bundle: target.display().to_string(),
            identity,
            issuer,
            verify,
        }
    }
}

/// How the public half of a key file is called by `generate-key-pair`. A key that lives elsewhere stands for its
/// public half too.
fn public_name(key: &str) -> String {
    if !matches!(KeyRef::parse(key), Ok(KeyRef::File(_) | KeyRef::Env(_)) | Err(_)) {
        return key.to_owned();
    }
    key.strip_suffix(".key").map_or_else(|| "PUBLIC-KEY.pub".to_owned(), |stem| format!("{stem}.pub"))
}

/// A word for a shell, with nothing in it that the terminal obeys.
pub(crate) fn quoted(word: &str) -> String {
    let word = printable(word);
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"@%_-+=:,./".contains(&b);
    if !word.is_empty() && word.bytes().all(plain) {
        word
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_for_the_shell_cannot_end_their_quotes() {
        assert_eq!(quoted("alice@example.com"), "alice@example.com");
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted("'; rm -rf ~"), "''\\''; rm -rf ~'");
        assert_eq!(quoted("$(x)"), "'$(x)'");
        assert_eq!(quoted("a\u{1b}b"), "'a\\u{1b}b'");
    }
}
