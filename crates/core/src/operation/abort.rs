//! The way back: before the commit, every failure ends with the source running as if nothing had
//! happened. After the commit there is none, and a failure is carried along to the end.

use super::settle::end;
use super::switch::run;
use super::{Drive, enter_next, facts, needs_node};
use crate::control::Control;
use crate::mutant::{Mutant, planted};
use flocker_types::ids::OperationId;
use flocker_types::link::ToAgent;
use flocker_types::operation::{OperationKind, OperationStatus, Phase};
use flocker_types::route::RouteState;
use flocker_types::task::{ContainerState, Failure, Want};

/// An operation cannot do what it was about to do.
pub(super) fn fail(control: &mut Control, id: OperationId, failure: Failure) {
    let record = &control.state.operations[&id];
    let (phase, aborting) = (
        record.operation.phase,
        matches!(record.operation.status, OperationStatus::Aborting { .. }),
    );
    let facts = facts(control, id);
    let text = format!("{}: {phase} failed: {failure}", facts.service);
    control.publish(text, Some(&facts.service), None, Some(id));
    if aborting {
        // The way back is blocked too: the directives stay in force and will be followed.
        finish_back(control, id);
    } else if phase == Phase::Keep {
        end(control, id, OperationStatus::Succeeded);
    } else if phase > Phase::Commit && !planted(Mutant::SourceStartedAfterCommit) {
        if let Some(record) = control.state.operation_mut(id) {
            record.failed_forward.get_or_insert(failure);
            record.task = None;
        }
        enter_next(control, id);
    } else {
        turn_back(control, id, failure, phase);
    }
}

fn turn_back(control: &mut Control, id: OperationId, failure: Failure, phase: Phase) {
    let facts = facts(control, id);
    super::close_phase(control, id);
    let mut task = None;
    if let Some(record) = control.state.operation_mut(id) {
        record.operation.status = OperationStatus::Aborting { failure, phase };
        task = record.task.take();
    }
    if let Some((node, task)) = task {
        control.tell_agent(node, ToAgent::Cancel(task.id));
    }
    let home = match control.state.services[&facts.service].node {
        Some(_) if planted(Mutant::SourceStartedAfterCommit) => facts.source,
        Some(_) if planted(Mutant::TargetStartedByAbort) => facts.target,
        home => home,
    };
    if let Some(target) = facts.target
        && home != Some(target)
        && phase >= Phase::Prepare
        && !planted(Mutant::TargetNotCleared)
    {
        control.direct(&facts.service, target, Want::Absent);
    }
    if let Some(home) = home
        && control.state.operations[&id].source_stopped
        && !planted(Mutant::SourceLeftStopped)
    {
        let want = run(control, &facts.service, home);
        control.direct(&facts.service, home, want);
    }
}

/// Waits until the source runs again, then lets the clients go.
pub(super) fn drive(control: &mut Control, id: OperationId) -> Drive {
    let facts = facts(control, id);
    let home = control.state.services[&facts.service].node;
    if let Some(home) = home
        && control.state.operations[&id].source_stopped
    {
        let directive = control.state.services[&facts.service].directives.get(&home);
        let generation = directive.map(|directive| directive.generation);
        let running = control.status(&facts.service, home).is_some_and(|status| {
            Some(status.generation) >= generation
                && matches!(status.state, ContainerState::Running { .. })
        });
        let until = facts.entered.plus_ms(control.limits.back_ms);
        if !running && control.now.monotonic < until {
            let waiting_for = "the service to run again where it was".to_owned();
            return needs_node(control, id, home).unwrap_or(Drive::Blocked { waiting_for, until });
        }
    }
    finish_back(control, id);
    Drive::Over
}

fn finish_back(control: &mut Control, id: OperationId) {
    let facts = facts(control, id);
    let service = &control.state.services[&facts.service];
    if let Some(home) = service.node
        && !matches!(service.route.state, RouteState::Serving(_))
        && let Some(backend) = control.backend(&facts.service, home)
        && !planted(Mutant::HoldNotEnded)
    {
        control.set_route(&facts.service, RouteState::Serving(backend));
    }
    let record = &control.state.operations[&id];
    let status = match &record.operation.status {
        OperationStatus::Aborting { failure, phase } => OperationStatus::Failed {
            failure: failure.clone(),
            phase: *phase,
        },
        other => other.clone(),
    };
    let now = control.now.monotonic;
    let held = control
        .live
        .get_mut(&id)
        .and_then(|live| live.held_since.take());
    if let Some(since) = held
        && facts.kind != OperationKind::Start
        && let Some(record) = control.state.operation_mut(id)
    {
        record.operation.pause_ms = Some(now.since_ms(since));
    }
    end(control, id, status);
}
