//! `flocker move`.

use super::{Format, Global};
use crate::failure::Failure;
use crate::follow::{self, ReportTo};
use crate::output::live::Progress;
use crate::{names, output};
use clap::Args;
use flocker_types::api::{ClusterView, MoveRequest, Started};

/// Move a service, with its data, to another node
///
/// Its data is copied while it runs. Then it stops, the rest follows, and it starts on the other node;
/// clients that connect meanwhile are kept waiting and served there.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  flocker move db n2
  flocker move shop/db 10.0.0.2 --json
  flocker move db n2 --detach")]
pub(crate) struct Move {
    /// Its name, or APPLICATION/NAME
    service: String,

    /// Whither: a node's name, address or id
    node: String,

    /// Do not wait for the end; print the operation's id
    #[arg(long)]
    detach: bool,

    #[command(flatten)]
    format: Format,
}

impl Move {
    /// Moves it.
    pub(crate) async fn run(&self, global: &Global) -> Result<(), Failure> {
        let client = global.open()?.client;
        let view: ClusterView = client.get("/v1/status").await?;
        let request = MoveRequest {
            service: names::service(&view, &self.service)?.id.clone(),
            node: self.node.clone(),
        };
        let started: Started = client.post("/v1/services/move", &request).await?;
        if self.detach {
            return follow::detached(&started, self.format);
        }
        if started.operations.is_empty() && !self.format.json {
            output::note(&format!("{} runs there already", request.service));
            return Ok(());
        }
        let views = follow::to_the_end(&client, &started.operations, Progress::Shown).await?;
        if self.format.json {
            output::json(&views)?;
            return follow::check(&views);
        }
        follow::report(&views, ReportTo::Output)
    }
}
