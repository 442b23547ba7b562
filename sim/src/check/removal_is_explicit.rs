//! *removal-is-explicit*: data is deleted only when a person has asked for that, and not before the grace
//! time has really passed. A service that comes back finds its data, and not a new volume.

use super::{Truth, Verdict};
use crate::store::Store;
use flocker_core::cluster::{Change, Key, Record, VolumeRecord};
use flocker_types::ids::VolumeId;
use std::collections::BTreeMap;

/// Clocks may be this much too fast, in thousandths.
const DRIFT: u64 = 2;

/// Who asked for what.
#[derive(Debug, Default)]
pub(super) struct RemovalIsExplicit {
    /// When a person asked, in microseconds, and the grace in milliseconds.
    asked: BTreeMap<VolumeId, Vec<(u64, u64)>>,
}

impl RemovalIsExplicit {
    pub(super) fn asked(&mut self, now: u64, volume: VolumeId, grace_ms: u64) {
        self.asked.entry(volume).or_default().push((now, grace_ms));
    }

    pub(super) fn changes(
        &mut self,
        now: u64,
        store: &Store,
        changes: &[Change],
        truth: &Truth,
    ) -> Verdict {
        for change in changes {
            match change {
                Change::Put(Record::Volume(volume)) => {
                    self.volume(store, changes, volume, truth)?;
                }
                Change::Delete(Key::Volume(id)) => self.destroyed(now, *id, truth)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn volume(
        &mut self,
        store: &Store,
        changes: &[Change],
        volume: &VolumeRecord,
        truth: &Truth,
    ) -> Verdict {
        let id = volume.id;
        let old = match store.get(&Key::Volume(id)) {
            Some(Record::Volume(old)) => Some(old),
            _ => None,
        };
        if old.is_none() {
            made_anew(store, changes, volume)?;
        }
        let doomed = volume.destroy_after.is_some();
        let was_doomed = old.is_some_and(|old| old.destroy_after.is_some());
        let asked = self.asked.contains_key(&id);
        if doomed && !was_doomed && !asked && !truth.of(id).is_empty() {
            return Err(format!(
                "volume {} is to be deleted and nobody asked",
                volume.name
            ));
        }
        if was_doomed && !doomed {
            self.asked.remove(&id);
        }
        Ok(())
    }

    /// A copy, or the volume's record, goes.
    pub(super) fn destroyed(&self, now: u64, id: VolumeId, truth: &Truth) -> Verdict {
        if truth.of(id).is_empty() {
            return Ok(());
        }
        let Some(asked) = self.asked.get(&id) else {
            return Err(format!("volume {} is deleted and nobody asked", id.short()));
        };
        let over = |(at, grace_ms): &(u64, u64)| {
            let grace_us = grace_ms * (1_000 - DRIFT);
            now >= at + grace_us
        };
        if asked.iter().any(over) {
            return Ok(());
        }
        let waited = asked.iter().map(|(at, _)| (now - at) / 1_000).max();
        Err(format!(
            "volume {} is deleted {} ms after it was asked for, with a grace of {:?} ms",
            id.short(),
            waited.unwrap_or(0),
            asked.iter().map(|(_, grace)| *grace).min().unwrap_or(0)
        ))
    }
}

/// There is a volume of this name already that nobody wants deleted.
fn made_anew(store: &Store, changes: &[Change], volume: &VolumeRecord) -> Verdict {
    let doomed_now = |id: VolumeId| {
        changes.iter().any(|change| match change {
            Change::Put(Record::Volume(other)) => other.id == id && other.destroy_after.is_some(),
            Change::Delete(Key::Volume(other)) => *other == id,
            _ => false,
        })
    };
    let rival = store.records().find_map(|record| match record {
        Record::Volume(other)
            if other.id != volume.id
                && other.name == volume.name
                && other.application == volume.application
                && other.destroy_after.is_none()
                && !doomed_now(other.id) =>
        {
            Some(other.id)
        }
        _ => None,
    });
    match rival {
        Some(id) => Err(format!(
            "a new volume {} is made beside {}, which has the name already",
            volume.name,
            id.short()
        )),
        None => Ok(()),
    }
}
