//! The rules of a fake pool: who may write, what is kept, what is refused. Pure; the trait's methods
//! call it with the lock held.

use super::volume_content::{Files, size_bytes};
use flocker_storage::volume_store::StorageErrorKind;
use flocker_types::ids::{Epoch, SnapshotName, VolumeId};
use flocker_types::time::UnixMs;
use flocker_types::volume::{Checksum, Role, Snapshot, VolumeCopy, VolumeLabel};
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) copies: BTreeMap<VolumeId, Copy>,
    created_last: u64,
}

#[derive(Debug)]
pub(super) struct Copy {
    pub(super) label: VolumeLabel,
    /// The writable files, where this copy is the holder's.
    pub(super) live: Option<Files>,
    /// In the order in which they came to be.
    pub(super) snapshots: Vec<(Snapshot, Files)>,
}

impl State {
    pub(super) fn copy(&mut self, volume: VolumeId) -> Result<&mut Copy, StorageErrorKind> {
        self.copies
            .get_mut(&volume)
            .ok_or(StorageErrorKind::NoSuchVolume)
    }

    /// A time that only grows; the same in every run.
    pub(super) fn tick(&mut self) -> UnixMs {
        self.created_last += 1;
        UnixMs(self.created_last)
    }

    pub(super) fn create(&mut self, label: &VolumeLabel) -> Result<VolumeCopy, StorageErrorKind> {
        if let Some(copy) = self.copies.get(&label.id) {
            if copy.live.is_some() && copy.label.epoch == label.epoch {
                return Ok(copy.show());
            }
            return Err(StorageErrorKind::WrongRole(format!(
                "the volume is on this node already, as {} in epoch {}",
                copy.role(),
                copy.label.epoch
            )));
        }
        let copy = Copy {
            label: label.clone(),
            live: Some(Files::new()),
            snapshots: Vec::new(),
        };
        let shown = copy.show();
        self.copies.insert(label.id, copy);
        Ok(shown)
    }

    pub(super) fn snapshot(
        &mut self,
        volume: VolumeId,
        name: &SnapshotName,
    ) -> Result<(), StorageErrorKind> {
        let created = self.tick();
        let copy = self.copy(volume)?;
        let files = copy.held()?.clone();
        if copy.files(name).is_err() {
            copy.add(name, None, created, files);
        }
        Ok(())
    }

    /// Whether the stream has to be read at all.
    pub(super) fn start_receiving(
        &self,
        label: &VolumeLabel,
        from: Option<&SnapshotName>,
        to: &SnapshotName,
    ) -> Result<Reception, StorageErrorKind> {
        let Some(copy) = self.copies.get(&label.id) else {
            return match from {
                Some(from) => Err(StorageErrorKind::NoSuchSnapshot(from.clone())),
                None => Ok(Reception::Needed(Files::new())),
            };
        };
        if copy.live.is_some() {
            return Err(StorageErrorKind::WrongRole(format!(
                "this node holds the volume in epoch {}",
                copy.label.epoch
            )));
        }
        copy.refuse_older(label.epoch)?;
        if copy.files(to).is_ok() {
            return Ok(Reception::Complete);
        }
        let base = from.map(|from| copy.files(from).cloned()).transpose()?;
        Ok(Reception::Needed(base.unwrap_or_default()))
    }

    pub(super) fn finish_receiving(
        &mut self,
        label: &VolumeLabel,
        to: &SnapshotName,
        checksum: Checksum,
        files: Files,
    ) {
        let created = self.tick();
        let copy = self.copies.entry(label.id).or_insert_with(|| Copy {
            label: label.clone(),
            live: None,
            snapshots: Vec::new(),
        });
        copy.label = label.clone();
        copy.add(to, Some(checksum), created, files);
    }

