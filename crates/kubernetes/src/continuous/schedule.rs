//! When each workload is judged again: once in an interval, all of them evenly spread over it, and at once when asked.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use super::workloads::Id;

/// 2^64 divided by the golden ratio: multiples of it fill a circle evenly, however many there are.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

#[derive(Debug, Clone, Copy)]
struct Slot {
    due: Instant,
    /// From when evidence counts, for what was asked for; the rest goes by the interval.
    asked: Option<Instant>,
}

/// What is due when.
#[derive(Debug)]
pub(super) struct Schedule {
    interval: Duration,
    begun: Instant,
    /// What was asked for goes first.
    asked: BTreeSet<(Instant, Id)>,
    turns: BTreeSet<(Instant, Id)>,
    slots: HashMap<Id, Slot>,
}

impl Schedule {
    pub(super) fn new(interval: Duration, begun: Instant) -> Self {
        let interval = interval.max(Duration::from_millis(1));
        Self { interval, begun, asked: BTreeSet::new(), turns: BTreeSet::new(), slots: HashMap::new() }
    }

    /// At once, with evidence from `since` on. Of two askings the stricter holds, and the earlier place.
    pub(super) fn at_once(&mut self, id: Id, now: Instant, since: Instant) {
        let (due, since) = match self.remove(id) {
            Some(Slot { due, asked: Some(asked) }) => (due.min(now), asked.max(since)),
            _ => (now, since),
        };
        self.asked.insert((due, id));
        self.slots.insert(id, Slot { due, asked: Some(since) });
    }

    /// At its next turn: at the latest one interval from now. What is asked for already stays so.
    pub(super) fn in_turn(&mut self, id: Id, now: Instant) {
        self.by(id, self.turn(id, now));
    }

    /// After this time, or at its turn if that comes first.
    pub(super) fn soon(&mut self, id: Id, now: Instant, after: Duration) {
        self.by(id, self.turn(id, now).min(now + after));
    }

    fn by(&mut self, id: Id, due: Instant) {
        match self.slots.get(&id) {
            Some(Slot { asked: Some(_), .. }) => return,
            Some(Slot { due, .. }) => drop(self.turns.remove(&(*due, id))),
            None => {}
        }
        self.turns.insert((due, id));
        self.slots.insert(id, Slot { due, asked: None });
    }

    /// The next time at which it is this workload's turn.
    fn turn(&self, id: Id, now: Instant) -> Instant {
        let interval = self.interval.as_nanos();
        let offset = (u128::from(id.wrapping_mul(GOLDEN)) * interval) >> 64;
        let passed = now.duration_since(self.begun).as_nanos();
        let since_turn = (passed + interval - offset) % interval;
        let left = u64::try_from(interval - since_turn).unwrap_or(u64::MAX);
        now + Duration::from_nanos(left)
    }

    /// When the first is due.
    pub(super) fn next(&self) -> Option<Instant> {
        let first = |queue: &BTreeSet<(Instant, Id)>| queue.first().map(|(due, _)| *due);
        [first(&self.asked), first(&self.turns)].into_iter().flatten().min()
    }

    /// Takes one that is due, and from when its evidence counts if it was asked for.
    pub(super) fn pop(&mut self, now: Instant) -> Option<(Id, Option<Instant>)> {
        let due =
            |queue: &BTreeSet<(Instant, Id)>| queue.first().filter(|(due, _)| *due <= now).map(|(_, id)| *id);
        let id = due(&self.asked).or_else(|| due(&self.turns))?;
        self.remove(id).map(|slot| (id, slot.asked))
    }

    pub(super) fn forget(&mut self, id: Id) {
        self.remove(id);
    }

    fn remove(&mut self, id: Id) -> Option<Slot> {
        let slot = self.slots.remove(&id)?;
        self.asked.remove(&(slot.due, id));
        self.turns.remove(&(slot.due, id));
        Some(slot)
    }

    /// How long the first has been waiting.
    pub(super) fn late(&self, now: Instant) -> Duration {
        self.next().map_or(Duration::ZERO, |due| now.saturating_duration_since(due))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(600);

    #[tokio::test(start_paused = true)]
    async fn turns_are_spread_evenly_and_come_once_in_an_interval() {
        let begun = Instant::now();
        let mut schedule = Schedule::new(INTERVAL, begun);
        for id in 1..=6000 {
            schedule.in_turn(id, begun);
        }
        let mut per_minute = [0_u32; 10];
        let mut last = begun;
        while let Some((id, asked)) = schedule.next().and_then(|due| {
            last = due;
            schedule.pop(due)
        }) {
            assert_eq!(asked, None);
            let after = last - begun;
            assert!(after <= INTERVAL, "{id}");
            per_minute[usize::try_from(after.as_millis().saturating_sub(1) / 60_000).unwrap()] += 1;
            // Its next turn is one interval later.
            assert_eq!(schedule.turn(id, last), last + INTERVAL, "{id}");
        }
        assert!(per_minute.iter().all(|count| (595..=605).contains(count)), "{per_minute:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_asked_for_goes_first_and_by_the_stricter_asking() {
        let begun = Instant::now();
        let mut schedule = Schedule::new(INTERVAL, begun);
        schedule.in_turn(1, begun);
        schedule.in_turn(2, begun);
        let now = begun + INTERVAL;
        schedule.at_once(2, now, begun);
        schedule.at_once(2, now, now);
        schedule.at_once(2, now, begun);
        schedule.in_turn(2, now);
        assert_eq!(schedule.pop(now), Some((2, Some(now))));
        assert_eq!(schedule.pop(now), Some((1, None)));
        assert_eq!(schedule.pop(now), None);
        schedule.soon(1, now, Duration::from_secs(1));
        assert!(schedule.next().unwrap() <= now + Duration::from_secs(1));
        assert_eq!(schedule.late(now + INTERVAL), INTERVAL - (schedule.next().unwrap() - now));
        schedule.forget(1);
        assert_eq!((schedule.next(), schedule.late(now)), (None, Duration::ZERO));
    }
}
