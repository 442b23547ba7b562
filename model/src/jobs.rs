//! Jobs: what an agent asks of its node, stage by stage, as `crates/agent/src/jobs` carries it out.

use crate::check;
use crate::machine::Machine;
use crate::pool::{Pool, Stored, checksum, passing};
use crate::property::Violation;
use crate::shared::Shared;
use crate::state::{Container, Engine, Reception, Stage, State, Work};
use flocker_core::agent::{ContainerRunSeen, Event, Job, JobId, JobOutcome};
use flocker_types::ids::{NodeId, ServiceId, SnapshotName, VolumeId};
use flocker_types::task::{CopiedVolume, CopyVolume, Failure, Prepared, TaskOutcome, VolumeClaim};
use flocker_types::volume::Role;
use std::net::Ipv4Addr;

/// Whether a job's next stage is a call to the engine, and about which service.
pub(crate) fn engine_call(work: &Work) -> Option<&ServiceId> {
    match &*work.job {
        Job::Run { service, .. } if work.stage == Stage::Ready => Some(service),
        Job::Prepare { service, .. } | Job::Stop { service, .. } => Some(service),
        Job::RemoveContainer { service } => Some(service),
        _ => None,
    }
}

/// About which service a call to the engine is.
pub(crate) fn about(job: &Job) -> Option<&ServiceId> {
    match job {
        Job::Run { service, .. }
        | Job::Prepare { service, .. }
        | Job::Stop { service, .. }
        | Job::RemoveContainer { service } => Some(service),
        _ => None,
    }
}

fn prepared(address: Ipv4Addr) -> Prepared {
    Prepared {
        image_id: "sha256:1".to_owned(),
        exposed_ports: vec![5432],
        address,
    }
}

/// The job's next stage happens.
pub(crate) fn advance(
    machine: &mut Machine,
    state: &mut State,
    node: usize,
    index: usize,
) -> Result<(), Violation> {
    let work = state.nodes[node].jobs[index].clone();
    let result = match (&*work.job, work.stage) {
        (Job::Run { volumes, .. }, Stage::Begun) => match claim(state, node, volumes)? {
            Ok(()) => return set_stage(state, node, index, Stage::Ready),
            Err(failure) => Err(failure),
        },
        (job @ Job::Run { .. }, Stage::Ready) => match call(state, node, job)? {
            Ok(_) => return set_stage(state, node, index, Stage::Under),
            Err(failure) => Err(failure),
        },
        (
            Job::Run {
                volumes, address, ..
            },
            Stage::Under,
        ) => running(state, node, volumes, *address),
        (Job::Copy { volumes, .. }, Stage::Begun) => match snapshots(state, node, volumes) {
            Ok(()) => return set_stage(state, node, index, Stage::Ready),
            Err(failure) => Err(failure),
        },
        (
            Job::Copy {
                volumes, target, ..
            },
            Stage::Ready,
        ) => {
            let copy = volumes[work.copied.len()].clone();
            match open(machine, state, node, &work, copy, target.node)? {
                Ok(()) => return set_stage(state, node, index, Stage::Under),
                Err(failure) => Err(failure),
            }
        }
        (Job::Copy { .. }, Stage::Under) => Err(passing("the stream was cut off")),
        (job, _) if about(job).is_some() => call(state, node, job)?,
        (job, _) => on_pool(state, node, job)?,
    };
    end(machine, state, node, index, result)
}

fn set_stage(state: &mut State, node: usize, index: usize, stage: Stage) -> Result<(), Violation> {
    state.nodes[node].jobs[index].stage = stage;
    Ok(())
}

/// The job is over. Its agent hears of it in the same step: what another message to the agent could do
/// in between, it can do before.
pub(crate) fn end(
    machine: &mut Machine,
    state: &mut State,
    node: usize,
    index: usize,
    result: Result<JobOutcome, Failure>,
) -> Result<(), Violation> {
    for event in ended(state, node, index, result) {
        machine.agent(state, node, &event)?;
    }
    Ok(())
}

