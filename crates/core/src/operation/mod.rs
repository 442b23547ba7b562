//! Operations: a plan's steps being carried out, one per service at a time.
//!
//! Each operation walks through the phases of [`Phase`]; a phase's function looks at the state and
//! says whether it is over. Nothing depends on having seen an event: after a restart of control the
//! same functions look at the same durable state and go on. Before the commit every failure leads
//! back (`abort.rs`); after it, only forward.
//!
//! | phase | file |
//! |---|---|
//! | wait, prepare | `prepare.rs` |
//! | copy, and when it is enough | `copy.rs`, `pace.rs` |
//! | hold, stop, last delta, commit | `switch.rs` |
//! | start, release, keep | `settle.rs` |
//! | the way back | `abort.rs` |

mod abort;
mod begin;
mod copy;
mod pace;
mod prepare;
mod settle;
mod switch;

pub(crate) use begin::begin;
pub(crate) use prepare::container_of;
pub(crate) use settle::clients_waited;
pub(crate) use switch::run;

use crate::cluster::OperationRecord;
use crate::control::Control;
use crate::mutant::{Mutant, planted};
use flocker_types::ids::{NodeId, OperationId, ServiceId, SnapshotName, TaskId, VolumeId};
use flocker_types::link::ToAgent;
use flocker_types::operation::{OperationKind, OperationStatus, Phase};
use flocker_types::task::{Failure, Retry, Task, TaskOutcome, TaskProgress, TaskReport, Work};
use flocker_types::time::Monotonic;
use flocker_types::volume::Checksum;
use std::collections::BTreeMap;

/// Failed attempts at one task before an operation gives up.
const ATTEMPTS_MAX: u32 = 3;
/// After a failed attempt the next one waits this long, times the attempts so far, in milliseconds.
const ATTEMPT_DELAY_MS: u64 = 1_000;
/// In the pause, where clients wait, a failure that took longer than this is not tried again, in
/// milliseconds: the way back is shorter.
const PAUSE_ATTEMPT_LIMIT_MS: u64 = 2_000;
/// Ended operations that are remembered.
const ENDED_KEPT_MAX: usize = 500;

/// What control knows of an operation only while it runs itself.
#[derive(Debug, Clone)]
pub(crate) struct Live {
    /// When the present phase began, as far as this process knows.
    pub(crate) entered: Monotonic,
    /// When the hold began.
    pub(crate) held_since: Option<Monotonic>,
    /// Time at which to look again without any event.
    pub(crate) wake: Option<Monotonic>,
    /// Earliest time of the next attempt at a task that failed.
    pub(crate) retry_at: Option<Monotonic>,
    /// How far the present task is.
    pub(crate) progress: Option<TaskProgress>,
    /// When the present copy task was given.
    pub(crate) round_since: Option<Monotonic>,
    /// Whether the release has switched the route, in this process.
    pub(crate) route_switched: bool,
    /// Heads that the target has reported, with the checksums it computed.
    pub(crate) heads: BTreeMap<VolumeId, (SnapshotName, Checksum)>,
}

impl Live {
    fn new(now: Monotonic) -> Self {
        Self {
            entered: now,
            held_since: None,
            wake: None,
            retry_at: None,
            progress: None,
            round_since: None,
            route_switched: false,
            heads: BTreeMap::new(),
        }
    }
}

/// What a phase's function says.
pub(crate) enum Drive {
    /// It waits for this, until then at the latest.
    Blocked {
        waiting_for: String,
        until: Monotonic,
    },
    /// It is over.
    Next,
    /// It cannot be done.
    Failed(Failure),
    /// The whole operation has done what it was for.
    Ended,
    /// It was ended already.
    Over,
}

/// Takes an operation as far as it goes.
pub(crate) fn drive(control: &mut Control, id: OperationId) {
    let now = control.now.monotonic;
    control.live.entry(id).or_insert_with(|| Live::new(now));
    while let Some(record) = control.state.operations.get(&id) {
        if record.operation.finished.is_some() {
            control.live.remove(&id);
            return;
        }
        let aborting = matches!(record.operation.status, OperationStatus::Aborting { .. });
        let phase = record.operation.phase;
        let retry_at = control.live.get(&id).and_then(|live| live.retry_at);
        if let Some(until) = retry_at.filter(|at| !aborting && *at > control.now.monotonic) {
            return block(control, id, "another attempt".to_owned(), until);
        }
        let drive = if aborting {
            abort::drive(control, id)
        } else {
            work(control, id, phase)
        };
        match drive {
            Drive::Blocked { waiting_for, until } => return block(control, id, waiting_for, until),
            Drive::Next => enter_next(control, id),
            Drive::Failed(failure) => abort::fail(control, id, failure),
            Drive::Ended => settle::end(control, id, OperationStatus::Succeeded),
            Drive::Over => {}
        }
    }
}

