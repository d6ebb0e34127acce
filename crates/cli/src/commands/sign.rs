//! `countersign sign`: files in, `FILE.sigstore.json` out; images in, their signatures beside them. One login for all.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use countersign_client::artifact::{bundle_path, write_atomically};
use countersign_client::fulcio::IssuedCertificate;
use countersign_client::image::{Made, Target};
use countersign_client::sign::{Identity, Session};
use countersign_client::trust::Trust;
use countersign_clock::SystemClock;
use countersign_crypto::{Digest, Signer};
use countersign_http::text::printable;
use countersign_keys::{KeyRef, load_artifact_signer};
use countersign_x509::Certificate;
use serde::Serialize;

use crate::args::OutputArgs;
use crate::args::authority::certificates;
use crate::args::login::LoginArgs;
use crate::args::refused::SignRefused;
use crate::args::registry::Named;
use crate::args::services::{HttpArgs, ServiceArgs, TrustArgs};
use crate::commands::cosign_sign::there;
use crate::commands::keys::{Algorithm, password};
use crate::commands::sign_image::SignImageArgs;
use crate::failure::{Failure, Outcome};
use crate::out::{Terminal, block_on};

/// What all commands that sign take.
#[derive(Debug, Args)]
#[command(next_help_heading = "Key")]
pub(crate) struct SigningArgs {
    /// Sign with this key instead of an identity: a file, env://VARIABLE, or a key elsewhere (docs/keys.md)
    #[arg(long, value_name = "KEY")]
    pub(crate) key: Option<String>,
    /// The certificate of the key, PEM, of an authority of your own
    #[arg(
        long,
        value_name = "FILE",
        hide_short_help = true,
        requires = "key",
        requires = "certificate_chain"
    )]
    certificate: Option<PathBuf>,
    /// The certificates above it, PEM: intermediates first, root last
    #[arg(long, value_name = "FILE", hide_short_help = true, requires = "certificate")]
    certificate_chain: Option<PathBuf>,
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
    #[arg(short, long, hide_short_help = true, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", hide_default_value = true, hide_possible_values = true, value_name = "BOOL")]
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
        work: impl AsyncFnOnce(&Session<'_>, &Trust) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        self.refused.check()?;
        let trust = match self.trust.load(self.services.signing_config.clone()) {
            Ok(trust) => trust,
            // A key that nobody else takes part in needs nobody to be trusted.
            Err(failure) if self.alone() && failure.code == crate::failure::TRUST => Trust::nobody(),
            Err(failure) if self.key.is_some() && failure.code == crate::failure::TRUST => {
                return Err(
                    failure.next("a key can also sign for itself, with neither instance nor log: --no-tlog")
                );
            }
            Err(failure) => return Err(failure),
        };
        let services = self.services.services(&trust, self.key.is_some())?;
        let identity = match &self.key {
            Some(key) => {
                let key = load_artifact_signer(&KeyRef::parse(key)?, &password(false))?;
                match self.own_certificate(&*key)? {
                    Some(certificate) => Identity::Certified { key, certificate: Box::new(certificate) },
                    None => Identity::Key(key),
                }
            }
            None => Identity::Keyless {
                login: Box::new(self.login.login(services.oidc.clone(), *terminal)?),
                key_type: self.signing_algorithm.key_type(),
            },
        };
        let http = self.http.http();
        block_on(terminal, async {
            let session = Session::new(&http, &trust, services, identity, Arc::new(SystemClock))?;
            work(&session, &trust).await
        })
    }

    /// Whether a key signs, and no log.
    pub(crate) fn alone(&self) -> bool {
        self.key.is_some() && self.services.unlogged()
    }

    /// The certificate of one's own authority, which must be for the key.
    fn own_certificate(&self, key: &dyn Signer) -> Result<Option<IssuedCertificate>, Failure> {
        let (Some(leaf), Some(chain)) = (&self.certificate, &self.certificate_chain) else { return Ok(None) };
        let found = certificates(leaf)?;
        let [leaf] = found.as_slice() else {
            let found = found.len();
            return Err(Failure::usage(format!(
                "{}: expected one certificate, found {found}",
                leaf.display()
            )));
        };
        if leaf.public_key() != key.public_key() {
            return Err(Failure::usage("--certificate: it is for another key than the one given with --key"));
        }
        Ok(Some(IssuedCertificate { leaf: leaf.clone(), others: certificates(chain)? }))
    }
}

