//! How much is taken at once: the bytes of all reviews together, and the reviews that are evaluated.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::review::MAX_REVIEW;

/// In what the memory of bodies is counted, in bytes.
const UNIT: usize = 1 << 10;

/// The most that is taken at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the bodies of all reviews together. What is read out of them takes a few times as much.
    pub bytes: usize,
    /// Reviews that are evaluated.
    pub reviews: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 64 << 20, reviews: 500 }
    }
}

/// The places that are left.
#[derive(Debug)]
pub(crate) struct Load {
    bytes: Arc<Semaphore>,
    reviews: Semaphore,
}

impl Default for Load {
    fn default() -> Self {
        Self::new(Limits::default())
    }
}

impl Load {
    /// One review fits, whatever the limits are.
    pub(crate) fn new(limits: Limits) -> Self {
        let bytes = Arc::new(Semaphore::new(units(limits.bytes.max(MAX_REVIEW))));
        Self { bytes, reviews: Semaphore::new(limits.reviews.clamp(1, Semaphore::MAX_PERMITS)) }
    }

    /// Room for a body of so many bytes, or of any length; `None` at once when there is none. What is too long for any
    /// review is not read, and needs none.
    pub(crate) fn room(&self, declared: Option<u64>) -> Option<OwnedSemaphorePermit> {
        let length = match declared.map(usize::try_from) {
            Some(Ok(length)) if length <= MAX_REVIEW => length,
            Some(_) => 0,
            None => MAX_REVIEW,
        };
        let wanted = u32::try_from(units(length)).unwrap_or(u32::MAX);
        Arc::clone(&self.bytes).try_acquire_many_owned(wanted).ok()
    }

    /// A turn to be evaluated, if one comes within this time. Held for as long as the evaluation lasts.
    pub(crate) async fn turn(&self, within: Duration) -> Option<tokio::sync::SemaphorePermit<'_>> {
        tokio::time::timeout(within, self.reviews.acquire()).await.ok()?.ok()
    }
}

fn units(bytes: usize) -> usize {
    bytes.div_ceil(UNIT).min(Semaphore::MAX_PERMITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_have_room_together_and_no_more() {
        let load = Load::new(Limits { bytes: 2 * MAX_REVIEW, reviews: 1 });
        let half = MAX_REVIEW as u64 / 2;
        let held: Vec<_> = (0..3).map(|_| load.room(Some(half)).expect("room")).collect();
        assert!(load.room(None).is_none(), "one of any length may be long");
        let last = load.room(Some(half)).expect("room");
        assert!(load.room(Some(1)).is_none());
        assert!(load.room(Some(u64::MAX)).is_some(), "it is refused unread");
        drop(last);
        assert!(load.room(Some(1)).is_some());
        drop(held);
        assert!(load.room(None).is_some());
        let small = Load::new(Limits { bytes: 0, reviews: 0 });
        assert!(small.room(None).is_some(), "one review always fits");
    }

    #[tokio::test]
    async fn who_gets_no_turn_in_time_gets_none() {
        let load = Load::new(Limits { bytes: 0, reviews: 1 });
        let held = load.turn(Duration::ZERO).await.expect("a turn");
        assert!(load.turn(Duration::from_millis(1)).await.is_none());
        drop(held);
        assert!(load.turn(Duration::ZERO).await.is_some());
    }
}
