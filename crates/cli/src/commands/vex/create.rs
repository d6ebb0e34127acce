//! `countersign vex create`: a document with one statement, to be signed with `attest --type openvex`.

use clap::Args;
use countersign_attestation::predicate::openvex::write::{NewStatement, create, image_purl};
use countersign_attestation::predicate::openvex::{JUSTIFICATIONS, Status};
use countersign_attestation::purl::Purl;

use super::{AuthorArgs, refused};
use crate::args::artifact::KnownArtifact;
use crate::failure::{Failure, Outcome};
use crate::out::Terminal;

fn status(text: &str) -> Result<Status, String> {
    let known = || Status::ALL.map(Status::code).join(", ");
    let found = Status::ALL.into_iter().find(|status| status.code() == text);
    found.ok_or_else(|| format!("expected one of {}, found \"{text}\"", known()))
}

fn justification(text: &str) -> Result<String, String> {
    if JUSTIFICATIONS.contains(&text) {
        return Ok(text.to_owned());
    }
    Err(format!("expected one of {}, found \"{text}\"", JUSTIFICATIONS.join(", ")))
}

fn purl(text: &str) -> Result<Purl, String> {
    Purl::parse(text)
        .ok_or_else(|| format!("expected a package URL such as pkg:deb/debian/openssl, found \"{text}\""))
}

/// Says something of one vulnerability
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:
  countersign vex create --author Acme --vulnerability CVE-2024-1 --status not_affected \\
    --justification vulnerable_code_not_in_execute_path \\
    --product registry.example/app@sha256:9f86… --part pkg:deb/debian/openssl
  countersign vex create --author Acme --vulnerability CVE-2024-2 --alias GHSA-xxxx \\
    --status affected --action 'update to 1.3' --product pkg:npm/shop@1.2",
    after_help = "not_affected needs --justification or --impact, affected needs --action; neither goes with another status. Without --product, the \
statement is about whatever the document is attached to. The document goes to standard output."
)]
pub(super) struct Create {
    /// The vulnerability: CVE-…, GHSA-…
    #[arg(long, value_name = "NAME")]
    vulnerability: String,
    /// Another name of it
    #[arg(long, value_name = "NAME")]
    alias: Vec<String>,
    /// The product: a package URL, or an image with its digest
    #[arg(long, value_name = "PURL|IMAGE")]
    product: Vec<String>,
    /// The part of the product that is meant: a package URL
    #[arg(long, visible_alias = "subcomponent", value_name = "PURL", value_parser = purl, requires = "product")]
    part: Vec<Purl>,
    /// not_affected, fixed, under_investigation or affected
    #[arg(long, value_name = "STATUS", value_parser = status)]
    status: Status,
    /// Why it is not affected: component_not_present, vulnerable_code_not_present, vulnerable_code_not_in_execute_path, vulnerable_code_cannot_be_controlled_by_adversary, inline_mitigations_already_exist
    #[arg(long, value_name = "WORD", value_parser = justification)]
    justification: Option<String>,
    /// Why it is not affected, in your own words
    #[arg(long, value_name = "TEXT")]
    impact: Option<String>,
    /// What to do where it is affected
    #[arg(long, value_name = "TEXT")]
    action: Option<String>,
    #[command(flatten)]
    author: AuthorArgs,
}

impl Create {
    pub(super) fn run(&self, terminal: &Terminal) -> Outcome {
        let product = |text: &String| -> Result<Purl, Failure> {
            if text.starts_with("pkg:") {
                return purl(text).map_err(|why| Failure::usage(format!("--product: {why}")));
            }
            let image = KnownArtifact::read(text)?;
            if image.repository.is_empty() {
                let text = format!(
                    "--product: expected a package URL or an image with its digest, found \"{text}\""
                );
                return Err(Failure::usage(text));
            }
            Ok(image_purl(&image.repository, &image.digest))
        };
        let statement = NewStatement {
            vulnerability: self.vulnerability.clone(),
            aliases: self.alias.clone(),
            products: self.product.iter().map(product).collect::<Result<_, _>>()?,
            parts: self.part.clone(),
            status: self.status,
            justification: self.justification.clone().unwrap_or_default(),
            impact: self.impact.clone().unwrap_or_default(),
            action: self.action.clone().unwrap_or_default(),
        };
        terminal.data(&create(&self.author.author(), &[statement]).map_err(|e| refused(&e))?)?;
        Ok(0)
    }
}
