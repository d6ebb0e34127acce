//! `generate-key-pair`, `import-key-pair` and `public-key`: key files, under cosign's names.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use countersign_client::artifact::write_atomically;
use countersign_crypto::{KeyType, Signer as _};
use countersign_keys::{
    KeyRef, PasswordSource, create_key_pair, key_pair_from_pem, load_key_pair, load_public_key,
    save_encrypted,
};
use zeroize::Zeroizing;

use crate::failure::{Failure, Outcome};
use crate::out::Terminal;

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
    let terminal = std::io::stdin().is_terminal();
    let read = |prompt: &str| -> std::io::Result<Zeroizing<String>> {
        if terminal {
            eprint!("{prompt}");
            std::io::stderr().flush()?;
        }
        let mut line = Zeroizing::new(String::new());
        std::io::stdin().read_line(&mut line)?;
        if terminal {
            eprintln!();
        }
        Ok(Zeroizing::new(line.trim_end_matches(['\r', '\n']).to_owned()))
    };
    let echo = terminal.then(NoEcho::start);
    let first = read(&format!("Password for {purpose}: "))?;
    if twice && terminal {
        let second = read("The same again: ")?;
        if *first != *second {
            return Err(std::io::Error::other("the two passwords differ"));
        }
    }
    drop(echo);
    Ok(first)
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

/// Make a key pair: an encrypted private key and its public key
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:\n  countersign generate-key-pair\n  COSIGN_PASSWORD=… countersign generate-key-pair --output-key-prefix release",
    after_help = "The password comes from COSIGN_PASSWORD, else from the terminal. Existing files are never replaced."
)]
pub(crate) struct GenerateKeyPair {
    /// The files are <PREFIX>.key and <PREFIX>.pub
    #[arg(long, value_name = "PREFIX", default_value = "cosign")]
    output_key_prefix: PathBuf,
    /// The algorithm
    #[arg(long, value_enum, default_value = "ecdsa-sha2-256-nistp256", value_name = "NAME")]
    signing_algorithm: Algorithm,
    /// A key service (none in this build)
    #[arg(long, value_name = "REFERENCE", hide = true)]
    kms: Option<String>,
}

impl GenerateKeyPair {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        if let Some(reference) = &self.kms {
            // The reference itself says best why it is not taken.
            KeyRef::parse(reference)?;
            return Err(Failure::usage("--kms: expected a key service; none is in this build"));
        }
        let files =
            create_key_pair(&self.output_key_prefix, self.signing_algorithm.key_type(), &password(true))?;
        terminal.talk(&format!(
            "private key (encrypted): {}\npublic key:              {}",
            files.private.display(),
            files.public.display()
        ));
        terminal.talk(&format!("next: countersign sign FILE --key {}", files.private.display()));
        Ok(0)
    }
}

/// Bring a key of another form (PKCS#1, SEC 1, PKCS#8) into cosign's encrypted form
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
    /// Ask nothing
    #[arg(short, long)]
    yes: bool,
}

impl ImportKeyPair {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        let text = countersign_keys::file::read_private(&self.key, countersign_keys::encrypted::MAX_FILE)?;
        let pair = key_pair_from_pem(&text, &self.key.display().to_string(), &password(false))?;
        let named = |end: &str| {
            let mut name = self.output_key_prefix.as_os_str().to_owned();
            name.push(end);
            PathBuf::from(name)
        };
        let (private, public) = (named(".key"), named(".pub"));
        if public.symlink_metadata().is_ok() {
            return Err(Failure::usage(format!("{} is there already and is not replaced", public.display()))
                .next("choose another --output-key-prefix"));
        }
        save_encrypted(&private, &pair, &password(!self.yes))?;
        countersign_keys::file::write_new(
            &public,
            pair.public_key().to_pem().as_bytes(),
            countersign_keys::file::PUBLIC,
        )?;
        terminal.talk(&format!("written: {} and {}", private.display(), public.display()));
        Ok(0)
    }
}

/// Print the public key of a private one
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:\n  countersign public-key --key cosign.key\n  countersign public-key --key env://RELEASE_KEY --outfile release.pub"
)]
pub(crate) struct PublicKeyCommand {
    /// The key: a file or env://VARIABLE
    #[arg(short, long, value_name = "KEY")]
    key: String,
    /// Write to this file instead of standard output
    #[arg(long, value_name = "FILE")]
    outfile: Option<PathBuf>,
}

impl PublicKeyCommand {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        let reference = KeyRef::parse(&self.key)?;
        // A public key is its own public key; no password is asked for it.
        let public = match load_public_key(&reference) {
            Ok(public) => public,
            Err(_) => load_key_pair(&reference, &password(false))?.public_key().clone(),
        };
        match &self.outfile {
            Some(path) => write_atomically(path, public.to_pem().as_bytes())?,
            None => terminal.data(&public.to_pem())?,
        }
        Ok(0)
    }
}
