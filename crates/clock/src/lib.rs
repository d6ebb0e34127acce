//! Where time comes from.
//!
//! Pure crates take a [`Timestamp`] as an argument. Services hold a [`Clock`], so that a test, a simulator or
//! a drill can move time without touching the machine's clock. Only [`SystemClock`] reads the machine's.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

pub use jiff::Timestamp;

/// A source of the current time.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// The time now.
    fn now(&self) -> Timestamp;
}

impl<T: Clock + ?Sized> Clock for Arc<T> {
    fn now(&self) -> Timestamp {
        (**self).now()
    }
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        // jiff reads the clock itself only with its default features, which pure crates must not have.
        std::time::SystemTime::now().try_into().unwrap_or(Timestamp::MAX)
    }
}

/// A clock which stands still until it is moved.
///
/// ```
/// use countersign_clock::{Clock, ManualClock, Timestamp};
/// let clock = ManualClock::new(Timestamp::from_second(1_000_000)?);
/// clock.advance_seconds(60);
/// assert_eq!(clock.now().as_second(), 1_000_060);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ManualClock {
    /// Milliseconds since the Unix epoch.
    milliseconds: AtomicI64,
}

impl ManualClock {
    /// A clock which shows this time, to the millisecond.
    #[must_use]
    pub fn new(start: Timestamp) -> Self {
        Self { milliseconds: AtomicI64::new(start.as_millisecond()) }
    }

    /// Sets the time, forwards or back.
    pub fn set(&self, time: Timestamp) {
        self.milliseconds.store(time.as_millisecond(), Ordering::SeqCst);
    }

    /// Moves the time by some seconds, back if negative.
    pub fn advance_seconds(&self, seconds: i64) {
        self.milliseconds.fetch_add(seconds.saturating_mul(1000), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.milliseconds.load(Ordering::SeqCst)).unwrap_or(Timestamp::MAX)
    }
}
