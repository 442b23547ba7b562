//! The trait that every kind of pool implements, and its errors.
//!
//! The agent's shell is its only caller, from one task per volume: two calls for the same volume
//! never overlap, calls for different volumes do.

use async_trait::async_trait;
use flocker_types::ids::{Epoch, SnapshotName, VolumeId};
use flocker_types::volume::{Checksum, PoolUsage, StorageKind, VolumeCopy, VolumeLabel};
use std::fmt;
use std::path::PathBuf;
use tokio::io::AsyncRead;

/// A volume stream being produced by the filesystem.
pub struct SendStream {
    /// The bytes, in the filesystem's own format. Reading to the end without an error means that
    /// the sending command succeeded: a failure of the command is an error of the last read.
    pub reader: Box<dyn AsyncRead + Send + Unpin>,
    /// How many there will be, where the filesystem can tell cheaply.
    pub bytes_estimate: Option<u64>,
}

impl fmt::Debug for SendStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendStream")
            .field("bytes_estimate", &self.bytes_estimate)
            .finish_non_exhaustive()
    }
}

/// A pool of volumes on this node.
///
/// Everything that returns `Ok` is durable: it survives the loss of power. Every method may be
/// repeated after a crash in the middle of it and then ends as if it had run once.
#[async_trait]
pub trait VolumeStore: Send + Sync + 'static {
    /// Which storage this is; streams go only between equal kinds.
    fn kind(&self) -> StorageKind;

    /// Size of the pool and room left.
    async fn pool_usage(&self) -> Result<PoolUsage, StorageError>;

    /// Every copy on the pool, with its label and its complete snapshots. Half-received snapshots
    /// and half-made volumes are cleaned up or left out, never shown.
    async fn list(&self) -> Result<Vec<VolumeCopy>, StorageError>;

    /// One copy.
    async fn get(&self, volume: VolumeId) -> Result<Option<VolumeCopy>, StorageError>;

    /// Makes an empty volume with this node as its holder. `Ok` without doing anything when the
    /// volume is here as a holder in the same epoch already; an error when it is here otherwise.
    async fn create(&self, label: &VolumeLabel) -> Result<VolumeCopy, StorageError>;

    /// The directory to mount into a container. Only for a volume that is held here.
    async fn mount_path(&self, volume: VolumeId) -> Result<PathBuf, StorageError>;

    /// How many bytes the live data of a volume held here refers to: about what a first copy of it
    /// reads. What only its snapshots keep does not count. `None` for a replica, and where finding
    /// out would cost too much. It may be some seconds old, changes nothing, and may run beside any
    /// other call.
    async fn used_bytes(&self, volume: VolumeId) -> Result<Option<u64>, StorageError>;

    /// Takes a read-only snapshot of the live data. `Ok` without doing anything when a snapshot of
    /// this name exists.
    async fn snapshot(&self, volume: VolumeId, name: &SnapshotName) -> Result<(), StorageError>;

    /// Starts to produce the stream that takes a receiver from `from` (nothing when `None`) to `to`.
    async fn send(
        &self,
        volume: VolumeId,
        from: Option<&SnapshotName>,
        to: &SnapshotName,
    ) -> Result<SendStream, StorageError>;

    /// Receives a stream made by [`send`](Self::send) on another node into a replica with this label;
    /// makes the replica when there is none. Refuses a volume that this node holds, and a label
    /// with a lower epoch than the copy's. The snapshot is complete, durable and visible only when this returns
    /// `Ok`; after an error or a crash the replica is as it was before.
    ///
    /// `verify` is called once the stream has ended and before the snapshot is accepted; it yields
    /// the checksum of the bytes that passed, or an error that rejects them.
    async fn receive(
        &self,
        label: &VolumeLabel,
        from: Option<&SnapshotName>,
        to: &SnapshotName,
        stream: Box<dyn AsyncRead + Send + Unpin>,
        verify: Box<dyn FnOnce() -> Result<Checksum, StorageError> + Send>,
    ) -> Result<(), StorageError>;

    /// Makes the replica writable at exactly the snapshot `head`, with `label` (whose epoch must be
    /// higher than the copy's). `Ok` without doing anything when the volume is held here in that epoch
    /// already.
    async fn promote(&self, label: &VolumeLabel, head: &SnapshotName) -> Result<(), StorageError>;

    /// Gives up the writable copy; the copy becomes a replica in `epoch`. Anything written after
    /// the snapshot `head` is first kept as a snapshot named `tail-e<old epoch>`. `Ok` without doing
    /// anything when the copy is a replica in that epoch already.
    async fn demote(
        &self,
        volume: VolumeId,
        epoch: Epoch,
        head: &SnapshotName,
    ) -> Result<(), StorageError>;

    /// Replaces the label (same id); for a new size, sets the quota too. Refuses a lower epoch.
    async fn set_label(&self, label: &VolumeLabel) -> Result<(), StorageError>;

    /// Deletes these snapshots; those that are not there are no error. Tails are always kept.
    async fn prune(&self, volume: VolumeId, delete: &[SnapshotName]) -> Result<(), StorageError>;

    /// Deletes the copy with all its snapshots.
    async fn destroy(&self, volume: VolumeId) -> Result<(), StorageError>;
}

