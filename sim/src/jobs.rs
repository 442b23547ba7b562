//! Jobs: what an agent's core asks for, carried out as `crates/agent/src/jobs` does, step by step.
//!
//! Between any two steps the process may die or stand still. A step on the pool that was under way
//! when its process died has happened or has not; a call to the engine is carried out all the same.

mod preparing;

use crate::agent_process::AgentInput;
use crate::copying::CopyState;
use crate::engine::{Call, ContainerRequest, Grace};
use crate::event::{Life, What};
use crate::pool::{passing, pointless};
use crate::world::World;
use flocker_core::agent::{ContainerRunSeen, Event, Job, JobId, JobOutcome};
use flocker_types::ids::{NodeId, ServiceId, VolumeId};
use flocker_types::task::{ContainerSpec, Failure, VolumeClaim};
use flocker_types::volume::VolumeCopy;
use preparing::{image_of, name_of, prepared};
use std::net::Ipv4Addr;

/// A call to the engine that changes something may take this long, in microseconds.
const CHANGE_US_MAX: u64 = 60_000_000;
/// Beyond its grace time a container may take this long to stop, in microseconds.
const STOP_US_MAX: u64 = 45_000_000;
/// A volume on which something else works is tried again after this, in microseconds.
const LOCKED_RETRY_US: u64 = 20_000;

/// How far a job is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Stage {
    Begin,
    /// The pool works on the volume of this number.
    Disk(usize),
    Image,
    Fetch,
    Create,
    Calling(u64, u64),
}

/// A job under way.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) work: Job,
    stage: Stage,
    next: Next,
    locked: Option<VolumeId>,
    volumes: Vec<VolumeCopy>,
    pub(crate) copy: CopyState,
}

/// What comes after a call to the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Start,
    End,
}

/// What a step of a job leads to.
pub(crate) enum Step {
    /// Another step after so many microseconds.
    Wait(u64),
    /// It is over.
    Done(Result<JobOutcome, Failure>),
}

impl Running {
    pub(crate) fn new(work: Job, now_us: u64) -> Self {
        Self {
            work,
            stage: Stage::Begin,
            next: Next::End,
            locked: None,
            volumes: Vec::new(),
            copy: CopyState::new(now_us),
        }
    }
}

fn failed(failure: Failure) -> Step {
    Step::Done(Err(failure))
}

impl World {
    /// A job goes on.
    pub(crate) fn job_step(&mut self, id: NodeId, life: Life, job: JobId) {
        let node = self.node_mut(id);
        if node.agent.life != life {
            return;
        }
        let Some(mut running) = node.agent.jobs.remove(&job) else {
            return;
        };
        let step = self.next_step(id, &mut running);
        let node = self.node_mut(id);
        match step {
            Step::Wait(us) => {
                node.agent.jobs.insert(job, running);
                self.after(us, What::Job(id, life, job));
            }
            Step::Done(result) => {
                if let Some(volume) = running.locked.take() {
                    node.pool.unlock(volume);
                }
                if let Err(failure) = &result {
                    let text = failure.message.clone();
                    let name = node.name.clone();
                    let what = name_of(&running.work);
                    self.trace
                        .say(self.now_us, || format!("on {name}, {what} failed: {text}"));
                }
                let wait = self.node_mut(id).rng.between(20, 1_500);
                if result.is_err() {
                    self.tell_what_is_left(id, &running.work, wait);
                }
                let event = Event::JobDone { job, result };
                let input = Box::new(AgentInput::Event(event));
                self.after(wait, What::AgentTold(id, life, input));
            }
        }
    }

    /// Stops a job where it is and says what it was, if there is one. What the pool works on is finished.
    pub(crate) fn abandon_job(&mut self, id: NodeId, job: JobId) -> Option<Job> {
        let running = self.node_mut(id).agent.jobs.remove(&job)?;
        self.close_transfer(&running);
        if let Some(volume) = running.locked {
            if matches!(running.stage, Stage::Disk(_)) {
                drop(self.on_pool(id, &running.work));
            }
            self.finish_snapshot(id, &running);
            self.node_mut(id).pool.unlock(volume);
        }
        Some(running.work)
    }

