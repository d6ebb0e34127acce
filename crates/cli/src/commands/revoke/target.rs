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

/// Arguments about what is revoked. Several mean: each of them.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "What is revoked")]
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
}

impl TargetArgs {
    pub(crate) fn targets(&self) -> Result<Vec<Target>, Failure> {
        let issuer = || self.issuer.clone().map(Text::Exact);
        let mut all = Vec::new();
        let exact = self.identity.iter().cloned().map(Text::Exact);
        let patterns = self.identity_regexp.iter().cloned().map(Text::Pattern);
        all.extend(exact.chain(patterns).map(|name| Target::Identity { name: Some(name), issuer: issuer() }));
        let names_somebody = !all.is_empty();
        for text in &self.key {
            all.push(Target::Key(key_print(text)?));
        }
        for text in &self.certificate {
            all.push(Target::Certificate(match text.strip_prefix("sha256:") {
                Some(print) => print.to_owned(),
                None => certificate(Path::new(text))?,
            }));
        }
        all.extend(self.digest.iter().cloned().map(Target::Digest));
        all.extend(self.builder.iter().cloned().map(Text::Exact).map(Target::Builder));
        all.extend(self.builder_regexp.iter().cloned().map(Text::Pattern).map(Target::Builder));
        match (issuer(), names_somebody) {
            (Some(issuer), false) if all.is_empty() => {
                all.push(Target::Identity { name: None, issuer: Some(issuer) });
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
            return Err(Failure::usage("nothing is named to revoke").next(
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
