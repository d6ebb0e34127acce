//! Every full tile and bundle of a tree on disk, held against the hashes above it, down from the signed root.

use countersign_tlog::static_ct::TileLeaf;
use countersign_tlog::tile::{self, TILE_WIDTH, TileKind, TilePath};
use countersign_tlog::{Hash, merkle};

use crate::storage::Storage;
use crate::tree::TileTree;
use crate::{Format, LogError};

const WIDTH: usize = TILE_WIDTH as usize;
const HASH: usize = 32;

/// Something that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The file, relative to the log's directory.
    pub path: String,
    /// Where in the file, in bytes, as closely as can be told: the beginning of the damaged hash, entry or record.
    /// `None` when it may be anywhere.
    pub offset: Option<u64>,
    /// What was expected and what was found.
    pub what: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.offset {
            Some(offset) => write!(f, "{} at byte {offset}: {}", self.path, self.what),
            None => write!(f, "{}: {}", self.path, self.what),
        }
    }
}

/// What is done with each entry that is as it was logged.
pub(crate) type Visit<'a> = &'a mut dyn FnMut(u64, &[u8]) -> Option<Finding>;

pub(crate) struct Walk<'a> {
    pub(crate) storage: &'a dyn Storage,
    pub(crate) format: Format,
    pub(crate) size: u64,
    pub(crate) findings: Vec<Finding>,
    /// Files read.
    pub(crate) files: u64,
    /// Called before each file; the walk ends when it says false.
    pub(crate) go_on: &'a mut dyn FnMut() -> bool,
    pub(crate) visit: Visit<'a>,
    pub(crate) stopped: bool,
}

/// The place of an entry in a bundle, and its bytes if they can be told.
type Placed<'b> = (usize, Option<&'b [u8]>);

/// The entries of a bundle as far as they can be told apart.
pub(crate) fn entries(format: Format, bundle: &[u8]) -> Vec<Placed<'_>> {
    let (mut rest, mut found) = (bundle, Vec::new());
    while !rest.is_empty() && found.len() <= WIDTH {
        let at = bundle.len() - rest.len();
        let next = match format {
            Format::StaticCt => TileLeaf::parse(rest).ok().and_then(|(_, tail)| {
                let (entry, _) = rest.split_at_checked(rest.len() - tail.len())?;
                Some((entry, tail))
            }),
            Format::Rekor | Format::RekorV1 => rest
                .split_first_chunk::<2>()
                .and_then(|(len, tail)| tail.split_at_checked(usize::from(u16::from_be_bytes(*len)))),
        };
        let Some((entry, tail)) = next else {
            found.push((at, None));
            break;
        };
        found.push((at, Some(entry)));
        rest = tail;
    }
    found
}

