//! Reading a transparency log kept as tiles (C2SP tlog-tiles), over HTTP or from a directory, and checking what
//! it says: its checkpoint's signature, that an entry is in the tree, that the tree only grew.
//!
//! Nothing read is believed before it is proven against a checkpoint signed by a key of the trust root.

use std::path::{Component, PathBuf};

use countersign_tlog::proof::{self, BuildError, TileSet};
use countersign_tlog::tile::{self, TileError, TileKind, TilePath};
use countersign_tlog::{Checkpoint, Hash, Note, NoteVerifier, Witnesses, merkle};
use jiff::Timestamp;
use url::Url;

use crate::ClientError;
use countersign_http::text::printable;
use countersign_http::{Http, Request, join};

/// The largest checkpoint, in bytes: that of a note.
const MAX_CHECKPOINT: usize = 1 << 20;

/// Where the tiles lie.
#[derive(Debug)]
pub enum LogSource<'a> {
    /// Below an address.
    Web {
        /// How to get there.
        http: &'a Http,
        /// The address the paths are appended to.
        base: Url,
    },
    /// In a directory.
    Directory(PathBuf),
}

/// A log, read through its tiles.
#[derive(Debug)]
pub struct LogReader<'a> {
    source: LogSource<'a>,
    verifier: NoteVerifier,
    origin: Option<String>,
    witnesses: Witnesses,
    least: usize,
    now: Timestamp,
}

/// A checkpoint whose signature was verified.
#[derive(Debug, Clone)]
pub struct VerifiedCheckpoint {
    /// The signed note as the log published it.
    pub note: String,
    /// What it says.
    pub checkpoint: Checkpoint,
    /// The names of the witnesses who cosigned it; none unless they were asked for.
    pub witnesses: Vec<String>,
}

impl<'a> LogReader<'a> {
    /// A log whose checkpoints are signed by this key.
    #[must_use]
    pub fn new(source: LogSource<'a>, verifier: NoteVerifier) -> Self {
        let origin = match verifier.kind {
            countersign_tlog::NoteKind::RekorV1 => None,
            _ => Some(verifier.name.clone()),
        };
        Self { source, verifier, origin, witnesses: Witnesses::default(), least: 0, now: Timestamp::MIN }
    }

    /// Demands that at least so many of these witnesses have cosigned the newest checkpoint, at `now` or before.
    /// Those kept from before need none: the newest one is shown to continue them.
    #[must_use]
    pub fn witnessed(mut self, witnesses: Witnesses, least: usize, now: Timestamp) -> Self {
        self.witnesses = witnesses;
        self.least = least;
        self.now = now;
        self
    }

