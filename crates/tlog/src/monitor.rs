//! Following a log: what a new checkpoint and its entries must be like, given where one stood before. No input, no output,
//! no clock: whoever drives it fetches what it asks for and keeps the [`Standing`] it gives.
//!
//! A step is [`Monitor::step`] with the newest checkpoint, [`Step::entry`] for each entry it [`Step::wants`], and
//! [`Step::finish`]. Only then is anything that was seen worth something: the entries make the tree that was signed, and
//! that tree continues the one before.

use jiff::{SignedDuration, Timestamp};

use crate::note::NoteError;
use crate::tile::TILE_WIDTH;
use crate::{Checkpoint, Hash, Note, NoteKind, NoteVerifier, merkle::Frontier};

/// How far the times of entries may lie behind what was seen before, and before the monitor's own clock: servers that take
/// entries side by side do not order them to the second.
pub const SLACK: SignedDuration = SignedDuration::from_mins(10);

/// What a log must not do. Each is told with what was expected and what was found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Alarm {
    /// A checkpoint that the log did not sign, or that is none.
    #[error("its checkpoint: {0}")]
    Checkpoint(#[from] NoteError),
    /// A checkpoint of another log.
    #[error("its checkpoint: expected the origin {expected}, found {found}")]
    Origin {
        /// The name by which the log is known.
        expected: String,
        /// The name in the checkpoint.
        found: String,
    },
    /// A smaller tree than before.
    #[error("it shrank: expected at least {old} entries, found {new}")]
    Shrunk {
        /// How many it had.
        old: u64,
        /// How many it says it has.
        new: u64,
    },
    /// Two roots for one size.
    #[error(
        "it shows two histories: expected the root of {size} entries that it signed before, found another"
    )]
    Forked {
        /// The size.
        size: u64,
    },
    /// Old entries, read again, that are not what they were.
    #[error("its first {size} entries are not those which made its tree before: {}", at.as_deref().unwrap_or("they were rewritten"))]
    Rewritten {
        /// How many were seen before.
        size: u64,
        /// Which of them, and in which file, where that is known.
        at: Option<String>,
    },
    /// A tree that does not begin with the one before, or entries that do not make it.
    #[error(
        "the tree of {new} entries that it signed is not the one of {old} entries with the entries that it has added: it was \
         rewritten, or shows other entries than it signed"
    )]
    Discontinued {
        /// How many entries were seen before.
        old: u64,
        /// How many it says it has.
        new: u64,
    },
    /// Entries or tiles that the checkpoint promises and nobody gets, or that cannot be read.
    #[error("it does not show what its checkpoint promises: {0}")]
    Withheld(String),
    /// A checkpoint or an entry dated before what was there already.
    #[error("{what} is dated {found}, before {floor}, when what precedes it was there already")]
    BackDated {
        /// The checkpoint, or which entry.
        what: String,
        /// The earliest time it may have.
        floor: Timestamp,
        /// The time it has.
        found: Timestamp,
    },
    /// A checkpoint or an entry dated ahead of the clock.
    #[error("{what} is dated {found}, and now is {now}")]
    FutureDated {
        /// The checkpoint, or which entry.
        what: String,
        /// The time.
        now: Timestamp,
        /// The time it has.
        found: Timestamp,
    },
    /// Fewer witnesses than were demanded.
    #[error("{0}")]
    Unwitnessed(String),
    /// A checkpoint that others were shown, of another history.
    #[error(
        "it showed others another history: their checkpoint of {size} entries is of no tree that it shows here"
    )]
    Equivocated {
        /// The size in it.
        size: u64,
    },
}

impl Alarm {
    /// The stable name.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Checkpoint(_) => "checkpoint",
            Self::Origin { .. } => "origin",
            Self::Shrunk { .. } => "shrunk",
            Self::Forked { .. } => "forked",
            Self::Rewritten { .. } => "rewritten",
            Self::Discontinued { .. } => "discontinued",
            Self::Withheld(_) => "withheld",
            Self::BackDated { .. } => "back_dated",
            Self::FutureDated { .. } => "future_dated",
            Self::Unwitnessed(_) => "unwitnessed",
            Self::Equivocated { .. } => "equivocated",
        }
    }
}

