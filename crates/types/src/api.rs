//! Bodies of the HTTP API of control, which the command line and every other client use.

use crate::access::{CertificateView, RotationView};
use crate::app::{Application, Placement, ServiceSpec};
use crate::ids::{
    ApplicationName, ClusterId, Epoch, NodeId, NodeName, OperationId, ServiceId, SnapshotName,
    VolumeId, VolumeName,
};
use crate::operation::Operation;
use crate::plan::Plan;
use crate::task::{ContainerState, TaskProgress};
use crate::time::UnixMs;
use crate::volume::{PoolUsage, Role, StorageKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::{Ipv4Addr, SocketAddr};

/// A refusal: what is wrong and how to go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// For programs.
    pub code: ErrorCode,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// Kinds of refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The request makes no sense (HTTP 400).
    Invalid,
    /// Who asks is not known or may not (HTTP 403).
    Forbidden,
    /// There is no such thing (HTTP 404).
    NotFound,
    /// It contradicts what is going on, or what has changed since (HTTP 409).
    Conflict,
    /// Something that is needed is not there now (HTTP 503).
    Unavailable,
    /// A mistake of ours (HTTP 500).
    Internal,
}

/// What a person wants to be so: `POST /v1/plan`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlanRequest {
    /// The services.
    pub application: Application,
    /// Where they run.
    pub placement: Placement,
}

/// `POST /v1/deploy`: the plan that was shown, to be executed as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeployRequest {
    /// The plan.
    pub plan: Plan,
}

/// `POST /v1/services/move`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MoveRequest {
    /// What to move.
    pub service: ServiceId,
    /// Whither: a node's name, id or address.
    pub node: String,
}

/// `POST /v1/services/remove`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RemoveRequest {
    /// What to stop. Its volumes stay.
    pub service: ServiceId,
}

/// `POST /v1/volumes/remove`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RemoveVolumeRequest {
    /// The volume to delete, on every node.
    pub volume: VolumeId,
    /// Until then it can be restored, in milliseconds from now.
    pub grace_ms: u64,
}

/// `POST /v1/volumes/restore`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RestoreVolumeRequest {
    /// The volume whose deletion is taken back.
    pub volume: VolumeId,
}

/// Answer to what starts operations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Started {
    /// The operations, in the order of the plan's steps.
    pub operations: Vec<OperationId>,
}

/// `GET /v1/status`: everything that a person may want to see, at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClusterView {
    /// The cluster.
    pub cluster: ClusterId,
    /// When this was so.
    pub at: UnixMs,
    /// Its nodes, by name.
    pub nodes: Vec<NodeView>,
    /// Its services.
    pub services: Vec<ServiceView>,
    /// Its volumes.
    pub volumes: Vec<VolumeView>,
    /// Operations that go on, and the latest that ended.
    pub operations: Vec<OperationView>,
    /// Certificates and how long they are good: control's, the authority's, the nodes', the reader's own.
    #[serde(default)]
    pub certificates: Vec<CertificateView>,
    /// A change of the cluster's authority, while one goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<RotationView>,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeView {
    /// Its id.
    pub id: NodeId,
    /// Its name.
    pub name: NodeName,
    /// Its address.
    pub address: Ipv4Addr,
    /// Whether its agent is connected, and since when it is so or not.
    pub agent: LinkView,
    /// Whether its proxy is connected.
    pub proxy: LinkView,
    /// Its storage.
    pub storage: Option<StorageKind>,
    /// Its pool.
    pub pool: Option<PoolUsage>,
    /// Version of its agent.
    pub version: Option<String>,
}

/// Whether something is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "kind", content = "since")]
pub enum LinkView {
    /// It is, since then.
    Connected(UnixMs),
    /// It is not, since then.
    Lost(UnixMs),
    /// It never was.
    Never,
}

