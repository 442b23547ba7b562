//! The agent's core: what one node does next.

mod event;
mod ledger;

pub use event::{
    Command, ContainerRunSeen, ContainerSeen, Event, Job, JobId, JobOutcome, Output, Start,
};
pub use ledger::{Grant, Ledger};

use flocker_types::time::{Monotonic, Now};

/// The state machine of `flocker agent`.
#[derive(Debug)]
pub struct Agent {
    _node: flocker_types::ids::NodeId,
}

impl Agent {
    /// An agent whose process has just started, and what it does first.
    pub fn new(_now: Now, start: Start) -> (Self, Output) {
        (Self { _node: start.node }, Output::default())
    }

    /// When the next tick is needed at the latest; none when only events matter.
    pub fn next_deadline(&self) -> Option<Monotonic> {
        None
    }

    /// Takes one event and says what follows from it.
    pub fn step(&mut self, _now: Now, _event: Event) -> Output {
        Output::default()
    }
}
