//! Tiles (C2SP `tlog-tiles`, `static-ct-api`): paths, hash tiles and entry bundles.
//!
//! A tile holds up to 256 consecutive hashes of one level; level `l` counts subtrees of 256^l leaves. Entry
//! bundles and data tiles hold the entries under the hashes of a level 0 tile.

use std::fmt;

use crate::Hash;
use crate::merkle::node_hash;

/// The number of hashes in a full tile, and of entries in a full bundle.
pub const TILE_WIDTH: u16 = 256;
/// The height of a tile: a full one is a subtree of 2^8 leaves.
pub const TILE_HEIGHT: u8 = 8;
/// The bytes of a full hash tile.
pub const MAX_TILE_BYTES: usize = 256 * 32;
/// The longest entry of an entry bundle, in bytes: its length is written in 16 bits.
pub const MAX_ENTRY_BYTES: usize = u16::MAX as usize;
/// The most bytes of an entry bundle.
pub const MAX_BUNDLE_BYTES: usize = 256 * (2 + MAX_ENTRY_BYTES);
/// The longest path read: level, seven elements of an index, a width.
const MAX_PATH_BYTES: usize = 64;

/// Why a tile or its path was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TileError {
    /// Not the path of a tile.
    #[error("not a tile path: {0}")]
    Path(&'static str),
    /// A hash tile whose length does not fit its width.
    #[error("a tile of width {width} has {expected} bytes, found {found}")]
    Length {
        /// The number of hashes.
        width: u16,
        /// The bytes they take.
        expected: usize,
        /// The bytes found.
        found: usize,
    },
    /// An entry bundle that does not split into entries.
    #[error("malformed entry bundle: {0}")]
    Bundle(&'static str),
    /// An entry too long for a bundle.
    #[error("an entry has at most {MAX_ENTRY_BYTES} bytes, found {found}")]
    EntryTooLong {
        /// The bytes found.
        found: usize,
    },
    /// A tile which is needed and not at hand.
    #[error("the tile {0} is missing")]
    Missing(TilePath),
    /// A node or tile outside the tree.
    #[error("it lies outside the tree of size {size}")]
    OutOfTree {
        /// The tree's size.
        size: u64,
    },
}

/// What a tile holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TileKind {
    /// Hashes of a level, 0 to 63: `tile/<level>/…`.
    Hashes {
        /// The level; 0 has the hashes of leaves.
        level: u8,
    },
    /// Entries of `tlog-tiles`: `tile/entries/…`.
    Entries,
    /// Entries of `static-ct-api`: `tile/data/…`.
    Data,
}

impl TileKind {
    /// The level of hash tiles that has one hash per item of this kind.
    const fn level(self) -> u8 {
        match self {
            Self::Hashes { level } => level,
            Self::Entries | Self::Data => 0,
        }
    }
}

/// The path of a tile.
///
/// ```
/// use countersign_tlog::tile::{TileKind, TilePath};
/// let path = TilePath::parse("tile/0/x001/x234/067.p/5")?;
/// assert_eq!(path, TilePath { kind: TileKind::Hashes { level: 0 }, index: 1_234_067, width: 5 });
/// assert_eq!(path.to_string(), "tile/0/x001/x234/067.p/5");
/// # Ok::<(), countersign_tlog::tile::TileError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TilePath {
    /// What the tile holds.
    pub kind: TileKind,
    /// Which tile of its level, from 0.
    pub index: u64,
    /// How many items it has: 1 to 255 in a partial tile, 256 in a full one.
    pub width: u16,
}

impl TilePath {
    /// The tile of an index as it stands in a tree of some size: full, partial, or not there.
    #[must_use]
    pub fn in_tree(kind: TileKind, index: u64, size: u64) -> Option<Self> {
        let items = items_at_level(kind.level(), size);
        let first = index.checked_mul(u64::from(TILE_WIDTH))?;
        let rest = items.checked_sub(first)?;
        let width = u16::try_from(rest.min(u64::from(TILE_WIDTH))).ok()?;
        (width > 0).then_some(Self { kind, index, width })
    }

