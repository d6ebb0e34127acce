//! What the tests of the log share: a log with known entries, the ledger of what was acknowledged, a small
//! random generator, and a simulated disk.

pub mod database;
pub mod objects;
pub mod postgres;
pub mod s3;
pub mod sim;
pub mod wire;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use countersign_clock::{ManualClock, Timestamp};
use countersign_crypto::{KeyPair, KeyType, Signer, sha256};
use countersign_log::storage::Storage;
use countersign_log::{AppendError, Format, Log, LogError, LogParams, NewEntry, Options, Receipt};
use countersign_tlog::merkle::Frontier;
use countersign_tlog::tile::{self, TileKind, TilePath};
use countersign_tlog::{Checkpoint, Hash, Note, NoteVerifier, merkle};
use tokio::task::JoinSet;

pub const ORIGIN: &str = "log.example";

/// P-256, because it verifies fast in an unoptimised build and these tests verify thousands of checkpoints.
pub static KEY: LazyLock<Arc<KeyPair>> =
    LazyLock::new(|| Arc::new(KeyPair::generate(KeyType::EcdsaP256).unwrap()));

pub fn params() -> LogParams {
    LogParams { origin: ORIGIN.into(), format: Format::Rekor, genesis: b"genesis".to_vec().into() }
}

pub fn options() -> Options {
    Options { linger: std::time::Duration::ZERO, reserve_bytes: 4096, ..Options::default() }
}

pub fn signers() -> Vec<Arc<dyn Signer>> {
    vec![KEY.clone()]
}

pub fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(Timestamp::from_second(1_750_000_000).unwrap()))
}

pub fn open(storage: &Arc<dyn Storage>, options: Options) -> Result<Log, LogError> {
    Log::open_on(storage, options, signers(), clock())
}

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// The entry of a number: its bytes, of some length.
pub fn leaf(number: u64) -> Vec<u8> {
    let mut leaf = format!("entry {number} ").into_bytes();
    leaf.resize(leaf.len() + usize::try_from(number % 40).unwrap(), b'.');
    leaf
}

pub fn entry(number: u64) -> NewEntry {
    let leaf = leaf(number);
    NewEntry { dedup_key: sha256(&leaf), leaf: Box::new(|_| leaf.into()) }
}

/// Appends entries at the same time.
pub async fn append_all(
    log: &Log,
    numbers: std::ops::Range<u64>,
) -> Vec<(u64, Result<Receipt, AppendError>)> {
    let mut tasks = JoinSet::new();
    for number in numbers {
        let log = log.clone();
        tasks.spawn(async move { (number, log.append(entry(number)).await) });
    }
    tasks.join_all().await
}

/// What was acknowledged: whatever happens, it must be in the log.
pub struct Ledger {
    pub entries: Vec<(u64, u64)>,
    pub heads: Vec<(u64, Hash)>,
    checkpoint: Arc<str>,
}

impl Default for Ledger {
    fn default() -> Self {
        Self { entries: Vec::new(), heads: Vec::new(), checkpoint: "".into() }
    }
}

impl Ledger {
    /// Checks a receipt as a client would, and notes it down.
    pub fn acknowledge(&mut self, number: u64, receipt: &Receipt) {
        assert_eq!(&receipt.leaf[..], leaf(number), "the stored bytes are the entry's");
        assert_ne!(receipt.index, 0, "index 0 is the log's own");
        let hash = merkle::leaf_hash(&receipt.leaf);
        merkle::verify_inclusion(&hash, receipt.index, receipt.tree_size, &receipt.proof, &receipt.root)
            .unwrap();
        self.entries.push((number, receipt.index));
        let head = (receipt.tree_size, receipt.root);
        // Entries of one batch share their checkpoint.
        if self.heads.last() != Some(&head) || self.checkpoint != receipt.checkpoint {
            let checkpoint = verified(&receipt.checkpoint);
            assert_eq!((checkpoint.size, checkpoint.root), head);
            self.heads.push(head);
            self.checkpoint = receipt.checkpoint.clone();
        }
    }