/// What was being done when storage failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StorageOperation {
    /// Opening or making the pool.
    OpenPool,
    /// Listing or reading a copy.
    Read,
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
    /// Writing a label or a quota.
    SetLabel,
    /// Deleting snapshots.
    Prune,
    /// Deleting a copy.
    Destroy,
}

impl fmt::Display for StorageOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::OpenPool => "open the pool",
            Self::Read => "read the volume",
            Self::Create => "create the volume",
            Self::Snapshot => "take a snapshot",
            Self::Send => "send the volume",
            Self::Receive => "receive the volume",
            Self::Promote => "make the replica writable",
            Self::Demote => "make the volume a replica",
            Self::SetLabel => "change the volume's label",
            Self::Prune => "delete old snapshots",
            Self::Destroy => "delete the volume",
        })
    }
}

/// A storage call that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation}{}: {kind}", self.subject())]
pub struct StorageError {
    /// What was being done.
    pub operation: StorageOperation,
    /// To which volume.
    pub volume: Option<VolumeId>,
    /// Why it failed.
    pub kind: StorageErrorKind,
}

impl StorageError {
    /// An error about one volume.
    pub fn of(operation: StorageOperation, volume: VolumeId, kind: StorageErrorKind) -> Self {
        Self {
            operation,
            volume: Some(volume),
            kind,
        }
    }

    /// An error about the pool as a whole.
    pub fn of_pool(operation: StorageOperation, kind: StorageErrorKind) -> Self {
        Self {
            operation,
            volume: None,
            kind,
        }
    }

    /// Whether the same call may succeed later without anybody changing its arguments: room may be
    /// made, a stream may arrive whole next time, a command may have met a passing condition.
    pub fn retry_may_help(&self) -> bool {
        match self.kind {
            StorageErrorKind::NoSpace(_)
            | StorageErrorKind::BadStream(_)
            | StorageErrorKind::Command { .. }
            | StorageErrorKind::Io { .. } => true,
            StorageErrorKind::NoSuchVolume
            | StorageErrorKind::NoSuchSnapshot(_)
            | StorageErrorKind::WrongRole(_)
            | StorageErrorKind::StaleEpoch { .. } => false,
        }
    }

    fn subject(&self) -> String {
        self.volume
            .map_or_else(String::new, |volume| format!(" {}", volume.short()))
    }
}

/// Why a storage call failed.
#[derive(Debug, thiserror::Error)]
pub enum StorageErrorKind {
    /// There is no such volume here.
    #[error("there is no such volume on this node")]
    NoSuchVolume,
    /// There is no such snapshot of it.
    #[error("there is no snapshot {0}")]
    NoSuchSnapshot(SnapshotName),
    /// The copy's role does not allow it.
    #[error("{0}")]
    WrongRole(String),
    /// The copy is of a newer epoch than the request.
    #[error("this copy is of epoch {here}, the request of epoch {asked}")]
    StaleEpoch {
        /// The copy's.
        here: Epoch,
        /// The request's.
        asked: Epoch,
    },
    /// The pool or the quota is full.
    #[error("there is no room left on the pool: {0}")]
    NoSpace(String),
    /// The stream was not what it should be.
    #[error("the stream is damaged: {0}")]
    BadStream(String),
    /// A command of the filesystem failed.
    #[error("`{command}` failed: {stderr}")]
    Command {
        /// The command line.
        command: String,
        /// Its error output, trimmed.
        stderr: String,
    },
    /// A file or system call failed.
    #[error("{what}: {source}")]
    Io {
        /// What was tried, with the path.
        what: String,
        /// The system's answer.
        source: std::io::Error,
    },
}

impl StorageErrorKind {
    /// A failed file or system call; a full disk or quota becomes [`Self::NoSpace`].
    pub fn io(what: impl Into<String>, source: std::io::Error) -> Self {
        let what = what.into();
        match source.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                Self::NoSpace(format!("{what}: {source}"))
            }
            _ => Self::Io { what, source },
        }
    }

    /// A failed command; a full disk or quota becomes [`Self::NoSpace`].
    pub fn command(command: impl Into<String>, stderr: &str) -> Self {
        let command = command.into();
        let stderr = stderr.trim().to_owned();
        let lower = stderr.to_ascii_lowercase();
        let full = ["no space left", "quota exceeded", "out of space"];
        if full.iter().any(|text| lower.contains(text)) {
            return Self::NoSpace(format!("`{command}`: {stderr}"));
        }
        Self::Command { command, stderr }
    }
}

/// Turns a system error into a [`StorageErrorKind`] that says what was tried with which path.
pub(crate) fn io_at<'a>(
    what: &'a str,
    path: &'a std::path::Path,
) -> impl FnOnce(std::io::Error) -> StorageErrorKind + 'a {
    move |source| StorageErrorKind::io(format!("{what} {}", path.display()), source)
}
