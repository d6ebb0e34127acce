//! `sign-blob` and `attest-blob`: signing under cosign's names, with cosign's outputs.

use std::path::{Path, PathBuf};

use clap::Args;
use countersign_attestation::dsse::IN_TOTO_PAYLOAD_TYPE;
use countersign_attestation::predicate::{self, registry};
use countersign_attestation::statement::{Statement, StatementVersion, Subject};
use countersign_client::ClientError;
use countersign_client::artifact::{hash_file, read_limited, write_atomically};
use countersign_client::sign::{Session, Signed};
use countersign_clock::{Clock as _, SystemClock};
use countersign_crypto::{Digest, HashAlgorithm, encoding};
use countersign_http::text::printable;

use crate::commands::sign::SigningArgs;
use crate::failure::{Failure, Outcome};
use crate::out::Terminal;

/// The largest predicate, in bytes.
pub(crate) const MAX_PREDICATE: usize = 16 << 20;

/// Where cosign's commands write to.
#[derive(Debug, Args)]
#[command(next_help_heading = "Results")]
pub(crate) struct ResultArgs {
    /// Write the bundle to this file
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
    /// Write the signature alone to this file
    #[arg(long, visible_alias = "output", value_name = "FILE")]
    output_signature: Option<PathBuf>,
    /// Write the certificate alone (PEM) to this file
    #[arg(long, value_name = "FILE")]
    output_certificate: Option<PathBuf>,
    /// Write the timestamp alone to this file, as cosign's JSON
    #[arg(long, value_name = "FILE")]
    rfc3161_timestamp: Option<PathBuf>,
    /// Whether the signature alone is in base64
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", hide_default_value = true, hide_possible_values = true, value_name = "BOOL")]
    b64: bool,
    /// Accepted as cosign has it: bundles are always of the new format
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", hide = true)]
    new_bundle_format: Option<bool>,
}

impl ResultArgs {
    fn check(&self) -> Result<(), Failure> {
        if self.new_bundle_format == Some(false) {
            return Err(Failure::usage(
                "--new-bundle-format=false is not taken: the old format cannot carry what offline verification needs; \
                 every verifier since cosign 2.4 reads the new one",
            ));
        }
        Ok(())
    }

    fn write(&self, terminal: &Terminal, signed: &Signed) -> Result<(), Failure> {
        if let Some(path) = &self.bundle {
            write_atomically(path, &signed.json)?;
            terminal.talk(&format!("Wrote bundle to file {}", path.display()));
        }
        let signature = signed.bundle.content.signature();
        let text =
            if self.b64 { encoding::base64_encode(signature).into_bytes() } else { signature.to_vec() };
        if let Some(path) = &self.output_signature {
            write_atomically(path, &text)?;
            terminal.talk(&format!("Wrote signature to file {}", path.display()));
        } else if self.bundle.is_none() {
            terminal.line(&encoding::base64_encode(signature))?;
        }
        if let Some(path) = &self.output_certificate {
            let certificate = signed.certificate.as_ref().ok_or_else(|| {
                Failure::usage("--output-certificate: a signature by key has no certificate")
            })?;
            write_atomically(path, certificate.to_pem().as_bytes())?;
            terminal.talk(&format!("Wrote certificate to file {}", path.display()));
        }
        if let Some(path) = &self.rfc3161_timestamp {
            let timestamp =
                signed.bundle.verification_material.rfc3161_timestamps.first().ok_or_else(|| {
                    Failure::usage(
                        "--rfc3161-timestamp: no timestamp was asked for, so there is none to write",
                    )
                })?;
            let json = serde_json::json!({ "SignedRFC3161Timestamp": encoding::base64_encode(timestamp) });
            write_atomically(path, json.to_string().as_bytes())?;
            terminal.talk(&format!("Wrote timestamp to file {}", path.display()));
        }
        Ok(())
    }
}

#[derive(Debug, Args)]
#[command(before_help = "Examples:
  countersign sign-blob --bundle app.tar.sigstore.json app.tar
  countersign sign-blob --key cosign.key --bundle out.json -y app.tar")]
pub(crate) struct SignBlob {
    /// The file; - for standard input
    #[arg(value_name = "BLOB")]
    blob: PathBuf,
    #[command(flatten)]
    results: ResultArgs,
    #[command(flatten)]
    signing: SigningArgs,
}

impl SignBlob {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        self.signing.refused.check()?;
        self.results.check()?;
        there(&self.blob)?;
        let signed = self.signing.with_session(terminal, async |session: &Session<'_>, _: &_| {
            Ok(session.sign_file(&self.blob).await?)
        })?;
        self.results.write(terminal, &signed)?;
        Ok(0)
    }
}

#[derive(Debug, Args)]
#[command(before_help = "Examples:
  countersign attest-blob --predicate sbom.json --type spdxjson --bundle app.tar.att.json app.tar
  countersign attest-blob --statement statement.json --bundle out.json")]
pub(crate) struct AttestBlob {
    /// The file the statement is about
    #[arg(value_name = "BLOB", required_unless_present_any = ["statement", "hash"])]
    blob: Option<PathBuf>,
    /// The file with the predicate, JSON; - for standard input
    #[arg(long, value_name = "FILE", conflicts_with = "statement", required_unless_present = "statement")]
    predicate: Option<PathBuf>,
    /// What the predicate is, or a URI: custom, slsaprovenance, slsaprovenance02, slsaprovenance1, link, link03, spdx, spdxjson, cyclonedx, vuln, vulns, vulns01, openvex, vsa, svr, scai, test-result, release, runtime-trace, reference, code-review, sarif
    #[arg(long = "type", value_name = "TYPE", default_value = "custom")]
    kind: String,
    /// A whole statement to be signed as it is
    #[arg(long, value_name = "FILE")]
    statement: Option<PathBuf>,
    /// The file's digest, hexadecimal, instead of the file
    #[arg(long, value_name = "SHA256", conflicts_with = "statement")]
    hash: Option<String>,
    #[command(flatten)]
    checks: PredicateArgs,
    #[command(flatten)]
    results: ResultArgs,
    #[command(flatten)]
    signing: SigningArgs,
}

