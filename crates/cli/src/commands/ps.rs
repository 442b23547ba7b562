//! `flocker ps`.

use super::{Format, Global};
use crate::failure::Failure;
use crate::output::{self, Style, status};
use clap::Args;
use flocker_types::api::ClusterView;

/// List services: where they run, how they are, what is wrong with them
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  flocker ps
  flocker ps --json | jq -r '.[] | \"\\(.id) \\(.node)\"'")]
pub(crate) struct Ps {
    #[command(flatten)]
    format: Format,
}

impl Ps {
    /// Lists services.
    pub(crate) async fn run(&self, global: &Global) -> Result<(), Failure> {
        let view: ClusterView = global.open()?.client.get("/v1/status").await?;
        if self.format.json {
            return output::json(&view.services);
        }
        output::data(&status::services(&view, Style::of_stdout()))
    }
}
