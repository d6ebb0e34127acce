//! `generate-key-pair`, `import-key-pair` and `public-key`, under cosign's names, and `change-password`.

use std::io::{IsTerminal as _, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, ValueEnum};
use countersign_client::artifact::write_atomically;
use countersign_crypto::{KeyType, Signer as _};
use countersign_keys::{
    KeyRef, PASSWORD_VARIABLE, PasswordSource, change_password, create_key, create_key_pair, file,
    key_pair_from_pem, load_key_pair, load_public_key, save_encrypted,
};
use zeroize::Zeroizing;

use crate::args::refused::PublicKeyRefused;
use crate::commands::sign::quoted;
use crate::failure::{Failure, Outcome};
use crate::out::Terminal;

/// The variable with a key file's password to be.
const NEW_PASSWORD: &str = "COSIGN_NEW_PASSWORD";

/// The longest password read from standard input, in bytes.
const MAX_PASSWORD: usize = 4096;

/// The algorithms a new key can be of, by cosign's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Algorithm {
    /// ECDSA P-256 with SHA-256
    #[value(name = "ecdsa-sha2-256-nistp256", alias = "ecdsa-p256")]
    P256,
    /// ECDSA P-384 with SHA-384
    #[value(name = "ecdsa-sha2-384-nistp384", alias = "ecdsa-p384")]
    P384,
    /// ECDSA P-521 with SHA-512
    #[value(name = "ecdsa-sha2-512-nistp521", alias = "ecdsa-p521")]
    P521,
    /// Ed25519
    #[value(name = "ed25519")]
    Ed25519,
    /// RSA 3072 with SHA-256
    #[value(name = "rsa-sign-pkcs1-3072-sha256")]
    Rsa3072,
    /// RSA 4096 with SHA-256
    #[value(name = "rsa-sign-pkcs1-4096-sha256")]
    Rsa4096,
}

impl Algorithm {
    pub(crate) fn key_type(self) -> KeyType {
        match self {
            Self::P256 => KeyType::EcdsaP256,
            Self::P384 => KeyType::EcdsaP384,
            Self::P521 => KeyType::EcdsaP521,
            Self::Ed25519 => KeyType::Ed25519,
            Self::Rsa3072 => KeyType::Rsa { bits: 3072 },
            Self::Rsa4096 => KeyType::Rsa { bits: 4096 },
        }
    }
}

/// Where the password of a key file comes from, as cosign has it: `COSIGN_PASSWORD`, else the terminal, else
/// standard input.
pub(crate) fn password(twice: bool) -> PasswordSource {
    PasswordSource::FirstSet(vec![
        PasswordSource::cosign_env(),
        PasswordSource::Prompt(Arc::new(move |purpose: &str| ask(purpose, twice))),
    ])
}

/// Asks the person at the terminal, without showing what is typed.
pub(crate) fn ask(purpose: &str, twice: bool) -> std::io::Result<Zeroizing<String>> {
    if !std::io::stdin().is_terminal() {
        return from_input();
    }
    let read = |prompt: &str| -> std::io::Result<Zeroizing<String>> {
        eprint!("{prompt}");
        std::io::stderr().flush()?;
        let mut line = Zeroizing::new(String::new());
        std::io::stdin().read_line(&mut line)?;
        eprintln!();
        Ok(Zeroizing::new(line.trim_end_matches(['\r', '\n']).to_owned()))
    };
    let echo = NoEcho::start();
    let first = read(&format!("Password for {purpose}: "))?;
    if twice {
        let second = read("The same again: ")?;
        if *first != *second {
            return Err(std::io::Error::other("the two passwords differ"));
        }
    }
    drop(echo);
    Ok(first)
}

/// Standard input to its end is the password, to the byte, as in cosign: with the line break that `echo` adds.
fn from_input() -> std::io::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::with_capacity(MAX_PASSWORD + 1));
    std::io::stdin().take(MAX_PASSWORD as u64 + 1).read_to_string(&mut text)?;
    if text.len() > MAX_PASSWORD {
        return Err(std::io::Error::other(format!("standard input is longer than {MAX_PASSWORD} bytes")));
    }
    Ok(text)
}

/// Keeps the terminal from showing what is typed, until dropped.
struct NoEcho;

impl NoEcho {
    fn start() -> Self {
        stty("-echo");
        Self
    }
}

impl Drop for NoEcho {
    fn drop(&mut self) {
        stty("echo");
    }
}

/// Without `stty` (Windows) the password is shown while it is typed.
fn stty(mode: &str) {
    let _ = std::process::Command::new("stty").arg(mode).status();
}

