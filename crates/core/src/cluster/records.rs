//! The records of the state, and their keys in the store.

use super::network::Network;
use flocker_types::access::{Revocation, Revoked, UserRecord};
use flocker_types::app::ServiceSpec;
use flocker_types::ids::{
    ApplicationName, ClusterId, Epoch, Generation, NodeId, NodeName, OperationId, ServiceId,
    SnapshotName, VolumeId, VolumeName,
};
use flocker_types::operation::{Operation, Phase};
use flocker_types::route::Route;
use flocker_types::task::{CopiedVolume, Directive, Failure, Prepared, Task};
use flocker_types::time::UnixMs;
use flocker_types::volume::{Role, VolumeLabel};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};

/// Where a record is kept.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// The cluster.
    Meta,
    /// A node.
    Node(NodeId),
    /// A service.
    Service(ServiceId),
    /// A volume.
    Volume(VolumeId),
    /// An operation.
    Operation(OperationId),
    /// A token, by its public id.
    Token(String),
    /// A user, by name.
    User(String),
    /// A revocation, by whom it concerns.
    Revocation(Revoked),
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Meta => write!(f, "meta"),
            Self::Node(id) => write!(f, "node/{id}"),
            Self::Service(id) => write!(f, "service/{}/{}", id.application, id.name),
            Self::Volume(id) => write!(f, "volume/{id}"),
            Self::Operation(id) => write!(f, "operation/{id}"),
            Self::Token(id) => write!(f, "token/{id}"),
            Self::User(name) => write!(f, "user/{name}"),
            Self::Revocation(whom) => write!(f, "revocation/{whom}"),
        }
    }
}

/// One durable record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "record")]
pub enum Record {
    /// The cluster.
    Meta(MetaRecord),
    /// A node.
    Node(NodeRecord),
    /// A service.
    Service(Box<ServiceRecord>),
    /// A volume.
    Volume(VolumeRecord),
    /// An operation.
    Operation(Box<OperationRecord>),
    /// A token.
    Token(TokenRecord),
    /// A user.
    User(UserRecord),
    /// Certificates that are worth nothing.
    Revocation(Revocation),
}

impl Record {
    /// Where it is kept.
    pub fn key(&self) -> Key {
        match self {
            Self::Meta(_) => Key::Meta,
            Self::Node(r) => Key::Node(r.id),
            Self::Service(r) => Key::Service(r.id.clone()),
            Self::Volume(r) => Key::Volume(r.id),
            Self::Operation(r) => Key::Operation(r.operation.id),
            Self::Token(r) => Key::Token(r.id.clone()),
            Self::User(r) => Key::User(r.name.clone()),
            Self::Revocation(r) => Key::Revocation(r.whom.clone()),
        }
    }

    /// The bytes to store.
    ///
    /// # Errors
    /// Never for records of ours; the serialiser's signature has one.
    pub fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }
}

/// Reads what [`Record::to_json`] wrote.
///
/// # Errors
/// When the bytes are not a record.
pub fn record_from_json(bytes: &[u8]) -> Result<Record, serde_json::Error> {
    serde_json::from_slice(bytes)
}

/// One write.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// Set the record at its key.
    Put(Record),
    /// Remove what is at the key.
    Delete(Key),
}

/// The cluster itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetaRecord {
    /// Its id.
    pub cluster: ClusterId,
    /// The one counter from which every generation comes.
    pub generation: Generation,
    /// Addresses of services.
    pub service_network: Network,
    /// Addresses of containers on each node.
    pub container_network: Network,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// Its id.
    pub id: NodeId,
    /// Its name.
    pub name: NodeName,
    /// Its own address.
    pub address: Ipv4Addr,
    /// Its agent's stream listener, as it last said.
    pub stream_address: Option<SocketAddr>,
    /// Its proxy's tunnel, as it last said.
    pub tunnel: Option<SocketAddr>,
    /// When it joined.
    pub joined: UnixMs,
}

impl NodeRecord {
    /// Whether nothing of the node has ever connected: nobody knows whether it got its certificate.
    pub(crate) fn is_unborn(&self) -> bool {
        self.stream_address.is_none() && self.tunnel.is_none()
    }
}

/// A service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceRecord {
    /// Its id.
    pub id: ServiceId,
    /// What it is; what it will be while its first operation goes on.
    pub spec: ServiceSpec,
    /// Where it runs. None before its first start and after its removal.
    pub node: Option<NodeId>,
    /// Its address for other services; stays for as long as the record.
    pub cluster_address: Ipv4Addr,
    /// Its volumes, in the order of its mounts.
    pub volumes: Vec<VolumeId>,
    /// The operation that goes on.
    pub operation: Option<OperationId>,
    /// What each node was last told about it.
    pub directives: BTreeMap<NodeId, Directive>,
    /// What the proxies were last told about it.
    pub route: Route,
    /// What its container runs, when it is prepared on its node.
    pub prepared: Option<Prepared>,
    /// What was measured of it.
    pub learned: Learned,
}

