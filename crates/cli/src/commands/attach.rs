//! `attach`: evidence that was made elsewhere, written where verifiers look for it.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use countersign_attestation::{Envelope, SimpleSigning, Statement};
use countersign_bundle::{Bundle, legacy};
use countersign_client::artifact::read_limited;
use countersign_client::image::targets;
use countersign_clock::{Clock as _, SystemClock};
use countersign_registry::evidence::{self, Material, SimpleSigned};
use countersign_registry::{Descriptor, DryRun, Store, Written};
use countersign_verify::SIGN_PREDICATE_TYPE;

use crate::args::registry::{RegistryArgs, image};
use crate::failure::{Failure, Outcome};
use crate::out::{Terminal, block_on};

/// The largest document that is attached, in bytes.
const MAX_DOCUMENT: usize = 16 << 20;

#[derive(Debug, Args)]
pub(crate) struct Attach {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Signature(AttachSignature),
    Attestation(AttachAttestation),
    Sbom(AttachSbom),
}

/// The image, and how it is reached.
#[derive(Debug, Args)]
struct Where {
    /// The image
    #[arg(value_name = "IMAGE")]
    image: String,
    /// Write nothing: show what would be written where
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    registry: RegistryArgs,
}

/// Attach a signature: a bundle, or cosign's older parts
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  countersign attach signature --bundle app.sigstore.json registry.example/app:v1
  countersign attach signature --payload app.json --signature app.sig registry.example/app:v1")]
struct AttachSignature {
    /// A bundle, as `countersign sign --upload=false --bundle FILE` writes it
    #[arg(long, value_name = "FILE", conflicts_with_all = ["signature", "payload"], required_unless_present = "signature")]
    bundle: Option<PathBuf>,
    /// The signature, base64, or a file with it
    #[arg(long, value_name = "FILE", requires = "payload")]
    signature: Option<String>,
    /// The payload that was signed
    #[arg(long, value_name = "FILE", requires = "signature")]
    payload: Option<PathBuf>,
    /// The certificate, PEM
    #[arg(long, value_name = "FILE", requires = "signature")]
    certificate: Option<PathBuf>,
    /// The certificates above it, PEM
    #[arg(long, value_name = "FILE", requires = "certificate")]
    certificate_chain: Option<PathBuf>,
    /// The timestamp (RFC 3161 response, DER)
    #[arg(long, value_name = "FILE", requires = "signature")]
    tsr: Option<PathBuf>,
    /// The log's promise, as cosign's annotation has it (JSON with SignedEntryTimestamp and Payload)
    #[arg(long, value_name = "FILE", requires = "signature")]
    rekor_response: Option<PathBuf>,
    #[command(flatten)]
    place: Where,
}

/// Attach statements: bundles, or DSSE envelopes, one JSON document on each line
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:\n  countersign attach attestation --attestation statement.sigstore.json registry.example/app:v1"
)]
struct AttachAttestation {
    /// The file with the statements
    #[arg(long, value_name = "FILE", required = true)]
    attestation: Vec<PathBuf>,
    #[command(flatten)]
    place: Where,
}

/// Attach a bill of materials, unsigned
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:\n  countersign attach sbom --sbom app.json --type spdx --input-format json registry.example/app:v1"
)]
struct AttachSbom {
    /// The file
    #[arg(long, value_name = "FILE")]
    sbom: PathBuf,
    /// Of which form: spdx, cyclonedx or syft
    #[arg(long = "type", value_name = "TYPE", default_value = "spdx", value_parser = ["spdx", "cyclonedx", "syft"])]
    kind: String,
    /// In which notation: json, xml or text
    #[arg(long, value_name = "FORM", value_parser = ["json", "xml", "text"])]
    input_format: Option<String>,
    #[command(flatten)]
    place: Where,
}

impl Attach {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        match &self.what {
            What::Signature(command) => command.run(terminal),
            What::Attestation(command) => command.run(terminal),
            What::Sbom(command) => command.run(terminal),
        }
    }
}

