//! `flocker events`.

use super::{Format, Global};
use crate::failure::Failure;
use crate::output;
use crate::quantity::moment;
use clap::Args;
use flocker_types::api::EventRecord;
use std::time::Duration;

/// Without --follow, the events are over when none has come for this long.
const QUIET: Duration = Duration::from_millis(500);

/// Show what happened in the cluster
///
/// Control keeps the latest 10,000 events, for as long as it runs.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  flocker events
  flocker events --follow
  flocker events --after 120 --json")]
pub(crate) struct Events {
    /// Go on as things happen, until interrupted
    #[arg(short, long)]
    follow: bool,

    /// Only those after the event with this number
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    after: u64,

    #[command(flatten)]
    format: Format,
}

impl Events {
    /// Prints events, a line each.
    pub(crate) async fn run(&self, global: &Global) -> Result<(), Failure> {
        let client = global.open()?.client;
        let path = format!("/v1/events?after={}", self.after);
        let mut stream = client.stream_lines(&path).await?;
        loop {
            let next = match self.follow {
                true => stream.next().await,
                false => match tokio::time::timeout(QUIET, stream.next()).await {
                    Ok(next) => next,
                    Err(_quiet) => return Ok(()),
                },
            };
            let Some(text) = next.transpose()? else {
                return Ok(());
            };
            self.print(&text)?;
        }
    }

    fn print(&self, text: &str) -> Result<(), Failure> {
        if self.format.json {
            return output::data(text);
        }
        let event: EventRecord = serde_json::from_str(text).map_err(|error| {
            Failure::because("an event was not understood", &error)
                .hint("check that this program and control have the same version")
        })?;
        output::data(&format!(
            "{:>5}  {}  {}",
            event.sequence,
            moment(event.at),
            event.message
        ))
    }
}
