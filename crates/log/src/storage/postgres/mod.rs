//! PostgreSQL as the database of logs past one machine.

mod access;
mod pool;
mod sql;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_postgres::Row;

pub use access::PostgresAccess;
use pool::{Commits, Parameter, Pool};

use super::database::{
    Acquired, Answer, Change, Database, Event, Fence, Place, Request, RequestId, Wake, lease_lost,
};
use super::remote;
use crate::AppendError;
use crate::index::Key;

/// How long an operation may take, connecting included.
const LIMIT: Duration = Duration::from_secs(15);

type Listeners = Mutex<Vec<(String, Wake)>>;

/// A PostgreSQL database.
pub struct Postgres {
    pool: Arc<Pool>,
    /// For the queue, which may lose what was last written: it is put there again.
    quick: Arc<Pool>,
    access: PostgresAccess,
    listeners: Arc<Listeners>,
    listening: tokio::task::AbortHandle,
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Postgres").field("access", &self.access).finish_non_exhaustive()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// What is sent to those who listen.
fn payload(log: &str, event: Event) -> String {
    match event {
        Event::Queued => format!("queued {log}"),
        Event::Answered => format!("answered {log}"),
    }
}

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn column<'a, T: tokio_postgres::types::FromSql<'a>>(row: &'a Row, place: usize) -> io::Result<T> {
    row.try_get(place).map_err(|e| pool::failed(&e))
}

/// A value of a fixed length.
fn exact<const N: usize>(row: &Row, place: usize) -> io::Result<[u8; N]> {
    let bytes: &[u8] = column(row, place)?;
    bytes.try_into().map_err(|_| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("the database: expected {N} bytes, found {}", bytes.len()),
        )
    })
}

fn position(row: &Row, place: usize) -> io::Result<u64> {
    let value: i64 = column(row, place)?;
    u64::try_from(value).map_err(|_| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            "the database: expected a position, found a number below 0",
        )
    })
}

/// How refusals are written down.
const INVALID_LEAF: i16 = 1;
const SIGNING: i16 = 2;
const FULL: i16 = 3;

fn refusal(error: &AppendError) -> Option<(i16, String)> {
    match error {
        AppendError::InvalidLeaf(reason) => Some((INVALID_LEAF, reason.clone())),
        AppendError::Signing(reason) => Some((SIGNING, reason.clone())),
        AppendError::Full => Some((FULL, String::new())),
        _ => None,
    }
}

fn answer_of(row: &Row) -> io::Result<Answer> {
    let refused: Option<i16> = column(row, 3)?;
    let reason: Option<String> = column(row, 4)?;
    let reason = reason.unwrap_or_default();
    Ok(match refused {
        None => Ok(Place { index: position(row, 1)?, duplicate: column(row, 2)? }),
        Some(INVALID_LEAF) => Err(AppendError::InvalidLeaf(reason)),
        Some(FULL) => Err(AppendError::Full),
        Some(_) => Err(AppendError::Signing(reason)),
    })
}

impl Postgres {
    /// Connects, and makes the tables if they are not there.
    ///
    /// # Errors
    /// What the database says; `InvalidInput` when it runs without durability.
    pub fn connect(access: PostgresAccess) -> io::Result<Self> {
        let pool = Arc::new(Pool::new(access.clone(), Commits::Durable)?);
        let quick = Arc::new(Pool::new(access.clone(), Commits::Quick)?);
        let preparing = Arc::clone(&pool);
        remote::wait(LIMIT, async move { preparing.prepare().await })?;
        let listeners: Arc<Listeners> = Arc::default();
        let (listening, to_tell) = (Arc::clone(&pool), Arc::clone(&listeners));
        let task = remote::runtime()?.spawn(listening.listen(move |heard| {
            let listeners = to_tell.lock().unwrap_or_else(PoisonError::into_inner);
            for (_, wake) in
                listeners.iter().filter(|(payload, _)| heard.is_none_or(|heard| heard == payload))
            {
                wake();
            }
        }));
        Ok(Self { pool, quick, access, listeners, listening: task.abort_handle() })
    }

    fn query(&self, text: &'static str, parameters: Vec<Parameter>) -> io::Result<Vec<Row>> {
        remote::wait(LIMIT, Arc::clone(&self.pool).query(text, parameters, None))
    }

    /// Does something with the queue, and tells who listens.
    fn queue(
        &self,
        text: &'static str,
        parameters: Vec<Parameter>,
        tell: Option<String>,
    ) -> io::Result<Vec<Row>> {
        remote::wait(LIMIT, Arc::clone(&self.quick).query(text, parameters, tell))
    }

