//! A node's pool of volumes, with the promises of `crates/storage/src/volume_store.rs`.
//!
//! What returned `Ok` is durable, and an operation that was cut off has happened or has not. What a
//! container writes is durable only when it was synced, or a snapshot was taken since. Contents are
//! the numbers of the records that were written, in their order.

use flocker_types::ids::{Epoch, SnapshotName, VolumeId};
use flocker_types::task::{Failure, Retry};
use flocker_types::time::UnixMs;
use flocker_types::volume::{Checksum, PoolUsage, Role, Snapshot, VolumeCopy, VolumeLabel};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// Records, oldest first.
pub(crate) type Content = Rc<Vec<u64>>;

/// What a container writes into.
#[derive(Debug, Clone, Default)]
pub(crate) struct Live {
    pub(crate) records: Vec<u64>,
    /// So many of them survive a loss of power.
    pub(crate) synced: usize,
}

/// A complete snapshot.
#[derive(Debug, Clone)]
pub(crate) struct StoredSnapshot {
    pub(crate) name: SnapshotName,
    pub(crate) content: Content,
    pub(crate) checksum: Option<Checksum>,
}

/// One copy of a volume.
#[derive(Debug, Clone)]
pub(crate) struct StoredVolume {
    pub(crate) label: VolumeLabel,
    pub(crate) snapshots: Vec<StoredSnapshot>,
    pub(crate) live: Option<Live>,
}

/// What can be made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StorageCall {
    /// Making a volume.
    Create,
    /// Taking a snapshot.
    Snapshot,
    /// Sending.
    Send,
    /// Receiving.
    Receive,
    /// Making a replica writable.
    Promote,
    /// Making a holder a replica.
    Demote,
    /// Deleting snapshots.
    Prune,
    /// Deleting a copy.
    Destroy,
}

/// A node's pool.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    pub(crate) volumes: BTreeMap<VolumeId, StoredVolume>,
    /// No room is left.
    pub(crate) full: u32,
    pub(crate) failing: BTreeMap<StorageCall, u32>,
    locked: BTreeSet<VolumeId>,
}

type Outcome<T> = Result<T, Failure>;

pub(crate) fn pointless(message: impl Into<String>) -> Failure {
    Failure {
        message: message.into(),
        retry: Retry::Pointless,
    }
}

pub(crate) fn passing(message: impl Into<String>) -> Failure {
    Failure {
        message: message.into(),
        retry: Retry::MayHelp,
    }
}

impl StoredVolume {
    pub(crate) fn role(&self) -> Role {
        if self.live.is_some() {
            Role::Holder
        } else {
            Role::Replica
        }
    }

    pub(crate) fn copy(&self) -> VolumeCopy {
        let show = |snapshot: &StoredSnapshot| Snapshot {
            name: snapshot.name.clone(),
            checksum: snapshot.checksum.clone(),
            created: UnixMs(0),
        };
        VolumeCopy {
            label: self.label.clone(),
            role: self.role(),
            snapshots: self.snapshots.iter().map(show).collect(),
            used_bytes: None,
        }
    }

    pub(crate) fn content_at(&self, name: &SnapshotName) -> Option<Content> {
        let found = self
            .snapshots
            .iter()
            .find(|snapshot| snapshot.name == *name);
        found.map(|snapshot| Rc::clone(&snapshot.content))
    }
}

