//! `download`: the evidence of an image as it lies in the registry, one JSON document on each line. Nothing is verified.

use clap::{Args, Subcommand};
use countersign_attestation::predicate;
use countersign_bundle::legacy;
use countersign_client::image::{Images, claims, targets};
use countersign_crypto::{Digest, encoding};
use countersign_registry::evidence::{Form, Found, Search, discover};
use countersign_registry::manifest::Kind;
use countersign_registry::{Reference, Store as _};
use serde_json::{Value, json};

use crate::args::registry::{RegistryArgs, image};
use crate::failure::{Failure, NO_SIGNATURE, Outcome};
use crate::out::{Terminal, block_on};

#[derive(Debug, Args)]
pub(crate) struct Download {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Signature(DownloadSignature),
    Attestation(DownloadAttestation),
    Sbom(DownloadSbom),
}

/// Fetch the signatures of an image, unverified
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:\n  countersign download signature registry.example/app:v1 > app.sigstore.json"
)]
struct DownloadSignature {
    /// The image
    #[arg(value_name = "IMAGE")]
    image: String,
    #[command(flatten)]
    registry: RegistryArgs,
}

/// Fetch the statements about an image, unverified
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:\n  countersign download attestation --predicate-type spdxjson registry.example/app:v1 \\\n    | jq -r .dsseEnvelope.payload | base64 -d"
)]
struct DownloadAttestation {
    /// The image
    #[arg(value_name = "IMAGE")]
    image: String,
    /// Only statements which say of themselves to be of this type: a URI or one of cosign's short names
    #[arg(long, value_name = "TYPE")]
    predicate_type: Option<String>,
    /// The platform of an image with several: os/architecture, such as linux/arm64
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    #[command(flatten)]
    registry: RegistryArgs,
}

/// Fetch the bill of materials of an image, which nobody signed
#[derive(Debug, Args)]
#[command(before_help = "Examples:\n  countersign download sbom registry.example/app:v1")]
struct DownloadSbom {
    /// The image
    #[arg(value_name = "IMAGE")]
    image: String,
    /// The platform of an image with several: os/architecture, such as linux/arm64
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    #[command(flatten)]
    registry: RegistryArgs,
}

impl Download {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        match &self.what {
            What::Signature(command) => {
                let found = fetch(
                    terminal,
                    &command.registry,
                    &command.image,
                    None,
                    &[Form::Bundle, Form::CosignSignature],
                )?;
                let signatures = found.iter().filter(|f| claims(f).predicate_type.is_none());
                print(terminal, "signature", signatures.map(document))
            }
            What::Attestation(command) => {
                let wanted = match &command.predicate_type {
                    None => None,
                    Some(name) => Some(crate::commands::cosign_sign::predicate_type(name)?),
                };
                let found = fetch(
                    terminal,
                    &command.registry,
                    &command.image,
                    command.platform.as_deref(),
                    &[Form::Bundle, Form::InToto, Form::CosignAttestation],
                )?;
                let statements = found.iter().filter(|f| {
                    claims(f).predicate_type.is_some_and(|t| wanted.as_ref().is_none_or(|w| *w == t))
                });
                print(terminal, "statement", statements.map(document))
            }
            What::Sbom(command) => {
                let found = fetch(
                    terminal,
                    &command.registry,
                    &command.image,
                    command.platform.as_deref(),
                    &[Form::CosignSbom],
                )?;
                terminal.talk(&format!(
                    "nobody signed this; a signed one is a statement: countersign download attestation --predicate-type {}",
                    predicate::type_of("spdxjson").unwrap_or("spdxjson")
                ));
                print(terminal, "bill of materials", found.iter().map(document))
            }
        }
    }
}

/// What a piece of evidence is as cosign prints it: bundles and envelopes as they are, an older signature with what
/// lies beside it.
fn document(found: &Found) -> String {
    if found.form != Form::CosignSignature {
        return String::from_utf8_lossy(&found.bytes).trim_end().to_owned();
    }
    let text = |name: &str| found.annotations.get(name).map_or(Value::Null, |text| text.as_str().into());
    let parsed = |name: &str| {
        let text = found.annotations.get(name);
        text.and_then(|text| serde_json::from_str::<Value>(text).ok()).unwrap_or_default()
    };
    json!({
        "Base64Signature": text(legacy::SIGNATURE),
        "Payload": encoding::base64_encode(&found.bytes),
        "Cert": text(legacy::CERTIFICATE),
        "Chain": text(legacy::CHAIN),
        "Bundle": parsed(legacy::BUNDLE),
        "RFC3161Timestamp": parsed(legacy::TIMESTAMP),
    })
    .to_string()
}

fn print(terminal: &Terminal, what: &str, documents: impl Iterator<Item = String>) -> Outcome {
    let mut none = true;
    for document in documents {
        none = false;
        terminal.line(&document)?;
    }
    if none {
        return Err(Failure::new(NO_SIGNATURE, format!("the image has no {what} of this kind"))
            .next("see all there is: countersign tree IMAGE"));
    }
    Ok(0)
}

fn fetch(
    terminal: &Terminal,
    registry: &RegistryArgs,
    name: &str,
    platform: Option<&str>,
    forms: &[Form],
) -> Result<Vec<Found>, Failure> {
    let reference = image(name)?;
    let images = registry.images([&reference])?;
    block_on(terminal, async {
        let digest = resolve(&images, &reference, platform).await?;
        let store = images.evidence(&reference);
        Ok(discover(&store, &digest, &Search::of(forms.iter().copied())).await?)
    })
}

/// The digest of an image, or of one platform of it.
async fn resolve(images: &Images, reference: &Reference, platform: Option<&str>) -> Result<Digest, Failure> {
    let Some(platform) = platform else {
        let all = targets(images, std::slice::from_ref(reference), false).await?;
        let first = all.first().ok_or_else(|| Failure::internal("no image was resolved"))?;
        return Ok(first.descriptor.digest);
    };
    let manifest = images.home(reference).fetch(&reference.name()).await?;
    let Kind::Index(index) = manifest.kind else {
        return Err(Failure::usage(format!("--platform: {reference} has one platform only")));
    };
    let named = |p: &countersign_registry::descriptor::Platform| p.to_string() == platform;
    let found = index.manifests.iter().find(|m| m.platform.as_ref().is_some_and(named));
    found.map(|m| m.digest).ok_or_else(|| {
        let all: Vec<String> =
            index.manifests.iter().filter_map(|m| m.platform.as_ref().map(ToString::to_string)).collect();
        Failure::usage(format!("--platform: expected one of {}, found {platform}", all.join(", ")))
    })
}
