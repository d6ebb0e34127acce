//! The way of a front end's entries: into the queue, and back as places in the tree.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::follower::Follower;
use super::form;
use crate::index::Key;
use crate::sequencer::{Committed, Message, Pending};
use crate::storage::Distributed;
use crate::storage::database::{Answer, Place, Request, RequestId};
use crate::{AppendError, Leaf, LogError};

/// How long an entry waits for its answer.
const PATIENCE: Duration = Duration::from_secs(28);
/// How soon an unanswered entry is put into the queue again: the database may have lost it with its primary.
const AGAIN: Duration = Duration::from_secs(3);
/// How often answers are asked for when nobody says that there are any.
const ASK: Duration = Duration::from_millis(100);
/// How often the tree is looked at when nothing is waited for.
const LOOK: Duration = Duration::from_secs(1);
/// The most entries, and bytes, put into the queue at once.
const AT_ONCE: usize = 1024;
const BYTES_AT_ONCE: usize = 8 << 20;

/// An entry on its way.
struct Waiting {
    key: Key,
    leaf: Leaf,
    reply: tokio::sync::oneshot::Sender<Result<Committed, AppendError>>,
    since: Instant,
    /// When it was put into the queue last.
    queued: Option<Instant>,
    place: Option<Place>,
}

pub(super) struct Relay {
    storage: Distributed,
    follower: Follower,
    messages: Receiver<Message>,
    /// The most entries on their way; more stay in the channel, which then pushes back.
    most: usize,
    waiting: HashMap<RequestId, Waiting>,
    asked: Instant,
    looked: Instant,
    /// Somebody got an answer, so the tree has grown.
    due: bool,
}

impl Relay {
    pub(super) fn new(
        storage: Distributed,
        follower: Follower,
        messages: Receiver<Message>,
        most: usize,
    ) -> Self {
        Self {
            storage,
            follower,
            messages,
            most,
            waiting: HashMap::new(),
            asked: Instant::now(),
            looked: Instant::now(),
            due: false,
        }
    }

    /// Runs until it is told to stop and nothing waits any more.
    pub(super) fn run(mut self) {
        let (mut stopping, mut away) = (false, false);
        while !stopping || !self.waiting.is_empty() {
            stopping |= self.gather(stopping);
            match self.put().and_then(|()| self.ask()) {
                Ok(()) => away = false,
                Err(error) => {
                    if !std::mem::replace(&mut away, true) {
                        tracing::warn!(%error, "the log's queue is away; it is tried again until it is back");
                    }
                    std::thread::sleep(ASK);
                }
            }
            self.look();
            self.settle();
            self.turn_away();
            self.give_up();
        }
    }

    /// Takes what comes; says whether to stop.
    fn gather(&mut self, stopping: bool) -> bool {
        let mut pause = match (self.waiting.is_empty(), stopping) {
            (true, true) => Duration::ZERO,
            (true, false) => LOOK,
            (false, _) => ASK,
        };
        while self.waiting.len() < self.most {
            match self.messages.recv_timeout(pause) {
                Ok(Message::Append(entry)) => self.take(entry),
                Ok(Message::Wake) => self.due = true,
                Ok(Message::Shutdown) | Err(RecvTimeoutError::Disconnected) => return true,
                Err(RecvTimeoutError::Timeout) => return false,
            }
            pause = Duration::ZERO;
        }
        if self.waiting.len() >= self.most {
            std::thread::sleep(Duration::from_millis(1));
        }
        false
    }

    fn take(&mut self, entry: Pending) {
        let Pending { key, leaf, reply, .. } = entry;
        let format = self.follower.shared().params.format;
        let made = catch_unwind(AssertUnwindSafe(|| leaf(0)))
            .map_err(|_| AppendError::InvalidLeaf("making the leaf failed".into()))
            .and_then(|leaf| format.check(&leaf).map(|()| leaf));
        let leaf = match made {
            Ok(leaf) => leaf,
            Err(error) => return drop(reply.send(Err(error))),
        };
        let mut id = RequestId::default();
        if let Err(error) = countersign_crypto::random(&mut id) {
            return drop(reply.send(Err(AppendError::Unanswered(error.to_string()))));
        }
        let since = Instant::now();
        self.waiting.insert(id, Waiting { key, leaf, reply, since, queued: None, place: None });
    }

    /// Puts into the queue what is not there, or may be no longer.
    fn put(&mut self) -> std::io::Result<()> {
        loop {
            let now = Instant::now();
            let mut requests = Vec::new();
            let mut bytes = 0;
            for (id, entry) in &self.waiting {
                let due = entry.queued.is_none_or(|queued| now.duration_since(queued) > AGAIN);
                if !due || entry.place.is_some() {
                    continue;
                }
                let form = form::encode(&entry.leaf);
                bytes += form.len();
                requests.push(Request { id: *id, key: entry.key, form });
                if requests.len() >= AT_ONCE || bytes >= BYTES_AT_ONCE {
                    break;
                }
            }
            if requests.is_empty() {
                return Ok(());
            }
            self.storage.database().enqueue(self.storage.log(), &requests)?;
            for request in &requests {
                if let Some(entry) = self.waiting.get_mut(&request.id) {
                    entry.queued = Some(now);
                }
            }
        }
    }

