//! Volumes on ZFS: the [`VolumeStore`] that drives the `zfs` command, of OpenZFS or zfs-fuse.
//!
//! The agent's shell opens one for its pool. This file keeps calls for one volume apart and lets
//! work that has begun run to its end; what is done, and in which order, is in `operations`.

mod datasets;
mod lineage;
mod operations;
mod reception;
mod send;
mod survey;
#[cfg(test)]
mod tests;

use crate::receive_process;
use crate::volume_locks::{VolumeGuard, VolumeLocks};
use crate::volume_store::{
    SendStream, StorageError, StorageErrorKind, StorageOperation, VolumeStore,
};
use async_trait::async_trait;
use flocker_types::ids::{Epoch, SnapshotName, VolumeId};
use flocker_types::volume::{Checksum, PoolUsage, StorageKind, VolumeCopy, VolumeLabel};
use operations::Operations;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::io::AsyncRead;

/// For the fuzzers' harness.
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing {
    pub(crate) use super::datasets::DAMAGED;

    /// Reads a text as every kind of output.
    pub(crate) fn outputs(text: &str) {
        super::parse_found(text);
        super::datasets::outputs(text);
    }
}

pub(crate) use survey::survey;

type Outcome<T> = Result<T, StorageErrorKind>;

/// Volumes as filesystems below one ZFS dataset.
#[derive(Debug)]
pub struct ZfsStore {
    operations: Arc<Operations>,
    locks: VolumeLocks,
}

/// Whether ZFS can be used here, and which datasets a pool could be made of by itself: those named
/// `flocker`, at the top or directly in a pool.
pub(crate) async fn find_dataset() -> Option<String> {
    let listed = crate::command::run("zfs", &["list", "-H", "-t", "filesystem", "-o", "name"]);
    let listed = listed.await.ok()?;
    parse_found(&listed)
}

fn parse_found(listed: &str) -> Option<String> {
    let wanted = |name: &&str| {
        *name == "flocker" || (name.ends_with("/flocker") && name.matches('/').count() == 1)
    };
    listed.lines().find(wanted).map(str::to_owned)
}

impl ZfsStore {
    /// Opens (or makes, in an existing pool) the dataset; volumes are mounted below `directory`.
    ///
    /// # Errors
    /// There is no such pool, or no `zfs` command.
    pub async fn open(dataset: &str, directory: &Path) -> Result<Self, StorageError> {
        let operations = Operations::open(dataset, directory)
            .await
            .map_err(|kind| StorageError::of_pool(StorageOperation::OpenPool, kind))?;
        Ok(Self {
            operations: Arc::new(operations),
            locks: VolumeLocks::default(),
        })
    }

    /// Works on one volume in a task of its own: when the caller gives up waiting, the work goes on,
    /// and the next call for the volume still waits for it.
    async fn run<T, F, W>(
        &self,
        operation: StorageOperation,
        volume: VolumeId,
        work: W,
    ) -> Result<T, StorageError>
    where
        T: Send + 'static,
        F: Future<Output = Outcome<T>> + Send,
        W: FnOnce(Arc<Operations>) -> F + Send + 'static,
    {
        let guard: VolumeGuard = self.locks.lock(volume).await;
        let operations = Arc::clone(&self.operations);
        let task = tokio::spawn(async move {
            let outcome = work(operations).await;
            drop(guard);
            outcome
        });
        task.await
            .map_err(|error| StorageErrorKind::io("do it", error.into()))
            .and_then(|outcome| outcome)
            .map_err(|kind| StorageError::of(operation, volume, kind))
    }
}

#[async_trait]
impl VolumeStore for ZfsStore {
    fn kind(&self) -> StorageKind {
        StorageKind::Zfs
    }

    async fn pool_usage(&self) -> Result<PoolUsage, StorageError> {
        let usage = self.operations.usage().await;
        usage.map_err(|kind| StorageError::of_pool(StorageOperation::Read, kind))
    }

    async fn list(&self) -> Result<Vec<VolumeCopy>, StorageError> {
        let ids = self.operations.volume_ids();
        let ids = ids.map_err(|kind| StorageError::of_pool(StorageOperation::Read, kind))?;
        let mut copies = Vec::new();
        for volume in ids {
            match self.get(volume).await {
                Ok(copy) => copies.extend(copy),
                // One damaged copy must not hide the others.
                Err(error) => tracing::error!(%volume, %error, "a copy is left out of the list"),
            }
        }
        Ok(copies)
    }

