//! How fast may be written, and how loudly it may be complained.

use std::collections::HashMap;
use std::mem::{Discriminant, discriminant};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Trouble;

/// So many at once, and one more every so often.
#[derive(Debug)]
pub(super) struct Pace {
    burst: u32,
    every: Duration,
    left: u32,
    counted: Instant,
}

impl Pace {
    pub(super) fn new(burst: u32, every: Duration) -> Self {
        Self { burst, every, left: burst, counted: Instant::now() }
    }

    /// Waits until one more may be.
    pub(super) async fn wait(&mut self) {
        self.refill();
        if self.left == 0 {
            sleep(self.every.saturating_sub(self.counted.elapsed())).await;
            self.refill();
        }
        self.left = self.left.saturating_sub(1);
    }

    fn refill(&mut self) {
        let more = self.counted.elapsed().as_nanos().checked_div(self.every.as_nanos()).unwrap_or_default();
        let more = u32::try_from(more).unwrap_or(u32::MAX);
        if self.left.saturating_add(more) >= self.burst {
            (self.left, self.counted) = (self.burst, Instant::now());
        } else {
            self.left += more;
            self.counted += self.every * more;
        }
    }
}

/// How often the same trouble is told again.
const AGAIN: Duration = Duration::from_secs(10 * 60);

/// What goes wrong with each of many objects is told once, and again after a while.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    told: HashMap<(&'static str, Discriminant<Trouble>), Instant>,
}

impl Complaints {
    /// Tells a trouble, unless one of this kind was told. Messages name the object, so they are all different.
    pub(super) fn about(&mut self, what: &'static str, trouble: &Trouble) {
        if self.is_news(what, trouble) {
            tracing::error!(%trouble, "{what}; the like is told again in ten minutes at the earliest");
        } else {
            tracing::debug!(%trouble, "{what}");
        }
    }

    fn is_news(&mut self, what: &'static str, trouble: &Trouble) -> bool {
        let kind = (what, discriminant(trouble));
        let is_news = self.told.get(&kind).is_none_or(|told| told.elapsed() >= AGAIN);
        if is_news {
            self.told.insert(kind, Instant::now());
        }
        is_news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_missing_right_is_told_once_in_ten_minutes_whatever_it_is_missing_for() {
        let mut complaints = Complaints::default();
        let mut told = 0;
        for number in 0..1200 {
            told += usize::from(complaints.is_news("a", &Trouble::Forbidden(number.to_string())));
            sleep(Duration::from_secs(1)).await;
        }
        assert_eq!(told, 2);
        assert!(complaints.is_news("a", &Trouble::NotFound), "another trouble");
        assert!(complaints.is_news("b", &Trouble::Forbidden(String::new())), "of something else");
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_not_used_is_not_saved_up() {
        let mut pace = Pace::new(3, Duration::from_millis(100));
        let begun = Instant::now();
        sleep(Duration::from_secs(60)).await;
        for _ in 0..13 {
            pace.wait().await;
        }
        assert_eq!(begun.elapsed(), Duration::from_secs(61), "three at once, and ten at a time of their own");
    }
}
