//! Looking for something in every log that one trusts: what was not looked at is named, and nothing is called complete then.

use countersign_client::ClientError;
use countersign_client::incident::is_recent;
use countersign_client::log_tree::{AtPlace, LogPlace, LogTree};
use countersign_client::looking::{Hit, hits as hits_of};
use countersign_clock::{Clock as _, SystemClock, Timestamp};
use countersign_http::text::printable;
use countersign_tlog::NoteVerifier;
use countersign_verify::revocation::Revocations;
use serde_json::{Value, json};

use super::{LogArgs, LogReader, Place, or_own_key};
use crate::failure::{Failure, NETWORK, NO_SIGNATURE, REJECTED};
use crate::out::{Terminal, block_on, counted};

/// What was found in each tree, and what was not looked at.
pub(crate) struct Looked<T> {
    pub(crate) found: Vec<T>,
    pub(crate) unseen: Vec<String>,
    /// What does not verify, of logs that are closed: the others were looked at all the same.
    pub(crate) alarms: Vec<String>,
}

impl<T> Looked<T> {
    /// The exit code of who found something, or nothing.
    pub(crate) fn code(&self, is_empty: bool) -> u8 {
        match (self.alarms.is_empty(), self.unseen.is_empty(), is_empty) {
            (false, ..) => REJECTED,
            (true, false, _) => NETWORK,
            (true, true, true) => NO_SIGNATURE,
            (true, true, false) => 0,
        }
    }

    /// Says which logs were not looked at, and why.
    pub(crate) fn say_unseen(&self, terminal: &Terminal) {
        say_alarms(terminal, &self.alarms);
        for unseen in &self.unseen {
            terminal.talk(&printable(&format!("could not be looked at: {unseen}")));
        }
    }
}

/// Says what does not verify.
pub(crate) fn say_alarms(terminal: &Terminal, alarms: &[String]) {
    for alarm in alarms {
        terminal.talk(&printable(&format!("{} ALARM: {alarm}", terminal.no_mark())));
    }
}

/// What a tree has of what is looked for.
pub(crate) struct Logged {
    label: String,
    hits: Vec<Hit>,
    unread: u64,
    size: u64,
    log: Value,
}

impl Logged {
    /// Reads all of a tree.
    pub(crate) async fn read(
        tree: &LogTree<'_>,
        wanted: &Revocations,
        since: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Self, Failure> {
        let (mut hits, mut unread) = (Vec::new(), 0_u64);
        tree.each(|index, body| match hits_of(index, body, wanted, now) {
            Some(found) => hits.extend(found.into_iter().filter(|hit| is_recent(hit, since))),
            None => unread += 1,
        })
        .await?;
        let log = described(tree, "notRead", unread);
        Ok(Self { label: tree.label(), hits, unread, size: tree.checkpoint().size, log })
    }

    /// The entries it is in, each once.
    pub(crate) fn indexes(&self) -> Vec<u64> {
        let mut indexes: Vec<u64> = self.hits.iter().map(|hit| hit.index).collect();
        indexes.dedup();
        indexes
    }

    /// The log, in JSON.
    pub(crate) const fn log(&self) -> &Value {
        &self.log
    }

    /// How much was read and found.
    pub(crate) fn say(&self, terminal: &Terminal) {
        terminal.talk(&printable(&format!(
            "{}: {} of {}; {} of another kind were not read",
            self.label,
            counted(self.hits.len() as u64, "entry", "entries"),
            counted(self.size, "entry", "entries"),
            self.unread
        )));
    }
}

/// What was found, with the name of the log that has it.
pub(crate) fn hits(logged: &[Logged]) -> impl Iterator<Item = (&Hit, &str)> {
    logged.iter().flat_map(|log| log.hits.iter().map(|hit| (hit, &*log.label)))
}

/// Which log it was, how large, and one thing more, in JSON.
pub(crate) fn described(tree: &LogTree<'_>, name: &str, number: u64) -> Value {
    json!({"log": tree.label(), "origin": tree.checkpoint().origin, "url": tree.place(),
        "treeSize": tree.checkpoint().size, (name): number})
}

/// What is said of what a log serves that does not verify.
fn alarm(log: &str, why: &str) -> String {
    format!("{log}: {why}; keep what it serves, it is evidence")
}

/// Where logs are, and how they are read.
enum Source {
    One(Place, NoteVerifier),
    Named(LogPlace),
}

impl LogArgs {
    /// The one log that is given by its key or its directory, else all that the trust root names, or names at this address.
    fn sources(&self) -> Result<Vec<Source>, Failure> {
        let place = self.log.as_deref().map(Place::parse).transpose()?;
        let url = match place {
            _ if self.log_key.is_some() => return self.place().map(|(at, key)| vec![Source::One(at, key)]),
            Some(Place::Directory(_)) => return self.place().map(|(at, key)| vec![Source::One(at, key)]),
            Some(Place::Web(url)) => Some(url),
            None => None,
        };
        let (trust, now) = (self.trust.load(None)?, SystemClock.now());
        let logs = trust.logs(url.as_ref(), now).map_err(|error| match &url {
            Some(_) => or_own_key(error),
            None => error.into(),
        })?;
        let places = LogPlace::of(logs, &trust.logs(None, now)?);
        Ok(places.into_iter().map(Source::Named).collect())
    }