/// Where one stands with a log: the newest checkpoint that was found good, and the right edge of its tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    note: Note,
    checkpoint: Checkpoint,
    tree: Frontier,
    /// The latest time that the log has put on anything.
    latest: Option<Timestamp>,
    /// When this was seen.
    seen: Timestamp,
    /// The bundle of old entries that is read again next.
    again: u64,
}

impl Standing {
    /// The checkpoint as it was signed.
    #[must_use]
    pub const fn note(&self) -> &Note {
        &self.note
    }

    /// What it says.
    #[must_use]
    pub const fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The right edge of its tree.
    #[must_use]
    pub fn peaks(&self) -> &[Hash] {
        self.tree.peaks()
    }

    /// The latest time that the log has put on anything.
    #[must_use]
    pub const fn latest(&self) -> Option<Timestamp> {
        self.latest
    }

    /// When this was seen.
    #[must_use]
    pub const fn seen(&self) -> Timestamp {
        self.seen
    }

    /// Which bundle of 256 old entries is to be read again next, so that in time all of them are: a log may show other old
    /// entries than it signed, and sign nothing.
    #[must_use]
    pub const fn again(&self) -> u64 {
        self.again
    }
}

/// Follows one log.
#[derive(Debug, Clone)]
pub struct Monitor {
    verifier: NoteVerifier,
    origin: Option<String>,
}

impl Monitor {
    /// A log whose checkpoints are signed by this key. They begin with the key's name, but for Rekor v1's, whose origin
    /// is the one in the first checkpoint that is seen.
    #[must_use]
    pub fn new(verifier: NoteVerifier) -> Self {
        let origin = (verifier.kind != NoteKind::RekorV1).then(|| verifier.name.clone());
        Self { verifier, origin }
    }

    /// Who verifies the log's checkpoints.
    #[must_use]
    pub const fn verifier(&self) -> &NoteVerifier {
        &self.verifier
    }

    /// Reads a checkpoint and verifies the log's signature; gives the time too, in kinds of signature that state one.
    ///
    /// # Errors
    /// [`Alarm::Checkpoint`], [`Alarm::Origin`].
    pub fn read(&self, bytes: &[u8]) -> Result<(Note, Checkpoint, Option<Timestamp>), Alarm> {
        let note = Note::parse(bytes)?;
        let time = self.verifier.verify(&note)?.time;
        let checkpoint = Checkpoint::parse(note.text())?;
        match &self.origin {
            Some(expected) if *expected != checkpoint.origin => {
                Err(Alarm::Origin { expected: expected.clone(), found: checkpoint.origin })
            }
            _ => Ok((note, checkpoint, time)),
        }
    }

    /// Takes up where one stood, from what was kept of it: the checkpoint, the right edge, the times, and the
    /// [bundle](Standing::again) that is read again next. All of it is checked again but the times.
    ///
    /// # Errors
    /// As [`Monitor::read`], and [`Alarm::Discontinued`] when the edge is not that of the checkpoint's tree.
    pub fn resume(
        &self,
        note: &[u8],
        peaks: Vec<Hash>,
        (latest, seen): (Option<Timestamp>, Timestamp),
        again: u64,
    ) -> Result<Standing, Alarm> {
        let (note, checkpoint, _) = self.read(note)?;
        let size = checkpoint.size;
        let tree = Frontier::new(size, peaks).filter(|tree| tree.root() == checkpoint.root);
        let tree = tree.ok_or(Alarm::Discontinued { old: size, new: size })?;
        let again = within(again, size);
        Ok(Standing { note, checkpoint, tree, latest, seen, again })
    }

