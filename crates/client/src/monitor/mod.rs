//! Following a log over the network or in a directory: fetching what [`Monitor`] asks for, and what shows that a log broke
//! its promises. What could not be fetched is no alarm, and no all-clear: it is an error.

mod again;
mod kept;
mod rekor_v1;

use countersign_clock::Timestamp;
use countersign_tlog::fork::{Compared, ForkEvidence};
use countersign_tlog::merkle::{Frontier, leaf_hash};
use countersign_tlog::monitor::{Alarm, Monitor, Standing, Step};
use countersign_tlog::proof::{self, BuildError};
use countersign_tlog::tile::{self, TileKind, TilePath};
use countersign_tlog::{Checkpoint, Note};

use crate::ClientError;
use crate::log::LogReader;
pub use kept::{Kept, MAX_EVIDENCE, read_evidence};
pub use rekor_v1::{EntryName, EntryV1, RekorV1, Trees};

/// A log that is followed.
#[derive(Debug)]
pub enum Feed<'a> {
    /// One that is kept as tiles (Rekor v2, tlog-tiles).
    Tiles(Box<LogReader<'a>>),
    /// One with the interface of Rekor v1.
    RekorV1(RekorV1<'a>),
}

/// An entry as a log gives it. Nothing in it is proven.
#[derive(Debug, Clone)]
pub struct Entry {
    /// What is hashed.
    pub body: Vec<u8>,
    /// When the log says it took it in, in logs that say so.
    pub time: Option<Timestamp>,
}

impl Feed<'_> {
    /// Where it is, for messages.
    #[must_use]
    pub fn place(&self) -> String {
        match self {
            Self::Tiles(reader) => reader.place(),
            Self::RekorV1(log) => log.place(),
        }
    }

    async fn checkpoint(&self, standing: Option<&Standing>) -> Result<Vec<u8>, ClientError> {
        match self {
            Self::Tiles(reader) => reader.newest().await,
            Self::RekorV1(log) => log.newest(standing.map(|s| s.checkpoint().origin.as_str())).await,
        }
    }

    /// Some entries from this index on, at least one and none beyond the tree.
    async fn entries(&self, first: u64, tree: &Checkpoint) -> Result<Vec<Entry>, ClientError> {
        let reader = match self {
            Self::Tiles(reader) => reader,
            Self::RekorV1(log) => return log.entries(first, tree).await,
        };
        let wanted = TilePath::in_tree(TileKind::Entries, first / 256, tree.size)
            .ok_or_else(|| ClientError::Proof(format!("there is no entry {first}")))?;
        let (path, bytes) = reader.tile(wanted).await?;
        let entries = tile::parse_entries(&bytes, path.width)
            .map_err(|e| ClientError::Proof(format!("{path}: {e}")))?;
        let skipped = usize::try_from(first % 256).unwrap_or_default();
        let taken = usize::from(wanted.width).saturating_sub(skipped);
        let entry = |body: &[u8]| Entry { body: body.to_vec(), time: None };
        Ok(entries.iter().skip(skipped).take(taken).map(|body| entry(body)).collect())
    }

    /// The right edge of a tree.
    async fn edge(&self, tree: &Checkpoint) -> Result<Frontier, ClientError> {
        match self {
            Self::Tiles(reader) => {
                let size = tree.size;
                reader.build(size, |tiles| proof::frontier(tiles, size).map_err(BuildError::Source)).await
            }
            Self::RekorV1(log) => log.edge(tree).await,
        }
    }

    /// Whether the larger of two checkpoints continues the smaller, by the hashes that the log shows.
    async fn compare(
        &self,
        one: (&Note, &Checkpoint),
        other: (&Note, &Checkpoint),
    ) -> Result<Compared, ClientError> {
        match self {
            Self::Tiles(reader) => {
                let compare = |tiles: &proof::TileSet| {
                    ForkEvidence::compare(one, other, tiles).map_err(BuildError::Source)
                };
                reader.build(one.1.size.max(other.1.size), compare).await
            }
            Self::RekorV1(log) => log.compare(one, other).await,
        }
    }
}

/// How a log broke its promises, and what shows it.
#[derive(Debug, Clone)]
pub struct Finding {
    /// What it did.
    pub alarm: Alarm,
    /// The notes it is about: what was signed before, and what is now.
    pub notes: Vec<Note>,
    /// What shows offline that the two contradict each other, where that can be shown.
    pub evidence: Option<ForkEvidence>,
}

/// How a look at a log ended.
#[derive(Debug, Clone)]
pub enum Seen {
    /// It keeps its promises, and this is where one stands.
    Good(Box<Standing>),
    /// It does not.
    Bad(Box<Finding>),
}

/// How it is looked.
#[derive(Debug, Clone, Copy, Default)]
pub struct How {
    /// The first time: begin with the first entry, not with what comes after now.
    pub whole: bool,
    /// Read all old entries again, not one bundle of 256 of them in turn.
    pub again: bool,
}

/// Why a step ended early.
enum Stop {
    Alarm(Alarm),
    Error(ClientError),
}

impl From<Alarm> for Stop {
    fn from(alarm: Alarm) -> Self {
        Self::Alarm(alarm)
    }
}

impl From<ClientError> for Stop {
    fn from(error: ClientError) -> Self {
        match error {
            // It answered, with something else than it promised.
            ClientError::Proof(why) | ClientError::NoLog(why) => Self::Alarm(Alarm::Withheld(why)),
            error @ ClientError::Malformed { .. } => Self::Alarm(Alarm::Withheld(error.to_string())),
            other => Self::Error(other),
        }
    }
}

