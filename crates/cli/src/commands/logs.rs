//! `flocker logs`.

use super::{Format, Global};
use crate::failure::Failure;
use crate::{names, output};
use clap::Args;
use flocker_types::api::{ApiError, ClusterView, LogLine, LogStream};

/// Show a service's log, from the node where it runs
///
/// What the service wrote to its standard error goes to standard error.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  flocker logs db
  flocker logs shop/web --follow --tail 20")]
pub(crate) struct Logs {
    /// Its name, or APPLICATION/NAME
    service: String,

    /// Go on as lines come, until interrupted
    #[arg(short, long)]
    follow: bool,

    /// Only the last N lines
    #[arg(short = 'n', long, value_name = "N")]
    tail: Option<u32>,

    #[command(flatten)]
    format: Format,
}

impl Logs {
    /// Prints the log.
    pub(crate) async fn run(&self, global: &Global) -> Result<(), Failure> {
        let client = global.open()?.client;
        let view: ClusterView = client.get("/v1/status").await?;
        let id = &names::service(&view, &self.service)?.id;
        let follow = if self.follow { "yes" } else { "no" };
        let mut path = format!(
            "/v1/services/{}/{}/logs?follow={follow}",
            id.application, id.name
        );
        if let Some(tail) = self.tail {
            path.push_str(&format!("&tail={tail}"));
        }
        let mut stream = client.stream_lines(&path).await?;
        while let Some(text) = stream.next().await.transpose()? {
            self.print(&text)?;
        }
        Ok(())
    }

    fn print(&self, text: &str) -> Result<(), Failure> {
        match serde_json::from_str::<LogLine>(text) {
            Ok(_) if self.format.json => output::data(text),
            Ok(line) if line.stream == LogStream::Stderr => {
                output::note(&line.text);
                Ok(())
            }
            // An empty line is a line.
            Ok(line) => output::data(&format!("{}\n", line.text)),
            Err(error) => match serde_json::from_str::<ApiError>(text) {
                Ok(refused) => {
                    let failure = Failure::new(refused.message);
                    Err(match refused.hint {
                        Some(hint) => failure.hint(hint),
                        None => failure,
                    })
                }
                Err(_) => Err(
                    Failure::because("a line of the log was not understood", &error)
                        .hint("check that this program and control have the same version"),
                ),
            },
        }
    }
}
