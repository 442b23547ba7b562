//! Wait for dependencies; then get the target ready: volumes made, image there, container created.

use super::switch::description;
use super::{Drive, assign, await_task, facts, needs_node};
use crate::cluster::State;
use crate::control::Control;
use flocker_types::app::{DependencyCondition, LinkTarget, ServiceSpec, link_variables};
use flocker_types::ids::{NodeId, OperationId, ServiceId, ServiceName, VolumeId};
use flocker_types::operation::OperationKind;
use flocker_types::task::{
    ContainerSpec, ContainerState, Failure, IncomingVolume, Peer, Retry, Work,
};
use flocker_types::volume::VolumeLabel;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

pub(super) fn wait(control: &mut Control, id: OperationId) -> Drive {
    let facts = facts(control, id);
    let record = &control.state.operations[&id];
    for (name, condition) in &record.operation.spec.depends_on {
        let other = ServiceId {
            application: facts.service.application.clone(),
            name: name.clone(),
        };
        if is_met(control, &other, *condition) {
            continue;
        }
        let idle = control
            .state
            .services
            .get(&other)
            .is_none_or(|s| s.operation.is_none());
        let until = facts.entered.plus_ms(control.limits.dependency_ms);
        let failed = idle
            && control
                .state
                .services
                .get(&other)
                .is_none_or(|s| s.node.is_none());
        if failed || control.now.monotonic >= until {
            let message = format!("{other}, on which {} depends, is not there", facts.service);
            return Drive::Failed(Failure {
                message,
                retry: Retry::MayHelp,
            });
        }
        return Drive::Blocked {
            waiting_for: format!("{other}, on which it depends"),
            until,
        };
    }
    Drive::Next
}

fn is_met(control: &Control, other: &ServiceId, condition: DependencyCondition) -> bool {
    let node = control
        .state
        .services
        .get(other)
        .and_then(|service| service.node);
    let Some(status) = node.and_then(|node| control.status(other, node)) else {
        return false;
    };
    match condition {
        DependencyCondition::Healthy => matches!(status.state, ContainerState::Running { .. }),
        DependencyCondition::Started => matches!(
            status.state,
            ContainerState::Running { .. }
                | ContainerState::Starting
                | ContainerState::Unhealthy { .. }
        ),
    }
}

pub(super) fn prepare(control: &mut Control, id: OperationId) -> Drive {
    let facts = facts(control, id);
    let target = facts
        .target
        .expect("only removals have no target, and they do not prepare");
    if let Some(node) = facts.task {
        return await_task(control, id, node, "volumes, image and container".to_owned());
    }
    let record = &control.state.operations[&id];
    if record.prepared.is_some() {
        return Drive::Next;
    }
    if let Some(blocked) = needs_node(control, id, target) {
        return blocked;
    }
    let unmade = record
        .operation
        .volumes
        .iter()
        .filter_map(|volume| control.state.volumes.get(&volume.id))
        .find(|volume| !volume.created);
    let work = match unmade {
        Some(volume) => Work::CreateVolume {
            label: volume.label(control.state.meta.cluster, volume.epoch),
        },
        None => prepare_work(control, id, target),
    };
    let stall_limit_ms = control.limits.prepare_stall_ms;
    assign(control, id, target, work, stall_limit_ms);
    await_task(
        control,
        id,
        target,
        "volumes, image and container".to_owned(),
    )
}

/// The volume that was being made is there.
pub(super) fn volume_made(control: &mut Control, id: OperationId) {
    let volumes = control.state.operations[&id].operation.volumes.clone();
    let unmade = volumes
        .iter()
        .find(|v| control.state.volumes.get(&v.id).is_some_and(|v| !v.created));
    if let Some(volume) = unmade.and_then(|volume| control.state.volume_mut(volume.id)) {
        volume.created = true;
    }
}

