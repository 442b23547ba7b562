//! `flocker operation`.

use super::{Format, Global};
use crate::failure::Failure;
use crate::output::{self, Style, operation};
use clap::{Args, Subcommand};
use flocker_types::api::{ClusterView, OperationView};
use flocker_types::ids::OperationId;
use uuid::Uuid;

/// Look at an operation: a move, start, replacement or removal
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  flocker operation show 0f3a1c52")]
pub(crate) struct Operation {
    #[command(subcommand)]
    command: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show what an operation did, how long each phase took, what was predicted
    #[command(after_help = "Examples:
  flocker operation show 0f3a1c52-7d1e-4b7a-9d55-0c3f0d1f2a11
  flocker operation show 0f3a1c52 --json")]
    Show {
        /// Its id, or the beginning of it
        id: String,

        #[command(flatten)]
        format: Format,
    },
}

impl Operation {
    /// Shows one operation.
    pub(crate) async fn run(&self, global: &Global) -> Result<(), Failure> {
        let Action::Show { id, format } = &self.command;
        let client = global.open()?.client;
        let id = match Uuid::parse_str(id) {
            Ok(id) => OperationId(id),
            Err(_) => {
                let view: ClusterView = client.get("/v1/status").await?;
                by_prefix(&view, id)?
            }
        };
        let view: OperationView = client.get(&format!("/v1/operations/{id}")).await?;
        if format.json {
            return output::json(&view);
        }
        output::data(&operation::report(&view, Style::of_stdout()))
    }
}

/// The only operation whose id begins so.
fn by_prefix(view: &ClusterView, prefix: &str) -> Result<OperationId, Failure> {
    let mut ids = view
        .operations
        .iter()
        .map(|operation| operation.operation.id)
        .filter(|id| !prefix.is_empty() && id.to_string().starts_with(prefix));
    match (ids.next(), ids.next()) {
        (Some(id), None) => Ok(id),
        (None, _) => Err(
            Failure::new(format!("no operation's id begins with \"{prefix}\""))
                .hint("`flocker status` lists the latest ones; older ones need their whole id"),
        ),
        (Some(_), Some(_)) => Err(Failure::new(format!(
            "several operations' ids begin with \"{prefix}\""
        ))
        .hint("write more of it")),
    }
}