    /// Begins a step with the newest checkpoint. With `again`, all old entries are to be read again too.
    ///
    /// # Errors
    /// [`Alarm`], when the checkpoint alone is enough for one.
    pub fn step(
        &self,
        standing: Option<&Standing>,
        bytes: &[u8],
        again: bool,
        now: Timestamp,
    ) -> Result<Step, Alarm> {
        let (note, checkpoint, time) = self.read(bytes)?;
        let what = || "the checkpoint".to_owned();
        if let Some(found) = time.filter(|time| *time > later(now, SLACK)) {
            return Err(Alarm::FutureDated { what: what(), now, found });
        }
        let (mut tree, mut floor) = (Frontier::default(), None);
        if let Some(old) = standing {
            let (expected, new) = (&old.checkpoint, checkpoint.size);
            if expected.origin != checkpoint.origin {
                let (expected, found) = (expected.origin.clone(), checkpoint.origin);
                return Err(Alarm::Origin { expected, found });
            }
            if new < expected.size {
                return Err(Alarm::Shrunk { old: expected.size, new });
            }
            if new == expected.size && checkpoint.root != expected.root {
                return Err(Alarm::Forked { size: new });
            }
            if let (Some(found), Some(floor)) = (time, old.latest)
                && found < floor
            {
                return Err(Alarm::BackDated { what: what(), floor, found });
            }
            if !again {
                tree = old.tree.clone();
            }
            // What is not in the tree that was seen came after it was seen.
            floor = Some(earlier(old.latest.map_or(old.seen, |latest| latest.max(old.seen)), SLACK));
        }
        let next = standing.map_or(0, |old| within(old.again + 1, old.checkpoint.size));
        let old = standing.map(|old| (old.checkpoint.size, old.checkpoint.root));
        let latest = time.max(standing.and_then(|old| old.latest));
        Ok(Step { note, checkpoint, tree, old, floor, latest, now, next })
    }
}

/// The bundle of this number, or the first where a tree has not so many.
const fn within(number: u64, size: u64) -> u64 {
    if number < size.div_ceil(TILE_WIDTH as u64) { number } else { 0 }
}

fn later(time: Timestamp, by: SignedDuration) -> Timestamp {
    time.checked_add(by).unwrap_or(Timestamp::MAX)
}

fn earlier(time: Timestamp, by: SignedDuration) -> Timestamp {
    time.checked_sub(by).unwrap_or(Timestamp::MIN)
}

/// A step that is being taken.
#[derive(Debug, Clone)]
pub struct Step {
    note: Note,
    checkpoint: Checkpoint,
    tree: Frontier,
    old: Option<(u64, Hash)>,
    floor: Option<Timestamp>,
    latest: Option<Timestamp>,
    now: Timestamp,
    /// The bundle of old entries that is read again after this step.
    next: u64,
}

impl Step {
    /// The new checkpoint. It is signed; whether it counts is not known before the step is finished.
    #[must_use]
    pub const fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The same as it was signed.
    #[must_use]
    pub const fn note(&self) -> &Note {
        &self.note
    }

    /// The index of the entry that is wanted next; `None` when all are there.
    #[must_use]
    pub fn wants(&self) -> Option<u64> {
        (self.tree.size() < self.checkpoint.size).then(|| self.tree.size())
    }

    /// Begins with what is there now instead of the first entry: the right edge of the checkpoint's tree. Only for whoever
    /// did not stand anywhere before, and who is not shown what precedes.
    pub fn begin_here(&mut self, edge: Frontier) {
        if self.old.is_none() {
            self.tree = edge;
        }
    }

    /// Takes the entry that was wanted: the hash of its leaf, and when the log says it took it in, if it says so.
    ///
    /// # Errors
    /// [`Alarm::Rewritten`], [`Alarm::BackDated`], [`Alarm::FutureDated`], [`Alarm::Withheld`] for more than was wanted.
    pub fn entry(&mut self, leaf: Hash, time: Option<Timestamp>) -> Result<(), Alarm> {
        let index = self.wants().ok_or_else(|| Alarm::Withheld("it gave more entries than it has".into()))?;
        let what = || format!("the entry {index}");
        let is_old = self.old.is_some_and(|(size, _)| index < size);
        if let Some(found) = time.filter(|_| !is_old) {
            if found > later(self.now, SLACK) {
                return Err(Alarm::FutureDated { what: what(), now: self.now, found });
            }
            if let Some(floor) = self.floor.filter(|floor| found < *floor) {
                return Err(Alarm::BackDated { what: what(), floor, found });
            }
            self.floor = self.floor.max(Some(earlier(found, SLACK)));
            self.latest = self.latest.max(Some(found));
        }
        self.tree.push(leaf);
        match self.old {
            Some((size, root)) if self.tree.size() == size && self.tree.root() != root => {
                Err(Alarm::Rewritten { size, at: None })
            }
            _ => Ok(()),
        }
    }

