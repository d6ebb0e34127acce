//! What this process waits for, told to whoever gives up: a limit on a whole command ends requests of which it knows
//! nothing, on other threads too.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

struct Open {
    next: u64,
    waits: BTreeMap<u64, String>,
}

static OPEN: Mutex<Open> = Mutex::new(Open { next: 0, waits: BTreeMap::new() });

fn open() -> MutexGuard<'static, Open> {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What requests under way wait for now, the oldest first: a service by its name and address, and whether it has to
/// answer or has asked to be asked later. Holds no secret, and its foreign parts are printable.
#[must_use]
pub fn waiting() -> Vec<String> {
    open().waits.values().cloned().collect()
}

/// A wait that lasts as long as this value.
#[derive(Debug)]
pub(crate) struct Waiting(u64);

impl Waiting {
    pub(crate) fn new(what: String) -> Self {
        let mut open = open();
        let number = open.next;
        open.next += 1;
        open.waits.insert(number, what);
        Self(number)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        open().waits.remove(&self.0);
    }
}
