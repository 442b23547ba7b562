//! `flocker join`: this server becomes a node of a cluster that exists.

use super::init::{Fit, NodeOptions};
use crate::context::make_private;
use crate::failure::Failure;
use crate::node_file::{NodeFile, StateDir};
use crate::output;
use crate::units::{Role, Started};
use clap::Args;
use flocker_control::API_PORT_DEFAULT;
use flocker_net::client::ApiClient;
use flocker_net::pki::{Issued, JoinToken, key_and_request};
use flocker_net::tls::{CredentialFiles, Credentials};
use flocker_types::api::{JoinRequest, JoinResponse};
use flocker_types::ids::NodeName;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;

/// Make this server a node of a cluster
///
/// Talks only to the cluster that the token is of. The node's key is made here and never leaves.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sudo flocker join 10.0.0.1 --token flocker-join-...
  sudo flocker join 10.0.0.1:4523 --token flocker-join-... --name db2 --pool btrfs:/srv/flocker
  sudo flocker join 10.0.0.1 --token flocker-join-... --again")]
pub(crate) struct Join {
    /// Where control answers: ADDRESS or ADDRESS:PORT
    #[arg(value_name = "ADDRESS", value_parser = parse_control)]
    control: SocketAddr,

    /// What `flocker token` printed
    #[arg(long, value_name = "TOKEN")]
    token: String,

    /// This server is a node already and only needs a new certificate, by a token of
    /// `flocker token --node`
    #[arg(long)]
    again: bool,

    #[command(flatten)]
    node: NodeOptions,
}

/// Reads `10.0.0.1` or `10.0.0.1:4523`.
fn parse_control(text: &str) -> Result<SocketAddr, String> {
    let address = text.parse::<Ipv4Addr>();
    match address.map(|address| SocketAddr::from((address, API_PORT_DEFAULT))) {
        Ok(control) => Ok(control),
        Err(_) => text
            .parse()
            .map_err(|_| format!("\"{text}\" is not an address; write 10.0.0.1 or 10.0.0.1:4523")),
    }
}

impl Join {
    /// Joins.
    pub(crate) async fn run(&self) -> Result<(), Failure> {
        let token: JoinToken = self.token.parse().map_err(|error| {
            Failure::of(&error as &flocker_net::pki::InvalidToken)
                .hint("`flocker token`, where the cluster can be reached, makes a new one")
        })?;
        if self.again {
            return self.join_again(&token).await;
        }
        let fit = self.node.check("join", Role::NODE_ONLY)?;
        let node = self.join(&fit, &token).await?;
        output::note(&format!(
            "joined cluster {} as {} at {}",
            node.cluster, node.name, node.address
        ));
        match self.node.start(Role::NODE_ONLY, &fit.state)? {
            Started::NotYet => {}
            Started::BySystemd => check_running()?,
        }
        output::hint("`flocker status`, where you have a context, shows it once it is connected");
        Ok(())
    }

    /// A new certificate for the node that this server is.
    async fn join_again(&self, token: &JoinToken) -> Result<(), Failure> {
        let state = StateDir::new(&self.node.state_dir);
        let node = state.load()?;
        let (name, address) = (node.name.clone(), node.address);
        let response = self.enrol(&state, token, name, address).await?;
        if response.node != node.node {
            return Err(Failure::new(format!(
                "the certificate is that of node {}, and this server is {}",
                response.node, node.node
            ))
            .hint(format!(
                "make the right token: flocker token --node {}",
                node.name
            )));
        }
        output::note(&format!(
            "{} has a new certificate; its agent and proxy take it within a minute, or when they are \
             started again",
            node.name
        ));
        Ok(())
    }

    async fn enrol(
        &self,
        state: &StateDir,
        token: &JoinToken,
        name: NodeName,
        address: Ipv4Addr,
    ) -> Result<JoinResponse, Failure> {
        // Before the token is used up, everything must be ready to keep what comes.
        let directory = state.certificates();
        make_private(&directory)?;
        let key = key_and_request()?;
        let request = JoinRequest {
            token: token.proof().to_string(),
            name,
            address,
            certificate_request: key.request_pem,
        };
        let client = ApiClient::pinned(self.control, token.authority);
        let response: JoinResponse = client.post("/v1/join", &request).await?;
        let issued = Issued {
            certificate_pem: response.certificate.clone(),
            key_pem: key.key_pem,
        };
        let files = CredentialFiles::NODE;
        Credentials::save(&directory, files, &issued, &response.authority)?;
        Ok(response)
    }

    async fn join(&self, fit: &Fit, token: &JoinToken) -> Result<NodeFile, Failure> {
        let (name, address) = (fit.name.clone(), fit.address);
        let response = self.enrol(&fit.state, token, name, address).await?;
        let network = |text: &str| {
            text.parse()
                .map_err(|error: flocker_core::cluster::ParseNetworkError| {
                    Failure::because("control's answer was not understood", &error)
                        .hint("check that this program and control have the same version")
                })
        };
        let node = NodeFile {
            cluster: response.cluster,
            node: response.node,
            name: fit.name.clone(),
            address: fit.address,
            port: self.node.port,
            control: response.control,
            has_control: false,
            pool: self.node.pool.clone(),
            docker: self.node.docker.clone(),
            service_network: network(&response.service_network)?,
            container_network: network(&response.container_network)?,
            certificate_validity: None,
        };
        fit.state.save(&node)?;
        Ok(node)
    }
}

/// Whether systemd keeps the roles running.
fn check_running() -> Result<(), Failure> {
    let words = ["is-active", "--quiet", "flocker-agent", "flocker-proxy"];
    let status = Command::new("systemctl").args(words).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        _ => Err(
            Failure::new("the node is made, but its agent and proxy do not run")
                .hint("see why: journalctl -u flocker-agent -u flocker-proxy"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_is_named_with_and_without_its_port() {
        assert_eq!(parse_control("10.0.0.1"), Ok(([10, 0, 0, 1], 4523).into()));
        assert_eq!(parse_control("10.0.0.1:99"), Ok(([10, 0, 0, 1], 99).into()));
        assert!(parse_control("server1").is_err());
    }
}
