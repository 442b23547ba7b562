//! Control: the one process of a cluster that decides, or rather the shell round the core that does.
//!
//! `flocker control` calls [`run`] and `flocker init` calls [`initialise`]. The shell takes what
//! happens (requests of the API, words of agents and proxies, time), steps the core, makes the
//! changes durable and carries out the commands. It decides nothing about the cluster itself.

mod events;
mod shell;

pub use events::EVENTS_KEPT_MAX;
pub use shell::{KeepError, LoadError};
