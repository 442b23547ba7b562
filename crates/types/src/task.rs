//! What control asks of an agent, and what the agent answers.
//!
//! Two kinds. A *directive* says in which state a service shall be on a node and stays in force;
//! a *task* is one finite piece of work with a result. Both may arrive twice, or after the sender
//! died: a directive carries a generation and older ones are ignored, a task carries an id and is
//! done once.

use crate::app::ServiceSpec;
use crate::ids::{Epoch, Generation, NodeId, ServiceId, SnapshotName, TaskId, VolumeId};
use crate::time::UnixMs;
use crate::volume::{Checksum, VolumeLabel};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::{Ipv4Addr, SocketAddr};

/// In which state a service shall be on the receiving node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Directive {
    /// The service.
    pub service: ServiceId,
    /// Older generations than the last seen are ignored.
    pub generation: Generation,
    /// The state.
    pub want: Want,
}

/// A service's wanted state on a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "kind")]
#[expect(
    clippy::large_enum_variant,
    reason = "few at a time; a box would only be in the way of matching"
)]
pub enum Want {
    /// Promote the volumes where needed, then keep the container running.
    Run {
        /// The container.
        container: ContainerSpec,
        /// The volumes it writes, each with the epoch in which this node holds it.
        volumes: Vec<VolumeClaim>,
    },
    /// Stop the container and leave it and its volumes as they are.
    Stopped,
    /// Stop and remove the container. Volumes stay.
    Absent,
}

/// A container with everything decided: what control alone knows (addresses of other services) is
/// filled in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ContainerSpec {
    /// The service as its manifest describes it.
    pub spec: ServiceSpec,
    /// Names for the container's hosts file.
    pub hosts: Vec<(String, Ipv4Addr)>,
    /// Link variables; the service's own environment wins over them.
    pub link_environment: Vec<(String, String)>,
    /// Use exactly this image (Docker's image id) when known: a move must not change the software.
    pub image_id: Option<String>,
    /// For each mount of the service, in its order, the volume.
    pub volumes: Vec<VolumeId>,
    /// The service's own address for other services. The container does not need it: it is here so
    /// that control's store can be rebuilt from what the agents were told. Earlier ones lack it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_address: Option<Ipv4Addr>,
}

/// A volume that a service may write on this node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VolumeClaim {
    /// The label that the volume's copy shall carry, with the epoch of this claim.
    pub label: VolumeLabel,
    /// The head that the holder had to have when the epoch began; a replica is promoted at exactly
    /// this snapshot. None for a volume that was created here, and for a writable copy of an earlier
    /// epoch that goes on as it is, as the operator said when control's store was made again.
    pub head: Option<SnapshotName>,
}

/// One finite piece of work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Task {
    /// Its id; giving it again changes nothing.
    pub id: TaskId,
    /// What to do.
    pub work: Work,
    /// Without visible progress for this long, in milliseconds, the agent gives the task up.
    pub stall_limit_ms: u64,
}

/// What a task does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "kind")]
#[expect(
    clippy::large_enum_variant,
    reason = "few at a time; a box would only be in the way of matching"
)]
pub enum Work {
    /// Make an empty volume that this node holds. Succeeds if it is there already.
    CreateVolume {
        /// Its label.
        label: VolumeLabel,
    },
    /// Get ready to run a service here: room, image, container created but not started.
    Prepare {
        /// The service.
        service: ServiceId,
        /// Its container.
        container: Box<ContainerSpec>,
        /// Volumes that will be received, whence, and how much room they need.
        incoming: Vec<IncomingVolume>,
        /// Nodes whose engines may have the image when no registry does.
        image_peers: Vec<Peer>,
    },
    /// Snapshot each volume (unless the snapshot exists) and send it to the target.
    Copy {
        /// The volumes of one service.
        volumes: Vec<CopyVolume>,
        /// Who receives.
        target: Peer,
    },
    /// Make this node's copy a replica: no writable copy remains. What was written after `head`,
    /// if anything, is kept as a snapshot of its own.
    Demote {
        /// The volume.
        volume: VolumeId,
        /// The epoch in which another node holds it.
        epoch: Epoch,
        /// The snapshot at which the new holder began.
        head: SnapshotName,
    },
    /// Delete these snapshots of a volume. It names what goes, not what stays: whatever is made while
    /// this is on its way is not touched, and neither is the data itself.
    Prune {
        /// The volume.
        volume: VolumeId,
        /// What goes, as far as it is there.
        delete: Vec<SnapshotName>,
    },
    /// Delete this node's copy of a volume, snapshots included. Only a person asks for this.
    Destroy {
        /// The volume.
        volume: VolumeId,
        /// The newest epoch control knows; a copy with a higher one is not touched.
        epoch: Epoch,
    },
}

