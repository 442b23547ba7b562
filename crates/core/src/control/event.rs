//! What control's core is told, and what it asks its shell to do.

use crate::cluster::{Change, State, TokenRecord};
use flocker_types::access::{RenewNodesRequest, Revocation, RevokeRequest, UserRecord};
use flocker_types::api::{
    ApiError, ClusterView, DeployRequest, EventRecord, MoveRequest, OperationView, PlanRequest,
    RemoveRequest, RemoveVolumeRequest, RestoreVolumeRequest, Started,
};
use flocker_types::ids::{NodeId, NodeName, OperationId, ServiceId};
use flocker_types::link::{AgentHello, AgentMessage, Follow, ProxyMessage, ToAgent, ToProxy};
use flocker_types::plan::Plan;
use flocker_types::time::UnixMs;
use std::net::{Ipv4Addr, SocketAddr};

/// One connection of an agent or a proxy, numbered by the shell; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Session(pub u64);

/// One request of the API, numbered by the shell; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// Something happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// An agent connected. Its certificate's node has been checked against the hello.
    AgentConnected {
        /// Its connection.
        session: Session,
        /// Its first message.
        hello: Box<AgentHello>,
    },
    /// An agent said something.
    AgentMessage {
        /// Its connection.
        session: Session,
        /// What. Never a hello or a heartbeat.
        message: AgentMessage,
    },
    /// An agent's connection ended.
    AgentLost {
        /// Which.
        session: Session,
    },
    /// A proxy connected. Its certificate's node has been checked.
    ProxyConnected {
        /// Its connection.
        session: Session,
        /// Its node.
        node: NodeId,
        /// Where other proxies reach it.
        tunnel: SocketAddr,
    },
    /// A proxy said something.
    ProxyMessage {
        /// Its connection.
        session: Session,
        /// What. Never a hello or a heartbeat.
        message: ProxyMessage,
    },
    /// A proxy's connection ended.
    ProxyLost {
        /// Which.
        session: Session,
    },
    /// Somebody asked for something.
    Request {
        /// Answer with this.
        id: RequestId,
        /// Who asks, for the records: a user's name.
        user: String,
        /// What.
        request: Request,
        /// Randomness for the ids that the request needs.
        seed: u128,
    },
    /// Nobody waits for that answer any more.
    RequestGone(RequestId),
    /// Time passes. The shell sends one at the latest when [`Control::next_deadline`] comes, and
    /// at least every second.
    ///
    /// [`Control::next_deadline`]: crate::control::Control::next_deadline
    Tick,
}

/// What can be asked of control.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// Make a plan.
    Plan(Box<PlanRequest>),
    /// Execute a plan.
    Deploy(Box<DeployRequest>),
    /// Move a service.
    Move(MoveRequest),
    /// Stop a service; its volumes stay.
    Remove(RemoveRequest),
    /// Delete a volume, after a grace time.
    RemoveVolume(RemoveVolumeRequest),
    /// Take a deletion back, within the grace time.
    RestoreVolume(RestoreVolumeRequest),
    /// Everything.
    Status,
    /// Everything durable, to be kept elsewhere.
    Backup,
    /// One operation.
    Operation(OperationId),
    /// One operation, answered when it has ended.
    OperationEnd(OperationId),
    /// Remember a token (its hash) with which one node may join.
    AddToken(TokenRecord),
    /// Take a token and register the node. The shell has checked the secret against the token
    /// returned by [`Control::token`](crate::control::Control::token) and signs the certificate
    /// after the answer.
    Join {
        /// The token's public id.
        token: String,
        /// The name that the node wants.
        name: NodeName,
        /// Its address.
        address: Ipv4Addr,
    },
    /// Users, revocations, certificates.
    Access(AccessRequest),
    /// A container's log. Answers with [`Response::Log`] until its end.
    Logs {
        /// Whose.
        service: ServiceId,
        /// Only the last so many lines.
        tail: Option<u32>,
        /// Whether to go on.
        follow: Follow,
    },
}

/// What can be asked of control about users, revocations and certificates.
#[derive(Debug, Clone, PartialEq)]
pub enum AccessRequest {
    /// Let a user in, whose certificate is signed after the answer.
    AddUser(UserRecord),
    /// A user got a new certificate.
    UserRenewed {
        /// The user's name.
        name: String,
        /// The new certificate's number.
        serial: String,
        /// When it was issued.
        issued: UnixMs,
        /// Until when it is good.
        expires: UnixMs,
    },
    /// All users.
    Users,
    /// Make certificates worth nothing.
    Revoke(RevokeRequest),
    /// Tell nodes to take new keys.
    RenewNodes(RenewNodesRequest),
}

/// What is answered.
#[derive(Debug, Clone, PartialEq)]
pub enum Response {
    /// To [`Request::Plan`].
    Plan(Box<Plan>),
    /// To everything that starts operations.
    Started(Started),
    /// To [`Request::Status`].
    Status(Box<ClusterView>),
    /// To [`Request::Backup`].
    Backup(Box<State>),
    /// To [`Request::Operation`] and [`Request::OperationEnd`].
    Operation(Box<OperationView>),
    /// It is done.
    Done,
    /// To [`Request::Join`].
    Joined {
        /// The new node's id.
        node: NodeId,
    },
    /// To [`AccessRequest::Users`].
    Users(Vec<UserRecord>),
    /// To [`AccessRequest::Revoke`]: what is revoked from now on.
    Revoked(Revocation),
    /// Some lines of a log. The request stays open until `end`.
    Log {
        /// The lines.
        lines: Vec<flocker_types::api::LogLine>,
        /// Whether these are the last.
        end: bool,
    },
}

/// What a step leads to. First `changes` become durable, all or none, then the commands are
/// carried out in order.
#[derive(Debug, Default, PartialEq)]
pub struct Output {
    /// Records to write in one transaction, each guarded by the revision that the shell last saw
    /// of its key.
    pub changes: Vec<Change>,
    /// What to do then.
    pub commands: Vec<Command>,
}

/// Something to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Send this to an agent.
    ToAgent(Session, ToAgent),
    /// Send this to a proxy.
    ToProxy(Session, ToProxy),
    /// Close a connection: the same node has a newer one, or it belongs to no node of ours.
    Close(Session, String),
    /// Answer a request.
    Reply(RequestId, Result<Response, ApiError>),
    /// Tell everybody who listens to events (the shell keeps the latest ones, and logs it).
    Publish(EventRecord),
}
