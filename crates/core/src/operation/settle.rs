//! After the commit: start on the target, release the clients, keep the source's copy; the end.

use super::switch::confirm_route;
use super::{Drive, assign, await_task, facts, forget_old, needs_node, pace};
use crate::control::{Control, demotion_head};
use crate::mutant::{Mutant, planted};
use flocker_types::app::{RestartPolicy, ServiceSpec};
use flocker_types::ids::{Epoch, NodeId, OperationId, ServiceId, SnapshotName, VolumeId};
use flocker_types::operation::{OperationKind, OperationStatus, Phase};
use flocker_types::route::RouteState;
use flocker_types::task::{ContainerState, Failure, Retry, Want, Work};
use flocker_types::volume::Role;

pub(super) fn start(control: &mut Control, id: OperationId) -> Drive {
    let facts = facts(control, id);
    let target = facts.target.expect("what starts has a target");
    if let Some(blocked) = needs_node(control, id, target) {
        return blocked;
    }
    let service = &control.state.services[&facts.service];
    let generation = service
        .directives
        .get(&target)
        .map(|directive| directive.generation);
    let until = facts
        .entered
        .plus_ms(start_limit_ms(control, &service.spec));
    let restarts = service.spec.restart != RestartPolicy::Never;
    let status = control.status(&facts.service, target);
    let state = status
        .filter(|s| Some(s.generation) >= generation || planted(Mutant::OldStartBelieved))
        .map(|s| s.state.clone());
    let name = control.node_name(target);
    let fail = |message| {
        Drive::Failed(Failure {
            message,
            retry: Retry::Pointless,
        })
    };
    match state {
        Some(ContainerState::Running { prepared, .. }) => {
            let spent = control.now.monotonic.since_ms(facts.entered);
            if let Some(service) = control.state.service_mut(&facts.service) {
                service.prepared = Some(prepared);
                if facts.kind != OperationKind::Start {
                    service.learned.start_ms = Some(pace::mean(service.learned.start_ms, spent));
                }
            }
            return Drive::Next;
        }
        Some(ContainerState::Starting) if planted(Mutant::ReleasedBeforeReady) => {
            return Drive::Next;
        }
        Some(ContainerState::Failed(failure)) if failure.retry == Retry::Pointless => {
            return Drive::Failed(failure);
        }
        Some(ContainerState::Stopped {
            exit_code: Some(code),
            ..
        }) if !restarts => {
            return fail(format!(
                "{} ended at once on {name} with exit code {code}; see flocker logs {}",
                facts.service, facts.service
            ));
        }
        _ => {}
    }
    if control.now.monotonic >= until {
        return fail(format!(
            "{} is not ready on {name} after {} s; it goes on trying, see flocker logs {}",
            facts.service,
            until.since_ms(facts.entered) / 1_000,
            facts.service
        ));
    }
    Drive::Blocked {
        waiting_for: "the container to be ready".to_owned(),
        until,
    }
}

fn start_limit_ms(control: &Control, spec: &ServiceSpec) -> u64 {
    let by_check = spec.health_check.as_ref().map_or(0, |check| {
        let round = check.interval_ms.saturating_add(check.timeout_ms);
        check
            .start_period_ms
            .saturating_add(round.saturating_mul(u64::from(check.retries)))
    });
    control.limits.start_ms.saturating_add(by_check)
}

pub(super) fn release(control: &mut Control, id: OperationId) -> Drive {
    let facts = facts(control, id);
    let Some(target) = facts.target else {
        return Drive::Next;
    };
    let serving = |state: &RouteState| matches!(state, RouteState::Serving(b) if b.node == target);
    if !serving(&control.state.services[&facts.service].route.state)
        || !control
            .live
            .get(&id)
            .is_some_and(|live| live.route_switched)
    {
        match control.backend(&facts.service, target) {
            Some(backend) => control.set_route(&facts.service, RouteState::Serving(backend)),
            None => {
                let until = facts.entered.plus_ms(control.limits.node_away_ms);
                if control.now.monotonic >= until {
                    return Drive::Next;
                }
                let name = control.node_name(target);
                let waiting_for = format!("the proxy of {name} to connect");
                return Drive::Blocked { waiting_for, until };
            }
        }
        if let Some(live) = control.live.get_mut(&id) {
            live.route_switched = true;
        }
    }
    let drive = confirm_route(control, id, "the proxies to release");
    if matches!(drive, Drive::Next) {
        note_pause(control, id);
    }
    drive
}

fn note_pause(control: &mut Control, id: OperationId) {
    let now = control.now.monotonic;
    let held = control
        .live
        .get_mut(&id)
        .and_then(|live| live.held_since.take());
    if let Some(since) = held
        && let Some(record) = control.state.operation_mut(id)
    {
        record.operation.pause_ms = Some(now.since_ms(since));
    }
}

