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

/// The length of the integrated time before an entry of Rekor v1, big-endian.
pub const INTEGRATED_TIME_LEN: usize = 8;

/// The longest body of an entry of Rekor v1, in bytes: it shares an entry bundle's 65,535 with its time.
pub const MAX_V1_BODY_BYTES: usize = MAX_ENTRY_BYTES - INTEGRATED_TIME_LEN;

/// The format of a log's entries, tiles and checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// Rekor v2: C2SP `tlog-tiles`; entries of at most 65,535 bytes are their own Merkle leaves.
    Rekor,
    /// Rekor v1: the stored form is the integrated time, [`INTEGRATED_TIME_LEN`] bytes of Unix seconds, before the
    /// body; the body is the Merkle leaf. The origin is `<host> - <tree id>`, checkpoints are signed under the host.
    RekorV1,
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
            Self::Rekor | Self::RekorV1 => TileKind::Entries,
            Self::StaticCt => TileKind::Data,
        }
    }

    /// Checks that a leaf is one of this format and that its two forms agree.
    pub(crate) fn check(self, leaf: &Leaf) -> Result<(), AppendError> {
        let bad = |what: String| Err(AppendError::InvalidLeaf(what));
        let limit = match self {
            Self::Rekor | Self::RekorV1 => MAX_ENTRY_BYTES,
            Self::StaticCt => MAX_CT_ENTRY_BYTES,
        };
        if leaf.stored.len() > limit {
            return bad(format!("it has {} bytes, at most {limit} are stored", leaf.stored.len()));
        }
        let agrees = match self {
            Self::Rekor => leaf.stored == leaf.merkle_leaf,
            Self::RekorV1 => match Leaf::parts_v1(&leaf.stored) {
                Some((_, body)) => body == leaf.merkle_leaf,
                None => return bad("it has no integrated time".into()),
            },
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
            Self::RekorV1 => Leaf::parts_v1(stored).map(|(_, body)| leaf_hash(body)),
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
            Self::Rekor | Self::RekorV1 => tile::push_entry(bundle, stored),
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
            Self::Rekor | Self::RekorV1 => {
                tile::parse_entries(bundle, path.width).map_err(|e| corrupt(e.to_string()))
            }
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
        if self == Self::RekorV1 {
            let (host, _) = host_and_tree(origin)
                .ok_or_else(|| LogError::Params(format!("\"{origin}\" is no origin of Rekor v1")))?;
            return Ok(NoteSigner::new(NoteKind::RekorV1, host, signer)?);
        }
        let ct = self == Self::StaticCt && signer.public_key().key_type() != KeyType::Ed25519;
        Ok(if ct {
            NoteSigner::new(NoteKind::Rfc6962, origin, signer)?
        } else {
            NoteSigner::rekor_v2(origin, signer)?
        })
    }
}

impl Leaf {
    /// An entry of Rekor v1: its body, and when the log took it in, in seconds since 1970.
    #[must_use]
    pub fn v1(seconds: u64, body: Vec<u8>) -> Self {
        let mut stored = seconds.to_be_bytes().to_vec();
        stored.extend_from_slice(&body);
        Self { merkle_leaf: body, stored }
    }

    /// Integrated time and body of an entry of Rekor v1 as it is stored.
    #[must_use]
    pub fn parts_v1(stored: &[u8]) -> Option<(u64, &[u8])> {
        let (time, body) = stored.split_first_chunk::<INTEGRATED_TIME_LEN>()?;
        Some((u64::from_be_bytes(*time), body))
    }
}

/// Host and tree id in the origin of a log of Rekor v1. The id is an `int64` above zero, in decimal.
pub(crate) fn host_and_tree(origin: &str) -> Option<(&str, u64)> {
    let (host, number) = origin.split_once(" - ")?;
    let id: u64 = number.parse().ok().filter(|id| *id > 0 && *id <= i64::MAX.unsigned_abs())?;
    (id.to_string() == number).then_some((host, id))
}

impl LogParams {
    /// The tree id of a log of Rekor v1; other logs have none.
    #[must_use]
    pub fn tree_id(&self) -> Option<u64> {
        let v1 = self.format == Format::RekorV1;
        host_and_tree(&self.origin).filter(|_| v1).map(|(_, id)| id)
    }

    pub(crate) fn check(&self) -> Result<(), LogError> {
        let printable = |c: char| !c.is_whitespace() && !c.is_control() && c != '+';
        let name = match (self.format, host_and_tree(&self.origin)) {
            (Format::RekorV1, Some((host, _))) => host,
            (Format::RekorV1, None) => {
                return Err(LogError::Params(format!(
                    "the origin of a log of Rekor v1 should be \"<host> - <tree id>\", found \"{}\"",
                    self.origin
                )));
            }
            _ => &self.origin,
        };
        if name.is_empty() || name.len() > 200 || !name.chars().all(printable) {
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
            Format::RekorV1 => 3,
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
            3 => Format::RekorV1,
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
        let genesis = Leaf::v1(7, b"first".to_vec());
        let v1 = LogParams { origin: "log.example - 42".into(), format: Format::RekorV1, genesis };
        assert_eq!(LogParams::decode(&v1.encode()).unwrap(), v1);
        assert_eq!((v1.tree_id(), params().tree_id()), (Some(42), None));
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
        let v1 = |origin: &str, genesis: Leaf| {
            LogParams { origin: origin.into(), format: Format::RekorV1, genesis }.check().is_ok()
        };
        assert!(v1("log.example - 9223372036854775807", Leaf::v1(7, b"body".to_vec())));
        for origin in
            ["log.example", "log.example - 0", "log.example - 9223372036854775808", "a - 07", "a b - 7"]
        {
            assert!(!v1(origin, Leaf::v1(7, b"body".to_vec())), "{origin}");
        }
        for stored in [&b"body"[..], b"\0\0\0\0\0\0\0\x07bodY"] {
            assert!(!v1("a - 7", Leaf { merkle_leaf: b"body".to_vec(), stored: stored.to_vec() }));
        }
        let long = vec![0; MAX_ENTRY_BYTES + 1];
        assert!(Format::Rekor.check(&Leaf { merkle_leaf: long.clone(), stored: long }).is_err());
    }
}