#[derive(Debug, Args)]
#[command(before_help = "Examples:
  countersign sign app.tar                       log in once, write app.tar.sigstore.json
  countersign sign dist/*                        one login and one certificate for all
  countersign sign --key release.key app.tar     with a key
  countersign sign --login device app.tar        without a browser on this machine
  countersign sign -a env=prod registry.example/app:v1    an image, with an annotation
  countersign sign -r --key release.key registry.example/app:v1    every platform of it
  countersign sign --notary --help                                 the Notary Project's signatures")]
pub(crate) struct Sign {
    /// Files and images; file: and oci: in front force which it is
    #[arg(required = true, value_name = "FILE|IMAGE")]
    names: Vec<String>,
    /// Where to write the signature of a single file, instead of FILE.sigstore.json; of a single image, write it there too
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    images: SignImageArgs,
    #[command(flatten)]
    signing: SigningArgs,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    artifact: String,
    digest: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    bundle: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    identity: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer: Option<String>,
    /// For images: repository, and tag or digest.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    written: Vec<String>,
    verify: String,
}

impl Sign {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        self.signing.refused.check()?;
        self.images.refuse()?;
        if self.bundle.is_some() && self.names.len() > 1 {
            return Err(Failure::usage("--bundle names one file, and several artifacts are to be signed"));
        }
        let (mut files, mut images) = (Vec::new(), Vec::new());
        for name in &self.names {
            match Named::read(name)? {
                Named::File(file) => files.push(PathBuf::from(file)),
                Named::Image(reference) => images.push(*reference),
            }
        }
        self.images.check(images.is_empty())?;
        for file in &files {
            there(file)?;
        }
        let run = self.images.run(&images, self.bundle.as_deref())?;
        if self.images.dry_run {
            for file in &files {
                let target = self.bundle.clone().unwrap_or_else(|| bundle_path(file));
                terminal.line(&format!("would sign {} and write {}", file.display(), target.display()))?;
            }
            run.plan(terminal)?;
            return Ok(0);
        }
        let (written, failure) =
            self.signing.with_session(terminal, async |session: &Session<'_>, trust: &Trust| {
                // Likewise an image.
                let targets = run.targets().await?;
                let mut written = Vec::with_capacity(self.names.len());
                for file in &files {
                    written.push(self.sign_file(terminal, session, trust, file).await?);
                }
                let describe = |target: &Target, made: &Made| {
                    written.push(self.describe_image(terminal, target, made, trust));
                };
                let failure = run.sign(terminal, session, &targets, describe).await?;
                Ok((written, failure))
            })?;
        if self.output.is_json() {
            terminal.json("sign", 1, &serde_json::json!({ "signed": written }))?;
        } else {
            if !files.is_empty() {
                terminal.talk("Send the file and its .sigstore.json. To verify:");
            }
            for entry in &written {
                terminal.line(&entry.verify)?;
            }
        }
        failure.map_or(Ok(0), Err)
    }

    async fn sign_file(
        &self,
        terminal: &Terminal,
        session: &Session<'_>,
        trust: &Trust,
        file: &Path,
    ) -> Result<Written, Failure> {
        let target = match &self.bundle {
            Some(path) => path.clone(),
            None if file == Path::new("-") => {
                return Err(Failure::usage("the signature of standard input needs a file: give --bundle"));
            }
            None => bundle_path(file),
        };
        let signed = session.sign_file(file).await?;
        write_atomically(&target, &signed.json)?;
        let shown = file.display().to_string();
        let mut verify = format!("countersign verify {}", quoted(&shown));
        if target != bundle_path(file) {
            verify.push_str(&format!(" --bundle {}", quoted(&target.display().to_string())));
        }
        let logged = !signed.bundle.verification_material.tlog_entries.is_empty();
        let certificate = signed.certificate.as_ref();
        let mut entry = self.entry(shown, &signed.digest, certificate, logged, verify, trust);
        entry.bundle = Some(target.display().to_string());
        terminal.talk(&format!("{} signed: {}", terminal.yes(), target.display()));
        Ok(entry)
    }

    fn describe_image(&self, terminal: &Terminal, target: &Target, made: &Made, trust: &Trust) -> Written {
        let shown = target.reference.to_string();
        let signed = made.signed.as_ref();
        let logged = match (signed, &made.older) {
            (Some(signed), _) => !signed.bundle.verification_material.tlog_entries.is_empty(),
            (None, Some(older)) => older.annotations.contains_key(countersign_bundle::legacy::BUNDLE),
            (None, None) => false,
        };
        let mut verify = format!("countersign verify {}", quoted(&shown));
        for annotation in &self.images.annotations {
            verify.push_str(&format!(" -a {}", quoted(annotation)));
        }
        if let Some(place) = self.images.evidence() {
            verify.push_str(&format!(" --repository {}", quoted(&place)));
        }
        let pem =
            made.older.as_ref().and_then(|o| o.annotations.get(countersign_bundle::legacy::CERTIFICATE));
        let older = pem.and_then(|pem| Certificate::from_pem(pem).ok());
        let certificate = signed.and_then(|s| s.certificate.as_ref()).or(older.as_ref());
        let digest = target.descriptor.digest;
        let mut entry = self.entry(shown, &digest, certificate, logged, verify, trust);
        entry.written = made.places.iter().map(|w| format!("{} {}", w.place, w.name)).collect();
        terminal.talk(&format!("{} signed: {}", terminal.yes(), entry.artifact));
        if terminal.verbose {
            entry.written.iter().for_each(|place| terminal.talk(&format!("    wrote {place}")));
        }
        entry
    }

    fn entry(
        &self,
        artifact: String,
        digest: &Digest,
        certificate: Option<&Certificate>,
        logged: bool,
        mut verify: String,
        trust: &Trust,
    ) -> Written {
        let identity = certificate.and_then(|c| c.sans().first()?.as_text().map(str::to_owned));
        let issuer = certificate.and_then(|c| c.fulcio().issuer().map(str::to_owned));
        match (&identity, &issuer, &self.signing.key) {
            (Some(identity), Some(issuer), _) => {
                verify.push_str(&format!(" --identity {} --issuer {}", quoted(identity), quoted(issuer)));
            }
            (Some(identity), None, _) => {
                let chain = self.signing.certificate_chain.as_deref().unwrap_or(Path::new("CHAIN.pem"));
                let chain = quoted(&chain.display().to_string());
                verify.push_str(&format!(" --identity {} --certificate-chain {chain}", quoted(identity)));
            }
            (None, _, Some(key)) => {
                verify.push_str(&format!(" --key {}", quoted(&public_name(key))));
            }
            (None, _, None) => {}
        }
        if self.signing.key.is_some() && !logged {
            verify.push_str(" --min-logs 0");
        }
        verify.push_str(&trust.arguments);
        Written {
            artifact,
            digest: digest.to_string(),
            bundle: None,
            identity,
            issuer,
            written: Vec::new(),
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
