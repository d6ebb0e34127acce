//! Asking witnesses for our own log: each new checkpoint is shown to them, and what they cosign is served and given out.
//!
//! One round at a time: the newest checkpoint goes to all of them, and as soon as enough have cosigned it whoever waits for
//! that goes on. A witness that does not answer is left alone for a while, so that it holds nobody up.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use countersign_http::{Http, HttpOptions, Request, join};
use countersign_log::{Head, Log};
use countersign_tlog::add_checkpoint::AddCheckpoint;
use countersign_tlog::note::NoteSignature;
use countersign_tlog::{Note, NoteVerifier};
use serde::Deserialize;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use url::Url;

use crate::ServerError;
use crate::config::LogSection;

/// How long a witness may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long others are still waited for once enough have cosigned.
const COMPANY: Duration = Duration::from_millis(50);
/// How long a witness that did not cosign is left alone.
const LEFT_ALONE: Duration = Duration::from_secs(5);
/// How soon whoever is not left alone is asked again, when too few have cosigned.
const AGAIN: Duration = Duration::from_millis(500);
/// How long an acknowledgement waits for witnesses.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// The largest answer, in bytes.
const MAX_ANSWER: usize = 64 << 10;
const SERVICE: &str = "the witness";

/// A witness that is asked.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AskedWitness {
    /// Its address, to which `/add-checkpoint` is added.
    pub url: Url,
    /// Its key as it is published: name+hint+key.
    pub key: String,
}

#[derive(Debug)]
struct Asked {
    url: Url,
    verifier: NoteVerifier,
    /// The size it cosigned last, as far as we know.
    known: Mutex<u64>,
    /// Until then it is not asked.
    away: Mutex<Option<Instant>>,
}

/// Why a checkpoint was not cosigned.
#[derive(Debug)]
enum NotCosigned {
    /// The witness has cosigned more entries than the log has here.
    Behind {
        known: u64,
        size: u64,
    },
    /// It has cosigned as many entries under another root.
    Forked {
        size: u64,
    },
    /// It had cosigned another size each time it was asked.
    Overtaken,
    Failed(String),
}

impl<E: std::fmt::Display> From<E> for NotCosigned {
    fn from(error: E) -> Self {
        Self::Failed(error.to_string())
    }
}

impl NotCosigned {
    fn why(&self) -> String {
        match self {
            Self::Behind { known, size } => format!("it cosigned {known} entries, and the log has {size}"),
            Self::Forked { size } => format!("it cosigned another root of {size} entries"),
            Self::Overtaken => "it says another size each time".to_owned(),
            Self::Failed(why) => why.clone(),
        }
    }
}

/// How a round ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Round {
    /// As many as are required have cosigned.
    Enough,
    TooFew,
    /// Too few, for another process has shown its tree before.
    Overtaken,
}

/// The witnesses of our log.
#[derive(Debug)]
pub(crate) struct Asking {
    http: Arc<Http>,
    log: Log,
    witnesses: Vec<Arc<Asked>>,
    least: usize,
    /// The newest tree that they have cosigned, with the cosignatures under its checkpoint.
    newest: watch::Sender<Option<Arc<Head>>>,
    wake: Notify,
    /// Whether other processes serve the same log, make it grow, and have it cosigned.
    shared: bool,
}

