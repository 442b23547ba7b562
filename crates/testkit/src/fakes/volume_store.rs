//! A pool of volumes in memory. Containers cannot mount them; the test reads and writes files.

use super::faults::Faults;
use super::volume_content::{Delta, size_bytes};
use super::volume_copies::{Copy, Reception, State, is_tail};
use async_trait::async_trait;
use flocker_storage::volume_store::{
    SendStream, StorageError, StorageErrorKind, StorageOperation, VolumeStore,
};
use flocker_types::ids::{Epoch, SnapshotName, VolumeId};
use flocker_types::volume::{Checksum, PoolUsage, StorageKind, VolumeCopy, VolumeLabel};
use std::io::Cursor;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Largest stream that is taken.
const STREAM_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// A method of the volume store, for faults and counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is the method of that name")]
pub enum StorageCall {
    PoolUsage,
    List,
    Get,
    Create,
    MountPath,
    UsedBytes,
    Snapshot,
    Send,
    Receive,
    Promote,
    Demote,
    SetLabel,
    Prune,
    Destroy,
}

impl StorageCall {
    fn operation(self) -> StorageOperation {
        match self {
            Self::PoolUsage | Self::List | Self::Get | Self::MountPath | Self::UsedBytes => {
                StorageOperation::Read
            }
            Self::Create => StorageOperation::Create,
            Self::Snapshot => StorageOperation::Snapshot,
            Self::Send => StorageOperation::Send,
            Self::Receive => StorageOperation::Receive,
            Self::Promote => StorageOperation::Promote,
            Self::Demote => StorageOperation::Demote,
            Self::SetLabel => StorageOperation::SetLabel,
            Self::Prune => StorageOperation::Prune,
            Self::Destroy => StorageOperation::Destroy,
        }
    }
}

/// A pool of volumes in memory.
#[derive(Debug)]
pub struct FakeVolumeStore {
    /// What goes wrong next, and what was called.
    pub faults: Faults<StorageCall, StorageErrorKind>,
    kind: StorageKind,
    size_bytes: u64,
    state: Mutex<State>,
}

/// What a test does to the fake.
impl FakeVolumeStore {
    /// An empty pool of this size.
    pub fn new(kind: StorageKind, size_bytes: u64) -> Self {
        Self {
            faults: Faults::default(),
            kind,
            size_bytes,
            state: Mutex::default(),
        }
    }

    /// Writes a file as a container would. An error where the volume is not held, or is full.
    ///
    /// # Errors
    /// `NoSuchVolume`, `WrongRole` or `NoSpace`.
    pub fn write(
        &self,
        volume: VolumeId,
        path: &str,
        content: &[u8],
    ) -> Result<(), StorageErrorKind> {
        let mut state = self.lock();
        let copy = state.copy(volume)?;
        let size_bytes_max = copy.label.size_bytes_max.unwrap_or(self.size_bytes);
        let live = copy.held()?;
        let mut after = live.clone();
        after.insert(path.to_owned(), content.to_owned());
        if size_bytes(&after) > size_bytes_max {
            return Err(StorageErrorKind::NoSpace(format!(
                "{path} does not fit into {size_bytes_max} bytes"
            )));
        }
        *live = after;
        Ok(())
    }

    /// A file of the live data.
    pub fn read(&self, volume: VolumeId, path: &str) -> Option<Vec<u8>> {
        let state = self.lock();
        let live = state.copies.get(&volume)?.live.as_ref()?;
        live.get(path).cloned()
    }

    /// A file of a snapshot.
    pub fn read_snapshot(
        &self,
        volume: VolumeId,
        snapshot: &SnapshotName,
        path: &str,
    ) -> Option<Vec<u8>> {
        let state = self.lock();
        let files = state.copies.get(&volume)?.files(snapshot).ok()?;
        files.get(path).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run<T>(
        &self,
        call: StorageCall,
        volume: Option<VolumeId>,
        work: impl FnOnce(&mut State) -> Result<T, StorageErrorKind> + Send,
    ) -> Result<T, StorageError> {
        let outcome = match self.faults.enter(call).await {
            Err(kind) => Err(kind),
            Ok(lost) => {
                let worked = work(&mut self.lock());
                match (worked, lost) {
                    (Ok(_), Some(kind)) => Err(kind),
                    (worked, _) => worked,
                }
            }
        };
        outcome.map_err(|kind| failed(call, volume, kind))
    }
}

fn failed(call: StorageCall, volume: Option<VolumeId>, kind: StorageErrorKind) -> StorageError {
    StorageError {
        operation: call.operation(),
        volume,
        kind,
    }
}

#[async_trait]
impl VolumeStore for FakeVolumeStore {
    fn kind(&self) -> StorageKind {
        self.kind
    }

    async fn pool_usage(&self) -> Result<PoolUsage, StorageError> {
        self.run(StorageCall::PoolUsage, None, |state| {
            let copies = state
                .copies
                .values()
                .filter_map(|copy| copy.show().used_bytes);
            Ok(PoolUsage {
                size_bytes: self.size_bytes,
                free_bytes: self.size_bytes.saturating_sub(copies.sum()),
            })
        })
        .await
    }

