//! Which list was seen last, so that an older one is noticed.

use countersign_crypto::encoding::{hex_decode, hex_encode};

use super::question::Revocations;

/// Why a list is not taken although it is signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryError {
    /// An older list than one that was seen.
    #[error(
        "an older revocation list: expected number {seen} or more, found {found}; an old copy was put back, or somebody \
         hides what was revoked since. Whoever signs the list must sign a new one with a higher number: \
         countersign revoke renew --number {next}",
        next = seen.saturating_add(1)
    )]
    Older {
        /// The highest number seen.
        seen: u64,
        /// The number found.
        found: u64,
    },
    /// Two lists under one number.
    #[error(
        "another revocation list under the same number {0}: two places sign lists, or an old copy was put back and \
         signed on. Whoever signs the list must put both together and sign them with a higher number: \
         countersign revoke renew --number {next}",
        next = .0.saturating_add(1)
    )]
    Forked(u64),
    /// A text that is no memory.
    #[error(
        "the record of the last revocation list: expected a number and a digest, found {0:?}; restore or remove it"
    )]
    Malformed(String),
}

/// The highest list seen: its number and the digest of its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    number: u64,
    digest: [u8; 32],
}

impl Memory {
    /// Of this list.
    #[must_use]
    pub const fn of(list: &Revocations) -> Self {
        Self { number: list.list().number, digest: *list.id() }
    }

    /// Whether a list may follow on what was seen: it is the same, or has a higher number.
    ///
    /// # Errors
    /// [`MemoryError::Older`], [`MemoryError::Forked`].
    pub fn check(self, next: &Revocations) -> Result<(), MemoryError> {
        let next = Self::of(next);
        if next.number < self.number {
            return Err(MemoryError::Older { seen: self.number, found: next.number });
        }
        if next.number == self.number && next.digest != self.digest {
            return Err(MemoryError::Forked(self.number));
        }
        Ok(())
    }

    /// Reads what [`std::fmt::Display`] writes.
    ///
    /// # Errors
    /// [`MemoryError::Malformed`].
    pub fn parse(text: &str) -> Result<Self, MemoryError> {
        let read = || {
            let (number, digest) = text.trim().split_once(' ')?;
            let digest = hex_decode(digest.strip_prefix("sha256:")?).ok()?;
            Some(Self { number: number.parse().ok()?, digest: digest.try_into().ok()? })
        };
        read().ok_or_else(|| MemoryError::Malformed(text.chars().take(80).collect()))
    }
}

impl std::fmt::Display for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} sha256:{}", self.number, hex_encode(&self.digest))
    }
}
