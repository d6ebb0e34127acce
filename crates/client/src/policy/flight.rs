//! Answers that are kept for a while, and equal questions that are answered once.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use countersign_policy::CouldNot;
use tokio::sync::OnceCell;
use tokio::time::Instant;

/// About what a question and its place take, in bytes.
const SPARE: usize = 512;

/// An answer, when it was asked for and when it came.
#[derive(Debug, Clone)]
struct Kept<A> {
    asked: Instant,
    came: Instant,
    answer: Result<A, CouldNot>,
}

type Cell<A> = Arc<OnceCell<Kept<A>>>;

/// How long an answer is kept.
type KeptFor<Q, A> = fn(&Q, &Result<A, CouldNot>) -> Duration;

/// How much is kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room<A> {
    /// The most answers.
    pub(super) answers: usize,
    /// The most bytes of them all.
    pub(super) bytes: usize,
    /// About how many bytes an answer takes.
    pub(super) weigh: fn(&A) -> usize,
}

/// A cell, and the bytes that are counted for it: none before its answer is there.
#[derive(Debug)]
struct Slot<A> {
    cell: Cell<A>,
    bytes: usize,
}

/// The cells by their questions, and the bytes of all of them.
#[derive(Debug)]
struct Cells<Q, A> {
    slots: HashMap<Q, Slot<A>>,
    bytes: usize,
}

/// An answer, and whether it was there before the question.
#[derive(Debug, Clone)]
pub(super) struct Answered<A> {
    pub(super) answer: Result<A, CouldNot>,
    pub(super) cached: bool,
}

/// Answers that are kept, or on their way.
#[derive(Debug)]
pub(super) struct Flights<Q, A> {
    cells: Mutex<Cells<Q, A>>,
    room: Room<A>,
}

impl<Q: Clone + Eq + Hash, A: Clone> Cells<Q, A> {
    fn remove(&mut self, question: &Q) {
        if let Some(slot) = self.slots.remove(question) {
            self.bytes -= slot.bytes;
        }
    }

    fn retain(&mut self, mut keeps: impl FnMut(&Q, &Cell<A>) -> bool) {
        let bytes = &mut self.bytes;
        self.slots.retain(|question, slot| {
            let kept = keeps(question, &slot.cell);
            if !kept {
                *bytes -= slot.bytes;
            }
            kept
        });
    }

    /// Forgets what is over; while that is not enough, the older half of the answers that are there.
    fn make_room(&mut self, room: &Room<A>, kept_for: KeptFor<Q, A>) {
        let is_full = |cells: &Self| cells.slots.len() > room.answers || cells.bytes > room.bytes;
        if !is_full(self) {
            return;
        }
        self.retain(|question, cell| {
            cell.get().is_none_or(|kept| kept.came.elapsed() < kept_for(question, &kept.answer))
        });
        while is_full(self) {
            let mut came: Vec<Instant> =
                self.slots.values().filter_map(|slot| Some(slot.cell.get()?.came)).collect();
            let middle = came.len() / 2;
            let Some((_, median, _)) = (!came.is_empty()).then(|| came.select_nth_unstable(middle)) else {
                // All of them are on their way.
                return;
            };
            let median = *median;
            self.retain(|_, cell| cell.get().is_none_or(|kept| kept.came > median));
        }
    }
}

impl<Q: Clone + Eq + Hash, A: Clone> Flights<Q, A> {
    /// Keeps up to so much.
    pub(super) fn new(room: Room<A>) -> Self {
        Self { cells: Mutex::new(Cells { slots: HashMap::new(), bytes: 0 }), room }
    }

    /// The kept answer, the answer that somebody waits for already, or a new one. When whoever waits for a new one goes
    /// away, the next in line fetches it. With `since`, an answer that was asked for before is not enough; that there was
    /// none is, for as long as it is kept.
    pub(super) async fn answer<F>(
        &self,
        question: &Q,
        since: Option<Instant>,
        kept_for: KeptFor<Q, A>,
        fetch: F,
    ) -> Answered<A>
    where
        F: AsyncFnOnce() -> Result<A, CouldNot>,
    {
        let asked = Instant::now();
        let cell = self.cell(question, since, kept_for);
        let Kept { came, answer, .. } = cell
            .get_or_init(|| async {
                let asked = Instant::now();
                let answer = fetch().await;
                Kept { asked, came: Instant::now(), answer }
            })
            .await
            .clone();
        self.count(question, &cell, kept_for);
        if kept_for(question, &answer).is_zero() {
            self.remove(question, &cell);
        }
        Answered { answer, cached: came < asked }
    }