fn work(control: &mut Control, id: OperationId, phase: Phase) -> Drive {
    match phase {
        Phase::Wait => prepare::wait(control, id),
        Phase::Prepare => prepare::prepare(control, id),
        Phase::Copy => copy::copy(control, id),
        Phase::Hold => switch::hold(control, id),
        Phase::Stop => switch::stop(control, id),
        Phase::LastDelta => switch::last_delta(control, id),
        Phase::Commit => switch::commit(control, id),
        Phase::Start => settle::start(control, id),
        Phase::Release => settle::release(control, id),
        Phase::Keep => settle::keep(control, id),
    }
}

fn block(control: &mut Control, id: OperationId, waiting_for: String, until: Monotonic) {
    if let Some(live) = control.live.get_mut(&id) {
        live.wake = Some(until);
    }
    let same = control
        .state
        .operations
        .get(&id)
        .is_some_and(|r| r.operation.waiting_for == waiting_for);
    // What it waits for is shown, not needed: it is not worth a write of its own.
    if !same && let Some(record) = control.state.operations.get_mut(&id) {
        record.operation.waiting_for = waiting_for;
    }
}

fn enter_next(control: &mut Control, id: OperationId) {
    let record = &control.state.operations[&id];
    let phase = next_phase(record, record.operation.phase);
    close_phase(control, id);
    if let Some(record) = control.state.operation_mut(id) {
        record.operation.phase = phase;
        record.attempts = 0;
    }
    switch::on_enter(control, id, phase);
}

/// Books the time of the present phase and begins to count anew.
fn close_phase(control: &mut Control, id: OperationId) {
    let now = control.now.monotonic;
    let Some(live) = control.live.get_mut(&id) else {
        return;
    };
    let spent = now.since_ms(live.entered);
    live.entered = now;
    live.wake = None;
    live.retry_at = None;
    live.progress = None;
    if let Some(record) = control.state.operation_mut(id) {
        *record
            .operation
            .phase_ms
            .entry(record.operation.phase)
            .or_default() += spent;
    }
}

fn next_phase(record: &OperationRecord, phase: Phase) -> Phase {
    let later = Phase::ALL.iter().copied().filter(|other| *other > phase);
    later
        .into_iter()
        .find(|phase| has_phase(record, *phase))
        .unwrap_or(Phase::Keep)
}

/// Whether an operation has need of a phase.
fn has_phase(record: &OperationRecord, phase: Phase) -> bool {
    let operation = &record.operation;
    let running = matches!(operation.kind, OperationKind::Move | OperationKind::Replace);
    match phase {
        Phase::Wait | Phase::Prepare | Phase::Start => operation.kind != OperationKind::Remove,
        Phase::Copy => operation.kind == OperationKind::Move && copies_data(record),
        Phase::LastDelta => copies_data(record),
        Phase::Hold => running,
        Phase::Stop => running || copies_data(record) || operation.kind == OperationKind::Remove,
        Phase::Commit | Phase::Release | Phase::Keep => true,
    }
}

/// Whether volumes go from the source to the target.
fn copies_data(record: &OperationRecord) -> bool {
    let operation = &record.operation;
    operation.target.is_some()
        && operation.source.is_some()
        && operation.source != operation.target
        && !record.copied_volumes().is_empty()
}

impl OperationRecord {
    /// Volumes that go from source to target: those that existed when the operation began.
    pub(crate) fn copied_volumes(&self) -> Vec<VolumeId> {
        let moved = self.operation.source != self.operation.target;
        let moving = self
            .operation
            .volumes
            .iter()
            .filter(|volume| moved && !volume.made_here);
        moving.map(|volume| volume.id).collect()
    }
}

/// Gives a node a task and waits for its end from now on.
fn assign(control: &mut Control, id: OperationId, node: NodeId, work: Work, stall_limit_ms: u64) {
    let Some(record) = control.state.operation_mut(id) else {
        return;
    };
    record.operation.task_sequence += 1;
    let task_id = TaskId {
        operation: id,
        sequence: record.operation.task_sequence,
    };
    let task = Task {
        id: task_id,
        work,
        stall_limit_ms,
    };
    record.task = Some((node, task.clone()));
    control.tell_agent(node, ToAgent::Task(task));
}

/// A task of an operation has ended.
pub(crate) fn task_ended(control: &mut Control, node: NodeId, report: &TaskReport) {
    let id = report.id.operation;
    let Some(record) = control.state.operations.get(&id) else {
        return;
    };
    let awaited = record.task.as_ref().is_some_and(|(of, task)| {
        let same = task.id == report.id || planted(Mutant::OldTaskBelieved);
        *of == node && same && record.operation.finished.is_none()
    });
    if !awaited {
        return;
    }
    let Some(record) = control.state.operation_mut(id) else {
        return;
    };
    record.task = None;
    match &report.result {
        Ok(outcome) => {
            record.attempts = 0;
            accept(control, id, outcome);
        }
        Err(failure) => attempt_failed(control, id, node, failure),
    }
}

