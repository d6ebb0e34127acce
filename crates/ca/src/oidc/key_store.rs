//! The issuers' keys, kept for a while.
//!
//! Keys are fresh for five minutes. After that the next token fetches them again, once for all who wait; while that
//! fails, the old ones are good until they are an hour old, and then there are none. A key id that is not among
//! fresh keys causes one fetch, at most every ten seconds for an issuer. Only a complete, checked answer is kept.
//!
//! A fetch that was begun goes on when the client whose token caused it hangs up. Otherwise a stranger could keep an
//! issuer's keys from ever being fetched: a token that only names the issuer, sent at the end of each pause, and gone.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use countersign_clock::{Clock, Timestamp};
use tokio::sync::{OwnedMutexGuard, Semaphore};

use super::Transport;
use super::discovery::{self, IssuerKeys};
use crate::config::Issuer;

/// How old keys may be and still be used without asking, in seconds.
pub(crate) const FRESH_SECONDS: i64 = 5 * 60;
/// How old keys may be and still be used while their issuer cannot be reached, in seconds.
pub(crate) const USABLE_SECONDS: i64 = 60 * 60;
/// The least time between two fetches from one issuer, in seconds.
pub(crate) const PAUSE_SECONDS: i64 = 10;
/// How far the clock may step back before keys from "the future" are no longer believed, in seconds.
const STEP_BACK_SECONDS: i64 = 60;
/// How many issuers that were matched by a wildcard are remembered.
const MAX_WILDCARD_ISSUERS: usize = 100;
/// How many fetches for such issuers run at once.
const MAX_WILDCARD_FETCHES: usize = 8;

/// All cached keys.
#[derive(Debug)]
pub(crate) struct KeyStore {
    transport: Arc<dyn Transport>,
    clock: Arc<dyn Clock>,
    entries: Mutex<HashMap<String, Arc<Entry>>>,
    uses: AtomicU64,
    wildcard_fetches: Arc<Semaphore>,
}

#[derive(Debug)]
struct Entry {
    by_wildcard: bool,
    last_use: AtomicU64,
    state: Mutex<State>,
    /// Held by the one who fetches.
    flight: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Debug, Clone, Default)]
struct State {
    keys: Option<Arc<IssuerKeys>>,
    fetched: Option<Timestamp>,
    attempted: Option<Timestamp>,
}

impl State {
    /// Whether the keys are at most this old.
    fn younger_than(&self, seconds: i64, now: Timestamp) -> Option<Arc<IssuerKeys>> {
        let age = self.fetched.map(|at| now.as_second() - at.as_second())?;
        self.keys.clone().filter(|_| (-STEP_BACK_SECONDS..seconds).contains(&age))
    }

    /// Whether the last attempt was so short ago that another must wait.
    fn pausing(&self, now: Timestamp) -> bool {
        self.attempted.is_some_and(|at| (0..PAUSE_SECONDS).contains(&(now.as_second() - at.as_second())))
    }
}

impl KeyStore {
    pub(crate) fn new(transport: Arc<dyn Transport>, clock: Arc<dyn Clock>) -> Self {
        Self {
            transport,
            clock,
            entries: Mutex::default(),
            uses: AtomicU64::new(0),
            wildcard_fetches: Arc::new(Semaphore::new(MAX_WILDCARD_FETCHES)),
        }
    }

    /// The keys of an issuer. The error says why there are none.
    pub(crate) async fn keys(&self, issuer: &Issuer) -> Result<Arc<IssuerKeys>, String> {
        let entry = self.entry(issuer);
        let now = self.clock.now();
        let state = entry.state();
        if let Some(keys) = state.younger_than(FRESH_SECONDS, now) {
            return Ok(keys);
        }
        if let Some(old) = state.younger_than(USABLE_SECONDS, now) {
            // Nobody waits for a refresh while there are keys to work with, but the one who makes it.
            let flight = match Arc::clone(&entry.flight).try_lock_owned() {
                Ok(flight) if !entry.state().pausing(now) => flight,
                _ => return Ok(old),
            };
            return Ok(self.fetch(issuer, entry, flight).await.unwrap_or(old));
        }
        let flight = Arc::clone(&entry.flight).lock_owned().await;
        let (now, state) = (self.clock.now(), entry.state());
        if let Some(keys) = state.younger_than(FRESH_SECONDS, now) {
            return Ok(keys);
        }
        if state.pausing(now) {
            return Err(format!("a fetch failed less than {PAUSE_SECONDS} s ago"));
        }
        self.fetch(issuer, entry, flight).await
    }

