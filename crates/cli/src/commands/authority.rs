//! `flocker authority`.

use super::Global;
use crate::failure::Failure;
use crate::output::{self, Answer};
use crate::quantity::{milliseconds, parse_duration};
use clap::{Args, Subcommand};
use flocker_types::access::{DropAuthorityRequest, LeftBehind, RotateRequest};
use std::time::Duration;

/// Change the authority that vouches for everybody in the cluster
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  flocker authority rotate
  flocker status                  shows how far it is, and who is waited for
  flocker authority drop")]
pub(crate) struct Authority {
    #[command(subcommand)]
    command: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Begin to put a new authority in the place of the present one, without anything stopping
    ///
    /// Nodes learn to trust the new one beside the old one, then take certificates of the new one; both by
    /// themselves, as soon as they are connected. Users take theirs by `flocker user renew`. When nobody has
    /// a certificate of the old one any more and the time is over, it is dropped.
    #[command(
        after_help = "Examples:\n  flocker authority rotate\n  flocker authority rotate --overlap 7d"
    )]
    Rotate {
        /// For at least so long both are trusted, at most 365d
        #[arg(long, value_name = "DURATION", default_value = "30d", value_parser = parse_duration)]
        overlap: Duration,
    },
    /// Trust the old authority no more, now
    ///
    /// Refused while somebody has no certificate of the new one yet, unless you say --shut-out. Who is shut
    /// out comes in again as after a revocation: `flocker join --again`, `flocker user add`.
    #[command(
        after_help = "Examples:\n  flocker authority drop\n  flocker authority drop --shut-out"
    )]
    Drop {
        /// Do not wait for those who have no certificate of the new authority
        #[arg(long)]
        shut_out: bool,

        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
}

impl Authority {
    /// Begins a change, or ends it.
    pub(crate) async fn run(&self, global: &Global) -> Result<(), Failure> {
        match &self.command {
            Action::Rotate { overlap } => rotate(global, *overlap).await,
            Action::Drop { shut_out, yes } => {
                let left_behind = match shut_out {
                    true => LeftBehind::ShutOut,
                    false => LeftBehind::WaitedFor,
                };
                drop_old(global, left_behind, *yes).await
            }
        }
    }
}

async fn rotate(global: &Global, overlap: Duration) -> Result<(), Failure> {
    let overlap_ms = u64::try_from(overlap.as_millis()).unwrap_or(u64::MAX);
    let client = global.open()?.client;
    let () = client
        .post("/v1/authority/rotate", &RotateRequest { overlap_ms })
        .await?;
    output::note(&format!(
        "a new authority is being introduced; the old one is trusted for at least {}",
        milliseconds(overlap_ms)
    ));
    output::hint(
        "flocker status shows how far it is. Users: flocker user renew. Take a new backup of the \
         authority's key: flocker control backup --with-authority",
    );
    Ok(())
}

async fn drop_old(global: &Global, left_behind: LeftBehind, yes: bool) -> Result<(), Failure> {
    let client = global.open()?.client;
    if !yes {
        let question = match left_behind {
            LeftBehind::WaitedFor => "Trust the old authority no more?",
            LeftBehind::ShutOut => {
                "Trust the old authority no more, and shut out whoever has no other certificate?"
            }
        };
        match output::confirm(question) {
            Some(Answer::Yes) => {}
            Some(Answer::No) => {
                output::note("nothing was changed");
                return Err(Failure::Shown);
            }
            None => {
                return Err(
                    Failure::new("this needs a yes, and there is no terminal to ask at")
                        .hint("say --yes if it is meant"),
                );
            }
        }
    }
    let () = client
        .post("/v1/authority/drop", &DropAuthorityRequest { left_behind })
        .await?;
    output::note("the old authority is dropped");
    output::hint("join tokens that were made before are void: flocker token makes new ones");
    Ok(())
}