    async fn get(&self, volume: VolumeId) -> Result<Option<VolumeCopy>, StorageError> {
        // The label alone, which is replaced in one step: safe beside any other call.
        let copy = self.operations.get(volume);
        copy.map_err(|kind| StorageError::of(StorageOperation::Read, volume, kind))
    }

    async fn create(&self, label: &VolumeLabel) -> Result<VolumeCopy, StorageError> {
        let (label, volume) = (label.clone(), label.id);
        let work = async move |operations: Arc<Operations>| operations.create(&label).await;
        self.run(StorageOperation::Create, volume, work).await
    }

    async fn mount_path(&self, volume: VolumeId) -> Result<PathBuf, StorageError> {
        let work = async move |operations: Arc<Operations>| operations.mount_path(volume).await;
        self.run(StorageOperation::Read, volume, work).await
    }

    async fn used_bytes(&self, volume: VolumeId) -> Result<Option<u64>, StorageError> {
        // Only reads a property: safe beside any other call.
        let used = self.operations.used_bytes(volume).await;
        used.map_err(|kind| StorageError::of(StorageOperation::Read, volume, kind))
    }

    async fn snapshot(&self, volume: VolumeId, name: &SnapshotName) -> Result<(), StorageError> {
        let name = name.clone();
        let work =
            async move |operations: Arc<Operations>| operations.snapshot(volume, &name).await;
        self.run(StorageOperation::Snapshot, volume, work).await
    }

    async fn send(
        &self,
        volume: VolumeId,
        from: Option<&SnapshotName>,
        to: &SnapshotName,
    ) -> Result<SendStream, StorageError> {
        let stream = self.operations.send(volume, from, to).await;
        stream.map_err(|kind| StorageError::of(StorageOperation::Send, volume, kind))
    }

    async fn receive(
        &self,
        label: &VolumeLabel,
        from: Option<&SnapshotName>,
        to: &SnapshotName,
        stream: Box<dyn AsyncRead + Send + Unpin>,
        verify: Box<dyn FnOnce() -> Result<Checksum, StorageError> + Send>,
    ) -> Result<(), StorageError> {
        let (label, from, to) = (label.clone(), from.cloned(), to.clone());
        let volume = label.id;
        let work = async move |operations: Arc<Operations>| {
            let verify = move || verify().map_err(|error| error.kind);
            let started = operations
                .start_receiving(&label, from.as_ref(), &to)
                .await?;
            let Some(reception) = started else {
                receive_process::discard(stream).await?;
                return verify().map(|_| ());
            };
            let received = Operations::receive(&reception, stream).await;
            let outcome = match received.and_then(|()| verify()) {
                Ok(checksum) => operations.finish_receiving(&reception, checksum).await,
                Err(error) => Err(error),
            };
            if outcome.is_err() {
                operations.abandon_receiving(&reception).await;
            }
            outcome
        };
        self.run(StorageOperation::Receive, volume, work).await
    }

    async fn promote(&self, label: &VolumeLabel, head: &SnapshotName) -> Result<(), StorageError> {
        let (label, head, volume) = (label.clone(), head.clone(), label.id);
        let work = async move |operations: Arc<Operations>| operations.promote(&label, &head).await;
        self.run(StorageOperation::Promote, volume, work).await
    }

    async fn demote(
        &self,
        volume: VolumeId,
        epoch: Epoch,
        head: &SnapshotName,
    ) -> Result<(), StorageError> {
        let head = head.clone();
        let work =
            async move |operations: Arc<Operations>| operations.demote(volume, epoch, &head).await;
        self.run(StorageOperation::Demote, volume, work).await
    }

    async fn set_label(&self, label: &VolumeLabel) -> Result<(), StorageError> {
        let (label, volume) = (label.clone(), label.id);
        let work = async move |operations: Arc<Operations>| operations.set_label(&label).await;
        self.run(StorageOperation::SetLabel, volume, work).await
    }

    async fn prune(&self, volume: VolumeId, delete: &[SnapshotName]) -> Result<(), StorageError> {
        let delete = delete.to_vec();
        let work = async move |operations: Arc<Operations>| operations.prune(volume, &delete).await;
        self.run(StorageOperation::Prune, volume, work).await
    }

    async fn destroy(&self, volume: VolumeId) -> Result<(), StorageError> {
        let work = async move |operations: Arc<Operations>| operations.destroy(volume).await;
        self.run(StorageOperation::Destroy, volume, work).await
    }
}
