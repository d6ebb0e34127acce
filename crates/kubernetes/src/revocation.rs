//! What is revoked, as the webhook knows it: lists come from objects of the cluster, from files and from instances; the one
//! with the highest number holds, and goes on holding.
//!
//! Nobody is believed who brings a list: its signature decides, and its number. A cluster's own history is no help, since
//! whoever may write an object may put an old one back, so the last good list is kept in a place of the webhook's own. A
//! list that does not count is told as loudly as can be: an error in the log, and a metric.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use countersign_client::artifact::read_limited;
use countersign_client::policy::Source;
use countersign_clock::Clock;
use countersign_http::{Http, Request};
use countersign_policy::{CouldNot, CouldNotReason};
use countersign_verify::TrustMaterial;
use countersign_verify::revocation::{MAX_SIGNED_LIST, Memory, RevocationAuthority, Revocations, open};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use url::Url;

use crate::certificate::{Keeper, KeeperError};
use crate::webhook::Metrics;

/// What lists are judged by, and who is told of them.
#[derive(Debug)]
pub struct RevocationOptions {
    /// Who may sign lists.
    pub authority: RevocationAuthority,
    /// What signatures by identities are checked with.
    pub material: TrustMaterial,
    /// Where the last good list is kept over restarts.
    pub keeper: Arc<dyn Keeper>,
    /// Is told what is revoked; judgements from before are not used any more.
    pub source: Arc<Source>,
    /// Counts what does not count.
    pub metrics: Arc<Metrics>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// A place outside of the cluster that lists come from.
#[derive(Debug)]
pub enum Place {
    /// A file, looked at every two seconds.
    File(PathBuf),
    /// An address, such as that of an instance's list; asked every thirty seconds.
    Address(Box<(Url, Http)>),
}

impl Place {
    const fn period(&self) -> Duration {
        match self {
            Self::File(_) => Duration::from_secs(2),
            Self::Address(_) => Duration::from_secs(30),
        }
    }

    /// # Errors
    /// In words, what happened.
    async fn read(&self) -> Result<Vec<u8>, String> {
        // One more than is read, so that the reader is the one to say what is wrong.
        let limit = MAX_SIGNED_LIST + 1;
        match self {
            Self::File(path) => read_limited(path, limit).map_err(|e| e.to_string()),
            Self::Address(at) => {
                let (url, http) = at.as_ref();
                let answer = http.send(Request::get("the revocation list", url).limit(limit)).await;
                let answer = answer.map_err(|e| e.to_string())?;
                match answer.status {
                    200 => Ok(answer.body),
                    _ => Err(answer.into_error().to_string()),
                }
            }
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Address(at) => f.write_str(&countersign_http::shown(&at.0)),
        }
    }
}

/// The name of the keeper's list in messages.
const RECORD: &str = "the webhook's own record";
/// How often several replicas may get into each other's way before one gives up keeping a list.
const MAX_TRIES: usize = 5;

/// The list that holds, and how it was written: the same once more needs no second look.
#[derive(Debug, Clone)]
struct Held {
    list: Arc<Revocations>,
    bytes: Box<[u8]>,
}

/// What there is by now.
#[derive(Debug, Default)]
struct State {
    /// Whether the record of an earlier run was read, or there is none. Until then no list is taken: it might be older.
    restored: bool,
    held: Option<Held>,
}

/// Where lists come together.
#[derive(Debug)]
pub struct RevocationLists {
    options: RevocationOptions,
    /// One list at a time is put into place.
    state: tokio::sync::Mutex<State>,
    /// What was told of each place last, so that it is told once.
    told: Mutex<BTreeMap<String, String>>,
    /// The number of the list that holds; 0 for none.
    number: watch::Sender<u64>,
}

/// Why a list does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the revocation list of {from}: {detail}; the last good list goes on holding")]
pub struct NotTaken {
    /// Where it came from.
    pub from: String,
    /// What was expected and what was found.
    pub detail: String,
}

impl RevocationLists {
    /// None yet: until there is one, nothing can be checked, since nobody knows what is revoked.
    #[must_use]
    pub fn new(options: RevocationOptions) -> Self {
        options.source.set_revocations(Err(CouldNot::new(
            CouldNotReason::Unusable,
            "a revocation list is to be obeyed and there is none yet, so nobody knows what is revoked; put one into the \
             cluster: countersign revoke list --kubernetes | kubectl apply --server-side -f -",
        )));
        let number = watch::Sender::new(0);
        Self { options, state: tokio::sync::Mutex::default(), told: Mutex::default(), number }
    }

    /// Takes the list that was kept before a restart. While the record cannot be read, each list that is offered tries
    /// again first, and none is taken: an older one would not be noticed.
    ///
    /// # Errors
    /// [`NotTaken`]: it cannot be read, or does not count any more, as when somebody else may revoke now.
    pub async fn restore(&self) -> Result<(), NotTaken> {
        self.restored(&mut *self.state.lock().await).await
    }

    async fn restored(&self, state: &mut State) -> Result<(), NotTaken> {
        if state.restored {
            return Ok(());
        }
        let kept = self.options.keeper.read().await;
        let kept = kept.map_err(|e| NotTaken { from: RECORD.into(), detail: e.to_string() })?;
        state.restored = true;
        match kept {
            Some(kept) => self.put(state, RECORD, kept.text.as_bytes()).map(drop),
            None => Ok(()),
        }
    }

