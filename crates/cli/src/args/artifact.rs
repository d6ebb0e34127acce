//! An artifact on the command line of which the digest is known, without asking anybody.

use countersign_client::artifact::hash_file;
use countersign_client::verify::Artifact;
use countersign_crypto::{Digest, HashAlgorithm};
use countersign_http::text::printable;

use crate::args::registry::Named;
use crate::failure::Failure;

/// A file, a digest, or an image with its digest.
#[derive(Debug)]
pub(crate) struct KnownArtifact {
    /// What is verified.
    pub(crate) artifact: Artifact,
    /// Its SHA-256, or the digest that was given.
    pub(crate) digest: Digest,
    /// The repository of an image; empty for what is none.
    pub(crate) repository: String,
}

impl KnownArtifact {
    /// Reads a name.
    pub(crate) fn read(text: &str) -> Result<Self, Failure> {
        match Named::read(text)? {
            Named::Image(reference) => {
                let digest = reference.digest().copied().ok_or_else(|| {
                    let shown = printable(text);
                    Failure::usage(format!("expected an image with its digest, found \"{shown}\""))
                        .next(format!("countersign triangulate --type digest {shown}"))
                })?;
                let repository = reference.repository().to_string();
                Ok(Self { artifact: Artifact::Digest(digest), digest, repository })
            }
            Named::File(file) => {
                let artifact = Artifact::parse(&file);
                let digest = match &artifact {
                    Artifact::Digest(digest) => *digest,
                    Artifact::File(path) => {
                        let found = hash_file(path, &[HashAlgorithm::Sha256])?;
                        let none = || Failure::internal("no digest was made");
                        found.get(HashAlgorithm::Sha256).copied().ok_or_else(none)?
                    }
                };
                Ok(Self { artifact, digest, repository: String::new() })
            }
        }
    }
}