/// A volume that a node shall receive, and from whom alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IncomingVolume {
    /// The label of the copy to be, with the source's epoch.
    pub label: VolumeLabel,
    /// The only node whose streams are accepted.
    pub source: NodeId,
    /// Room that it needs at most, in bytes.
    pub size_bytes_estimate: u64,
}

/// One volume of a copy task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CopyVolume {
    /// The volume.
    pub volume: VolumeId,
    /// The holder's epoch; an agent that does not hold the volume in it refuses.
    pub epoch: Epoch,
    /// The snapshot to take and send.
    pub snapshot: SnapshotName,
    /// Snapshots that other nodes' replicas have, to be sent on the way where the target lacks
    /// them, so that a common base with every replica remains.
    pub bases: Vec<SnapshotName>,
}

/// Another node, as reached for volume streams and images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Peer {
    /// Its identity, checked in its certificate.
    pub node: NodeId,
    /// Its agent's stream listener.
    pub address: SocketAddr,
}

/// How far a running task is. Sent at most twice a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Default)]
pub struct TaskProgress {
    /// Bytes of volume data sent so far, before compression.
    pub bytes_done: u64,
    /// Bytes to be sent in all, where it could be estimated.
    pub bytes_total: Option<u64>,
}

/// How a task ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TaskReport {
    /// The task.
    pub id: TaskId,
    /// What came of it.
    pub result: Result<TaskOutcome, Failure>,
}

/// What a successful task has to say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum TaskOutcome {
    /// Nothing more than that it is done.
    Done,
    /// A container is ready to start.
    Prepared(Prepared),
    /// Volumes were sent.
    Copied {
        /// Each volume's part.
        volumes: Vec<CopiedVolume>,
    },
}

/// A container that is ready to start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Prepared {
    /// Docker's id of the image that it will run.
    pub image_id: String,
    /// TCP ports that the image exposes.
    pub exposed_ports: Vec<u16>,
    /// The address that the container will have on this node.
    pub address: Ipv4Addr,
}

/// One volume's part of a copy, as the source saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CopiedVolume {
    /// The volume.
    pub volume: VolumeId,
    /// The snapshot that the target now has.
    pub snapshot: SnapshotName,
    /// Checksum of the stream that carried it.
    pub checksum: Checksum,
    /// Bytes of volume data, before compression.
    pub bytes: u64,
    /// Bytes on the wire.
    pub wire_bytes: u64,
    /// True when no common snapshot was found and everything was sent.
    pub full: bool,
    /// From the snapshot being asked for to the target's word that it is durable, in milliseconds.
    pub milliseconds: u64,
}

/// Why something could not be done, for people and for the core.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What went wrong, in one sentence with its cause.
    pub message: String,
    /// Whether the same attempt may succeed later.
    pub retry: Retry,
}

/// Whether trying again can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Retry {
    /// The cause may pass by itself (a network error, a busy engine).
    MayHelp,
    /// Somebody has to change something first.
    Pointless,
}

/// What a service's container does on a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceStatus {
    /// The service.
    pub service: ServiceId,
    /// The newest directive that the agent has acted on.
    pub generation: Generation,
    /// The state.
    pub state: ContainerState,
}

/// A container's state as its agent sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum ContainerState {
    /// There is no container.
    Absent,
    /// It is made and was not started since the last directive.
    Created,
    /// It was started; its health check or its port has not answered yet.
    Starting,
    /// It runs, and its health check (or its port, where it has no check) has answered.
    Running {
        /// What was found out while preparing it.
        prepared: Prepared,
        /// From the start to readiness, in milliseconds; none when the agent found it running.
        start_ms: Option<u64>,
        /// Since when.
        since: UnixMs,
    },
    /// Its health check fails.
    Unhealthy {
        /// The check's last words.
        message: String,
    },
    /// It is not running.
    Stopped {
        /// Its exit code, if it ever ran.
        exit_code: Option<i64>,
        /// How long stopping took, in milliseconds, when a directive caused it.
        stop_ms: Option<u64>,
    },
    /// The agent cannot bring it into the wanted state and says why; it goes on trying when that
    /// may help.
    Failed(Failure),
}
