//! `verify-blob` and `verify-blob-attestation`: verifying under cosign's names.

use std::path::PathBuf;

use clap::Args;
use countersign_bundle::{Bundle, BundleVersion, Content, KeyMaterial, VerificationMaterial};
use countersign_client::artifact::read_limited;
use countersign_client::verify::{Artifact, Says, read_bundle, verify_artifact};
use countersign_clock::{Clock as _, SystemClock};
use countersign_crypto::{Digest, encoding};
use countersign_verify::Report;
use countersign_x509::Certificate;
use serde_json::Value;

use crate::commands::cosign_sign::predicate_type;
use crate::commands::verify::VerifyingArgs;
use crate::failure::{Failure, Outcome};
use crate::out::{Terminal, say};
use crate::view::checklist;

const MAX_PART: usize = 1 << 20;

/// Prints as cosign does: "Verified OK" on standard error, and more when it does not verify.
fn conclude(terminal: &Terminal, title: &str, report: &Report) -> Outcome {
    if report.verified().is_ok() {
        terminal.talk("Verified OK");
        if terminal.verbose {
            terminal.talk(&checklist(terminal, title, report, true));
        }
    } else {
        say(checklist(terminal, title, report, false).trim_end());
    }
    Ok(report.exit_code())
}

#[derive(Debug, Args)]
#[command(before_help = "Examples:
  countersign verify-blob --bundle app.tar.sigstore.json --certificate-identity a@example.com \\
    --certificate-oidc-issuer https://idp.example.com app.tar
  countersign verify-blob --key cosign.pub --bundle out.json app.tar")]
pub(crate) struct VerifyBlob {
    /// The file, or a digest such as sha256:9f86…
    #[arg(value_name = "BLOB")]
    blob: String,
    /// The bundle
    #[arg(long, value_name = "FILE", required_unless_present = "signature", conflicts_with = "signature")]
    bundle: Option<PathBuf>,
    /// A signature by itself (base64 or raw), instead of a bundle
    #[arg(long, value_name = "FILE")]
    signature: Option<PathBuf>,
    /// The certificate (PEM) that goes with --signature
    #[arg(long, value_name = "FILE", requires = "signature")]
    certificate: Option<PathBuf>,
    /// The timestamp, as cosign's JSON, that goes with --signature
    #[arg(long, value_name = "FILE", requires = "signature")]
    rfc3161_timestamp: Option<PathBuf>,
    #[command(flatten)]
    verifying: VerifyingArgs,
}

impl VerifyBlob {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        let requirements = self.verifying.requirements(Says::Anything)?;
        let trust = self.verifying.material(terminal)?;
        let bundle = match &self.bundle {
            Some(path) => read_bundle(path)?,
            None => Ok(self.assembled()?),
        };
        let report = match bundle {
            Ok(bundle) => verify_artifact(
                &Artifact::parse(&self.blob),
                &bundle,
                &trust,
                &requirements,
                SystemClock.now(),
            )?,
            Err(error) => Report::malformed(&error),
        };
        conclude(terminal, &self.blob, &report)
    }

    /// A bundle put together from loose parts. What is not among them counts as not there.
    fn assembled(&self) -> Result<Bundle, Failure> {
        let path =
            self.signature.as_ref().ok_or_else(|| Failure::usage("expected --bundle or --signature"))?;
        let bytes = read_limited(path, MAX_PART)?;
        let text = std::str::from_utf8(&bytes).map(str::trim);
        // Text that is no base64, and what is no text, is the signature itself.
        let signature = text.ok().and_then(|text| encoding::base64_decode(text).ok()).unwrap_or(bytes);
        let content = match &self.certificate {
            None => KeyMaterial::PublicKeyHint(String::new()),
            Some(path) => {
                let pem = read_limited(path, MAX_PART)?;
                let certificate = Certificate::from_pem(&String::from_utf8_lossy(&pem))
                    .map_err(|e| Failure::usage(format!("{}: {e}", path.display())))?;
                KeyMaterial::Certificate(certificate.der().to_vec())
            }
        };
        let timestamps = match &self.rfc3161_timestamp {
            None => Vec::new(),
            Some(path) => {
                let bytes = read_limited(path, MAX_PART)?;
                let json: Option<Value> = serde_json::from_slice(&bytes).ok();
                let text = json.as_ref().and_then(|v| v.get("SignedRFC3161Timestamp")?.as_str());
                let token = text.and_then(|t| encoding::base64_decode(t).ok()).ok_or_else(|| {
                    Failure::usage(format!(
                        "{}: expected {{\"SignedRFC3161Timestamp\":\"…\"}}",
                        path.display()
                    ))
                })?;
                vec![token]
            }
        };
        Ok(Bundle {
            version: BundleVersion::V0_3,
            verification_material: VerificationMaterial {
                content,
                tlog_entries: Vec::new(),
                rfc3161_timestamps: timestamps,
            },
            content: Content::MessageSignature { digest: None, signature },
        })
    }
}

#[derive(Debug, Args)]
#[command(before_help = "Examples:
  countersign verify-blob-attestation --bundle out.json --type spdxjson \\
    --certificate-identity a@example.com --certificate-oidc-issuer https://idp.example.com app.tar")]
pub(crate) struct VerifyBlobAttestation {
    /// The file the statement is about
    #[arg(value_name = "BLOB", required_unless_present = "digest", conflicts_with = "digest")]
    blob: Option<String>,
    /// The bundle
    #[arg(long, value_name = "FILE")]
    bundle: PathBuf,
    /// What the statement must say: a URI or one of cosign's short names
    #[arg(long = "type", value_name = "TYPE", default_value = "custom")]
    kind: String,
    /// The file's digest, hexadecimal, instead of the file
    #[arg(long, value_name = "HEX")]
    digest: Option<String>,
    /// The algorithm of --digest [default: sha256]
    #[arg(long = "digestAlg", value_name = "NAME")]
    digest_algorithm: Option<String>,
    #[command(flatten)]
    verifying: VerifyingArgs,
}

impl VerifyBlobAttestation {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        self.verifying.check()?;
        if self.digest_algorithm.is_some() && self.digest.is_none() {
            return Err(Failure::usage(
                "--digestAlg goes with --digest; of a file the digests that are needed are made",
            ));
        }
        let requirements = self.verifying.requirements(Says::OneOf(vec![predicate_type(&self.kind)?]))?;
        let trust = self.verifying.material(terminal)?;
        let artifact = match (&self.blob, &self.digest) {
            (Some(blob), _) => Artifact::parse(blob),
            (None, Some(hex)) => {
                let algorithm = self.digest_algorithm.as_deref().unwrap_or("sha256");
                Artifact::Digest(Digest::parse(&format!("{algorithm}:{hex}"))?)
            }
            (None, None) => return Err(Failure::usage("expected a file or --digest")),
        };
        let report = match read_bundle(&self.bundle)? {
            Ok(bundle) => verify_artifact(&artifact, &bundle, &trust, &requirements, SystemClock.now())?,
            Err(error) => Report::malformed(&error),
        };
        conclude(terminal, self.blob.as_deref().unwrap_or("the digest"), &report)
    }
}
