//! A database in memory, which loses its leases and its queue on demand.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use countersign_log::AppendError;
use countersign_log::storage::database::{
    Acquired, Answer, Change, Database, Event, Fence, Request, RequestId, Wake,
};
use countersign_log::storage::lease_lost;

type Key = [u8; 32];

struct Lease {
    holder: String,
    token: i64,
    ends: Instant,
}

struct Queued {
    request: Request,
    made: Instant,
    answer: Option<Answer>,
}

#[derive(Default)]
struct State {
    leases: HashMap<String, Lease>,
    files: BTreeMap<(String, String), Vec<u8>>,
    keys: HashMap<(String, Key), u64>,
    upto: HashMap<String, u64>,
    queue: Vec<(String, Queued)>,
    listeners: Vec<(String, Event, Wake)>,
}

/// The database.
#[derive(Clone, Default)]
pub struct MemoryDatabase(Arc<Mutex<State>>);

impl std::fmt::Debug for MemoryDatabase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MemoryDatabase")
    }
}

impl MemoryDatabase {
    /// Every lease is over, whatever its holder thinks.
    pub fn expire(&self) {
        for lease in self.0.lock().unwrap().leases.values_mut() {
            lease.ends = Instant::now();
        }
    }

    /// Loses everything in the queue, as a database does whose standby was behind.
    pub fn lose_queue(&self) {
        self.0.lock().unwrap().queue.clear();
    }

    /// The files of all logs, as a backup has them.
    pub fn snapshot(&self) -> BTreeMap<(String, String), Vec<u8>> {
        self.0.lock().unwrap().files.clone()
    }

    /// Puts a backup in place of the files.
    pub fn restore(&self, backup: &BTreeMap<(String, String), Vec<u8>>) {
        self.0.lock().unwrap().files.clone_from(backup);
    }

    /// How many requests and answers are in the queue.
    pub fn queued(&self) -> usize {
        self.0.lock().unwrap().queue.len()
    }

    fn operate<T>(&self, act: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        act(&mut self.0.lock().unwrap())
    }

    fn tell(&self, log: &str, event: Event) {
        let state = self.0.lock().unwrap();
        for (name, about, wake) in &state.listeners {
            if name == log && *about == event {
                wake();
            }
        }
    }
}

impl State {
    fn check(&self, fence: Fence<'_>) -> io::Result<()> {
        match self.leases.get(fence.log) {
            Some(lease) if lease.token == fence.token => Ok(()),
            _ => Err(lease_lost()),
        }
    }
}

impl Database for MemoryDatabase {
    fn acquire(&self, log: &str, holder: &str, term: Duration) -> io::Result<Acquired> {
        self.operate(|state| {
            let ends = Instant::now() + term;
            match state.leases.get_mut(log) {
                Some(lease) if lease.ends > Instant::now() && lease.holder != holder => {
                    Ok(Acquired::HeldBy(lease.holder.clone()))
                }
                Some(lease) => {
                    *lease = Lease { holder: holder.to_owned(), token: lease.token + 1, ends };
                    Ok(Acquired::Lease { token: lease.token })
                }
                None => {
                    let lease = Lease { holder: holder.to_owned(), token: 1, ends };
                    state.leases.insert(log.to_owned(), lease);
                    Ok(Acquired::Lease { token: 1 })
                }
            }
        })
    }

    fn take_over(&self, log: &str, holder: &str, term: Duration) -> io::Result<i64> {
        self.operate(|state| {
            let token = state.leases.get(log).map_or(1, |lease| lease.token + 1);
            let lease = Lease { holder: holder.to_owned(), token, ends: Instant::now() + term };
            state.leases.insert(log.to_owned(), lease);
            Ok(token)
        })
    }

    fn renew(&self, fence: Fence<'_>, term: Duration) -> io::Result<bool> {
        self.operate(|state| {
            let ours = state.check(fence).is_ok();
            if let Some(lease) = state.leases.get_mut(fence.log).filter(|_| ours) {
                lease.ends = Instant::now() + term;
            }
            Ok(ours)
        })
    }

    fn release(&self, fence: Fence<'_>) -> io::Result<()> {
        self.operate(|state| {
            if state.check(fence).is_ok() {
                state.leases.get_mut(fence.log).unwrap().ends = Instant::now();
            }
            Ok(())
        })
    }

    fn read(&self, log: &str, path: &str) -> io::Result<Option<Vec<u8>>> {
        self.operate(|state| Ok(state.files.get(&(log.to_owned(), path.to_owned())).cloned()))
    }

    fn paths(&self, log: &str) -> io::Result<Vec<String>> {
        self.operate(|state| {
            Ok(state.files.keys().filter(|(name, _)| name == log).map(|(_, path)| path.clone()).collect())
        })
    }

