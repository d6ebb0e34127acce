//! A mark outside of the log's directory: the newest checkpoint once more.
//!
//! A directory that was put back whole from an old copy contradicts nothing in itself. What it cannot take back with it
//! is a file that lies elsewhere, best on another disk.

use std::fs;
use std::io;
use std::path::PathBuf;

use countersign_tlog::NoteSigner;

use crate::LogError;
use crate::lock_record::TreeHead;
use crate::recovery::check_known;
use crate::tree::Tree;

/// The file with the mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// Where it is.
    pub path: PathBuf,
    /// Whether somebody asked for it: a mark that cannot be read or written then is an error when the log is opened.
    /// Else that is told, and the log goes on without it.
    pub needed: bool,
}

impl Mark {
    /// Refuses a tree which does not continue the marked one, and marks it. The mark that is kept from now on.
    pub(crate) fn check(
        self,
        tree: &Tree,
        head: &TreeHead,
        signers: &[NoteSigner],
    ) -> Result<Option<Self>, LogError> {
        let place = self.path.display();
        match fs::read(&self.path) {
            Ok(bytes) => check_known(tree, head, signers, &bytes, &format!("the mark in {place}"))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                return self.without(LogError::Io { doing: format!("reading the mark in {place}"), error });
            }
        }
        if head.size > 0
            && let Err(error) = self.write(&head.note)
        {
            return self.without(LogError::Io { doing: format!("writing the mark in {place}"), error });
        }
        Ok(Some(self))
    }

    /// What becomes of a mark that cannot be kept.
    fn without(&self, error: LogError) -> Result<Option<Self>, LogError> {
        if self.needed {
            return Err(error);
        }
        tracing::warn!(%error, "there is no mark of this log: put back whole from an old copy, it would fork unnoticed");
        Ok(None)
    }

    /// Marks a checkpoint. Not flushed: it guards against what people put back, and not against a power cut.
    pub(crate) fn write(&self, note: &str) -> io::Result<()> {
        let mut temporary = self.path.clone().into_os_string();
        temporary.push(".tmp");
        fs::write(&temporary, note)?;
        fs::rename(&temporary, &self.path)
    }
}
