//! `flocker proxy`: the role that answers for every service on its node.

use crate::failure::Failure;
use crate::node_file::StateDir;
use crate::role::{self, RoleOptions};
use clap::Args;
use flocker_net::address::INTERFACE_DEFAULT;
use flocker_net::proxy::{self, ProxyConfig, ProxyLimits};
use std::net::{Ipv4Addr, SocketAddr};

/// Run a node's proxy: it answers for every service, wherever that runs, and holds connections during
/// moves
///
/// `flocker init` and `flocker join` make what it needs and, where systemd runs, start it.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  flocker proxy --state-dir /var/lib/flocker")]
pub(crate) struct Proxy {
    #[command(flatten)]
    options: RoleOptions,
}

impl Proxy {
    /// Runs until it is told to stop.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let state = StateDir::new(&self.options.state_dir);
        let node = state.load()?;
        let config = ProxyConfig {
            cluster: node.cluster,
            node: node.node,
            control: node.control,
            credentials: state.credentials()?,
            certificates: state.certificates(),
            tunnel_listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, node.proxy_port())),
            tunnel_address: SocketAddr::from((node.address, node.proxy_port())),
            state_directory: state.proxy(),
            interface: Some(INTERFACE_DEFAULT.to_owned()),
            limits: ProxyLimits::default(),
        };
        role::run(&self.options, async |shutdown| {
            Ok(proxy::Proxy::run(config, shutdown).await?)
        })
    }
}
