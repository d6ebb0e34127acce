//! The workers of one token: as many as are needed at once, a few at most, started anew when one fails.
//!
//! A worker that does not answer in time, ends or reports the token away is ended; the next use starts another one, at
//! most every half second. A PIN that was refused is never sent again by this process: tokens lock after a few.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use countersign_crypto::{CryptoError, sha256};

use super::child::{Silence, Worker};
use super::frame::{FailureKind, Pin, Reply, Request};
use super::uri::TokenMatch;
use crate::KeyError;

/// Workers at once. A module with a session each; most devices sign one after the other anyway.
const MAX_WORKERS: usize = 4;
/// Time to load the module, find the token and log in. Whoever waits for it may give up before.
const START_TIME: Duration = Duration::from_secs(4);
/// Fresh workers that one request is given when those before say that the token, which they had found, is away.
const FRESH_WORKERS: u32 = 3;
/// Time between two starts after failures: doubled with each, up to half a second.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Module, token or worker are not there now.
    Away(String),
    /// The token wants a PIN.
    PinNeeded,
    /// The token refuses the PIN.
    PinRefused(String),
    /// There is no such key.
    NoKey(String),
    /// The key cannot be told from others.
    Key(String),
    /// The token cannot do it.
    Refused(String),
}

impl Trouble {
    pub(super) fn from_failure(kind: FailureKind, message: String) -> Self {
        match kind {
            FailureKind::Module | FailureKind::Away => Self::Away(message),
            FailureKind::PinNeeded => Self::PinNeeded,
            FailureKind::PinRefused => Self::PinRefused(message),
            FailureKind::NoKey => Self::NoKey(message),
            FailureKind::Key => Self::Key(message),
            FailureKind::Refused => Self::Refused(message),
        }
    }

    fn is_about_pin(&self) -> bool {
        matches!(self, Self::PinNeeded | Self::PinRefused(_))
    }

    /// For one who loads a key.
    pub(super) fn into_key_error(self) -> KeyError {
        match self {
            Self::Away(message) => CryptoError::KeyUnavailable(message).into(),
            Self::PinNeeded | Self::PinRefused(_) => KeyError::Pin(self.into_text()),
            Self::NoKey(message) => KeyError::NoSuchKey(message),
            Self::Key(message) | Self::Refused(message) => KeyError::Token(message),
        }
    }

    /// For one who signs. What cannot be had without somebody's help is away too: a service answers "later".
    pub(super) fn into_crypto_error(self) -> CryptoError {
        match self {
            Self::Refused(message) => CryptoError::Signing(message),
            other => CryptoError::KeyUnavailable(other.into_text()),
        }
    }

    fn into_text(self) -> String {
        match self {
            Self::PinNeeded => {
                "the token asks for its PIN: put it into COSIGN_PKCS11_PIN or COUNTERSIGN_PKCS11_PIN, \
                                or into a file named by the URI's pin-source"
                    .into()
            }
            Self::PinRefused(message) => format!(
                "{message}. It is not tried again, so that the token does not lock: correct the PIN (pin-source, \
                 COUNTERSIGN_PKCS11_PIN or COSIGN_PKCS11_PIN) and start the program anew"
            ),
            Self::Away(message) | Self::NoKey(message) | Self::Key(message) | Self::Refused(message) => {
                message
            }
        }
    }
}

impl From<Silence> for Trouble {
    fn from(silence: Silence) -> Self {
        Self::Away(match silence {
            Silence::Gone(message) => message,
            Silence::Late => "the PKCS #11 module does not answer".into(),
        })
    }
}

/// What makes two pools the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Identity {
    modules: Vec<String>,
    token: TokenMatch,
    pin: Option<[u8; 32]>,
}

#[derive(Debug, Default)]
struct Known {
    pools: HashMap<Identity, Weak<Pool>>,
    /// PINs that tokens have refused, with what they said.
    refused: HashMap<Identity, Trouble>,
}

static KNOWN: Mutex<Option<Known>> = Mutex::new(None);

