//! An agent's process: its loop as `crates/agent/src/shell.rs` has it, round the real core.
//!
//! It takes one event at a time. A new ledger is durable before a command leaves, and while it is
//! being written nothing else happens. A ledger that cannot be written ends the process.

use crate::clock::Clock;
use crate::event::{Life, What};
use crate::jobs::Running;
use crate::network::{Direction, LinkId, LinkKind, Wire};
use crate::reception::Reception;
use crate::world::{Pause, Process, World};
use flocker_core::agent::{
    Agent, Command, ContainerRunSeen, Event, Job, JobId, Ledger, Output, Start,
};
use flocker_types::api::{LogLine, LogStream};
use flocker_types::ids::{Epoch, NodeId, NodeName, ServiceId, VolumeId};
use flocker_types::link::{AgentHello, AgentMessage, Follow};
use flocker_types::task::Failure;
use flocker_types::volume::{StorageKind, VolumeLabel};
use std::collections::{BTreeMap, VecDeque};

/// The core is told that time passes at least this often, in milliseconds.
const TICK_MS: u64 = 1_000;
/// A process that ended is started again by the machine, in microseconds.
pub(crate) const RESTART_US: u64 = 500_000;

/// What waits for the loop.
#[derive(Debug)]
pub(crate) enum AgentInput {
    Event(Event),
    /// Another node asks to send; the answer goes to this reception.
    Incoming {
        reception: u64,
        from: NodeId,
        volume: VolumeId,
        epoch: Epoch,
    },
}

/// A node's agent.
#[derive(Debug, Default)]
pub(crate) struct AgentProcess {
    pub(crate) core: Option<Agent>,
    pub(crate) life: Life,
    pub(crate) pause: Pause,
    pub(crate) held_down: u32,
    /// Control has spoken to this life.
    pub(crate) confirmed: bool,
    pub(crate) link: Option<LinkId>,
    pub(crate) jobs: BTreeMap<JobId, Running>,
    pub(crate) receptions: BTreeMap<u64, Reception>,
    clock: Option<Clock>,
    inbox: VecDeque<AgentInput>,
    writing: Option<(Ledger, Vec<Command>)>,
    admissions: BTreeMap<JobId, u64>,
    next_admission: u64,
    tick_at_us: u64,
    tick_event_us: u64,
    /// The watcher follows the engine's events.
    pub(crate) watches: bool,
    watched_before: bool,
    ticks: (u64, u32),
}

impl World {
    /// An agent's process starts: it looks round, then its loop begins.
    pub(crate) fn start_agent_process(&mut self, id: NodeId) {
        let node = self.node_mut(id);
        if !node.powered || node.agent.core.is_some() || node.agent.held_down > 0 {
            return;
        }
        let drift_ppm = node.drift_ppm;
        let clock = Clock {
            started_us: self.now_us,
            drift_ppm,
        };
        let node = self.node_mut(id);
        let Some(containers) = node.engine.look(clock.started_us, None) else {
            // The engine is away or does not answer; asked again, or started again.
            return self.after(1_000_000, What::AgentStart(id));
        };
        node.pool.clean_up();
        let hello = AgentHello {
            cluster: node.cluster,
            node: id,
            name: NodeName::new(node.name.clone()).ok(),
            boot: node.boot,
            version: "sim".to_owned(),
            stream_address: (node.address, 4524).into(),
            node_address: node.address,
            storage: StorageKind::Btrfs,
            pool: node.pool.usage(),
            volumes: Vec::new(),
            services: Vec::new(),
        };
        let start = Start {
            node: id,
            boot: node.boot,
            ledger: node.ledger.clone(),
            volumes: node.pool.list(),
            containers: containers.clone(),
            hello,
            container_network: self.container_network,
        };
        let now = clock.read(self.now_us, self.nodes[&id].wall_offset_ms);
        let (core, output) = Agent::new(now, start);
        let node = self.node_mut(id);
        node.agent.life += 1;
        let life = node.agent.life;
        node.agent = AgentProcess {
            core: Some(core),
            life,
            clock: Some(clock),
            held_down: node.agent.held_down,
            tick_event_us: u64::MAX,
            ..AgentProcess::default()
        };
        self.trace.say(self.now_us, || {
            format!("the agent of {} starts", self.nodes[&id].name)
        });
        self.agent_output(id, output);
        for seen in containers {
            if seen.run == ContainerRunSeen::Running {
                self.expect_ready(id, &seen.service);
            }
        }
        let subscribe = self.node_mut(id).rng.between(100, 3_000);
        self.after(subscribe, What::WatcherLooks(id, life));
        self.after(subscribe, What::Connect(id, LinkKind::Agent, life));
    }

