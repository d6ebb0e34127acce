//! A service that asked to be left alone for a while, for all who would ask it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Until when a service is not to be asked. Shared by those who ask it.
#[derive(Debug, Default)]
pub struct Pause(Mutex<Option<Instant>>);

impl Pause {
    /// How much longer it is to be left alone, if it is.
    #[must_use]
    pub fn left(&self) -> Option<Duration> {
        let until = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        until?.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
    }

    /// Leaves it alone for this long, or as long as it was to be left alone already.
    pub(crate) fn begin(&self, asked: Duration) {
        let until = Instant::now() + asked;
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *known = (*known).max(Some(until));
    }
}