/// What is told of a job that is over.
fn ended(
    state: &mut State,
    node: usize,
    index: usize,
    result: Result<JobOutcome, Failure>,
) -> Vec<Event> {
    let work = state.nodes[node].jobs.remove(index);
    let mut events = Vec::new();
    if result.is_err() {
        // What it has made of its volumes is told first.
        let touched: Vec<VolumeId> = match &*work.job {
            Job::Copy { volumes, .. } => volumes.iter().map(|copy| copy.volume).collect(),
            Job::Run { volumes, .. } => volumes.iter().map(|claim| claim.label.id).collect(),
            _ => Vec::new(),
        };
        for volume in touched {
            let copy = state.nodes[node].pool.volumes.get(&volume);
            events.extend(copy.map(|copy| Event::Volume(copy.copy())));
        }
        abandon_streams(state, node, work.id);
    }
    let job = work.id;
    events.push(Event::JobDone { job, result });
    events
}

/// A job is stopped where it is. A call to the engine that has begun goes on by itself, as if the
/// stop had come later.
pub(crate) fn cancel(state: &mut State, node: usize, id: JobId) {
    let found = state.nodes[node].jobs.iter().position(|work| work.id == id);
    if let Some(index) = found {
        let events = ended(state, node, index, Err(passing("it was cancelled")));
        let inbox = &mut state.nodes[node].inbox;
        inbox.extend(events.into_iter().map(Shared::new));
    }
}

/// The sender has gone: nothing of these streams becomes visible.
fn abandon_streams(state: &mut State, sender: usize, job: JobId) {
    for node in &mut state.nodes {
        node.receptions.retain(|stream| !stream.is_of(sender, job));
    }
}

fn change_pool<T>(state: &mut State, node: usize, change: impl FnOnce(&mut Pool) -> T) -> T {
    let mut pool = Pool::clone(&state.nodes[node].pool);
    let done = change(&mut pool);
    state.nodes[node].pool = Shared::new(pool);
    done
}

fn change_engine<T>(state: &mut State, node: usize, change: impl FnOnce(&mut Engine) -> T) -> T {
    let mut engine = Engine::clone(&state.nodes[node].engine);
    let done = change(&mut engine);
    state.nodes[node].engine = Shared::new(engine);
    done
}

/// The volumes of a start, one after the other.
fn claim(
    state: &mut State,
    node: usize,
    claims: &[VolumeClaim],
) -> Result<Result<(), Failure>, Violation> {
    for claim in claims {
        match change_pool(state, node, |pool| pool.claim(claim)) {
            Err(failure) => return Ok(Err(failure)),
            Ok(None) => {}
            Ok(Some(content)) => check::promoted(state, node, claim, content)?,
        }
    }
    Ok(Ok(()))
}

fn running(
    state: &mut State,
    node: usize,
    claims: &[VolumeClaim],
    address: Ipv4Addr,
) -> Result<JobOutcome, Failure> {
    let mut pool = Pool::clone(&state.nodes[node].pool);
    let volumes = claims
        .iter()
        .map(|claim| Ok(pool.existing(claim.label.id)?.copy()))
        .collect::<Result<_, Failure>>()?;
    Ok(JobOutcome::Running {
        prepared: prepared(address),
        volumes,
    })
}

/// The engine does what it was asked, whether anybody waits for it or not.
pub(crate) fn call(
    state: &mut State,
    node: usize,
    job: &Job,
) -> Result<Result<JobOutcome, Failure>, Violation> {
    let done = match job {
        Job::Run {
            service,
            container,
            address,
            fingerprint,
            ..
        } => {
            let new = Container {
                fingerprint: fingerprint.clone(),
                address: *address,
                volumes: container.volumes.clone(),
                run: ContainerRunSeen::Running,
            };
            return start(state, node, service, new);
        }
        Job::Prepare {
            service,
            container,
            address,
            fingerprint,
            ..
        } => {
            let new = Container {
                fingerprint: fingerprint.clone(),
                address: *address,
                volumes: container.volumes.clone(),
                run: ContainerRunSeen::Created,
            };
            let runs = state.nodes[node].engine.runs(service);
            if !runs {
                change_engine(state, node, |engine| {
                    engine.containers.insert(service.clone(), new)
                });
            }
            Ok(JobOutcome::Prepared(prepared(*address)))
        }
        Job::Stop { service, .. } => {
            state.nodes[node].probes.retain(|other| other != service);
            Ok(JobOutcome::Stopped {
                code: stop(state, node, service, 0),
            })
        }
        Job::RemoveContainer { service } => {
            if state.nodes[node].engine.runs(service) {
                return Ok(Err(passing("it runs")));
            }
            change_engine(state, node, |engine| engine.containers.remove(service));
            Ok(JobOutcome::Done)
        }
        _ => Ok(JobOutcome::Done),
    };
    Ok(done)
}