    /// Writes under a lease; says how much was made.
    fn fenced(
        &self,
        fence: Fence<'_>,
        text: &'static str,
        more: impl IntoIterator<Item = Parameter>,
    ) -> io::Result<i64> {
        let mut parameters: Vec<Parameter> = vec![Box::new(fence.log.to_owned()), Box::new(fence.token)];
        parameters.extend(more);
        let rows = self.query(text, parameters)?;
        let row = rows.first().ok_or_else(|| io::Error::other("the database: expected a row, found none"))?;
        let held: i64 = column(row, 0)?;
        if held == 0 { Err(lease_lost()) } else { column(row, 1) }
    }
}

/// Puts the pieces of a file together.
fn assemble(rows: &[Row]) -> io::Result<Option<Vec<u8>>> {
    let mut whole = Vec::new();
    for row in rows {
        let (at, piece) = (position(row, 0)?, column::<&[u8]>(row, 1)?);
        let from = usize::try_from(at).map_err(io::Error::other)?;
        let to = from.saturating_add(piece.len());
        if whole.len() < to {
            whole.resize(to, 0);
        }
        if let Some(part) = whole.get_mut(from..to) {
            part.copy_from_slice(piece);
        }
    }
    Ok((!rows.is_empty()).then_some(whole))
}

fn leasing(log: &str, holder: &str, term: Duration) -> Vec<Parameter> {
    vec![Box::new(log.to_owned()), Box::new(holder.to_owned()), Box::new(milliseconds(term))]
}

fn ids(ids: &[RequestId]) -> Parameter {
    Box::new(ids.iter().map(|id| id.to_vec()).collect::<Vec<_>>())
}

fn keys(keys: impl Iterator<Item = Key>) -> Parameter {
    Box::new(keys.map(|key| key.to_vec()).collect::<Vec<_>>())
}

impl Database for Postgres {
    fn acquire(&self, log: &str, holder: &str, term: Duration) -> io::Result<Acquired> {
        if let Some(row) = self.query(sql::ACQUIRE, leasing(log, holder, term))?.first() {
            return Ok(Acquired::Lease { token: column(row, 0)? });
        }
        let rows = self.query(sql::HOLDER, vec![Box::new(log.to_owned())])?;
        let holder = rows.first().map(|row| column(row, 0)).transpose()?;
        Ok(Acquired::HeldBy(holder.unwrap_or_else(|| "unknown".to_owned())))
    }

    fn take_over(&self, log: &str, holder: &str, term: Duration) -> io::Result<i64> {
        let rows = self.query(sql::TAKE_OVER, leasing(log, holder, term))?;
        let row = rows.first().ok_or_else(|| io::Error::other("the database: expected a row, found none"))?;
        column(row, 0)
    }

    fn renew(&self, fence: Fence<'_>, term: Duration) -> io::Result<bool> {
        let parameters: Vec<Parameter> =
            vec![Box::new(fence.log.to_owned()), Box::new(fence.token), Box::new(milliseconds(term))];
        Ok(!self.query(sql::RENEW, parameters)?.is_empty())
    }

    fn release(&self, fence: Fence<'_>) -> io::Result<()> {
        self.query(sql::RELEASE, vec![Box::new(fence.log.to_owned()), Box::new(fence.token)]).map(drop)
    }

    fn read(&self, log: &str, path: &str) -> io::Result<Option<Vec<u8>>> {
        assemble(&self.query(sql::READ, vec![Box::new(log.to_owned()), Box::new(path.to_owned())])?)
    }

    fn paths(&self, log: &str) -> io::Result<Vec<String>> {
        self.query(sql::PATHS, vec![Box::new(log.to_owned())])?.iter().map(|row| column(row, 0)).collect()
    }

    fn change(&self, fence: Fence<'_>, path: &str, change: Change<'_>) -> io::Result<()> {
        let owned: Parameter = Box::new(path.to_owned());
        let made = match change {
            Change::Create => self.fenced(fence, sql::CREATE, [owned])?,
            Change::Write { at, bytes } => {
                let more: [Parameter; 3] = [owned, Box::new(number(at)), Box::new(bytes.to_vec())];
                self.fenced(fence, sql::WRITE, more)?
            }
            Change::SetLen(len) => self.fenced(fence, sql::SET_LEN, [owned, Box::new(number(len))])?,
            Change::Replace(content) => {
                self.fenced(fence, sql::REPLACE, [owned, Box::new(content.to_vec())])?
            }
            Change::Remove => self.fenced(fence, sql::REMOVE, [owned])?,
            Change::RemoveDirectory => {
                let prefix: Parameter = Box::new(format!("{path}/"));
                self.fenced(fence, sql::REMOVE_DIRECTORY, [prefix])?
            }
        };
        if change == Change::Create && made == 0 { Err(io::ErrorKind::AlreadyExists.into()) } else { Ok(()) }
    }