    /// Whether the tile is full and will not grow.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.width == TILE_WIDTH
    }

    /// The same tile when it is full.
    #[must_use]
    pub const fn full(self) -> Self {
        Self { width: TILE_WIDTH, ..self }
    }

    /// Reads a path without a leading slash. Exactly one spelling of each tile is accepted.
    ///
    /// # Errors
    /// [`TileError::Path`].
    pub fn parse(path: &str) -> Result<Self, TileError> {
        if path.len() > MAX_PATH_BYTES {
            return Err(TileError::Path("it is too long"));
        }
        let rest = path.strip_prefix("tile/").ok_or(TileError::Path("it does not begin with tile/"))?;
        let (kind, rest) = rest.split_once('/').ok_or(TileError::Path("it has no index"))?;
        let kind = match kind {
            "entries" => TileKind::Entries,
            "data" => TileKind::Data,
            level => TileKind::Hashes {
                level: decimal(level)
                    .filter(|l| *l < 64)
                    .and_then(|l| u8::try_from(l).ok())
                    .ok_or(TileError::Path("the level is not a number from 0 to 63"))?,
            },
        };
        let (index, width) = match rest.split_once(".p/") {
            None => (rest, TILE_WIDTH),
            Some((index, width)) => (
                index,
                decimal(width)
                    .filter(|w| (1..256).contains(w))
                    .and_then(|w| u16::try_from(w).ok())
                    .ok_or(TileError::Path("the width is not a number from 1 to 255"))?,
            ),
        };
        let path = Self { kind, index: parse_index(index)?, width };
        Ok(path)
    }
}

/// How many hashes a tree of some size has on a level: its complete subtrees of 256^level leaves.
#[must_use]
pub fn items_at_level(level: u8, size: u64) -> u64 {
    size.checked_shr(u32::from(level) * u32::from(TILE_HEIGHT)).unwrap_or(0)
}

/// A decimal number of up to three digits without leading zeroes.
fn decimal(text: &str) -> Option<u64> {
    let plain = !text.is_empty() && text.len() <= 3 && text.bytes().all(|b| b.is_ascii_digit());
    (plain && (text == "0" || !text.starts_with('0'))).then(|| text.parse().ok()).flatten()
}

fn parse_index(text: &str) -> Result<u64, TileError> {
    let bad = TileError::Path("the index is not made of three-digit elements, all but the last with an x");
    let mut index = 0_u64;
    let mut elements = text.split('/').peekable();
    let mut first = true;
    while let Some(element) = elements.next() {
        let last = elements.peek().is_none();
        let digits = if last { element } else { element.strip_prefix('x').ok_or(bad.clone())? };
        if digits.len() != 3 || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(bad);
        }
        let value: u64 = digits.parse().map_err(|_| bad.clone())?;
        if first && !last && value == 0 {
            return Err(TileError::Path("the index has leading zeroes"));
        }
        index = index
            .checked_mul(1000)
            .and_then(|i| i.checked_add(value))
            .ok_or(TileError::Path("the index does not fit 64 bits"))?;
        first = false;
    }
    Ok(index)
}

impl fmt::Display for TilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            TileKind::Hashes { level } => write!(f, "tile/{level}/")?,
            TileKind::Entries => f.write_str("tile/entries/")?,
            TileKind::Data => f.write_str("tile/data/")?,
        }
        let mut divisor = 1_u64;
        while self.index / divisor >= 1000 {
            divisor = divisor.saturating_mul(1000);
        }
        while divisor > 1 {
            write!(f, "x{:03}/", self.index / divisor % 1000)?;
            divisor /= 1000;
        }
        write!(f, "{:03}", self.index % 1000)?;
        if self.width < TILE_WIDTH { write!(f, ".p/{}", self.width) } else { Ok(()) }
    }
}

/// Reads the hashes of a tile.
///
/// # Errors
/// [`TileError::Length`] when the bytes are not exactly the width's.
pub fn parse_hashes(bytes: &[u8], width: u16) -> Result<Vec<Hash>, TileError> {
    let expected = usize::from(width) * 32;
    let (hashes, rest) = bytes.as_chunks::<32>();
    if bytes.len() != expected || !rest.is_empty() {
        return Err(TileError::Length { width, expected, found: bytes.len() });
    }
    Ok(hashes.to_vec())
}

