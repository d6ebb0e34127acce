//! The check of a log that is running: every full tile and bundle on disk, read again and held against the signed root.

use crate::walk::{Finding, Walk, edge_at};
use crate::{Log, LogError};

/// What a scrub came to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Scrubbed {
    /// How many files were read.
    pub files: u64,
    /// What is damaged.
    pub findings: Vec<Finding>,
    /// Whether all was read; not if it was told to end before.
    pub complete: bool,
}

impl Log {
    /// Reads every full tile and bundle from disk and checks it against the signed tree, as disks may lose in years what
    /// nobody reads. `go_on` is called before each file: it may wait, to leave the disk to others, and end it by false.
    ///
    /// What is not in full tiles yet is in memory and in the write-ahead file, where opening checks it.
    ///
    /// # Errors
    /// [`LogError::Corrupt`] when not even the newest tiles can be read.
    pub fn scrub(&self, go_on: &mut dyn FnMut() -> bool) -> Result<Scrubbed, LogError> {
        let shared = self.shared();
        let size = shared.head().size;
        let edge = edge_at(&shared.tree, size)?;
        let mut walk = Walk {
            storage: shared.tree.storage.as_ref(),
            format: shared.params.format,
            size,
            findings: Vec::new(),
            files: 0,
            go_on,
            visit: &mut |_, _| None,
            stopped: false,
        };
        walk.run(&edge);
        Ok(Scrubbed { files: walk.files, findings: walk.findings, complete: !walk.stopped })
    }
}
