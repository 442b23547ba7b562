//! The loop: wait for an event, step the core, make its ledger durable, carry out its commands.
//!
//! One task owns the core and nothing else does. Nothing here waits for a job, for the network or
//! for the engine.

use crate::jobs;
use crate::ledger_file::LedgerFile;
use crate::logs::Logs;
use crate::readiness::Ports;
use crate::run::{AgentError, Node};
use flocker_core::agent::{Agent, Command, ContainerRunSeen, Event, JobId, Output, Start};
use flocker_types::ids::{Epoch, NodeId, VolumeId};
use flocker_types::link::{AgentMessage, ToAgent};
use flocker_types::task::{Failure, Want};
use flocker_types::time::{Monotonic, Now, UnixMs};
use flocker_types::volume::VolumeLabel;
use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// The core is told that time passes at least this often, in milliseconds.
const TICK_MS: u64 = 1_000;

/// What the loop waits for.
#[derive(Debug)]
pub(crate) enum ShellInput {
    /// Something happened on the node.
    Event(Event),
    /// Control is there; this is the way to it.
    LinkUp(mpsc::Sender<AgentMessage>),
    /// Control is gone.
    LinkDown,
    /// Control said something.
    Control(ToAgent),
    /// Another node asks to send a volume.
    Incoming {
        from: NodeId,
        volume: VolumeId,
        epoch: Epoch,
        answer: oneshot::Sender<Result<VolumeLabel, Failure>>,
    },
}

/// The loop's state.
pub(crate) struct Shell {
    node: Node,
    ledger: LedgerFile,
    core: Agent,
    first: Option<Output>,
    receiver: mpsc::Receiver<ShellInput>,
    link: Option<mpsc::Sender<AgentMessage>>,
    jobs: HashMap<JobId, CancellationToken>,
    admissions: HashMap<JobId, oneshot::Sender<Result<VolumeLabel, Failure>>>,
    next_admission: u64,
    logs: Logs,
    started: Instant,
}

/// Both clocks, counted from `started`.
fn now(started: Instant) -> Now {
    let milliseconds = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let wall = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Now {
        monotonic: Monotonic(milliseconds(started.elapsed())),
        wall: UnixMs(milliseconds(wall)),
    }
}

impl Shell {
    /// A loop that has not begun.
    pub(crate) fn new(
        node: Node,
        ledger: LedgerFile,
        start: Start,
        receiver: mpsc::Receiver<ShellInput>,
    ) -> Result<Self, AgentError> {
        let started = Instant::now();
        for seen in start
            .containers
            .iter()
            .filter(|c| c.run == ContainerRunSeen::Running)
        {
            let directive = start.ledger.directives.get(&seen.service);
            if let Some(Want::Run { container, .. }) = directive.map(|directive| &directive.want) {
                let ports = Ports::of(&container.spec, &seen.exposed_ports);
                node.watcher.remember_ports(&seen.service, ports);
            }
            node.watcher.expect_ready(&seen.service, seen.address);
        }
        let (core, first) = Agent::new(now(started), start);
        Ok(Self {
            logs: Logs::new(node.clone()),
            node,
            ledger,
            core,
            first: Some(first),
            receiver,
            link: None,
            jobs: HashMap::new(),
            admissions: HashMap::new(),
            next_admission: 0,
            started,
        })
    }

    /// Until it is told to stop, or cannot go on.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) -> Result<(), AgentError> {
        if let Some(first) = self.first.take() {
            self.carry_out(first)?;
        }
        loop {
            let until_tick = self.until_tick();
            let input = tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                input = self.receiver.recv() => input,
                () = tokio::time::sleep(until_tick) => Some(ShellInput::Event(Event::Tick)),
            };
            let Some(event) = input.and_then(|input| self.event(input)) else {
                continue;
            };
            let output = self.core.step(now(self.started), event);
            self.carry_out(output)?;
        }
    }

    fn until_tick(&self) -> Duration {
        let now = now(self.started).monotonic;
        let due = self
            .core
            .next_deadline()
            .map_or(TICK_MS, |deadline| deadline.since_ms(now));
        Duration::from_millis(due.min(TICK_MS))
    }

    fn event(&mut self, input: ShellInput) -> Option<Event> {
        match input {
            ShellInput::Event(event) => {
                if let Event::JobDone { job, .. } = &event {
                    self.jobs.remove(job);
                }
                Some(event)
            }
            ShellInput::LinkUp(sender) => {
                self.link = Some(sender);
                Some(Event::LinkUp)
            }
            ShellInput::LinkDown => {
                self.link = None;
                self.logs.end_all();
                Some(Event::LinkDown)
            }
            ShellInput::Control(message) => Some(Event::Control(message)),
            ShellInput::Incoming {
                from,
                volume,
                epoch,
                answer,
            } => {
                self.next_admission += 1;
                let job = JobId(u64::MAX - self.next_admission);
                self.admissions.insert(job, answer);
                Some(Event::Incoming {
                    job,
                    from,
                    volume,
                    epoch,
                })
            }
        }
    }

    fn carry_out(&mut self, output: Output) -> Result<(), AgentError> {
        if let Some(ledger) = output.ledger {
            // Small and rare; nothing that follows from it may happen before it is durable.
            tokio::task::block_in_place(|| self.ledger.save(&ledger))?;
        }
        for command in output.commands {
            self.command(command);
        }
        Ok(())
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Send(message) => self.send(message),
            Command::Begin(id, job) => {
                let cancel = CancellationToken::new();
                self.jobs.insert(id, cancel.clone());
                jobs::spawn(self.node.clone(), id, job, cancel);
            }
            Command::Cancel(id) => {
                if let Some(cancel) = self.jobs.get(&id) {
                    cancel.cancel();
                }
            }
            Command::Admit(id, answer) => {
                if let Some(waiting) = self.admissions.remove(&id) {
                    // Whoever asked may have gone.
                    drop(waiting.send(answer));
                }
            }
            Command::Logs {
                request,
                service,
                tail,
                follow,
            } => {
                if let Some(link) = &self.link {
                    self.logs
                        .begin(request, service, tail, follow, link.clone());
                }
            }
            Command::LogsEnd { request } => self.logs.end(request),
        }
    }

    /// A link whose queue is full is given up: it is opened anew, and the hello on it says everything.
    fn send(&mut self, mut message: AgentMessage) {
        let Some(link) = &self.link else { return };
        if let AgentMessage::Memory(memory) = &mut message {
            memory.revocations = self.node.config.credentials.revocations().all();
        }
        if let Err(error) = link.try_send(message) {
            tracing::warn!(%error, "the link to control does not take messages");
            self.link = None;
        }
    }
}
