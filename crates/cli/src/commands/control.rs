//! `flocker control`: the role that decides, and what can be done with its store.

use super::control_backup::{Backup, Restore};
use super::{Global, wait_for};
use crate::failure::Failure;
use crate::node_file::StateDir;
use crate::role::{self, RoleOptions};
use clap::{Args, Subcommand};
use flocker_control::{ControlConfig, ControlError};
use std::net::{Ipv4Addr, SocketAddr};

/// Run control: the one process of a cluster that decides
///
/// `flocker init` makes what it needs and, where systemd runs, starts it. Containers and data do not
/// depend on it: it can be stopped and upgraded at any time. How long operations wait for nodes,
/// streams and containers can be said in control/limits.toml in its state directory.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:
  flocker control --state-dir /var/lib/flocker --log debug
  flocker control backup /backup/flocker.backup
  sudo flocker control restore /backup/flocker.backup --expect 3"
)]
pub(crate) struct Control {
    #[command(flatten)]
    options: RoleOptions,

    #[command(subcommand)]
    store: Option<Store>,
}

/// What can be done with control's store, instead of running it.
#[derive(Debug, Subcommand)]
enum Store {
    Backup(Backup),
    Restore(Restore),
}

impl Control {
    /// Runs until it is told to stop; or does something with its store.
    pub(crate) fn run(&self, global: &Global) -> Result<(), Failure> {
        match &self.store {
            Some(Store::Backup(command)) => wait_for(command.run(global)),
            Some(Store::Restore(command)) => wait_for(command.run()),
            None => self.decide(),
        }
    }

    fn decide(&self) -> Result<(), Failure> {
        let state = StateDir::new(&self.options.state_dir);
        let node = state.load()?;
        if !node.has_control {
            return Err(
                Failure::new("control does not run on this node").hint(format!(
                    "it runs at {}; this server was joined to it",
                    node.control
                )),
            );
        }
        let listen = SocketAddr::from((Ipv4Addr::UNSPECIFIED, node.port));
        let mut config = ControlConfig::new(listen, state.control(), node.node);
        config.advertise = Some(node.control);
        if let Some(validity) = node.certificate_validity {
            config.certificate_validity = validity;
        }
        config.operation = state.operation_limits()?;
        role::run(
            &self.options,
            async |shutdown| match flocker_control::run(config, shutdown).await {
                Err(error @ ControlError::Listen { .. }) => Err(Failure::from(error).hint(
                    format!("`ss -ltnp sport = :{}` says who listens there", node.port),
                )),
                other => Ok(other?),
            },
        )
    }
}
