//! The agent's core: what one node does next.
//!
//! It brings each service into the state that its newest directive says (`service.rs`) and does the
//! tasks that control gives it (`task.rs`). What it was told is in its [`Ledger`], which its shell
//! makes durable before anything follows from it.
//!
//! Called by the agent's shell alone. It never decides who holds a volume or where a service runs.

mod addresses;
mod event;
pub(crate) mod fingerprint;
mod found;
mod ledger;
mod memory;
#[cfg(test)]
mod prepared_test;
mod service;
mod task;
#[cfg(test)]
mod usage_test;

pub use event::{
    Command, ContainerRunSeen, ContainerSeen, Event, Job, JobId, JobOutcome, Output, Start,
};
pub use ledger::{Grant, Ledger};

use crate::cluster::{Network, usage};
use crate::mutant::{Mutant, planted};
use flocker_types::ids::{Epoch, NodeId, ServiceId, TaskId, VolumeId};
use flocker_types::link::{AgentHello, AgentMessage, ToAgent};
use flocker_types::task::{
    ContainerState, CopiedVolume, Directive, Failure, Retry, ServiceStatus, TaskOutcome, Want,
};
use flocker_types::time::{Monotonic, Now, UnixMs};
use flocker_types::volume::{Role, Snapshot, VolumeCopy, VolumeLabel};
use found::Found;
use service::Service;
use std::collections::BTreeMap;
use task::TaskEntry;

/// The state machine of `flocker agent`.
#[derive(Debug, Clone)]
pub struct Agent {
    hello: AgentHello,
    network: Network,
    ledger: Ledger,
    ledger_changed: bool,
    /// Control has spoken since this process began, so it knows the present epochs (invariant
    /// *start-after-confirm*).
    confirmed: bool,
    services: BTreeMap<ServiceId, Service>,
    volumes: BTreeMap<VolumeId, VolumeCopy>,
    tasks: BTreeMap<TaskId, TaskEntry>,
    jobs: BTreeMap<JobId, Owner>,
    next_job: u64,
    now: Now,
    commands: Vec<Command>,
}

/// Whose job it is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Owner {
    Service(ServiceId),
    Task(TaskId),
}

impl Agent {
    /// An agent whose process has just started, and what it does first.
    pub fn new(now: Now, start: Start) -> (Self, Output) {
        let rebooted = start.ledger.boot != Some(start.boot);
        let mut agent = Self {
            hello: start.hello,
            network: start.container_network,
            ledger: start.ledger,
            ledger_changed: rebooted,
            confirmed: false,
            services: BTreeMap::new(),
            volumes: start
                .volumes
                .into_iter()
                .map(|copy| (copy.label.id, copy))
                .collect(),
            tasks: BTreeMap::new(),
            jobs: BTreeMap::new(),
            next_job: 0,
            now,
            commands: Vec::new(),
        };
        agent.ledger.boot = Some(start.boot);
        let found = if rebooted {
            Found::AfterReboot
        } else {
            Found::AtStart
        };
        agent.found(start.containers, found);
        let output = agent.finish();
        (agent, output)
    }

    /// When the next tick is needed at the latest; none when only events matter.
    pub fn next_deadline(&self) -> Option<Monotonic> {
        let later = |at: &Monotonic| *at > self.now.monotonic;
        let times = |service: &Service| service.start_at.into_iter().chain(service.retry_at);
        self.services.values().flat_map(times).filter(later).min()
    }

    /// Takes one event and says what follows from it.
    pub fn step(&mut self, now: Now, event: Event) -> Output {
        assert!(now.monotonic >= self.now.monotonic, "time went back");
        self.now = now;
        match event {
            Event::LinkUp => self.greet(),
            Event::LinkDown | Event::Tick => {}
            Event::Control(message) => self.told(message),
            Event::JobDone { job, result } => self.job_done(job, result),
            Event::JobProgress { job, progress } => {
                if let Some(Owner::Task(id)) = self.jobs.get(&job) {
                    let id = *id;
                    self.send(AgentMessage::Progress { id, progress });
                }
            }
            Event::Ready { service } => self.container_ready(&service),
            Event::Unhealthy { service, message } => self.container_unhealthy(&service, message),
            Event::Exited { service, code } => self.container_exited(&service, code),
            Event::Containers(containers) => self.found(containers, Found::AfterEngine),
            Event::Volume(copy) => self.volume_is(copy),
            Event::VolumeUsed { volume, used_bytes } => self.volume_used(volume, used_bytes),
            Event::Pool(pool) => {
                self.hello.pool = pool;
                self.send(AgentMessage::Pool(pool));
            }
            Event::Incoming {
                job,
                from,
                volume,
                epoch,
            } => {
                let answer = self.admit(from, volume, epoch);
                self.commands.push(Command::Admit(job, answer));
            }
        }
        self.finish()
    }

