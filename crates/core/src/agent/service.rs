//! One service on this node: from what the container does and what the directive wants to the next
//! job, and when a container that ended is started again.

mod news;

use super::fingerprint::fingerprint;
use super::{Agent, Command, ContainerRunSeen, Job, JobId, Owner};
use crate::mutant::{Mutant, planted};
use flocker_types::ids::{Generation, ServiceId};
use flocker_types::task::{
    ContainerSpec, ContainerState, Directive, Failure, Prepared, Retry, VolumeClaim, Want,
};
use flocker_types::time::Monotonic;

/// First wait before a container that ended is started again, in milliseconds; doubles each time.
const RESTART_DELAY_MS: u64 = 100;
/// Longest such wait, in milliseconds.
const RESTART_DELAY_MAX_MS: u64 = 60_000;
/// A container whose start failed for a reason that may pass is tried again after this, in
/// milliseconds.
const RETRY_DELAY_MS: u64 = 1_000;
/// Grace for a container of which nothing is known any more, in milliseconds (Docker's default).
const GRACE_DEFAULT_MS: u64 = 10_000;

/// A service as this node has it.
#[derive(Debug, Clone)]
pub(super) struct Service {
    /// What was last reported of it.
    pub(super) state: ContainerState,
    /// The newest directive that the state answers to.
    pub(super) acted_on: Generation,
    /// Earliest time of the next start; none when no start is due.
    pub(super) start_at: Option<Monotonic>,
    /// Earliest time at which a stop or a removal that failed is tried again.
    pub(super) retry_at: Option<Monotonic>,
    pub(super) container: Option<Container>,
    /// A task that was given since the last directive has made the container, so that this does not mean
    /// it: it waits for the one that will.
    prepared: bool,
    job: Option<(JobId, Doing)>,
    pub(super) doubt: Doubt,
    heard: Heard,
    /// What the start that is under way makes.
    starting: Option<Starting>,
    /// What a container is known by that does what the directive of this generation wants.
    wanted: Option<(Generation, String)>,
    /// Starts in a row that ended soon, or did not succeed: they make the waits longer.
    restarts: u32,
    /// Starts since the last directive that were made because the container had failed.
    retries: u32,
    run_began: Option<Monotonic>,
    stop_began: Option<Monotonic>,
    stop_ms: Option<u64>,
}

/// The container that the engine has.
#[derive(Debug, Clone)]
pub(super) struct Container {
    pub(super) fingerprint: String,
    pub(super) prepared: Prepared,
    pub(super) run: ContainerRunSeen,
    pub(super) ready: bool,
}

/// What the engine may have besides what it said: a call that failed, or that nobody waits for any more,
/// may be carried out all the same, and later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Doubt {
    None,
    /// A container may have been made.
    MayExist,
    /// It was said to have ended. That may be late news of a run before: whoever needs it to be at rest
    /// stops it.
    SaidEnded,
    /// It may run, or be about to: only a stop that succeeded tells.
    MayRun,
}

/// Whether a container was said to have ended while one was being started. That may be late news of
/// the one before, or the new one has ended already; until that is known it counts as running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heard {
    Nothing,
    Ended,
    /// The start is being repeated to find out: it does nothing to a container that runs.
    Asking,
}

/// A container from the moment its start begins: the engine may speak of it before the start is over,
/// and the directive may ask for another by then.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Starting {
    fingerprint: String,
    /// It was said to be ready.
    ready: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    Run,
    Stop,
    Remove,
}

impl Default for Service {
    fn default() -> Self {
        Self {
            state: super::nothing(),
            acted_on: Generation::default(),
            start_at: None,
            retry_at: None,
            container: None,
            prepared: false,
            job: None,
            doubt: Doubt::None,
            heard: Heard::Nothing,
            starting: None,
            wanted: None,
            restarts: 0,
            retries: 0,
            run_began: None,
            stop_began: None,
            stop_ms: None,
        }
    }
}

impl Service {
    /// A new directive: whatever was given up is tried anew.
    pub(super) fn directed(&mut self) {
        self.prepared = false;
        self.restarts = 0;
        self.retries = 0;
        self.start_at = Some(Monotonic::default());
        self.retry_at = None;
        self.stop_ms = None;
    }

