//! `TrustRoot` objects: what stands in them, and what has to be fetched from a repository elsewhere before anybody asks.
//!
//! Nothing is fetched unless an object names a repository, and never while a request waits. What was fetched is used until
//! the repository's own dates end it, whatever happens to later tries; what cannot be had is no empty trust root but an
//! answer that says so. A repository is followed in memory, so that it cannot go back for as long as the process lives.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use countersign_bundle::TrustedRoot;
use countersign_http::{Http, HttpOptions};
use countersign_policy::cluster_image::{Compiled, RemoteRepository, TrustRootObject};
use countersign_policy::{CouldNot, TrustRoot};
use countersign_trust::tuf::{Transport, TransportError, Updater};
use futures_util::future::join_all;
use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::trust::HttpTransport;

/// How often a repository is asked whether there is something newer.
const REFRESH: Duration = Duration::from_secs(3600);
/// How soon it is asked again after something went wrong.
const RETRY: Duration = Duration::from_secs(30);
/// How often it is looked whether something has ended.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// How long it may take to fetch one.
const PATIENCE: Duration = Duration::from_secs(60);

/// A trust root that cannot be used, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustTrouble {
    /// The object's name.
    pub name: String,
    /// In words.
    pub text: String,
    /// Whether what was had before is still good.
    pub usable: bool,
}

/// The objects that hold now.
#[derive(Debug)]
pub(super) struct TrustObjects {
    http: Arc<Http>,
    entries: Mutex<BTreeMap<String, Entry>>,
    changed: Notify,
}

#[derive(Debug)]
struct Entry {
    object: TrustRootObject,
    elsewhere: Option<Arc<Elsewhere>>,
    /// What was made of it, and until when that is good.
    kept: Option<(Arc<TrustRoot>, Option<Timestamp>)>,
}

/// A repository elsewhere.
#[derive(Debug)]
struct Elsewhere {
    of: RemoteRepository,
    updater: tokio::sync::Mutex<Option<Updater<Owned>>>,
    got: Mutex<Got>,
}

#[derive(Debug, Clone)]
struct Got {
    fetched: Option<Compiled>,
    /// What came of the last try, unless it was good.
    trouble: Option<String>,
    due: Instant,
}

/// HTTP as an updater that stays wants it.
#[derive(Debug, Clone)]
struct Owned(Arc<Http>);

impl Transport for Owned {
    async fn get(&self, url: &str, limit: u64) -> Result<Option<Vec<u8>>, TransportError> {
        HttpTransport(&self.0).get(url, limit).await
    }
}

