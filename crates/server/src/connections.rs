//! How many connections one client may hold open, so that a slow one cannot take all of them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use crate::rate_limit::network;

/// Open connections by client. Holds no more clients than there are connections.
#[derive(Debug, Clone)]
pub(crate) struct PerClient {
    limit: usize,
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// One connection of a client, counted until dropped.
#[derive(Debug)]
pub(crate) struct Held {
    client: IpAddr,
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl PerClient {
    /// `limit` connections for each client; 0 for no limit.
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit: if limit == 0 { usize::MAX } else { limit }, open: Arc::default() }
    }

    /// Counts one more connection of a client, or `None` when it has as many as it may.
    pub(crate) fn take(&self, client: IpAddr) -> Option<Held> {
        let client = network(client);
        // A poisoned lock only means that another task panicked between two plain assignments.
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(client).or_insert(0);
        if *count >= self.limit {
            return None;
        }
        *count += 1;
        Some(Held { client, open: Arc::clone(&self.open) })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_gets_its_connections_back_and_others_are_not_held_back() {
        let all = PerClient::new(2);
        let (one, other) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2]));
        let first = all.take(one);
        let second = all.take(one);
        assert!(first.is_some() && second.is_some() && all.take(one).is_none());
        assert!(all.take(other).is_some());
        drop(first);
        assert!(all.take(one).is_some());
        drop(second);
        assert!(all.open.lock().unwrap().is_empty(), "clients who left are forgotten");
        assert!((0..10_000).map(|_| PerClient::new(0).take(one)).all(|held| held.is_some()));
    }
}
