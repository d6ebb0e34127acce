//! Reading whole trees, of whatever interface: what is looked for is looked for in every log that one trusts.

use countersign_clock::Timestamp;
use countersign_crypto::encoding::hex_encode;
use countersign_http::{Http, HttpError};
use countersign_tlog::{Checkpoint, Hash, NoteKind, NoteVerifier, Witnesses};
use url::Url;

use crate::ClientError;
use crate::log::{LogReader, LogSource, VerifiedCheckpoint};
use crate::monitor::{Feed, RekorV1, Trees};
use crate::trust::{NamedLog, is_same_server};

/// The most entries of a tree of Rekor v1 that are read: they come ten at a time.
pub const MOST_V1: u64 = 1_000_000;

/// An entry with its proof, verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proven {
    /// Its place in the tree.
    pub index: u64,
    /// What is hashed.
    pub body: Vec<u8>,
    /// What leads from it to the tree's root.
    pub proof: Vec<Hash>,
}

/// A place at which logs are read.
#[derive(Debug)]
pub struct LogPlace {
    /// The address.
    pub base: Url,
    /// Who signs what is read there: the key of a log kept as tiles, or all keys of the trees of a server of Rekor v1.
    pub keys: Vec<NoteVerifier>,
    /// Whether nothing is added there any more.
    pub is_closed: bool,
    /// Whether it may be a log of tiles with an ECDSA key, which a trust root does not tell from one of Rekor v1: no other log
    /// is on the server.
    may_be_tiles: bool,
}

impl LogPlace {
    /// Whether it is read by the interface of Rekor v1.
    #[must_use]
    pub fn is_rekor_v1(&self) -> bool {
        self.keys.iter().any(|key| key.kind == NoteKind::RekorV1)
    }

    /// Where these logs are read. Closed trees of Rekor v1 are read from the server that has their successor: `all` are the
    /// logs among which it is looked for.
    #[must_use]
    pub fn of(logs: Vec<NamedLog>, all: &[NamedLog]) -> Vec<Self> {
        let mut places: Vec<Self> = Vec::new();
        for NamedLog { base, verifier, is_closed, .. } in logs {
            if verifier.kind != NoteKind::RekorV1 {
                places.push(Self { base, keys: vec![verifier], is_closed, may_be_tiles: false });
                continue;
            }
            let serves = |log: &&NamedLog| {
                log.verifier.kind == NoteKind::RekorV1 && !log.is_closed && is_same_server(&log.base, &base)
            };
            let base = all.iter().find(serves).map_or(base.clone(), |log| log.base.clone());
            match places.iter_mut().find(|place| place.is_rekor_v1() && place.base == base) {
                Some(place) => {
                    place.keys.push(verifier);
                    place.is_closed &= is_closed;
                }
                None => {
                    let may_be_tiles = all.iter().filter(|log| is_same_server(&log.base, &base)).count() == 1;
                    places.push(Self { base, keys: vec![verifier], is_closed, may_be_tiles });
                }
            }
        }
        places
    }

    /// The trees that are read there, each with its verified checkpoint. Of a log kept as tiles so many of the witnesses must
    /// have cosigned it, at `now` or before; nobody cosigns those of Rekor v1.
    ///
    /// # Errors
    /// [`ClientError::Proof`] when a checkpoint does not verify, or the tree of Rekor v1 that grows is of another key;
    /// [`ClientError::Http`].
    pub async fn trees<'a>(
        &self,
        http: &'a Http,
        (witnesses, least): (&Witnesses, usize),
        now: Timestamp,
    ) -> Result<AtPlace<'a>, ClientError> {
        let tiles = async |key: &NoteVerifier| {
            let reader = LogReader::new(LogSource::Web { http, base: self.base.clone() }, key.clone());
            let tree = LogTree::of_tiles(reader.witnessed(witnesses.clone(), least, now)).await?;
            Ok(AtPlace { trees: vec![tree], ..AtPlace::default() })
        };
        let log = || RekorV1::new(http, self.base.clone());
        match (self.keys.as_slice(), self.is_rekor_v1()) {
            ([key], false) => tiles(key).await,
            (keys, _) => match log().trees(keys, !self.is_closed).await {
                Err(ClientError::Http(HttpError::Status { status: 404, .. })) if self.may_be_tiles => {
                    let wrong = |e| ClientError::Proof(format!("the log at {}: {e}", self.base));
                    let [key] = keys else { return Ok(AtPlace::default()) };
                    let key = NoteVerifier::rekor_v2(&key.name, key.key.clone()).map_err(wrong)?;
                    tiles(&key).await
                }
                found => {
                    let Trees { trees, without, wrong } = found?;
                    let tree = |found| LogTree { feed: Feed::RekorV1(log()), found };
                    let gone = |key: &NoteVerifier| {
                        format!("no tree there is signed by the key {}", hex_encode(&key.key_id))
                    };
                    let (trees, gone) = (trees.into_iter().map(tree), without.into_iter().map(gone));
                    Ok(AtPlace { trees: trees.collect(), gone: gone.collect(), wrong })
                }
            },
        }
    }
}

