//! `flocker volume`.

use super::{Format, Global};
use crate::failure::Failure;
use crate::names::{self, Wanted, full_name};
use crate::output::{self, Answer, Style, status};
use crate::quantity::{milliseconds, parse_duration};
use clap::{Args, Subcommand};
use flocker_types::api::{ClusterView, RemoveVolumeRequest, RestoreVolumeRequest};
use std::time::Duration;

/// List, inspect, delete and restore volumes
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  flocker volume ls\n  flocker volume inspect shop/data")]
pub(crate) struct Volume {
    #[command(subcommand)]
    command: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List volumes and where they have copies
    #[command(after_help = "Example:\n  flocker volume ls")]
    Ls(Format),
    /// Show everything about a volume
    #[command(after_help = "Example:\n  flocker volume inspect shop/data --json")]
    Inspect {
        /// Its name, APPLICATION/NAME, or id
        name: String,

        #[command(flatten)]
        format: Format,
    },
    /// Delete a volume with all its data, on every node, after a grace time
    #[command(after_help = "Examples:
  flocker volume rm shop/data
  flocker volume rm scratch --grace 1h --yes")]
    Rm {
        /// Its name, APPLICATION/NAME, or id
        name: String,

        /// Until then it can be restored
        #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = parse_duration)]
        grace: Duration,

        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
    /// Take back the deletion of a volume, within its grace time
    #[command(after_help = "Example:\n  flocker volume restore shop/data")]
    Restore {
        /// Its name, APPLICATION/NAME, or id
        name: String,
    },
}

impl Volume {
    /// Shows, deletes or restores.
    pub(crate) async fn run(&self, global: &Global) -> Result<(), Failure> {
        let client = global.open()?.client;
        let view: ClusterView = client.get("/v1/status").await?;
        match &self.command {
            Action::Ls(format) if format.json => output::json(&view.volumes),
            Action::Ls(_) => output::data(&status::volumes(&view, Style::of_stdout())),
            Action::Inspect { name, format } => {
                let volume = names::volume(&view, name, Wanted::Kept)?;
                if format.json {
                    return output::json(volume);
                }
                output::data(&status::volume(volume, view.at, Style::of_stdout()))
            }
            Action::Rm { name, grace, yes } => {
                let volume = names::volume(&view, name, Wanted::Kept)?;
                let name = full_name(&volume.application, volume.name.as_str());
                let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
                let copies = crate::quantity::count(volume.copies.len(), "copy");
                let copies = copies.replace("copys", "copies");
                let question = format!(
                    "Delete {name} with all its data ({copies}) in {}?",
                    milliseconds(grace_ms)
                );
                if !yes && !agreed(&question)? {
                    output::note("nothing was changed");
                    return Err(Failure::Shown);
                }
                let request = RemoveVolumeRequest {
                    volume: volume.id,
                    grace_ms,
                };
                let () = client.post("/v1/volumes/remove", &request).await?;
                output::note(&format!(
                    "{name} will be deleted in {}; until then: flocker volume restore {name}",
                    milliseconds(grace_ms)
                ));
                Ok(())
            }
            Action::Restore { name } => {
                let volume = names::volume(&view, name, Wanted::Doomed)?;
                let request = RestoreVolumeRequest { volume: volume.id };
                let () = client.post("/v1/volumes/restore", &request).await?;
                let name = full_name(&volume.application, volume.name.as_str());
                output::note(&format!("{name} is kept"));
                Ok(())
            }
        }
    }
}

fn agreed(question: &str) -> Result<bool, Failure> {
    match output::confirm(question) {
        Some(answer) => Ok(answer == Answer::Yes),
        None => Err(
            Failure::new("deleting data needs a yes, and there is no terminal to ask at")
                .hint("say --yes if it is meant"),
        ),
    }
}