impl ServiceRecord {
    /// Whether it runs or shall run somewhere, now or when its operation ends.
    pub fn is_placed(&self) -> bool {
        self.node.is_some() || self.operation.is_some()
    }
}

/// What moves of a service have taught, for predictions. Each is a running mean that halves the
/// weight of the past at every new value.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, Default)]
pub struct Learned {
    /// From the stop directive to the container's end, in milliseconds.
    pub stop_ms: Option<u64>,
    /// From the run directive to readiness, in milliseconds.
    pub start_ms: Option<u64>,
    /// The last delta, in milliseconds.
    pub delta_ms: Option<u64>,
    /// Bytes per second of its last large copy.
    pub copy_bytes_per_second: Option<u64>,
}

/// A volume.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VolumeRecord {
    /// Its id.
    pub id: VolumeId,
    /// Its application.
    pub application: ApplicationName,
    /// Its name there.
    pub name: VolumeName,
    /// The one node that may write it.
    pub holder: NodeId,
    /// Since which change.
    pub epoch: Epoch,
    /// Where the present holder began; none if it was created there.
    pub head: Option<SnapshotName>,
    /// Most bytes it may hold.
    pub size_bytes_max: Option<u64>,
    /// Snapshots named so far.
    pub snapshot_sequence: u64,
    /// False until its holder has made it.
    pub created: bool,
    /// When it is to be deleted, once a person has asked for that.
    pub destroy_after: Option<UnixMs>,
    /// What was left of its grace time when that was last written down, in milliseconds. It is counted
    /// while control runs, without the date: that of a machine may jump.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub grace_left_ms: u64,
    /// Its copies as their nodes last reported them.
    pub copies: BTreeMap<NodeId, CopyRecord>,
    /// Nodes that were ever told to make or receive it: nobody else is believed to have a copy.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub granted: BTreeSet<NodeId>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl VolumeRecord {
    /// Whether a node may have a copy of it.
    pub fn may_be_on(&self, node: NodeId) -> bool {
        self.holder == node || self.copies.contains_key(&node) || self.granted.contains(&node)
    }

    /// The label of a copy in this epoch.
    pub fn label(&self, cluster: ClusterId, epoch: Epoch) -> VolumeLabel {
        VolumeLabel {
            cluster,
            id: self.id,
            application: self.application.clone(),
            name: self.name.clone(),
            epoch,
            size_bytes_max: self.size_bytes_max,
            service: None,
        }
    }

    /// Bytes it refers to on its holder, as far as known. A new holder has not measured it yet: then
    /// what another copy refers to.
    pub fn used_bytes(&self) -> u64 {
        let of = |copy: &CopyRecord| copy.used_bytes;
        let elsewhere = || self.copies.values().filter_map(of).max();
        let here = self.copies.get(&self.holder).and_then(of);
        here.or_else(elsewhere).unwrap_or(0)
    }
}

/// A copy of a volume, as its node last reported it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CopyRecord {
    /// What it is there.
    pub role: Role,
    /// Its epoch there.
    pub epoch: Epoch,
    /// Its complete snapshots, oldest first.
    pub snapshots: Vec<SnapshotName>,
    /// How much it refers to, in bytes.
    pub used_bytes: Option<u64>,
}

/// An operation with what only control needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OperationRecord {
    /// The operation as everybody may see it.
    pub operation: Operation,
    /// The task whose end is awaited, and the node that has it.
    pub task: Option<(NodeId, Task)>,
    /// What the target found out while preparing.
    pub prepared: Option<Prepared>,
    /// Attempts at the present task that failed.
    pub attempts: u32,
    /// Whether the source was told to stop the container.
    pub source_stopped: bool,
    /// What the source said of the latest round.
    pub copied: Vec<CopiedVolume>,
    /// In which phase that round was begun.
    pub copied_in_phase: Option<Phase>,
    /// Why it failed after the commit, where there is no way back.
    pub failed_forward: Option<Failure>,
}

/// A token, as control keeps it: not the token itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRecord {
    /// Its public part.
    pub id: String,
    /// SHA-256 of its secret part, hexadecimal.
    pub secret_sha256: String,
    /// Until when it is good.
    pub expires: UnixMs,
    /// Only for a new certificate of this node; for a new node when none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeId>,
}