/// Another attempt after a while, if that can help. In the pause there is no while, and after one
/// that took long no other attempt either.
fn attempt_failed(control: &mut Control, id: OperationId, node: NodeId, failure: &Failure) {
    let now = control.now.monotonic;
    let Some(record) = control.state.operation_mut(id) else {
        return;
    };
    record.attempts += 1;
    let (phase, attempts) = (record.operation.phase, record.attempts);
    let service = record.operation.service.clone();
    let live = control.live.entry(id).or_insert_with(|| Live::new(now));
    let in_pause = phase == Phase::LastDelta;
    let late = in_pause && now.since_ms(live.entered) > PAUSE_ATTEMPT_LIMIT_MS;
    let enough = attempts >= ATTEMPTS_MAX && !planted(Mutant::RetriedForEver);
    if failure.retry == Retry::Pointless || enough || late {
        return abort::fail(control, id, failure.clone());
    }
    if !in_pause {
        let wait_ms = ATTEMPT_DELAY_MS.saturating_mul(u64::from(attempts));
        live.retry_at = Some(now.plus_ms(wait_ms));
    }
    let text = format!("{phase}: {failure}; trying again");
    control.publish(text, Some(&service), Some(node), Some(id));
}

fn accept(control: &mut Control, id: OperationId, outcome: &TaskOutcome) {
    match outcome {
        TaskOutcome::Done => prepare::volume_made(control, id),
        TaskOutcome::Prepared(prepared) => {
            if let Some(record) = control.state.operation_mut(id) {
                record.prepared = Some(prepared.clone());
            }
        }
        TaskOutcome::Copied { volumes } => copy::round_ended(control, id, volumes),
    }
}

/// A node's copy of a volume has a new newest snapshot that came by a stream.
pub(crate) fn head_reported(
    control: &mut Control,
    node: NodeId,
    volume: VolumeId,
    snapshot: &SnapshotName,
    checksum: &Checksum,
) {
    let operation = control
        .state
        .user_of(volume)
        .and_then(|service| service.operation);
    let Some(record) = operation.and_then(|id| control.state.operations.get(&id)) else {
        return;
    };
    if record.operation.target != Some(node) {
        return;
    }
    let (id, now) = (record.operation.id, control.now.monotonic);
    let live = control.live.entry(id).or_insert_with(|| Live::new(now));
    live.heads
        .insert(volume, (snapshot.clone(), checksum.clone()));
}

/// Blocks while a node is away, and fails when that lasts too long.
fn needs_node(control: &Control, id: OperationId, node: NodeId) -> Option<Drive> {
    let lost = control.links.agent_lost_since(node)?;
    let entered = control.live.get(&id).map_or(lost, |live| live.entered);
    let away_ms = control.limits.node_away_ms;
    let until = lost.max(entered).plus_ms(away_ms);
    let name = control.node_name(node);
    let over = control.now.monotonic >= until && !planted(Mutant::NodeAwaitedForEver);
    Some(if over {
        Drive::Failed(Failure {
            message: format!(
                "the agent of {name} has been away for more than {} s",
                away_ms / 1_000
            ),
            retry: Retry::MayHelp,
        })
    } else {
        Drive::Blocked {
            waiting_for: format!("the agent of {name} to come back"),
            until,
        }
    })
}

/// The parts of an operation that phases read all the time.
struct Facts {
    service: ServiceId,
    kind: OperationKind,
    source: Option<NodeId>,
    target: Option<NodeId>,
    entered: Monotonic,
    task: Option<NodeId>,
}

fn facts(control: &Control, id: OperationId) -> Facts {
    let record = &control.state.operations[&id];
    Facts {
        service: record.operation.service.clone(),
        kind: record.operation.kind,
        source: record.operation.source,
        target: record.operation.target,
        entered: control
            .live
            .get(&id)
            .map_or(control.now.monotonic, |live| live.entered),
        task: record.task.as_ref().map(|(node, _)| *node),
    }
}

/// Waits for a task that a node has.
fn await_task(control: &Control, id: OperationId, node: NodeId, what: String) -> Drive {
    needs_node(control, id, node).unwrap_or_else(|| Drive::Blocked {
        waiting_for: what,
        until: control.now.monotonic.plus_ms(control.limits.node_away_ms),
    })
}

/// Forgets the oldest ended operations.
fn forget_old(control: &mut Control) {
    let mut ended: Vec<_> = control
        .state
        .operations
        .values()
        .filter_map(|record| Some((record.operation.finished?, record.operation.id)))
        .collect();
    if ended.len() <= ENDED_KEPT_MAX {
        return;
    }
    ended.sort();
    for (_, id) in ended.iter().take(ended.len() - ENDED_KEPT_MAX) {
        control.state.operations.remove(id);
        control.touch_operation(*id);
    }
}
