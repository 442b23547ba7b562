//! What the long-running roles have in common: log, runtime, end by signal.
//!
//! `flocker control`, `agent` and `proxy` run inside it. It knows nothing of what they do.

use crate::failure::Failure;
use crate::node_file::STATE_DIR_DEFAULT;
use clap::Args;
use std::future::Future;
use std::io::IsTerminal;
use std::path::PathBuf;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// Options of every role.
#[derive(Debug, Args)]
pub(crate) struct RoleOptions {
    /// Where the node keeps everything
    #[arg(long, value_name = "DIRECTORY", default_value = STATE_DIR_DEFAULT)]
    pub(crate) state_dir: PathBuf,

    /// How much to log: error, warn, info, debug or trace; also MODULE=LEVEL, separated by commas
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log: String,
}

/// Runs a role until SIGTERM or SIGINT, then lets it end in good order.
pub(crate) fn run<Role, Running>(options: &RoleOptions, role: Role) -> Result<(), Failure>
where
    Role: FnOnce(CancellationToken) -> Running,
    Running: Future<Output = Result<(), Failure>>,
{
    start_log(&options.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::because("cannot start threads", &error))?;
    runtime.block_on(async {
        let shutdown = CancellationToken::new();
        end_by_signal(&shutdown)?;
        role(shutdown).await
    })
}

fn start_log(level: &str) -> Result<(), Failure> {
    let filter: EnvFilter = level.parse().map_err(|error| {
        Failure::because(format!("\"{level}\" does not say what to log"), &error)
            .hint("write error, warn, info, debug or trace")
    })?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    Ok(())
}

fn end_by_signal(shutdown: &CancellationToken) -> Result<(), Failure> {
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let mut signals =
            signal(kind).map_err(|error| Failure::because("cannot listen for signals", &error))?;
        let shutdown = shutdown.clone();
        tokio::spawn(async move {
            if signals.recv().await.is_some() {
                tracing::info!("told to stop");
                shutdown.cancel();
            }
        });
    }
    Ok(())
}
