//! What travels between control and the agent and proxy of a node.
//!
//! Each opens one connection to control and keeps it (HTTP/2, mutual TLS); on it go JSON messages,
//! one a line. The first message is a hello; control answers with everything that is in force.

use crate::access::{AccessNotice, Revocation};
use crate::api::LogLine;
use crate::ids::{BootId, ClusterId, Generation, NodeId, NodeName, ServiceId, TaskId, VolumeId};
use crate::route::Route;
use crate::task::{Directive, Prepared, ServiceStatus, Task, TaskProgress, TaskReport};
use crate::volume::{PoolUsage, StorageKind, VolumeCopy};
use serde::{Deserialize, Serialize};
use std::net::{Ipv4Addr, SocketAddr};

/// Largest message on a link, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// A silent peer is asked for a sign of life this often, in milliseconds.
pub const HEARTBEAT_INTERVAL_MS: u64 = 1_000;
/// A link without any message for this long is closed, in milliseconds.
pub const LINK_TIMEOUT_MS: u64 = 5_000;

/// From an agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
#[expect(
    clippy::large_enum_variant,
    reason = "one message at a time; a box would only be in the way of matching"
)]
pub enum AgentMessage {
    /// First message: who and what is here.
    Hello(Box<AgentHello>),
    /// A container changed its state.
    Service(ServiceStatus),
    /// A task goes on.
    Progress {
        /// The task.
        id: TaskId,
        /// How far it is.
        progress: TaskProgress,
    },
    /// A task ended.
    Task(TaskReport),
    /// A volume's copy on this node changed: created, received into, promoted, pruned ...
    Volume(VolumeCopy),
    /// A volume's copy is gone from this node.
    VolumeGone {
        /// Which.
        volume: VolumeId,
    },
    /// The pool's use changed.
    Pool(PoolUsage),
    /// Lines of a container's log that were asked for.
    Log {
        /// Which request they answer.
        request: u64,
        /// The lines, oldest first.
        lines: Vec<LogLine>,
        /// Nothing follows. Carries the reason when that is an error.
        end: Option<Result<(), crate::task::Failure>>,
    },
    /// Answer to [`ToAgent::Recall`].
    Memory(Box<AgentMemory>),
    /// Sign of life.
    Heartbeat,
}

/// What an agent says of its node when it connects.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentHello {
    /// The cluster it belongs to.
    pub cluster: ClusterId,
    /// Its node.
    pub node: NodeId,
    /// The name under which the node joined; earlier agents do not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<NodeName>,
    /// This start of the node's kernel.
    pub boot: BootId,
    /// Version of the agent.
    pub version: String,
    /// Where other agents reach it for streams.
    pub stream_address: SocketAddr,
    /// The node's own address, for link variables that name the node.
    pub node_address: Ipv4Addr,
    /// Its storage.
    pub storage: StorageKind,
    /// Its pool.
    pub pool: PoolUsage,
    /// The copies on the pool.
    pub volumes: Vec<VolumeCopy>,
    /// The services it knows of, running or not.
    pub services: Vec<ServiceStatus>,
}

/// What an agent remembers of what it was told, beyond its hello. Control asks for it only when its
/// own store is gone or may be older than the nodes (invariant *data-outlives-control*).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct AgentMemory {
    /// The newest directive for each service.
    pub directives: Vec<Directive>,
    /// For each service that was told to stop and not yet to go: the run directive before.
    pub stopped: Vec<Directive>,
    /// What each container runs that the node has, and what it was made of.
    pub containers: Vec<ContainerMemory>,
    /// No generation above this one has been seen here.
    pub generation_max: Generation,
    /// What it was told is revoked, with control's marks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub revocations: Vec<Revocation>,
}

/// A container as its agent has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContainerMemory {
    /// Whose.
    pub service: ServiceId,
    /// Names everything that it was made of.
    pub fingerprint: String,
    /// Its image, ports and address.
    pub prepared: Prepared,
}

/// To an agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum ToAgent {
    /// Answer to the hello: all directives in force, all open tasks follow as messages of their own.
    Welcome {
        /// Directives in force for this node. One that the agent has and that is not here is not
        /// cancelled by its absence.
        directives: Vec<Directive>,
    },
    /// A new directive.
    Directive(Directive),
    /// A task to do.
    Task(Task),
    /// A task whose result nobody waits for any more.
    Cancel(TaskId),
    /// The result of a task was recorded; the agent may forget it.
    Recorded(TaskId),
    /// Say what you remember: control does not. Confirms nothing.
    Recall,
    /// Send a container's log.
    Logs {
        /// Number to answer with.
        request: u64,
        /// Whose.
        service: ServiceId,
        /// Only the last so many lines.
        tail: Option<u32>,
        /// Whether to go on as lines come.
        follow: Follow,
    },
    /// Stop sending that log.
    LogsEnd {
        /// The request's number.
        request: u64,
    },
    /// About certificates.
    Access(AccessNotice),
    /// Sign of life.
    Heartbeat,
}

/// Whether a log ends at its present end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Follow {
    /// New lines are sent as they come.
    Yes,
    /// It ends with the last line there is.
    No,
}

/// From a proxy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum ProxyMessage {
    /// First message.
    Hello {
        /// The cluster it belongs to.
        cluster: ClusterId,
        /// Its node.
        node: NodeId,
        /// Version of the proxy.
        version: String,
        /// Where other proxies reach it.
        tunnel: SocketAddr,
    },
    /// A route is in force here.
    Applied {
        /// Whose.
        service: ServiceId,
        /// Which.
        generation: Generation,
        /// Connections of this service that wait now.
        held: u32,
    },
    /// A route could not be put in force (a port that another program has, say); it is tried again.
    Problem {
        /// Whose.
        service: ServiceId,
        /// Which.
        generation: Generation,
        /// Why.
        message: String,
    },
    /// After a hold: how long connections waited.
    Waited {
        /// Whose.
        service: ServiceId,
        /// Connections that were held.
        connections: u32,
        /// The longest wait, in milliseconds.
        longest_ms: u64,
    },
    /// Sign of life.
    Heartbeat,
}

/// To a proxy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum ToProxy {
    /// Answer to the hello: every route there is. Services not in it are gone.
    Welcome {
        /// All routes.
        routes: Vec<Route>,
    },
    /// One route changed.
    Route(Route),
    /// A service is gone: its listeners close.
    Gone {
        /// Whose.
        service: ServiceId,
        /// Orders it among the service's routes.
        generation: Generation,
    },
    /// About certificates.
    Access(AccessNotice),
    /// Sign of life.
    Heartbeat,
}