    /// An agent's process dies; its jobs end wherever they are. Containers go on.
    pub(crate) fn end_agent_process(&mut self, id: NodeId) {
        let node = self.node_mut(id);
        if node.agent.core.take().is_none() {
            return;
        }
        let life = node.agent.life;
        node.agent.life += 1;
        if let Some((ledger, _)) = node.agent.writing.take()
            && node.rng.chance(500)
        {
            node.ledger = ledger;
        }
        let powered = node.powered;
        self.interrupt_jobs(id);
        self.interrupt_receptions(id);
        self.node_mut(id).pool.unlock_all();
        self.trace.say(self.now_us, || {
            format!("the agent of {} dies", self.nodes[&id].name)
        });
        self.resume_at_once(Process::Agent(id));
        if powered {
            self.drop_links_of(id, LinkKind::Agent, life);
        } else {
            self.abandon_links_of(id, LinkKind::Agent, life);
        }
        self.note_blocked();
        self.checks.agent_died(id);
    }

    /// The client's end of the agent's link is there.
    pub(crate) fn agent_linked(&mut self, id: NodeId, link: LinkId) {
        self.node_mut(id).agent.link = Some(link);
        self.agent_event(id, Event::LinkUp);
    }

    /// It is gone.
    pub(crate) fn agent_unlinked(&mut self, id: NodeId, link: LinkId) {
        let node = self.node_mut(id);
        if node.agent.link == Some(link) {
            node.agent.link = None;
            self.agent_event(id, Event::LinkDown);
        }
    }

    /// Control said something.
    pub(crate) fn agent_hears(&mut self, id: NodeId, link: LinkId, wire: Wire) {
        match wire {
            Wire::ToAgent(message) => {
                self.agent_event(id, Event::Control(message));
            }
            _ => self.close_client_end(link),
        }
    }

    /// Hands an event to an agent's loop.
    pub(crate) fn agent_event(&mut self, id: NodeId, event: Event) {
        self.agent_input(id, AgentInput::Event(event));
    }

    /// Hands something to an agent's loop.
    pub(crate) fn agent_input(&mut self, id: NodeId, input: AgentInput) {
        let agent = &mut self.node_mut(id).agent;
        if agent.core.is_none() {
            return;
        }
        agent.inbox.push_back(input);
        self.run_agent(id);
    }

    /// Something came for a certain life of an agent.
    pub(crate) fn agent_told(&mut self, id: NodeId, life: Life, input: AgentInput) {
        if self.nodes[&id].agent.life == life {
            self.agent_input(id, input);
        }
    }

    /// The loop takes what waits, as long as no ledger is being written.
    fn run_agent(&mut self, id: NodeId) {
        loop {
            let now_us = self.now_us;
            let node = self.node_mut(id);
            let wall = node.wall_offset_ms;
            let agent = &mut node.agent;
            if agent.writing.is_some() {
                return;
            }
            let (Some(core), Some(clock)) = (&mut agent.core, agent.clock) else {
                return;
            };
            let Some(input) = agent.inbox.pop_front() else {
                return;
            };
            let event = match input {
                AgentInput::Event(event) => event,
                AgentInput::Incoming {
                    reception,
                    from,
                    volume,
                    epoch,
                } => {
                    agent.next_admission += 1;
                    let job = JobId(u64::MAX - agent.next_admission);
                    agent.admissions.insert(job, reception);
                    Event::Incoming {
                        job,
                        from,
                        volume,
                        epoch,
                    }
                }
            };
            if let Event::JobDone { job, .. } = &event {
                agent.jobs.remove(job);
            }
            if let Event::Control(_) = &event {
                agent.confirmed = true;
            }
            let output = core.step(clock.read(now_us, wall), event);
            self.agent_output(id, output);
        }
    }

