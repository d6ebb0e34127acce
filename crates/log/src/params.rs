//! What a log is: its origin, its format and its first entry. Written once, when the log is created.

use countersign_tlog::merkle::leaf_hash;
use countersign_tlog::static_ct::{TileLeaf, leaf_index_extension};
use countersign_tlog::tile::{self, MAX_ENTRY_BYTES, TileKind, TilePath};
use countersign_tlog::{Hash, NoteKind, NoteSigner};
use std::sync::Arc;

use countersign_crypto::{KeyType, Signer};

use crate::{AppendError, LogError};

/// The file with the parameters.
pub(crate) const PARAMS: &str = "params";
const MAGIC: &[u8; 16] = b"countersign-log1";
/// The longest entry of a static CT log, in bytes: a certificate, a precertificate and the issuers.
const MAX_CT_ENTRY_BYTES: usize = 1 << 18;

/// The format of a log's entries, tiles and checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// Rekor v2: C2SP `tlog-tiles`; entries of at most 65,535 bytes are their own Merkle leaves.
    Rekor,
    /// C2SP `static-ct-api`: an entry is a `TileLeaf`, its Merkle leaf is `MerkleTreeLeaf` of RFC 6962.
    StaticCt,
}

/// An entry, as the tree and as the tiles hold it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// The bytes whose hash is in the tree.
    pub merkle_leaf: Vec<u8>,
    /// The bytes in the entry bundle or data tile.
    pub stored: Vec<u8>,
}

/// What a log is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogParams {
    /// The first line of every checkpoint.
    pub origin: String,
    /// The format.
    pub format: Format,
    /// The first entry, index 0. The log writes it by itself, because some clients take index 0 for "none".
    pub genesis: Leaf,
}

impl Format {
    /// What the tiles with entries are called.
    #[must_use]
    pub const fn entries(self) -> TileKind {
        match self {
            Self::Rekor => TileKind::Entries,
            Self::StaticCt => TileKind::Data,
        }
    }

    /// Checks that a leaf is one of this format and that its two forms agree.
    pub(crate) fn check(self, leaf: &Leaf) -> Result<(), AppendError> {
        let bad = |what: String| Err(AppendError::InvalidLeaf(what));
        let limit = match self {
            Self::Rekor => MAX_ENTRY_BYTES,
            Self::StaticCt => MAX_CT_ENTRY_BYTES,
        };
        if leaf.stored.len() > limit {
            return bad(format!("it has {} bytes, at most {limit} are stored", leaf.stored.len()));
        }
        let agrees = match self {
            Self::Rekor => leaf.stored == leaf.merkle_leaf,
            Self::StaticCt => match TileLeaf::parse(&leaf.stored) {
                Ok((parsed, [])) => parsed.merkle_leaf().is_ok_and(|l| l == leaf.merkle_leaf),
                _ => return bad("it is not one TileLeaf".into()),
            },
        };
        if agrees { Ok(()) } else { bad("its stored form is not that of its Merkle leaf".into()) }
    }

    /// The leaf hash of a stored entry; `None` if it is not one of this format.
    pub(crate) fn leaf_hash(self, stored: &[u8]) -> Option<Hash> {
        match self {
            Self::Rekor => Some(leaf_hash(stored)),
            Self::StaticCt => match TileLeaf::parse(stored) {
                Ok((leaf, [])) => Some(leaf_hash(&leaf.merkle_leaf().ok()?)),
                _ => None,
            },
        }
    }

    /// A leaf that was made for index 0, as it is at another index. Only leaves of static CT say where they are, if they
    /// do; those of [`Self::Rekor`] are the same everywhere.
    pub(crate) fn at_index(self, leaf: Leaf, index: u64) -> Leaf {
        if self != Self::StaticCt {
            return leaf;
        }
        let moved = || {
            let (mut parsed, _) = TileLeaf::parse(&leaf.stored).ok()?;
            if parsed.extensions != leaf_index_extension(0).ok()? {
                return None;
            }
            parsed.extensions = leaf_index_extension(index).ok()?.to_vec();
            Some(Leaf { merkle_leaf: parsed.merkle_leaf().ok()?, stored: parsed.encode().ok()? })
        };
        moved().unwrap_or(leaf)
    }

    /// Adds an entry to a bundle. Its length was checked by [`Format::check`].
    pub(crate) fn push(self, bundle: &mut Vec<u8>, stored: &[u8]) -> Result<(), tile::TileError> {
        match self {
            Self::Rekor => tile::push_entry(bundle, stored),
            Self::StaticCt => {
                bundle.extend_from_slice(stored);
                Ok(())
            }
        }
    }

