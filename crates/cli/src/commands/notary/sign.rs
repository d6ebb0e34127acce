//! `countersign notary sign`: an image or a file, a key and its certificates.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use countersign_client::artifact::write_atomically;
use countersign_client::notary::{
    Signing, TimestampSource, read_certificates, sign_blob, sign_image, signature_path,
};
use countersign_clock::{Clock as _, SystemClock};
use countersign_crypto::Signer;
use countersign_http::{Http, HttpOptions, parse_url};
use countersign_keys::{KeyRef, load_key_pair, load_signer};
use countersign_notary::{Algorithm, Format};
use countersign_registry::{DryRun, Name, Reference, Store};

use super::{image_in, metadata};
use crate::args::registry::{Named, RegistryArgs};
use crate::commands::keys::password;
use crate::commands::sign::quoted;
use crate::failure::{Failure, Outcome};
use crate::out::{Terminal, block_on, parse_duration};

/// What a file is signed as unless told otherwise.
const MEDIA_TYPE: &str = "application/octet-stream";

/// The form of an envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SignatureFormat {
    /// JSON Web Signature
    Jws,
    /// COSE_Sign1
    Cose,
}

/// Sign an image or a file as the Notary Project does, with a key and its certificates
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  countersign notary sign --key signer.key --certificate-chain chain.pem registry.example/app:v1
  countersign notary sign --key signer.key --certificate-chain chain.pem \\
    --signature-format cose -m build=42 registry.example/app@sha256:9f86…
  countersign notary sign --key signer.key --certificate-chain chain.pem app.tar")]
pub(crate) struct Sign {
    /// The image, or the file
    #[arg(value_name = "IMAGE|FILE")]
    artifact: String,
    /// The key: a file, env://VARIABLE, or another home; an RSA key in a service must be one that signs with PSS
    #[arg(long, value_name = "KEY")]
    key: String,
    /// The certificates, PEM: the key's own first, the root last
    #[arg(long, value_name = "FILE")]
    certificate_chain: PathBuf,
    /// The form of the signature
    #[arg(long, value_enum, default_value = "jws", value_name = "FORM")]
    signature_format: SignatureFormat,
    /// Metadata to sign along
    #[arg(short = 'm', long, value_name = "NAME=VALUE")]
    user_metadata: Vec<String>,
    /// For how long the artifact should be used, such as 24h
    #[arg(short, long, value_parser = parse_duration, value_name = "TIME")]
    expiry: Option<Duration>,
    /// The whole address of a timestamp authority
    #[arg(long, value_name = "URL", requires = "timestamp_root_cert")]
    timestamp_url: Option<String>,
    /// The root certificate of that authority
    #[arg(long, value_name = "FILE", requires = "timestamp_url")]
    timestamp_root_cert: Option<PathBuf>,
    /// The media type that a file is signed as [default: application/octet-stream]
    #[arg(long, value_name = "TYPE")]
    media_type: Option<String>,
    /// Where to write the signature of a file, instead of FILE.jws.sig or FILE.cose.sig
    #[arg(long, value_name = "FILE")]
    signature: Option<PathBuf>,
    /// The image lies in an OCI layout on disk
    #[arg(long)]
    local_image: bool,
    /// Show what would be written, and write nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    registry: RegistryArgs,
}

