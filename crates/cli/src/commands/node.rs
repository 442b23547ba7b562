//! `flocker node`.

use super::{Format, Global};
use crate::failure::Failure;
use crate::output::{self, Style, status};
use clap::{Args, Subcommand};
use flocker_types::api::ClusterView;

/// List the nodes
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  flocker node ls")]
pub(crate) struct Node {
    #[command(subcommand)]
    command: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List nodes: whether they are connected, and the room in their pools
    #[command(after_help = "Example:\n  flocker node ls --json")]
    Ls(Format),
}

impl Node {
    /// Lists nodes.
    pub(crate) async fn run(&self, global: &Global) -> Result<(), Failure> {
        let Action::Ls(format) = self.command;
        let view: ClusterView = global.open()?.client.get("/v1/status").await?;
        if format.json {
            return output::json(&view.nodes);
        }
        output::data(&status::nodes(&view, Style::of_stdout()))
    }
}