    /// Does something with each tree. One that cannot be reached is named among what was not looked at; when none can, that is the
    /// error. What does not verify is an error at once, and of a log that is closed an alarm: it may be kept by whoever took
    /// its place over, and must not keep anybody from looking at the others.
    pub(crate) fn with_trees<T>(
        &self,
        terminal: &Terminal,
        mut look: impl AsyncFnMut(&LogTree<'_>) -> Result<T, Failure>,
    ) -> Result<Looked<T>, Failure> {
        let http = self.http.http();
        let (witnesses, least) = self.witness.load()?;
        let now = SystemClock.now();
        let sources = self.sources()?;
        block_on(terminal, async {
            let mut looked = Looked { found: Vec::new(), unseen: Vec::new(), alarms: Vec::new() };
            let mut first = None;
            for source in sources {
                let (name, is_closed, opened) = match source {
                    Source::One(place, key) => {
                        let reader = LogReader::new(place.source(&http), key);
                        let reader = reader.witnessed(witnesses.clone(), least, now);
                        let tree = LogTree::of_tiles(reader).await;
                        let at = tree.map(|tree| AtPlace { trees: vec![tree], ..AtPlace::default() });
                        (String::new(), false, at)
                    }
                    Source::Named(log) => {
                        let kind = if log.is_rekor_v1() { " of Rekor v1" } else { "" };
                        let name = format!("the log{kind} at {}", countersign_http::shown(&log.base));
                        (name, log.is_closed, log.trees(&http, (&witnesses, least), now).await)
                    }
                };
                // A closed log may be kept nowhere any more.
                let is_gone = is_closed && matches!(opened, Err(ClientError::NoLog(_)));
                let AtPlace { trees, gone, wrong } = match opened.map_err(Failure::from) {
                    Ok(found) => found,
                    Err(failure) if is_closed && !is_gone && failure.code == REJECTED => {
                        looked.alarms.push(alarm(&format!("{name}, which is closed"), &failure.message));
                        continue;
                    }
                    Err(failure) if is_closed || failure.code == NETWORK => {
                        looked.unseen.push(format!("{name}: {}", failure.message));
                        first.get_or_insert(failure);
                        continue;
                    }
                    Err(failure) => return Err(failure),
                };
                looked.unseen.extend(gone.into_iter().map(|why| format!("{name}: {why}")));
                looked.alarms.extend(wrong.into_iter().map(|why| alarm(&name, &why)));
                for tree in trees {
                    let uncosigned = (tree.tiles().is_none() && least > 0)
                        .then(|| format!("{}: nobody cosigns the checkpoints of Rekor v1", tree.label()));
                    if let Some(why) = uncosigned.or_else(|| tree.too_large()) {
                        looked.unseen.push(why);
                        continue;
                    }
                    match look(&tree).await {
                        Ok(found) => looked.found.push(found),
                        Err(failure) if failure.code == NETWORK => {
                            looked.unseen.push(format!("{}: {}", tree.label(), failure.message));
                            first.get_or_insert(failure);
                        }
                        Err(failure) if is_closed && failure.code == REJECTED => {
                            looked.alarms.push(alarm(&format!("{name}, which is closed"), &failure.message));
                        }
                        Err(failure) => return Err(failure),
                    }
                }
            }
            match first {
                Some(failure) if looked.found.is_empty() && looked.alarms.is_empty() => Err(failure),
                _ => Ok(looked),
            }
        })
    }
}
