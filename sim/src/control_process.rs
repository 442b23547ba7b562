//! Control's process: its loop as `crates/control/src/shell` has it, round the real core.
//!
//! It takes everything that waits (at most a round's worth), steps the core with each, makes the
//! changes of all of them durable in one transaction, and only then carries out the commands. While
//! the store has not answered nothing else happens in it. When the store refuses or fails it ends.

use crate::clock::Clock;
use crate::event::{Life, What};
use crate::network::{Direction, LinkId, Wire};
use crate::operator::Request;
use crate::rng::Rng;
use crate::store::{Revisions, Store};
use crate::world::{Pause, Process, World};
use flocker_core::cluster::{Change, State};
use flocker_core::control::{Command, Control, Event, Output, RequestId, Session};
use flocker_types::ids::NodeId;
use flocker_types::link::{AgentHello, AgentMessage, ProxyMessage};
use flocker_types::time::{Monotonic, Now};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;

/// Things taken in one round.
const ROUND_INPUTS_MAX: usize = 64;
/// The core gets a tick at least this often, in milliseconds.
const TICK_INTERVAL_MS: u64 = 1_000;
/// After it died the process is started again by the machine, in microseconds.
pub(crate) const RESTART_US: u64 = 300_000;

/// What waits for the loop.
#[derive(Debug)]
enum Input {
    Request(u64, Box<Request>),
    AgentConnected(LinkId, Box<AgentHello>),
    ProxyConnected(LinkId, NodeId, SocketAddr),
    Agent(Session, AgentMessage),
    Proxy(Session, ProxyMessage),
    Lost(Session),
}

/// The machine on which control runs, with its store.
#[derive(Debug)]
pub(crate) struct ControlHost {
    pub(crate) store: Store,
    pub(crate) process: Option<ControlProcess>,
    pub(crate) life: Life,
    pub(crate) pause: Pause,
    pub(crate) wall_offset_ms: i64,
    pub(crate) drift_ppm: i64,
    /// How long the store takes, in microseconds.
    pub(crate) store_us: (u64, u64),
    /// Transactions that will fail.
    pub(crate) store_failures: u32,
    /// It is kept from starting.
    pub(crate) held_down: u32,
    pub(crate) rng: Rng,
    sessions: u64,
}

/// The process.
#[derive(Debug)]
pub(crate) struct ControlProcess {
    pub(crate) core: Control,
    clock: Clock,
    revisions: Revisions,
    inputs: VecDeque<Input>,
    pending: VecDeque<Event>,
    last_tick: Monotonic,
    round_at_us: u64,
    keeping: Option<Keeping>,
    sessions: BTreeMap<Session, LinkId>,
    /// The newest connection of each agent.
    present: BTreeMap<NodeId, Session>,
    waiters: BTreeSet<RequestId>,
    /// Rounds without anything but a tick in the present second, to see a loop that never rests.
    ticks: (u64, u32),
}

#[derive(Debug)]
struct Keeping {
    changes: Vec<Change>,
    commands: Vec<Command>,
}

impl ControlHost {
    pub(crate) fn new(store: Store, seed: u64, store_us: (u64, u64)) -> Self {
        Self {
            store,
            process: None,
            life: 0,
            pause: Pause::default(),
            wall_offset_ms: 0,
            drift_ppm: 0,
            store_us,
            store_failures: 0,
            held_down: 0,
            rng: Rng::fork(seed, 2),
            sessions: 0,
        }
    }
}

impl World {
    /// Control's process starts, from what the store has.
    pub(crate) fn start_control_process(&mut self) {
        if self.control.process.is_some() || self.control.held_down > 0 {
            return;
        }
        let (revisions, state) = self.control.store.load();
        let state: State = state.expect("there is a cluster from the beginning");
        self.control.life += 1;
        let clock = Clock {
            started_us: self.now_us,
            drift_ppm: self.control.drift_ppm,
        };
        self.control.process = Some(ControlProcess {
            core: Control::new(state),
            clock,
            revisions,
            inputs: VecDeque::new(),
            pending: VecDeque::from([Event::Tick]),
            last_tick: Monotonic(0),
            round_at_us: self.now_us,
            keeping: None,
            sessions: BTreeMap::new(),
            present: BTreeMap::new(),
            waiters: BTreeSet::new(),
            ticks: (0, 0),
        });
        self.trace.say(self.now_us, || "control starts".to_owned());
        let life = self.control.life;
        self.after(0, What::ControlRound(life));
    }

    /// Control's process dies, wherever it is.
    pub(crate) fn end_control_process(&mut self) {
        let Some(mut process) = self.control.process.take() else {
            return;
        };
        self.resume_at_once(Process::Control);
        self.checks.control_interrupted();
        let life = self.control.life;
        self.control.life += 1;
        self.trace.say(self.now_us, || "control dies".to_owned());
        if let Some(keeping) = process.keeping.take() {
            // It is not known whether the transaction has reached the disk.
            if self.control.rng.chance(500) {
                self.keep(&mut process, &keeping.changes);
                self.checks.control_interrupted();
            }
        } else {
            self.checks
                .control_died(self.now_us, &process.core, &self.control.store);
        }
        let waiting: Vec<RequestId> = process.waiters.into_iter().collect();
        self.drop_links_of_control(life);
        self.note_blocked();
        for request in waiting {
            self.unanswered(request.0);
        }
    }

