//! Operations: a plan's step for one service, as it is carried out, recorded and shown.

use crate::app::ServiceSpec;
use crate::ids::{Epoch, NodeId, OperationId, ServiceId, SnapshotName, VolumeId};
use crate::task::Failure;
use crate::time::UnixMs;
use crate::volume::Checksum;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// What an operation is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OperationKind {
    /// A service that does not run shall run. Its volumes, if it has any from before, come along.
    Start,
    /// A running service shall run elsewhere.
    Move,
    /// A running service shall run with another description, where it is.
    Replace,
    /// A service shall stop; its volumes stay.
    Remove,
}

impl fmt::Display for OperationKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Start => "start",
            Self::Move => "move",
            Self::Replace => "replace",
            Self::Remove => "remove",
        })
    }
}

/// The phases of the design's section 6, in order. An operation skips those that it has no need of.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Waits for the services that it depends on.
    Wait,
    /// Target: volumes made, room found, image present, container created.
    Prepare,
    /// Source to target, while the service runs.
    Copy,
    /// Proxies keep new connections waiting.
    Hold,
    /// The container stops.
    Stop,
    /// The final snapshot goes to the target.
    LastDelta,
    /// The holder changes in the store.
    Commit,
    /// The container starts on the target and becomes ready.
    Start,
    /// Routes switch, held connections go through.
    Release,
    /// The source's copy becomes a replica; old snapshots are pruned.
    Keep,
}

impl Phase {
    /// Every phase, in order.
    pub const ALL: [Self; 10] = [
        Self::Wait,
        Self::Prepare,
        Self::Copy,
        Self::Hold,
        Self::Stop,
        Self::LastDelta,
        Self::Commit,
        Self::Start,
        Self::Release,
        Self::Keep,
    ];
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Wait => "wait",
            Self::Prepare => "prepare",
            Self::Copy => "copy",
            Self::Hold => "hold",
            Self::Stop => "stop",
            Self::LastDelta => "last delta",
            Self::Commit => "commit",
            Self::Start => "start",
            Self::Release => "release",
            Self::Keep => "keep",
        })
    }
}

/// An operation, whole: what it is to do, how far it is, and what happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Operation {
    /// Its id.
    pub id: OperationId,
    /// Whom it concerns. One operation per service at a time.
    pub service: ServiceId,
    /// What it is for.
    pub kind: OperationKind,
    /// Where the service runs, or its volumes are, when it begins.
    pub source: Option<NodeId>,
    /// Where it shall run; none for a removal.
    pub target: Option<NodeId>,
    /// The description it shall run with; for a removal, the one it ran with.
    pub spec: ServiceSpec,
    /// The volumes, in the order of the service's mounts.
    pub volumes: Vec<OperationVolume>,
    /// Where it is.
    pub phase: Phase,
    /// Whether it goes on.
    pub status: OperationStatus,
    /// Numbers handed out to tasks so far.
    pub task_sequence: u32,
    /// Copy rounds so far, the last delta included.
    pub rounds: Vec<Round>,
    /// What was predicted before the hold.
    pub predicted: Option<Prediction>,
    /// Milliseconds spent in each phase.
    pub phase_ms: BTreeMap<Phase, u64>,
    /// From hold to release, in milliseconds: what clients felt.
    pub pause_ms: Option<u64>,
    /// Connections that were held, and the longest of their waits in milliseconds, over all proxies.
    pub held: HeldConnections,
    /// When it began.
    pub started: UnixMs,
    /// When it ended.
    pub finished: Option<UnixMs>,
    /// What it waits for, for people; empty when it ended.
    pub waiting_for: String,
}

/// A volume within an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OperationVolume {
    /// Which.
    pub id: VolumeId,
    /// The holder's epoch when the operation began.
    pub epoch: Epoch,
    /// True when the target holds it already or makes it: nothing is copied.
    pub made_here: bool,
    /// The final head that the target has proved, once it has.
    pub head: Option<ProvedHead>,
}

/// A head that source and target agree on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProvedHead {
    /// The snapshot.
    pub snapshot: SnapshotName,
    /// Checksum of the stream that carried it.
    pub checksum: Checksum,
}

/// Whether an operation goes on, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum OperationStatus {
    /// It goes on.
    Running,
    /// It goes back: what was begun is being undone.
    Aborting {
        /// Why.
        failure: Failure,
        /// The phase in which it failed.
        phase: Phase,
    },
    /// It did what it was for.
    Succeeded,
    /// It did not. If the failure came before the commit the service is as it was before.
    Failed {
        /// Why.
        failure: Failure,
        /// The phase in which it failed.
        phase: Phase,
    },
}

/// One round of copying.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Round {
    /// Bytes of volume data.
    pub bytes: u64,
    /// Bytes on the wire.
    pub wire_bytes: u64,
    /// How long it took.
    pub milliseconds: u64,
    /// True when a whole volume was sent.
    pub full: bool,
    /// The pause that was predicted after it, in milliseconds.
    pub predicted_pause_ms: u64,
}

/// What control expects of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Prediction {
    /// Time to stop the container.
    pub stop_ms: u64,
    /// Time for the last delta.
    pub delta_ms: u64,
    /// Time to start the container and become ready.
    pub start_ms: u64,
}

impl Prediction {
    /// From hold to release.
    pub fn pause_ms(&self) -> u64 {
        self.stop_ms
            .saturating_add(self.delta_ms)
            .saturating_add(self.start_ms)
    }
}

/// Clients that waited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Default)]
pub struct HeldConnections {
    /// How many.
    pub connections: u32,
    /// The longest wait, in milliseconds.
    pub longest_ms: u64,
}
