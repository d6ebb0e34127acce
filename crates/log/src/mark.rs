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
#[derive(Debug)]
pub(crate) struct Mark(pub(crate) PathBuf);

impl Mark {
    /// Refuses a tree which does not continue the marked one, and marks it. A mark that cannot be read or written is an
    /// error here: it was asked for.
    pub(crate) fn check(&self, tree: &Tree, head: &TreeHead, signers: &[NoteSigner]) -> Result<(), LogError> {
        let place = self.0.display();
        match fs::read(&self.0) {
            Ok(bytes) => check_known(tree, head, signers, &bytes, &format!("the mark in {place}"))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(LogError::Io { doing: format!("reading the mark in {place}"), error }),
        }
        if head.size > 0 {
            self.write(&head.note).map_err(LogError::io(format!("writing the mark in {place}")))?;
        }
        Ok(())
    }

    /// Marks a checkpoint. Not flushed: it guards against what people put back, and not against a power cut.
    pub(crate) fn write(&self, note: &str) -> io::Result<()> {
        let mut temporary = self.0.clone().into_os_string();
        temporary.push(".tmp");
        fs::write(&temporary, note)?;
        fs::rename(&temporary, &self.0)
    }
}
