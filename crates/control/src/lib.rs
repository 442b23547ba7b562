//! Control: the one process of a cluster that decides, or rather the shell round the core that does.
//!
//! `flocker control` calls [`run()`], `flocker init` calls [`initialise`], and `flocker recover` makes a lost
//! store again by [`recovery`]. The shell takes what
//! happens (requests of the API, words of agents and proxies, time), steps the core, makes the
//! changes durable and carries out the commands. It decides nothing about the cluster itself.

pub mod api;
mod audit;
mod authorities;
mod backup;
mod certificates;
mod config;
mod events;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod init;
mod links;
pub mod recovery;
#[cfg(test)]
#[path = "../../../fuzz/replay.rs"]
mod replay;
mod rotation;
mod run;
mod shell;

pub use audit::AuditError;
pub use authorities::{Authorities, AuthoritiesError};
pub use backup::{AuthorityCopy, Backup, BackupError, BackupHeader};
pub use config::{API_PORT_DEFAULT, ControlConfig, LINK_QUEUE_MESSAGES_MAX, StateDirectory};
pub use events::EVENTS_KEPT_MAX;
pub use init::{InitError, InitRequest, initialise};
pub use run::{Bound, ControlError, run};
pub use shell::{KeepError, LoadError};
