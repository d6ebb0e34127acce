//! The way of one process of a test to its database: it fails on demand, holds its callers up, and can be cut for good,
//! as when the process is killed.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use countersign_log::storage::database::{
    Acquired, Answer, Change, Database, Event, Fence, Request, RequestId, Wake,
};

use super::sim::Fault;

type Key = [u8; 32];

#[derive(Debug, Default)]
struct State {
    operations: u64,
    fault: Option<(u64, Fault)>,
    off: bool,
    /// The operation before which the process is held up, and whether it is.
    hold: Option<u64>,
    held: bool,
}

/// A wire to a database.
#[derive(Debug, Clone)]
pub struct Wire {
    database: Arc<dyn Database>,
    state: Arc<(Mutex<State>, Condvar)>,
}

impl Wire {
    pub fn to(database: Arc<dyn Database>) -> Self {
        Self { database, state: Arc::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.0.lock().unwrap()
    }

    /// How many operations there were.
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// Plans a failure for the operation after so many more; with a power cut, for all after it too.
    pub fn fail_after(&self, operations: u64, fault: Fault) {
        let mut state = self.state();
        state.fault = Some((state.operations + 1 + operations, fault));
    }

    /// Nothing comes through any more.
    pub fn cut(&self) {
        self.state().off = true;
    }

    /// Holds the process up at the operation after so many more, until released.
    pub fn hold_after(&self, operations: u64) {
        let mut state = self.state();
        state.hold = Some(state.operations + 1 + operations);
    }

    /// Waits until the process is held up, or for this long; says whether it is.
    pub fn wait_held(&self, most: Duration) -> bool {
        let state = self.state();
        self.state.1.wait_timeout_while(state, most, |state| !state.held).unwrap().0.held
    }

    /// Lets the process go on.
    pub fn release(&self) {
        let mut state = self.state();
        (state.hold, state.held) = (None, false);
        self.state.1.notify_all();
    }

    fn operate<T>(&self, act: impl FnOnce(&dyn Database) -> io::Result<T>) -> io::Result<T> {
        let error = || Err(io::Error::other("simulated failure"));
        let fault = {
            let mut state = self.state();
            state.operations += 1;
            if state.hold == Some(state.operations) {
                state.held = true;
                self.state.1.notify_all();
            }
            let mut state = self.state.1.wait_while(state, |state| state.held).unwrap();
            if state.off {
                return error();
            }
            let now = state.operations;
            let fault = state.fault.filter(|(at, _)| *at == now).map(|(_, fault)| fault);
            state.off = matches!(fault, Some(Fault::PowerCut | Fault::PowerCutAfter));
            fault
        };
        match fault {
            None => act(self.database.as_ref()),
            Some(Fault::NotDone | Fault::PowerCut) => error(),
            Some(_) => {
                act(self.database.as_ref())?;
                error()
            }
        }
    }
}

impl Database for Wire {
    fn acquire(&self, log: &str, holder: &str, term: Duration) -> io::Result<Acquired> {
        self.operate(|database| database.acquire(log, holder, term))
    }
    fn take_over(&self, log: &str, holder: &str, term: Duration) -> io::Result<i64> {
        self.operate(|database| database.take_over(log, holder, term))
    }
    fn renew(&self, fence: Fence<'_>, term: Duration) -> io::Result<bool> {
        // Not counted as an operation: when it comes is a matter of time. A process held up does not renew.
        let off = self.state.1.wait_while(self.state(), |state| state.held).unwrap().off;
        if off { Err(io::Error::other("simulated failure")) } else { self.database.renew(fence, term) }
    }
    fn release(&self, fence: Fence<'_>) -> io::Result<()> {
        self.operate(|database| database.release(fence))
    }
    fn read(&self, log: &str, path: &str) -> io::Result<Option<Vec<u8>>> {
        self.operate(|database| database.read(log, path))
    }
    fn paths(&self, log: &str) -> io::Result<Vec<String>> {
        self.operate(|database| database.paths(log))
    }
    fn change(&self, fence: Fence<'_>, path: &str, change: Change<'_>) -> io::Result<()> {
        self.operate(|database| database.change(fence, path, change))
    }
    fn keys_upto(&self, log: &str) -> io::Result<u64> {
        self.operate(|database| database.keys_upto(log))
    }
    fn find_keys(&self, log: &str, keys: &[Key]) -> io::Result<HashMap<Key, u64>> {
        self.operate(|database| database.find_keys(log, keys))
    }
    fn add_keys(&self, fence: Fence<'_>, rows: &[(Key, u64)], upto: u64) -> io::Result<()> {
        self.operate(|database| database.add_keys(fence, rows, upto))
    }
    fn clear_keys(&self, fence: Fence<'_>) -> io::Result<()> {
        self.operate(|database| database.clear_keys(fence))
    }
    fn enqueue(&self, log: &str, requests: &[Request]) -> io::Result<()> {
        self.operate(|database| database.enqueue(log, requests))
    }
    fn waiting(&self, log: &str, limit: usize) -> io::Result<Vec<Request>> {
        self.operate(|database| database.waiting(log, limit))
    }
    fn answer(&self, log: &str, answers: &[(RequestId, Answer)]) -> io::Result<()> {
        self.operate(|database| database.answer(log, answers))
    }
    fn collect(&self, log: &str, ids: &[RequestId]) -> io::Result<Vec<(RequestId, Answer)>> {
        self.operate(|database| database.collect(log, ids))
    }
    fn withdraw(&self, log: &str, ids: &[RequestId]) -> io::Result<()> {
        self.operate(|database| database.withdraw(log, ids))
    }
    fn forget(&self, log: &str, older: Duration) -> io::Result<()> {
        self.operate(|database| database.forget(log, older))
    }
    fn listen(&self, log: &str, event: Event, wake: Wake) {
        self.database.listen(log, event, wake);
    }
}