    /// The process that did these jobs has died: each step on the pool has happened or has not.
    pub(crate) fn interrupt_jobs(&mut self, id: NodeId) {
        let jobs = std::mem::take(&mut self.node_mut(id).agent.jobs);
        for running in jobs.into_values() {
            self.close_transfer(&running);
            if running.locked.is_some() && self.node_mut(id).rng.chance(500) {
                self.finish_snapshot(id, &running);
            }
            if let Stage::Disk(index) = running.stage
                && self.node_mut(id).rng.chance(500)
            {
                match &running.work {
                    Job::Run { volumes, .. } => {
                        if let Some(claim) = volumes.get(index).cloned() {
                            drop(self.claim(id, &claim));
                        }
                    }
                    work => drop(self.on_pool(id, work)),
                }
            }
        }
    }

    fn next_step(&mut self, id: NodeId, running: &mut Running) -> Step {
        if let Stage::Calling(call, limit_us) = running.stage {
            return self.called(id, running, call, limit_us);
        }
        match running.work.clone() {
            Job::CreateVolume { label } => self.storage_step(id, running, label.id),
            Job::Demote { volume, .. } | Job::Prune { volume, .. } | Job::Destroy { volume } => {
                self.storage_step(id, running, volume)
            }
            Job::Prepare { .. } => self.prepare_step(id, running),
            Job::Run { volumes, .. } => self.run_step(id, running, &volumes),
            Job::Stop { service, grace_ms } => {
                self.node_mut(id).engine.forget_probe(&service);
                let grace_us = grace_ms.saturating_mul(1_000);
                let rng = &mut self.node_mut(id).rng;
                let (grace, takes) = if rng.chance(950) {
                    (Grace::Heeds, rng.between(3_000, 300_000))
                } else {
                    (Grace::Ignores, grace_us)
                };
                let limit = grace_us + STOP_US_MAX;
                self.call(
                    id,
                    running,
                    Call::Stop(service, grace),
                    takes.min(grace_us),
                    limit,
                )
            }
            Job::RemoveContainer { service } => {
                let takes = self.node_mut(id).rng.between(5_000, 80_000);
                self.call(id, running, Call::Remove(service), takes, CHANGE_US_MAX)
            }
            Job::Copy {
                volumes,
                target,
                stall_limit_ms,
                ..
            } => self.copy_step(id, running, &volumes, target.node, stall_limit_ms),
        }
    }

    /// A volume's lock, then the disk's time.
    pub(crate) fn lock(
        &mut self,
        id: NodeId,
        running: &mut Running,
        volume: VolumeId,
    ) -> Option<u64> {
        let node = self.node_mut(id);
        if !node.pool.lock(volume) {
            return None;
        }
        running.locked = Some(volume);
        Some(node.disk_us(2_000, 25_000))
    }

    pub(crate) fn unlock(&mut self, id: NodeId, running: &mut Running) {
        if let Some(volume) = running.locked.take() {
            self.node_mut(id).pool.unlock(volume);
        }
    }

    fn storage_step(&mut self, id: NodeId, running: &mut Running, volume: VolumeId) -> Step {
        if running.stage == Stage::Begin {
            return match self.lock(id, running, volume) {
                None => Step::Wait(LOCKED_RETRY_US),
                Some(wait) => {
                    running.stage = Stage::Disk(0);
                    Step::Wait(wait)
                }
            };
        }
        let result = self.on_pool(id, &running.work);
        self.unlock(id, running);
        Step::Done(result)
    }

