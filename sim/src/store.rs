//! Control's store: records with revisions, and one transaction that compares before it writes.
//!
//! What it has answered it never loses. It may answer late, and it may fail; then nobody knows
//! whether the transaction happened, so the process that asked has to end.

use flocker_core::cluster::{Change, Key, Record, State};
use std::collections::BTreeMap;

/// The durable records.
#[derive(Debug, Clone, Default)]
pub struct Store {
    records: BTreeMap<Key, (u64, Record)>,
    revision: u64,
}

/// What a process last saw of each key.
pub(crate) type Revisions = BTreeMap<Key, u64>;

/// Somebody else has written a key meanwhile.
#[derive(Debug)]
pub(crate) struct Conflict;

impl Store {
    pub(crate) fn load(&self) -> (Revisions, Option<State>) {
        let revisions = self
            .records
            .iter()
            .map(|(key, (revision, _))| (key.clone(), *revision));
        let records = self.records.values().map(|(_, record)| record.clone());
        (revisions.collect(), State::from_records(records))
    }

    /// A store that was made again, with nothing else in it.
    pub(crate) fn rebuilt(state: &State) -> Self {
        let mut store = Self::default();
        state
            .records()
            .into_iter()
            .for_each(|record| store.put(record));
        store
    }

    /// A record.
    pub fn get(&self, key: &Key) -> Option<&Record> {
        self.records.get(key).map(|(_, record)| record)
    }

    /// Every record.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.records.values().map(|(_, record)| record)
    }

    pub(crate) fn put(&mut self, record: Record) {
        self.revision += 1;
        self.records.insert(record.key(), (self.revision, record));
    }

    /// All the changes or none, each guarded by what the process saw.
    pub(crate) fn commit(
        &mut self,
        seen: &mut Revisions,
        changes: &[Change],
    ) -> Result<(), Conflict> {
        let key_of = |change: &Change| match change {
            Change::Put(record) => record.key(),
            Change::Delete(key) => key.clone(),
        };
        let same = changes.iter().map(key_of).all(|key| {
            self.records.get(&key).map(|(revision, _)| *revision) == seen.get(&key).copied()
        });
        if !same {
            return Err(Conflict);
        }
        self.revision += 1;
        for change in changes {
            match change {
                Change::Put(record) => {
                    let key = record.key();
                    seen.insert(key.clone(), self.revision);
                    self.records.insert(key, (self.revision, record.clone()));
                }
                Change::Delete(key) => {
                    seen.remove(key);
                    self.records.remove(key);
                }
            }
        }
        Ok(())
    }
}
