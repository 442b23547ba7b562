//! Remembers containers that have ended while the engine does not know it yet.
//!
//! Stop sees the processes end long before the engine does (1.5 ms against some 100 ms). Until the
//! engine has caught up its answers about them are wrong; whoever reads such an answer waits first.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

/// Ids of containers that ended just now; cheap to clone, one set for all clones.
#[derive(Debug, Clone, Default)]
pub(super) struct Settling {
    ids: Arc<Mutex<HashSet<String>>>,
}

impl Settling {
    /// It has ended; the engine will learn it.
    pub(super) fn insert(&self, id: &str) {
        self.lock().insert(id.to_owned());
    }

    /// The engine knows.
    pub(super) fn remove(&self, id: &str) {
        self.lock().remove(id);
    }

    /// Whether the engine's answer about it may be out of date.
    pub(super) fn contains(&self, id: &str) -> bool {
        self.lock().contains(id)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        // No call in here can leave the set half changed.
        self.ids.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