/// A container starts and writes at once. One of another making that runs is in the way.
fn start(
    state: &mut State,
    node: usize,
    service: &ServiceId,
    new: Container,
) -> Result<Result<JobOutcome, Failure>, Violation> {
    let here = state.nodes[node].engine.containers.get(service).cloned();
    let runs = state.nodes[node].engine.runs(service);
    if runs && here.is_some_and(|here| here.fingerprint != new.fingerprint) {
        return Ok(Err(passing("another container of this name runs")));
    }
    let probes = &mut state.nodes[node].probes;
    if !probes.contains(service) {
        probes.push(service.clone());
    }
    if runs {
        return Ok(Ok(JobOutcome::Done));
    }
    let volumes = new.volumes.clone();
    change_engine(state, node, |engine| {
        engine.containers.insert(service.clone(), new)
    });
    check::started(state, node, service, &volumes)?;
    write(state, node, &volumes);
    Ok(Ok(JobOutcome::Done))
}

/// A running container writes its last and ends; its exit code.
pub(crate) fn stop(state: &mut State, node: usize, service: &ServiceId, code: i64) -> Option<i64> {
    let container = state.nodes[node].engine.containers.get(service)?.clone();
    match container.run {
        ContainerRunSeen::Created => None,
        ContainerRunSeen::Exited { code } => code,
        ContainerRunSeen::Running => {
            write(state, node, &container.volumes);
            let ended = Container {
                run: ContainerRunSeen::Exited { code: Some(code) },
                ..container
            };
            change_engine(state, node, |engine| {
                engine.containers.insert(service.clone(), ended)
            });
            if state.news_are_late && state.nodes[node].agent.is_some() {
                state.nodes[node].news.push(service.clone());
            }
            Some(code)
        }
    }
}

fn write(state: &mut State, node: usize, volumes: &[VolumeId]) {
    for id in volumes {
        let written = change_pool(state, node, |pool| {
            let live = pool.volumes.get_mut(id)?.live.as_mut()?;
            *live += 1;
            Some(*live)
        });
        if let Some(count) = written {
            state.set_written(*id, count.max(state.written(*id)));
        }
    }
}

/// Takes the snapshots of a copy. A container that runs writes something right afterwards: only what is
/// taken after its end is final.
fn snapshots(state: &mut State, node: usize, volumes: &[CopyVolume]) -> Result<(), Failure> {
    for volume in volumes {
        let (id, name) = (volume.volume, &volume.snapshot);
        change_pool(state, node, |pool| pool.snapshot(id, name))?;
        if state.nodes[node].engine.writes(id) {
            write(state, node, &[id]);
        }
    }
    Ok(())
}

/// Asks the target what it has, and whether it may be sent the rest.
fn open(
    machine: &mut Machine,
    state: &mut State,
    node: usize,
    work: &Work,
    copy: CopyVolume,
    target: NodeId,
) -> Result<Result<(), Failure>, Violation> {
    let to = state.index_of(target);
    if state.nodes[to].agent.is_none() {
        return Ok(Err(passing("the target does not answer")));
    }
    let own = state.nodes[node].pool.volumes.get(&copy.volume).cloned();
    let own = own.map(|own| own.snapshots).unwrap_or_default();
    let there = state.nodes[to].pool.volumes.get(&copy.volume).cloned();
    let has = |name: &SnapshotName| {
        let there = there.as_ref();
        there.is_some_and(|there| there.content_at(name).is_some())
    };
    if has(&copy.snapshot) {
        let text = "the target has this snapshot from an attempt whose end was lost";
        return Ok(Err(passing(text)));
    }
    let common = own.iter().rposition(|(name, _, _)| has(name));
    let later = own.iter().skip(common.map_or(0, |index| index + 1));
    let wanted = |name: &SnapshotName| copy.bases.contains(name) || *name == copy.snapshot;
    let carried = later
        .filter(|(name, _, _)| wanted(name))
        .map(|(name, content, _)| (name.clone(), *content));
    let carried: Vec<_> = carried.collect();
    let event = Event::Incoming {
        job: JobId(u64::MAX),
        from: state.nodes[node].id,
        volume: copy.volume,
        epoch: copy.epoch,
    };
    let answer = machine.agent(state, to, &event)?;
    let label = match answer.expect("an agent answers every stream") {
        Ok(label) => label,
        Err(failure) => return Ok(Err(failure)),
    };
    check::admitted(state, node, to, copy.volume)?;
    state.nodes[to].receptions.push(Reception {
        from: node,
        job: Some(work.id),
        copy: Shared::new(copy),
        label,
        base: common.map(|index| own[index].0.clone()),
        carried: Shared::new(carried),
    });
    Ok(Ok(()))
}

