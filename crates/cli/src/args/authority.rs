//! Certificates of an authority of one's own, instead of an instance's, as arguments.

use std::path::{Path, PathBuf};

use clap::Args;
use countersign_bundle::TrustedRoot;
use countersign_client::artifact::read_limited;
use countersign_client::trust::own_authority;
use countersign_crypto::encoding;
use countersign_x509::Certificate;

use crate::failure::Failure;

/// The largest file of certificates, in bytes.
const MAX_FILE: usize = 1 << 20;
/// The most certificates in one file.
const MAX_CERTIFICATES: usize = 32;

/// Arguments about authorities of one's own, by cosign's names.
#[derive(Debug, Args)]
#[command(next_help_heading = "Certificates of your own authority")]
pub(crate) struct AuthorityArgs {
    /// Trust only the authority of this chain: intermediates first, root last, PEM
    #[arg(long, value_name = "FILE", hide_short_help = true, conflicts_with = "ca_roots")]
    certificate_chain: Option<PathBuf>,
    /// Trust only the authorities with these root certificates, PEM
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    ca_roots: Option<PathBuf>,
    /// Certificates that may stand between a signer's and the roots, PEM
    #[arg(long, value_name = "FILE", hide_short_help = true, requires = "ca_roots")]
    ca_intermediates: Option<PathBuf>,
    /// Trust this timestamp authority too: its certificate first, its root last, PEM
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    timestamp_certificate_chain: Option<PathBuf>,
    /// Accepted with an authority of your own, which no CT log watches
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_short_help = true, value_name = "BOOL")]
    insecure_ignore_sct: Option<bool>,
}

impl AuthorityArgs {
    /// Whether an authority of one's own takes the place of the instance's.
    pub(crate) fn is_own(&self) -> bool {
        self.certificate_chain.is_some() || self.ca_roots.is_some()
    }

    /// Whether anything of the trust root is given here.
    pub(crate) fn adds(&self) -> bool {
        self.is_own() || self.timestamp_certificate_chain.is_some()
    }

    pub(crate) fn check(&self, by_key: bool) -> Result<(), Failure> {
        if self.is_own() && by_key {
            return Err(Failure::usage(
                "both a key and certificate authorities are given; a signature has one or the other, so one of them \
                 would not be checked",
            ));
        }
        if self.insecure_ignore_sct == Some(true) && !self.is_own() {
            return Err(Failure::usage(
                "--insecure-ignore-sct is not taken: a certificate without an SCT may have been issued in secret, so \
                 it is not accepted; it goes with an authority of your own (--ca-roots, --certificate-chain)",
            ));
        }
        Ok(())
    }

    /// Puts what is given here into a trust root. An authority of one's own takes the place of all others.
    pub(crate) fn apply(&self, root: &mut TrustedRoot) -> Result<(), Failure> {
        if let Some(path) = &self.certificate_chain {
            root.certificate_authorities = vec![own_authority(&certificates(path)?)];
        }
        if let Some(path) = &self.ca_roots {
            let between = self.ca_intermediates.as_deref().map(certificates).transpose()?.unwrap_or_default();
            root.certificate_authorities = certificates(path)?
                .into_iter()
                .map(|anchor| own_authority(&between.iter().cloned().chain([anchor]).collect::<Vec<_>>()))
                .collect();
        }
        if let Some(path) = &self.timestamp_certificate_chain {
            root.timestamp_authorities.push(own_authority(&certificates(path)?));
        }
        Ok(())
    }
}

/// The certificates in a file, PEM; at least one.
pub(crate) fn certificates(path: &Path) -> Result<Vec<Certificate>, Failure> {
    let wrong = |what: &dyn std::fmt::Display| Failure::usage(format!("{}: {what}", path.display()));
    let bytes = read_limited(path, MAX_FILE)?;
    let blocks = encoding::pem_decode(&String::from_utf8_lossy(&bytes)).map_err(|e| wrong(&e))?;
    if blocks.len() > MAX_CERTIFICATES {
        return Err(wrong(&format!("{} certificates, at most {MAX_CERTIFICATES} are read", blocks.len())));
    }
    blocks
        .iter()
        .map(|block| match block.label.as_str() {
            "CERTIFICATE" => Certificate::from_der(&block.der).map_err(|e| wrong(&e)),
            other => Err(wrong(&format!("expected certificates, found \"{other}\""))),
        })
        .collect()
}
