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

use crate::certificate::Keeper;
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

/// Where lists come together.
#[derive(Debug)]
pub struct RevocationLists {
    options: RevocationOptions,
    /// One list at a time is put into place.
    held: tokio::sync::Mutex<Option<Arc<Revocations>>>,
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
             cluster: countersign revoke list --kubernetes | kubectl apply -f -",
        )));
        let number = watch::Sender::new(0);
        Self { options, held: tokio::sync::Mutex::default(), told: Mutex::default(), number }
    }

    /// Takes the list that was kept before a restart.
    ///
    /// # Errors
    /// [`NotTaken`]: it cannot be read, or does not count any more, as when somebody else may revoke now.
    pub async fn restore(&self) -> Result<(), NotTaken> {
        let from = "the webhook's own record";
        let failed = |detail: String| NotTaken { from: from.into(), detail };
        match self.options.keeper.read().await {
            Ok(None) => Ok(()),
            Ok(Some(kept)) => self.take(from, kept.text.as_bytes()).await.map(drop),
            Err(e) => Err(failed(e.to_string())),
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
        self.held.lock().await.clone()
    }

    async fn take(&self, from: &str, bytes: &[u8]) -> Result<bool, NotTaken> {
        let RevocationOptions { authority, material, keeper, source, metrics, clock } = &self.options;
        let failed = |detail: String| NotTaken { from: from.to_owned(), detail };
        let list = open(bytes, authority, material, from, clock.now()).map_err(|e| failed(e.to_string()))?;
        let mut held = self.held.lock().await;
        if let Some(held) = &*held {
            Memory::of(held).check(&list).map_err(|e| failed(e.to_string()))?;
            if held.id() == list.id() {
                return Ok(false);
            }
        }
        let text = std::str::from_utf8(bytes).map_err(|e| failed(e.to_string()))?;
        let list = Arc::new(list);
        source.set_revocations(Ok(vec![Arc::clone(&list)]));
        metrics.revocations(list.list());
        tracing::info!(
            from,
            number = list.list().number,
            entries = list.list().entries.len(),
            "a revocation list holds"
        );
        self.number.send_replace(list.list().number);
        *held = Some(list);
        drop(held);
        // It holds already: that it cannot be kept is to be told, and no reason to admit what is revoked.
        if let Err(e) = keep(keeper.as_ref(), text).await {
            self.tell(
                "the webhook's own record",
                &format!("{e}; after a restart an older list would not be noticed"),
            );
        }
        Ok(true)
    }
}

/// Keeps a list. Whatever another replica kept meanwhile was taken or will be: the watch brings every replica the same.
async fn keep(keeper: &dyn Keeper, text: &str) -> Result<(), crate::certificate::KeeperError> {
    let old = keeper.read().await?;
    if old.as_ref().is_some_and(|old| *old.text == text) {
        return Ok(());
    }
    keeper.replace(old.as_ref(), text).await.map(drop)
}