    /// It is known now what its container does: there is nothing to ask, unless that goes on.
    pub(super) fn looked_at(&mut self) {
        if self.job.is_none() {
            self.heard = Heard::Nothing;
        }
    }

    /// Whether it has to be stopped to be at rest.
    fn may_run(&self) -> bool {
        self.runs() || self.doubt >= Doubt::SaidEnded
    }

    pub(super) fn may_exist(&self) -> bool {
        self.container.is_some() || self.doubt != Doubt::None
    }

    /// Whether there is nothing to do and nothing to say, seen without looking closely: this is asked
    /// of every service at every event.
    fn runs_as_told(&self, directive: &Directive) -> bool {
        let Some((generation, wanted)) = &self.wanted else {
            return false;
        };
        let Some(container) = &self.container else {
            return false;
        };
        let told = match &self.state {
            ContainerState::Running { .. } => container.ready,
            ContainerState::Starting | ContainerState::Unhealthy { .. } => !container.ready,
            _ => false,
        };
        told && *generation == directive.generation
            && self.acted_on == directive.generation
            && matches!(directive.want, Want::Run { .. })
            && self.doubt != Doubt::MayRun
            && self.heard != Heard::Asking
            && container.run == ContainerRunSeen::Running
            && container.fingerprint == *wanted
    }

    fn runs(&self) -> bool {
        self.container
            .as_ref()
            .is_some_and(|c| c.run == ContainerRunSeen::Running)
    }
}

impl Agent {
    pub(super) fn drive_service(&mut self, id: &ServiceId) {
        let Some(directive) = self.ledger.directives.get(id) else {
            return;
        };
        let Some(service) = self.services.get(id) else {
            return;
        };
        if service.job.is_some()
            || service.retry_at.is_some_and(|at| at > self.now.monotonic)
            || service.runs_as_told(directive)
        {
            return;
        }
        let directive = directive.clone();
        match &directive.want {
            Want::Run { container, volumes } => self.drive_run(id, &directive, container, volumes),
            Want::Stopped if service.may_run() => self.begin_stop(id),
            Want::Stopped => self.settle(id, directive.generation),
            Want::Absent if service.may_run() => self.begin_stop(id),
            Want::Absent if service.may_exist() && !service.prepared => {
                let job = Job::RemoveContainer {
                    service: id.clone(),
                };
                self.begin_for(id, Doing::Remove, job);
            }
            Want::Absent => self.settle(id, directive.generation),
        }
    }

    fn drive_run(
        &mut self,
        id: &ServiceId,
        directive: &Directive,
        container: &ContainerSpec,
        volumes: &[VolumeClaim],
    ) {
        let fingerprint = self.wanted_fingerprint(id, directive.generation, container);
        let may_start = volumes.is_empty() || self.confirmed || planted(Mutant::StartedUnconfirmed);
        let now = self.now.monotonic;
        let Some(service) = self.services.get(id) else {
            return;
        };
        if service.doubt == Doubt::MayRun {
            return self.begin_stop(id);
        }
        let container_is = service.container.as_ref().map(|c| &c.fingerprint);
        if service.runs() && container_is != Some(&fingerprint) {
            return self.begin_stop(id);
        }
        if service.runs() && service.heard != Heard::Asking {
            return self.settle(id, directive.generation);
        }
        let due = service.heard == Heard::Asking || service.start_at.is_some_and(|at| at <= now);
        if !due || !may_start {
            return;
        }
        let Some(address) = self.address_of(id) else {
            let message = "every container address of this node is taken".to_owned();
            let failure = Failure {
                message,
                retry: Retry::Pointless,
            };
            return self.set_state(id, directive.generation, ContainerState::Failed(failure));
        };
        let job = Job::Run {
            service: id.clone(),
            container: Box::new(container.clone()),
            address,
            fingerprint: fingerprint.clone(),
            volumes: volumes.to_vec(),
        };
        if let Some(service) = self.services.get_mut(id) {
            service.start_at = None;
            let ready = false;
            service.starting = Some(Starting { fingerprint, ready });
            if service.heard == Heard::Asking {
                return self.begin_for(id, Doing::Run, job);
            }
            service.run_began = Some(now);
            if let Some(container) = &mut service.container {
                container.run = ContainerRunSeen::Created;
                container.ready = false;
            }
        }
        self.begin_for(id, Doing::Run, job);
        self.set_state(id, directive.generation, ContainerState::Starting);
    }

