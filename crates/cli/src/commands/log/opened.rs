//! A log of either interface, asked for one thing after another, each verified by the log's keys.

use countersign_client::ClientError;
use countersign_client::log::{LogReader, VerifiedCheckpoint};
use countersign_client::log_tree::LogPlace;
use countersign_client::monitor::{EntryName, RekorV1};
use countersign_clock::{Clock as _, SystemClock};
use countersign_tlog::{Checkpoint, Hash, NoteVerifier};

use super::{Kind, LogArgs, Place, no_place, or_own_key};
use crate::failure::Failure;
use crate::out::{Terminal, block_on};

/// A log that is open.
pub(super) enum Opened<'a> {
    /// One that is kept as tiles.
    Tiles(Box<LogReader<'a>>),
    /// One of Rekor v1, with the keys of its trees.
    RekorV1(RekorV1<'a>, Vec<NoteVerifier>),
}

/// An entry that is in a tree which the log signed.
pub(super) struct Shown {
    /// Its index; of Rekor v1 over all trees.
    pub(super) index: u64,
    /// Its place in its tree.
    pub(super) in_tree: u64,
    /// Its UUID, in Rekor v1.
    pub(super) uuid: Option<String>,
    pub(super) body: Vec<u8>,
    pub(super) proof: Vec<Hash>,
    pub(super) tree: VerifiedCheckpoint,
}

impl LogArgs {
    /// Does something with the log of Rekor v1, or with the one kept as tiles.
    pub(super) fn with_opened<T>(
        &self,
        terminal: &Terminal,
        rekor_v1: bool,
        work: impl AsyncFnOnce(&Opened<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let http = self.http.http();
        let (witnesses, least) = self.witness.load()?;
        let opened = if rekor_v1 {
            if least > 0 {
                return Err(Failure::usage(
                    "nobody cosigns the checkpoints of Rekor v1: leave --witness out",
                ));
            }
            let (base, keys) = self.keys_v1()?;
            Opened::RekorV1(RekorV1::new(&http, base), keys)
        } else {
            let (place, verifier) = self.place()?;
            let reader = LogReader::new(place.source(&http), verifier);
            Opened::Tiles(Box::new(reader.witnessed(witnesses, least, SystemClock.now())))
        };
        block_on(terminal, work(&opened))
    }

    /// Where the log of Rekor v1 is, and the keys of its trees: those that were rotated out are read there too.
    fn keys_v1(&self) -> Result<(url::Url, Vec<NoteVerifier>), Failure> {
        let (place, verifier) = self.place_of(Kind::RekorV1)?;
        let Place::Web(base) = place else { return Err(no_place()) };
        if self.log_key.is_some() {
            return Ok((base, vec![verifier]));
        }
        let all = self.trust.load(None)?.logs(None, SystemClock.now()).map_err(or_own_key)?;
        let places = LogPlace::of(all.clone(), &all);
        let has_it = |place: &LogPlace| place.keys.iter().any(|key| key.key_id == verifier.key_id);
        let keys = places.into_iter().find(|place| place.is_rekor_v1() && has_it(place));
        Ok((base, keys.map_or_else(|| vec![verifier], |place| place.keys)))
    }
}

impl Opened<'_> {
    /// The newest checkpoint. Of Rekor v1 that of the tree with this origin, else that of the one that grows.
    pub(super) async fn newest(&self, origin: Option<&str>) -> Result<VerifiedCheckpoint, ClientError> {
        match self {
            Self::Tiles(reader) => reader.checkpoint().await,
            Self::RekorV1(log, keys) => log.checkpoint_of(origin, keys).await,
        }
    }

    /// Checks a checkpoint kept from before.
    pub(super) fn check(&self, bytes: &[u8]) -> Result<Checkpoint, ClientError> {
        let found = match self {
            Self::Tiles(reader) => reader.check_checkpoint(bytes),
            Self::RekorV1(log, keys) => log.check_checkpoint(bytes, keys),
        };
        Ok(found?.checkpoint)
    }

    /// The proof that a newer tree continues an older one, verified.
    pub(super) async fn consistency(
        &self,
        old: &Checkpoint,
        new: &Checkpoint,
    ) -> Result<Vec<Hash>, ClientError> {
        match self {
            Self::Tiles(reader) => reader.consistency(old, new).await,
            Self::RekorV1(log, _) => log.consistency(old, new).await,
        }
    }

    /// An entry with its proof, verified.
    pub(super) async fn entry(&self, name: &EntryName) -> Result<Shown, ClientError> {
        let (reader, index) = match (self, name) {
            (Self::RekorV1(log, keys), _) => {
                let found = log.entry(name, keys).await?;
                return Ok(Shown {
                    index: found.index,
                    in_tree: found.in_tree,
                    uuid: Some(found.uuid),
                    body: found.body,
                    proof: found.proof,
                    tree: found.tree,
                });
            }
            (Self::Tiles(reader), EntryName::Index(index)) => (reader, *index),
            (Self::Tiles(_), EntryName::Uuid { .. }) => {
                return Err(ClientError::Usage("entries of this log have an index and no UUID".into()));
            }
        };
        let tree = reader.checkpoint().await?;
        let (body, proof) = reader.entry(index, &tree.checkpoint).await?;
        Ok(Shown { index, in_tree: index, uuid: None, body, proof, tree })
    }

    /// Fetches every entry of a tree: they make it.
    pub(super) async fn read_all(&self, tree: &Checkpoint) -> Result<(), ClientError> {
        match self {
            Self::Tiles(reader) => reader.each(tree, |_, _| {}).await,
            Self::RekorV1(log, _) => log.each(tree, |_, _| {}).await,
        }
    }

    /// By what an entry is asked for that has this body and was at this place in its tree.
    pub(super) fn name_of(&self, in_tree: u64, body: &[u8]) -> EntryName {
        match self {
            Self::Tiles(_) => EntryName::Index(in_tree),
            Self::RekorV1(..) => {
                EntryName::Uuid { tree: None, leaf: countersign_tlog::merkle::leaf_hash(body) }
            }
        }
    }
}