    /// Asks for answers.
    fn ask(&mut self) -> std::io::Result<()> {
        let open: Vec<RequestId> =
            self.waiting.iter().filter(|(_, entry)| entry.place.is_none()).map(|(id, _)| *id).collect();
        // When there are answers somebody says so, as a rule.
        if open.is_empty() || !self.due && self.asked.elapsed() < ASK {
            return Ok(());
        }
        self.asked = Instant::now();
        for (id, answer) in self.storage.database().collect(self.storage.log(), &open)? {
            self.answered(id, answer);
        }
        Ok(())
    }

    fn answered(&mut self, id: RequestId, answer: Answer) {
        match answer {
            Ok(place) => {
                if let Some(entry) = self.waiting.get_mut(&id) {
                    entry.place = Some(place);
                }
            }
            Err(error) => {
                if let Some(entry) = self.waiting.remove(&id) {
                    // Who stopped waiting needs no answer.
                    let _ = entry.reply.send(Err(error));
                }
            }
        }
    }

    /// Follows the tree, when there is a reason or it is time.
    fn look(&mut self) {
        let size = self.follower.shared().head().size;
        self.due |= self.waiting.values().any(|entry| entry.place.is_some_and(|place| place.index >= size));
        if !self.due && self.looked.elapsed() < LOOK {
            return;
        }
        self.due = false;
        self.looked = Instant::now();
        if let Err(error) = self.follower.refresh() {
            tracing::warn!(%error, "the log's newest tree cannot be read; trying again");
        }
    }

    /// Tells those whose entries are in the tree that is followed.
    fn settle(&mut self) {
        let head = self.follower.shared().head();
        let ready: Vec<RequestId> = self
            .waiting
            .iter()
            .filter(|(_, entry)| entry.place.is_some_and(|place| place.index < head.size))
            .map(|(id, _)| *id)
            .collect();
        for id in ready {
            let Some((entry, place)) = self.waiting.remove(&id).and_then(|e| e.place.map(|place| (e, place)))
            else {
                continue;
            };
            let stored = if place.duplicate { Ok(None) } else { self.stored(&entry, place) };
            let answer = match stored {
                Ok(stored) => Ok(Committed {
                    index: place.index,
                    stored,
                    head: head.clone(),
                    duplicate: place.duplicate,
                }),
                // It is in the log; who sends it again gets its place.
                Err(error) => Err(AppendError::Unanswered(error.to_string())),
            };
            let _ = entry.reply.send(answer);
        }
    }

    /// The entry as it is in the tree; an error if another is in its place.
    fn stored(&self, entry: &Waiting, place: Place) -> Result<Option<Bytes>, LogError> {
        let format = self.follower.shared().params.format;
        let leaf = format.at_index(entry.leaf.clone(), place.index);
        if self.follower.has(place.index, &leaf.stored)? {
            Ok(Some(leaf.stored.into()))
        } else {
            Err(LogError::Inconsistent(format!(
                "the queue says entry {}, the tree has another there",
                place.index
            )))
        }
    }

    /// Tells those whose entries are in no tree that was signed before the log was rotated out: whoever did it has
    /// committed and answered what was in the queue then.
    fn turn_away(&mut self) {
        if !self.follower.shared().is_frozen() || self.waiting.is_empty() {
            return;
        }
        self.due = true;
        if self.ask().is_ok() {
            self.settle();
            self.dismiss(|entry| entry.place.is_none(), &AppendError::RotatedOut);
        }
    }

    /// Tells those who have waited too long.
    fn give_up(&mut self) {
        let reason = "no process that sequences the log took it, or the database is away";
        self.dismiss(|entry| entry.since.elapsed() > PATIENCE, &AppendError::Unanswered(reason.into()));
    }

    /// Answers some of those who wait with an error, and takes their entries out of the queue.
    fn dismiss(&mut self, whom: impl Fn(&Waiting) -> bool, error: &AppendError) {
        let gone: Vec<RequestId> =
            self.waiting.iter().filter(|(_, entry)| whom(entry)).map(|(id, _)| *id).collect();
        if gone.is_empty() {
            return;
        }
        for entry in gone.iter().filter_map(|id| self.waiting.remove(id)) {
            let _ = entry.reply.send(Err(error.clone()));
        }
        if let Err(error) = self.storage.database().withdraw(self.storage.log(), &gone) {
            tracing::debug!(%error, "entries nobody waits for stay in the queue");
        }
    }
}