fn held<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl TrustObjects {
    /// None yet. Repositories are asked as registries are, but for who we are to these.
    pub(super) fn new(http: &HttpOptions) -> Self {
        let http = Arc::new(Http::new(HttpOptions { identity: None, ..http.clone() }));
        Self { http, entries: Mutex::default(), changed: Notify::new() }
    }

    /// Puts these into the place of those that are there. A repository that both name is followed on.
    pub(super) fn set(&self, objects: Vec<TrustRootObject>) {
        let mut entries = held(&self.entries);
        let known: Vec<Arc<Elsewhere>> =
            entries.values().filter_map(|entry| entry.elsewhere.clone()).collect();
        let entry = |object: TrustRootObject| {
            let elsewhere = object.remote().map(|of| {
                let same = known.iter().find(|known| known.of == *of).cloned();
                same.unwrap_or_else(|| Arc::new(Elsewhere::new(of.clone())))
            });
            (object.name().to_owned(), Entry { object, elsewhere, kept: None })
        };
        *entries = objects.into_iter().map(entry).collect();
        drop(entries);
        self.changed.notify_one();
    }

    /// The trust root of this name, if there is an object for it.
    pub(super) fn answer(&self, name: &str, now: Timestamp) -> Option<Result<Arc<TrustRoot>, CouldNot>> {
        held(&self.entries).get_mut(name).map(|entry| entry.answer(now))
    }

    /// The names of the objects.
    pub(super) fn names(&self) -> Vec<String> {
        held(&self.entries).keys().cloned().collect()
    }

    /// Asks the repositories that are due, and tells what cannot be used.
    pub(super) async fn fetch(&self, now: Timestamp) -> Vec<TrustTrouble> {
        let due = |elsewhere: &Arc<Elsewhere>| held(&elsewhere.got).due <= Instant::now();
        let asked: Vec<Arc<Elsewhere>> =
            held(&self.entries).values().filter_map(|entry| entry.elsewhere.clone()).filter(due).collect();
        join_all(asked.iter().map(|elsewhere| elsewhere.fetch(&self.http, now))).await;
        let mut told = Vec::new();
        for (name, entry) in held(&self.entries).iter_mut() {
            if entry.elsewhere.is_some() {
                entry.kept = None;
            }
            let trouble = entry.elsewhere.as_ref().and_then(|elsewhere| held(&elsewhere.got).trouble.clone());
            let (text, usable) = match (entry.answer(now), trouble) {
                (Err(error), _) => (error.text, false),
                (Ok(_), Some(trouble)) => (trouble, true),
                (Ok(_), None) => continue,
            };
            told.push(TrustTrouble { name: name.clone(), text, usable });
        }
        told
    }

    /// Waits until a repository is due, something may have ended, or the objects have changed.
    pub(super) async fn due(&self) {
        let next = {
            let entries = held(&self.entries);
            let elsewhere = entries.values().filter_map(|entry| entry.elsewhere.as_ref());
            let due = elsewhere.map(|elsewhere| held(&elsewhere.got).due).min();
            let look = Instant::now() + LOOK_AGAIN;
            (!entries.is_empty()).then(|| due.map_or(look, |due| due.min(look)))
        };
        let waited = async {
            match next {
                Some(next) => tokio::time::sleep_until(next).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = waited => {}
            () = self.changed.notified() => {}
        }
    }
}

impl Entry {
    fn answer(&mut self, now: Timestamp) -> Result<Arc<TrustRoot>, CouldNot> {
        if let Some((root, until)) = &self.kept
            && until.is_none_or(|until| now < until)
        {
            return Ok(Arc::clone(root));
        }
        let got = self.elsewhere.as_ref().map(|elsewhere| held(&elsewhere.got).clone());
        let fetched = got.as_ref().and_then(|got| got.fetched.as_ref());
        let compiled =
            self.object.compile(now, fetched).map_err(|error| match got.and_then(|got| got.trouble) {
                Some(trouble) => {
                    CouldNot { text: format!("{}; the last try: {trouble}", error.text), ..error }
                }
                None => error,
            })?;
        let root = Arc::new(TrustRoot::new(compiled.root)?);
        self.kept = Some((Arc::clone(&root), compiled.until));
        Ok(root)
    }
}

impl Elsewhere {
    fn new(of: RemoteRepository) -> Self {
        let got = Mutex::new(Got { fetched: None, trouble: None, due: Instant::now() });
        Self { of, updater: tokio::sync::Mutex::default(), got }
    }

    async fn fetch(&self, http: &Arc<Http>, now: Timestamp) {
        let late = || Err(format!("{}: not fetched within {} s", self.of.mirror, PATIENCE.as_secs()));
        let fetched = tokio::time::timeout(PATIENCE, self.newest(http, now)).await.unwrap_or_else(|_| late());
        let mut got = held(&self.got);
        match fetched {
            Ok(compiled) => {
                let life =
                    compiled.until.and_then(|until| Duration::try_from(until.duration_since(now)).ok());
                let wait = life.map_or(REFRESH, |life| REFRESH.min(life / 2).max(RETRY));
                *got = Got { fetched: Some(compiled), trouble: None, due: Instant::now() + wait };
            }
            Err(trouble) => {
                got.trouble = Some(trouble);
                got.due = Instant::now() + RETRY;
            }
        }
    }

    /// The trusted root as the repository has it now.
    async fn newest(&self, http: &Arc<Http>, now: Timestamp) -> Result<Compiled, String> {
        let mut kept = self.updater.lock().await;
        let updater = match &mut *kept {
            Some(updater) => updater,
            empty => {
                let made = Updater::in_memory(Owned(Arc::clone(http)), &self.of.mirror, self.of.root.clone());
                empty.insert(made.targets_in(&self.of.targets).map_err(|e| e.to_string())?)
            }
        };
        updater.refresh(now).await.map_err(|e| e.to_string())?;
        let bytes = updater.target(&self.of.target).await.map_err(|e| e.to_string())?;
        let root = TrustedRoot::from_json(&bytes).map_err(|e| format!("{}: {e}", self.of.target))?;
        Ok(Compiled { root, until: updater.trusted().map(|trusted| trusted.ends()) })
    }
}
