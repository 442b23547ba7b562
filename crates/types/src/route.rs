//! Routes: from an address to the node and container that serve it now.
//!
//! Control makes them, every proxy applies them. A proxy ignores a route with a generation older
//! than the one it has (invariant *stale-rejected*).

use crate::ids::{Generation, NodeId, ServiceId};
use serde::{Deserialize, Serialize};
use std::net::{Ipv4Addr, SocketAddr};

/// How one service is reached, on every node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Whom it reaches.
    pub service: ServiceId,
    /// Orders the routes of one service.
    pub generation: Generation,
    /// The service's address for other services: a /32 on a dummy interface of every node.
    pub cluster_address: Ipv4Addr,
    /// Ports and where they lead.
    pub ports: Vec<RoutePort>,
    /// What to do with connections.
    pub state: RouteState,
}

/// One port of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoutePort {
    /// The container's port.
    pub internal: u16,
    /// The port on each node's own addresses, when published. (At the cluster address a service
    /// answers at its internal ports, and at its external ports where no internal one has the
    /// number.)
    pub external: Option<u16>,
}

/// What a proxy does with connections to a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum RouteState {
    /// Relay them.
    Serving(Backend),
    /// Accept them and keep them waiting for the next generation, for at most `limit_ms`.
    Held {
        /// After this many milliseconds a held connection is closed.
        limit_ms: u64,
    },
    /// Nobody serves: refuse.
    Down,
}

/// Where a service runs now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backend {
    /// The node.
    pub node: NodeId,
    /// That node's proxy, for the other nodes' proxies (mutual TLS).
    pub tunnel: SocketAddr,
    /// The container's address on that node; means nothing elsewhere.
    pub container: Ipv4Addr,
}
