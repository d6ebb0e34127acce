//! `verify-bundle`: a file or a digest against a bundle, for an identity or a key. Opens no socket.

use std::path::PathBuf;

use clap::Args;
use countersign_client::ClientError;
use countersign_client::artifact::read_limited;
use countersign_client::verify::{Artifact, Expectations, Who, material, read_bundle, verify_artifact};
use countersign_clock::{Clock as _, SystemClock};
use countersign_crypto::{HashAlgorithm, PublicKey};
use countersign_verify::{Identity, Report};

use crate::trust::TrustArgs;

/// The largest public key, in bytes.
const MAX_KEY: usize = 64 << 10;

/// Verify a bundle for a file or a digest
#[derive(Debug, Args)]
pub(crate) struct VerifyBundle {
    /// The bundle
    #[arg(long, value_name = "FILE")]
    bundle: PathBuf,
    /// The name that the certificate must have
    #[arg(long, value_name = "NAME", requires = "certificate_oidc_issuer", required_unless_present = "key")]
    certificate_identity: Option<String>,
    /// The issuer that the certificate must name
    #[arg(long, value_name = "URL", requires = "certificate_identity")]
    certificate_oidc_issuer: Option<String>,
    /// The public key (PEM) that must have signed, instead of an identity
    #[arg(long, value_name = "FILE", conflicts_with = "certificate_identity")]
    key: Option<PathBuf>,
    #[command(flatten)]
    trust: TrustArgs,
    /// The artifact, or sha256: and 64 hexadecimal digits if there is no file of that name
    #[arg(value_name = "FILE_OR_DIGEST")]
    artifact: String,
}

impl VerifyBundle {
    pub(crate) fn run(&self) -> Result<u8, ClientError> {
        let requirements = Expectations::of(self.who()?).requirements()?;
        let trust = material(&self.trust.load(None)?)?;
        let report = match read_bundle(&self.bundle)? {
            Ok(bundle) => {
                verify_artifact(&artifact(&self.artifact), &bundle, &trust, &requirements, SystemClock.now())?
            }
            Err(error) => Report::malformed(&error),
        };
        if let Err(rejection) = report.verified() {
            eprintln!("{}: refused: {rejection}", self.artifact);
        }
        Ok(report.exit_code())
    }

    fn who(&self) -> Result<Who, ClientError> {
        match (&self.key, &self.certificate_identity, &self.certificate_oidc_issuer) {
            (Some(path), _, _) => {
                let pem = read_limited(path, MAX_KEY)?;
                let wrong = |found: String| ClientError::Usage(format!("{}: {found}", path.display()));
                let pem = std::str::from_utf8(&pem).map_err(|e| wrong(e.to_string()))?;
                Ok(Who::Keys(vec![PublicKey::from_pem(pem).map_err(|e| wrong(e.to_string()))?]))
            }
            (None, Some(name), Some(issuer)) => Ok(Who::Identities(vec![Identity::exact(name, issuer)?])),
            _ => Err(ClientError::Usage(
                "expected --certificate-identity with --certificate-oidc-issuer, or --key".into(),
            )),
        }
    }
}

/// The protocol knows digests by SHA-256 only; whatever else is the name of a file.
fn artifact(text: &str) -> Artifact {
    match Artifact::parse(text) {
        Artifact::Digest(digest) if digest.algorithm() == HashAlgorithm::Sha256 => Artifact::Digest(digest),
        _ => Artifact::File(PathBuf::from(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sha256_with_64_digits_is_a_digest() {
        let digest = HashAlgorithm::Sha256.digest(b"x");
        assert_eq!(artifact(&digest.to_string()), Artifact::Digest(digest));
        for file in ["a.txt".to_owned(), "sha256:00".into(), HashAlgorithm::Sha384.digest(b"x").to_string()] {
            assert_eq!(artifact(&file), Artifact::File(file.into()));
        }
    }
}
