//! Plans: every step that a deployment takes, made before and shown before anything happens.

use crate::app::ServiceSpec;
use crate::ids::{Epoch, Generation, NodeId, NodeName, ServiceId, VolumeId, VolumeName};
use crate::operation::{OperationKind, Prediction};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A plan: immutable, with every choice made. Executing it decides nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Plan {
    /// The state of the cluster that it was made from. If that has moved on where it matters, the
    /// plan is refused instead of executed.
    pub based_on: Generation,
    /// One for each service that changes, in the order in which they start.
    pub steps: Vec<PlanStep>,
    /// Services of the manifest that are already as they should be.
    pub unchanged: Vec<ServiceId>,
    /// What a person should know before saying yes.
    pub warnings: Vec<String>,
    /// Control's mark, of what it alone can make: a plan that comes back changed, or from elsewhere, is
    /// refused.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub seal: String,
}

/// What happens to one service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlanStep {
    /// The service.
    pub service: ServiceId,
    /// What happens.
    pub kind: OperationKind,
    /// Where it, or its data, is now.
    pub source: Option<NodeId>,
    /// That node's name.
    pub source_name: Option<NodeName>,
    /// Where it will be.
    pub target: Option<NodeId>,
    /// That node's name.
    pub target_name: Option<NodeName>,
    /// The description it will have.
    pub spec: ServiceSpec,
    /// Its volumes.
    pub volumes: Vec<PlannedVolume>,
    /// What changes in the description, in words; empty when nothing does.
    pub changes: Vec<String>,
    /// Bytes to be copied, at a guess.
    pub copy_bytes: u64,
    /// Time for the copy, in milliseconds, at a guess.
    pub copy_ms: u64,
    /// The pause that clients will feel, at a guess; none when the service is not running.
    pub pause: Option<Prediction>,
}

/// A volume in a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlannedVolume {
    /// Its name in its application.
    pub name: VolumeName,
    /// Its identity, for one that exists.
    pub id: Option<VolumeId>,
    /// The epoch that the plan was made for.
    pub epoch: Option<Epoch>,
    /// Most bytes it may hold from then on.
    pub size_bytes_max: Option<u64>,
}
