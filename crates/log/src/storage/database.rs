//! What a log past one machine asks of its database: a lease with a fencing token, the files whose order matters,
//! the keys of entries, and the queue by which front ends hand entries to whoever holds the lease.
//!
//! The trait is small so that a test can stand in for the database: lose a lease, hold a writer up, be away.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::time::Duration;

use crate::AppendError;
use crate::index::Key;

/// Names a request in the queue; chosen at random by who makes it, so that putting it there twice is once.
pub type RequestId = [u8; 16];

/// What came of asking for a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acquired {
    /// It is ours; the token is larger than that of every lease before.
    Lease {
        /// Goes with every write.
        token: i64,
    },
    /// Somebody else has it; what they wrote about themselves.
    HeldBy(String),
}

/// Under which lease something is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fence<'a> {
    /// The log.
    pub log: &'a str,
    /// The token of the lease. A write with any but the newest is refused.
    pub token: i64,
}

/// A change of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change<'a> {
    /// Makes an empty file; `AlreadyExists` if there is one.
    Create,
    /// Writes bytes at an offset.
    Write {
        /// The offset.
        at: u64,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// Cuts the file to a length, or fills it up with zeros.
    SetLen(u64),
    /// Puts this content in place of what was there.
    Replace(&'a [u8]),
    /// Removes the file, if there is one.
    Remove,
    /// Removes every file below this directory.
    RemoveDirectory,
}

/// An entry that a front end would have in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Its name.
    pub id: RequestId,
    /// The key by which duplicates are found.
    pub key: Key,
    /// The entry, as `cluster` writes it down.
    pub form: Vec<u8>,
}

/// Where an entry is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Its index.
    pub index: u64,
    /// Whether it was there before.
    pub duplicate: bool,
}

/// What a request got. Only [`AppendError::InvalidLeaf`], [`AppendError::Signing`] and [`AppendError::Full`] are
/// answers; whatever else went wrong leaves the request in the queue for the next holder of the lease.
pub type Answer = Result<Place, AppendError>;

/// What happens in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Requests were put into it.
    Queued,
    /// Requests were answered.
    Answered,
}

/// Called when something happened in the queue. It may be called without cause, and calls may be lost.
pub type Wake = Box<dyn Fn() + Send + Sync>;

/// The database of any number of logs, which are told apart by their names.
///
/// # Contract
/// - What a call has written is durable when it returns without an error, and a change is made whole or not at all. The
///   queue may lose what was last written: who waits puts it there again.
/// - An error says nothing about whether the operation took effect, or still will.
/// - No write under a [`Fence`] takes effect once a lease with a larger token was given out.
pub trait Database: Send + Sync + fmt::Debug {
    /// Takes the lease of a log for a time, if nobody has it or it is over. Who holds it already, by the same name,
    /// gets a new one at once.
    ///
    /// # Errors
    /// What the database says.
    fn acquire(&self, log: &str, holder: &str, term: Duration) -> io::Result<Acquired>;

    /// Takes the lease of a log for a time whoever has it, and gives its token: what is written under theirs takes no
    /// effect any more.
    ///
    /// # Errors
    /// What the database says.
    fn take_over(&self, log: &str, holder: &str, term: Duration) -> io::Result<i64>;

    /// Prolongs a lease from now; false when it has passed to somebody else.
    ///
    /// # Errors
    /// What the database says.
    fn renew(&self, fence: Fence<'_>, term: Duration) -> io::Result<bool>;

    /// Gives a lease up.
    ///
    /// # Errors
    /// What the database says.
    fn release(&self, fence: Fence<'_>) -> io::Result<()>;

    /// Reads a whole file; `None` if there is none.
    ///
    /// # Errors
    /// What the database says.
    fn read(&self, log: &str, path: &str) -> io::Result<Option<Vec<u8>>>;

    /// The paths of all files of a log.
    ///
    /// # Errors
    /// What the database says.
    fn paths(&self, log: &str) -> io::Result<Vec<String>>;

    /// Changes a file.
    ///
    /// # Errors
    /// [`lease_lost`] when the lease has passed to somebody else, `AlreadyExists`, and what the database says.
    fn change(&self, fence: Fence<'_>, path: &str, change: Change<'_>) -> io::Result<()>;

    /// All entries below this index have their keys in the table.
    ///
    /// # Errors
    /// What the database says.
    fn keys_upto(&self, log: &str) -> io::Result<u64>;

    /// The indexes of those of these keys that are in the table.
    ///
    /// # Errors
    /// What the database says.
    fn find_keys(&self, log: &str, keys: &[Key]) -> io::Result<HashMap<Key, u64>>;

    /// Adds keys, of which the first index of each stays; `upto` is the size of the log with them.
    ///
    /// # Errors
    /// [`lease_lost`], and what the database says.
    fn add_keys(&self, fence: Fence<'_>, rows: &[(Key, u64)], upto: u64) -> io::Result<()>;

    /// Forgets all keys.
    ///
    /// # Errors
    /// [`lease_lost`], and what the database says.
    fn clear_keys(&self, fence: Fence<'_>) -> io::Result<()>;

    /// Puts requests into the queue; those that are there already stay as they are.
    ///
    /// # Errors
    /// What the database says.
    fn enqueue(&self, log: &str, requests: &[Request]) -> io::Result<()>;

    /// The oldest requests without an answer.
    ///
    /// # Errors
    /// What the database says.
    fn waiting(&self, log: &str, limit: usize) -> io::Result<Vec<Request>>;

    /// Answers requests.
    ///
    /// # Errors
    /// What the database says.
    fn answer(&self, log: &str, answers: &[(RequestId, Answer)]) -> io::Result<()>;

    /// Takes the answers of these requests out of the queue, as far as there are any.
    ///
    /// # Errors
    /// What the database says.
    fn collect(&self, log: &str, ids: &[RequestId]) -> io::Result<Vec<(RequestId, Answer)>>;

    /// Takes requests out of the queue that nobody waits for any more.
    ///
    /// # Errors
    /// What the database says.
    fn withdraw(&self, log: &str, ids: &[RequestId]) -> io::Result<()>;

    /// Removes requests and answers older than this: whoever made them is gone.
    ///
    /// # Errors
    /// What the database says.
    fn forget(&self, log: &str, older: Duration) -> io::Result<()>;

    /// Calls from now on when something happens in the queue of a log.
    fn listen(&self, log: &str, event: Event, wake: Wake);
}

/// The error of whoever writes under a lease that has passed to somebody else.
#[must_use]
pub fn lease_lost() -> io::Error {
    io::Error::new(
        io::ErrorKind::PermissionDenied,
        "the lease of this log has passed to another process, which writes it now",
    )
}