impl Where {
    /// Does some writing, on the registry or on a store that only remembers, and tells what was written.
    fn write(
        &self,
        terminal: &Terminal,
        work: impl AsyncFnOnce(&dyn Store, &Descriptor) -> Result<Vec<Written>, Failure>,
    ) -> Outcome {
        self.registry.check()?;
        let reference = image(&self.image)?;
        let images = self.registry.images([&reference])?;
        let written = block_on(terminal, async {
            let all = targets(&images, std::slice::from_ref(&reference), false).await?;
            let target = all.first().ok_or_else(|| Failure::internal("no image was resolved"))?;
            let store = images.evidence(&reference);
            if self.dry_run {
                return work(&DryRun::new(&store), &target.descriptor).await;
            }
            work(&store, &target.descriptor).await
        })?;
        show(terminal, &written, self.dry_run)?;
        Ok(0)
    }
}

/// Tells what was written, or would be.
pub(crate) fn show(terminal: &Terminal, written: &[Written], dry_run: bool) -> Result<(), Failure> {
    for place in written {
        let line = format!("{} {} ({} bytes)", place.place, place.name, place.descriptor.size);
        if dry_run {
            terminal.line(&format!("would write {line}"))?;
        } else {
            terminal.talk(&format!("wrote {line}"));
        }
    }
    Ok(())
}

fn text_of(path: &Path) -> Result<String, Failure> {
    String::from_utf8(read_limited(path, MAX_DOCUMENT)?)
        .map_err(|_| Failure::usage(format!("{} is not UTF-8 text", path.display())))
}

/// What a statement says of itself, and that it is about the image.
fn kind_of(envelope: &Envelope, image: &Descriptor, what: &str) -> Result<String, Failure> {
    let statement =
        Statement::from_json(&envelope.payload).map_err(|e| Failure::usage(format!("{what}: {e}")))?;
    if !statement.subjects.iter().any(|s| s.matches(&image.digest)) {
        return Err(Failure::usage(format!("{what} says nothing about this image ({})", image.digest)));
    }
    Ok(statement.predicate_type)
}

impl AttachSignature {
    fn run(&self, terminal: &Terminal) -> Outcome {
        if let Some(path) = &self.bundle {
            let shown = path.display().to_string();
            let bytes = read_limited(path, MAX_DOCUMENT)?;
            let bundle = Bundle::from_json(&bytes).map_err(|e| Failure::usage(format!("{shown}: {e}")))?;
            return self.place.write(terminal, async |store, image| {
                let kind = match bundle.content.envelope() {
                    Some(envelope) => kind_of(envelope, image, &shown)?,
                    None => SIGN_PREDICATE_TYPE.to_owned(),
                };
                Ok(evidence::attach_bundle(store, image, &bytes, &kind, SystemClock.now()).await?)
            });
        }
        let signed = self.older()?;
        self.place.write(terminal, async |store, image| {
            let payload = SimpleSigning::from_json(&signed.payload)
                .map_err(|e| Failure::usage(format!("--payload: {e}")))?;
            if payload.digest != image.digest {
                return Err(Failure::usage(format!(
                    "--payload is about {}, and the image is {}",
                    payload.digest, image.digest
                )));
            }
            Ok(evidence::attach_signature(store, &image.digest, &signed).await?)
        })
    }

