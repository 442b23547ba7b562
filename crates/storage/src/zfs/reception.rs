//! Receiving a snapshot into a replica, or into a new copy.
//!
//! Part of [`Operations`]; the store calls the steps in order: start, receive, then finish or abandon.
//! What was received counts only once the label lists it.

use super::datasets;
use super::operations::{Operations, refuse_older};
use crate::label_file::StoredCopy;
use crate::receive_process::Stream;
use crate::volume_store::StorageErrorKind;
use flocker_types::ids::SnapshotName;
use flocker_types::volume::{Checksum, Role, VolumeLabel};

type Outcome<T> = Result<T, StorageErrorKind>;

/// A snapshot about to be received, and the filesystem that receives it.
#[derive(Debug)]
pub(super) struct Reception {
    stored: StoredCopy,
    target: String,
    to: SnapshotName,
}

impl Operations {
    /// Prepares to receive; `None` when the snapshot is complete here already.
    pub(super) async fn start_receiving(
        &self,
        label: &VolumeLabel,
        from: Option<&SnapshotName>,
        to: &SnapshotName,
    ) -> Outcome<Option<Reception>> {
        if self.read(label.id)?.is_none() {
            if let Some(from) = from {
                return Err(StorageErrorKind::NoSuchSnapshot(from.clone()));
            }
            let target = self.making(label.id);
            datasets::destroy(&target).await?;
            return Ok(Some(Reception {
                stored: StoredCopy::new(Role::Replica, label.clone()),
                target,
                to: to.clone(),
            }));
        }
        let mut stored = self.existing(label.id).await?;
        if stored.role == Role::Holder {
            let epoch = stored.label.epoch;
            let why =
                format!("this node holds the volume in epoch {epoch} and takes no other data");
            return Err(StorageErrorKind::WrongRole(why));
        }
        refuse_older(&stored, label.epoch)?;
        if stored.has(to) {
            return Ok(None);
        }
        let Some(from) = from else {
            let why = "this node has a replica already; ZFS can add to it only a delta".to_owned();
            return Err(StorageErrorKind::WrongRole(why));
        };
        if !stored.has(from) {
            return Err(StorageErrorKind::NoSuchSnapshot(from.clone()));
        }
        let place = self.place(label.id);
        self.close(&place).await?;
        self.make_newest(&stored, from).await?;
        stored.label = label.clone();
        Ok(Some(Reception {
            stored,
            target: place,
            to: to.clone(),
        }))
    }

    /// Receives the stream itself; what it makes does not count yet.
    pub(super) async fn receive(reception: &Reception, stream: Stream) -> Outcome<()> {
        datasets::receive(&format!("{}@{}", reception.target, reception.to), stream).await
    }

    /// Accepts what was received: the label lists it; a new copy then gets its name.
    pub(super) async fn finish_receiving(
        &self,
        reception: &Reception,
        checksum: Checksum,
    ) -> Outcome<()> {
        let (target, mut stored) = (&reception.target, reception.stored.clone());
        let in_line = datasets::snapshots(target).await?;
        if !in_line.iter().any(|name| name == reception.to.as_str()) {
            let why = format!("it does not contain the snapshot {}", reception.to);
            return Err(StorageErrorKind::BadStream(why));
        }
        Self::forget_others(&mut stored, &in_line);
        stored.add(&reception.to, Some(checksum));
        let place = self.place(stored.label.id);
        self.close(target).await?;
        self.write(&stored)?;
        if *target != place {
            datasets::rename(target, &place).await?;
        }
        Ok(())
    }

    /// Removes what a failed reception left. What cannot be removed now is removed when it is in
    /// the way.
    pub(super) async fn abandon_receiving(&self, reception: &Reception) {
        let (target, volume) = (&reception.target, reception.stored.label.id);
        let result = match *target == self.making(volume) {
            true => datasets::destroy(target).await,
            false => datasets::destroy_snapshot(&format!("{target}@{}", reception.to)).await,
        };
        if let Err(error) = result {
            tracing::warn!(%volume, %error, "cannot clean up after a reception");
        }
    }
}
