//! `tree` and `triangulate`: what is attached to an image, and where the older forms lie.

use clap::{Args, ValueEnum};
use countersign_client::image::{Claims, claims, targets};
use countersign_http::text::printable;
use countersign_registry::Store as _;
use countersign_registry::evidence::{Found, OlderTag, Origin, Search, discover};
use serde_json::{Value, json};

use crate::args::OutputArgs;
use crate::args::refused::TreeRefused;
use crate::args::registry::{RegistryArgs, image};
use crate::failure::Outcome;
use crate::out::{Terminal, block_on};

#[derive(Debug, Args)]
#[command(
    before_help = "Examples:
  countersign tree registry.example/app:v1
  countersign tree registry.example/app:v1 --output json",
    after_help = "Nothing is verified here: what evidence says of itself is shown as such. `countersign verify` decides."
)]
pub(crate) struct Tree {
    /// The image
    #[arg(value_name = "IMAGE")]
    image: String,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    registry: RegistryArgs,
    #[command(flatten)]
    refused: TreeRefused,
}

/// A manifest and what is attached to it.
struct Branch {
    title: String,
    platform: Option<String>,
    pieces: Vec<(Found, Claims)>,
}

impl Tree {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        self.refused.check()?;
        self.registry.check()?;
        let reference = image(&self.image)?;
        let images = self.registry.images([&reference])?;
        let branches = block_on(terminal, async {
            let mut branches = Vec::new();
            for target in targets(&images, std::slice::from_ref(&reference), true).await? {
                let store = images.evidence(&target.reference);
                let found = discover(&store, &target.descriptor.digest, &Search::default()).await?;
                let mut pieces: Vec<(Found, Claims)> =
                    found.into_iter().map(|found| (claims(&found), found)).map(|(c, f)| (f, c)).collect();
                // A registry lists in whatever order it likes.
                pieces.sort_by_cached_key(|(found, claims)| {
                    (found.form, claims.predicate_type.clone(), found.layer.digest.to_string())
                });
                let platform = target.platform.as_ref().map(ToString::to_string);
                branches.push(Branch { title: target.reference.to_string(), platform, pieces });
            }
            Ok(branches)
        })?;
        if self.output.is_json() {
            let images: Vec<Value> = branches.iter().map(Branch::json).collect();
            terminal.json("tree", 1, &json!({ "images": images }))?;
        } else {
            for branch in &branches {
                terminal.data(&branch.text(terminal))?;
            }
        }
        Ok(0)
    }
}

/// What a piece is, in a word or a few.
fn kind(found: &Found, claims: &Claims) -> String {
    match &claims.predicate_type {
        Some(kind) => format!("statement {kind}"),
        None if found.form.is_signed() => "signature".to_owned(),
        None => found.layer.media_type.clone(),
    }
}

/// Who signed, as the piece itself says.
fn signer(claims: &Claims) -> String {
    match (&claims.malformed, &claims.signer) {
        (Some(what), _) => format!("cannot be read: {what}"),
        (None, Some(signer)) => format!("says it is by {signer}"),
        (None, None) => "not signed".to_owned(),
    }
}

const fn origin(origin: Origin) -> &'static str {
    match origin {
        Origin::ReferrersApi => "referrer",
        Origin::ReferrersTag => "referrer (tag)",
        Origin::OlderTag => "tag",
        Origin::ImageIndex => "in the image",
    }
}

impl Branch {
    fn text(&self, terminal: &Terminal) -> String {
        let platform = self.platform.as_deref().map(|p| format!(" ({})", printable(p))).unwrap_or_default();
        let mut out = format!("{}{platform}\n", terminal.strong(&printable(&self.title)));
        if self.pieces.is_empty() {
            out.push_str("└── nothing is attached\n");
        }
        for (number, (found, claims)) in self.pieces.iter().enumerate() {
            let last = number + 1 == self.pieces.len();
            let (branch, stem) = if last { ("└──", "   ") } else { ("├──", "│  ") };
            let what = printable(&kind(found, claims));
            let place = origin(found.origin);
            out.push_str(&format!("{branch} {what}\n"));
            out.push_str(&format!("{stem} {}, {place}, {}\n", found.form.name(), found.layer.digest));
            let who = printable(&signer(claims));
            let unsigned = claims.signer.is_none() || claims.malformed.is_some();
            let who = if unsigned { terminal.bad(&who) } else { who };
            out.push_str(&format!("{stem} {who}\n"));
        }
        out
    }

    fn json(&self) -> Value {
        let pieces: Vec<Value> = self
            .pieces
            .iter()
            .map(|(found, claims)| {
                json!({ "form": found.form.name(), "origin": origin(found.origin),
                    "manifest": found.manifest.digest.to_string(), "digest": found.layer.digest.to_string(),
                    "size": found.layer.size, "signed": claims.signer.is_some(),
                    "claims": { "predicateType": claims.predicate_type, "signer": claims.signer,
                        "malformed": claims.malformed } })
            })
            .collect();
        json!({ "image": self.title, "platform": self.platform, "evidence": pieces })
    }
}

/// cosign's older tags.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum TagKind {
    /// Signatures
    Signature,
    /// Statements
    Attestation,
    /// Bills of materials
    Sbom,
    /// The digest itself
    Digest,
}

#[derive(Debug, Args)]
#[command(before_help = "Examples:
  countersign triangulate registry.example/app:v1
  countersign triangulate --type attestation registry.example/app:v1")]
pub(crate) struct Triangulate {
    /// The image
    #[arg(value_name = "IMAGE")]
    image: String,
    /// What of
    #[arg(long = "type", value_enum, default_value = "signature", value_name = "TYPE")]
    kind: TagKind,
    #[command(flatten)]
    registry: RegistryArgs,
}

impl Triangulate {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        let reference = image(&self.image)?;
        let images = self.registry.images([&reference])?;
        let digest = match reference.digest() {
            Some(digest) => *digest,
            None => {
                let home = images.home(&reference);
                block_on(terminal, async { Ok(home.resolve(&reference.name()).await?.digest) })?
            }
        };
        let place = images.evidence(&reference).place();
        let tag = match self.kind {
            TagKind::Signature => OlderTag::Signature,
            TagKind::Attestation => OlderTag::Attestation,
            TagKind::Sbom => OlderTag::Sbom,
            TagKind::Digest => {
                terminal.line(&format!("{}@{digest}", reference.repository()))?;
                return Ok(0);
            }
        };
        terminal.line(&format!("{place}:{}", tag.of(&digest)))?;
        Ok(0)
    }
}
