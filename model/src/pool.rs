//! A node's pool: what `VolumeStore` promises, with the number of writes in place of the data.

use flocker_core::agent::JobOutcome;
use flocker_types::ids::{Epoch, SnapshotName, VolumeId};
use flocker_types::task::{Failure, Retry, VolumeClaim};
use flocker_types::time::UnixMs;
use flocker_types::volume::{Checksum, Role, Snapshot, VolumeCopy, VolumeLabel};
use std::collections::BTreeMap;

/// One copy of a volume. Its content is how many writes it has seen.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) label: VolumeLabel,
    pub(crate) snapshots: Vec<(SnapshotName, u32, Option<Checksum>)>,
    /// What can be written; none for a replica.
    pub(crate) live: Option<u32>,
}

/// A pool.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pool {
    pub(crate) volumes: BTreeMap<VolumeId, Stored>,
}

pub(crate) fn passing(message: impl Into<String>) -> Failure {
    Failure {
        message: message.into(),
        retry: Retry::MayHelp,
    }
}

fn pointless(message: impl Into<String>) -> Failure {
    Failure {
        message: message.into(),
        retry: Retry::Pointless,
    }
}

pub(crate) fn checksum(snapshot: &SnapshotName, content: u32) -> Checksum {
    Checksum(format!("{snapshot}={content}"))
}

impl Stored {
    pub(crate) fn copy(&self) -> VolumeCopy {
        let shown = |(name, _, checksum): &(SnapshotName, u32, Option<Checksum>)| Snapshot {
            name: name.clone(),
            checksum: checksum.clone(),
            created: UnixMs(0),
        };
        VolumeCopy {
            label: self.label.clone(),
            role: match self.live {
                Some(_) => Role::Holder,
                None => Role::Replica,
            },
            snapshots: self.snapshots.iter().map(shown).collect(),
            used_bytes: Some(1 << 20),
        }
    }

    pub(crate) fn content_at(&self, name: &SnapshotName) -> Option<u32> {
        let found = self.snapshots.iter().find(|(known, _, _)| known == name);
        found.map(|(_, content, _)| *content)
    }
}

type Outcome<T> = Result<T, Failure>;

impl Pool {
    pub(crate) fn existing(&mut self, id: VolumeId) -> Outcome<&mut Stored> {
        let missing = || pointless("there is no such volume on this node");
        self.volumes.get_mut(&id).ok_or_else(missing)
    }

    pub(crate) fn present(&mut self, id: VolumeId) -> Outcome<JobOutcome> {
        Ok(JobOutcome::Volumes(vec![self.existing(id)?.copy()]))
    }

    pub(crate) fn create(&mut self, label: &VolumeLabel) -> Outcome<()> {
        match self.volumes.get(&label.id) {
            Some(here) if here.live.is_some() && here.label.epoch == label.epoch => Ok(()),
            Some(_) => Err(pointless("the volume is here otherwise")),
            None => {
                let stored = Stored {
                    label: label.clone(),
                    snapshots: Vec::new(),
                    live: Some(0),
                };
                self.volumes.insert(label.id, stored);
                Ok(())
            }
        }
    }

    pub(crate) fn snapshot(&mut self, id: VolumeId, name: &SnapshotName) -> Outcome<()> {
        let volume = self.existing(id)?;
        let Some(live) = volume.live else {
            return Err(pointless("this node has a replica of the volume"));
        };
        if volume.content_at(name).is_none() {
            volume.snapshots.push((name.clone(), live, None));
        }
        Ok(())
    }

    /// Makes this node the holder in the claim's epoch, or sees that it is; the content with which it
    /// becomes the holder.
    pub(crate) fn claim(&mut self, claim: &VolumeClaim) -> Outcome<Option<u32>> {
        let volume = self.existing(claim.label.id)?;
        if volume.live.is_some() {
            if volume.label.epoch != claim.label.epoch {
                return Err(pointless("this node holds the volume in another epoch"));
            }
            volume.label = claim.label.clone();
            return Ok(None);
        }
        let Some(head) = &claim.head else {
            return Err(pointless("a replica, and was to be held"));
        };
        if claim.label.epoch <= volume.label.epoch {
            return Err(pointless("this copy is of a newer epoch"));
        }
        let content = volume
            .content_at(head)
            .ok_or_else(|| pointless(format!("there is no snapshot {head}")))?;
        volume.live = Some(content);
        volume.label = claim.label.clone();
        Ok(Some(content))
    }

    /// Gives up the writable copy; whether there was something after the head.
    pub(crate) fn demote(
        &mut self,
        id: VolumeId,
        epoch: Epoch,
        head: &SnapshotName,
    ) -> Outcome<bool> {
        let volume = self.existing(id)?;
        if epoch < volume.label.epoch {
            return Err(pointless("this copy is of a newer epoch"));
        }
        let mut tail = false;
        if let Some(live) = volume.live {
            if epoch == volume.label.epoch {
                return Err(pointless("this node holds the volume in that epoch itself"));
            }
            let kept = volume
                .content_at(head)
                .ok_or_else(|| pointless(format!("there is no snapshot {head}")))?;
            tail = kept != live;
        }
        volume.live = None;
        volume.label.epoch = epoch;
        Ok(tail)
    }

    pub(crate) fn prune(&mut self, id: VolumeId, delete: &[SnapshotName]) -> Outcome<()> {
        let volume = self.existing(id)?;
        volume
            .snapshots
            .retain(|(name, _, _)| !delete.contains(name));
        Ok(())
    }

    /// A stream has ended: all that it brought is visible at once, or nothing.
    pub(crate) fn receive(
        &mut self,
        label: &VolumeLabel,
        base: Option<&SnapshotName>,
        carried: &[(SnapshotName, u32)],
    ) -> Outcome<()> {
        let here = self.volumes.get(&label.id);
        if here.is_some_and(|here| here.live.is_some()) {
            return Err(pointless("this node holds the volume"));
        }
        if here.is_some_and(|here| label.epoch < here.label.epoch) {
            return Err(pointless("this copy is of a newer epoch"));
        }
        let has = |name: &SnapshotName| here.is_some_and(|here| here.content_at(name).is_some());
        if base.is_some_and(|base| !has(base)) {
            return Err(pointless("the snapshot on which it builds is not here"));
        }
        let stored = self.volumes.entry(label.id).or_insert_with(|| Stored {
            label: label.clone(),
            snapshots: Vec::new(),
            live: None,
        });
        stored.label = label.clone();
        for (name, content) in carried {
            if stored.content_at(name).is_none() {
                let sum = Some(checksum(name, *content));
                stored.snapshots.push((name.clone(), *content, sum));
            }
        }
        Ok(())
    }
}
