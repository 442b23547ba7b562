//! `flocker agent`: the role that runs a node's containers and keeps its volumes.

use crate::failure::Failure;
use crate::node_file::StateDir;
use crate::role::{self, RoleOptions};
use clap::Args;
use flocker_agent::AgentConfig;
use flocker_net::link::LinkLimits;
use std::net::{Ipv4Addr, SocketAddr};

/// Run a node's agent: it runs containers, keeps volumes and sends them to other nodes
///
/// `flocker init` and `flocker join` make what it needs and, where systemd runs, start it. Containers
/// go on running while it is stopped.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  flocker agent --state-dir /var/lib/flocker")]
pub(crate) struct Agent {
    #[command(flatten)]
    options: RoleOptions,
}

impl Agent {
    /// Runs until it is told to stop.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let state = StateDir::new(&self.options.state_dir);
        let node = state.load()?;
        let config = AgentConfig {
            cluster: node.cluster,
            node: node.node,
            name: node.name.clone(),
            node_address: node.address,
            stream_listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, node.agent_port())),
            control: node.control,
            credentials: state.credentials()?,
            certificates: state.certificates(),
            state_dir: state.path().to_owned(),
            pool: node.pool,
            docker: node.docker,
            container_network: node.container_network,
            link: LinkLimits::default(),
        };
        role::run(&self.options, async |shutdown| {
            // Boxed: it is large, and nobody should carry it about.
            Ok(Box::pin(flocker_agent::run(config, shutdown)).await?)
        })
    }
}