    fn cell(&self, question: &Q, since: Option<Instant>, kept_for: KeptFor<Q, A>) -> Cell<A> {
        let old = |cell: &Cell<A>| {
            cell.get().is_some_and(|kept| {
                kept.came.elapsed() >= kept_for(question, &kept.answer)
                    || (kept.answer.is_ok() && since.is_some_and(|since| kept.asked < since))
            })
        };
        let mut cells = self.lock();
        if let Some(slot) = cells.slots.get(question).filter(|slot| !old(&slot.cell)) {
            return slot.cell.clone();
        }
        cells.remove(question);
        let cell = Cell::default();
        cells.slots.insert(question.clone(), Slot { cell: cell.clone(), bytes: 0 });
        cells.make_room(&self.room, kept_for);
        cell
    }

    /// Counts the bytes of an answer that has come, once.
    fn count(&self, question: &Q, cell: &Cell<A>, kept_for: KeptFor<Q, A>) {
        let mut cells = self.lock();
        let Cells { slots, bytes } = &mut *cells;
        let Some(slot) =
            slots.get_mut(question).filter(|slot| Arc::ptr_eq(&slot.cell, cell) && slot.bytes == 0)
        else {
            return;
        };
        let answer = cell.get().and_then(|kept| kept.answer.as_ref().ok());
        slot.bytes = answer.map_or(0, self.room.weigh).saturating_add(SPARE);
        *bytes = bytes.saturating_add(slot.bytes);
        cells.make_room(&self.room, kept_for);
    }

    fn lock(&self) -> MutexGuard<'_, Cells<Q, A>> {
        self.cells.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remove(&self, question: &Q, cell: &Cell<A>) {
        let mut cells = self.lock();
        if cells.slots.get(question).is_some_and(|kept| Arc::ptr_eq(&kept.cell, cell)) {
            cells.remove(question);
        }
    }

    /// Forgets an answer.
    pub(super) fn forget(&self, question: &Q) {
        self.lock().remove(question);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What weighs as much as it says.
    fn flights(answers: usize, bytes: usize) -> Flights<u32, usize> {
        Flights::new(Room { answers, bytes, weigh: |answer| *answer })
    }

    /// Whether there was an answer already.
    async fn ask(flights: &Flights<u32, usize>, question: u32, answer: usize) -> bool {
        tokio::time::advance(Duration::from_millis(1)).await;
        let hour = |_: &u32, _: &Result<usize, CouldNot>| Duration::from_secs(3600);
        let answered = flights.answer(&question, None, hour, async || Ok(answer)).await;
        assert_eq!(answered.answer, Ok(answer));
        answered.cached
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_kept_is_bounded_in_bytes_and_the_older_go_first() {
        let flights = flights(1000, 100_000);
        for question in 0..100 {
            assert!(!ask(&flights, question, 5000).await);
            assert!(flights.lock().bytes <= 100_000);
        }
        assert!(ask(&flights, 99, 5000).await && !ask(&flights, 0, 5000).await, "the newest are there");
        flights.forget(&99);
        assert!(!ask(&flights, 99, 5000).await);
        // One that has no room at all is answered, and not kept.
        assert!(!ask(&flights, 200, 200_000).await && !ask(&flights, 200, 200_000).await);
        let cells = flights.lock();
        assert_eq!(cells.bytes, cells.slots.values().map(|slot| slot.bytes).sum::<usize>());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_kept_is_bounded_in_number() {
        let flights = flights(10, usize::MAX);
        for question in 0..100 {
            ask(&flights, question, 1).await;
            assert!(flights.lock().slots.len() <= 10);
        }
        assert!(ask(&flights, 99, 1).await);
    }
}
