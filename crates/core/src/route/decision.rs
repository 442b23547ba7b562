//! Where one connection goes, given the service's route at this moment.
//!
//! Called for every new connection, and again whenever the route changed before the connection
//! reached a container. Pure: the same route always gives the same answer.

use flocker_types::ids::NodeId;
use flocker_types::route::{Route, RouteState};
use std::net::{IpAddr, SocketAddr};

/// How a connection came to this proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Straight from a client.
    Client,
    /// Through another node's proxy. Such a connection never travels on to a third node, so no
    /// disagreement between proxies can make it go in circles.
    Tunnel,
}

/// What to do with a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Relay it to a container on this node.
    Local(SocketAddr),
    /// Relay it through another node's proxy.
    Tunnel {
        /// Who must answer there.
        node: NodeId,
        /// Where it answers.
        address: SocketAddr,
    },
    /// Keep it waiting for the next route.
    Hold {
        /// For at most this long, in milliseconds.
        limit_ms: u64,
    },
    /// Nobody serves it here. To a client that means a reset; to another proxy it means that it
    /// should look at its own, possibly newer, route again.
    Refuse,
}

/// Decides for a connection to `internal_port` of the service whose route is `route`, on `node`.
pub fn decide(route: Option<&Route>, node: NodeId, internal_port: u16, origin: Origin) -> Decision {
    let Some(route) = route else {
        return Decision::Refuse;
    };
    if !route
        .ports
        .iter()
        .any(|port| port.internal == internal_port)
    {
        return Decision::Refuse;
    }
    match (&route.state, origin) {
        (RouteState::Serving(backend), _) if backend.node == node => Decision::Local(
            SocketAddr::new(IpAddr::V4(backend.container), internal_port),
        ),
        (RouteState::Serving(backend), Origin::Client) => Decision::Tunnel {
            node: backend.node,
            address: backend.tunnel,
        },
        (RouteState::Serving(_), Origin::Tunnel) | (RouteState::Down, _) => Decision::Refuse,
        (RouteState::Held { limit_ms }, _) => Decision::Hold {
            limit_ms: *limit_ms,
        },
    }
}