#[derive(Debug, Args)]
#[command(
    before_help = "Examples:
  countersign generate-key-pair                                   cosign.key and cosign.pub
  COSIGN_PASSWORD=… countersign generate-key-pair --output-key-prefix release
  countersign generate-key-pair --kms awskms:///alias/release     the key never leaves AWS KMS
  countersign generate-key-pair --kms hashivault://release
  countersign generate-key-pair --kms 'pkcs11:token=release;object=signing'
  countersign generate-key-pair k8s://release/signing             a Kubernetes secret
  countersign generate-key-pair github://owner/repo               secrets for GitHub Actions",
    after_help = "The password comes from COSIGN_PASSWORD, else from the terminal, else from standard input. Existing \
                  files and secrets are never replaced. docs/keys.md lists every home of a key."
)]
pub(crate) struct GenerateKeyPair {
    /// A store of secrets, where key and password are kept: k8s://…, gitlab://… or github://…
    #[arg(value_name = "REFERENCE", conflicts_with = "kms")]
    store: Option<String>,
    /// The files are <PREFIX>.key and <PREFIX>.pub; for a key that lives elsewhere only the second
    #[arg(long, value_name = "PREFIX", default_value = "cosign")]
    output_key_prefix: PathBuf,
    /// The algorithm [default: ecdsa-sha2-256-nistp256, or the plugin's own]
    #[arg(long, value_enum, value_name = "NAME")]
    signing_algorithm: Option<Algorithm>,
    /// A key service or a token: awskms://…, gcpkms://…, azurekms://…, hashivault://…, pkcs11:…, or a plugin's scheme
    #[arg(long, value_name = "REFERENCE")]
    kms: Option<String>,
}

impl GenerateKeyPair {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        let key_type = self.signing_algorithm.map(Algorithm::key_type);
        match (&self.kms, &self.store) {
            (Some(text), _) => self.elsewhere(terminal, &service(text)?, key_type),
            (None, Some(text)) => self.elsewhere(terminal, &store(text)?, key_type),
            (None, None) => self.in_files(terminal, key_type.unwrap_or(KeyType::EcdsaP256)),
        }
    }

    fn in_files(&self, terminal: &Terminal, key_type: KeyType) -> Outcome {
        let files = create_key_pair(&self.output_key_prefix, key_type, &password(true))?;
        terminal.talk(&format!(
            "private key (encrypted): {}\npublic key:              {}",
            files.private.display(),
            files.public.display()
        ));
        terminal.talk(&format!("next: countersign sign FILE --key {}", files.private.display()));
        Ok(0)
    }

    fn elsewhere(&self, terminal: &Terminal, reference: &KeyRef, key_type: Option<KeyType>) -> Outcome {
        let path = with_extension(&self.output_key_prefix, ".pub");
        // Before a key is made: its public half must have a place to go.
        not_there(&path)?;
        let made = create_key(reference, key_type, &password(true))?;
        file::write_new(&path, made.public.to_pem().as_bytes(), file::PUBLIC)?;
        let what = if made.is_new { "private key: " } else { "private key (was there already): " };
        terminal.talk(&format!("{what}{reference}\npublic key:  {}", path.display()));
        match reference {
            KeyRef::GitHub { .. } => terminal
                .talk("next, in a workflow with the secrets as variables: countersign sign FILE --key env://COSIGN_PRIVATE_KEY"),
            _ => terminal.talk(&format!("next: countersign sign FILE --key {}", quoted(&reference.to_string()))),
        }
        Ok(0)
    }
}

/// The reference of a key service.
fn service(text: &str) -> Result<KeyRef, Failure> {
    match KeyRef::parse(text)? {
        reference @ (KeyRef::AwsKms { .. }
        | KeyRef::GcpKms { .. }
        | KeyRef::AzureKms { .. }
        | KeyRef::HashiVault { .. }
        | KeyRef::Pkcs11(_)
        | KeyRef::Plugin { .. }) => Ok(reference),
        other => Err(Failure::usage(format!("--kms: expected a key service, found {other}")).next(
            "awskms://…, gcpkms://…, azurekms://…, hashivault://…, pkcs11:… or a plugin's scheme; see docs/keys.md",
        )),
    }
}

/// The reference of a store of secrets.
fn store(text: &str) -> Result<KeyRef, Failure> {
    match KeyRef::parse(text)? {
        reference @ (KeyRef::Kubernetes { .. } | KeyRef::GitLab { .. } | KeyRef::GitHub { .. }) => {
            Ok(reference)
        }
        other => Err(Failure::usage(format!(
            "expected k8s://NAMESPACE/SECRET, gitlab://OWNER/PROJECT or github://OWNER/REPO, found {other}"
        ))
        .next("for a key service: --kms REFERENCE; for files: --output-key-prefix PREFIX")),
    }
}