    fn control_input(&mut self, input: Input) {
        let (now, life) = (self.now_us, self.control.life);
        if let Some(process) = &mut self.control.process {
            process.inputs.push_back(input);
            if process.keeping.is_none() && process.round_at_us > now {
                process.round_at_us = now;
                self.queue.push(now, What::ControlRound(life));
            }
        }
    }

    /// A request arrives.
    pub(crate) fn control_asked(&mut self, id: u64, request: Box<Request>) {
        if self.control.process.is_none() {
            return self.unanswered(id);
        }
        self.control_input(Input::Request(id, request));
    }

    /// A message arrives on a link.
    pub(crate) fn control_hears(&mut self, id: LinkId, wire: Wire) {
        let Some(link) = self.network.links.get(&id) else {
            return;
        };
        let (session, node) = (link.session, link.node);
        let late = self.node_mut(node).echoes.said(session, &wire);
        let input = match (wire, session) {
            (Wire::Agent(AgentMessage::Hello(hello)), None) => Input::AgentConnected(id, hello),
            (Wire::Proxy(ProxyMessage::Hello { tunnel, .. }), None) => {
                Input::ProxyConnected(id, node, tunnel)
            }
            (Wire::Agent(message), Some(session)) => Input::Agent(session, message),
            (Wire::Proxy(message), Some(session)) => Input::Proxy(session, message),
            _ => return self.close_server_end(id),
        };
        if session.is_none() {
            self.control.sessions += 1;
            let session = Session(self.control.sessions);
            if let Some(link) = self.network.links.get_mut(&id) {
                link.session = Some(session);
            }
        }
        self.control_input(input);
        if let Some((session, message)) = late {
            self.control_input(Input::Agent(session, message));
        }
    }

    /// A link ended.
    pub(crate) fn control_lost(&mut self, session: Option<Session>) {
        if let Some(session) = session {
            self.control_input(Input::Lost(session));
        }
    }

    /// The loop comes round.
    pub(crate) fn control_round(&mut self, life: Life) {
        if life != self.control.life {
            return;
        }
        let Some(mut process) = self.control.process.take() else {
            return;
        };
        if process.keeping.is_some() || process.round_at_us > self.now_us {
            self.control.process = Some(process);
            return;
        }
        process.round_at_us = u64::MAX;
        let mut changes = Vec::new();
        let mut commands = Vec::new();
        let mut events: Vec<Event> = process.pending.drain(..).collect();
        for _ in 0..ROUND_INPUTS_MAX {
            let Some(input) = process.inputs.pop_front() else {
                break;
            };
            events.extend(self.admit(&mut process, input));
        }
        let now = process.clock.read(self.now_us, self.control.wall_offset_ms);
        let due = process.until_tick();
        if due <= now.monotonic {
            process.last_tick = now.monotonic;
            process.ticks = match process.ticks {
                (second, count) if second == self.now_us / 1_000_000 => (second, count + 1),
                _ => (self.now_us / 1_000_000, 1),
            };
            self.checks.control_ticks(self.now_us, process.ticks.1);
            events.push(Event::Tick);
        }
        for event in events {
            for output in self.step_control(&mut process, now, event) {
                changes.extend(output.changes);
                commands.extend(output.commands);
            }
        }
        self.trace
            .note(10, u64::try_from(changes.len()).unwrap_or(0), self.now_us);
        process.keeping = Some(Keeping { changes, commands });
        let idle = process
            .keeping
            .as_ref()
            .is_some_and(|keeping| keeping.changes.is_empty());
        self.control.process = Some(process);
        if idle {
            return self.control_kept(life);
        }
        let (low, high) = self.control.store_us;
        let wait = self.control.rng.between(low, high);
        if wait > 100_000 {
            self.checks.control_interrupted();
        }
        self.after(wait, What::ControlKept(life));
    }

    /// Hands an event to the core. What comes on a connection that a newer one has replaced must change
    /// nothing; time passes first, so that what follows from that is not taken for its effect.
    fn step_control(
        &mut self,
        process: &mut ControlProcess,
        now: Now,
        event: Event,
    ) -> Vec<Output> {
        match &event {
            Event::AgentConnected { session, hello } => {
                process.present.insert(hello.node, *session);
            }
            Event::AgentMessage { session, .. } => {
                let link = process.sessions.get(session);
                let link = link.and_then(|link| self.network.links.get(link));
                let present = link.and_then(|link| process.present.get(&link.node));
                if present.is_some_and(|present| present != session) {
                    let tick = process.core.step(now, Event::Tick);
                    let output = process.core.step(now, event);
                    let void = output.changes.is_empty() && output.commands.is_empty();
                    self.checks.replaced_connection(self.now_us, void);
                    return vec![tick, output];
                }
            }
            _ => {}
        }
        vec![process.core.step(now, event)]
    }

