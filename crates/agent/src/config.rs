//! What an agent is started with. The command line fills it in; nothing is read from elsewhere.

use flocker_core::cluster::Network;
use flocker_net::link::LinkLimits;
use flocker_net::tls::Credentials;
use flocker_storage::PoolSpec;
use flocker_types::ids::{ClusterId, NodeId, NodeName};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// How an agent runs.
#[derive(Debug, Clone)]
pub struct AgentConfig {
    /// Its cluster.
    pub cluster: ClusterId,
    /// Its node.
    pub node: NodeId,
    /// The name under which it joined.
    pub name: NodeName,
    /// The node's own address, which other nodes reach.
    pub node_address: Ipv4Addr,
    /// Where to listen for other agents' streams.
    pub stream_listen: SocketAddr,
    /// Where control answers.
    pub control: SocketAddr,
    /// The node's certificate.
    pub credentials: Credentials,
    /// The directory in which that is, to be renewed.
    pub certificates: PathBuf,
    /// Where the agent's own files are.
    pub state_dir: PathBuf,
    /// The pool.
    pub pool: PoolSpec,
    /// The container engine's socket.
    pub docker: PathBuf,
    /// Addresses of containers on this node.
    pub container_network: Network,
    /// Limits of the link to control.
    pub link: LinkLimits,
}