fn with_extension(prefix: &Path, extension: &str) -> PathBuf {
    let mut name = prefix.as_os_str().to_owned();
    name.push(extension);
    PathBuf::from(name)
}

fn not_there(path: &Path) -> Result<(), Failure> {
    if path.symlink_metadata().is_ok() {
        return Err(Failure::usage(format!("{} is there already and is not replaced", path.display()))
            .next("choose another --output-key-prefix"));
    }
    Ok(())
}

#[derive(Debug, Args)]
#[command(
    before_help = "Examples:\n  countersign import-key-pair --key openssl.pem --output-key-prefix release"
)]
pub(crate) struct ImportKeyPair {
    /// The PEM file with the private key
    #[arg(short, long, value_name = "FILE")]
    key: PathBuf,
    /// The files are <PREFIX>.key and <PREFIX>.pub
    #[arg(short, long, value_name = "PREFIX", default_value = "import-cosign")]
    output_key_prefix: PathBuf,
    /// Ask for the new password once, not twice
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", hide_default_value = true, hide_possible_values = true, value_name = "BOOL")]
    yes: bool,
}

impl ImportKeyPair {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        let text = file::read_private(&self.key, countersign_keys::encrypted::MAX_FILE)?;
        let pair = key_pair_from_pem(&text, &self.key.display().to_string(), &password(false))?;
        let private = with_extension(&self.output_key_prefix, ".key");
        let public = with_extension(&self.output_key_prefix, ".pub");
        not_there(&public)?;
        save_encrypted(&private, &pair, &password(!self.yes))?;
        file::write_new(&public, pair.public_key().to_pem().as_bytes(), file::PUBLIC)?;
        terminal.talk(&format!("written: {} and {}", private.display(), public.display()));
        Ok(0)
    }
}

#[derive(Debug, Args)]
#[command(
    before_help = "Examples:
  countersign change-password --key cosign.key
  COSIGN_PASSWORD=… COSIGN_NEW_PASSWORD=… countersign change-password --key cosign.key",
    after_help = "The key stays the same; copies of the file under the old password stay readable with it. Without \
                  COSIGN_NEW_PASSWORD the new password is asked for on the terminal, else read from standard input."
)]
pub(crate) struct ChangePassword {
    /// The key file
    #[arg(short, long, value_name = "FILE")]
    key: PathBuf,
}

impl ChangePassword {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        let old = password(false);
        let set = |name: &str| std::env::var_os(name).is_some();
        if !std::io::stdin().is_terminal() && !set(PASSWORD_VARIABLE) && !set(NEW_PASSWORD) {
            return Err(Failure::usage("one standard input cannot hold both passwords")
                .next(format!("set {PASSWORD_VARIABLE} or {NEW_PASSWORD} or both")));
        }
        let new = PasswordSource::FirstSet(vec![
            PasswordSource::Env(NEW_PASSWORD.into()),
            PasswordSource::Prompt(Arc::new(|name: &str| ask(&format!("{name} (the new one)"), true))),
        ]);
        change_password(&self.key, &old, &new)?;
        terminal.talk(&format!("{} is encrypted under the new password", self.key.display()));
        Ok(0)
    }
}

#[derive(Debug, Args)]
#[command(before_help = "Examples:
  countersign public-key --key cosign.key
  countersign public-key --key env://RELEASE_KEY --outfile release.pub
  countersign public-key --key gcpkms://projects/p/locations/global/keyRings/r/cryptoKeys/k")]
pub(crate) struct PublicKeyCommand {
    /// The key: a file, env://VARIABLE, or a reference as in docs/keys.md
    #[arg(short, long, value_name = "KEY", required_unless_present_any = ["sk", "slot"])]
    key: Option<String>,
    /// Write to this file instead of standard output
    #[arg(long, value_name = "FILE")]
    outfile: Option<PathBuf>,
    #[command(flatten)]
    refused: PublicKeyRefused,
}

impl PublicKeyCommand {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        self.refused.check()?;
        let key = self.key.as_deref().ok_or_else(|| Failure::usage("expected --key"))?;
        let reference = KeyRef::parse(key)?;
        let public = match (load_public_key(&reference), &reference) {
            (Ok(public), _) => public,
            // A file or a variable may hold the private key; a public one is its own public key, and no password is
            // asked for it.
            (Err(_), KeyRef::File(_) | KeyRef::Env(_)) => {
                load_key_pair(&reference, &password(false))?.public_key().clone()
            }
            (Err(error), _) => return Err(error.into()),
        };
        match &self.outfile {
            Some(path) => write_atomically(path, public.to_pem().as_bytes())?,
            None => terminal.data(&public.to_pem())?,
        }
        Ok(0)
    }
}
