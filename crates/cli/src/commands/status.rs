//! `flocker status`.

use super::{Format, Global};
use crate::failure::Failure;
use crate::output::{self, Style, status};
use clap::Args;
use flocker_types::api::ClusterView;

/// Show the cluster: nodes, services, volumes, and what goes on
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  flocker status
  flocker status --json | jq '.services[] | select(.problems != [])'")]
pub(crate) struct Status {
    #[command(flatten)]
    format: Format,
}

impl Status {
    /// Shows everything.
    pub(crate) async fn run(&self, global: &Global) -> Result<(), Failure> {
        let view: ClusterView = global.open()?.client.get("/v1/status").await?;
        if self.format.json {
            return output::json(&view);
        }
        output::data(&status::render(&view, Style::of_stdout()))
    }
}
