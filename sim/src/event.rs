//! What can happen in the world, and the queue that says what happens next.
//!
//! Everything that happens is an event in this one queue, ordered by time and, within a
//! microsecond, by when it was put there. Nothing else in the world has an order.

use crate::agent_process::AgentInput;
use crate::network::{Direction, End, LinkId, LinkKind, Wire};
use crate::operator::Request;
use flocker_core::agent::JobId;
use flocker_types::ids::{NodeId, ServiceId};
use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// Counts the lives of a process, a machine or an engine: what was meant for an earlier one is void.
pub(crate) type Life = u64;

/// Something that happens.
#[derive(Debug)]
pub(crate) enum What {
    /// Control's process is started.
    ControlStart,
    /// Control's loop may have something to do.
    ControlRound(Life),
    /// The store has answered control.
    ControlKept(Life),
    /// An agent's process is started.
    AgentStart(NodeId),
    /// An agent's loop is to tell its core that time passes.
    AgentTick(NodeId, Life),
    /// An agent's ledger is durable.
    AgentKept(NodeId, Life),
    /// Something for an agent's loop.
    AgentTold(NodeId, Life, Box<AgentInput>),
    /// An agent's watcher hears from the engine that a container ended.
    WatcherHears(NodeId, ServiceId, i64),
    /// An agent's watcher has found the engine again.
    WatcherLooks(NodeId, Life),
    /// A job goes on.
    Job(NodeId, Life, JobId),
    /// A stream that a node receives goes on.
    Reception(NodeId, Life, u64),
    /// A node's proxy is started.
    ProxyStart(NodeId),
    /// A proxy's routes are on the disk.
    ProxySaved(NodeId, Life, Life),
    /// A node's agent or proxy tries to reach control.
    Connect(NodeId, LinkKind, Life),
    /// The connection is there, at the client's end.
    Linked(LinkId),
    /// A message arrives.
    Arrive(LinkId, Direction, Box<Wire>),
    /// What was stuck behind a cut goes on.
    Unstick(LinkId, Direction),
    /// An end of a link may have heard nothing for too long.
    Silence(LinkId, End),
    /// A node's engine has done something that it was asked for.
    Engine(NodeId, Life, u64),
    /// A node's engine comes back.
    EngineUp(NodeId, Life),
    /// A container answers at its ports now.
    Listens(NodeId, ServiceId, u64),
    /// A container writes by itself.
    Writes(NodeId, ServiceId, u64),
    /// What a container wrote so far is on the disk.
    Synced(NodeId, ServiceId, u64, Option<u64>),
    /// A client comes.
    Client(usize),
    /// A client's connection arrives at a proxy or a container.
    Visit(u64),
    /// A request arrives at control.
    Ask(u64, Box<Request>),
    /// Somebody who asked goes on.
    Operator(usize, u64),
    /// An action of the scenario begins.
    Action(usize),
    /// It ends.
    ActionEnds(usize),
    /// A node has its power again.
    PowerOn(NodeId),
    /// A node hears again what it heard long ago.
    Echo(NodeId),
}

#[derive(Debug)]
struct Entry {
    at_us: u64,
    number: u64,
    what: What,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    /// The earliest is the greatest: the heap gives out its greatest.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at_us, other.number).cmp(&(self.at_us, self.number))
    }
}

/// What is going to happen.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    heap: BinaryHeap<Entry>,
    number: u64,
}

impl Queue {
    pub(crate) fn push(&mut self, at_us: u64, what: What) {
        self.number += 1;
        let number = self.number;
        self.heap.push(Entry {
            at_us,
            number,
            what,
        });
    }

    pub(crate) fn pop(&mut self) -> Option<(u64, What)> {
        let entry = self.heap.pop()?;
        Some((entry.at_us, entry.what))
    }

    pub(crate) fn next_us(&self) -> Option<u64> {
        self.heap.peek().map(|entry| entry.at_us)
    }
}