    /// Notes down the tree that the log shows now.
    pub fn see(&mut self, log: &Log) {
        let head = log.head();
        self.heads.push((head.size, head.root));
    }

    /// Makes the whole tree anew from the entries in the log, without a proof of the log's: everything acknowledged is
    /// in its place, and every tree seen is a part of this one. Gives the entries.
    pub fn rebuild(&self, log: &Log) -> Vec<Vec<u8>> {
        let head = log.head();
        let (mut frontier, mut entries) = (Frontier::default(), Vec::new());
        let mut roots = HashMap::from([(0, frontier.root())]);
        let wanted: std::collections::HashSet<u64> = self.heads.iter().map(|(size, _)| *size).collect();
        for bundle in 0.. {
            let Some(path) = TilePath::in_tree(TileKind::Entries, bundle, head.size) else { break };
            let bytes = log.read(&path.to_string()).unwrap().unwrap();
            for entry in tile::parse_entries(&bytes, path.width).unwrap() {
                frontier.push(merkle::leaf_hash(entry));
                entries.push(entry.to_vec());
                if wanted.contains(&(entries.len() as u64)) {
                    roots.insert(entries.len() as u64, frontier.root());
                }
            }
        }
        assert_eq!((entries.len() as u64, frontier.root()), (head.size, head.root));
        for (number, index) in &self.entries {
            assert_eq!(entries[usize::try_from(*index).unwrap()], leaf(*number), "entry {number} at {index}");
        }
        for (size, root) in &self.heads {
            assert_eq!(roots.get(size), Some(root), "the tree of {size} is no part of that of {}", head.size);
        }
        entries
    }

    /// Checks that everything acknowledged is in the log, and that its tree continues every tree seen.
    pub fn check(&self, log: &Log) {
        let head = log.head();
        let checkpoint = verified(&head.checkpoint);
        assert_eq!((checkpoint.size, checkpoint.root), (head.size, head.root));
        let mut bundles = HashMap::new();
        for (number, index) in &self.entries {
            let bundle = bundles.entry(index / 256).or_insert_with_key(|bundle| {
                let path = TilePath::in_tree(TileKind::Entries, *bundle, head.size).unwrap();
                let bytes = log.read(&path.to_string()).unwrap().unwrap();
                let entries = tile::parse_entries(&bytes, path.width).unwrap();
                entries.into_iter().map(<[u8]>::to_vec).collect::<Vec<_>>()
            });
            let place = usize::try_from(index % 256).unwrap();
            assert_eq!(bundle[place], leaf(*number), "entry {number} at {index}");
            let proof = log.proof(*index, head.size).unwrap();
            let hash = merkle::leaf_hash(&leaf(*number));
            merkle::verify_inclusion(&hash, *index, head.size, &proof, &head.root).unwrap();
        }
        for (size, root) in &self.heads {
            assert!(*size <= head.size, "the log shrank from {size} to {}", head.size);
            let proof = log.consistency(*size, head.size).unwrap();
            merkle::verify_consistency(*size, root, head.size, &head.root, &proof).unwrap();
        }
    }
}

/// The checkpoint, its signature and origin checked.
pub fn verified(note: &str) -> Checkpoint {
    let verifier = NoteVerifier::rekor_v2(ORIGIN, KEY.public_key().clone()).unwrap();
    let checkpoint = Checkpoint::from_note(&Note::parse(note.as_bytes()).unwrap(), &verifier).unwrap();
    assert_eq!(checkpoint.origin, ORIGIN);
    checkpoint
}

/// A small generator (splitmix64): the same seed gives the same run.
#[derive(Debug)]
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
    pub fn coin(&mut self) -> bool {
        self.next() & 1 == 1
    }
}
