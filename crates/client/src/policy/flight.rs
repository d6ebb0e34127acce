//! Answers that are kept for a while, and equal questions that are answered once.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use countersign_policy::CouldNot;
use tokio::sync::OnceCell;
use tokio::time::Instant;

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

/// An answer, and whether it was there before the question.
#[derive(Debug, Clone)]
pub(super) struct Answered<A> {
    pub(super) answer: Result<A, CouldNot>,
    pub(super) cached: bool,
}

/// Answers that are kept, or on their way.
#[derive(Debug)]
pub(super) struct Flights<Q, A> {
    cells: Mutex<HashMap<Q, Cell<A>>>,
    /// The most answers that are kept.
    capacity: usize,
}

impl<Q: Clone + Eq + Hash, A: Clone> Flights<Q, A> {
    /// Keeps up to so many.
    pub(super) fn new(capacity: usize) -> Self {
        Self { cells: Mutex::default(), capacity }
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
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cell) = cells.get(question).filter(|cell| !old(cell)) {
            return cell.clone();
        }
        if cells.len() >= self.capacity {
            cells.retain(|question, cell| {
                cell.get().is_none_or(|kept| kept.came.elapsed() < kept_for(question, &kept.answer))
            });
            if cells.len() >= self.capacity {
                cells.clear();
            }
        }
        let cell = Cell::default();
        cells.insert(question.clone(), cell.clone());
        cell
    }

    fn remove(&self, question: &Q, cell: &Cell<A>) {
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        if cells.get(question).is_some_and(|kept| Arc::ptr_eq(kept, cell)) {
            cells.remove(question);
        }
    }

    /// Forgets an answer.
    pub(super) fn forget(&self, question: &Q) {
        self.cells.lock().unwrap_or_else(PoisonError::into_inner).remove(question);
    }
}