    fn keys_upto(&self, log: &str) -> io::Result<u64> {
        let rows = self.query(sql::KEYS_UPTO, vec![Box::new(log.to_owned())])?;
        rows.first().map_or(Ok(0), |row| position(row, 0))
    }

    fn find_keys(&self, log: &str, wanted: &[Key]) -> io::Result<HashMap<Key, u64>> {
        let rows =
            self.query(sql::FIND_KEYS, vec![Box::new(log.to_owned()), keys(wanted.iter().copied())])?;
        rows.iter().map(|row| Ok((exact(row, 0)?, position(row, 1)?))).collect()
    }

    fn add_keys(&self, fence: Fence<'_>, rows: &[(Key, u64)], upto: u64) -> io::Result<()> {
        let positions: Vec<i64> = rows.iter().map(|(_, index)| number(*index)).collect();
        let more: [Parameter; 3] =
            [keys(rows.iter().map(|(key, _)| *key)), Box::new(positions), Box::new(number(upto))];
        self.fenced(fence, sql::ADD_KEYS, more).map(drop)
    }

    fn clear_keys(&self, fence: Fence<'_>) -> io::Result<()> {
        self.fenced(fence, sql::CLEAR_KEYS, []).map(drop)
    }

    fn enqueue(&self, log: &str, requests: &[Request]) -> io::Result<()> {
        let forms: Vec<Vec<u8>> = requests.iter().map(|request| request.form.clone()).collect();
        let parameters: Vec<Parameter> = vec![
            Box::new(log.to_owned()),
            Box::new(requests.iter().map(|request| request.id.to_vec()).collect::<Vec<_>>()),
            keys(requests.iter().map(|request| request.key)),
            Box::new(forms),
        ];
        self.queue(sql::ENQUEUE, parameters, Some(payload(log, Event::Queued))).map(drop)
    }

    fn waiting(&self, log: &str, limit: usize) -> io::Result<Vec<Request>> {
        let parameters: Vec<Parameter> = vec![Box::new(log.to_owned()), Box::new(number(limit as u64))];
        self.queue(sql::WAITING, parameters, None)?
            .iter()
            .map(|row| Ok(Request { id: exact(row, 0)?, key: exact(row, 1)?, form: column(row, 2)? }))
            .collect()
    }

    fn answer(&self, log: &str, answers: &[(RequestId, Answer)]) -> io::Result<()> {
        let (mut named, mut positions, mut duplicates) = (Vec::new(), Vec::new(), Vec::new());
        let (mut refusals, mut reasons) = (Vec::new(), Vec::new());
        for (id, answer) in answers {
            let place = answer.as_ref().ok();
            let refused = answer.as_ref().err().and_then(refusal);
            if place.is_none() && refused.is_none() {
                continue;
            }
            named.push(*id);
            positions.push(place.map(|place| number(place.index)));
            duplicates.push(place.map(|place| place.duplicate));
            refusals.push(refused.as_ref().map(|(kind, _)| *kind));
            reasons.push(refused.map(|(_, reason)| reason));
        }
        let parameters: Vec<Parameter> = vec![
            Box::new(log.to_owned()),
            ids(&named),
            Box::new(positions),
            Box::new(duplicates),
            Box::new(refusals),
            Box::new(reasons),
        ];
        self.queue(sql::ANSWER, parameters, Some(payload(log, Event::Answered))).map(drop)
    }

    fn collect(&self, log: &str, wanted: &[RequestId]) -> io::Result<Vec<(RequestId, Answer)>> {
        self.queue(sql::COLLECT, vec![Box::new(log.to_owned()), ids(wanted)], None)?
            .iter()
            .map(|row| Ok((exact(row, 0)?, answer_of(row)?)))
            .collect()
    }

    fn withdraw(&self, log: &str, unwanted: &[RequestId]) -> io::Result<()> {
        self.queue(sql::WITHDRAW, vec![Box::new(log.to_owned()), ids(unwanted)], None).map(drop)
    }

    fn forget(&self, log: &str, older: Duration) -> io::Result<()> {
        self.queue(sql::FORGET, vec![Box::new(log.to_owned()), Box::new(milliseconds(older))], None).map(drop)
    }

    fn listen(&self, log: &str, event: Event, wake: Wake) {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner).push((payload(log, event), wake));
    }
}
