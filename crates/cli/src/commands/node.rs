//! `flocker node`.

use super::user;
use super::{Format, Global};
use crate::failure::Failure;
use crate::output::{self, Style, status};
use clap::{Args, Subcommand};
use flocker_types::access::{RenewNodesRequest, RevokeRequest};
use flocker_types::api::ClusterView;

/// List the nodes, renew and revoke their certificates
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  flocker node ls\n  flocker node revoke n3")]
pub(crate) struct Node {
    #[command(subcommand)]
    command: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List nodes: whether they are connected, and the room in their pools
    #[command(after_help = "Example:\n  flocker node ls --json")]
    Ls(Format),
    /// Have a node take a new key and certificate now, without closing what runs
    ///
    /// Nodes do that by themselves long before a certificate ends.
    #[command(after_help = "Examples:\n  flocker node renew n1\n  flocker node renew --all")]
    Renew {
        /// Its name, address or id
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        node: Option<String>,

        /// Every node that is connected
        #[arg(long)]
        all: bool,
    },
    /// Shut a node out at once: its key may be in wrong hands
    ///
    /// Its links, streams and tunnels are closed and refused everywhere. Its containers go on running, but
    /// nobody reaches them by other nodes. `flocker token --node` and `flocker join --again` let it in again.
    #[command(after_help = "Examples:\n  flocker node revoke n3\n  flocker node revoke n3 --yes")]
    Revoke {
        /// Its name, address or id
        node: String,

        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
}

impl Node {
    /// Lists, renews or revokes.
    pub(crate) async fn run(&self, global: &Global) -> Result<(), Failure> {
        let format = match &self.command {
            Action::Ls(format) => *format,
            Action::Renew { node, .. } => {
                let request = RenewNodesRequest { node: node.clone() };
                let client = global.open()?.client;
                let () = client.post("/v1/nodes/renew", &request).await?;
                let who = node.as_deref().unwrap_or("every connected node");
                output::note(&format!("told {who} to take a new key and certificate"));
                return Ok(());
            }
            Action::Revoke { node, yes } => {
                let request = RevokeRequest::Node(node.clone());
                return user::revoke(global, &request, &format!("node {node}"), *yes).await;
            }
        };
        let view: ClusterView = global.open()?.client.get("/v1/status").await?;
        if format.json {
            return output::json(&view.nodes);
        }
        output::data(&status::nodes(&view, Style::of_stdout()))
    }
}
