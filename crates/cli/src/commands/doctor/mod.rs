//! `flocker doctor`: whether this server is fit to be a node, or why the node that it is ails.
//!
//! It looks and changes nothing. What it finds is in [`finding`]; the server itself is looked at in
//! [`host`], Docker in [`engine`], what a node has of its own in [`node`].

mod engine;
mod finding;
mod host;
mod node;

use super::{Format, Global};
use crate::failure::Failure;
use crate::node_file::{STATE_DIR_DEFAULT, StateDir};
use crate::output::{self, Style};
use crate::quantity::count;
use crate::server;
use clap::Args;
use finding::{Finding, State};
use flocker_control::API_PORT_DEFAULT;
use flocker_core::cluster::Network;
use flocker_storage::PoolSpec;
use host::Wanted;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

/// What `flocker init` takes when nothing else is said.
const NETWORKS_DEFAULT: [(&str, &str); 2] = [
    ("10.214.0.0/16", "services"),
    ("10.213.0.0/16", "containers"),
];
/// Where Docker listens when nothing else is said.
const DOCKER_DEFAULT: &str = "/var/run/docker.sock";

/// Check this server: kernel, Docker, pool, disk, addresses, ports, clock, certificates
///
/// Changes nothing. Before a server becomes a node it says whether it can; afterwards, what is wrong
/// with the node. Says how to mend what is not well, and fails if something is bad.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sudo flocker doctor
  sudo flocker doctor --pool zfs:tank/flocker    before `flocker init` or `flocker join`
  sudo flocker doctor --json")]
pub(crate) struct Doctor {
    /// Where the node keeps everything
    #[arg(long, value_name = "DIRECTORY", default_value = STATE_DIR_DEFAULT)]
    state_dir: PathBuf,

    /// Docker's socket [default: the node's, else unix:///var/run/docker.sock]
    #[arg(long, value_name = "SOCKET", value_parser = server::parse_socket)]
    docker: Option<PathBuf>,

    /// The pool to look at [default: the node's, else auto]
    #[arg(long, value_name = "POOL")]
    pool: Option<PoolSpec>,

    #[command(flatten)]
    format: Format,
}

impl Doctor {
    /// Looks at everything.
    pub(crate) async fn run(&self, global: &Global) -> Result<(), Failure> {
        let state = StateDir::new(&self.state_dir);
        let mut findings = vec![host::system(), host::room(state.path())];
        match state.is_free() {
            true => findings.extend(self.candidate(state.path()).await),
            false => findings.extend(self.node(&state).await),
        }
        findings.extend(node::user_certificate(global));
        if self.format.json {
            output::json(&findings)?;
        } else {
            output::data(&finding::render(&findings, Style::of_stdout()))?;
        }
        let of = |state| findings.iter().filter(|one| one.state == state).count();
        match of(State::Bad) {
            0 => Ok(()),
            _ if self.format.json => Err(Failure::Shown),
            bad => Err(Failure::new(format!(
                "{} to mend, {} to look at",
                count(bad, "thing"),
                of(State::Notable) + of(State::Unknown)
            ))),
        }
    }

    /// A server that is no node yet.
    async fn candidate(&self, state_dir: &Path) -> Vec<Finding> {
        let mut findings =
            engine::engine(self.docker.as_deref().unwrap_or(Path::new(DOCKER_DEFAULT)));
        let pool = self.pool.as_ref().unwrap_or(&PoolSpec::Auto);
        findings.extend(node::pool(pool, state_dir).await);
        let roles = ["control", "agent", "proxy"];
        findings.extend(
            (API_PORT_DEFAULT..)
                .zip(roles)
                .map(|(port, role)| host::port(Ipv4Addr::UNSPECIFIED, port, role, Wanted::Free)),
        );
        let networks: Vec<(Network, &str)> = NETWORKS_DEFAULT
            .iter()
            .filter_map(|(network, what)| Some((network.parse().ok()?, *what)))
            .collect();
        findings.extend(host::networks(&networks));
        findings.push(match server::default_address() {
            Ok(address) => Finding::well("address", format!("{address}, by which others would reach it")),
            Err(_) => Finding::bad(
                "address",
                "this server has no address for other networks",
                "say by --address of `flocker init` and `flocker join` how the other servers reach it",
            ),
        });
        findings.push(node::clock_of_system());
        findings
    }

    /// A node.
    async fn node(&self, state: &StateDir) -> Vec<Finding> {
        let file = match state.load() {
            Ok(file) => file,
            Err(failure) => return vec![node::unreadable(&failure)],
        };
        let mut findings = vec![Finding::well(
            "node",
            format!("{} of cluster {}", file.name, file.cluster),
        )];
        findings.extend(engine::engine(self.docker.as_ref().unwrap_or(&file.docker)));
        let pool = self.pool.as_ref().unwrap_or(&file.pool);
        findings.extend(node::pool(pool, state.path()).await);
        findings.push(host::address(file.address));
        let roles = file.has_control.then_some(("control", file.port));
        let others = [("agent", file.agent_port()), ("proxy", file.proxy_port())];
        findings.extend(
            roles
                .into_iter()
                .chain(others)
                .map(|(role, port)| host::port(file.address, port, role, Wanted::Listening)),
        );
        findings.extend(host::networks(&[
            (file.service_network, "services"),
            (file.container_network, "containers"),
        ]));
        findings.extend(node::certificate_and_control(state, &file).await);
        findings
    }
}