    fn change(&self, fence: Fence<'_>, path: &str, change: Change<'_>) -> io::Result<()> {
        self.operate(|state| {
            state.check(fence)?;
            let name = (fence.log.to_owned(), path.to_owned());
            match change {
                Change::Create if state.files.contains_key(&name) => {
                    return Err(io::ErrorKind::AlreadyExists.into());
                }
                Change::Create => drop(state.files.insert(name, Vec::new())),
                Change::Write { at, bytes } => {
                    let (file, at) = (state.files.entry(name).or_default(), usize::try_from(at).unwrap());
                    file.resize(file.len().max(at + bytes.len()), 0);
                    file[at..at + bytes.len()].copy_from_slice(bytes);
                }
                Change::SetLen(len) => {
                    state.files.entry(name).or_default().resize(usize::try_from(len).unwrap(), 0);
                }
                Change::Replace(content) => drop(state.files.insert(name, content.to_vec())),
                Change::Remove => drop(state.files.remove(&name)),
                Change::RemoveDirectory => {
                    let prefix = format!("{path}/");
                    state.files.retain(|(log, file), _| log != fence.log || !file.starts_with(&prefix));
                }
            }
            Ok(())
        })
    }

    fn keys_upto(&self, log: &str) -> io::Result<u64> {
        self.operate(|state| Ok(state.upto.get(log).copied().unwrap_or(0)))
    }

    fn find_keys(&self, log: &str, keys: &[Key]) -> io::Result<HashMap<Key, u64>> {
        self.operate(|state| {
            let found = |key: &Key| Some((*key, *state.keys.get(&(log.to_owned(), *key))?));
            Ok(keys.iter().filter_map(found).collect())
        })
    }

    fn add_keys(&self, fence: Fence<'_>, rows: &[(Key, u64)], upto: u64) -> io::Result<()> {
        self.operate(|state| {
            state.check(fence)?;
            for (key, index) in rows {
                state.keys.entry((fence.log.to_owned(), *key)).or_insert(*index);
            }
            state.upto.insert(fence.log.to_owned(), upto);
            Ok(())
        })
    }

    fn clear_keys(&self, fence: Fence<'_>) -> io::Result<()> {
        self.operate(|state| {
            state.check(fence)?;
            state.keys.retain(|(log, _), _| log != fence.log);
            state.upto.remove(fence.log);
            Ok(())
        })
    }

    fn enqueue(&self, log: &str, requests: &[Request]) -> io::Result<()> {
        self.operate(|state| {
            for request in requests {
                if !state.queue.iter().any(|(_, queued)| queued.request.id == request.id) {
                    let queued = Queued { request: request.clone(), made: Instant::now(), answer: None };
                    state.queue.push((log.to_owned(), queued));
                }
            }
            Ok(())
        })?;
        self.tell(log, Event::Queued);
        Ok(())
    }

    fn waiting(&self, log: &str, limit: usize) -> io::Result<Vec<Request>> {
        self.operate(|state| {
            let open = state.queue.iter().filter(|(name, queued)| name == log && queued.answer.is_none());
            Ok(open.take(limit).map(|(_, queued)| queued.request.clone()).collect())
        })
    }

    fn answer(&self, log: &str, answers: &[(RequestId, Answer)]) -> io::Result<()> {
        self.operate(|state| {
            for (id, answer) in answers {
                let kept = match answer {
                    Ok(_)
                    | Err(AppendError::InvalidLeaf(_) | AppendError::Signing(_) | AppendError::Full) => {
                        answer
                    }
                    Err(other) => panic!("{other} is no answer"),
                };
                let mut own = state.queue.iter_mut().map(|(_, queued)| queued);
                if let Some(queued) = own.find(|q| q.request.id == *id && q.answer.is_none()) {
                    queued.answer = Some(kept.clone());
                }
            }
            Ok(())
        })?;
        self.tell(log, Event::Answered);
        Ok(())
    }

    fn collect(&self, _: &str, ids: &[RequestId]) -> io::Result<Vec<(RequestId, Answer)>> {
        self.operate(|state| {
            let ready = |queued: &Queued| queued.answer.is_some() && ids.contains(&queued.request.id);
            let (taken, left): (Vec<_>, Vec<_>) =
                std::mem::take(&mut state.queue).into_iter().partition(|(_, queued)| ready(queued));
            state.queue = left;
            Ok(taken.into_iter().map(|(_, queued)| (queued.request.id, queued.answer.unwrap())).collect())
        })
    }

    fn withdraw(&self, _: &str, ids: &[RequestId]) -> io::Result<()> {
        self.operate(|state| {
            state.queue.retain(|(_, queued)| !ids.contains(&queued.request.id));
            Ok(())
        })
    }

    fn forget(&self, log: &str, older: Duration) -> io::Result<()> {
        self.operate(|state| {
            state.queue.retain(|(name, queued)| name != log || queued.made.elapsed() < older);
            Ok(())
        })
    }

    fn listen(&self, log: &str, event: Event, wake: Wake) {
        self.0.lock().unwrap().listeners.push((log.to_owned(), event, wake));
    }
}