    /// What a job does to the pool, at once.
    fn on_pool(&mut self, id: NodeId, work: &Job) -> Result<JobOutcome, Failure> {
        let now = self.now_us;
        let node = self.nodes.get_mut(&id).expect("a node");
        match work {
            Job::CreateVolume { label } => {
                let fresh = !node.pool.volumes.contains_key(&label.id);
                let copy = node.pool.create(label)?;
                if fresh {
                    self.checks.created(now, id, label);
                }
                Ok(JobOutcome::Volumes(vec![copy]))
            }
            Job::Demote {
                volume,
                epoch,
                head,
            } => {
                let held_in = node.pool.existing(*volume)?.label.epoch;
                let tail = node.pool.demote(*volume, *epoch, head)?;
                self.checks.demoted(
                    now,
                    node,
                    *volume,
                    held_in,
                    tail.as_deref().map(Vec::as_slice),
                );
                Ok(JobOutcome::Volumes(vec![
                    node.pool.existing(*volume)?.copy(),
                ]))
            }
            Job::Prune { volume, delete } => {
                let gone = node.pool.prune(*volume, delete)?;
                let copy = node.pool.existing(*volume)?.copy();
                self.checks
                    .pruned(now, id, *volume, &gone, &self.nodes, &self.control.store);
                Ok(JobOutcome::Volumes(vec![copy]))
            }
            Job::Destroy { volume } => {
                self.checks.destroyed(now, id, *volume, &self.nodes);
                self.node_mut(id).pool.destroy(*volume)?;
                Ok(JobOutcome::Gone(*volume))
            }
            _ => Ok(JobOutcome::Done),
        }
    }

    /// Makes this node the holder of a volume, or sees that it is.
    fn claim(&mut self, id: NodeId, claim: &VolumeClaim) -> Result<VolumeCopy, Failure> {
        let now = self.now_us;
        let volume = claim.label.id;
        let node = self.nodes.get_mut(&id).expect("a node");
        let stored = node.pool.existing(volume)?;
        let goes_on = claim.head.is_none() && stored.label.epoch < claim.label.epoch;
        if stored.live.is_some() && (stored.label.epoch == claim.label.epoch || goes_on) {
            node.pool.set_label(&claim.label)?;
        } else {
            let Some(head) = &claim.head else {
                return Err(pointless("the volume was to be held here and is not"));
            };
            if node.pool.promote(&claim.label, head)? {
                let content = node.pool.existing(volume)?.content_at(head);
                let name = node.name.clone();
                self.trace
                    .say(now, || format!("{name} holds {} now", claim.label.name));
                self.checks.promoted(
                    now,
                    id,
                    claim,
                    content.as_deref().map(Vec::as_slice),
                    &self.nodes,
                );
            }
        }
        let node = self.nodes.get_mut(&id).expect("a node");
        Ok(node.pool.existing(volume)?.copy())
    }

    fn run_step(&mut self, id: NodeId, running: &mut Running, claims: &[VolumeClaim]) -> Step {
        match running.stage {
            Stage::Begin => self.next_claim(id, running, claims, 0),
            Stage::Disk(index) => {
                let Some(claim) = claims.get(index) else {
                    return Step::Wait(0);
                };
                let claimed = self.claim(id, claim);
                self.unlock(id, running);
                match claimed {
                    Ok(copy) => running.volumes.push(copy),
                    Err(failure) => return failed(failure),
                }
                running.stage = Stage::Begin;
                self.next_claim(id, running, claims, index + 1)
            }
            Stage::Create => {
                let request = match self.request(id, &running.work) {
                    Ok(request) => request,
                    Err(failure) => return failed(failure),
                };
                let (service, request) = request;
                running.next = Next::Start;
                let takes = self.node_mut(id).rng.between(10_000, 120_000);
                let call = Call::Create(service, Box::new(request));
                self.call(id, running, call, takes, CHANGE_US_MAX)
            }
            _ => failed(pointless("a run has no such stage")),
        }
    }

    fn next_claim(
        &mut self,
        id: NodeId,
        running: &mut Running,
        claims: &[VolumeClaim],
        index: usize,
    ) -> Step {
        // The volumes that are done are counted by what was collected.
        let index = index.max(running.volumes.len());
        let Some(claim) = claims.get(index) else {
            running.stage = Stage::Create;
            return Step::Wait(500);
        };
        match self.lock(id, running, claim.label.id) {
            None => Step::Wait(LOCKED_RETRY_US),
            Some(wait) => {
                running.stage = Stage::Disk(index);
                Step::Wait(wait)
            }
        }
    }

