//! `countersign notary inspect`: what an envelope says, in plain words. Verifies nothing, and says so.

use std::fmt::Write as _;
use std::path::Path;

use clap::Args;
use countersign_client::artifact::read_limited;
use countersign_client::notary::format_of_file;
use countersign_http::text::printable;
use countersign_notary::{Envelope, Format, MAX_ENVELOPE_LEN};
use countersign_registry::evidence::{Form, Search, discover};
use countersign_registry::{Name, Store};
use countersign_x509::timestamp::TimestampToken;

use super::image_in;
use super::view::describe;
use crate::args::registry::{Named, RegistryArgs};
use crate::failure::{Failure, Outcome};
use crate::out::{Terminal, block_on};

/// Show the Notary Project's signatures of an image, or one in a file, in plain words
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  countersign notary inspect registry.example.com/app:v1
  countersign notary inspect app.tar.jws.sig")]
pub(crate) struct Inspect {
    /// The image, or the file with the signature
    #[arg(value_name = "IMAGE|FILE")]
    name: String,
    /// The image lies in an OCI layout on disk
    #[arg(long)]
    local_image: bool,
    #[command(flatten)]
    registry: RegistryArgs,
}

impl Inspect {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        let shown = if self.local_image {
            block_on(terminal, async {
                let (layout, name) = image_in(&self.name).await?;
                of_image(&layout, &layout, &name).await
            })?
        } else {
            match Named::read(&self.name)? {
                Named::File(file) => {
                    let path = Path::new(&file);
                    let bytes = read_limited(path, MAX_ENVELOPE_LEN)?;
                    envelope(&file, format_of_file(path)?, &bytes)
                }
                Named::Image(reference) => {
                    let images = self.registry.images([&*reference])?;
                    let (home, evidence) = (images.home(&reference), images.evidence(&reference));
                    block_on(terminal, of_image(&home, &evidence, &reference.name()))?
                }
            }
        };
        terminal.data(&shown)?;
        terminal.talk("Nothing was verified. To verify: countersign notary verify IMAGE");
        Ok(0)
    }
}

async fn of_image(home: &dyn Store, evidence: &dyn Store, name: &Name) -> Result<String, Failure> {
    let image = home.resolve(name).await?;
    let found = discover(evidence, &image.digest, &Search::of([Form::Notary])).await?;
    if found.is_empty() {
        return Err(Failure::new(
            3,
            format!("no Notary Project signature of {} in {}", image.digest, evidence.place()),
        ));
    }
    Ok(found
        .iter()
        .map(|piece| {
            let title = piece.manifest.digest.to_string();
            match Format::from_media_type(&piece.layer.media_type) {
                Ok(format) => envelope(&title, format, &piece.bytes),
                Err(refusal) => format!("{title}\n  unreadable: {}\n", printable(&refusal.to_string())),
            }
        })
        .collect())
}

fn envelope(title: &str, format: Format, bytes: &[u8]) -> String {
    let mut out = format!("{}\n", printable(title));
    // Writing to a String does not fail.
    let mut field = |name: &str, value: &str| {
        let _ = writeln!(out, "  {name:<26} {}", printable(value));
    };
    let envelope = match Envelope::parse(format, bytes) {
        Ok(envelope) => envelope,
        Err(refusal) => {
            field("unreadable", &refusal.to_string());
            return out;
        }
    };
    field("form", format.media_type());
    field("algorithm", envelope.algorithm().jws_name());
    field("signing scheme", envelope.attributes().scheme.name());
    field("signing time", &envelope.attributes().signing_time.to_string());
    if let Some(expiry) = envelope.attributes().expiry {
        field("expires", &expiry.to_string());
    }
    if let Some(agent) = envelope.agent() {
        field("signed with", agent);
    }
    field("signs", &String::from_utf8_lossy(envelope.payload()));
    for certificate in envelope.chain() {
        field("certificate", &describe(certificate));
        let (from, to) = (certificate.not_before(), certificate.not_after());
        field("  valid", &format!("{from} to {to}"));
    }
    if let Some(token) = envelope.timestamp() {
        match TimestampToken::parse_token(token) {
            Ok(token) => field("timestamp", &token.unverified_info().gen_time.to_string()),
            Err(e) => field("timestamp", &format!("unreadable: {e}")),
        }
    }
    out
}
