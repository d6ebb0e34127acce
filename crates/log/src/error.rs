//! What can go wrong: opening and reading a log, and appending to it.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use countersign_tlog::note::NoteError;
use countersign_tlog::tile::TileError;

/// Why a log could not be created, opened or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// Another process has the log open.
    #[error("the log is in use by process {holder}: stop that process first; two writers would fork the log")]
    LockedBy {
        /// Process id and host name of the holder, as it wrote them itself.
        holder: String,
    },
    /// A log, or what is left of one, is there already.
    #[error("there is a log in this directory already ({found}): a log is created once")]
    Exists {
        /// The file found.
        found: String,
    },
    /// The log's directory is gone.
    #[error("{} is missing", directory.display())]
    NoLog {
        /// Where it should be.
        directory: PathBuf,
    },
    /// The directory has no lock record.
    #[error(
        "no lock record: expected the file {expected}, which is written when a log is created and never again. \
         Without it nothing says which tree was signed last. Restore it, or create a new log under a new origin"
    )]
    NoLockRecord {
        /// The file's name.
        expected: &'static str,
    },
    /// The log is in another store now.
    #[error(
        "the log was moved to another store and goes on there: its lock record is put aside here as {record}. Open \
         it where it is, or move it back with: countersign log migrate. Never put the record back by hand, since two \
         logs with one key fork"
    )]
    Moved {
        /// The file with the record of the time.
        record: &'static str,
    },
    /// The log was rotated out.
    #[error(
        "the log was rotated out and takes no more entries; its successor is {successor}, in the same store. Copy the \
         instance's directory from the machine where `countersign rotate` was run, and start the server again; if a \
         rotation was cut off in this directory, run it once more"
    )]
    Frozen {
        /// The name of the log that took its place.
        successor: String,
    },
    /// What is on disk contradicts itself or what was signed.
    #[error("the log's files contradict each other, so nothing will be signed: {0}")]
    Inconsistent(String),
    /// A file's content is damaged.
    #[error("{path} is damaged: {reason}")]
    Corrupt {
        /// The file, relative to the log's directory.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The signing keys do not fit the log's format or origin.
    #[error("the signing keys do not fit this log: {0}")]
    Signers(String),
    /// What was brought as the log's newest checkpoint is none of this log.
    #[error("it is not a checkpoint that this log signed: {0}")]
    Newest(#[source] NoteError),
    /// Asked for something outside the tree.
    #[error("{0}")]
    OutOfTree(String),
    /// Parameters that make no log.
    #[error("these parameters make no log: {0}")]
    Params(String),
    /// Reading or writing failed.
    #[error("{doing}: {error}")]
    Io {
        /// What was being done.
        doing: String,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// The index of terms is being made, and is not near the log yet.
    #[error("the index of terms is being made: {known} of {size} entries are in it")]
    Behind {
        /// How many entries are in it.
        known: u64,
        /// How many the log has.
        size: u64,
    },
    /// An index, of duplicates or of terms, failed.
    #[error("the index: {0}")]
    Index(#[from] rusqlite::Error),
    /// The store of the search index failed.
    #[error("the search index: {0}")]
    Search(#[source] crate::search::store::StoreError),
}

impl LogError {
    /// Wraps an error of the system with what was being done.
    pub(crate) fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |error| Self::Io { doing, error }
    }

    #[expect(clippy::needless_pass_by_value, reason = "callers give names and paths, owned and borrowed")]
    pub(crate) fn corrupt(path: impl ToString, reason: impl ToString) -> Self {
        Self::Corrupt { path: path.to_string(), reason: reason.to_string() }
    }
}

impl From<TileError> for LogError {
    fn from(error: TileError) -> Self {
        Self::OutOfTree(error.to_string())
    }
}

impl From<NoteError> for LogError {
    fn from(error: NoteError) -> Self {
        Self::Signers(error.to_string())
    }
}

/// Why an entry was not appended. It is not in the log, except after [`AppendError::Storage`]: then it may be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// The disk is full. Reading goes on; appending resumes by itself when there is space.
    #[error("the log's disk is full")]
    Full,
    /// More is waiting than the log takes on.
    #[error("the log is overloaded, try again in {retry_after:?}")]
    Overloaded {
        /// When it is worth trying again.
        retry_after: Duration,
    },
    /// The log was rotated out: nothing enters it any more, and this entry is not acknowledged. It belongs into the
    /// successor, which this process does not know of.
    #[error(
        "the log was rotated out and takes no more entries; this server has to be given the instance's directory as the \
         rotation left it. Send the entry again"
    )]
    RotatedOut,
    /// The log is being shut down.
    #[error("the log is shutting down")]
    ShuttingDown,
    /// Storage failed, and the log takes nothing more until it is opened again. Whether this entry is in the log
    /// shows then; a retry with the same key finds it if so.
    #[error("the log's storage failed and the log has stopped: {0}")]
    Storage(String),
    /// The checkpoint could not be signed; nothing was appended.
    #[error("the checkpoint could not be signed: {0}")]
    Signing(String),
    /// Nobody answered in time. Whether this entry is in the log is not known; a retry with the same key gets its
    /// index if it is.
    #[error("the log did not answer in time; whether the entry is in it is not known: {0}")]
    Unanswered(String),
    /// The leaf is not one of this log's format.
    #[error("not an entry of this log: {0}")]
    InvalidLeaf(String),
}
