//! A log with the interface of Rekor v1, as it is read: its state, entries by index, proofs of consistency.

mod entry;

use std::collections::BTreeMap;

use countersign_attestation::json::{self, Base64, Bounded};
use countersign_clock::Timestamp;
use countersign_crypto::encoding::hex_decode;
use countersign_http::text::printable;
use countersign_http::{Http, Request, Response, join};
use countersign_tlog::fork::{Compared, ForkEvidence};
use countersign_tlog::merkle::{self, Frontier, ProofError, leaf_hash, node_hash};
use countersign_tlog::proof::{HashSource, Leaves, Node, inclusion};
use countersign_tlog::{Checkpoint, Hash, Note, NoteVerifier};
use futures_util::StreamExt as _;
use serde::Deserialize;
use serde_json::json;
use url::Url;

use super::Entry;
use crate::ClientError;
use crate::log::VerifiedCheckpoint;
use crate::log_tree::Proven;
pub use entry::{EntryName, EntryV1};

/// The most entries that are asked for at once: servers give no more.
const BATCH: u64 = 10;
/// How many such requests are under way when a whole tree is read.
const AT_ONCE: usize = 8;
/// The largest answer, in bytes. Some logs have entries of megabytes.
const MAX_ANSWER: usize = 64 << 20;
/// How often it is tried to see a tree that does not grow meanwhile.
const TRIES: usize = 10;
const SERVICE: &str = "the log";

/// A log with the interface of Rekor v1.
#[derive(Debug)]
pub struct RekorV1<'a> {
    http: &'a Http,
    base: Url,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Info {
    #[serde(rename = "treeID")]
    tree_id: String,
    signed_tree_head: String,
    #[serde(default, deserialize_with = "json::null_is_default")]
    inactive_shards: Shards,
}

type Shards = Bounded<Shard, 1000>;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shard {
    #[serde(rename = "treeID")]
    tree_id: String,
    tree_size: u64,
    signed_tree_head: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Found {
    body: Base64,
    integrated_time: i64,
    log_index: u64,
    verification: Option<Verification>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Verification {
    inclusion_proof: Option<Inclusion>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Inclusion {
    log_index: u64,
    tree_size: u64,
    hashes: Bounded<String, 64>,
    #[serde(default)]
    checkpoint: String,
}

#[derive(Debug, Deserialize)]
struct Consistency {
    hashes: Bounded<String, 128>,
}

/// Which tree an origin such as `rekor.example - 1193050959916656506` names.
fn tree_of(origin: &str) -> Option<&str> {
    origin.rsplit_once(" - ").map(|(_, tree)| tree)
}

fn read<T: serde::de::DeserializeOwned>(response: &Response) -> Result<T, ClientError> {
    json::from_slice(&response.body, MAX_ANSWER).map_err(|e| response.wrong(e).into())
}

fn read_hashes(hashes: &[String]) -> Result<Vec<Hash>, ClientError> {
    let read = |text: &String| hex_decode(text).ok().and_then(|hash| Hash::try_from(hash).ok());
    hashes.iter().map(read).collect::<Option<_>>().ok_or_else(|| {
        ClientError::Proof("expected hashes of 64 hexadecimal digits in a proof, found something else".into())
    })
}

/// A checkpoint that one of these keys signed; else why not.
fn signed(note: String, keys: &[NoteVerifier]) -> Result<VerifiedCheckpoint, String> {
    let parsed = Note::parse(note.as_bytes()).map_err(|e| e.to_string())?;
    let mut why = "there is no key to verify it with".to_owned();
    for key in keys {
        match Checkpoint::from_note(&parsed, key) {
            Ok(checkpoint) => return Ok(VerifiedCheckpoint { note, checkpoint, witnesses: Vec::new() }),
            Err(error) => why = error.to_string(),
        }
    }
    Err(why)
}

/// The trees of a log.
#[derive(Debug, Clone)]
pub struct Trees<'k> {
    /// The checkpoints that are signed by the keys asked for, in the order of the trees.
    pub trees: Vec<VerifiedCheckpoint>,
    /// The keys that have signed none that is there.
    pub without: Vec<&'k NoteVerifier>,
    /// Checkpoints of closed trees that say they are by one of the keys, or are none at all, and what is wrong with each.
    pub wrong: Vec<String>,
}

/// By which of these keys a checkpoint says it is, which is `Some` of nothing for what is no signed note.
fn claimed<'k>(note: &str, keys: &'k [NoteVerifier]) -> Option<Option<&'k NoteVerifier>> {
    let Ok(note) = Note::parse(note.as_bytes()) else { return Some(None) };
    let signs = |key: &&NoteVerifier| note.signatures().iter().any(|line| line.hint == key.hint());
    keys.iter().find(signs).map(Some)
}

