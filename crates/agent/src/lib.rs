//! The shell of `flocker agent`: one loop round the pure core of a node.
//!
//! ```text
//!   link to control ──┐                         ┌──> ledger file (durable first)
//!   engine's events ──┤   events     commands   ├──> link to control
//!   ended jobs ───────┼──> loop ──> core ──> ───┼──> jobs (storage, runtime, streams)
//!   other agents ─────┤                         ├──> answers to other agents
//!   time ─────────────┘                         └──> logs
//! ```
//!
//! The command line starts it with [`run()`]. It decides nothing: what to do is the core's business,
//! how to do it is that of `storage`, `runtime` and `net`.

mod config;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod jobs;
mod ledger_file;
mod logs;
mod pool_watch;
mod readiness;
#[cfg(test)]
#[path = "../../../fuzz/replay.rs"]
mod replay;
mod run;
mod shell;
mod streams;
#[cfg(test)]
mod tests;
mod volume_usage;
mod watch;

pub use config::AgentConfig;
pub use run::{AgentError, run};
