//! Volumes on a btrfs filesystem: the [`VolumeStore`] that drives its snapshots and send streams.
//!
//! The agent's shell opens one for its pool. This file is the asynchronous half: it keeps calls for
//! one volume apart and moves the blocking work off the runtime's threads. What is done, and in
//! which order, is in `blocking`; where things lie, in `directory`.

mod blocking;
mod directory;
#[cfg(test)]
mod hostile_stream;
#[cfg(test)]
mod hostile_test;
mod quota;
mod receive;
mod reception;
mod send;
mod stream_guard;
pub(crate) mod sys;
#[cfg(test)]
mod tests;
mod usage;

/// For the fuzzers' harness.
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing {
    pub(crate) use super::receive::DAMAGED;
    pub(crate) use super::stream_guard::{Allowed, Checker};
}

use crate::image::ImageFile;
use crate::receive_process;
use crate::volume_locks::{VolumeGuard, VolumeLocks};
use crate::volume_store::{
    SendStream, StorageError, StorageErrorKind, StorageOperation, VolumeStore, io_at,
};
use async_trait::async_trait;
use blocking::Operations;
use flocker_types::ids::{Epoch, SnapshotName, VolumeId};
use flocker_types::volume::{Checksum, PoolUsage, StorageKind, VolumeCopy, VolumeLabel};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use stream_guard::GuardedStream;
pub use sys::SendProtocol;
use tokio::io::AsyncRead;

type Outcome<T> = Result<T, StorageErrorKind>;

/// Volumes in a directory of a btrfs filesystem. One filesystem is one node: a second node on the
/// same filesystem would confuse the identities of received snapshots.
#[derive(Debug)]
pub struct BtrfsStore {
    operations: Arc<Operations>,
    locks: VolumeLocks,
    protocol: SendProtocol,
    image: Option<Arc<ImageFile>>,
}

/// Size and free room of the filesystem at a path.
pub(crate) fn measure(path: &Path) -> io::Result<PoolUsage> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(PoolUsage {
        size_bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
        free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
    })
}

impl BtrfsStore {
    /// Opens the pool in `directory`, which must exist and lie on btrfs; heals what a crash left.
    ///
    /// # Errors
    /// The directory does not lie on btrfs, or cannot be written.
    pub async fn open(directory: &Path, protocol: SendProtocol) -> Result<Self, StorageError> {
        let directory = directory.to_owned();
        let opened = tokio::task::spawn_blocking(move || Operations::open(&directory)).await;
        let operations = opened
            .map_err(|error| StorageErrorKind::io("open the pool", error.into()))
            .and_then(|opened| opened)
            .map_err(|kind| StorageError::of_pool(StorageOperation::OpenPool, kind))?;
        Ok(Self {
            operations: Arc::new(operations),
            locks: VolumeLocks::default(),
            protocol,
            image: None,
        })
    }

    /// The store on a filesystem in an image file, which may grow.
    #[must_use]
    pub(crate) fn in_image(self, image: Arc<ImageFile>) -> Self {
        Self {
            image: Some(image),
            ..self
        }
    }

    /// Runs blocking work on one volume. The guard goes with the work: when the caller gives up
    /// waiting, the work goes on, and the next call for the volume still waits for it.
    async fn run<T: Send + 'static>(
        &self,
        operation: StorageOperation,
        volume: VolumeId,
        work: impl FnOnce(&Operations) -> Outcome<T> + Send + 'static,
    ) -> Result<T, StorageError> {
        let guard = self.locks.lock(volume).await;
        let (result, _guard) = self.run_guarded(guard, work).await;
        result.map_err(|kind| StorageError::of(operation, volume, kind))
    }

    async fn run_guarded<T: Send + 'static>(
        &self,
        guard: VolumeGuard,
        work: impl FnOnce(&Operations) -> Outcome<T> + Send + 'static,
    ) -> (Outcome<T>, Option<VolumeGuard>) {
        let operations = Arc::clone(&self.operations);
        let task = tokio::task::spawn_blocking(move || (work(&operations), Some(guard)));
        match task.await {
            Ok(done) => done,
            Err(error) => (Err(StorageErrorKind::io("do it", error.into())), None),
        }
    }

    async fn run_on_pool<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Operations) -> Outcome<T> + Send + 'static,
    ) -> Result<T, StorageError> {
        let operations = Arc::clone(&self.operations);
        let done = tokio::task::spawn_blocking(move || work(&operations)).await;
        done.map_err(|error| StorageErrorKind::io("do it", error.into()))
            .and_then(|outcome| outcome)
            .map_err(|kind| StorageError::of_pool(StorageOperation::Read, kind))
    }

    /// One copy. Beside another call for the same volume (a long reception, say) it shows what the
    /// label says and heals nothing.
    async fn look(&self, volume: VolumeId) -> Result<Option<VolumeCopy>, StorageError> {
        let outcome = match self.locks.try_lock(volume) {
            Some(guard) => {
                let work = move |operations: &Operations| operations.get(volume);
                self.run_guarded(guard, work).await.0
            }
            None => {
                return self
                    .run_on_pool(move |operations| operations.peek(volume))
                    .await;
            }
        };
        outcome.map_err(|kind| StorageError::of(StorageOperation::Read, volume, kind))
    }
}

#[async_trait]
impl VolumeStore for BtrfsStore {
    fn kind(&self) -> StorageKind {
        StorageKind::Btrfs
    }

    async fn pool_usage(&self) -> Result<PoolUsage, StorageError> {
        self.run_on_pool(|operations| {
            let root = operations.root();
            measure(root).map_err(io_at("measure", root))
        })
        .await
        .map(|usage| match &self.image {
            Some(image) => image.with_room_to_grow(usage),
            None => usage,
        })
    }

