//! The pause: hold, stop, last delta, and the commit that changes the holder.

use super::prepare::container_of;
use super::{Drive, await_task, copy, facts, needs_node, pace};
use crate::cluster::{Key, ServiceRecord};
use crate::control::Control;
use crate::mutant::{Mutant, planted};
use flocker_types::ids::{NodeId, OperationId, ServiceId, VolumeId};
use flocker_types::operation::{OperationKind, Phase, ProvedHead};
use flocker_types::route::RouteState;
use flocker_types::task::{ContainerState, Failure, Retry, VolumeClaim, Want};
use flocker_types::volume::ServiceDescription;

/// What happens once at the beginning of a phase.
pub(super) fn on_enter(control: &mut Control, id: OperationId, phase: Phase) {
    let facts = facts(control, id);
    match phase {
        Phase::Hold => {
            let now = control.now.monotonic;
            if let Some(live) = control.live.get_mut(&id) {
                live.held_since = Some(now);
            }
            let limit_ms = control.limits.hold_ms;
            control.set_route(&facts.service, RouteState::Held { limit_ms });
        }
        Phase::Stop => {
            if facts.kind == OperationKind::Remove {
                control.set_route(&facts.service, RouteState::Down);
            }
            if let Some(source) = facts.source {
                control.direct(&facts.service, source, Want::Stopped);
            }
            if let Some(record) = control.state.operation_mut(id) {
                record.source_stopped = true;
            }
        }
        _ => {}
    }
}

pub(super) fn hold(control: &mut Control, id: OperationId) -> Drive {
    confirm_route(control, id, "the proxies to hold")
}

/// Waits until every connected proxy has the service's present route in force, but not for long.
pub(super) fn confirm_route(control: &Control, id: OperationId, what: &str) -> Drive {
    let facts = facts(control, id);
    let generation = control.state.services[&facts.service].route.generation;
    let missing = control.links.proxy_nodes().into_iter().find(|node| {
        let applied = control.applied.get(&(facts.service.clone(), *node));
        let problem = control
            .route_problems
            .contains_key(&(facts.service.clone(), *node));
        applied.is_none_or(|applied| *applied < generation) && !problem
    });
    let until = facts.entered.plus_ms(control.limits.route_confirm_ms);
    let wait = control.now.monotonic < until || planted(Mutant::ProxyAwaitedForEver);
    match missing {
        Some(node) if wait => Drive::Blocked {
            waiting_for: format!("{what}: {}", control.node_name(node)),
            until,
        },
        _ => Drive::Next,
    }
}

pub(super) fn stop(control: &mut Control, id: OperationId) -> Drive {
    let facts = facts(control, id);
    let source = facts.source.expect("what stops has a source");
    let service = &control.state.services[&facts.service];
    let generation = service
        .directives
        .get(&source)
        .map(|directive| directive.generation);
    let stopped = control
        .status(&facts.service, source)
        .is_some_and(|status| {
            (Some(status.generation) >= generation || planted(Mutant::OldStopBelieved))
                && matches!(
                    status.state,
                    ContainerState::Stopped { .. }
                        | ContainerState::Absent
                        | ContainerState::Created
                )
        });
    if stopped || planted(Mutant::StopNotAwaited) {
        let spent = control.now.monotonic.since_ms(facts.entered);
        if facts.kind == OperationKind::Move
            && let Some(record) = control.state.service_mut(&facts.service)
        {
            record.learned.stop_ms = Some(pace::mean(record.learned.stop_ms, spent));
        }
        return Drive::Next;
    }
    if let Some(blocked) = needs_node(control, id, source) {
        return blocked;
    }
    let limit_ms = service
        .spec
        .stop_grace_ms
        .saturating_add(control.limits.stop_ms);
    let until = facts.entered.plus_ms(limit_ms);
    if control.now.monotonic >= until {
        let message = format!(
            "{} did not stop on {} within {} s",
            facts.service,
            control.node_name(source),
            until.since_ms(facts.entered) / 1_000
        );
        return Drive::Failed(Failure {
            message,
            retry: Retry::MayHelp,
        });
    }
    Drive::Blocked {
        waiting_for: "the container to stop".to_owned(),
        until,
    }
}

pub(super) fn last_delta(control: &mut Control, id: OperationId) -> Drive {
    let facts = facts(control, id);
    let source = facts.source.expect("a copy has a source");
    if let Some(node) = facts.task {
        return await_task(control, id, node, "the last delta".to_owned());
    }
    let round_is_final = !control.state.operations[&id].copied.is_empty()
        && (control.state.operations[&id].copied_in_phase == Some(Phase::LastDelta)
            || planted(Mutant::LastDeltaSkipped));
    if !round_is_final {
        return copy::send_last_delta(control, id)
            .unwrap_or_else(|| await_task(control, id, source, "the last delta".to_owned()));
    }
    prove_heads(control, id)
}

