//! The loop round control's core: take what happened, step the core, make the changes durable,
//! then carry out the commands. One task owns the core and the store; everybody else talks to it
//! through a [`Handle`].
//!
//! [`crate::run()`] starts it; the API and the links hand events in. It decides nothing. No command
//! leaves before the changes of its step are durable; if they cannot be made durable the loop ends
//! with an error and so does the process, because the state in memory is then ahead of the disk.

#[cfg(feature = "test-halt")]
mod halt;
mod handle;
mod keeper;
mod sessions;
mod waiters;

pub use keeper::{KeepError, LoadError};

#[cfg(feature = "test-halt")]
pub(crate) use halt::Halt;
pub(crate) use handle::{Handle, LogReader, Stopping, unexpected};
pub(crate) use keeper::Keeper;
pub(crate) use sessions::{Connection, Outgoing};
pub(crate) use waiters::LogPiece;

use crate::authorities::Authorities;
use crate::events::Events;
use flocker_core::cluster::{Change, TokenRecord};
use flocker_core::control::{Command, Control, Event, Output, Request, RequestId, Session};
use flocker_types::ids::NodeId;
use flocker_types::link::{AgentHello, AgentMessage, ProxyMessage};
use flocker_types::time::{Monotonic, Now, UnixMs};
use sessions::Sessions;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use waiters::{Waiter, Waiters};

/// Things that wait for the loop; whoever brings more waits.
const INPUTS_MAX: usize = 1_024;
/// Things taken in one round, so made durable by one write.
const ROUND_INPUTS_MAX: usize = 64;
/// The core gets a tick at least this often, in milliseconds.
const TICK_INTERVAL_MS: u64 = 1_000;
/// And at most this often, whatever deadline it names, in milliseconds.
const TICK_SPACING_MS: u64 = 1;

/// The state machine that the loop steps: [`Control`]; in tests of the loop also a scripted one.
pub(crate) trait Core: Send {
    /// See [`Control::step`].
    fn step(&mut self, now: Now, event: Event) -> Output;
    /// See [`Control::next_deadline`].
    fn next_deadline(&self) -> Option<Monotonic>;
    /// See [`Control::token`].
    fn token(&self, id: &str) -> Option<&TokenRecord>;
}

impl Core for Control {
    fn step(&mut self, now: Now, event: Event) -> Output {
        Self::step(self, now, event)
    }
    fn next_deadline(&self) -> Option<Monotonic> {
        Self::next_deadline(self)
    }
    fn token(&self, id: &str) -> Option<&TokenRecord> {
        Self::token(self, id)
    }
}

/// What is handed to the loop.
#[derive(Debug)]
pub(crate) enum Input {
    /// Somebody asks the core for something.
    Request {
        id: RequestId,
        user: String,
        request: Request,
        seed: u128,
        waiter: Waiter,
    },
    /// Somebody wants to see a token's record.
    Token {
        id: String,
        answer: oneshot::Sender<Option<TokenRecord>>,
    },
    /// An agent or a proxy connected.
    Connected {
        session: Session,
        who: Who,
        connection: Connection,
    },
    /// An agent said something.
    Agent(Session, AgentMessage),
    /// A proxy said something.
    Proxy(Session, ProxyMessage),
    /// A connection ended.
    Lost(Session),
}

/// Who connected.
#[derive(Debug)]
pub(crate) enum Who {
    /// An agent, by its hello.
    Agent(Box<AgentHello>),
    /// A proxy.
    Proxy {
        /// Its node.
        node: NodeId,
        /// Where other proxies reach it.
        tunnel: SocketAddr,
    },
}

/// Both clocks of this process.
#[derive(Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    /// Monotonic time begins now.
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    fn now(&self) -> Now {
        Now {
            monotonic: Monotonic(milliseconds(self.0.elapsed())),
            wall: wall_clock(),
        }
    }
}