/// A stream has arrived whole: it becomes visible, both sides hear of it.
pub(crate) fn land(
    machine: &mut Machine,
    state: &mut State,
    node: usize,
    index: usize,
) -> Result<(), Violation> {
    let stream = state.nodes[node].receptions.remove(index);
    let taken = change_pool(state, node, |pool| {
        pool.receive(&stream.label, stream.base.as_ref(), &stream.carried)
    });
    if taken.is_ok()
        && let Some(stored) = state.nodes[node].pool.volumes.get(&stream.copy.volume)
    {
        let event = Event::Volume(stored.copy());
        machine.agent(state, node, &event)?;
    }
    let jobs = &state.nodes[stream.from].jobs;
    let Some(sender) = jobs.iter().position(|work| Some(work.id) == stream.job) else {
        return Ok(());
    };
    if let Err(failure) = taken {
        return end(machine, state, stream.from, sender, Err(failure));
    }
    let content = stream.carried.last().map_or(0, |(_, content)| *content);
    let full = stream.base.is_none();
    let copied = CopiedVolume {
        volume: stream.copy.volume,
        snapshot: stream.copy.snapshot.clone(),
        checksum: checksum(&stream.copy.snapshot, content),
        bytes: if full { 1 << 20 } else { 1 << 10 },
        wire_bytes: 1 << 10,
        full,
        milliseconds: 1,
    };
    let work = &mut state.nodes[stream.from].jobs[sender];
    work.copied.push(Shared::new(copied));
    let asked = match &*work.job {
        Job::Copy { volumes, .. } => volumes.len(),
        _ => 0,
    };
    if work.copied.len() < asked {
        work.stage = Stage::Ready;
        return Ok(());
    }
    let volumes = work.copied.iter().map(|copied| CopiedVolume::clone(copied));
    let outcome = JobOutcome::Task(TaskOutcome::Copied {
        volumes: volumes.collect(),
    });
    end(machine, state, stream.from, sender, Ok(outcome))
}

/// The process of these jobs dies, and what the pool was doing for them is done to its end.
pub(crate) fn finish_alone(state: &mut State, node: usize, jobs: &[Work]) -> Result<(), Violation> {
    for work in jobs {
        match (&*work.job, work.stage) {
            (Job::Run { volumes, .. }, Stage::Begun) => drop(claim(state, node, volumes)?),
            (Job::Copy { volumes, .. }, Stage::Begun) => drop(snapshots(state, node, volumes)),
            (Job::Copy { .. } | Job::Run { .. }, _) => {}
            (job, _) if about(job).is_some() => state.nodes[node].late.push(work.job.clone()),
            (job, _) => drop(on_pool(state, node, job)?),
        }
        if matches!((&*work.job, work.stage), (Job::Run { .. }, Stage::Ready)) {
            state.nodes[node].late.push(work.job.clone());
        }
    }
    Ok(())
}

fn on_pool(
    state: &mut State,
    node: usize,
    job: &Job,
) -> Result<Result<JobOutcome, Failure>, Violation> {
    let done = match job {
        Job::CreateVolume { label } => change_pool(state, node, |pool| {
            pool.create(label)?;
            pool.present(label.id)
        }),
        Job::Demote {
            volume,
            epoch,
            head,
        } => {
            let was = state.nodes[node].pool.volumes.get(volume).map(Stored::copy);
            let tail = change_pool(state, node, |pool| pool.demote(*volume, *epoch, head));
            if was.is_some_and(|was| was.role == Role::Holder) && tail.is_ok() {
                check::demoted(state, node, *volume, tail == Ok(true))?;
            }
            tail.and_then(|_| change_pool(state, node, |pool| pool.present(*volume)))
        }
        Job::Prune { volume, delete } => change_pool(state, node, |pool| {
            pool.prune(*volume, delete)?;
            pool.present(*volume)
        }),
        Job::Destroy { volume } => {
            change_pool(state, node, |pool| pool.volumes.remove(volume));
            Ok(JobOutcome::Gone(*volume))
        }
        _ => Ok(JobOutcome::Done),
    };
    Ok(done)
}