    fn wanted_fingerprint(
        &mut self,
        id: &ServiceId,
        generation: Generation,
        container: &ContainerSpec,
    ) -> String {
        let service = self.services.entry(id.clone()).or_default();
        match &service.wanted {
            Some((of, known)) if *of == generation => known.clone(),
            _ => {
                let wanted = fingerprint(container);
                service.wanted = Some((generation, wanted.clone()));
                wanted
            }
        }
    }

    fn begin_for(&mut self, id: &ServiceId, doing: Doing, job: Job) {
        let job = self.begin(Owner::Service(id.clone()), job);
        if let Some(service) = self.services.get_mut(id) {
            service.job = Some((job, doing));
        }
    }

    fn begin_stop(&mut self, id: &ServiceId) {
        let grace_ms = self
            .ledger
            .stop_grace_ms
            .get(id)
            .copied()
            .unwrap_or(GRACE_DEFAULT_MS);
        let now = self.now.monotonic;
        if let Some(service) = self.services.get_mut(id) {
            service.stop_began = Some(now);
        }
        self.begin_for(
            id,
            Doing::Stop,
            Job::Stop {
                service: id.clone(),
                grace_ms,
            },
        );
    }

    /// Reports what is, as the answer to the directive of this generation.
    fn settle(&mut self, id: &ServiceId, generation: Generation) {
        let wall = self.wall();
        let Some(service) = self.services.get(id) else {
            return;
        };
        let state = match &service.container {
            None => ContainerState::Absent,
            Some(container) => match (&container.run, container.ready) {
                (ContainerRunSeen::Created, _) => ContainerState::Created,
                (ContainerRunSeen::Exited { code }, _) => ContainerState::Stopped {
                    exit_code: *code,
                    stop_ms: service.stop_ms,
                },
                (ContainerRunSeen::Running, false) => match &service.state {
                    ContainerState::Unhealthy { message } => ContainerState::Unhealthy {
                        message: message.clone(),
                    },
                    _ => ContainerState::Starting,
                },
                (ContainerRunSeen::Running, true) => match &service.state {
                    running @ ContainerState::Running { .. } => running.clone(),
                    _ => ContainerState::Running {
                        prepared: container.prepared.clone(),
                        start_ms: service
                            .run_began
                            .map(|began| self.now.monotonic.since_ms(began)),
                        since: wall,
                    },
                },
            },
        };
        self.set_state(id, generation, state);
    }

    fn set_state(&mut self, id: &ServiceId, generation: Generation, state: ContainerState) {
        let Some(service) = self.services.get_mut(id) else {
            return;
        };
        if service.state == state && service.acted_on == generation {
            return;
        }
        service.state = state;
        service.acted_on = generation;
        self.report_service(id);
    }

    /// Under whatever directive it last acted on.
    fn change_state(&mut self, id: &ServiceId, state: ContainerState) {
        if let Some(generation) = self.services.get(id).map(|service| service.acted_on) {
            self.set_state(id, generation, state);
        }
    }

    /// A container was made ready to start.
    pub(super) fn container_prepared(
        &mut self,
        id: &ServiceId,
        prepared: &Prepared,
        fingerprint: String,
        given_under: Option<Generation>,
    ) {
        let present = self.present_generation(id);
        let service = self.services.entry(id.clone()).or_default();
        if service.runs() {
            return;
        }
        service.prepared = given_under == present;
        service.container = Some(Container {
            fingerprint,
            prepared: prepared.clone(),
            run: ContainerRunSeen::Created,
            ready: false,
        });
    }

    /// Ends what a service's job does; its end comes as an event.
    pub(super) fn cancel(&mut self, job: JobId) {
        self.commands.push(Command::Cancel(job));
    }
}

fn backoff_ms(restarts: u32) -> u64 {
    RESTART_DELAY_MS
        .saturating_mul(1 << restarts.min(20))
        .min(RESTART_DELAY_MAX_MS)
}