fn prepare_work(control: &Control, id: OperationId, target: NodeId) -> Work {
    let record = &control.state.operations[&id];
    let service = &control.state.services[&record.operation.service];
    let same_image = service.spec.image == record.operation.spec.image;
    let keeps_image = record.operation.kind == OperationKind::Move && same_image;
    let image_id = service
        .prepared
        .as_ref()
        .filter(|_| keeps_image)
        .map(|p| p.image_id.clone());
    let incoming = record
        .copied_volumes()
        .iter()
        .filter_map(|id| control.state.volumes.get(id))
        .map(|volume| IncomingVolume {
            label: VolumeLabel {
                service: Some(description(service)),
                ..volume.label(control.state.meta.cluster, volume.epoch)
            },
            source: volume.holder,
            size_bytes_estimate: if volume.copies.contains_key(&target) {
                0
            } else {
                volume.used_bytes()
            },
        })
        .collect();
    Work::Prepare {
        service: service.id.clone(),
        container: Box::new(container(control, id, target, image_id)),
        incoming,
        image_peers: image_peers(control, record.operation.source, target),
    }
}

/// Every other node, the source first.
fn image_peers(control: &Control, source: Option<NodeId>, target: NodeId) -> Vec<Peer> {
    let mut nodes: Vec<NodeId> = control.links.agents().into_iter().collect();
    nodes.sort_by_key(|node| Some(*node) != source);
    nodes.retain(|node| *node != target);
    nodes
        .into_iter()
        .filter_map(|node| peer(control, node))
        .collect()
}

/// How other nodes reach a node's agent.
pub(super) fn peer(control: &Control, node: NodeId) -> Option<Peer> {
    let address = control.state.nodes.get(&node)?.stream_address?;
    Some(Peer { node, address })
}

/// The container of an operation's service on its target, with everything filled in.
pub(super) fn container(
    control: &Control,
    id: OperationId,
    target: NodeId,
    image_id: Option<String>,
) -> ContainerSpec {
    let operation = &control.state.operations[&id].operation;
    let volumes = operation.volumes.iter().map(|volume| volume.id).collect();
    container_of(
        &control.state,
        &operation.service,
        &operation.spec,
        volumes,
        target,
        image_id,
    )
}

/// A container with everything filled in.
pub(crate) fn container_of(
    state: &State,
    service: &ServiceId,
    spec: &ServiceSpec,
    volumes: Vec<VolumeId>,
    target: NodeId,
    image_id: Option<String>,
) -> ContainerSpec {
    let (hosts, link_environment) = links(state, service, spec, target);
    let record = state.services.get(service);
    ContainerSpec {
        spec: spec.clone(),
        hosts,
        link_environment,
        image_id,
        volumes,
        cluster_address: record.map(|record| record.cluster_address),
    }
}

type Names = (Vec<(String, Ipv4Addr)>, Vec<(String, String)>);

/// Host names and link variables of a service. A v1 link reaches whoever publishes its port; when
/// nobody does, the node itself, as the old Flocker had it.
fn links(state: &State, id: &ServiceId, spec: &ServiceSpec, target: NodeId) -> Names {
    let mut hosts = BTreeMap::new();
    let mut environment = Vec::new();
    let node_address = state.nodes[&target].address;
    let sibling = |name: &ServiceName| {
        let id = ServiceId {
            application: id.application.clone(),
            name: name.clone(),
        };
        state
            .services
            .get(&id)
            .map(|service| service.cluster_address)
    };
    for link in &spec.links {
        match &link.target {
            LinkTarget::Service(name) => {
                if let Some(address) = sibling(name) {
                    hosts.insert(link.alias.clone(), address);
                }
            }
            LinkTarget::Published {
                local_port,
                remote_port,
            } => {
                let address = state
                    .publisher_of(*remote_port)
                    .map_or(node_address, |service| service.cluster_address);
                hosts.entry(link.alias.clone()).or_insert(address);
                let variables =
                    link_variables(&link.alias, *local_port, &address.to_string(), *remote_port);
                environment.extend(variables);
            }
        }
    }
    (hosts.into_iter().collect(), environment)
}