/// The root of a complete subtree, from its hashes at some lower level; their number is a power of two.
/// Of no hashes there is no root.
#[must_use]
pub fn subtree_root(hashes: &[Hash]) -> Option<Hash> {
    if !hashes.len().is_power_of_two() {
        return None;
    }
    let mut row = hashes.to_vec();
    while row.len() > 1 {
        let (pairs, _) = row.as_chunks::<2>();
        row = pairs.iter().map(|[left, right]| node_hash(left, right)).collect();
    }
    row.first().copied()
}

/// Adds an entry to an entry bundle: its length in 16 bits, big endian, and its bytes.
///
/// # Errors
/// [`TileError::EntryTooLong`].
pub fn push_entry(bundle: &mut Vec<u8>, entry: &[u8]) -> Result<(), TileError> {
    let len = u16::try_from(entry.len()).map_err(|_| TileError::EntryTooLong { found: entry.len() })?;
    bundle.extend_from_slice(&len.to_be_bytes());
    bundle.extend_from_slice(entry);
    Ok(())
}

/// Splits an entry bundle into its entries, which must be as many as its width.
///
/// ```
/// use countersign_tlog::tile::{parse_entries, push_entry};
/// let mut bundle = Vec::new();
/// push_entry(&mut bundle, b"one")?;
/// push_entry(&mut bundle, b"")?;
/// assert_eq!(parse_entries(&bundle, 2)?, [&b"one"[..], b""]);
/// assert!(parse_entries(&bundle, 3).is_err());
/// # Ok::<(), countersign_tlog::tile::TileError>(())
/// ```
///
/// # Errors
/// [`TileError::Bundle`].
pub fn parse_entries(bundle: &[u8], width: u16) -> Result<Vec<&[u8]>, TileError> {
    let mut entries = Vec::with_capacity(usize::from(width.min(TILE_WIDTH)));
    let mut rest = bundle;
    while !rest.is_empty() {
        if entries.len() == usize::from(width.min(TILE_WIDTH)) {
            return Err(TileError::Bundle("it has more entries than its width"));
        }
        let (len, tail) = rest.split_first_chunk::<2>().ok_or(TileError::Bundle("a length is cut short"))?;
        let (entry, tail) = tail
            .split_at_checked(usize::from(u16::from_be_bytes(*len)))
            .ok_or(TileError::Bundle("an entry is cut short"))?;
        entries.push(entry);
        rest = tail;
    }
    if entries.len() == usize::from(width) {
        Ok(entries)
    } else {
        Err(TileError::Bundle("it has fewer entries than its width"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_have_one_spelling() {
        for (kind, index, width, text) in [
            (TileKind::Hashes { level: 0 }, 0, 256, "tile/0/000"),
            (TileKind::Hashes { level: 63 }, 999, 1, "tile/63/999.p/1"),
            (TileKind::Entries, 1000, 255, "tile/entries/x001/000.p/255"),
            (TileKind::Data, 1_234_067, 256, "tile/data/x001/x234/067"),
            (TileKind::Entries, u64::MAX, 256, "tile/entries/x018/x446/x744/x073/x709/x551/615"),
        ] {
            let path = TilePath { kind, index, width };
            assert_eq!(path.to_string(), text);
            assert_eq!(TilePath::parse(text).unwrap(), path);
        }
        for bad in [
            "",
            "tile/",
            "tile/0",
            "tile/0/",
            "/tile/0/000",
            "tile/00/000",
            "tile/64/000",
            "tile/256/000",
            "tile/-1/000",
            "tile/+1/000",
            "tile/0/0",
            "tile/0/0000",
            "tile/0/x000/001",
            "tile/0/001/002",
            "tile/0/x001",
            "tile/0/x001/",
            "tile/0/x001//001",
            "tile/0/000.p/0",
            "tile/0/000.p/01",
            "tile/0/000.p/256",
            "tile/0/000.p/",
            "tile/0/000.p/1/2",
            "tile/0/000.p",
            "tile/0/../000",
            "tile/0/00a",
            "tile/entries/x018/x446/x744/x073/x709/x551/616",
            "tile/entries/x001/x018/x446/x744/x073/x709/x551/615",
        ] {
            assert!(matches!(TilePath::parse(bad), Err(TileError::Path(_))), "{bad:?}");
        }
    }

    #[test]
    fn the_tiles_of_a_tree_are_those_of_the_specification() {
        // The examples of tlog-tiles, "Partial Tiles": 70,000 leaves and 256 leaves.
        let hashes = |level| TileKind::Hashes { level };
        let width = |kind, index, size| TilePath::in_tree(kind, index, size).map(|p| p.width);
        assert_eq!(width(hashes(0), 272, 70_000), Some(256));
        assert_eq!(width(hashes(0), 273, 70_000), Some(112));
        assert_eq!(width(hashes(0), 274, 70_000), None);
        assert_eq!(width(hashes(1), 0, 70_000), Some(256));
        assert_eq!(width(hashes(1), 1, 70_000), Some(17));
        assert_eq!(width(hashes(2), 0, 70_000), Some(1));
        assert_eq!(width(hashes(3), 0, 70_000), None);
        assert_eq!(width(hashes(0), 0, 256), Some(256));
        assert_eq!(width(hashes(1), 0, 256), Some(1));
        assert_eq!(width(TileKind::Entries, 0, 0), None);
        assert_eq!(width(hashes(63), 0, u64::MAX), None);
        assert_eq!(width(hashes(7), 0, u64::MAX), Some(255));
        assert_eq!(width(hashes(0), u64::MAX, u64::MAX), None);
    }

    #[test]
    fn hash_tiles_have_exactly_their_width() {
        assert_eq!(parse_hashes(&[7; 64], 2).unwrap(), [[7; 32]; 2]);
        for (len, width) in [(64, 1), (64, 3), (63, 2), (65, 2), (0, 1)] {
            assert!(parse_hashes(&vec![0; len], width).is_err());
        }
        assert_eq!(subtree_root(&[[1; 32], [2; 32]]), Some(node_hash(&[1; 32], &[2; 32])));
        assert_eq!(subtree_root(&[[1; 32]; 3]), None);
        assert_eq!(subtree_root(&[]), None);
    }

    #[test]
    fn bundles_that_do_not_split_are_refused() {
        let mut bundle = vec![];
        assert!(push_entry(&mut bundle, &vec![0; MAX_ENTRY_BYTES + 1]).is_err());
        assert!(bundle.is_empty());
        push_entry(&mut bundle, &vec![1; MAX_ENTRY_BYTES]).unwrap();
        push_entry(&mut bundle, b"x").unwrap();
        assert_eq!(parse_entries(&bundle, 2).unwrap().len(), 2);
        for (cut, width) in [(0, 1), (0, 3), (1, 2), (2, 2), (3, 2), (4, 0)] {
            assert!(parse_entries(&bundle[..bundle.len() - cut], width).is_err(), "{cut} {width}");
        }
        let many = vec![0; 2 * 300];
        assert!(parse_entries(&many, 256).is_err());
        assert!(parse_entries(&many, 300).is_err(), "no bundle is wider than 256");
    }

    proptest::proptest! {
        #[test]
        fn paths_round_trip(level in 0_u8..66, index in proptest::num::u64::ANY, shift in 0_u32..64, width in 1_u16..=256) {
            let kind = match level { 64 => TileKind::Entries, 65 => TileKind::Data, level => TileKind::Hashes { level } };
            let path = TilePath { kind, index: index >> shift, width };
            proptest::prop_assert_eq!(TilePath::parse(&path.to_string()).unwrap(), path);
        }
        #[test]
        fn what_is_read_is_written_back(text in "tile/[0-9a-z]{1,3}/[x0-9/]{1,12}(\\.p/[0-9]{1,3})?") {
            if let Ok(path) = TilePath::parse(&text) {
                proptest::prop_assert_eq!(path.to_string(), text);
            }
        }
        #[test]
        fn bundles_round_trip(entries in proptest::collection::vec(proptest::collection::vec(proptest::num::u8::ANY, 0..40), 0..30)) {
            let mut bundle = vec![];
            for entry in &entries {
                push_entry(&mut bundle, entry).unwrap();
            }
            let width = u16::try_from(entries.len()).unwrap();
            proptest::prop_assert_eq!(parse_entries(&bundle, width).unwrap(), entries);
        }
    }
}