/// No hashes: for checkpoints of one size none are needed.
struct Nothing;

impl HashSource for Nothing {
    type Error = ();
    fn node(&self, _: Node) -> Result<Hash, ()> {
        Err(())
    }
}

impl<'a> RekorV1<'a> {
    /// The log at this address.
    #[must_use]
    pub const fn new(http: &'a Http, base: Url) -> Self {
        Self { http, base }
    }

    pub(crate) fn place(&self) -> String {
        countersign_http::shown(&self.base)
    }

    async fn get<T: serde::de::DeserializeOwned>(&self, url: &Url) -> Result<T, ClientError> {
        read(&self.request(url).await?.expect(&[200])?)
    }

    async fn request(&self, url: &Url) -> Result<Response, ClientError> {
        Ok(self.http.send(Request::get(SERVICE, url).limit(MAX_ANSWER)).await?)
    }

    async fn info(&self) -> Result<Info, ClientError> {
        self.get(&join(&self.base, "/api/v1/log")).await
    }

    /// The checkpoint of the tree that grows.
    ///
    /// # Errors
    /// [`ClientError::Proof`] when this key did not sign it, [`ClientError::Http`].
    pub async fn checkpoint(&self, key: &NoteVerifier) -> Result<VerifiedCheckpoint, ClientError> {
        let head = self.info().await?.signed_tree_head;
        signed(head, std::slice::from_ref(key)).map_err(|why| self.wrong_checkpoint(&why))
    }

