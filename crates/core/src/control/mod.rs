//! Control's core: what the cluster does next.

mod event;

pub use event::{Command, Event, Output, Request, RequestId, Response, Session};

use crate::cluster::{State, TokenRecord};
use flocker_types::time::{Monotonic, Now};

/// The state machine of `flocker control`.
#[derive(Debug)]
pub struct Control {
    state: State,
}

impl Control {
    /// Control over a state that was just read from the store. Call [`step`](Self::step) with
    /// [`Event::Tick`] first: operations that were under way go on from there.
    pub fn new(state: State) -> Self {
        Self { state }
    }

    /// The state, to look at.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// A token by its public id, if there is one that has not been used.
    pub fn token(&self, id: &str) -> Option<&TokenRecord> {
        self.state.tokens.get(id)
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