/// A service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceView {
    /// Its id.
    pub id: ServiceId,
    /// The node where it is to run; none once removed.
    pub node: Option<NodeName>,
    /// What its container does there.
    pub state: ContainerState,
    /// How it is described.
    pub spec: ServiceSpec,
    /// Its cluster address.
    pub cluster_address: Ipv4Addr,
    /// Its volumes.
    pub volumes: Vec<VolumeId>,
    /// The operation that goes on, if any.
    pub operation: Option<OperationId>,
    /// Anything that is not well, with what to do.
    pub problems: Vec<String>,
}

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VolumeView {
    /// Its identity.
    pub id: VolumeId,
    /// Its application.
    pub application: ApplicationName,
    /// Its name there.
    pub name: VolumeName,
    /// Who may write it.
    pub holder: NodeName,
    /// Since which change.
    pub epoch: Epoch,
    /// The service that uses it, if one does.
    pub service: Option<ServiceId>,
    /// Most bytes it may hold.
    pub size_bytes_max: Option<u64>,
    /// When it will be deleted, once somebody has asked for that.
    pub destroy_after: Option<UnixMs>,
    /// Its copies.
    pub copies: Vec<CopyView>,
}

/// A copy of a volume on a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CopyView {
    /// The node.
    pub node: NodeName,
    /// What it is there.
    pub role: Role,
    /// Its epoch there.
    pub epoch: Epoch,
    /// Its newest snapshot.
    pub head: Option<SnapshotName>,
    /// How many snapshots it has.
    pub snapshots: u32,
    /// How much it refers to, in bytes.
    pub used_bytes: Option<u64>,
}

/// An operation and its present progress.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OperationView {
    /// The operation.
    #[serde(flatten)]
    pub operation: Operation,
    /// Names for its source and target.
    pub source_name: Option<NodeName>,
    /// See `source_name`.
    pub target_name: Option<NodeName>,
    /// How far its present task is.
    pub progress: Option<TaskProgress>,
}

/// `GET /v1/events`: something that happened. Server-sent events, one JSON object each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EventRecord {
    /// Grows by one with each event.
    pub sequence: u64,
    /// When.
    pub at: UnixMs,
    /// What, in words.
    pub message: String,
    /// Whom it concerns.
    pub service: Option<ServiceId>,
    /// Where.
    pub node: Option<NodeName>,
    /// In which operation.
    pub operation: Option<OperationId>,
}

/// A line of a container's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogLine {
    /// `stdout` or `stderr`.
    pub stream: LogStream,
    /// The line, without its end.
    pub text: String,
}

/// Which of a container's outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// `POST /v1/tokens`: a token with which one server may join.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenRequest {
    /// How long it shall be good, in milliseconds; a week at most.
    #[schemars(range(min = 1, max = 604_800_000))]
    pub valid_ms: u64,
    /// Only for a new certificate of this node (name, id or address), whose old one is lost, has expired or
    /// is revoked; for a new node when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
}

/// The token, shown once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenResponse {
    /// What to give to `flocker join --token`.
    pub token: String,
    /// Until when it is good.
    pub expires: UnixMs,
}

/// `POST /v1/join`: the one request that needs no certificate, only a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JoinRequest {
    /// The token's secret part.
    pub token: String,
    /// The name that the node wants.
    pub name: NodeName,
    /// Its address.
    pub address: Ipv4Addr,
    /// Certificate signing request (PEM); its key never leaves the node.
    pub certificate_request: String,
}

/// What a new node gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JoinResponse {
    /// The cluster.
    pub cluster: ClusterId,
    /// Its id from now on.
    pub node: NodeId,
    /// Its certificate (PEM).
    pub certificate: String,
    /// The authority's certificate (PEM), which the token has pinned.
    pub authority: String,
    /// Where control answers.
    pub control: SocketAddr,
    /// Addresses for services, as `a.b.c.d/n`.
    pub service_network: String,
    /// Addresses for containers on each node, as `a.b.c.d/n`.
    pub container_network: String,
}