/// Clients waited at a proxy, and wait no more. That news comes after the release.
pub(crate) fn clients_waited(
    control: &mut Control,
    service: &ServiceId,
    connections: u32,
    longest_ms: u64,
) {
    let latest = control
        .state
        .operations
        .values()
        .filter(|record| record.operation.service == *service)
        .max_by_key(|record| record.operation.started)
        .map(|record| record.operation.id);
    if let Some(record) = latest.and_then(|id| control.state.operation_mut(id)) {
        let held = &mut record.operation.held;
        held.connections = held.connections.saturating_add(connections);
        held.longest_ms = held.longest_ms.max(longest_ms);
    }
}

/// The source's container goes, its volumes become replicas. If the source is away the operation
/// does not wait: the directive and the chores will find it.
pub(super) fn keep(control: &mut Control, id: OperationId) -> Drive {
    let facts = facts(control, id);
    let Some(source) = facts.source.filter(|source| Some(*source) != facts.target) else {
        return Drive::Ended;
    };
    let limit_ms = control.limits.keep_ms;
    let until = facts.entered.plus_ms(limit_ms);
    let directive = control.state.services[&facts.service]
        .directives
        .get(&source);
    let generation = match directive {
        Some(directive) if directive.want == Want::Absent => directive.generation,
        _ => control.direct(&facts.service, source, Want::Absent),
    };
    if control.links.agent(source).is_none() || control.now.monotonic >= until {
        return Drive::Ended;
    }
    let gone = control
        .status(&facts.service, source)
        .is_some_and(|status| {
            status.generation >= generation && status.state == ContainerState::Absent
        });
    if !gone {
        let name = control.node_name(source);
        let waiting_for = format!("{name} to remove the container");
        return Drive::Blocked { waiting_for, until };
    }
    if let Some(node) = facts.task {
        return await_task(
            control,
            id,
            node,
            "the source's copy to become a replica".to_owned(),
        );
    }
    if facts.kind == OperationKind::Remove {
        return Drive::Ended;
    }
    let Some((volume, epoch, head)) = next_to_demote(control, id, source) else {
        return Drive::Ended;
    };
    assign(
        control,
        id,
        source,
        Work::Demote {
            volume,
            epoch,
            head,
        },
        limit_ms,
    );
    await_task(
        control,
        id,
        source,
        "the source's copy to become a replica".to_owned(),
    )
}

/// A volume of the operation that the source still has as its holder, with the new holder's epoch and
/// where the two part.
fn next_to_demote(
    control: &Control,
    id: OperationId,
    source: NodeId,
) -> Option<(VolumeId, Epoch, SnapshotName)> {
    if planted(Mutant::OldHolderKept) {
        return None;
    }
    let volumes = &control.state.operations[&id].operation.volumes;
    let volume = volumes
        .iter()
        .filter_map(|v| control.state.volumes.get(&v.id))
        .find(|volume| {
            let copy = volume.copies.get(&source);
            volume.holder != source && copy.is_some_and(|copy| copy.role == Role::Holder)
        })?;
    Some((volume.id, volume.epoch, demotion_head(volume, source)?))
}

/// The operation is over.
pub(super) fn end(control: &mut Control, id: OperationId, status: OperationStatus) {
    super::close_phase(control, id);
    let wall = control.now.wall;
    let Some(record) = control.state.operation_mut(id) else {
        return;
    };
    record.task = None;
    record.operation.waiting_for = String::new();
    record.operation.finished = Some(wall);
    record.operation.status = match record.failed_forward.take() {
        Some(failure) => OperationStatus::Failed {
            failure,
            phase: Phase::Start,
        },
        None => status,
    };
    let operation = record.operation.clone();
    control.live.remove(&id);
    if let Some(service) = control.state.service_mut(&operation.service) {
        service.operation = None;
        if operation.kind == OperationKind::Remove && service.node.is_none() {
            // Its volumes are its own again when it is deployed the next time.
            let volumes = std::mem::take(&mut service.volumes);
            for id in volumes
                .into_iter()
                .filter(|_| planted(Mutant::VolumeGoesWithService))
            {
                if let Some(volume) = control.state.volume_mut(id) {
                    volume.destroy_after = Some(wall);
                }
            }
        }
    }
    let what = format!("{} of {}", operation.kind, operation.service);
    let message = match &operation.status {
        OperationStatus::Failed { failure, phase } => {
            format!("{what} failed in phase {phase}: {failure}")
        }
        _ => match operation.pause_ms {
            Some(pause_ms) => format!("{what} is done; pause {pause_ms} ms"),
            None => format!("{what} is done"),
        },
    };
    control.publish(
        message,
        Some(&operation.service),
        operation.target,
        Some(id),
    );
    forget_old(control);
}