fn held<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Asking {
    /// The witnesses of the configuration; `None` when there are none. Where entries are acknowledged only with
    /// cosignatures, so many as it says must have come. The log is `shared` when other processes serve it too.
    pub(crate) fn new(
        instance: &Path,
        section: &LogSection,
        log: &Log,
        shared: bool,
    ) -> Result<Option<Arc<Self>>, ServerError> {
        let (witnesses, least) = (&section.witnesses, section.min_witnesses);
        let config = |message: String| ServerError::Config {
            path: instance.join(crate::config::FILE_NAME),
            message: format!("log.witnesses: {message}"),
        };
        let mut asked: Vec<Arc<Asked>> = Vec::new();
        for AskedWitness { url, key } in witnesses {
            let read = NoteVerifier::parse(key)
                .and_then(|key| NoteVerifier::cosignature_v1(&key.name, key.key).map_err(|e| e.to_string()));
            let verifier = read.map_err(|found| {
                config(format!("{url}: expected its key as name+hint+key, found {found}"))
            })?;
            if asked.iter().any(|other| other.verifier.key == verifier.key) {
                return Err(config(format!("{url}: its key is there already; one key is one witness")));
            }
            let (known, away) = (Mutex::default(), Mutex::default());
            asked.push(Arc::new(Asked { url: url.clone(), verifier, known, away }));
        }
        if least > asked.len() {
            return Err(config(format!("min_witnesses is {least}, and {} are named", asked.len())));
        }
        if asked.is_empty() {
            return Ok(None);
        }
        let options = HttpOptions { timeout: PATIENCE, attempts: 1, ..HttpOptions::default() };
        let (http, log) = (Arc::new(Http::new(options)), log.clone());
        let newest = watch::Sender::new(None);
        let wake = Notify::new();
        Ok(Some(Arc::new(Self { http, log, witnesses: asked, least, newest, wake, shared })))
    }

    /// Whether entries are acknowledged only with cosignatures.
    pub(crate) const fn is_required(&self) -> bool {
        self.least > 0
    }

    /// The newest tree whose checkpoint has cosignatures, and as many as are required.
    pub(crate) fn newest(&self) -> Option<Arc<Head>> {
        self.newest.borrow().clone()
    }

    /// The log has grown.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// A tree of at least this size, with the cosignatures that are required; `None` when they do not come.
    pub(crate) async fn cosigned(&self, size: u64) -> Option<Arc<Head>> {
        let mut newest = self.newest.subscribe();
        self.wake();
        let enough = newest.wait_for(|newest| newest.as_ref().is_some_and(|found| found.size >= size));
        tokio::time::timeout(LONGEST_WAIT, enough).await.ok()?.ok()?.clone()
    }

    /// Shows each new checkpoint to the witnesses, for ever.
    pub(crate) async fn run(self: Arc<Self>) {
        loop {
            let head = self.log.head();
            let done = self.newest().is_some_and(|newest| newest.size == head.size);
            match if done { Round::Enough } else { self.round(&head).await } {
                Round::Enough => {}
                // The larger tree is read here in a moment.
                Round::Overtaken => {
                    tokio::time::sleep(COMPANY).await;
                    continue;
                }
                // Those who are away may be back.
                Round::TooFew => {
                    tokio::select! {
                        () = tokio::time::sleep(AGAIN) => {}
                        () = self.wake.notified() => tokio::time::sleep(COMPANY).await,
                    }
                    continue;
                }
            }
            // What came meanwhile is a new round at once.
            if self.log.head().size == head.size {
                tokio::select! {
                    () = self.wake.notified() => {}
                    // Nobody wakes us for what came by another process.
                    () = tokio::time::sleep(AGAIN), if self.shared => {}
                }
            }
        }
    }

    /// Shows one checkpoint to all.
    async fn round(&self, head: &Arc<Head>) -> Round {
        let Ok(mut note) = Note::parse(head.checkpoint.as_bytes()) else { return Round::TooFew };
        let mut asked = JoinSet::new();
        let now = Instant::now();
        for witness in &self.witnesses {
            if held(&witness.away).is_some_and(|until| now < until) {
                continue;
            }
            let (http, log) = (Arc::clone(&self.http), self.log.clone());
            let (witness, head, note) = (Arc::clone(witness), Arc::clone(head), note.clone());
            let shared = self.shared;
            asked.spawn(async move {
                let answer = witness.ask(&http, &log, &head, note).await;
                let (name, why) = (&witness.verifier.name, answer.as_ref().err().map(NotCosigned::why));
                match &answer {
                    Ok(_) => return answer,
                    // Another process has shown it its tree: nothing is wrong.
                    Err(NotCosigned::Behind { .. } | NotCosigned::Overtaken) if shared => return answer,
                    Err(NotCosigned::Behind { .. } | NotCosigned::Forked { .. }) => tracing::error!(
                        witness = name,
                        why,
                        "a witness knows another history of this log: is it an old copy? Stop it, and look"
                    ),
                    Err(_) => tracing::warn!(witness = name, why, "a checkpoint was not cosigned"),
                }
                *held(&witness.away) = Some(Instant::now() + LEFT_ALONE);
                answer
            });
        }
        let (mut count, mut until) = (0, Instant::now() + PATIENCE + PATIENCE);
        let mut overtaken = false;
        while let Ok(Some(answer)) = tokio::time::timeout_at(until, asked.join_next()).await {
            let line = match answer {
                Ok(Ok(line)) => line,
                Ok(Err(NotCosigned::Behind { .. } | NotCosigned::Overtaken)) => {
                    overtaken = self.shared;
                    continue;
                }
                _ => continue,
            };
            if note.add_signature(line).is_err() {
                continue;
            }
            count += 1;
            if count >= self.least {
                let cosigned = Head { checkpoint: note.to_string().into(), ..Head::clone(head) };
                self.newest.send_replace(Some(Arc::new(cosigned)));
                until = until.min(Instant::now() + COMPANY);
            }
        }
        match (count >= self.least.max(1), overtaken) {
            (true, _) => Round::Enough,
            (false, true) => Round::Overtaken,
            (false, false) => Round::TooFew,
        }
    }
}