    /// Takes a list from somewhere, if it counts and is newer. True when it is the one that holds from now on.
    ///
    /// # Errors
    /// [`NotTaken`]: it does not count. That is told in the log, once.
    pub async fn offer(&self, from: &str, bytes: &[u8]) -> Result<bool, NotTaken> {
        let taken = self.take(from, bytes).await;
        match &taken {
            Ok(_) => drop(self.told.lock().unwrap_or_else(PoisonError::into_inner).remove(from)),
            Err(error) => self.tell(from, &error.to_string()),
        }
        taken
    }

    /// Tells that nothing can be taken from somewhere, and gives what was told.
    pub(crate) fn refuse(&self, from: String, detail: String) -> NotTaken {
        let error = NotTaken { from, detail };
        self.tell(&error.from, &error.to_string());
        error
    }

    /// Tells once that a place has no list that counts.
    pub fn tell(&self, from: &str, what: &str) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.insert(from.to_owned(), what.to_owned()).as_deref() != Some(what) {
            tracing::error!(from, "{what}");
        }
        self.options.metrics.revocations_refused();
    }

    /// Looks at a place once. True when its list is the one that holds from now on.
    ///
    /// # Errors
    /// As [`RevocationLists::offer`], and when it cannot be read.
    pub async fn look(&self, place: &Place) -> Result<bool, NotTaken> {
        let from = place.to_string();
        match place.read().await {
            Ok(bytes) => self.offer(&from, &bytes).await,
            Err(error) => Err(self.refuse(from, error)),
        }
    }

    /// Looks at a place again and again, for ever.
    pub async fn follow(self: Arc<Self>, place: Place) {
        let mut tick = tokio::time::interval(place.period());
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            drop(self.look(&place).await);
        }
    }

    /// Tells when another list holds, by its number: what runs may have to be verified again.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.number.subscribe()
    }

    /// The list that holds.
    pub async fn current(&self) -> Option<Arc<Revocations>> {
        self.state.lock().await.held.as_ref().map(|held| Arc::clone(&held.list))
    }

    async fn take(&self, from: &str, bytes: &[u8]) -> Result<bool, NotTaken> {
        let mut state = self.state.lock().await;
        if state.held.as_ref().is_some_and(|held| *held.bytes == *bytes) {
            return Ok(false);
        }
        if !state.restored
            && let Err(error) = self.restored(&mut state).await
        {
            if !state.restored {
                return Err(NotTaken {
                    from: from.to_owned(),
                    detail: format!("it may be an older one: {error}"),
                });
            }
            // The record says nothing to whom lists are believed now.
            self.tell(RECORD, &error.to_string());
        }
        let Some(list) = self.put(&mut state, from, bytes)? else { return Ok(false) };
        drop(state);
        // It holds already: that it cannot be kept is to be told, and no reason to admit what is revoked.
        if let Err(e) = self.keep(&list, bytes).await {
            self.tell(RECORD, &format!("{e}; after a restart an older list would not be noticed"));
        }
        Ok(true)
    }

    /// Puts a list into place, if it counts and is another one than that which holds.
    fn put(&self, state: &mut State, from: &str, bytes: &[u8]) -> Result<Option<Arc<Revocations>>, NotTaken> {
        let list = self.open(from, bytes)?;
        if let Some(held) = &state.held {
            let failed = |detail: String| NotTaken { from: from.to_owned(), detail };
            Memory::of(&held.list).check(&list).map_err(|e| failed(e.to_string()))?;
            if held.list.id() == list.id() {
                return Ok(None);
            }
        }
        let list = Arc::new(list);
        self.options.source.set_revocations(Ok(vec![Arc::clone(&list)]));
        self.options.metrics.revocations(list.list());
        tracing::info!(
            from,
            number = list.list().number,
            entries = list.list().entries.len(),
            "a revocation list holds"
        );
        self.number.send_replace(list.list().number);
        state.held = Some(Held { list: Arc::clone(&list), bytes: bytes.into() });
        Ok(Some(list))
    }

    fn open(&self, from: &str, bytes: &[u8]) -> Result<Revocations, NotTaken> {
        let RevocationOptions { authority, material, clock, .. } = &self.options;
        open(bytes, authority, material, from, clock.now())
            .map_err(|e| NotTaken { from: from.to_owned(), detail: e.to_string() })
    }

    /// Keeps a list, unless a newer one is kept by now: another replica may have been faster, and knows more.
    async fn keep(&self, list: &Revocations, bytes: &[u8]) -> Result<(), KeeperError> {
        let text = std::str::from_utf8(bytes).map_err(|e| KeeperError(e.to_string()))?;
        let keeper = &self.options.keeper;
        for _ in 0..MAX_TRIES {
            let old = keeper.read().await?;
            let kept = old.as_ref().and_then(|old| self.open(RECORD, old.text.as_bytes()).ok());
            if kept.is_some_and(|kept| kept.list().number >= list.list().number) {
                return Ok(());
            }
            if keeper.replace(old.as_ref(), text).await? {
                return Ok(());
            }
        }
        Err(KeeperError("others changed it all the time".into()))
    }
}
