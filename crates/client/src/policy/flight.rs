//! Answers that are kept for a while, and equal questions that are answered once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use countersign_policy::{Answer, CouldNot, Question};
use tokio::sync::OnceCell;
use tokio::time::Instant;

/// The most answers that are kept.
const CAPACITY: usize = 50_000;

type Cell = Arc<OnceCell<(Instant, Result<Answer, CouldNot>)>>;

/// An answer, and whether it was there before the question.
#[derive(Debug, Clone)]
pub(super) struct Answered {
    pub(super) answer: Result<Answer, CouldNot>,
    pub(super) cached: bool,
}

/// Answers that are kept, or on their way.
#[derive(Debug, Default)]
pub(super) struct Flights {
    cells: Mutex<HashMap<Question, Cell>>,
}

impl Flights {
    /// The kept answer, the answer that somebody waits for already, or a new one. When whoever waits for a new one goes
    /// away, the next in line fetches it. With `since`, an answer from before it is not enough; that there was none is,
    /// for as long as it is kept.
    pub(super) async fn answer<F>(
        &self,
        question: &Question,
        since: Option<Instant>,
        kept_for: fn(&Question, &Result<Answer, CouldNot>) -> Duration,
        fetch: F,
    ) -> Answered
    where
        F: AsyncFnOnce() -> Result<Answer, CouldNot>,
    {
        let asked = Instant::now();
        let cell = self.cell(question, since, kept_for);
        let (at, answer) = cell
            .get_or_init(|| async {
                let answer = fetch().await;
                (Instant::now(), answer)
            })
            .await
            .clone();
        if kept_for(question, &answer).is_zero() {
            self.remove(question, &cell);
        }
        Answered { answer, cached: at < asked }
    }

    fn cell(
        &self,
        question: &Question,
        since: Option<Instant>,
        kept_for: fn(&Question, &Result<Answer, CouldNot>) -> Duration,
    ) -> Cell {
        let old = |cell: &Cell| {
            cell.get().is_some_and(|(at, answer)| {
                at.elapsed() >= kept_for(question, answer)
                    || (answer.is_ok() && since.is_some_and(|since| *at < since))
            })
        };
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cell) = cells.get(question).filter(|cell| !old(cell)) {
            return cell.clone();
        }
        if cells.len() >= CAPACITY {
            cells.retain(|question, cell| {
                cell.get().is_none_or(|(at, answer)| at.elapsed() < kept_for(question, answer))
            });
            if cells.len() >= CAPACITY {
                cells.clear();
            }
        }
        let cell = Cell::default();
        cells.insert(question.clone(), cell.clone());
        cell
    }

    fn remove(&self, question: &Question, cell: &Cell) {
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        if cells.get(question).is_some_and(|kept| Arc::ptr_eq(kept, cell)) {
            cells.remove(question);
        }
    }

    /// Forgets an answer.
    pub(super) fn forget(&self, question: &Question) {
        self.cells.lock().unwrap_or_else(PoisonError::into_inner).remove(question);
    }
}