    pub(super) fn promote(
        &mut self,
        label: &VolumeLabel,
        head: &SnapshotName,
    ) -> Result<(), StorageErrorKind> {
        let copy = self.copy(label.id)?;
        if copy.live.is_some() {
            if copy.label.epoch == label.epoch {
                return Ok(());
            }
            copy.refuse_older(label.epoch)?;
            return Err(StorageErrorKind::WrongRole(format!(
                "this node holds the volume in epoch {}",
                copy.label.epoch
            )));
        }
        if label.epoch <= copy.label.epoch {
            return Err(StorageErrorKind::StaleEpoch {
                here: copy.label.epoch,
                asked: label.epoch,
            });
        }
        copy.live = Some(copy.files(head)?.clone());
        copy.label = label.clone();
        Ok(())
    }

    pub(super) fn demote(
        &mut self,
        volume: VolumeId,
        epoch: Epoch,
        head: &SnapshotName,
    ) -> Result<(), StorageErrorKind> {
        let created = self.tick();
        let copy = self.copy(volume)?;
        copy.refuse_older(epoch)?;
        if let Some(live) = copy.live.clone() {
            let held_in = copy.label.epoch;
            if epoch == held_in {
                return Err(StorageErrorKind::WrongRole(format!(
                    "this node holds the volume in epoch {epoch} itself"
                )));
            }
            if *copy.files(head)? != live {
                copy.add(&tail_name(held_in), None, created, live);
            }
        }
        copy.live = None;
        copy.label.epoch = epoch;
        Ok(())
    }
}

pub(super) enum Reception {
    /// The snapshot is here already.
    Complete,
    /// The stream changes these files.
    Needed(Files),
}

impl Copy {
    pub(super) fn role(&self) -> Role {
        match self.live {
            Some(_) => Role::Holder,
            None => Role::Replica,
        }
    }

    pub(super) fn held(&mut self) -> Result<&mut Files, StorageErrorKind> {
        self.live.as_mut().ok_or_else(|| {
            let why = "this node has a replica of the volume, it does not hold it";
            StorageErrorKind::WrongRole(why.to_owned())
        })
    }

    pub(super) fn files(&self, name: &SnapshotName) -> Result<&Files, StorageErrorKind> {
        self.snapshots
            .iter()
            .find(|(snapshot, _)| snapshot.name == *name)
            .map(|(_, files)| files)
            .ok_or_else(|| StorageErrorKind::NoSuchSnapshot(name.clone()))
    }

    pub(super) fn add(
        &mut self,
        name: &SnapshotName,
        checksum: Option<Checksum>,
        created: UnixMs,
        files: Files,
    ) {
        let snapshot = Snapshot {
            name: name.clone(),
            checksum,
            created,
        };
        self.snapshots.push((snapshot, files));
    }

    pub(super) fn refuse_older(&self, asked: Epoch) -> Result<(), StorageErrorKind> {
        let here = self.label.epoch;
        if asked < here {
            return Err(StorageErrorKind::StaleEpoch { here, asked });
        }
        Ok(())
    }

    /// As the trait shows it: tails first, as the last snapshot is the head and a tail never is.
    pub(super) fn show(&self) -> VolumeCopy {
        let all = self.snapshots.iter().map(|(snapshot, _)| snapshot.clone());
        let (mut snapshots, rest): (Vec<Snapshot>, Vec<Snapshot>) =
            all.partition(|snapshot| is_tail(&snapshot.name));
        snapshots.extend(rest);
        let newest = self.live.as_ref();
        let newest = newest.or_else(|| self.snapshots.last().map(|(_, files)| files));
        VolumeCopy {
            label: self.label.clone(),
            role: self.role(),
            snapshots,
            used_bytes: newest.map(size_bytes),
        }
    }
}

pub(super) fn is_tail(name: &SnapshotName) -> bool {
    name.as_str().starts_with("tail-e")
}

fn tail_name(epoch: Epoch) -> SnapshotName {
    SnapshotName::new(format!("tail-e{epoch}"))
        .expect("a short word and a number make a valid name")
}
