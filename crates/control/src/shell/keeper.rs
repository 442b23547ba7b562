//! Writing the core's changes into the store, each guarded by what this process last saw there.
//!
//! The shell's loop owns the one keeper. It never decides what to write, and never tries again:
//! after a failure nobody knows what is on the disk, so the process has to end.

use flocker_core::cluster::{Change, State, record_from_json};
use flocker_store::{Commit, Expect, StateStore, StoreError, Transaction, Write};
use std::collections::BTreeMap;

/// The store, and the revision at which each of its keys was last seen.
#[derive(Debug)]
pub(crate) struct Keeper {
    store: Box<dyn StateStore>,
    revisions: BTreeMap<String, u64>,
}

/// The state could not be read from the store.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The store failed.
    #[error("the cluster's state cannot be read")]
    Store(#[from] StoreError),
    /// A value is not one of our records. Trying again does not help.
    #[error(
        "the record at \"{key}\" in the state store is damaged, or was written by a newer version \
         of flocker; use that version, or put a backup back (flocker control restore), or have it \
         made again from the nodes (flocker recover)"
    )]
    Record {
        /// Its key.
        key: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The store is empty. Trying again does not help.
    #[error(
        "the state store holds no cluster; `flocker init` makes a new one; if there was one, put a \
         backup back (flocker control restore), or have it made again from the nodes (flocker recover)"
    )]
    NoCluster,
}

/// Changes could not be made durable; state in memory is ahead of the disk and worth nothing.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// The store failed.
    #[error("the cluster's state cannot be written")]
    Store(#[from] StoreError),
    /// Somebody else writes the same store.
    #[error(
        "\"{key}\" in the state store was changed by somebody else; only one control may use a \
         store at a time"
    )]
    Conflict {
        /// The key.
        key: String,
    },
    /// A record has no JSON form.
    #[error("the record at \"{key}\" cannot be written as JSON")]
    Record {
        /// Its key.
        key: String,
        /// Why.
        source: serde_json::Error,
    },
}

impl Keeper {
    /// Reads everything that the store has.
    pub(crate) fn load(store: Box<dyn StateStore>) -> Result<(Self, State), LoadError> {
        let (revisions, state) = Self::read(store.as_ref())?;
        Ok((Self { store, revisions }, state))
    }

    /// The state in a store, and the revision of each key.
    pub(crate) fn read(
        store: &dyn StateStore,
    ) -> Result<(BTreeMap<String, u64>, State), LoadError> {
        let mut revisions = BTreeMap::new();
        let mut records = Vec::new();
        for entry in store.range("")? {
            let record = record_from_json(&entry.value).map_err(|source| LoadError::Record {
                key: entry.key.clone(),
                source,
            })?;
            records.push(record);
            revisions.insert(entry.key, entry.revision);
        }
        let state = State::from_records(records).ok_or(LoadError::NoCluster)?;
        Ok((revisions, state))
    }

    /// A keeper for a store in which nothing is yet.
    pub(crate) fn of_empty(store: Box<dyn StateStore>) -> Self {
        Self {
            store,
            revisions: BTreeMap::new(),
        }
    }

    /// Makes all the changes durable in one transaction. Where two concern the same key the later
    /// one counts. Blocks until the disk has answered.
    pub(crate) fn keep(&mut self, changes: Vec<Change>) -> Result<(), KeepError> {
        let mut latest = BTreeMap::new();
        for change in changes {
            let (key, value) = match change {
                Change::Put(record) => {
                    let key = record.key().to_string();
                    match record.to_json() {
                        Ok(value) => (key, Some(value)),
                        Err(source) => return Err(KeepError::Record { key, source }),
                    }
                }
                Change::Delete(key) => (key.to_string(), None),
            };
            latest.insert(key, value);
        }
        let mut transaction = Transaction::default();
        for (key, value) in latest {
            let seen = self.revisions.get(&key);
            match (seen, value) {
                // It came and went before it was ever written.
                (None, None) => continue,
                (Some(revision), None) => {
                    let expect = Expect::Revision(key.clone(), *revision);
                    transaction.expect.push(expect);
                    transaction.writes.push(Write::Delete(key));
                }
                (seen, Some(value)) => {
                    transaction.expect.push(match seen {
                        Some(revision) => Expect::Revision(key.clone(), *revision),
                        None => Expect::Absent(key.clone()),
                    });
                    transaction.writes.push(Write::Put(key, value));
                }
            }
        }
        if transaction.writes.is_empty() {
            return Ok(());
        }
        match self.store.commit(&transaction)? {
            Commit::Done { revision } => {
                self.remember(transaction.writes, revision);
                Ok(())
            }
            Commit::Conflict(Expect::Absent(key) | Expect::Revision(key, _)) => {
                Err(KeepError::Conflict { key })
            }
        }
    }

    fn remember(&mut self, writes: Vec<Write>, revision: u64) {
        for write in writes {
            match write {
                Write::Put(key, _) => drop(self.revisions.insert(key, revision)),
                Write::Delete(key) => drop(self.revisions.remove(&key)),
            }
        }
    }
}

#[cfg(test)]
#[path = "keeper_test.rs"]
mod tests;
