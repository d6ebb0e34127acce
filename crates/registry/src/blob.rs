//! Blobs on their way: every byte passes the hash, and the end is an end only when length and digest fit.

use std::path::Path;

use bytes::Bytes;
use countersign_crypto::{Digest, Hasher};
use countersign_http::Streaming;
use tempfile::NamedTempFile;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::OwnedSemaphorePermit;

use crate::{Descriptor, RegistryError};

/// How much is read from a file at once.
const PIECE: usize = 64 << 10;

/// A blob that is being read.
#[derive(Debug)]
pub struct Blob {
    source: Source,
    what: String,
    expected: Digest,
    size: u64,
    received: u64,
    hasher: Option<Hasher>,
}

/// Where the bytes come from.
#[derive(Debug)]
pub(crate) enum Source {
    /// From a registry.
    Network {
        /// The answer.
        answer: Box<Streaming>,
        /// Given back when the transfer ends.
        _permit: OwnedSemaphorePermit,
    },
    /// A piece of a file, from where it stands.
    File(tokio::io::Take<tokio::fs::File>),
}

impl Blob {
    pub(crate) fn new(what: String, descriptor: &Descriptor, source: Source) -> Self {
        let digest = descriptor.digest;
        let hasher = Some(Hasher::new(digest.algorithm()));
        Self { source, what, expected: digest, size: descriptor.size, received: 0, hasher }
    }

    /// The next bytes. `None` says that all came, and that they are those of the descriptor.
    ///
    /// # Errors
    /// [`RegistryError::WrongDigest`] and [`RegistryError::Malformed`] for other bytes, [`RegistryError::TooLarge`]
    /// for more than the descriptor says, [`RegistryError::Unreachable`] when they do not arrive.
    pub async fn next(&mut self) -> Result<Option<Bytes>, RegistryError> {
        let piece = match &mut self.source {
            Source::Network { answer, .. } => {
                answer.chunk().await.map_err(|e| RegistryError::network(&self.what, e))?
            }
            Source::File(file) => {
                let mut piece = vec![0; PIECE];
                let count = file
                    .read(&mut piece)
                    .await
                    .map_err(|e| RegistryError::File { path: self.what.clone(), message: e.to_string() })?;
                piece.truncate(count);
                (count > 0).then(|| Bytes::from(piece))
            }
        };
        let Some(piece) = piece else { return self.finish().map(|()| None) };
        self.received = self.received.saturating_add(piece.len() as u64);
        if self.received > self.size {
            return Err(RegistryError::too_large(&self.what, format!("the {} bytes announced", self.size)));
        }
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&piece);
        }
        Ok(Some(piece))
    }

    fn finish(&mut self) -> Result<(), RegistryError> {
        if self.received != self.size {
            let message = format!("expected {} bytes, found {}", self.size, self.received);
            return Err(RegistryError::malformed(&self.what, message));
        }
        // Asked again after the end, the answer is the same.
        let Some(hasher) = self.hasher.take() else { return Ok(()) };
        let found = hasher.finish();
        if found == self.expected {
            return Ok(());
        }
        Err(RegistryError::wrong_digest(&self.what, &self.expected, &found))
    }

    /// All bytes. The caller has looked at the size.
    pub(crate) async fn whole(mut self) -> Result<Vec<u8>, RegistryError> {
        let mut bytes = Vec::new();
        while let Some(piece) = self.next().await? {
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    }

    /// Everything into a temporary file in a directory, telling of each piece that came.
    pub(crate) async fn into_content(
        mut self,
        directory: &Path,
        mut told: impl FnMut(u64),
    ) -> Result<Content, RegistryError> {
        let fails = |e: std::io::Error| RegistryError::file(directory, &e);
        let spooled = NamedTempFile::new_in(directory).map_err(fails)?;
        let mut file = tokio::fs::File::from_std(spooled.reopen().map_err(fails)?);
        while let Some(piece) = self.next().await? {
            file.write_all(&piece).await.map_err(fails)?;
            told(piece.len() as u64);
        }
        file.flush().await.map_err(fails)?;
        Ok(Content::File(spooled))
    }
}

/// The bytes of a blob to put: at hand, or in a file that goes away when this does.
#[derive(Debug)]
pub enum Content {
    /// Bytes at hand.
    Bytes(Bytes),
    /// A temporary file.
    File(NamedTempFile),
}

impl From<Vec<u8>> for Content {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes.into())
    }
}