    /// Drives everything as far as it goes.
    fn finish(&mut self) -> Output {
        let services: Vec<ServiceId> = self.services.keys().cloned().collect();
        for id in &services {
            self.drive_service(id);
        }
        self.begin_tasks();
        let ledger = std::mem::take(&mut self.ledger_changed).then(|| self.ledger.clone());
        Output {
            ledger,
            commands: std::mem::take(&mut self.commands),
        }
    }

    fn send(&mut self, message: AgentMessage) {
        self.commands.push(Command::Send(message));
    }

    fn begin(&mut self, owner: Owner, job: Job) -> JobId {
        self.next_job += 1;
        let id = JobId(self.next_job);
        self.jobs.insert(id, owner);
        self.commands.push(Command::Begin(id, job));
        id
    }

    /// Who and what is here.
    pub fn hello(&self) -> AgentHello {
        let mut hello = self.hello.clone();
        hello.volumes = self.volumes.values().cloned().collect();
        hello.services = self
            .services
            .iter()
            .map(|(id, service)| service.status(id))
            .collect();
        hello
    }

    /// Says who and what is here, and everything that control may have missed.
    fn greet(&mut self) {
        let hello = self.hello();
        self.send(AgentMessage::Hello(Box::new(hello)));
        let reports: Vec<_> = self
            .tasks
            .values()
            .filter_map(|task| task.report.clone())
            .filter(|_| !planted(Mutant::ReportSaidOnce))
            .collect();
        for report in reports {
            self.send(AgentMessage::Task(report));
        }
    }

    fn told(&mut self, message: ToAgent) {
        match message {
            ToAgent::Welcome { directives } => {
                self.confirmed = true;
                directives
                    .into_iter()
                    .for_each(|directive| self.directed(directive));
            }
            ToAgent::Directive(directive) => {
                self.confirmed = true;
                self.directed(directive);
            }
            ToAgent::Task(task) => self.task_given(task),
            ToAgent::Cancel(id) => self.task_cancelled(id),
            ToAgent::Recorded(id) => drop(self.tasks.remove(&id)),
            ToAgent::Recall => {
                let memory = self.memory();
                self.send(AgentMessage::Memory(Box::new(memory)));
            }
            ToAgent::Logs {
                request,
                service,
                tail,
                follow,
            } => {
                self.commands.push(Command::Logs {
                    request,
                    service,
                    tail,
                    follow,
                });
            }
            ToAgent::LogsEnd { request } => self.commands.push(Command::LogsEnd { request }),
            // Certificates are the shell's business.
            ToAgent::Access(_) | ToAgent::Heartbeat => {}
        }
    }

    /// A directive is in force unless a newer one is (invariant *stale-rejected*).
    fn directed(&mut self, directive: Directive) {
        let known = self.ledger.directives.get(&directive.service);
        let old = known.is_some_and(|known| known.generation >= directive.generation);
        if old && !planted(Mutant::OldDirectiveObeyed) {
            return;
        }
        let id = directive.service.clone();
        if let Want::Run { container, volumes } = &directive.want {
            self.ledger
                .stop_grace_ms
                .insert(id.clone(), container.spec.stop_grace_ms);
            for claim in volumes
                .iter()
                .filter(|_| !planted(Mutant::GrantNotWithdrawn))
            {
                self.ledger.grants.remove(&claim.label.id);
            }
        }
        let stops = directive.want == Want::Stopped;
        let before = self.ledger.directives.insert(id.clone(), directive);
        match before.filter(|before| matches!(before.want, Want::Run { .. })) {
            Some(run) if stops => drop(self.ledger.stopped.insert(id.clone(), run)),
            _ if stops => {}
            _ => drop(self.ledger.stopped.remove(&id)),
        }
        self.ledger_changed |= !planted(Mutant::DirectiveNotKept);
        self.services.entry(id).or_default().directed();
    }

    /// A copy is so now. How much it uses is measured on its own, so that a copy often comes without.
    fn volume_is(&mut self, copy: VolumeCopy) {
        let known = self.volumes.get(&copy.label.id);
        let used_bytes = copy.used_bytes.or(known.and_then(|known| known.used_bytes));
        let copy = VolumeCopy { used_bytes, ..copy };
        self.volumes.insert(copy.label.id, copy.clone());
        self.send(AgentMessage::Volume(copy));
    }

