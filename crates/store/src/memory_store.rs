//! A [`StateStore`] in memory, for tests of control and the core that need no disk.
//!
//! It passes the same conformance suite as the real ones. It is never used by a running cluster:
//! nothing in it survives the process.

use crate::state_store::{Commit, Entry, Expect, StateStore, StoreError, Transaction, Write};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// State that lives as long as the last handle on it.
#[derive(Debug, Default)]
pub struct MemoryStore {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    revision: u64,
    entries: BTreeMap<String, (u64, Vec<u8>)>,
}

impl MemoryStore {
    /// Another handle on the same state: what a process that starts again would open.
    #[must_use]
    pub fn reopen(&self) -> Self {
        Self {
            state: Arc::clone(&self.state),
        }
    }

    /// A transaction is applied whole or not at all, so the state is sound even if a thread that
    /// held the lock has panicked.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn holds(&self, expect: &Expect) -> bool {
        match expect {
            Expect::Absent(key) => !self.entries.contains_key(key),
            Expect::Revision(key, revision) => self
                .entries
                .get(key)
                .is_some_and(|(found, _)| found == revision),
        }
    }
}

impl StateStore for MemoryStore {
    fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        let state = self.state();
        Ok(state.entries.get(key).map(|(revision, value)| Entry {
            key: key.to_owned(),
            value: value.clone(),
            revision: *revision,
        }))
    }

    fn range(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        let state = self.state();
        Ok(state
            .entries
            .range(prefix.to_owned()..)
            .take_while(|(key, _)| key.starts_with(prefix))
            .map(|(key, (revision, value))| Entry {
                key: key.clone(),
                value: value.clone(),
                revision: *revision,
            })
            .collect())
    }

    fn commit(&mut self, transaction: &Transaction) -> Result<Commit, StoreError> {
        let mut state = self.state();
        if let Some(failed) = transaction.expect.iter().find(|e| !state.holds(e)) {
            return Ok(Commit::Conflict(failed.clone()));
        }
        let revision = state.revision + 1;
        state.revision = revision;
        for write in &transaction.writes {
            match write {
                Write::Put(key, value) => {
                    state.entries.insert(key.clone(), (revision, value.clone()));
                }
                Write::Delete(key) => {
                    state.entries.remove(key);
                }
            }
        }
        Ok(Commit::Done { revision })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance;

    #[test]
    fn passes_the_conformance_suite() {
        for (name, case) in conformance::CASES {
            let store = MemoryStore::default();
            case(&mut || Ok(Box::new(store.reopen()))).unwrap_or_else(|e| panic!("{name}: {e}"));
        }
    }
}
