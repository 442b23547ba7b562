//! What two agents say to each other when a volume or an image goes from node to node.
//!
//! One TLS connection carries one transfer. The side that connects sends a [`StreamRequest`] as the
//! payload of the first frame; the frames themselves are the storage crate's.

use crate::ids::{Epoch, SnapshotName, VolumeId};
use crate::volume::{Checksum, StorageKind};
use serde::{Deserialize, Serialize};

/// First frame of a transfer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum StreamRequest {
    /// "Which snapshots of this volume do you have?" Answered with [`StreamReply::Have`].
    Ask {
        /// The volume.
        volume: VolumeId,
    },
    /// "Here comes a snapshot." Data frames follow, then the end; answered with
    /// [`StreamReply::Received`].
    Send {
        /// The volume.
        volume: VolumeId,
        /// The sender's epoch.
        epoch: Epoch,
        /// The format of the data.
        storage: StorageKind,
        /// The snapshot that the receiver has and that the stream builds on; none for a full one.
        from: Option<SnapshotName>,
        /// The snapshot that the stream makes.
        to: SnapshotName,
        /// Bytes to come, where known.
        bytes_estimate: Option<u64>,
    },
    /// "Send me this image." Answered with data frames and the end, or with a refusal.
    Image {
        /// An image reference or Docker image id.
        image: String,
    },
}

/// Answer of the side that was connected to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum StreamReply {
    /// Snapshots that are complete here, oldest first.
    Have {
        /// Their names.
        snapshots: Vec<SnapshotName>,
    },
    /// The request is accepted; data may follow.
    Ready,
    /// The snapshot is complete and durable here.
    Received {
        /// What was received.
        checksum: Checksum,
        /// How much, before compression.
        bytes: u64,
    },
    /// It is not done, and this is why.
    Refused {
        /// The reason.
        failure: crate::task::Failure,
    },
}