/// Looks at a log once. `look` is given each new entry, with its index; what it gathers counts only if the log is good.
///
/// # Errors
/// [`ClientError`]: it could not be looked at.
pub async fn poll(
    feed: &Feed<'_>,
    monitor: &Monitor,
    standing: Option<&Standing>,
    how: How,
    now: Timestamp,
    look: impl FnMut(u64, &[u8]) + Send,
) -> Result<Seen, ClientError> {
    let mut newest = None;
    match follow(feed, monitor, standing, how, now, look, &mut newest).await {
        Ok(standing) => Ok(Seen::Good(Box::new(standing))),
        Err(Stop::Error(error)) => Err(error),
        Err(Stop::Alarm(alarm)) => {
            let newest = newest.and_then(|bytes: Vec<u8>| monitor.read(&bytes).ok());
            let old = standing.map(|old| (old.note(), old.checkpoint()));
            let new = newest.as_ref().map(|(note, checkpoint, _)| (note, checkpoint));
            let evidence = match old.zip(new) {
                Some((old, new)) if contradicts(&alarm) => evidence(feed, old, new).await,
                _ => None,
            };
            let notes = old.into_iter().chain(new).map(|(note, _)| note.clone()).collect();
            Ok(Seen::Bad(Box::new(Finding { alarm, notes, evidence })))
        }
    }
}

/// Whether the two notes may contradict each other.
const fn contradicts(alarm: &Alarm) -> bool {
    matches!(
        alarm,
        Alarm::Shrunk { .. } | Alarm::Forked { .. } | Alarm::Rewritten { .. } | Alarm::Discontinued { .. }
    )
}

/// What shows that two notes contradict each other, as far as the log gives it away.
async fn evidence(
    feed: &Feed<'_>,
    old: (&Note, &Checkpoint),
    new: (&Note, &Checkpoint),
) -> Option<ForkEvidence> {
    match feed.compare(old, new).await {
        Ok(Compared::Contradicts(evidence)) => Some(*evidence),
        _ => None,
    }
}

async fn follow(
    feed: &Feed<'_>,
    monitor: &Monitor,
    standing: Option<&Standing>,
    how: How,
    now: Timestamp,
    mut look: impl FnMut(u64, &[u8]) + Send,
    newest: &mut Option<Vec<u8>>,
) -> Result<Standing, Stop> {
    let bytes = newest.insert(feed.checkpoint(standing).await?);
    if let Feed::Tiles(reader) = feed {
        reader.check_witnesses(bytes).map_err(|e| Alarm::Unwitnessed(e.to_string()))?;
    }
    let mut step: Step = monitor.step(standing, bytes, how.again, now)?;
    if standing.is_none() && !how.whole {
        let edge = feed.edge(step.checkpoint()).await?;
        step.begin_here(edge);
    }
    while let Some(first) = step.wants() {
        let entries = feed.entries(first, step.checkpoint()).await?;
        if entries.is_empty() {
            return Err(Alarm::Withheld(format!("the entry {first}")).into());
        }
        for (index, Entry { body, time }) in (first..).zip(entries) {
            match (step.entry(leaf_hash(&body), time), feed) {
                (Err(Alarm::Rewritten { size, .. }), Feed::Tiles(reader)) => {
                    let at = again::where_changed(reader, size, step.checkpoint()).await;
                    return Err(Alarm::Rewritten { size, at }.into());
                }
                (taken, _) => taken?,
            }
            if standing.is_none_or(|old| index >= old.checkpoint().size) {
                look(index, &body);
            }
        }
    }
    let good = step.finish()?;
    if let (Some(old), Feed::Tiles(reader), false) = (standing, feed, how.again)
        && old.checkpoint().size > 0
    {
        let at = again::changed(reader, old.again(), good.checkpoint()).await?;
        if at.is_some() {
            return Err(Alarm::Rewritten { size: old.checkpoint().size, at }.into());
        }
    }
    Ok(good)
}

/// Holds a checkpoint that somebody else was shown against where one stands. Nothing when they are of one history.
///
/// # Errors
/// [`ClientError::Proof`] when it is no checkpoint of this log, or the log does not show enough to compare them;
/// [`ClientError::Http`].
pub async fn compare(
    feed: &Feed<'_>,
    monitor: &Monitor,
    standing: &Standing,
    theirs: &[u8],
) -> Result<Option<Finding>, ClientError> {
    let (note, checkpoint, _) = monitor
        .read(theirs)
        .map_err(|e| ClientError::Proof(format!("it is not a checkpoint of {}: {e}", feed.place())))?;
    let own = (standing.note(), standing.checkpoint());
    if checkpoint.origin != own.1.origin {
        let (expected, found) = (&own.1.origin, &checkpoint.origin);
        return Err(ClientError::Proof(format!("expected a checkpoint of {expected}, found one of {found}")));
    }
    match feed.compare(own, (&note, &checkpoint)).await? {
        Compared::Continues => Ok(None),
        Compared::Contradicts(evidence) => Ok(Some(Finding {
            alarm: Alarm::Equivocated { size: checkpoint.size },
            notes: vec![own.0.clone(), note],
            evidence: Some(*evidence),
        })),
        Compared::NotShown => Err(ClientError::Proof(format!(
            "{} does not show how the checkpoints of {} and {} entries belong together",
            feed.place(),
            own.1.size,
            checkpoint.size
        ))),
    }
}

#[cfg(test)]
mod tests;