/// What is at a place.
#[derive(Debug, Default)]
pub struct AtPlace<'a> {
    /// The trees that are read there.
    pub trees: Vec<LogTree<'a>>,
    /// What is not there any more, in words.
    pub gone: Vec<String>,
    /// What is there and does not verify, in words.
    pub wrong: Vec<String>,
}

/// A tree as its log has signed it.
#[derive(Debug)]
pub struct LogTree<'a> {
    feed: Feed<'a>,
    found: VerifiedCheckpoint,
}

impl<'a> LogTree<'a> {
    /// The newest tree of a log that is kept as tiles.
    ///
    /// # Errors
    /// As [`LogReader::checkpoint`].
    pub async fn of_tiles(reader: LogReader<'a>) -> Result<Self, ClientError> {
        let found = reader.checkpoint().await?;
        Ok(Self { feed: Feed::Tiles(Box::new(reader)), found })
    }

    /// Where it is read.
    #[must_use]
    pub fn place(&self) -> String {
        self.feed.place()
    }

    /// What tells it from the other trees: its address, and of Rekor v1, where one address has several, its origin.
    #[must_use]
    pub fn label(&self) -> String {
        match &self.feed {
            Feed::Tiles(reader) => reader.place(),
            Feed::RekorV1(_) => self.found.checkpoint.origin.clone(),
        }
    }

    /// Its checkpoint, as it was signed.
    #[must_use]
    pub fn note(&self) -> &str {
        &self.found.note
    }

    /// Its checkpoint.
    #[must_use]
    pub const fn checkpoint(&self) -> &Checkpoint {
        &self.found.checkpoint
    }

    /// By what its tiles are read, if it has some.
    #[must_use]
    pub const fn tiles(&self) -> Option<&LogReader<'a>> {
        match &self.feed {
            Feed::Tiles(reader) => Some(reader),
            Feed::RekorV1(_) => None,
        }
    }

    /// Why it is not read, if it has more entries than can be.
    #[must_use]
    pub fn too_large(&self) -> Option<String> {
        let size = self.found.checkpoint.size;
        (self.tiles().is_none() && size > MOST_V1).then(|| {
            format!(
                "{}: it has {size} entries, and comes ten at a time: up to {MOST_V1} are read; next: countersign log monitor \
                 --rekor-v1 --log {} --whole --state DIR --watch-…, which reads all however long it takes",
                self.label(),
                self.place()
            )
        })
    }

    /// Reads all entries in their order, each with its index. What `look` gathered counts only once this has ended well: then
    /// the entries make the tree, and none was left out.
    ///
    /// # Errors
    /// [`ClientError::Proof`] when they do not, [`ClientError::Http`].
    pub async fn each(&self, look: impl FnMut(u64, &[u8])) -> Result<(), ClientError> {
        match &self.feed {
            Feed::Tiles(reader) => reader.each(&self.found.checkpoint, look).await,
            Feed::RekorV1(log) => log.each(&self.found.checkpoint, look).await,
        }
    }

    /// Entries with their proofs, verified: those with these indexes, in their order.
    ///
    /// # Errors
    /// As [`LogTree::each`].
    pub async fn prove(&self, wanted: &[u64]) -> Result<Vec<Proven>, ClientError> {
        let tree = &self.found.checkpoint;
        let reader = match &self.feed {
            _ if wanted.is_empty() => return Ok(Vec::new()),
            Feed::Tiles(reader) => reader,
            Feed::RekorV1(log) => return log.prove(tree, wanted).await,
        };
        let mut proven = Vec::new();
        for &index in wanted {
            let (body, proof) = reader.entry(index, tree).await?;
            proven.push(Proven { index, body, proof });
        }
        Ok(proven)
    }
}