/// The wall clock.
pub(crate) fn wall_clock() -> UnixMs {
    // A clock before 1970 shows as 1970: it is for people only.
    UnixMs(milliseconds(
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default(),
    ))
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The loop's own data.
pub(crate) struct Shell {
    core: Box<dyn Core>,
    keeper: Keeper,
    clock: Clock,
    inputs: mpsc::Receiver<Input>,
    events: Arc<Events>,
    sessions: Sessions,
    waiters: Waiters,
    /// What the loop itself has to tell the core, before anything else.
    pending: VecDeque<Event>,
    last_tick: Monotonic,
    #[cfg(feature = "test-halt")]
    halt: Option<Halt>,
}

impl Shell {
    /// The loop over this core and this store, and the handle by which it is reached.
    pub(crate) fn new(core: Box<dyn Core>, keeper: Keeper) -> (Self, Handle) {
        let (sender, inputs) = mpsc::channel(INPUTS_MAX);
        let events = Events::new();
        let handle = Handle::new(sender, Arc::clone(&events));
        let shell = Self {
            core,
            keeper,
            clock: Clock::start(),
            inputs,
            events,
            sessions: Sessions::default(),
            waiters: Waiters::default(),
            pending: VecDeque::from([Event::Tick]),
            last_tick: Monotonic(0),
            #[cfg(feature = "test-halt")]
            halt: None,
        };
        (shell, handle)
    }

    /// Marks what nodes are to keep as control's.
    pub(crate) fn marking(mut self, authorities: Arc<Authorities>) -> Self {
        self.sessions.authorities = Some(authorities);
        self
    }

    /// The same loop, which stops where it is told to.
    #[cfg(feature = "test-halt")]
    pub(crate) fn halting(mut self, halt: Halt) -> Self {
        self.halt = Some(halt);
        self
    }

    /// Runs until `shutdown`, or until the state cannot be made durable. It has a thread of its
    /// own: writing to the disk must not keep connections waiting.
    pub(crate) fn spawn(
        mut self,
        shutdown: CancellationToken,
    ) -> tokio::task::JoinHandle<Result<(), KeepError>> {
        let runtime = tokio::runtime::Handle::current();
        tokio::task::spawn_blocking(move || runtime.block_on(self.run(&shutdown)))
    }

    async fn run(&mut self, shutdown: &CancellationToken) -> Result<(), KeepError> {
        loop {
            let first = if self.pending.is_empty() {
                tokio::select! {
                    biased;
                    () = shutdown.cancelled() => return Ok(()),
                    input = tokio::time::timeout(self.until_tick(), self.inputs.recv()) => {
                        match input {
                            Ok(Some(input)) => Some(input),
                            // Every handle is gone, so nobody is left to serve.
                            Ok(None) => return Ok(()),
                            Err(_) => None,
                        }
                    }
                }
            } else {
                None
            };
            if shutdown.is_cancelled() {
                return Ok(());
            }
            self.round(first)?;
        }
    }

    /// Takes what there is, steps the core with each, writes once, then carries out the commands.
    fn round(&mut self, first: Option<Input>) -> Result<(), KeepError> {
        let mut changes = Vec::new();
        let mut commands = Vec::new();
        let mut take = |shell: &mut Self, event: Event| {
            let output = shell.core.step(shell.clock.now(), event);
            changes.extend(output.changes);
            commands.extend(output.commands);
        };
        while let Some(event) = self.pending.pop_front() {
            take(self, event);
        }
        let mut input = first;
        for _ in 0..ROUND_INPUTS_MAX {
            let Some(next) = input.take().or_else(|| self.inputs.try_recv().ok()) else {
                break;
            };
            if let Some(event) = self.admit(next) {
                take(self, event);
            }
        }
        if self.until_tick().is_zero() {
            self.last_tick = self.clock.now().monotonic;
            take(self, Event::Tick);
            // Their next life begins in the next round.
            let gone = self.waiters.sweep();
            self.pending
                .extend(gone.into_iter().map(Event::RequestGone));
        }
        self.keep(changes)?;
        for command in commands {
            self.carry_out(command);
        }
        Ok(())
    }

    #[cfg(not(feature = "test-halt"))]
    fn keep(&mut self, changes: Vec<Change>) -> Result<(), KeepError> {
        self.keeper.keep(changes)
    }

    #[cfg(feature = "test-halt")]
    fn keep(&mut self, changes: Vec<Change>) -> Result<(), KeepError> {
        let due = self.halt.as_mut().and_then(|halt| halt.due(&changes));
        if let (Some(halt::Side::Before), Some(halt)) = (due, &self.halt) {
            halt.stop();
        }
        self.keeper.keep(changes)?;
        if let (Some(halt::Side::After), Some(halt)) = (due, &self.halt) {
            halt.stop();
        }
        Ok(())
    }

    fn until_tick(&self) -> Duration {
        let regular = self.last_tick.plus_ms(TICK_INTERVAL_MS);
        let due = self
            .core
            .next_deadline()
            .map_or(regular, |deadline| deadline.min(regular))
            .max(self.last_tick.plus_ms(TICK_SPACING_MS));
        Duration::from_millis(due.since_ms(self.clock.now().monotonic))
    }

    /// Notes who is there and who waits, and says what the core is to be told.
    fn admit(&mut self, input: Input) -> Option<Event> {
        match input {
            Input::Request {
                id,
                user,
                request,
                seed,
                waiter,
            } => {
                // Refused here already, the core never hears of it.
                self.waiters.add(id, waiter).then_some(Event::Request {
                    id,
                    user,
                    request,
                    seed,
                })
            }
            Input::Token { id, answer } => {
                // Whoever asked may be gone.
                drop(answer.send(self.core.token(&id).cloned()));
                None
            }
            Input::Connected {
                session,
                who,
                connection,
            } => {
                self.sessions.add(session, connection);
                Some(match who {
                    Who::Agent(hello) => Event::AgentConnected { session, hello },
                    Who::Proxy { node, tunnel } => Event::ProxyConnected {
                        session,
                        node,
                        tunnel,
                    },
                })
            }
            // A session that was closed here has already been reported as lost.
            Input::Agent(session, message) => self
                .sessions
                .has(session)
                .then_some(Event::AgentMessage { session, message }),
            Input::Proxy(session, message) => self
                .sessions
                .has(session)
                .then_some(Event::ProxyMessage { session, message }),
            Input::Lost(session) => self.sessions.remove(session),
        }
    }

    fn carry_out(&mut self, command: Command) {
        match command {
            Command::ToAgent(session, message) => {
                let lost = self.sessions.send_agent(session, message);
                self.pending.extend(lost);
            }
            Command::ToProxy(session, message) => {
                let lost = self.sessions.send_proxy(session, message);
                self.pending.extend(lost);
            }
            Command::Close(session, reason) => {
                let lost = self.sessions.close(session, reason);
                self.pending.extend(lost);
            }
            Command::Reply(id, reply) => {
                let gone = self.waiters.reply(id, reply);
                self.pending.extend(gone.map(Event::RequestGone));
            }
            Command::Publish(event) => {
                tracing::info!(
                    sequence = event.sequence,
                    service = event.service.as_ref().map(tracing::field::display),
                    node = event.node.as_ref().map(tracing::field::display),
                    operation = event.operation.as_ref().map(tracing::field::display),
                    "{}",
                    event.message
                );
                self.events.publish(event);
            }
        }
    }
}

#[cfg(test)]
#[path = "shell_test.rs"]
mod tests;