/// The target must have reported, itself, the snapshots that the source says it sent, with the
/// same checksums.
fn prove_heads(control: &mut Control, id: OperationId) -> Drive {
    let facts = facts(control, id);
    let copied = control.state.operations[&id].copied.clone();
    let mut proved: Vec<(VolumeId, ProvedHead)> = Vec::new();
    for sent in &copied {
        let head = control
            .live
            .get(&id)
            .and_then(|live| live.heads.get(&sent.volume));
        match head {
            Some((snapshot, checksum))
                if (*snapshot == sent.snapshot && *checksum == sent.checksum)
                    || planted(Mutant::AnyHeadProves) =>
            {
                let head = ProvedHead {
                    snapshot: snapshot.clone(),
                    checksum: checksum.clone(),
                };
                proved.push((sent.volume, head));
            }
            Some((snapshot, _)) if *snapshot == sent.snapshot => {
                let message = format!(
                    "the copy of volume {} differs from what was sent: checksums do not agree",
                    sent.volume.short()
                );
                return Drive::Failed(Failure {
                    message,
                    retry: Retry::MayHelp,
                });
            }
            _ => {
                let until = facts.entered.plus_ms(control.limits.head_ms);
                if control.now.monotonic >= until {
                    let message = "the target did not confirm the final snapshot".to_owned();
                    return Drive::Failed(Failure {
                        message,
                        retry: Retry::MayHelp,
                    });
                }
                let waiting_for = "the target to confirm the final snapshot".to_owned();
                return Drive::Blocked { waiting_for, until };
            }
        }
    }
    if let Some(record) = control.state.operation_mut(id) {
        for volume in &mut record.operation.volumes {
            let head = proved.iter().find(|(id, _)| *id == volume.id);
            volume.head = head.map(|(_, head)| head.clone());
        }
    }
    Drive::Next
}

/// The one moment at which the holder changes. Everything below becomes durable in one
/// transaction, guarded by the revision of every record in it (invariant *commit-once*).
pub(super) fn commit(control: &mut Control, id: OperationId) -> Drive {
    let facts = facts(control, id);
    let record = control.state.operations[&id].clone();
    let Some(target) = facts.target else {
        let source = facts.source.expect("a removal has a source");
        if let Some(service) = control.state.service_mut(&facts.service) {
            service.node = None;
            service.prepared = None;
        }
        control.set_route(&facts.service, RouteState::Down);
        control.direct(&facts.service, source, Want::Absent);
        return Drive::Next;
    };
    for (moved, mount) in record
        .operation
        .volumes
        .iter()
        .zip(&record.operation.spec.mounts)
    {
        if !planted(Mutant::CommitNotWritten) {
            control.state.touch(Key::Volume(moved.id));
        }
        let Some(volume) = control.state.volumes.get_mut(&moved.id) else {
            continue;
        };
        volume.size_bytes_max = mount.size_bytes_max;
        if moved.made_here {
            assert_eq!(
                volume.holder, target,
                "a volume that is not copied is on the target"
            );
            continue;
        }
        let head = moved
            .head
            .as_ref()
            .expect("every copied volume's head was proved");
        assert_eq!(
            volume.epoch, moved.epoch,
            "the epoch changed under an operation"
        );
        volume.holder = target;
        if !planted(Mutant::EpochNotIncremented) {
            volume.epoch = volume.epoch.next();
        }
        volume.head = Some(head.snapshot.clone());
    }
    if let Some(service) = control.state.service_mut(&facts.service) {
        service.node = Some(target);
        service.spec = record.operation.spec.clone();
        service.prepared = record.prepared.clone();
        service.volumes = record
            .operation
            .volumes
            .iter()
            .map(|volume| volume.id)
            .collect();
    }
    let want = run(control, &facts.service, target);
    control.direct(&facts.service, target, want);
    Drive::Next
}

/// What is written beside the data of a service.
pub(super) fn description(service: &ServiceRecord) -> ServiceDescription {
    ServiceDescription {
        id: service.id.clone(),
        spec: service.spec.clone(),
        cluster_address: Some(service.cluster_address),
    }
}

/// The directive that makes a service run on a node as its record says.
pub(crate) fn run(control: &Control, id: &ServiceId, node: NodeId) -> Want {
    let service = &control.state.services[id];
    let cluster = control.state.meta.cluster;
    let image_id = service
        .prepared
        .as_ref()
        .map(|prepared| prepared.image_id.clone());
    let volumes = service
        .volumes
        .iter()
        .filter_map(|volume| control.state.volumes.get(volume))
        .map(|volume| {
            let mut label = volume.label(cluster, volume.epoch);
            label.service = Some(description(service));
            VolumeClaim {
                label,
                head: volume.head.clone(),
            }
        })
        .collect();
    let volume_ids = service.volumes.clone();
    let container = container_of(
        &control.state,
        id,
        &service.spec,
        volume_ids,
        node,
        image_id,
    );
    Want::Run { container, volumes }
}