    async fn list(&self) -> Result<Vec<VolumeCopy>, StorageError> {
        self.run(StorageCall::List, None, |state| {
            Ok(state.copies.values().map(Copy::show).collect())
        })
        .await
    }

    async fn get(&self, volume: VolumeId) -> Result<Option<VolumeCopy>, StorageError> {
        self.run(StorageCall::Get, Some(volume), |state| {
            Ok(state.copies.get(&volume).map(Copy::show))
        })
        .await
    }

    async fn create(&self, label: &VolumeLabel) -> Result<VolumeCopy, StorageError> {
        self.run(StorageCall::Create, Some(label.id), |state| {
            state.create(label)
        })
        .await
    }

    async fn mount_path(&self, volume: VolumeId) -> Result<PathBuf, StorageError> {
        self.run(StorageCall::MountPath, Some(volume), |state| {
            state.copy(volume)?.held()?;
            Ok(PathBuf::from(format!("/fake-pool/{volume}/live")))
        })
        .await
    }

    async fn used_bytes(&self, volume: VolumeId) -> Result<Option<u64>, StorageError> {
        self.run(StorageCall::UsedBytes, Some(volume), |state| {
            Ok(state.copy(volume)?.live.as_ref().map(size_bytes))
        })
        .await
    }

    async fn snapshot(&self, volume: VolumeId, name: &SnapshotName) -> Result<(), StorageError> {
        self.run(StorageCall::Snapshot, Some(volume), |state| {
            state.snapshot(volume, name)
        })
        .await
    }

    async fn send(
        &self,
        volume: VolumeId,
        from: Option<&SnapshotName>,
        to: &SnapshotName,
    ) -> Result<SendStream, StorageError> {
        let bytes = self
            .run(StorageCall::Send, Some(volume), |state| {
                let copy = state.copy(volume)?;
                let base = match from {
                    Some(from) => Some((from.as_str(), copy.files(from)?)),
                    None => None,
                };
                Delta::between(base, (to.as_str(), copy.files(to)?)).encode()
            })
            .await?;
        Ok(SendStream {
            bytes_estimate: u64::try_from(bytes.len()).ok(),
            reader: Box::new(Cursor::new(bytes)),
        })
    }

    async fn receive(
        &self,
        label: &VolumeLabel,
        from: Option<&SnapshotName>,
        to: &SnapshotName,
        stream: Box<dyn AsyncRead + Send + Unpin>,
        verify: Box<dyn FnOnce() -> Result<Checksum, StorageError> + Send>,
    ) -> Result<(), StorageError> {
        let call = StorageCall::Receive;
        let fail = |kind| failed(call, Some(label.id), kind);
        let lost = self.faults.enter(call).await.map_err(fail)?;
        let started = self.lock().start_receiving(label, from, to).map_err(fail)?;
        if let Reception::Needed(base) = started {
            let mut bytes = Vec::new();
            let read = stream.take(STREAM_BYTES_MAX).read_to_end(&mut bytes).await;
            read.map_err(|error| fail(StorageErrorKind::BadStream(error.to_string())))?;
            let from = from.map(SnapshotName::as_str);
            let delta = Delta::decode(&bytes, from, to.as_str()).map_err(fail)?;
            let checksum = verify()?;
            let files = delta.apply(base);
            self.lock().finish_receiving(label, to, checksum, files);
        }
        lost.map_or(Ok(()), |kind| Err(fail(kind)))
    }

    async fn promote(&self, label: &VolumeLabel, head: &SnapshotName) -> Result<(), StorageError> {
        self.run(StorageCall::Promote, Some(label.id), |state| {
            state.promote(label, head)
        })
        .await
    }

    async fn demote(
        &self,
        volume: VolumeId,
        epoch: Epoch,
        head: &SnapshotName,
    ) -> Result<(), StorageError> {
        self.run(StorageCall::Demote, Some(volume), |state| {
            state.demote(volume, epoch, head)
        })
        .await
    }

    async fn set_label(&self, label: &VolumeLabel) -> Result<(), StorageError> {
        self.run(StorageCall::SetLabel, Some(label.id), |state| {
            let copy = state.copy(label.id)?;
            copy.refuse_older(label.epoch)?;
            copy.label = label.clone();
            Ok(())
        })
        .await
    }

    async fn prune(&self, volume: VolumeId, delete: &[SnapshotName]) -> Result<(), StorageError> {
        self.run(StorageCall::Prune, Some(volume), |state| {
            let copy = state.copy(volume)?;
            copy.snapshots
                .retain(|(one, _)| is_tail(&one.name) || !delete.contains(&one.name));
            Ok(())
        })
        .await
    }

    async fn destroy(&self, volume: VolumeId) -> Result<(), StorageError> {
        self.run(StorageCall::Destroy, Some(volume), |state| {
            state.copies.remove(&volume);
            Ok(())
        })
        .await
    }
}