    async fn list(&self) -> Result<Vec<VolumeCopy>, StorageError> {
        let mut copies = Vec::new();
        for volume in self.run_on_pool(Operations::volume_ids).await? {
            match self.look(volume).await {
                Ok(copy) => copies.extend(copy),
                // One damaged copy must not hide the others.
                Err(error) => tracing::error!(%volume, %error, "a copy is left out of the list"),
            }
        }
        Ok(copies)
    }

    async fn get(&self, volume: VolumeId) -> Result<Option<VolumeCopy>, StorageError> {
        self.look(volume).await
    }

    async fn create(&self, label: &VolumeLabel) -> Result<VolumeCopy, StorageError> {
        let (label, volume) = (label.clone(), label.id);
        let work = move |operations: &Operations| operations.create(&label);
        self.run(StorageOperation::Create, volume, work).await
    }

    async fn mount_path(&self, volume: VolumeId) -> Result<PathBuf, StorageError> {
        let work = move |operations: &Operations| operations.mount_path(volume);
        self.run(StorageOperation::Read, volume, work).await
    }

    async fn used_bytes(&self, volume: VolumeId) -> Result<Option<u64>, StorageError> {
        // Not behind the volume's lock: looking at many files takes long.
        let operations = Arc::clone(&self.operations);
        let measured = tokio::task::spawn_blocking(move || operations.used_bytes(volume)).await;
        measured
            .map_err(|error| StorageErrorKind::io("measure it", error.into()))
            .and_then(|measured| measured)
            .map_err(|kind| StorageError::of(StorageOperation::Read, volume, kind))
    }

    async fn snapshot(&self, volume: VolumeId, name: &SnapshotName) -> Result<(), StorageError> {
        let name = name.clone();
        let work = move |operations: &Operations| operations.snapshot(volume, &name);
        self.run(StorageOperation::Snapshot, volume, work).await
    }

    async fn send(
        &self,
        volume: VolumeId,
        from: Option<&SnapshotName>,
        to: &SnapshotName,
    ) -> Result<SendStream, StorageError> {
        let (from, to) = (from.cloned(), to.clone());
        let protocol = self.protocol;
        // Not behind the volume's lock: a snapshot may be sent while the next one is taken.
        let operations = Arc::clone(&self.operations);
        let opened = tokio::task::spawn_blocking(move || {
            operations.open_snapshots(volume, from.as_ref(), &to)
        });
        opened
            .await
            .map_err(|error| StorageErrorKind::io("open the snapshots", error.into()))
            .and_then(|opened| opened)
            .and_then(|(from, to)| send::start(from, to, protocol))
            .map_err(|kind| StorageError::of(StorageOperation::Send, volume, kind))
    }

    async fn receive(
        &self,
        label: &VolumeLabel,
        from: Option<&SnapshotName>,
        to: &SnapshotName,
        stream: Box<dyn AsyncRead + Send + Unpin>,
        verify: Box<dyn FnOnce() -> Result<Checksum, StorageError> + Send>,
    ) -> Result<(), StorageError> {
        let failed = |kind| StorageError::of(StorageOperation::Receive, label.id, kind);
        let guard = self.locks.lock(label.id).await;
        let (start, label_) = ((from.cloned(), to.clone()), label.clone());
        let work = move |operations: &Operations| {
            operations.start_receiving(&label_, start.0.as_ref(), &start.1)
        };
        let (started, guard) = self.run_guarded(guard, work).await;
        let Some(reception) = started.map_err(failed)? else {
            receive_process::discard(stream).await.map_err(failed)?;
            return verify().map(|_| ());
        };
        let received = match reception.allowed() {
            Ok(allowed) => {
                let guarded = Box::new(GuardedStream::new(stream, allowed));
                receive::run(&reception.directory(), guarded).await
            }
            Err(error) => Err(error),
        };
        let verified = match received.map_err(failed) {
            Ok(()) => verify(),
            Err(error) => Err(error),
        };
        let Some(guard) = guard else {
            return verified.map(|_| ());
        };
        let (outcome, _guard) = self
            .run_guarded(guard, move |operations| match verified {
                Ok(checksum) => Ok(operations.finish_receiving(reception, checksum)),
                Err(error) => {
                    operations.abandon_receiving(reception);
                    Ok(Err(error.kind))
                }
            })
            .await;
        outcome.and_then(|finished| finished).map_err(failed)
    }

    async fn promote(&self, label: &VolumeLabel, head: &SnapshotName) -> Result<(), StorageError> {
        let (label, head, volume) = (label.clone(), head.clone(), label.id);
        let work = move |operations: &Operations| operations.promote(&label, &head);
        self.run(StorageOperation::Promote, volume, work).await
    }

    async fn demote(
        &self,
        volume: VolumeId,
        epoch: Epoch,
        head: &SnapshotName,
    ) -> Result<(), StorageError> {
        let head = head.clone();
        let work = move |operations: &Operations| operations.demote(volume, epoch, &head);
        self.run(StorageOperation::Demote, volume, work).await
    }

    async fn set_label(&self, label: &VolumeLabel) -> Result<(), StorageError> {
        let (label, volume) = (label.clone(), label.id);
        let work = move |operations: &Operations| operations.set_label(&label);
        self.run(StorageOperation::SetLabel, volume, work).await
    }

    async fn prune(&self, volume: VolumeId, delete: &[SnapshotName]) -> Result<(), StorageError> {
        let delete = delete.to_vec();
        let work = move |operations: &Operations| operations.prune(volume, &delete);
        self.run(StorageOperation::Prune, volume, work).await
    }

    async fn destroy(&self, volume: VolumeId) -> Result<(), StorageError> {
        let work = move |operations: &Operations| operations.destroy(volume);
        self.run(StorageOperation::Destroy, volume, work).await
    }
}