    /// Where the log is.
    pub(crate) fn source(&self) -> &LogSource<'_> {
        &self.source
    }

    /// Where the log is, for messages.
    #[must_use]
    pub fn place(&self) -> String {
        match &self.source {
            LogSource::Web { base, .. } => countersign_http::shown(base),
            LogSource::Directory(path) => path.display().to_string(),
        }
    }

    /// One file of the log; `None` when there is none of that name.
    async fn fetch(&self, path: &str, limit: usize) -> Result<Option<Vec<u8>>, ClientError> {
        match &self.source {
            LogSource::Web { http, base } => {
                let url = join(base, &format!("/{path}"));
                let response = http.send(Request::get("the log", &url).limit(limit)).await?;
                match response.status {
                    404 | 410 => Ok(None),
                    _ => Ok(Some(response.expect(&[200])?.body)),
                }
            }
            LogSource::Directory(root) => {
                let relative = PathBuf::from(path);
                if !relative.components().all(|c| matches!(c, Component::Normal(_))) {
                    return Err(ClientError::Usage(format!("{path} is not a path in a log")));
                }
                let full = root.join(relative);
                match full.try_exists() {
                    Ok(true) => crate::artifact::read_limited(&full, limit).map(Some),
                    Ok(false) => Ok(None),
                    Err(source) => Err(ClientError::File { path: full, action: "look for", source }),
                }
            }
        }
    }

    /// The newest checkpoint, with its signature and the cosignatures demanded verified.
    ///
    /// # Errors
    /// [`ClientError::Http`], [`ClientError::NoLog`] when there is none, [`ClientError::Proof`] when a signature or the origin
    /// is wrong, or too few witnesses cosigned.
    pub async fn checkpoint(&self) -> Result<VerifiedCheckpoint, ClientError> {
        let bytes = self.newest().await?;
        let mut found = self.check_checkpoint(&bytes)?;
        found.witnesses = self.check_witnesses(&bytes)?;
        Ok(found)
    }

    /// The newest checkpoint as it is served; nothing in it is verified.
    pub(crate) async fn newest(&self) -> Result<Vec<u8>, ClientError> {
        let found = self.fetch("checkpoint", MAX_CHECKPOINT).await?;
        found.ok_or_else(|| ClientError::NoLog(format!("{} has no checkpoint; is it a log?", self.place())))
    }

    /// Who of the witnesses named cosigned, when they are enough.
    pub(crate) fn check_witnesses(&self, note: &[u8]) -> Result<Vec<String>, ClientError> {
        let wrong = |e: &dyn std::fmt::Display| self.wrong_checkpoint(e);
        let note = Note::parse(note).map_err(|e| wrong(&e))?;
        let seen = self.witnesses.cosigners(&note, self.now).map_err(|e| wrong(&e))?;
        if seen.len() < self.least {
            let found = if seen.is_empty() { "none".into() } else { seen.len().to_string() };
            return Err(wrong(&format!(
                "expected cosignatures of at least {} of the witnesses named, found {found}",
                self.least
            )));
        }
        Ok(seen.into_values().collect())
    }

    fn wrong_checkpoint(&self, e: &dyn std::fmt::Display) -> ClientError {
        ClientError::Proof(format!("the checkpoint of {}: {}", self.place(), printable(&e.to_string())))
    }

    /// Checks a checkpoint kept from before.
    ///
    /// # Errors
    /// [`ClientError::Proof`].
    pub fn check_checkpoint(&self, bytes: &[u8]) -> Result<VerifiedCheckpoint, ClientError> {
        let wrong = |e: &dyn std::fmt::Display| self.wrong_checkpoint(e);
        let note = Note::parse(bytes).map_err(|e| wrong(&e))?;
        let checkpoint = Checkpoint::from_note(&note, &self.verifier).map_err(|e| wrong(&e))?;
        if let Some(origin) = self.origin.as_ref().filter(|o| **o != checkpoint.origin) {
            return Err(wrong(&format!("expected the origin {origin}, found {}", checkpoint.origin)));
        }
        let note = String::from_utf8_lossy(bytes).into_owned();
        Ok(VerifiedCheckpoint { note, checkpoint, witnesses: Vec::new() })
    }

    /// A tile as it stands in a tree of some size; a log may have dropped the partial one when it filled.
    pub(crate) async fn tile(&self, wanted: TilePath) -> Result<(TilePath, Vec<u8>), ClientError> {
        let limit = match wanted.kind {
            TileKind::Hashes { .. } => tile::MAX_TILE_BYTES,
            TileKind::Entries | TileKind::Data => tile::MAX_BUNDLE_BYTES,
        };
        for path in [wanted, wanted.full()] {
            if let Some(bytes) = self.fetch(&path.to_string(), limit).await? {
                return Ok((path, bytes));
            }
        }
        Err(ClientError::Proof(format!(
            "{} does not have {wanted}, which its checkpoint promises",
            self.place()
        )))
    }

    /// Fetches what a proof needs until it can be made.
    pub(crate) async fn build<T: Send>(
        &self,
        size: u64,
        make: impl Fn(&TileSet) -> Result<T, BuildError<TileError>> + Send + Sync,
    ) -> Result<T, ClientError> {
        let mut tiles = TileSet::new(size);
        loop {
            match make(&tiles) {
                Ok(proof) => return Ok(proof),
                Err(BuildError::Source(TileError::Missing(path))) => {
                    let (path, bytes) = self.tile(path).await?;
                    tiles.insert(path, &bytes).map_err(|e| ClientError::Proof(format!("{path}: {e}")))?;
                }
                Err(e) => return Err(ClientError::Proof(e.to_string())),
            }
        }
    }

    /// The entry at an index and its inclusion proof, both verified against the checkpoint.
    ///
    /// # Errors
    /// [`ClientError::Proof`] when the log cannot prove it, [`ClientError::Http`].
    pub async fn entry(
        &self,
        index: u64,
        checkpoint: &Checkpoint,
    ) -> Result<(Vec<u8>, Vec<Hash>), ClientError> {
        let size = checkpoint.size;
        let path =
            TilePath::in_tree(TileKind::Entries, index / 256, size).filter(|_| index < size).ok_or_else(
                || ClientError::Proof(format!("there is no entry {index} in a tree of {size} entries")),
            )?;
        let (path, bytes) = self.tile(path).await?;
        let entries = tile::parse_entries(&bytes, path.width)
            .map_err(|e| ClientError::Proof(format!("{path}: {e}")))?;
        let place = usize::try_from(index % 256).unwrap_or(usize::MAX);
        let entry = entries
            .get(place)
            .ok_or_else(|| ClientError::Proof(format!("{path} does not hold the entry {index}")))?
            .to_vec();
        let proof = self.build(size, |tiles| proof::inclusion(tiles, index, size)).await?;
        merkle::verify_inclusion(&merkle::leaf_hash(&entry), index, size, &proof, &checkpoint.root).map_err(
            |e| {
                ClientError::Proof(format!(
                    "the entry {index} of {} is not what its checkpoint covers: {e}",
                    self.place()
                ))
            },
        )?;
        Ok((entry, proof))
    }

    /// Reads all entries in their order, each with its index. Whatever `look` gathered counts only once this has ended
    /// well: then the entries make the tree of the checkpoint, and none was left out.
    ///
    /// # Errors
    /// [`ClientError::Proof`] when they do not, [`ClientError::Http`].
    pub async fn each(
        &self,
        checkpoint: &Checkpoint,
        look: impl FnMut(u64, &[u8]),
    ) -> Result<(), ClientError> {
        self.each_from(0, checkpoint, look).await
    }

    /// Reads the entries from an index on, as [`LogReader::each`] reads all.
    ///
    /// # Errors
    /// As [`LogReader::each`].
    pub async fn each_from(
        &self,
        from: u64,
        checkpoint: &Checkpoint,
        mut look: impl FnMut(u64, &[u8]),
    ) -> Result<(), ClientError> {
        let size = checkpoint.size;
        let first = from.min(size) / u64::from(tile::TILE_WIDTH);
        let mut index = first * u64::from(tile::TILE_WIDTH);
        let before = index;
        // What lies before is known by the roots of its subtrees, which must lead to the checkpoint's root too.
        let mut frontier = self.build(size, |tiles| Ok(proof::frontier(tiles, before)?)).await?;
        let paths = (first..).map_while(|number| TilePath::in_tree(TileKind::Entries, number, size));
        for wanted in paths {
            let (path, bytes) = self.tile(wanted).await?;
            let entries = tile::parse_entries(&bytes, path.width)
                .map_err(|e| ClientError::Proof(format!("{path}: {e}")))?;
            // A full tile may be there where a part of it is wanted.
            for entry in entries.iter().take(usize::from(wanted.width)) {
                frontier.push(merkle::leaf_hash(entry));
                if index >= from {
                    look(index, entry);
                }
                index += 1;
            }
        }
        if index == size && frontier.root() == checkpoint.root {
            return Ok(());
        }
        Err(ClientError::Proof(format!(
            "the entries of {} do not make the tree of its checkpoint",
            self.place()
        )))
    }

    /// The proof that a newer checkpoint continues an older one, verified.
    ///
    /// # Errors
    /// [`ClientError::Proof`] when the log shrank, forked or cannot prove that it did not.
    pub async fn consistency(&self, old: &Checkpoint, new: &Checkpoint) -> Result<Vec<Hash>, ClientError> {
        if old.size > new.size {
            return Err(ClientError::Proof(format!(
                "the log shrank from {} to {} entries; keep both checkpoints, they are evidence",
                old.size, new.size
            )));
        }
        let proof = self.build(new.size, |tiles| proof::consistency(tiles, old.size, new.size)).await?;
        merkle::verify_consistency(old.size, &old.root, new.size, &new.root, &proof).map_err(|e| {
            ClientError::Proof(format!(
                "the log with {} entries does not continue the one with {}: {e}; keep both checkpoints, they are evidence",
                new.size, old.size
            ))
        })?;
        Ok(proof)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use countersign_crypto::{KeyPair, KeyType, Signer};
    use countersign_tlog::proof::{HashSource as _, Leaves, Node};
    use countersign_tlog::{NoteKind, NoteSigner};
    use std::sync::Arc;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    struct Fixture {
        dir: tempfile::TempDir,
        signer: Arc<KeyPair>,
        entries: Vec<Vec<u8>>,
    }

    impl Fixture {
        fn new(count: usize) -> Self {
            let entries = (0..count).map(|i| format!("entry {i}").into_bytes()).collect();
            let fixture = Self {
                dir: tempfile::tempdir().unwrap(),
                signer: Arc::new(KeyPair::generate(KeyType::Ed25519).unwrap()),
                entries,
            };
            fixture.write(count as u64, "log.test");
            fixture
        }

        fn hashes(&self) -> Leaves {
            Leaves(self.entries.iter().map(|e| merkle::leaf_hash(e)).collect())
        }

        fn checkpoint(&self, size: u64, origin: &str) -> String {
            let root = proof::root(&self.hashes(), size).unwrap();
            let checkpoint = Checkpoint { origin: origin.into(), size, root, extensions: vec![] };
            let signer = NoteSigner::rekor_v2("log.test", self.signer.clone()).unwrap();
            checkpoint.sign(&[signer], 0).unwrap().to_string()
        }

        /// The files of a log of this size: level 0, level 1 and the entries.
        fn write(&self, size: u64, origin: &str) {
            let put = |path: TilePath, bytes: Vec<u8>| {
                let full = self.dir.path().join(path.to_string());
                std::fs::create_dir_all(full.parent().unwrap()).unwrap();
                std::fs::write(full, bytes).unwrap();
            };
            let hashes = self.hashes();
            for level in 0..2_u8 {
                for index in 0.. {
                    let Some(path) = TilePath::in_tree(TileKind::Hashes { level }, index, size) else {
                        break;
                    };
                    let first = index * 256;
                    let bytes = (first..first + u64::from(path.width))
                        .flat_map(|i| hashes.node(Node { level: level * 8, index: i }).unwrap())
                        .collect();
                    put(path, bytes);
                }
            }
            for index in 0.. {
                let Some(path) = TilePath::in_tree(TileKind::Entries, index, size) else { break };
                let mut bytes = Vec::new();
                let first = usize::try_from(index * 256).unwrap();
                for entry in &self.entries[first..first + usize::from(path.width)] {
                    tile::push_entry(&mut bytes, entry).unwrap();
                }
                put(path, bytes);
            }
            std::fs::write(self.dir.path().join("checkpoint"), self.checkpoint(size, origin)).unwrap();
        }

        /// Puts a witness's cosignature under the newest checkpoint, made at this time; over another tree if wished.
        fn cosign(&self, witness: &NoteSigner, second: u64, over: Option<u64>) {
            let path = self.dir.path().join("checkpoint");
            let mut note = Note::parse(&std::fs::read(&path).unwrap()).unwrap();
            let text = over.map_or_else(
                || note.text().to_owned(),
                |size| Note::parse(self.checkpoint(size, "log.test").as_bytes()).unwrap().text().to_owned(),
            );
            note.add_signature(witness.sign(&text, second * 1000).unwrap()).unwrap();
            std::fs::write(path, note.to_string()).unwrap();
        }

        fn reader(&self) -> LogReader<'static> {
            let verifier = NoteVerifier::rekor_v2("log.test", self.signer.public_key().clone()).unwrap();
            LogReader::new(LogSource::Directory(self.dir.path().to_owned()), verifier)
        }
    }

    #[tokio::test]
    async fn entries_are_proven_and_the_tree_is_shown_to_have_grown() {
        let log = Fixture::new(300);
        let reader = log.reader();
        let now = reader.checkpoint().await.unwrap().checkpoint;
        for index in [0, 1, 255, 256, 299] {
            let (entry, _) = reader.entry(index, &now).await.unwrap();
            assert_eq!(entry, format!("entry {index}").into_bytes());
        }
        assert_eq!(reader.entry(300, &now).await.unwrap_err().exit_code(), 2);
        for old in [0, 1, 128, 256, 299, 300] {
            let kept = reader.check_checkpoint(log.checkpoint(old, "log.test").as_bytes()).unwrap();
            reader.consistency(&kept.checkpoint, &now).await.unwrap();
        }
    }

    #[tokio::test]
    async fn the_entries_from_an_index_on_must_make_the_tree_with_what_lies_before() {
        let log = Fixture::new(600);
        let reader = log.reader();
        let now = reader.checkpoint().await.unwrap().checkpoint;
        for from in [0, 1, 255, 256, 300, 512, 599, 600, 700] {
            let mut seen = Vec::new();
            reader.each_from(from, &now, |index, _| seen.push(index)).await.unwrap();
            assert_eq!(seen, (from..600).collect::<Vec<_>>());
        }
        let path = log.dir.path().join("tile/entries/001");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[3] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert!(reader.each_from(300, &now, |_, _| ()).await.is_err());
        reader.each_from(512, &now, |_, _| ()).await.unwrap();
    }

    #[tokio::test]
    async fn a_changed_entry_is_not_proven() {
        let log = Fixture::new(10);
        let reader = log.reader();
        let now = reader.checkpoint().await.unwrap().checkpoint;
        let path = log.dir.path().join("tile/entries/000.p/10");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[3] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert!(
            reader.entry(0, &now).await.unwrap_err().to_string().contains("not what its checkpoint covers")
        );
        reader.entry(1, &now).await.unwrap();
    }

    #[tokio::test]
    async fn a_fork_and_a_smaller_log_are_told() {
        let log = Fixture::new(10);
        let reader = log.reader();
        let now = reader.checkpoint().await.unwrap().checkpoint;
        let forked = Checkpoint { root: [9; 32], size: 5, ..now.clone() };
        assert!(
            reader.consistency(&forked, &now).await.unwrap_err().to_string().contains("does not continue")
        );
        let larger = Checkpoint { size: 11, ..now.clone() };
        assert!(reader.consistency(&larger, &now).await.unwrap_err().to_string().contains("shrank"));
    }

    #[tokio::test]
    async fn another_key_or_origin_is_refused() {
        let log = Fixture::new(3);
        let other = Fixture::new(3);
        assert!(other.reader().check_checkpoint(log.checkpoint(3, "log.test").as_bytes()).is_err());
        log.write(3, "other.test");
        assert!(log.reader().checkpoint().await.unwrap_err().to_string().contains("expected the origin"));
    }

    /// Of the witnesses of a test: signers under these names, all of one key.
    fn witnesses(names: &[&str]) -> Vec<NoteSigner> {
        let key = Arc::new(KeyPair::generate(KeyType::Ed25519).unwrap());
        let signer = |name: &&str| NoteSigner::new(NoteKind::CosignatureV1, name, key.clone()).unwrap();
        names.iter().map(signer).collect()
    }

    fn known(signers: &[&NoteSigner]) -> Witnesses {
        let mut all = Witnesses::default();
        for signer in signers {
            all.insert(&signer.verifier().name, signer.verifier().key.clone()).unwrap();
        }
        all
    }

    #[tokio::test]
    async fn witnesses_are_counted_by_key_and_strangers_do_not_count() {
        let log = Fixture::new(10);
        let twice = witnesses(&["a.test", "b.test"]);
        let (other, stranger) = (witnesses(&["c.test"]), witnesses(&["d.test"]));
        let all = known(&[&twice[0], &twice[1], &other[0]]);
        let ask = async |least| {
            let found = log.reader().witnessed(all.clone(), least, NOW).checkpoint().await;
            found.map(|c| c.witnesses.len()).map_err(|e| e.to_string())
        };
        for signer in [&twice[0], &twice[1], &stranger[0]] {
            log.cosign(signer, 0, None);
        }
        assert_eq!(ask(1).await, Ok(1));
        assert!(
            ask(2).await.unwrap_err().contains("expected cosignatures of at least 2"),
            "{:?}",
            ask(2).await
        );
        log.cosign(&other[0], 0, None);
        assert_eq!(ask(2).await, Ok(2));
    }

    #[tokio::test]
    async fn a_cosignature_over_another_checkpoint_or_from_the_future_is_refused() {
        let witness = witnesses(&["a.test"]);
        let all = known(&[&witness[0]]);
        for (second, over) in [(0, Some(9)), (1, None)] {
            let log = Fixture::new(10);
            log.cosign(&witness[0], second, over);
            let error = log.reader().witnessed(all.clone(), 1, NOW).checkpoint().await.unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains("a.test"), "{error}");
        }
    }
}
