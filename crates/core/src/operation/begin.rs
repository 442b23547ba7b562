//! An operation begins: its records are made, nothing is sent yet.

use crate::cluster::{Key, OperationRecord, ServiceRecord, VolumeRecord};
use crate::control::{Control, Ids};
use crate::mutant::{Mutant, planted};
use flocker_types::ids::{Epoch, Generation, NodeId, OperationId, VolumeId};
use flocker_types::operation::{
    HeldConnections, Operation, OperationKind, OperationStatus, OperationVolume, Phase,
};
use flocker_types::plan::PlanStep;
use flocker_types::route::{Route, RouteState};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// Makes the records of a plan's step; `address` is the cluster address for a service that is new.
/// The caller has checked that the step still fits the state.
pub(crate) fn begin(
    control: &mut Control,
    step: &PlanStep,
    address: Option<Ipv4Addr>,
    ids: &mut Ids,
) -> OperationId {
    let id = OperationId(ids.uuid());
    let volumes = match step.target {
        Some(target) => volumes(control, step, target, ids),
        None => Vec::new(),
    };
    let volume_ids: Vec<VolumeId> = volumes.iter().map(|volume| volume.id).collect();
    ensure_service(control, step, address);
    if let Some(service) = control.state.service_mut(&step.service) {
        service.operation = Some(id);
        if service.node.is_none() {
            // One that runs keeps what it runs with until the commit: an operation that fails leads back.
            service.spec = step.spec.clone();
            if step.target.is_some() {
                service.volumes = volume_ids;
            }
        }
    }
    let operation = Operation {
        id,
        service: step.service.clone(),
        kind: step.kind,
        source: step.source,
        target: step.target,
        spec: step.spec.clone(),
        volumes,
        phase: first_phase(step.kind),
        status: OperationStatus::Running,
        task_sequence: 0,
        rounds: Vec::new(),
        predicted: None,
        phase_ms: BTreeMap::new(),
        pause_ms: None,
        held: HeldConnections::default(),
        started: control.now.wall,
        finished: None,
        waiting_for: String::new(),
    };
    let phase = operation.phase;
    control.state.operations.insert(
        id,
        OperationRecord {
            operation,
            task: None,
            prepared: None,
            attempts: 0,
            source_stopped: false,
            copied: Vec::new(),
            copied_in_phase: None,
            failed_forward: None,
        },
    );
    control.touch_operation(id);
    super::switch::on_enter(control, id, phase);
    id
}

fn first_phase(kind: OperationKind) -> Phase {
    match kind {
        OperationKind::Remove => Phase::Stop,
        _ => Phase::Wait,
    }
}

fn ensure_service(control: &mut Control, step: &PlanStep, address: Option<Ipv4Addr>) {
    if control.state.services.contains_key(&step.service) {
        return;
    }
    let cluster_address = address.expect("the caller gives an address for every new service");
    let id = step.service.clone();
    let route = Route {
        service: id.clone(),
        generation: Generation::default(),
        cluster_address,
        ports: Vec::new(),
        state: RouteState::Down,
    };
    let record = ServiceRecord {
        id: id.clone(),
        spec: step.spec.clone(),
        node: None,
        cluster_address,
        volumes: Vec::new(),
        operation: None,
        directives: BTreeMap::new(),
        route,
        prepared: None,
        learned: crate::cluster::Learned::default(),
    };
    control.state.services.insert(id.clone(), record);
    control.state.touch(Key::Service(id));
}

/// The step's volumes; those that do not exist are registered for the target, to be made there.
fn volumes(
    control: &mut Control,
    step: &PlanStep,
    target: NodeId,
    ids: &mut Ids,
) -> Vec<OperationVolume> {
    let application = &step.service.application;
    let mut volumes = Vec::new();
    for planned in &step.volumes {
        give_up_unmade(control, step, &planned.name, target);
        let existing = control
            .state
            .volume_named(application, &planned.name)
            .filter(|_| !planted(Mutant::VolumeMadeAnew))
            .map(|v| v.id);
        let id = existing.unwrap_or_else(|| VolumeId(ids.uuid()));
        if existing.is_none() {
            let record = VolumeRecord {
                id,
                application: application.clone(),
                name: planned.name.clone(),
                holder: target,
                epoch: Epoch::FIRST,
                head: None,
                size_bytes_max: planned.size_bytes_max,
                snapshot_sequence: 0,
                created: false,
                destroy_after: None,
                grace_left_ms: 0,
                copies: BTreeMap::new(),
                granted: BTreeSet::new(),
            };
            control.state.volumes.insert(id, record);
            control.state.touch(Key::Volume(id));
        }
        if let Some(volume) = control.state.volume_mut(id) {
            let made_here = volume.holder == target;
            volume.granted.insert(target);
            volumes.push(OperationVolume {
                id,
                epoch: volume.epoch,
                head: None,
                made_here,
            });
        }
    }
    volumes
}

/// A volume that an earlier operation registered for another node, and of which nobody knows whether
/// it was made there, is given up: it never had data, and the name gets a new identity.
fn give_up_unmade(
    control: &mut Control,
    step: &PlanStep,
    name: &flocker_types::ids::VolumeName,
    target: NodeId,
) {
    let named = control.state.volume_named(&step.service.application, name);
    let Some(unmade) = named.filter(|volume| !volume.created && volume.holder != target) else {
        return;
    };
    let (id, now) = (unmade.id, control.now.wall);
    if let Some(volume) = control.state.volume_mut(id) {
        volume.destroy_after = Some(now);
        volume.created = true;
    }
}
