//! Volumes, their snapshots, and what is written beside their data on the pool.

use crate::app::ServiceSpec;
use crate::ids::{
    ApplicationName, ClusterId, Epoch, ServiceId, SnapshotName, VolumeId, VolumeName,
};
use crate::time::UnixMs;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::Ipv4Addr;

/// What a node keeps beside a volume's data, so that the data can be understood without control
/// (invariant *data-outlives-control*).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VolumeLabel {
    /// The cluster it belongs to.
    pub cluster: ClusterId,
    /// Its identity, the same on every node.
    pub id: VolumeId,
    /// Its application.
    pub application: ApplicationName,
    /// Its name there.
    pub name: VolumeName,
    /// The epoch of which this copy is, as far as this node knows.
    pub epoch: Epoch,
    /// Most bytes it may hold.
    pub size_bytes_max: Option<u64>,
    /// The service that last used it here, with its whole description.
    pub service: Option<ServiceDescription>,
}

/// Who used a volume, so that the store can be rebuilt from the nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceDescription {
    /// The service.
    pub id: ServiceId,
    /// What it was.
    pub spec: ServiceSpec,
    /// Its address for other services; earlier labels lack it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_address: Option<Ipv4Addr>,
}

/// What a copy of a volume is on one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Writable here; at most one in the cluster for each volume (invariant *one-writer*).
    Holder,
    /// Read-only snapshots only.
    Replica,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Holder => "holder",
            Self::Replica => "replica",
        })
    }
}

/// A complete, read-only point in a volume's life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Snapshot {
    /// Its name: the same on every node that has it.
    pub name: SnapshotName,
    /// Checksum of the stream that brought it here; none where it was taken.
    pub checksum: Option<Checksum>,
    /// When it came to be on this node.
    pub created: UnixMs,
}

/// One copy of a volume as found on a pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VolumeCopy {
    /// The label beside the data.
    pub label: VolumeLabel,
    /// Writable or not.
    pub role: Role,
    /// Complete snapshots, oldest first. The last one is this copy's head.
    pub snapshots: Vec<Snapshot>,
    /// Bytes that the copy refers to, where the pool tells it cheaply.
    pub used_bytes: Option<u64>,
}

impl VolumeCopy {
    /// The newest complete snapshot.
    pub fn head(&self) -> Option<&SnapshotName> {
        self.snapshots.last().map(|snapshot| &snapshot.name)
    }
}

/// BLAKE3 of a whole volume stream, 32 bytes as 64 hexadecimal digits. Source and target compute
/// it on their own; equality proves that the target received what the source sent.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Checksum(pub String);

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// What a pool has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PoolUsage {
    /// All of it, in bytes; for an image-file pool, as large as it may grow.
    pub size_bytes: u64,
    /// What can still be written, in bytes.
    pub free_bytes: u64,
}

/// The storage of a pool.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum StorageKind {
    /// A btrfs filesystem, or an image file with one.
    Btrfs,
    /// A ZFS dataset.
    Zfs,
}

impl fmt::Display for StorageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Btrfs => "btrfs",
            Self::Zfs => "zfs",
        })
    }
}