    /// Splits a bundle into its stored entries, without checking their hashes.
    pub(crate) fn split(self, path: TilePath, bundle: &[u8]) -> Result<Vec<&[u8]>, LogError> {
        let corrupt = |reason: String| LogError::corrupt(path, reason);
        match self {
            Self::Rekor => tile::parse_entries(bundle, path.width).map_err(|e| corrupt(e.to_string())),
            Self::StaticCt => {
                let mut rest = bundle;
                let mut entries = Vec::with_capacity(usize::from(path.width));
                for _ in 0..path.width {
                    let (_, tail) = TileLeaf::parse(rest).map_err(|e| corrupt(e.to_string()))?;
                    let (entry, _) = rest.split_at(rest.len() - tail.len());
                    entries.push(entry);
                    rest = tail;
                }
                if rest.is_empty() {
                    Ok(entries)
                } else {
                    Err(corrupt("it has more entries than its width".into()))
                }
            }
        }
    }

    /// The kind of signature that a key makes under this log's checkpoints.
    pub(crate) fn signer(self, origin: &str, signer: Arc<dyn Signer>) -> Result<NoteSigner, LogError> {
        let ct = self == Self::StaticCt && signer.public_key().key_type() != KeyType::Ed25519;
        Ok(if ct {
            NoteSigner::new(NoteKind::Rfc6962, origin, signer)?
        } else {
            NoteSigner::rekor_v2(origin, signer)?
        })
    }
}

impl LogParams {
    pub(crate) fn check(&self) -> Result<(), LogError> {
        let printable = |c: char| !c.is_whitespace() && !c.is_control() && c != '+';
        if self.origin.is_empty() || self.origin.len() > 200 || !self.origin.chars().all(printable) {
            return Err(LogError::Params(format!(
                "the origin should be a host name, with a path or without, of at most 200 bytes, found \"{}\"",
                self.origin
            )));
        }
        self.format.check(&self.genesis).map_err(|e| LogError::Params(format!("the first entry: {e}")))
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.push(match self.format {
            Format::Rekor => 1,
            Format::StaticCt => 2,
        });
        for part in [self.origin.as_bytes(), &self.genesis.merkle_leaf, &self.genesis.stored] {
            out.extend_from_slice(&(part.len() as u64).to_be_bytes());
            out.extend_from_slice(part);
        }
        let sum = crc32fast::hash(&out);
        out.extend_from_slice(&sum.to_be_bytes());
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, LogError> {
        Self::read(bytes)
            .ok_or_else(|| LogError::corrupt(PARAMS, "it is not a complete file of parameters"))
            .and_then(|params| params.check().map(|()| params))
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (content, sum) = bytes.split_last_chunk::<4>()?;
        if crc32fast::hash(content) != u32::from_be_bytes(*sum) {
            return None;
        }
        let rest = content.strip_prefix(MAGIC)?;
        let (format, mut rest) = rest.split_first()?;
        let format = match format {
            1 => Format::Rekor,
            2 => Format::StaticCt,
            _ => return None,
        };
        let mut part = || {
            let (len, tail) = rest.split_first_chunk::<8>()?;
            let (part, tail) = tail.split_at_checked(usize::try_from(u64::from_be_bytes(*len)).ok()?)?;
            rest = tail;
            Some(part.to_vec())
        };
        let (origin, merkle_leaf, stored) = (part()?, part()?, part()?);
        let origin = String::from_utf8(origin).ok()?;
        rest.is_empty().then_some(Self { origin, format, genesis: Leaf { merkle_leaf, stored } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params() -> LogParams {
        let genesis = Leaf { merkle_leaf: b"first".to_vec(), stored: b"first".to_vec() };
        LogParams { origin: "log.example/2026".into(), format: Format::Rekor, genesis }
    }

    #[test]
    fn parameters_round_trip_and_every_flipped_bit_is_found() {
        let bytes = params().encode();
        assert_eq!(LogParams::decode(&bytes).unwrap(), params());
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            assert!(LogParams::decode(&bad).is_err(), "byte {at}");
            assert!(LogParams::decode(&bytes[..at]).is_err(), "cut to {at}");
        }
    }

    #[test]
    fn origins_and_first_entries_are_checked() {
        for origin in ["", "a b", "a+b", "a\nb", &"a".repeat(201)] {
            assert!(LogParams { origin: (*origin).into(), ..params() }.check().is_err(), "{origin:?}");
        }
        let other = Leaf { merkle_leaf: b"other".to_vec(), stored: b"first".to_vec() };
        assert!(LogParams { genesis: other.clone(), ..params() }.check().is_err());
        assert!(LogParams { genesis: other, format: Format::StaticCt, ..params() }.check().is_err());
        let long = vec![0; MAX_ENTRY_BYTES + 1];
        assert!(Format::Rekor.check(&Leaf { merkle_leaf: long.clone(), stored: long }).is_err());
    }
}