impl Sign {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        self.registry.check()?;
        if self.local_image {
            self.refuse_for_images()?;
            let signing = self.signing()?;
            let (layout, name) = block_on(terminal, image_in(&self.artifact))?;
            return self.in_stores(terminal, (&layout, &layout), &name, &signing);
        }
        match Named::read(&self.artifact)? {
            Named::File(file) => self.file(terminal, Path::new(&file)),
            Named::Image(reference) => self.image(terminal, &reference),
        }
    }

    fn signing(&self) -> Result<Signing, Failure> {
        let now = SystemClock.now();
        let timestamp = match (&self.timestamp_url, &self.timestamp_root_cert) {
            (Some(url), Some(root)) => {
                let certificates = read_certificates(root)?;
                let [root] = certificates.as_slice() else {
                    return Err(Failure::usage("--timestamp-root-cert: expected one certificate, the root"));
                };
                let http =
                    Http::new(HttpOptions { timeout: Duration::from_secs(30), ..HttpOptions::default() });
                Some(TimestampSource { url: parse_url(url)?, root: root.clone(), http })
            }
            _ => None,
        };
        let expiry = self.expiry.map(|length| now.checked_add(length)).transpose();
        Ok(Signing {
            format: match self.signature_format {
                SignatureFormat::Jws => Format::Jws,
                SignatureFormat::Cose => Format::Cose,
            },
            signer: signer(&self.key)?,
            chain: read_certificates(&self.certificate_chain)?,
            metadata: metadata(&self.user_metadata)?,
            expiry: expiry.map_err(|_| Failure::usage("--expiry: a time beyond the calendar"))?,
            timestamp,
            now,
        })
    }

    fn refuse_for_images(&self) -> Result<(), Failure> {
        if self.signature.is_some() {
            return Err(Failure::usage("--signature is for files; the signature of an image lies beside it"));
        }
        if self.media_type.is_some() {
            return Err(Failure::usage(
                "--media-type is for files; an image has the media type of its manifest",
            ));
        }
        Ok(())
    }

    fn image(&self, terminal: &Terminal, reference: &Reference) -> Outcome {
        self.refuse_for_images()?;
        let signing = self.signing()?;
        if reference.digest().is_none() {
            terminal.talk("A tag can be moved; what is signed is the image which it names now.");
        }
        let images = self.registry.images([reference])?;
        let (home, evidence) = (images.home(reference), images.evidence(reference));
        self.in_stores(terminal, (&home, &evidence), &reference.name(), &signing)
    }

    fn in_stores(
        &self,
        terminal: &Terminal,
        (home, evidence): (&dyn Store, &dyn Store),
        name: &Name,
        signing: &Signing,
    ) -> Outcome {
        let (image, written) = block_on(terminal, async {
            if self.dry_run {
                let noted = DryRun::new(evidence);
                return Ok(sign_image(home, &noted, name, signing).await?);
            }
            Ok(sign_image(home, evidence, name, signing).await?)
        })?;
        let verb = if self.dry_run { "would write" } else { "wrote" };
        for part in &written {
            terminal.talk(&format!("{verb} {} in {}", part.name, part.place));
        }
        if !self.dry_run {
            terminal.talk(&format!("{} signed: {}", terminal.yes(), image.digest));
        }
        terminal.line(&format!("{}@{}", home.place(), image.digest))?;
        Ok(0)
    }

    fn file(&self, terminal: &Terminal, file: &Path) -> Outcome {
        std::fs::File::open(file).map_err(countersign_client::ClientError::file("open", file))?;
        let signing = self.signing()?;
        let target = self.signature.clone().unwrap_or_else(|| signature_path(file, signing.format));
        // A name that does not tell the form would make a signature which nobody can verify.
        let named = countersign_client::notary::format_of_file(&target)?;
        if named != signing.format {
            return Err(Failure::usage(format!(
                "{}: the name says {}, and the signature is {}",
                target.display(),
                named.name(),
                signing.format.name()
            )));
        }
        let media_type = self.media_type.as_deref().unwrap_or(MEDIA_TYPE);
        let envelope = block_on(terminal, async { Ok(sign_blob(file, media_type, &signing).await?) })?;
        if self.dry_run {
            terminal.talk(&format!("would write {}", target.display()));
            return Ok(0);
        }
        write_atomically(&target, &envelope)?;
        terminal.talk(&format!("{} signed: {}", terminal.yes(), target.display()));
        let mut line = format!("countersign notary verify {}", quoted(&file.display().to_string()));
        if target != signature_path(file, signing.format) {
            line.push_str(&format!(" --signature {}", quoted(&target.display().to_string())));
        }
        terminal.line(&line)?;
        Ok(0)
    }
}

/// The key, with the scheme which goes with its type here: RSA keys sign with PSS.
fn signer(key: &str) -> Result<Arc<dyn Signer>, Failure> {
    let reference = KeyRef::parse(key)?;
    if !matches!(reference, KeyRef::File(_) | KeyRef::Env(_)) {
        return Ok(load_signer(&reference, &password(false))?);
    }
    let pair = load_key_pair(&reference, &password(false))?;
    Ok(match Algorithm::of_key(pair.public_key().key_type()) {
        Some(algorithm) => Arc::new(pair.with_scheme(algorithm.scheme())?),
        None => Arc::new(pair),
    })
}
