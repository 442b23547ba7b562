//! Faults that a test puts in the way of a fake's next calls, and the count of calls made.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::future::pending;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What goes wrong with one call.
#[derive(Debug)]
pub enum Fault<K> {
    /// It fails before it has done anything.
    Fail(K),
    /// It does its work, but the caller hears of a failure: the answer was lost.
    LoseAnswer(K),
    /// It does nothing and never returns. The caller's own time limit has to end it.
    Hang,
}

/// The faults that wait for calls of one fake. Each is used once, in the order they were added.
pub struct Faults<C, K> {
    state: Mutex<State<C, K>>,
}

struct State<C, K> {
    waiting: HashMap<C, VecDeque<Fault<K>>>,
    calls: Vec<C>,
}

impl<C: Copy + Eq + Hash, K> Faults<C, K> {
    /// Lets the next call of this kind go wrong that no earlier fault takes.
    pub fn inject(&self, call: C, fault: Fault<K>) {
        self.lock()
            .waiting
            .entry(call)
            .or_default()
            .push_back(fault);
    }

    /// Every call so far, in order, failed ones included.
    pub fn calls(&self) -> Vec<C> {
        self.lock().calls.clone()
    }

    /// How often this was called.
    pub fn count(&self, call: C) -> usize {
        self.lock().calls.iter().filter(|one| **one == call).count()
    }

    /// Counts the call, then fails or hangs as injected. `Ok(Some)` is a lost answer: the caller
    /// does its work, then returns that error.
    pub(super) async fn enter(&self, call: C) -> Result<Option<K>, K> {
        let fault = {
            let mut state = self.lock();
            state.calls.push(call);
            state.waiting.get_mut(&call).and_then(VecDeque::pop_front)
        };
        match fault {
            None => Ok(None),
            Some(Fault::Fail(kind)) => Err(kind),
            Some(Fault::LoseAnswer(kind)) => Ok(Some(kind)),
            Some(Fault::Hang) => pending().await,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<C, K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C, K> Default for Faults<C, K> {
    fn default() -> Self {
        let (waiting, calls) = (HashMap::new(), Vec::new());
        Self {
            state: Mutex::new(State { waiting, calls }),
        }
    }
}

impl<C, K> fmt::Debug for Faults<C, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faults")
    }
}