/// What both sides of a stream compute of it: FNV-1a over the base's and the snapshot's records.
pub(crate) fn checksum(from: Option<&[u64]>, to: &[u64]) -> Checksum {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let base = from.map_or(0, <[u64]>::len);
    let head = [u64::try_from(base).unwrap_or(0)];
    for record in head.iter().chain(to) {
        for byte in record.to_le_bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    Checksum(format!("{hash:016x}"))
}

fn refuse_older(volume: &StoredVolume, asked: Epoch) -> Outcome<()> {
    let here = volume.label.epoch;
    if asked < here {
        return Err(pointless(format!(
            "this copy is of epoch {here}, the request of epoch {asked}"
        )));
    }
    Ok(())
}

impl Pool {
    /// Fails when a failure was planned, or when there is no room.
    fn may(&mut self, call: StorageCall) -> Outcome<()> {
        if let Some(times) = self.failing.get_mut(&call) {
            *times -= 1;
            if *times == 0 {
                self.failing.remove(&call);
            }
            return Err(passing(format!("the command failed: {call:?}")));
        }
        if self.full > 0 && !matches!(call, StorageCall::Prune | StorageCall::Destroy) {
            return Err(passing("there is no room left on the pool"));
        }
        Ok(())
    }

    pub(crate) fn lock(&mut self, volume: VolumeId) -> bool {
        self.locked.insert(volume)
    }

    pub(crate) fn unlock(&mut self, volume: VolumeId) {
        self.locked.remove(&volume);
    }

    pub(crate) fn unlock_all(&mut self) {
        self.locked.clear();
    }

    /// What the store does when it is opened: what was half received is gone.
    pub(crate) fn clean_up(&mut self) {
        self.unlock_all();
    }

    pub(crate) fn usage(&self) -> PoolUsage {
        PoolUsage {
            size_bytes: 1 << 40,
            free_bytes: if self.full > 0 { 0 } else { 1 << 39 },
        }
    }

    pub(crate) fn list(&self) -> Vec<VolumeCopy> {
        self.volumes.values().map(StoredVolume::copy).collect()
    }

    /// The machine lost its power: what was not synced is gone.
    pub(crate) fn lose_power(&mut self) -> Vec<(VolumeId, usize)> {
        let mut lost = Vec::new();
        for (id, volume) in &mut self.volumes {
            if let Some(live) = &mut volume.live {
                live.records.truncate(live.synced);
                lost.push((*id, live.synced));
            }
        }
        self.unlock_all();
        lost
    }

    pub(crate) fn existing(&mut self, id: VolumeId) -> Outcome<&mut StoredVolume> {
        let missing = || pointless("there is no such volume on this node");
        self.volumes.get_mut(&id).ok_or_else(missing)
    }

    pub(crate) fn create(&mut self, label: &VolumeLabel) -> Outcome<VolumeCopy> {
        if let Some(volume) = self.volumes.get(&label.id) {
            if volume.live.is_some() && volume.label.epoch == label.epoch {
                return Ok(volume.copy());
            }
            return Err(pointless("the volume is on this node already"));
        }
        self.may(StorageCall::Create)?;
        let volume = StoredVolume {
            label: label.clone(),
            snapshots: Vec::new(),
            live: Some(Live::default()),
        };
        let copy = volume.copy();
        self.volumes.insert(label.id, volume);
        Ok(copy)
    }

    pub(crate) fn snapshot(&mut self, id: VolumeId, name: &SnapshotName) -> Outcome<()> {
        if self.existing(id)?.live.is_none() {
            return Err(pointless("this node has a replica of the volume"));
        }
        if self.existing(id)?.content_at(name).is_some() {
            return Ok(());
        }
        self.may(StorageCall::Snapshot)?;
        let volume = self.existing(id)?;
        if let Some(live) = &mut volume.live {
            live.synced = live.records.len();
            volume.snapshots.push(StoredSnapshot {
                name: name.clone(),
                content: Rc::new(live.records.clone()),
                checksum: None,
            });
        }
        Ok(())
    }

    pub(crate) fn open_snapshots(
        &mut self,
        id: VolumeId,
        from: Option<&SnapshotName>,
        to: &SnapshotName,
    ) -> Outcome<(Option<Content>, Content)> {
        self.may(StorageCall::Send)?;
        let volume = self.existing(id)?;
        let open = |name: &SnapshotName| {
            let missing = || pointless(format!("there is no snapshot {name}"));
            volume.content_at(name).ok_or_else(missing)
        };
        Ok((from.map(open).transpose()?, open(to)?))
    }

    /// Whether a stream may begin; false when its snapshot is here already.
    pub(crate) fn start_receiving(
        &mut self,
        label: &VolumeLabel,
        from: Option<&SnapshotName>,
        to: &SnapshotName,
    ) -> Outcome<bool> {
        let missing = |name: &SnapshotName| pointless(format!("there is no snapshot {name}"));
        let Some(volume) = self.volumes.get(&label.id) else {
            return match from {
                Some(from) => Err(missing(from)),
                None => Ok(true),
            };
        };
        if volume.live.is_some() {
            return Err(pointless("this node holds the volume"));
        }
        refuse_older(volume, label.epoch)?;
        if volume.content_at(to).is_some() {
            return Ok(false);
        }
        match from {
            Some(from) if volume.content_at(from).is_none() => Err(missing(from)),
            _ => Ok(true),
        }
    }

    pub(crate) fn finish_receiving(
        &mut self,
        label: &VolumeLabel,
        to: &SnapshotName,
        content: Content,
        sum: Checksum,
    ) -> Outcome<()> {
        self.may(StorageCall::Receive)?;
        let volume = self
            .volumes
            .entry(label.id)
            .or_insert_with(|| StoredVolume {
                label: label.clone(),
                snapshots: Vec::new(),
                live: None,
            });
        volume.label = label.clone();
        volume.snapshots.push(StoredSnapshot {
            name: to.clone(),
            content,
            checksum: Some(sum),
        });
        Ok(())
    }

    /// Makes a replica writable; whether that was necessary.
    pub(crate) fn promote(&mut self, label: &VolumeLabel, head: &SnapshotName) -> Outcome<bool> {
        let volume = self.existing(label.id)?;
        if volume.live.is_some() {
            if volume.label.epoch == label.epoch {
                return Ok(false);
            }
            return Err(pointless("this node holds the volume in another epoch"));
        }
        if label.epoch <= volume.label.epoch {
            return Err(pointless(format!(
                "this copy is of epoch {}, the request of epoch {}",
                volume.label.epoch, label.epoch
            )));
        }
        let missing = || pointless(format!("there is no snapshot {head}"));
        let content = volume.content_at(head).ok_or_else(missing)?;
        self.may(StorageCall::Promote)?;
        let volume = self.existing(label.id)?;
        volume.live = Some(Live {
            records: content.to_vec(),
            synced: content.len(),
        });
        volume.label = label.clone();
        Ok(true)
    }

    /// Gives up the writable copy; the tail that was kept, if there was something after the head.
    pub(crate) fn demote(
        &mut self,
        id: VolumeId,
        epoch: Epoch,
        head: &SnapshotName,
    ) -> Outcome<Option<Content>> {
        let volume = self.existing(id)?;
        refuse_older(volume, epoch)?;
        let held_in = volume.label.epoch;
        if volume.live.is_some() {
            if epoch == held_in {
                return Err(pointless("this node holds the volume in that epoch itself"));
            }
            if volume.content_at(head).is_none() {
                return Err(pointless(format!("there is no snapshot {head}")));
            }
        }
        self.may(StorageCall::Demote)?;
        let volume = self.existing(id)?;
        let mut tail = None;
        if let Some(live) = volume.live.take() {
            let kept = volume.content_at(head);
            if kept.is_none_or(|kept| *kept != live.records) {
                let content = Rc::new(live.records);
                let name = SnapshotName::new(format!("tail-e{held_in}"));
                volume.snapshots.push(StoredSnapshot {
                    name: name.expect("a tail's name is valid"),
                    content: Rc::clone(&content),
                    checksum: None,
                });
                tail = Some(content);
            }
        }
        volume.label.epoch = epoch;
        Ok(tail)
    }

    pub(crate) fn set_label(&mut self, label: &VolumeLabel) -> Outcome<()> {
        let volume = self.existing(label.id)?;
        refuse_older(volume, label.epoch)?;
        volume.label = label.clone();
        Ok(())
    }

    pub(crate) fn prune(
        &mut self,
        id: VolumeId,
        delete: &[SnapshotName],
    ) -> Outcome<Vec<SnapshotName>> {
        self.existing(id)?;
        self.may(StorageCall::Prune)?;
        let volume = self.existing(id)?;
        let stays = |snapshot: &StoredSnapshot| {
            snapshot.name.as_str().starts_with("tail-") || !delete.contains(&snapshot.name)
        };
        let gone = volume.snapshots.iter().filter(|snapshot| !stays(snapshot));
        let gone = gone.map(|snapshot| snapshot.name.clone()).collect();
        volume.snapshots.retain(stays);
        Ok(gone)
    }

    pub(crate) fn destroy(&mut self, id: VolumeId) -> Outcome<()> {
        self.may(StorageCall::Destroy)?;
        self.volumes.remove(&id);
        Ok(())
    }
}