    fn agent_output(&mut self, id: NodeId, output: Output) {
        let now_us = self.now_us;
        self.plan_tick(id);
        match output.ledger {
            None => self.carry_out_agent(id, output.commands),
            Some(ledger) => {
                let node = self.node_mut(id);
                let life = node.agent.life;
                node.agent.writing = Some((ledger, output.commands));
                let wait = node.disk_us(300, 3_000);
                self.queue.push(now_us + wait, What::AgentKept(id, life));
            }
        }
    }

    /// The ledger is durable.
    pub(crate) fn agent_kept(&mut self, id: NodeId, life: Life) {
        let full = {
            let node = self.node_mut(id);
            if node.agent.life != life {
                return;
            }
            node.disk_full()
        };
        if full {
            // "The agent cannot remember what it is told": it ends, and is started again.
            self.end_agent_process(id);
            return self.after(RESTART_US, What::AgentStart(id));
        }
        let node = self.node_mut(id);
        let Some((ledger, commands)) = node.agent.writing.take() else {
            return;
        };
        let old = std::mem::replace(&mut node.ledger, ledger);
        self.checks
            .ledger_kept(self.now_us, id, &old, &self.nodes[&id].ledger);
        self.carry_out_agent(id, commands);
        self.may_echo(id);
        self.run_agent(id);
    }

    fn carry_out_agent(&mut self, id: NodeId, commands: Vec<Command>) {
        for command in commands {
            match command {
                Command::Send(message) => {
                    if let Some(link) = self.nodes[&id].agent.link {
                        self.send(link, Direction::Up, Wire::Agent(message));
                    }
                }
                Command::Begin(job, work) => self.begin_job(id, job, work),
                Command::Cancel(job) => self.cancel_job(id, job),
                Command::Admit(job, answer) => self.admitted(id, job, answer),
                Command::Logs {
                    request,
                    service,
                    follow,
                    ..
                } => self.send_log(id, request, &service, follow),
                Command::LogsEnd { .. } => {}
            }
        }
    }

    fn begin_job(&mut self, id: NodeId, job: JobId, work: Job) {
        self.checks.job_begun(self.now_us, &self.nodes[&id], &work);
        self.trace
            .note(20, job.0, u64::from(self.nodes[&id].address.octets()[3]));
        let now_us = self.now_us;
        let node = self.node_mut(id);
        let life = node.agent.life;
        node.agent.jobs.insert(job, Running::new(work, now_us));
        let wait = node.rng.between(50, 500);
        self.after(wait, What::Job(id, life, job));
    }

    fn cancel_job(&mut self, id: NodeId, job: JobId) {
        let life = self.nodes[&id].agent.life;
        if let Some(work) = self.abandon_job(id, job) {
            let failure = Failure {
                message: "it was cancelled".to_owned(),
                retry: flocker_types::task::Retry::MayHelp,
            };
            let event = Event::JobDone {
                job,
                result: Err(failure),
            };
            self.tell_what_is_left(id, &work, 200);
            let input = Box::new(AgentInput::Event(event));
            self.after(200, What::AgentTold(id, life, input));
        }
    }

    fn admitted(&mut self, id: NodeId, job: JobId, answer: Result<VolumeLabel, Failure>) {
        let agent = &mut self.node_mut(id).agent;
        if let Some(reception) = agent.admissions.remove(&job) {
            self.reception_admitted(id, reception, answer);
        }
    }