    /// What the engine is asked to make; the image and the volumes have to be here.
    fn request(
        &mut self,
        id: NodeId,
        work: &Job,
    ) -> Result<(ServiceId, ContainerRequest), Failure> {
        let (service, container, address, fingerprint) = wish(work)?;
        let node = self.node_mut(id);
        if !node.engine.up {
            return Err(passing("the container engine does not answer"));
        }
        let image_id = image_of(container);
        if !node.engine.images.contains(&image_id) {
            return Err(pointless(format!(
                "the image {image_id} is not on this node"
            )));
        }
        for volume in &container.volumes {
            if node.pool.existing(*volume)?.live.is_none() {
                return Err(pointless("this node has a replica of the volume"));
            }
        }
        let request = ContainerRequest {
            spec: container.clone(),
            address,
            fingerprint: fingerprint.to_owned(),
            image_id,
        };
        Ok((service.clone(), request))
    }

    fn call(
        &mut self,
        id: NodeId,
        running: &mut Running,
        call: Call,
        takes_us: u64,
        limit_us: u64,
    ) -> Step {
        let now = self.now_us;
        let node = self.node_mut(id);
        if !node.engine.up {
            return failed(passing("the container engine does not answer"));
        }
        let (number, done_us) = node.engine.ask(call, now, takes_us);
        let engine_life = node.engine.life;
        self.queue
            .push(done_us, What::Engine(id, engine_life, number));
        running.stage = Stage::Calling(number, now + limit_us);
        Step::Wait((done_us - now).min(limit_us) + 1)
    }

    /// The engine may have answered.
    fn called(&mut self, id: NodeId, running: &mut Running, call: u64, limit_us: u64) -> Step {
        let now = self.now_us;
        let engine = &mut self.node_mut(id).engine;
        let Some(result) = engine.results.remove(&call) else {
            if now < limit_us {
                return Step::Wait((limit_us - now).min(10_000));
            }
            return failed(passing("no answer of the engine within its limit"));
        };
        if let Err(failure) = result {
            return failed(failure);
        }
        if running.next == Next::Start {
            running.next = Next::End;
            let takes = self.node_mut(id).rng.between(30_000, 400_000);
            let Some(service) = service_of(&running.work) else {
                return failed(pointless("nothing to start"));
            };
            return self.call(id, running, Call::Start(service), takes, CHANGE_US_MAX);
        }
        Step::Done(Ok(self.outcome(id, running)))
    }

    fn outcome(&mut self, id: NodeId, running: &mut Running) -> JobOutcome {
        match running.work.clone() {
            Job::Prepare { .. } => JobOutcome::Prepared(prepared(&running.work)),
            Job::Run { service, .. } => {
                self.expect_ready(id, &service);
                JobOutcome::Running {
                    prepared: prepared(&running.work),
                    volumes: std::mem::take(&mut running.volumes),
                }
            }
            Job::Stop { service, .. } => {
                let engine = &self.nodes[&id].engine;
                let code = engine.containers.get(&service).and_then(|c| match c.run {
                    ContainerRunSeen::Exited { code } if c.settled_at_us <= self.now_us => code,
                    ContainerRunSeen::Created => Some(0),
                    _ => None,
                });
                JobOutcome::Stopped { code }
            }
            _ => JobOutcome::Done,
        }
    }
}

fn wish(work: &Job) -> Result<(&ServiceId, &ContainerSpec, Ipv4Addr, &str), Failure> {
    match work {
        Job::Run {
            service,
            container,
            address,
            fingerprint,
            ..
        }
        | Job::Prepare {
            service,
            container,
            address,
            fingerprint,
            ..
        } => Ok((service, container, *address, fingerprint)),
        _ => Err(pointless("it makes no container")),
    }
}

fn service_of(work: &Job) -> Option<ServiceId> {
    wish(work).ok().map(|(service, ..)| service.clone())
}