/// The predicate type behind one of cosign's short names, or the URI itself.
pub(crate) fn predicate_type(name: &str) -> Result<String, Failure> {
    predicate::type_of(name).map(str::to_owned).ok_or_else(|| {
        Failure::usage(format!("--type: expected a URI or one of {}; found \"{name}\"", predicate::names()))
    })
}

/// What is checked of a predicate before it is signed.
#[derive(Debug, Args)]
pub(crate) struct PredicateArgs {
    /// Sign a predicate of a type that is not known here, although it looks like one that is: a newer version of it
    #[arg(long)]
    allow_unknown_type: bool,
}

impl PredicateArgs {
    /// Refuses a predicate that readers of its type would refuse, and a type that is nearly a known one.
    pub(crate) fn check(
        &self,
        terminal: &Terminal,
        file: &Path,
        kind: &str,
        predicate: Option<&str>,
    ) -> Result<(), Failure> {
        match registry::check(kind, predicate.unwrap_or("null")) {
            Some(_) if self.allow_unknown_type => Err(Failure::usage(format!(
                "--allow-unknown-type: {} is known, and read by its rules",
                printable(kind)
            ))),
            Some(read) => read.map_err(|e| {
                let text = format!("{}: not a predicate of the type {kind}: {e}", file.display());
                Failure::usage(text).next("mend the file: whoever reads it by its type would refuse it")
            }),
            None => match registry::meant(kind).filter(|_| !self.allow_unknown_type) {
                Some(meant) => Err(Failure::usage(format!(
                    "--type: {kind} is not known; known are {}",
                    meant.types.join(", ")
                ))
                .next("write one of these, or --allow-unknown-type to sign it unread")),
                None => {
                    terminal.talk(&printable(&format!(
                        "{kind} is not known here: what is signed was not checked"
                    )));
                    Ok(())
                }
            },
        }
    }
}

impl AttestBlob {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        self.signing.refused.check()?;
        self.results.check()?;
        let payload = self.payload(terminal)?;
        let signed = self.signing.with_session(terminal, async |session: &Session<'_>, _: &_| {
            Ok(session.sign_payload(IN_TOTO_PAYLOAD_TYPE, payload).await?)
        })?;
        self.results.write(terminal, &signed)?;
        Ok(0)
    }

    /// The bytes of the statement.
    fn payload(&self, terminal: &Terminal) -> Result<Vec<u8>, Failure> {
        if let Some(path) = &self.statement {
            let bytes = read_limited(path, MAX_PREDICATE)?;
            // Signed byte for byte as it is, once it is known to be a statement that verifiers can read.
            let statement = Statement::from_json(&bytes)
                .map_err(|e| Failure::usage(format!("{}: {e}", path.display())))?;
            if let Some(blob) = &self.blob {
                let digest = sha256_of(blob)?;
                if !statement.subjects.iter().any(|s| s.matches(&digest)) {
                    return Err(Failure::usage(format!(
                        "{} says nothing about {} ({digest})",
                        path.display(),
                        blob.display()
                    )));
                }
            }
            let text = statement.predicate.as_ref().map(|predicate| predicate.get());
            self.checks.check(terminal, path, &statement.predicate_type, text)?;
            return Ok(bytes);
        }
        let path = self.predicate.as_ref().ok_or_else(|| Failure::usage("--predicate is missing"))?;
        let text = String::from_utf8(read_limited(path, MAX_PREDICATE)?)
            .map_err(|_| Failure::usage(format!("{} is not UTF-8 text", path.display())))?;
        let predicate = predicate::wrap(&self.kind, &text, &SystemClock.now().to_string())
            .map_err(|e| Failure::usage(format!("{}: {e}", path.display())))?;
        let kind = predicate_type(&self.kind)?;
        self.checks.check(terminal, path, &kind, Some(predicate.get()))?;
        let (name, digest) = match (&self.hash, &self.blob) {
            (Some(hash), blob) => {
                let digest = Digest::parse(&format!("sha256:{hash}"))?;
                (blob.as_deref().map(file_name).unwrap_or_default(), digest)
            }
            (None, Some(blob)) => (file_name(blob), sha256_of(blob)?),
            (None, None) => return Err(Failure::usage("expected a file or --hash")),
        };
        let statement = Statement {
            version: StatementVersion::V1,
            subjects: vec![Subject {
                name,
                digest: [("sha256".to_owned(), digest.to_hex())].into(),
                annotations: Default::default(),
            }],
            predicate_type: kind,
            predicate: Some(predicate),
        };
        statement.to_json().map_err(|e| Failure::usage(e.to_string()))
    }
}

/// A file that is not there is told before anyone logs in or gives a password.
pub(crate) fn there(file: &Path) -> Result<(), ClientError> {
    if file != Path::new("-") {
        std::fs::File::open(file).map_err(ClientError::file("open", file))?;
    }
    Ok(())
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}

fn sha256_of(path: &Path) -> Result<Digest, ClientError> {
    let found = hash_file(path, &[HashAlgorithm::Sha256])?;
    found.get(HashAlgorithm::Sha256).copied().ok_or_else(|| ClientError::Usage("no digest was made".into()))
}