    fn volume_used(&mut self, volume: VolumeId, used_bytes: u64) {
        let Some(copy) = self.volumes.get_mut(&volume) else {
            return;
        };
        if copy.role == Role::Holder && usage::is_news(copy.used_bytes, used_bytes) {
            copy.used_bytes = Some(used_bytes);
            let copy = copy.clone();
            self.send(AgentMessage::Volume(copy));
        }
    }

    /// Only the node that control named may send, only in the epoch that it named, and never over
    /// a volume that is written here.
    fn admit(&self, from: NodeId, volume: VolumeId, epoch: Epoch) -> Result<VolumeLabel, Failure> {
        let refuse = |message: String| {
            Err(Failure {
                message,
                retry: Retry::Pointless,
            })
        };
        let Some(grant) = self.ledger.grants.get(&volume) else {
            return refuse(format!(
                "nobody is expected to send volume {}",
                volume.short()
            ));
        };
        let other_epoch = grant.epoch != epoch && !planted(Mutant::OldEpochReceived);
        if grant.source != from || other_epoch {
            return refuse(format!(
                "volume {} is expected from node {} in epoch {}, not from {from} in epoch {epoch}",
                volume.short(),
                grant.source,
                grant.epoch
            ));
        }
        if self
            .volumes
            .get(&volume)
            .is_some_and(|copy| copy.role == Role::Holder)
        {
            return refuse(format!("volume {} is held here", volume.short()));
        }
        Ok(grant.label.clone())
    }

    /// Services whose containers may be writing a volume.
    fn writer_of(&self, volume: VolumeId) -> Option<&ServiceId> {
        let writes = |want: &Want| match want {
            Want::Run { volumes, .. } => volumes.iter().any(|claim| claim.label.id == volume),
            Want::Stopped | Want::Absent => false,
        };
        self.ledger
            .directives
            .values()
            .find(|d| writes(&d.want))
            .map(|d| &d.service)
    }

    fn job_done(&mut self, job: JobId, result: Result<JobOutcome, Failure>) {
        if let Ok(outcome) = &result {
            self.fold_volumes(outcome);
        }
        match self.jobs.remove(&job) {
            Some(Owner::Service(id)) => self.service_job_done(&id, result),
            Some(Owner::Task(id)) => self.task_job_done(id, result),
            None => {}
        }
    }

    fn fold_volumes(&mut self, outcome: &JobOutcome) {
        match outcome {
            JobOutcome::Volumes(volumes) | JobOutcome::Running { volumes, .. } => {
                for mut copy in volumes.clone() {
                    // A start looks at its volumes when it begins. One that is still held as it was
                    // may have had snapshots taken and deleted since, which were told.
                    let known = self.volumes.get(&copy.label.id);
                    if let (JobOutcome::Running { .. }, Some(known)) = (outcome, known)
                        && (known.role, known.label.epoch) == (copy.role, copy.label.epoch)
                    {
                        copy.snapshots.clone_from(&known.snapshots);
                    }
                    let same = self.volumes.get(&copy.label.id).is_some_and(|known| {
                        let used_bytes = copy.used_bytes.or(known.used_bytes);
                        let copy = VolumeCopy {
                            used_bytes,
                            ..copy.clone()
                        };
                        *known == copy
                    });
                    if !same {
                        self.volume_is(copy);
                    }
                }
            }
            JobOutcome::Task(TaskOutcome::Copied { volumes }) => self.snapshots_taken(volumes),
            JobOutcome::Gone(id) => {
                self.volumes.remove(id);
                self.send(AgentMessage::VolumeGone { volume: *id });
            }
            _ => {}
        }
    }

    /// What was sent was a snapshot here first. Control has to know: what both sides have is what the
    /// next delta builds on.
    fn snapshots_taken(&mut self, copied: &[CopiedVolume]) {
        for sent in copied {
            let Some(mut copy) = self.volumes.get(&sent.volume).cloned() else {
                continue;
            };
            if copy
                .snapshots
                .iter()
                .any(|known| known.name == sent.snapshot)
            {
                continue;
            }
            copy.snapshots.push(Snapshot {
                name: sent.snapshot.clone(),
                checksum: None,
                created: self.now.wall,
            });
            self.volume_is(copy);
        }
    }

    fn report_service(&mut self, id: &ServiceId) {
        if let Some(service) = self.services.get(id) {
            let status = service.status(id);
            self.send(AgentMessage::Service(status));
        }
    }

    fn wall(&self) -> UnixMs {
        self.now.wall
    }
}

/// A state without any container.
fn nothing() -> ContainerState {
    ContainerState::Absent
}

impl Service {
    fn status(&self, id: &ServiceId) -> ServiceStatus {
        ServiceStatus {
            service: id.clone(),
            generation: self.acted_on,
            state: self.state.clone(),
        }
    }
}
