//! `flocker rm`.

use super::{Format, Global};
use crate::failure::Failure;
use crate::follow::{self, ReportTo};
use crate::output::live::Progress;
use crate::{names, output};
use clap::Args;
use flocker_types::api::{ClusterView, RemoveRequest, Started};

/// Stop and remove a service's container; its volumes are kept
///
/// Deploying it again brings it back with its data. `flocker volume rm` deletes data.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  flocker rm web\n  flocker rm shop/web --json")]
pub(crate) struct Rm {
    /// Its name, or APPLICATION/NAME
    service: String,

    /// Do not wait for the end; print the operation's id
    #[arg(long)]
    detach: bool,

    #[command(flatten)]
    format: Format,
}

impl Rm {
    /// Removes it.
    pub(crate) async fn run(&self, global: &Global) -> Result<(), Failure> {
        let client = global.open()?.client;
        let view: ClusterView = client.get("/v1/status").await?;
        let request = RemoveRequest {
            service: names::service(&view, &self.service)?.id.clone(),
        };
        let started: Started = client.post("/v1/services/remove", &request).await?;
        if self.detach {
            return follow::detached(&started, self.format);
        }
        if started.operations.is_empty() && !self.format.json {
            output::note(&format!("{} was removed already", request.service));
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