    /// All its trees that these keys have signed. With `grows`, one of the keys is that of the tree that grows.
    ///
    /// # Errors
    /// [`ClientError::Proof`] when it is not, [`ClientError::Http`].
    pub async fn trees<'k>(&self, keys: &'k [NoteVerifier], grows: bool) -> Result<Trees<'k>, ClientError> {
        let info = self.info().await?;
        let (mut trees, mut wrong, mut accused) = (Vec::new(), Vec::new(), Vec::new());
        for Shard { tree_id, signed_tree_head, .. } in info.inactive_shards.0 {
            let by = claimed(&signed_tree_head, keys);
            match signed(signed_tree_head, keys) {
                Ok(tree) => trees.push(tree),
                Err(why) => {
                    // Of other keys than these it is none of our business.
                    let Some(by) = by else { continue };
                    accused.extend(by);
                    wrong.push(printable(&format!("the checkpoint of its closed tree {tree_id}: {why}")));
                }
            }
        }
        match signed(info.signed_tree_head, keys) {
            Ok(tree) => trees.push(tree),
            Err(why) if grows => return Err(self.wrong_checkpoint(&why)),
            Err(_) => {}
        }
        let has_tree = |key: &NoteVerifier| {
            trees.iter().any(|tree| signed(tree.note.clone(), std::slice::from_ref(key)).is_ok())
        };
        let is_accused = |key: &NoteVerifier| accused.iter().any(|own| own.key_id == key.key_id);
        let without = keys.iter().filter(|key| !has_tree(key) && !is_accused(key)).collect();
        Ok(Trees { trees, without, wrong })
    }

    /// The newest checkpoint of the tree with this origin, also when it has been closed; else of the one that grows.
    ///
    /// # Errors
    /// [`ClientError::Proof`] when none of these keys signed it, or it is not there any more; [`ClientError::Http`].
    pub async fn checkpoint_of(
        &self,
        origin: Option<&str>,
        keys: &[NoteVerifier],
    ) -> Result<VerifiedCheckpoint, ClientError> {
        self.check_checkpoint(&self.newest(origin).await?, keys)
    }

    /// Checks a checkpoint kept from before.
    ///
    /// # Errors
    /// [`ClientError::Proof`].
    pub fn check_checkpoint(
        &self,
        bytes: &[u8],
        keys: &[NoteVerifier],
    ) -> Result<VerifiedCheckpoint, ClientError> {
        let note = String::from_utf8_lossy(bytes).into_owned();
        signed(note, keys).map_err(|why| self.wrong_checkpoint(&why))
    }

    fn wrong_checkpoint(&self, why: &str) -> ClientError {
        let (place, why) = (self.place(), printable(why));
        ClientError::Proof(format!("the checkpoint of the log of Rekor v1 at {place}: {why}"))
    }

    /// Reads all entries of a tree in their order, as [`LogReader::each`](crate::log::LogReader::each) does.
    ///
    /// # Errors
    /// As that does.
    pub async fn each(&self, tree: &Checkpoint, mut look: impl FnMut(u64, &[u8])) -> Result<(), ClientError> {
        let offset = self.offset(tree).await?;
        let batches = (0..tree.size.div_ceil(BATCH)).map(|batch| {
            let first = batch * BATCH;
            self.retrieve(offset.saturating_add(first), tree.size.saturating_sub(first).min(BATCH))
        });
        let mut batches = futures_util::stream::iter(batches).buffered(AT_ONCE);
        let (mut read, mut index) = (Frontier::default(), 0_u64);
        while let Some(found) = batches.next().await {
            let end = tree.size.min(index + BATCH);
            for Found { body, .. } in found? {
                read.push(leaf_hash(&body.0));
                look(index, &body.0);
                index += 1;
            }
            // What comes after a gap is of no use.
            if index < end {
                break;
            }
        }
        if index == tree.size && read.root() == tree.root {
            return Ok(());
        }
        Err(ClientError::Proof(format!(
            "the entries of {} at {} do not make the tree of its checkpoint",
            tree.origin,
            self.place()
        )))
    }

    /// Entries with proofs in this tree, verified. The interface proves entries in the tree of the moment only, so the proofs
    /// are made from all of them.
    pub(crate) async fn prove(&self, tree: &Checkpoint, wanted: &[u64]) -> Result<Vec<Proven>, ClientError> {
        let (mut leaves, mut bodies) = (Vec::new(), Vec::new());
        self.each(tree, |index, body| {
            leaves.push(leaf_hash(body));
            if wanted.contains(&index) {
                bodies.push((index, body.to_vec()));
            }
        })
        .await?;
        let leaves = Leaves(leaves);
        let prove = |(index, body)| {
            let proof =
                inclusion(&leaves, index, tree.size).map_err(|e| ClientError::Proof(e.to_string()))?;
            Ok(Proven { index, body, proof })
        };
        bodies.into_iter().map(prove).collect()
    }

    /// The newest checkpoint of the tree that is followed, also when it has been closed; else of the one that grows.
    pub(super) async fn newest(&self, origin: Option<&str>) -> Result<Vec<u8>, ClientError> {
        let info = self.info().await?;
        let note = match origin.and_then(tree_of) {
            Some(tree) if tree != info.tree_id => {
                let closed = info.inactive_shards.0.into_iter().find(|shard| shard.tree_id == tree);
                let closed = closed.ok_or_else(|| {
                    ClientError::Proof(format!("the tree {tree}, which it had before, is not there any more"))
                })?;
                closed.signed_tree_head
            }
            _ => info.signed_tree_head,
        };
        Ok(note.into_bytes())
    }

    /// How many entries precede a tree's: indexes go through all trees.
    async fn offset(&self, tree: &Checkpoint) -> Result<u64, ClientError> {
        let info = self.info().await?;
        let id = tree_of(&tree.origin)
            .ok_or_else(|| ClientError::Proof(format!("the origin {} names no tree", tree.origin)))?;
        let shards = info.inactive_shards.0;
        let place = shards.iter().position(|shard| shard.tree_id == id).unwrap_or(shards.len());
        shards
            .iter()
            .take(place)
            .try_fold(0_u64, |sum, shard| sum.checked_add(shard.tree_size))
            .ok_or_else(|| ClientError::Proof("it has more entries than can be counted".into()))
    }

    async fn retrieve(&self, first: u64, count: u64) -> Result<Vec<Found>, ClientError> {
        let url = join(&self.base, "/api/v1/log/entries/retrieve");
        let wanted: Vec<u64> = (first..first.saturating_add(count)).collect();
        let body = json!({ "logIndexes": wanted }).to_string().into_bytes();
        let request = Request::post(SERVICE, &url, "application/json", body).limit(MAX_ANSWER);
        let response = self.http.send(request).await?.expect(&[200])?;
        let found: Bounded<BTreeMap<String, Found>, 64> = read(&response)?;
        let mut found: Vec<Found> = found.0.into_iter().flat_map(BTreeMap::into_values).collect();
        found.sort_by_key(|entry| entry.log_index);
        // Those which are missing are left out of the answer; what comes after a gap is of no use.
        let fit = found.iter().zip(wanted).take_while(|(entry, index)| entry.log_index == *index).count();
        found.truncate(fit);
        Ok(found)
    }

    pub(super) async fn entries(&self, first: u64, tree: &Checkpoint) -> Result<Vec<Entry>, ClientError> {
        let count = tree.size.saturating_sub(first).min(BATCH);
        let offset = self.offset(tree).await?;
        let found = self.retrieve(offset.saturating_add(first), count).await?;
        let entry = |found: Found| {
            let time = Timestamp::from_second(found.integrated_time).map_err(|_| {
                ClientError::Proof(format!("the entry {}: it is dated beyond the calendar", found.log_index))
            })?;
            Ok(Entry { body: found.body.0, time: Some(time) })
        };
        found.into_iter().map(entry).collect()
    }

    /// The right edge of a tree, from the proof of its last entry: the hashes beside it up to its own complete subtree, and
    /// then those of the subtrees before that.
    pub(super) async fn edge(&self, tree: &Checkpoint) -> Result<Frontier, ClientError> {
        let Some(last) = tree.size.checked_sub(1) else { return Ok(Frontier::default()) };
        let offset = self.offset(tree).await?;
        for _ in 0..TRIES {
            let Some(found) = self.retrieve(offset.saturating_add(last), 1).await?.pop() else {
                return Err(ClientError::Proof(format!("it does not give the entry {last}")));
            };
            let proof = found.verification.and_then(|v| v.inclusion_proof);
            let proof = proof.ok_or_else(|| ClientError::Proof(format!("no proof of the entry {last}")))?;
            if proof.tree_size != tree.size {
                continue;
            }
            let hashes = read_hashes(&proof.hashes.0)?;
            let within = usize::try_from(tree.size.trailing_zeros()).unwrap_or_default();
            let (beside, before) = hashes.split_at_checked(within).unwrap_or((&hashes, &[]));
            let peak = beside.iter().fold(leaf_hash(&found.body.0), |right, left| node_hash(left, &right));
            let peaks = before.iter().rev().copied().chain([peak]).collect();
            return Frontier::new(tree.size, peaks).ok_or_else(|| {
                ClientError::Proof(format!("the proof of the entry {last} has not the hashes of its tree"))
            });
        }
        Err(ClientError::Usage(format!(
            "{} grows faster than its edge can be seen; begin with its first entry instead (--whole)",
            self.place()
        )))
    }

    /// Whether the larger of two trees continues the smaller. This interface gives no hashes by which others could be shown
    /// that it does not, but for two trees of one size.
    pub(super) async fn compare(
        &self,
        one: (&Note, &Checkpoint),
        other: (&Note, &Checkpoint),
    ) -> Result<Compared, ClientError> {
        if one.1.size == other.1.size {
            return Ok(ForkEvidence::compare(one, other, &Nothing).unwrap_or(Compared::NotShown));
        }
        let (old, new) = if one.1.size < other.1.size { (one.1, other.1) } else { (other.1, one.1) };
        if old.size == 0 {
            return Ok(if old.root == merkle::empty_root() {
                Compared::Continues
            } else {
                Compared::NotShown
            });
        }
        match self.shown(old, new).await? {
            Ok(_) => Ok(Compared::Continues),
            Err(_) => Ok(Compared::NotShown),
        }
    }

    /// The proof that a tree continues a smaller one, or why what the log shows is none.
    async fn shown(
        &self,
        old: &Checkpoint,
        new: &Checkpoint,
    ) -> Result<Result<Vec<Hash>, ProofError>, ClientError> {
        let tree = tree_of(&new.origin).unwrap_or_default();
        let mut url = join(&self.base, "/api/v1/log/proof");
        let (first, last) = (old.size.to_string(), new.size.to_string());
        let query = [("firstSize", &first[..]), ("lastSize", &last[..]), ("treeID", tree)];
        url.query_pairs_mut().extend_pairs(query);
        let proof: Consistency = self.get(&url).await?;
        let proof = read_hashes(&proof.hashes.0)?;
        let verified = merkle::verify_consistency(old.size, &old.root, new.size, &new.root, &proof);
        Ok(verified.map(|()| proof))
    }

    /// The proof that a newer tree continues an older one, verified.
    ///
    /// # Errors
    /// [`ClientError::Proof`] when it is another tree, shrank, forked or it cannot be proven that it did not;
    /// [`ClientError::Http`].
    pub async fn consistency(&self, old: &Checkpoint, new: &Checkpoint) -> Result<Vec<Hash>, ClientError> {
        let evidence = "keep both checkpoints, they are evidence";
        if old.origin != new.origin {
            let (old, new) = (&old.origin, &new.origin);
            return Err(ClientError::Proof(format!("expected a checkpoint of {new}, found one of {old}")));
        }
        let (before, now) = (old.size, new.size);
        if before > now {
            return Err(ClientError::Proof(format!(
                "the log shrank from {before} to {now} entries; {evidence}"
            )));
        }
        // The interface proves nothing of an empty tree, nor of two that are one.
        let proof = match () {
            () if before == 0 || before == now => {
                merkle::verify_consistency(before, &old.root, now, &new.root, &[]).map(|()| Vec::new())
            }
            () => self.shown(old, new).await?,
        };
        proof.map_err(|e| {
            ClientError::Proof(format!(
                "the log with {now} entries does not continue the one with {before}: {e}; {evidence}"
            ))
        })
    }
}