impl Walk<'_> {
    /// Walks down from the hashes of the partial tiles, from level 0.
    pub(crate) fn run(&mut self, edge: &[Vec<Hash>]) {
        for (level, hashes) in (0_u8..).zip(edge).skip(1) {
            let first =
                tile::items_at_level(level, self.size) / u64::from(TILE_WIDTH) * u64::from(TILE_WIDTH);
            for (index, hash) in (first..).zip(hashes) {
                self.tile(level - 1, index, hash);
            }
        }
    }

    pub(crate) fn found(&mut self, path: &str, offset: Option<u64>, what: impl Into<String>) {
        self.findings.push(Finding { path: path.to_owned(), offset, what: what.into() });
    }

    /// A file, or nothing when it cannot be read, which is then a finding.
    pub(crate) fn read(&mut self, path: &str) -> Option<Vec<u8>> {
        self.files += 1;
        match self.storage.read(path) {
            Ok(Some(bytes)) => return Some(bytes),
            Ok(None) => self.found(path, None, "expected the file, found none"),
            Err(error) => self.found(path, None, format!("it cannot be read: {error}")),
        }
        None
    }

    fn tile(&mut self, level: u8, index: u64, expected: &Hash) {
        self.stopped |= !(self.go_on)();
        if self.stopped {
            return;
        }
        let path = TilePath { kind: TileKind::Hashes { level }, index, width: TILE_WIDTH }.to_string();
        let stored = self.read(&path);
        let hashes = stored.as_deref().and_then(|bytes| tile::parse_hashes(bytes, TILE_WIDTH).ok());
        let tile_root = |hashes: &[Hash]| TileTree::from_hashes(hashes).root();
        if let Some(hashes) = &hashes
            && tile_root(hashes).as_ref() == Some(expected)
        {
            return self.below(level, index, hashes);
        }
        // What it should be is made again from what is below it, if that is whole.
        let made: Vec<_> = self.made_below(level, index);
        let right: Vec<Hash> = made
            .iter()
            .enumerate()
            .filter_map(|(place, made)| made.or_else(|| hashes.as_ref()?.get(place).copied()))
            .collect();
        if right.len() != WIDTH || tile_root(&right).as_ref() != Some(expected) {
            if stored.is_some() {
                let what =
                    "its hashes are not those of the signed tree, and what is below it is damaged as well";
                self.found(&path, None, what);
            }
            return self.below(level, index, &hashes.unwrap_or_default());
        }
        match (&hashes, &stored) {
            (Some(hashes), _) => {
                for (place, (hash, right)) in hashes.iter().zip(&right).enumerate() {
                    if hash != right {
                        let what = format!("hash {place} is not that of the signed tree");
                        self.found(&path, Some((place * HASH) as u64), what);
                    }
                }
            }
            (None, Some(bytes)) => {
                let what = format!("expected {} bytes, found {}", WIDTH * HASH, bytes.len());
                self.found(&path, Some(bytes.len().min(WIDTH * HASH) as u64), what);
            }
            // That it is missing was found already.
            (None, None) => {}
        }
        self.below(level, index, &right);
    }

    fn below(&mut self, level: u8, index: u64, hashes: &[Hash]) {
        match level.checked_sub(1) {
            Some(level) => {
                for (child, hash) in (index * u64::from(TILE_WIDTH)..).zip(hashes) {
                    self.tile(level, child, hash);
                }
            }
            None => self.bundle(index, hashes),
        }
    }

    /// The hashes of a tile as what is below it makes them.
    fn made_below(&self, level: u8, index: u64) -> Vec<Option<Hash>> {
        let read = |path: TilePath| self.storage.read(&path.to_string()).ok().flatten();
        match level.checked_sub(1) {
            Some(level) => (0..u64::from(TILE_WIDTH))
                .map(|place| {
                    let index = index * u64::from(TILE_WIDTH) + place;
                    let bytes =
                        read(TilePath { kind: TileKind::Hashes { level }, index, width: TILE_WIDTH })?;
                    TileTree::from_hashes(&tile::parse_hashes(&bytes, TILE_WIDTH).ok()?).root()
                })
                .collect(),
            None => {
                let path = TilePath { kind: self.format.entries(), index, width: TILE_WIDTH };
                let bundle = read(path).unwrap_or_default();
                let mut made: Vec<_> = entries(self.format, &bundle)
                    .iter()
                    .map(|(_, entry)| self.format.leaf_hash((*entry)?))
                    .collect();
                made.resize(WIDTH, None);
                made
            }
        }
    }

    fn bundle(&mut self, index: u64, hashes: &[Hash]) {
        let path = TilePath { kind: self.format.entries(), index, width: TILE_WIDTH };
        let Some(bytes) = self.read(&path.to_string()) else { return };
        self.entries_of(&path.to_string(), index, &bytes, hashes);
    }

    /// The entries of a bundle against their hashes: the first that is not right is named.
    pub(crate) fn entries_of(&mut self, path: &str, index: u64, bundle: &[u8], hashes: &[Hash]) {
        let first = index * u64::from(TILE_WIDTH);
        let found = entries(self.format, bundle);
        let mut wrong: Option<(usize, usize, usize)> = None;
        for (place, expected) in hashes.iter().enumerate() {
            let at = found.get(place).map_or(bundle.len(), |(at, _)| *at);
            let entry = found.get(place).and_then(|(_, entry)| *entry);
            match entry.filter(|entry| self.format.leaf_hash(entry).as_ref() == Some(expected)) {
                Some(entry) => {
                    let finding = (self.visit)(first + place as u64, entry);
                    self.findings.extend(finding);
                }
                None => {
                    let (place, at, count) = wrong.unwrap_or((place, at, 0));
                    wrong = Some((place, at, count + 1));
                }
            }
        }
        if let Some((place, at, count)) = wrong {
            let index = first + place as u64;
            let others = if count > 1 { format!(", nor are {} after it", count - 1) } else { String::new() };
            self.found(
                path,
                Some(at as u64),
                format!("entry {index} is not that of the signed tree{others}"),
            );
        } else if let Some((at, _)) = found.get(hashes.len()) {
            self.found(path, Some(*at as u64), "there are bytes after the last entry");
        }
    }
}

/// The hashes of the partial tiles at a size, from a tree that is held in memory.
pub(crate) fn edge_at(tree: &crate::tree::Tree, size: u64) -> Result<Vec<Vec<Hash>>, LogError> {
    let mut edge = Vec::new();
    for level in 0_u8..8 {
        let count = tile::items_at_level(level, size);
        if count == 0 {
            break;
        }
        let width = usize::try_from(count % u64::from(TILE_WIDTH)).unwrap_or_default();
        let hashes = if width == 0 {
            Vec::new()
        } else {
            let tile = tree.tile(level, count / u64::from(TILE_WIDTH))?;
            tile.hashes().get(..width).unwrap_or_default().to_vec()
        };
        edge.push(hashes);
    }
    Ok(edge)
}

/// The root that a tree with these partial tiles has.
pub(crate) fn root_of(edge: &[Vec<Hash>]) -> Hash {
    let mut right: Option<Hash> = None;
    for hashes in edge {
        let tree = TileTree::from_hashes(hashes);
        for peak in tree.peaks().rev() {
            right = Some(right.map_or(*peak, |right| merkle::node_hash(peak, &right)));
        }
    }
    right.unwrap_or_else(merkle::empty_root)
}
