//! What all clients of a program share of each registry, whatever credentials they have: how many requests run at once, and
//! until when it asked to be left alone.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use countersign_http::Pause;
use tokio::sync::Semaphore;

/// The most registries that are remembered while nobody asks them.
const CAPACITY: usize = 1000;

/// The registries that a program talks to. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Shared(Arc<Mutex<HashMap<String, Arc<Gate>>>>);

/// The way to one registry.
#[derive(Debug)]
pub(crate) struct Gate {
    pub(crate) transfers: Arc<Semaphore>,
    pub(crate) pause: Pause,
}

impl Shared {
    /// The way to a registry, through which `concurrency` requests go at once. Whoever asks first decides that.
    pub(crate) fn gate(&self, registry: &str, concurrency: usize) -> Arc<Gate> {
        let mut gates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(gate) = gates.get(registry) {
            return Arc::clone(gate);
        }
        if gates.len() >= CAPACITY {
            gates.retain(|_, gate| Arc::strong_count(gate) > 1 || gate.pause.left().is_some());
        }
        let transfers = Arc::new(Semaphore::new(concurrency.max(1)));
        let gate = Arc::new(Gate { transfers, pause: Pause::default() });
        gates.insert(registry.to_owned(), Arc::clone(&gate));
        gate
    }
}