    /// A short log, at once; one that is followed ends when the link does.
    fn send_log(&mut self, id: NodeId, request: u64, service: &ServiceId, follow: Follow) {
        let Some(link) = self.nodes[&id].agent.link else {
            return;
        };
        let line = LogLine {
            stream: LogStream::Stdout,
            text: service.to_string(),
        };
        let end = (follow == Follow::No).then_some(Ok(()));
        let message = AgentMessage::Log {
            request,
            lines: vec![line],
            end,
        };
        self.send(link, Direction::Up, Wire::Agent(message));
    }

    /// The loop wakes when its core asks for it, and a second after whatever came last.
    fn plan_tick(&mut self, id: NodeId) {
        let now_us = self.now_us;
        let node = self.node_mut(id);
        let wall = node.wall_offset_ms;
        let agent = &mut node.agent;
        let (Some(core), Some(clock)) = (&agent.core, agent.clock) else {
            return;
        };
        let now = clock.read(now_us, wall).monotonic;
        let regular = now.plus_ms(TICK_MS);
        let due = core.next_deadline().map_or(regular, |at| at.min(regular));
        agent.tick_at_us = clock.when(due).max(now_us);
        if agent.tick_at_us < agent.tick_event_us {
            agent.tick_event_us = agent.tick_at_us;
            let (at, life) = (agent.tick_at_us, agent.life);
            self.queue.push(at, What::AgentTick(id, life));
        }
    }

    /// It may be time to tell the core that time passes.
    pub(crate) fn agent_tick(&mut self, id: NodeId, life: Life) {
        let now_us = self.now_us;
        let agent = &mut self.node_mut(id).agent;
        if agent.life != life || agent.core.is_none() || agent.tick_event_us > now_us {
            return;
        }
        if agent.tick_at_us > now_us {
            agent.tick_event_us = agent.tick_at_us;
            let at = agent.tick_at_us;
            return self.queue.push(at, What::AgentTick(id, life));
        }
        if agent.writing.is_some() {
            // The loop is busy; it looks at the time when it comes round.
            agent.tick_event_us = now_us + 1_000;
            return self.after(1_000, What::AgentTick(id, life));
        }
        agent.tick_event_us = u64::MAX;
        let second = now_us / 1_000_000;
        agent.ticks = match agent.ticks {
            (of, count) if of == second => (of, count + 1),
            _ => (second, 1),
        };
        let count = agent.ticks.1;
        self.checks.agent_ticks(now_us, id, count);
        self.agent_event(id, Event::Tick);
    }

    /// The watcher follows the engine's events from now on; after the engine was away it tells what is
    /// there.
    pub(crate) fn watcher_looks(&mut self, id: NodeId, life: Life) {
        let now_us = self.now_us;
        let node = self.node_mut(id);
        if node.agent.life != life || node.agent.core.is_none() {
            return;
        }
        if !node.engine.up {
            return self.after(500_000, What::WatcherLooks(id, life));
        }
        let again = node.agent.watched_before;
        node.agent.watches = true;
        node.agent.watched_before = true;
        if !again {
            return;
        }
        let Some(containers) = node.engine.look(now_us, Some(life)) else {
            node.agent.watches = false;
            return self.after(500_000, What::WatcherLooks(id, life));
        };
        for seen in &containers {
            if seen.run == ContainerRunSeen::Running {
                self.expect_ready(id, &seen.service);
            }
        }
        let input = Box::new(AgentInput::Event(Event::Containers(containers)));
        let wait = self.node_mut(id).rng.between(10, 2_000);
        self.after(wait, What::AgentTold(id, life, input));
    }

    /// The engine says that a container ended. The watcher looks whether that is still so.
    pub(crate) fn watcher_hears(&mut self, id: NodeId, service: &ServiceId, code: i64) {
        let now_us = self.now_us;
        let node = self.node_mut(id);
        let life = node.agent.life;
        if !node.agent.watches {
            return;
        }
        let runs = node.engine.inspect_runs(service, now_us, life);
        if runs {
            return;
        }
        node.engine.forget_probe(service);
        let event = Event::Exited {
            service: service.clone(),
            code,
        };
        let wait = node.rng.between(10, 3_000);
        let input = Box::new(AgentInput::Event(event));
        self.after(wait, What::AgentTold(id, life, input));
    }
}