    fn admit(&mut self, process: &mut ControlProcess, input: Input) -> Option<Event> {
        match input {
            Input::Request(id, request) => {
                let id = RequestId(id);
                process.waiters.insert(id);
                let seed = u128::from(self.control.rng.next_u64()) << 64
                    | u128::from(self.control.rng.next_u64());
                let (user, request) = ("operator".to_owned(), *request);
                Some(Event::Request {
                    id,
                    user,
                    request,
                    seed,
                })
            }
            Input::AgentConnected(link, hello) => {
                let session = self.network.links.get(&link)?.session?;
                process.sessions.insert(session, link);
                Some(Event::AgentConnected { session, hello })
            }
            Input::ProxyConnected(link, node, tunnel) => {
                let session = self.network.links.get(&link)?.session?;
                process.sessions.insert(session, link);
                Some(Event::ProxyConnected {
                    session,
                    node,
                    tunnel,
                })
            }
            // A session that was closed here has already been reported as lost.
            Input::Agent(session, message) => process
                .sessions
                .contains_key(&session)
                .then_some(Event::AgentMessage { session, message }),
            Input::Proxy(session, message) => process
                .sessions
                .contains_key(&session)
                .then_some(Event::ProxyMessage { session, message }),
            Input::Lost(session) => {
                let link = process.sessions.remove(&session)?;
                Some(self.lost_event(session, link))
            }
        }
    }

    fn lost_event(&self, session: Session, link: LinkId) -> Event {
        if self.proxy_links.contains(&link) {
            Event::ProxyLost { session }
        } else {
            Event::AgentLost { session }
        }
    }

    /// Writes changes into the store; false when that did not work.
    fn keep(&mut self, process: &mut ControlProcess, changes: &[Change]) -> bool {
        if changes.is_empty() {
            return true;
        }
        if self.control.store_us.1 > 100_000 {
            self.checks.control_interrupted();
        }
        self.checks
            .before_commit(self.now_us, &self.control.store, changes, &self.nodes);
        if self
            .control
            .store
            .commit(&mut process.revisions, changes)
            .is_err()
        {
            return false;
        }
        self.tell_phases(changes);
        self.checks
            .committed(self.now_us, &self.control.store, changes);
        true
    }

    /// The store has answered.
    pub(crate) fn control_kept(&mut self, life: Life) {
        if life != self.control.life {
            return;
        }
        let Some(mut process) = self.control.process.take() else {
            return;
        };
        let Some(keeping) = process.keeping.take() else {
            self.control.process = Some(process);
            return;
        };
        let fails = self.control.store_failures > 0 && !keeping.changes.is_empty();
        if fails {
            self.control.store_failures -= 1;
        }
        let written = !(fails && self.control.rng.chance(500));
        let kept = written && self.keep(&mut process, &keeping.changes);
        if fails || !kept {
            self.trace.say(self.now_us, || {
                "control's store failed; its process ends".to_owned()
            });
            self.control.process = Some(process);
            if let Some(process) = &mut self.control.process {
                process.keeping = Some(Keeping {
                    changes: Vec::new(),
                    commands: Vec::new(),
                });
            }
            self.end_control_process();
            return self.after(RESTART_US, What::ControlStart);
        }
        for command in keeping.commands {
            self.carry_out_control(&mut process, command);
        }
        let busy = !process.inputs.is_empty() || !process.pending.is_empty();
        let at = if busy {
            self.now_us
        } else {
            let due = process.clock.when(process.until_tick());
            due.max(self.now_us + 1_000)
        };
        process.round_at_us = at;
        self.control.process = Some(process);
        self.queue.push(at, What::ControlRound(life));
    }

    fn carry_out_control(&mut self, process: &mut ControlProcess, command: Command) {
        match command {
            Command::ToAgent(session, message) => {
                if let Some(link) = process.sessions.get(&session) {
                    self.send(*link, Direction::Down, Wire::ToAgent(message));
                }
            }
            Command::ToProxy(session, message) => {
                if let Some(link) = process.sessions.get(&session) {
                    self.send(*link, Direction::Down, Wire::ToProxy(message));
                }
            }
            Command::Close(session, _) => {
                if let Some(link) = process.sessions.remove(&session) {
                    let event = self.lost_event(session, link);
                    process.pending.push_back(event);
                    self.close_server_end(link);
                }
            }
            Command::Reply(id, answer) => {
                let last = !matches!(
                    &answer,
                    Ok(flocker_core::control::Response::Log { end: false, .. })
                );
                if process.waiters.contains(&id) {
                    if last {
                        process.waiters.remove(&id);
                    }
                    self.answered(id.0, answer);
                }
            }
            Command::Publish(event) => {
                self.trace.hear(self.now_us, &event.message);
            }
        }
    }
}

impl ControlProcess {
    fn until_tick(&self) -> Monotonic {
        let regular = self.last_tick.plus_ms(TICK_INTERVAL_MS);
        self.core
            .next_deadline()
            .map_or(regular, |deadline| deadline.min(regular))
            .max(self.last_tick.plus_ms(1))
    }

    /// Requests that have had no answer yet.
    pub(crate) fn waiting(&self) -> usize {
        self.waiters.len()
    }
}