fn known<T>(look: impl FnOnce(&mut Known) -> T) -> T {
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    look(known.get_or_insert_default())
}

/// The workers of a token.
#[derive(Debug)]
pub(super) struct Pool {
    identity: Identity,
    pin: Option<Pin>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    idle: Vec<Worker>,
    busy: usize,
    starting: bool,
    /// In a row.
    failures: u32,
    /// Nothing is started before.
    pause_until: Option<Instant>,
    trouble: Option<Trouble>,
}

impl Pool {
    /// The pool of a token: one for each token and PIN in this process.
    pub(super) fn of(modules: Vec<String>, token: TokenMatch, pin: Option<Pin>) -> Arc<Self> {
        let digest = pin.as_ref().map(|pin| sha256(pin.reveal().as_bytes()));
        let identity = Identity { modules, token, pin: digest };
        known(|known| {
            if let Some(pool) = known.pools.get(&identity).and_then(Weak::upgrade) {
                return pool;
            }
            known.pools.retain(|_, pool| pool.strong_count() > 0);
            let trouble = known.refused.get(&identity).cloned();
            let state = Mutex::new(State { trouble, ..State::default() });
            let pool = Arc::new(Self { identity: identity.clone(), pin, state, changed: Condvar::new() });
            known.pools.insert(identity, Arc::downgrade(&pool));
            pool
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the token, within a time.
    pub(super) fn call(self: &Arc<Self>, request: &Request, within: Duration) -> Result<Reply, Trouble> {
        let deadline = Instant::now() + within;
        let mut left = FRESH_WORKERS;
        loop {
            let mut worker = self.take(deadline)?;
            let (trouble, nothing_begun) = match worker.call(request, deadline) {
                // A session may have died unnoticed since its last use, and a module whose token lies in files (SoftHSM)
                // may have read one that was half written and hold on to it. A new process tells.
                Ok(Reply::Failed { kind: FailureKind::Away, message }) => (Trouble::Away(message), true),
                // A key may have been made though nobody heard of it: a second one is not asked for.
                Err(silence @ Silence::Gone(_)) => {
                    (silence.into(), worker.proven && !matches!(request, Request::Generate { .. }))
                }
                Err(silence @ Silence::Late) => (silence.into(), false),
                Ok(reply) => {
                    worker.proven = true;
                    self.give_back(worker);
                    return match reply {
                        Reply::Failed { kind, message } => Err(Trouble::from_failure(kind, message)),
                        reply => Ok(reply),
                    };
                }
            };
            let again = nothing_begun && left > 0;
            drop(worker);
            self.failed(trouble.clone(), again);
            if !again {
                return Err(trouble);
            }
            left -= 1;
        }
    }

    /// A worker that is free, or a new one. While the token is away and it is too early to look again, there is none
    /// at once.
    fn take(self: &Arc<Self>, deadline: Instant) -> Result<Worker, Trouble> {
        let mut state = self.lock();
        loop {
            if let Some(worker) = state.idle.pop() {
                state.busy += 1;
                return Ok(worker);
            }
            let now = Instant::now();
            let paused = state.pause_until.is_some_and(|until| now < until);
            let hopeless = state.trouble.as_ref().filter(|t| t.is_about_pin() || paused);
            if let Some(trouble) = hopeless
                && state.busy == 0
                && !state.starting
            {
                return Err(trouble.clone());
            }
            if hopeless.is_none() && !state.starting && state.busy < MAX_WORKERS {
                let pool = Arc::clone(self);
                match std::thread::Builder::new().spawn(move || pool.start()) {
                    Ok(_) => state.starting = true,
                    Err(e) => state.pause(Trouble::Away(format!("no thread for the PKCS #11 worker: {e}"))),
                }
            }
            let left = deadline.saturating_duration_since(now);
            if left.is_zero() {
                return Err(state
                    .trouble
                    .clone()
                    .unwrap_or_else(|| Trouble::Away("the PKCS #11 module does not answer".into())));
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn give_back(&self, worker: Worker) {
        let mut state = self.lock();
        state.busy -= 1;
        state.failures = 0;
        state.pause_until = None;
        // That a session lives says nothing about a PIN which was refused to another: it is still not tried again.
        state.trouble.take_if(|trouble| !trouble.is_about_pin());
        state.idle.push(worker);
        drop(state);
        self.changed.notify_one();
    }

    /// A worker is given up. Its idle companions have the same dead sessions.
    fn failed(&self, trouble: Trouble, at_once: bool) {
        let mut state = self.lock();
        state.busy -= 1;
        let companions = std::mem::take(&mut state.idle);
        if !at_once {
            state.pause(trouble);
        }
        drop(state);
        drop(companions);
        self.changed.notify_all();
    }

    /// Starts a worker and logs in, on a thread of its own: it goes on when the one who asked has given up.
    fn start(&self) {
        let deadline = Instant::now() + START_TIME;
        let request = Request::Open {
            modules: self.identity.modules.clone(),
            token: self.identity.token.clone(),
            pin: self.pin.clone(),
        };
        let open = || {
            Worker::start(deadline).and_then(|mut worker| {
                let reply = worker.call(&request, deadline)?;
                Ok((worker, reply))
            })
        };
        let mut opened = open();
        // As in `call`: the module of another process may see the token that this one's does not.
        if let Ok((_, Reply::Failed { kind: FailureKind::Away, .. })) = &opened {
            std::thread::sleep(FIRST_PAUSE);
            opened = open();
        }
        let mut state = self.lock();
        state.starting = false;
        match opened {
            Ok((worker, Reply::Opened { .. })) => {
                // The pause stays until a request was answered: a key may be missing on a token that is there.
                state.idle.push(worker);
            }
            Ok((_, Reply::Failed { kind, message })) => {
                let trouble = Trouble::from_failure(kind, message);
                if matches!(trouble, Trouble::PinRefused(_)) {
                    known(|known| known.refused.insert(self.identity.clone(), trouble.clone()));
                }
                state.pause(trouble);
            }
            Ok(_) => state.pause(Trouble::Away("the PKCS #11 worker answered something else".into())),
            Err(silence) => state.pause(silence.into()),
        }
        drop(state);
        self.changed.notify_all();
    }
}

impl State {
    fn pause(&mut self, trouble: Trouble) {
        let pause = FIRST_PAUSE.saturating_mul(1 << self.failures.min(8)).min(LONGEST_PAUSE);
        self.failures = self.failures.saturating_add(1);
        self.pause_until = Some(Instant::now() + pause);
        self.trouble = Some(trouble);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool() -> Arc<Pool> {
        let identity = Identity { modules: Vec::new(), token: TokenMatch::default(), pin: None };
        Arc::new(Pool { identity, pin: None, state: Mutex::default(), changed: Condvar::new() })
    }

    /// The PIN was changed while some sessions were open: these go on, and no other one is opened with the old PIN.
    #[test]
    fn r21_a_refused_pin_is_not_tried_again_while_other_sessions_live() {
        let pool = pool();
        let refused = Trouble::PinRefused("the token refuses the PIN".into());
        {
            let mut state = pool.lock();
            state.busy = 1;
            state.pause(refused.clone());
        }
        pool.give_back(Worker::for_test());
        let now = Instant::now();
        let living = pool.take(now).unwrap();
        assert_eq!(pool.take(now).unwrap_err(), refused);
        assert!(!pool.lock().starting, "no worker is started, so no PIN is sent");
        pool.give_back(living);
        assert!(pool.take(now).is_ok());
    }

    #[test]
    fn a_token_that_answers_again_is_no_longer_away() {
        let pool = pool();
        {
            let mut state = pool.lock();
            state.busy = 1;
            state.pause(Trouble::Away("the token is not there".into()));
        }
        pool.give_back(Worker::for_test());
        assert_eq!(pool.lock().trouble, None);
    }
}