    /// Ends the step: the entries make the tree that was signed, and it continues the one before.
    ///
    /// # Errors
    /// [`Alarm::Discontinued`], [`Alarm::Withheld`] when entries are missing.
    pub fn finish(self) -> Result<Standing, Alarm> {
        if let Some(index) = self.wants() {
            return Err(Alarm::Withheld(format!("the entry {index} and what follows it")));
        }
        let Self { note, checkpoint, tree, old, latest, now, next, .. } = self;
        if tree.size() != checkpoint.size || tree.root() != checkpoint.root {
            let old = old.map_or(0, |(size, _)| size);
            return Err(Alarm::Discontinued { old, new: checkpoint.size });
        }
        Ok(Standing { note, checkpoint, tree, latest, seen: now, again: next })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use countersign_crypto::{KeyPair, KeyType};

    use super::*;
    use crate::NoteSigner;
    use crate::merkle::leaf_hash;

    fn now() -> Timestamp {
        Timestamp::from_second(1_700_000_000).unwrap()
    }

    struct Log {
        signer: NoteSigner,
        leaves: Vec<Hash>,
    }

    impl Log {
        fn new(kind: NoteKind, key: KeyType) -> Self {
            let key = Arc::new(KeyPair::generate(key).unwrap());
            let signer = NoteSigner::new(kind, "log.test", key).unwrap();
            Self { signer, leaves: (0..50_u8).map(|i| leaf_hash(&[i])).collect() }
        }

        fn note(&self, origin: &str, size: usize, time: Timestamp) -> Vec<u8> {
            let mut tree = Frontier::default();
            self.leaves[..size].iter().for_each(|leaf| tree.push(*leaf));
            let checkpoint = Checkpoint {
                origin: origin.into(),
                size: size as u64,
                root: tree.root(),
                extensions: vec![],
            };
            let time = u64::try_from(time.as_millisecond()).unwrap();
            checkpoint.sign(std::slice::from_ref(&self.signer), time).unwrap().to_string().into_bytes()
        }

        fn monitor(&self) -> Monitor {
            Monitor::new(self.signer.verifier().clone())
        }

        fn take(&self, step: Result<Step, Alarm>, time: Option<Timestamp>) -> Result<Standing, Alarm> {
            let mut step = step?;
            while let Some(index) = step.wants() {
                step.entry(self.leaves[usize::try_from(index).unwrap()], time)?;
            }
            step.finish()
        }
    }

    #[test]
    fn growth_is_followed_and_taken_up_again_from_what_was_kept() {
        let log = Log::new(NoteKind::Ed25519, KeyType::Ed25519);
        let monitor = log.monitor();
        let mut standing: Option<Standing> = None;
        for size in [0, 0, 1, 7, 8, 8, 33, 50] {
            for again in [false, true] {
                let note = log.note("log.test", size, now());
                let step = monitor.step(standing.as_ref(), &note, again, now());
                let found = log.take(step, None).unwrap();
                let resumed = monitor
                    .resume(found.note().to_string().as_bytes(), found.peaks().to_vec(), (None, now()), 0)
                    .unwrap();
                assert_eq!(resumed, found);
                standing = Some(found);
            }
        }
        let last = standing.unwrap();
        let note = last.note().to_string();
        assert!(monitor.resume(note.as_bytes(), vec![], (None, now()), 0).is_err());
        let mut peaks = last.peaks().to_vec();
        peaks[0][0] ^= 1;
        assert!(matches!(
            monitor.resume(note.as_bytes(), peaks, (None, now()), 0),
            Err(Alarm::Discontinued { .. })
        ));
    }

    #[test]
    fn r22_each_way_of_breaking_a_promise_has_its_alarm() {
        let log = Log::new(NoteKind::Ed25519, KeyType::Ed25519);
        let monitor = log.monitor();
        let stood =
            log.take(monitor.step(None, &log.note("log.test", 20, now()), false, now()), None).unwrap();
        let of = |log: &Log, size, again| {
            let step = monitor.step(Some(&stood), &log.note("log.test", size, now()), again, now());
            log.take(step, None).map(|s| s.checkpoint().size).map_err(|alarm| alarm.code())
        };
        assert_eq!(of(&log, 30, false), Ok(30));
        assert_eq!(of(&log, 19, false), Err("shrunk"));
        let mut other = Log { signer: log.signer.clone(), leaves: log.leaves.clone() };
        other.leaves[3] = leaf_hash(b"another");
        assert_eq!(of(&other, 20, false), Err("forked"));
        assert_eq!(of(&other, 30, false), Err("discontinued"));
        assert_eq!(of(&other, 30, true), Err("rewritten"));
        let strange = Log::new(NoteKind::Ed25519, KeyType::Ed25519);
        assert_eq!(of(&strange, 30, false), Err("checkpoint"));
        let step = monitor.step(Some(&stood), &log.note("log.other", 30, now()), false, now());
        assert_eq!(step.map(drop).map_err(|a| a.code()), Err("origin"));
        let mut step = monitor.step(Some(&stood), &log.note("log.test", 22, now()), false, now()).unwrap();
        step.entry(log.leaves[20], None).unwrap();
        assert_eq!(step.clone().finish().map(drop).map_err(|a| a.code()), Err("withheld"));
        step.entry(log.leaves[20], None).unwrap();
        assert_eq!(step.clone().entry(log.leaves[20], None).map_err(|a| a.code()), Err("withheld"));
        assert_eq!(step.finish().map(drop).map_err(|a| a.code()), Err("discontinued"));
        // Whoever stands somewhere cannot begin elsewhere.
        let mut step = monitor.step(Some(&stood), &other.note("log.test", 30, now()), false, now()).unwrap();
        let mut edge = Frontier::default();
        other.leaves[..30].iter().for_each(|leaf| edge.push(*leaf));
        step.begin_here(edge);
        assert_eq!(step.wants(), Some(20));
    }

    #[test]
    fn r22_what_is_dated_before_what_was_seen_or_ahead_of_the_clock_is_told() {
        let at = |seconds: i64| now().checked_add(SignedDuration::from_secs(seconds)).unwrap();
        // Entries with times, as Rekor v1 has them.
        let log = Log::new(NoteKind::RekorV1, KeyType::EcdsaP256);
        let monitor = log.monitor();
        let step =
            |old: Option<&Standing>, size| monitor.step(old, &log.note("o", size, now()), false, at(0));
        let stood = log.take(step(None, 20), Some(at(-60))).unwrap();
        assert_eq!(stood.latest(), Some(at(-60)));
        let code = |time| log.take(step(Some(&stood), 21), Some(time)).map(drop).map_err(|a| a.code());
        assert_eq!(code(at(0)), Ok(()));
        assert_eq!(code(at(-599)), Ok(()));
        assert_eq!(code(at(-601)), Err("back_dated"));
        assert_eq!(code(at(601)), Err("future_dated"));
        // Two entries of one step, and the first step of all.
        let mut first = step(None, 20).unwrap();
        first.entry(log.leaves[0], Some(at(-10))).unwrap();
        assert!(matches!(first.entry(log.leaves[1], Some(at(-1000))), Err(Alarm::BackDated { .. })));
        // Checkpoints with times, as logs of certificates have them.
        let log = Log::new(NoteKind::Rfc6962, KeyType::EcdsaP256);
        let monitor = log.monitor();
        let step = |old: Option<&Standing>, time| {
            let step = monitor.step(old, &log.note("log.test", 20, time), false, now());
            log.take(step, None)
        };
        let stood = step(None, at(0)).unwrap();
        assert!(step(Some(&stood), at(1)).is_ok());
        assert_eq!(step(Some(&stood), at(-1)).map(drop).map_err(|a| a.code()), Err("back_dated"));
        assert_eq!(step(None, at(601)).map(drop).map_err(|a| a.code()), Err("future_dated"));
    }
}
