//! What is judged, by its digest.

use countersign_crypto::Digest;
use countersign_registry::{Reference, Repository};

/// What is judged, by its digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// An image, by its digest. Its evidence lies in a repository.
    Image(Reference, Digest),
    /// A file or a directory. Whoever asks has its evidence.
    File(Digest),
}

impl Target {
    /// An image under this digest.
    #[must_use]
    pub fn image(image: &Reference, digest: Digest) -> Self {
        Self::Image(image.at(digest), digest)
    }

    /// Its digest.
    #[must_use]
    pub const fn digest(&self) -> &Digest {
        match self {
            Self::Image(_, digest) | Self::File(digest) => digest,
        }
    }

    /// Where an image is.
    #[must_use]
    pub fn repository(&self) -> Option<&Repository> {
        match self {
            Self::Image(image, _) => Some(image.repository()),
            Self::File(_) => None,
        }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Image(image, _) => image.fmt(f),
            Self::File(digest) => digest.fmt(f),
        }
    }
}