impl Asked {
    /// Shows it a checkpoint; its cosignature, verified. It may know another size than we think: it says so once.
    async fn ask(
        &self,
        http: &Http,
        log: &Log,
        head: &Head,
        note: Note,
    ) -> Result<NoteSignature, NotCosigned> {
        let url = join(&self.url, "/add-checkpoint");
        for _ in 0..2 {
            let (old, size) = (*held(&self.known), head.size);
            let proof = {
                let log = log.clone();
                let made = tokio::task::spawn_blocking(move || log.consistency(old, size)).await;
                made??
            };
            let asked = AddCheckpoint { old, proof, note: note.clone() };
            let body = asked.to_text().into_bytes();
            let request = Request::post(SERVICE, &url, "text/plain; charset=utf-8", body).limit(MAX_ANSWER);
            let answer = http.send(request).await?;
            match answer.status {
                200 => {
                    let line = self.line(&note, &answer.body)?;
                    *held(&self.known) = size;
                    return Ok(line);
                }
                409 => {
                    let known =
                        std::str::from_utf8(&answer.body).ok().and_then(|text| text.trim().parse().ok());
                    let known = known.ok_or("it answered 409 and no size")?;
                    if known > size {
                        return Err(NotCosigned::Behind { known, size });
                    }
                    if known == old {
                        return Err(NotCosigned::Forked { size: known });
                    }
                    *held(&self.known) = known;
                }
                _ => return Err(answer.into_error().into()),
            }
        }
        Err(NotCosigned::Overtaken)
    }

    /// The cosignature in an answer.
    fn line(&self, note: &Note, answer: &[u8]) -> Result<NoteSignature, String> {
        let text = [note.to_string().as_bytes(), answer].concat();
        let cosigned = Note::parse(&text).map_err(|e| e.to_string())?;
        self.verifier.verify(&cosigned).map_err(|e| e.to_string())?;
        let hint = self.verifier.hint();
        let mut lines = cosigned.signatures().iter().skip(note.signatures().len());
        let line = lines.find(|line| line.name == self.verifier.name && line.hint == hint);
        line.cloned().ok_or_else(|| "its answer is a signature by somebody else".to_owned())
    }
}

#[cfg(test)]
mod tests;