    /// The older form from its parts, read back before it is written.
    fn older(&self) -> Result<SimpleSigned, Failure> {
        let (Some(signature), Some(payload)) = (&self.signature, &self.payload) else {
            return Err(Failure::usage("expected --bundle, or --signature and --payload"));
        };
        let signature =
            if Path::new(signature).is_file() { text_of(Path::new(signature))? } else { signature.clone() };
        let token = self.tsr.as_ref().map(|path| read_limited(path, MAX_DOCUMENT)).transpose()?;
        let signed = SimpleSigned {
            payload: read_limited(payload, MAX_DOCUMENT)?,
            signature: signature.trim().to_owned(),
            material: Material {
                certificate: self.certificate.as_deref().map(text_of).transpose()?,
                chain: self.certificate_chain.as_deref().map(text_of).transpose()?,
                bundle: self.rekor_response.as_deref().map(text_of).transpose()?,
                timestamp: token.map(|token| legacy::timestamp_to_json(&token)),
            },
        };
        let mut annotations = legacy::Annotations::new();
        annotations.insert(legacy::SIGNATURE.into(), signed.signature.clone());
        let material = &signed.material;
        for (name, value) in [
            (legacy::CERTIFICATE, &material.certificate),
            (legacy::CHAIN, &material.chain),
            (legacy::BUNDLE, &material.bundle),
            (legacy::TIMESTAMP, &material.timestamp),
        ] {
            annotations.extend(value.clone().map(|value| (name.to_owned(), value)));
        }
        // What no verifier could read is told now.
        legacy::from_signature_layer(&signed.payload, &annotations)
            .map_err(|e| Failure::usage(e.to_string()))?;
        Ok(signed)
    }
}

impl AttachAttestation {
    fn run(&self, terminal: &Terminal) -> Outcome {
        let mut documents = Vec::new();
        for path in &self.attestation {
            let text = text_of(path)?;
            // One document over several lines, or one on each line.
            if serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok() {
                documents.push((path.display().to_string(), text));
            } else {
                let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
                documents.extend(
                    lines.map(|(n, line)| (format!("{}:{}", path.display(), n + 1), line.to_owned())),
                );
            }
        }
        if documents.is_empty() {
            return Err(Failure::usage("--attestation: expected statements, found none"));
        }
        self.place.write(terminal, async |store, image| {
            let mut written = Vec::new();
            for (what, text) in &documents {
                let bytes = text.as_bytes();
                if let Ok(bundle) = Bundle::from_json(bytes) {
                    let envelope = bundle.content.envelope().ok_or_else(|| {
                        Failure::usage(format!(
                            "{what}: expected a signed statement, found another signature"
                        ))
                    })?;
                    let kind = kind_of(envelope, image, what)?;
                    written.extend(
                        evidence::attach_bundle(store, image, bytes, &kind, SystemClock.now()).await?,
                    );
                    continue;
                }
                let envelope = Envelope::from_json(bytes).map_err(|e| {
                    Failure::usage(format!("{what}: expected a bundle or a DSSE envelope: {e}"))
                })?;
                let attested = evidence::Envelope {
                    predicate_type: kind_of(&envelope, image, what)?,
                    envelope: bytes.to_vec(),
                    material: Material::default(),
                };
                written.extend(evidence::attach_attestation(store, &image.digest, &attested).await?);
            }
            Ok(written)
        })
    }
}

impl AttachSbom {
    fn run(&self, terminal: &Terminal) -> Outcome {
        let document = read_limited(&self.sbom, MAX_DOCUMENT)?;
        let form = self.input_format.as_deref();
        let media_type = match (self.kind.as_str(), form) {
            ("spdx", None | Some("text")) => "text/spdx",
            ("spdx", Some(form)) => {
                if form == "json" {
                    "text/spdx+json"
                } else {
                    "text/spdx+xml"
                }
            }
            ("cyclonedx", Some("json")) => "application/vnd.cyclonedx+json",
            ("cyclonedx", None | Some("xml")) => "application/vnd.cyclonedx+xml",
            ("syft", None | Some("json")) => "application/vnd.syft+json",
            (kind, form) => {
                let form = form.unwrap_or("none");
                return Err(Failure::usage(format!("--type {kind} has no form --input-format {form}")));
            }
        };
        terminal
            .talk("this is not signed: for a statement that is, use `countersign attest --type spdxjson`");
        self.place.write(terminal, async |store, image| {
            Ok(evidence::attach_sbom(store, &image.digest, media_type, &document).await?)
        })
    }
}
