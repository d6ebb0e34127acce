//! What is to be revoked, as arguments.

use std::path::Path;

use clap::Args;
use countersign_client::artifact::read_limited;
use countersign_crypto::encoding::hex_encode;
use countersign_crypto::sha256;
use countersign_keys::{KeyRef, load_public_key};
use countersign_verify::revocation::{Target, Text};
use countersign_x509::Certificate;

use crate::failure::Failure;

/// Arguments about what is revoked or looked for. Several mean: each of them.
#[derive(Debug, Default, Args)]
pub(crate) struct TargetArgs {
    /// A name in certificates: an e-mail address or a URI
    #[arg(long, value_name = "NAME")]
    pub(crate) identity: Vec<String>,
    /// A regular expression for the whole of the name
    #[arg(long, value_name = "REGEXP")]
    pub(crate) identity_regexp: Vec<String>,
    /// Only names that this issuer vouched for; alone: all that it vouched for
    #[arg(long, value_name = "URL")]
    pub(crate) issuer: Option<String>,
    /// A key: a file, a key elsewhere (docs/keys.md), or sha256: and the fingerprint of its public half
    #[arg(long, value_name = "KEY|SHA256")]
    pub(crate) key: Vec<String>,
    /// A certificate: a PEM file, or sha256: and its fingerprint
    #[arg(long, value_name = "FILE|SHA256")]
    pub(crate) certificate: Vec<String>,
    /// An artifact or image
    #[arg(long, value_name = "SHA256")]
    pub(crate) digest: Vec<String>,
    /// A builder: the id in its provenance, or the build signer in its certificates
    #[arg(long, value_name = "URI")]
    pub(crate) builder: Vec<String>,
    /// A regular expression for the whole of the builder
    #[arg(long, value_name = "REGEXP")]
    pub(crate) builder_regexp: Vec<String>,
    /// What the options' names begin with, where another command has them under names of its own
    #[arg(skip)]
    pub(crate) prefix: &'static str,
}

impl TargetArgs {
    /// What is to be revoked.
    pub(crate) fn targets(&self) -> Result<Vec<Target>, Failure> {
        self.named("nothing is named to revoke")
    }

    /// What is looked for.
    pub(crate) fn sought(&self) -> Result<Vec<Target>, Failure> {
        self.named("nothing to look for")
    }

    fn named(&self, nothing: &str) -> Result<Vec<Target>, Failure> {
        let issuer = || self.issuer.clone().map(Text::Exact);
        let mut all = Vec::new();
        let mut add = |option: &str, target: Target| {
            let wrong = |detail| Failure::usage(format!("--{}{option}: {detail}", self.prefix));
            target.check().map(|()| all.push(target)).map_err(wrong)
        };
        let named = |name| Target::Identity { name: Some(name), issuer: issuer() };
        for name in &self.identity {
            add("identity", named(Text::Exact(name.clone())))?;
        }
        for pattern in &self.identity_regexp {
            add("identity-regexp", named(Text::Pattern(pattern.clone())))?;
        }
        for text in &self.key {
            add("key", Target::Key(key_print(text)?))?;
        }
        for text in &self.certificate {
            let print = match text.strip_prefix("sha256:") {
                Some(print) => print.to_owned(),
                None => certificate(Path::new(text))?,
            };
            add("certificate", Target::Certificate(print))?;
        }
        for digest in &self.digest {
            add("digest", Target::Digest(digest.clone()))?;
        }
        for builder in &self.builder {
            add("builder", Target::Builder(Text::Exact(builder.clone())))?;
        }
        for pattern in &self.builder_regexp {
            add("builder-regexp", Target::Builder(Text::Pattern(pattern.clone())))?;
        }
        let names_somebody = !self.identity.is_empty() || !self.identity_regexp.is_empty();
        match (issuer(), names_somebody) {
            (Some(issuer), false) if all.is_empty() => {
                let target = Target::Identity { name: None, issuer: Some(issuer) };
                target.check().map_err(|detail| Failure::usage(format!("--issuer: {detail}")))?;
                all.push(target);
            }
            (Some(_), false) => {
                return Err(Failure::usage(
                    "--issuer goes with --identity, or stands alone for all that it vouched for; beside a key, a digest or \
                     a builder it would not be heard",
                ));
            }
            _ => {}
        }
        if all.is_empty() {
            return Err(Failure::usage(nothing).next(
                "name it with --identity NAME, --key KEY, --certificate FILE, --digest sha256:…, --builder URI or --issuer URL",
            ));
        }
        Ok(all)
    }
}

/// The fingerprint of a key that is named by it, or by where it is.
pub(crate) fn key_print(text: &str) -> Result<String, Failure> {
    match text.strip_prefix("sha256:") {
        Some(print) => Ok(print.to_owned()),
        None => Ok(hex_encode(&load_public_key(&KeyRef::parse(text)?)?.fingerprint())),
    }
}

fn certificate(path: &Path) -> Result<String, Failure> {
    let bytes = read_limited(path, 64 * 1024)?;
    let read = Certificate::from_pem(&String::from_utf8_lossy(&bytes));
    let certificate = read.map_err(|e| Failure::usage(format!("{}: {e}", path.display())))?;
    Ok(hex_encode(&sha256(certificate.der())))
}