    /// Newer keys than these, for a token whose key id is not among them; `None` when it is too soon to ask again
    /// or the issuer has nothing newer to say.
    pub(crate) async fn newer(&self, issuer: &Issuer, than: &Arc<IssuerKeys>) -> Option<Arc<IssuerKeys>> {
        let entry = self.entry(issuer);
        let flight = Arc::clone(&entry.flight).lock_owned().await;
        let state = entry.state();
        match &state.keys {
            Some(keys) if !Arc::ptr_eq(keys, than) => Some(Arc::clone(keys)),
            _ if state.pausing(self.clock.now()) => None,
            _ => self.fetch(issuer, entry, flight).await.ok(),
        }
    }

    /// Fetches, to the end even if the caller goes away. Whoever holds the flight may.
    async fn fetch(
        &self,
        issuer: &Issuer,
        entry: Arc<Entry>,
        flight: OwnedMutexGuard<()>,
    ) -> Result<Arc<IssuerKeys>, String> {
        // Waited for here, where it ends with the caller, so that there are never more fetches than permits.
        let permit = if issuer.by_wildcard() {
            Arc::clone(&self.wildcard_fetches).acquire_owned().await.ok()
        } else {
            None
        };
        entry.lock().attempted = Some(self.clock.now());
        let (issuer, transport, clock) =
            (issuer.clone(), Arc::clone(&self.transport), Arc::clone(&self.clock));
        let fetch = tokio::spawn(async move {
            let _held = (permit, flight);
            match discovery::fetch(&issuer, transport.as_ref()).await {
                Ok(keys) => {
                    let keys = Arc::new(keys);
                    let mut state = entry.lock();
                    state.keys = Some(Arc::clone(&keys));
                    state.fetched = Some(clock.now());
                    tracing::debug!(
                        issuer = issuer.url(),
                        keys = keys.keys.len(),
                        "fetched the issuer's keys"
                    );
                    Ok(keys)
                }
                Err(reason) => {
                    tracing::warn!(issuer = issuer.url(), reason, "could not fetch the issuer's keys");
                    Err(reason)
                }
            }
        });
        fetch.await.unwrap_or_else(|error| Err(format!("the fetch did not come to its end: {error}")))
    }

    fn entry(&self, issuer: &Issuer) -> Arc<Entry> {
        let tick = self.uses.fetch_add(1, Ordering::Relaxed);
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = entries.get(issuer.url()) {
            entry.last_use.store(tick, Ordering::Relaxed);
            return Arc::clone(entry);
        }
        if issuer.by_wildcard() && entries.values().filter(|e| e.by_wildcard).count() >= MAX_WILDCARD_ISSUERS
        {
            let oldest = entries
                .iter()
                .filter(|(_, e)| e.by_wildcard)
                .min_by_key(|(_, e)| e.last_use.load(Ordering::Relaxed))
                .map(|(name, _)| name.clone());
            if let Some(name) = oldest {
                entries.remove(&name);
            }
        }
        let entry = Arc::new(Entry {
            by_wildcard: issuer.by_wildcard(),
            last_use: AtomicU64::new(tick),
            state: Mutex::default(),
            flight: Arc::default(),
        });
        entries.insert(issuer.url().to_owned(), Arc::clone(&entry));
        entry
    }

    /// How many issuers have an entry.
    pub(crate) fn remembered(&self) -> usize {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

impl Entry {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> State {
        self.lock().clone()
    }
}
