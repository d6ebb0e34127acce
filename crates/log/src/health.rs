//! Whether the log still runs: once failed, it stays so until it is opened again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

/// Set once, by the first failure; watched by the server.
#[derive(Debug)]
pub(crate) struct Health {
    failed: AtomicBool,
    reason: watch::Sender<Option<Arc<str>>>,
}

impl Health {
    pub(crate) fn new() -> Self {
        Self { failed: AtomicBool::new(false), reason: watch::Sender::new(None) }
    }

    pub(crate) fn is_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    pub(crate) fn fail(&self, reason: &str) {
        if !self.failed.swap(true, Ordering::AcqRel) {
            tracing::error!(reason, "the log has failed and takes no more entries");
            self.reason.send_replace(Some(reason.into()));
        }
    }

    pub(crate) fn reason(&self) -> Arc<str> {
        self.reason.borrow().clone().unwrap_or_else(|| "it has stopped".into())
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Option<Arc<str>>> {
        self.reason.subscribe()
    }
}
