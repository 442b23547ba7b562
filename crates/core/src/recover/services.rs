//! Where each service runs, or shall run: whoever was told last, on volumes that it holds in their
//! present epochs.
//!
//! A directive that is right stays as it is, with its generation, so that its agent finds nothing to do.

use super::evidence::{Attendance, Evidence, Known};
use super::node_name;
use super::outcome::Unknown;
use crate::agent::fingerprint::fingerprint;
use crate::cluster::{Learned, ServiceRecord, State};
use crate::control::Control;
use crate::operation::{container_of, run};
use flocker_types::app::{LinkTarget, ServiceSpec};
use flocker_types::ids::{Generation, NodeId, ServiceId, VolumeId};
use flocker_types::route::{Route, RouteState};
use flocker_types::task::{ContainerSpec, Directive, VolumeClaim, Want};
use flocker_types::volume::{Role, ServiceDescription};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// What is to become of a service.
enum Fate {
    /// It runs, or shall run, here, as it was told.
    Placed(NodeId),
    /// It was being stopped here, and nobody else can run it.
    StartAgain(NodeId),
    /// It was being stopped here.
    Stopped(NodeId),
    /// It runs nowhere.
    Nowhere,
}

/// Puts every service into control's state.
pub(super) fn rebuild(
    control: &mut Control,
    evidence: &Evidence,
    known: &Known,
    unknowns: &mut Vec<Unknown>,
) {
    let described = described_by_labels(evidence);
    let mut services: BTreeSet<ServiceId> =
        known.directives.keys().map(|(id, _)| id.clone()).collect();
    services.extend(described.keys().cloned());
    services.extend(
        evidence
            .base
            .iter()
            .flat_map(|base| base.services.keys().cloned()),
    );
    let fates: BTreeMap<ServiceId, Fate> = services
        .into_iter()
        .map(|id| (id.clone(), fate(control.state(), evidence, known, &id)))
        .collect();
    for (id, fate) in &fates {
        insert(control, evidence, known, id, fate);
    }
    let addresses = addresses(control.state(), evidence, known, &described);
    give_addresses(control, &addresses, unknowns);
    adopt_by_labels(control, evidence, &described, unknowns);
    for (id, fate) in &fates {
        settle(control, evidence, id, fate, unknowns);
    }
    undescribed(control.state(), evidence, unknowns);
}

fn claims(directive: &Directive) -> &[VolumeClaim] {
    match &directive.want {
        Want::Run { volumes, .. } => volumes,
        Want::Stopped | Want::Absent => &[],
    }
}

fn container(directive: &Directive) -> Option<&ContainerSpec> {
    match &directive.want {
        Want::Run { container, .. } => Some(container),
        Want::Stopped | Want::Absent => None,
    }
}

/// Whether a node that follows this directive writes only what it holds.
fn is_right(state: &State, node: NodeId, directive: &Directive) -> bool {
    claims(directive).iter().all(|claim| {
        let volume = state.volumes.get(&claim.label.id);
        volume.is_some_and(|v| v.holder == node && v.epoch == claim.label.epoch)
    })
}

/// The node whose word is the newest, of those that may follow it.
fn newest(
    state: &State,
    known: &BTreeMap<(ServiceId, NodeId), Directive>,
    id: &ServiceId,
) -> Option<NodeId> {
    let of_service = known.iter().filter(|((service, _), _)| service == id);
    of_service
        .filter(|(_, directive)| container(directive).is_some())
        .filter(|((_, node), directive)| is_right(state, *node, directive))
        .max_by_key(|(_, directive)| directive.generation)
        .map(|((_, node), _)| *node)
}

fn fate(state: &State, evidence: &Evidence, known: &Known, id: &ServiceId) -> Fate {
    if let Some(node) = newest(state, &known.directives, id) {
        return Fate::Placed(node);
    }
    match newest(state, &known.stopped, id) {
        Some(node) if evidence.attendance() == Attendance::Complete => Fate::StartAgain(node),
        Some(node) => Fate::Stopped(node),
        None => Fate::Nowhere,
    }
}

/// What labels say of the services that use their volumes, each with the holder's node.
fn described_by_labels(evidence: &Evidence) -> BTreeMap<ServiceId, (NodeId, &ServiceDescription)> {
    evidence
        .copies()
        .filter(|(_, copy)| copy.role == Role::Holder)
        .filter_map(|(node, copy)| Some((node, copy.label.service.as_ref()?)))
        .map(|(node, description)| (description.id.clone(), (node, description)))
        .collect()
}

fn insert(control: &mut Control, evidence: &Evidence, known: &Known, id: &ServiceId, fate: &Fate) {
    let before = evidence
        .base
        .as_ref()
        .and_then(|base| base.services.get(id));
    let of_service = |directives: &BTreeMap<(ServiceId, NodeId), Directive>| {
        let found = directives.iter().filter(|((service, _), _)| service == id);
        found
            .map(|((_, node), d)| (*node, d.clone()))
            .collect::<BTreeMap<_, _>>()
    };
    let directives = of_service(&known.directives);
    let (node, run) = match fate {
        Fate::Placed(node) => (Some(*node), directives.get(node).cloned()),
        Fate::StartAgain(node) | Fate::Stopped(node) => {
            (Some(*node), of_service(&known.stopped).remove(node))
        }
        // One that was told to run on what it does not hold still has to be told to go.
        Fate::Nowhere => (
            None,
            directives
                .values()
                .find(|d| container(d).is_some())
                .cloned(),
        ),
    };
    let told = run.as_ref().and_then(container);
    let Some(spec) = told
        .map(|c| c.spec.clone())
        .or_else(|| before.map(|b| b.spec.clone()))
    else {
        return;
    };
    let here = before.filter(|before| before.node == node);
    let container = node.and_then(|node| memory_of(evidence, node, id));
    let prepared = container
        .map(|container| container.prepared.clone())
        .or_else(|| here.and_then(|before| before.prepared.clone()));
    let volumes = match node {
        Some(_) => told.map(|container| container.volumes.clone()),
        None => None,
    };
    let record = ServiceRecord {
        id: id.clone(),
        spec,
        node,
        cluster_address: Ipv4Addr::UNSPECIFIED,
        volumes: volumes.unwrap_or_default(),
        operation: None,
        directives,
        route: no_route(id),
        prepared: prepared.filter(|_| node.is_some()),
        learned: before.map_or_else(Learned::default, |before| before.learned),
    };
    control.state.services.insert(id.clone(), record);
}

fn no_route(id: &ServiceId) -> Route {
    Route {
        service: id.clone(),
        generation: Generation::default(),
        cluster_address: Ipv4Addr::UNSPECIFIED,
        ports: Vec::new(),
        state: RouteState::Down,
    }
}

fn memory_of<'a>(
    evidence: &'a Evidence,
    node: NodeId,
    id: &ServiceId,
) -> Option<&'a flocker_types::link::ContainerMemory> {
    let containers = &evidence.nodes.get(&node)?.memory.containers;
    containers.iter().find(|container| container.service == *id)
}

/// Each service's address for the others, where somebody knows it.
fn addresses(
    state: &State,
    evidence: &Evidence,
    known: &Known,
    described: &BTreeMap<ServiceId, (NodeId, &ServiceDescription)>,
) -> BTreeMap<ServiceId, Ipv4Addr> {
    let mut addresses = BTreeMap::new();
    // The least reliable first: what is known better replaces it.
    for ((id, _), directive) in &known.directives {
        if let Some(container) = container(directive) {
            addresses.extend(told_to_others(state, id, container));
        }
    }
    let of_base = evidence.base.iter().flat_map(|base| &base.services);
    addresses.extend(of_base.map(|(id, record)| (id.clone(), record.cluster_address)));
    for (id, (_, description)) in described {
        addresses.extend(description.cluster_address.map(|a| (id.clone(), a)));
    }
    let told = known.stopped.iter().chain(&known.directives);
    let mut told: Vec<_> = told.collect();
    told.sort_by_key(|(_, directive)| directive.generation);
    for ((id, _), directive) in told {
        let address = container(directive).and_then(|c| c.cluster_address);
        addresses.extend(address.map(|a| (id.clone(), a)));
    }
    addresses
}

/// The addresses of other services that a container has in its hosts file.
fn told_to_others(
    state: &State,
    id: &ServiceId,
    container: &ContainerSpec,
) -> Vec<(ServiceId, Ipv4Addr)> {
    let of_alias = |alias: &str| {
        let found = container.hosts.iter().find(|(name, _)| name == alias);
        found.map(|(_, address)| *address)
    };
    let node_addresses: BTreeSet<Ipv4Addr> = state.nodes.values().map(|n| n.address).collect();
    let links = container.spec.links.iter().filter_map(|link| {
        let address = of_alias(&link.alias).filter(|a| !node_addresses.contains(a))?;
        let other = match &link.target {
            LinkTarget::Service(name) => ServiceId {
                application: id.application.clone(),
                name: name.clone(),
            },
            LinkTarget::Published { remote_port, .. } => {
                state.publisher_of(*remote_port)?.id.clone()
            }
        };
        Some((other, address))
    });
    links.collect()
}

/// Every service gets its address; one of which nobody knows it gets a free one. Services that run
/// come first, and one that runs nowhere goes when its address is taken.
fn give_addresses(
    control: &mut Control,
    known: &BTreeMap<ServiceId, Ipv4Addr>,
    unknowns: &mut Vec<Unknown>,
) {
    let mut order: Vec<ServiceId> = control.state.services.keys().cloned().collect();
    order.sort_by_key(|id| {
        let placed = control.state.services[id].node.is_some();
        (!placed, !known.contains_key(id))
    });
    let mut taken: BTreeSet<Ipv4Addr> = known.values().copied().collect();
    let mut given = BTreeSet::new();
    for id in order {
        let mine = known
            .get(&id)
            .copied()
            .filter(|address| !given.contains(address));
        let free = || control.state.meta.service_network.free_address(&taken).ok();
        let address = match mine {
            Some(address) => address,
            None => {
                let Some(address) = free() else {
                    control.state.services.remove(&id);
                    continue;
                };
                let record = &control.state.services[&id];
                if record.node.is_some() && is_linked(&control.state, &id) {
                    unknowns.push(Unknown::ClusterAddress(id.clone(), address));
                }
                address
            }
        };
        given.insert(address);
        taken.insert(address);
        if let Some(record) = control.state.services.get_mut(&id) {
            record.cluster_address = address;
            record.route.cluster_address = address;
        }
    }
}

/// Whether another service of its application, or anybody by its port, links to it.
fn is_linked(state: &State, id: &ServiceId) -> bool {
    let ports: BTreeSet<u16> = state.services[id]
        .spec
        .ports
        .iter()
        .map(|p| p.external)
        .collect();
    let links_here = |spec: &ServiceSpec| {
        spec.links.iter().any(|link| match &link.target {
            LinkTarget::Service(name) => *name == id.name,
            LinkTarget::Published { remote_port, .. } => ports.contains(remote_port),
        })
    };
    state.services.values().any(|other| links_here(&other.spec))
}

/// Services of which only a label knows, because a ledger is lost: taken over where the container that
/// is there is exactly the one that would be made.
fn adopt_by_labels(
    control: &mut Control,
    evidence: &Evidence,
    described: &BTreeMap<ServiceId, (NodeId, &ServiceDescription)>,
    unknowns: &mut Vec<Unknown>,
) {
    for (id, (node, description)) in described {
        if control.state.services.contains_key(id) || !has_no_ledger(evidence, *node) {
            continue;
        }
        let Some(memory) = memory_of(evidence, *node, id) else {
            continue;
        };
        let mounts = &description.spec.mounts;
        let volumes: Vec<VolumeId> = mounts
            .iter()
            .filter_map(|mount| control.state.volume_named(&id.application, &mount.volume))
            .filter(|volume| volume.holder == *node)
            .map(|volume| volume.id)
            .collect();
        let Some(cluster_address) = description
            .cluster_address
            .filter(|_| volumes.len() == mounts.len())
        else {
            continue;
        };
        let record = ServiceRecord {
            id: id.clone(),
            spec: description.spec.clone(),
            node: Some(*node),
            cluster_address,
            volumes: volumes.clone(),
            operation: None,
            directives: BTreeMap::new(),
            route: Route {
                cluster_address,
                ..no_route(id)
            },
            prepared: Some(memory.prepared.clone()),
            learned: Learned::default(),
        };
        let image = Some(memory.prepared.image_id.clone());
        let wanted = container_of(&control.state, id, &description.spec, volumes, *node, image);
        if fingerprint(&wanted) != memory.fingerprint {
            continue;
        }
        control.state.services.insert(id.clone(), record);
        let want = run(control, id, *node);
        control.direct(id, *node, want);
        set_route(control, id, *node, evidence, unknowns);
    }
}

/// A node that was told nothing, though it has containers, has lost its ledger.
fn has_no_ledger(evidence: &Evidence, node: NodeId) -> bool {
    let memory = evidence.nodes.get(&node).map(|node| &node.memory);
    memory.is_some_and(|memory| memory.directives.is_empty())
}

/// The last word to every node that is to do something else than it was told, and the route.
fn settle(
    control: &mut Control,
    evidence: &Evidence,
    id: &ServiceId,
    fate: &Fate,
    unknowns: &mut Vec<Unknown>,
) {
    let Some(record) = control.state.services.get(id) else {
        return;
    };
    if !matches!(fate, Fate::Nowhere) && record.node.is_none() {
        return;
    }
    let right = match fate {
        Fate::Placed(node) => Some(*node),
        _ => None,
    };
    let second: Vec<NodeId> = record
        .directives
        .iter()
        .filter(|(node, directive)| Some(**node) != right && container(directive).is_some())
        .map(|(node, _)| *node)
        .collect();
    for node in second {
        unknowns.push(Unknown::SecondCopy(id.clone(), node_name(evidence, node)));
        control.direct(id, node, Want::Absent);
    }
    for node in made_ready(evidence, control.state(), id) {
        control.direct(id, node, Want::Absent);
    }
    match fate {
        Fate::Placed(node) => set_route(control, id, *node, evidence, unknowns),
        Fate::StartAgain(node) => {
            unknowns.push(Unknown::StartedAgain(
                id.clone(),
                node_name(evidence, *node),
            ));
            let want = run(control, id, *node);
            control.direct(id, *node, want);
            set_route(control, id, *node, evidence, unknowns);
        }
        Fate::Stopped(node) => {
            unknowns.push(Unknown::Interrupted(id.clone(), node_name(evidence, *node)));
            control.set_route(id, RouteState::Down);
        }
        Fate::Nowhere if control.state.services[id].node.is_none() => {
            control.set_route(id, RouteState::Down);
        }
        // It was taken over by its label.
        Fate::Nowhere => {}
    }
}

/// Nodes with a container of the service of which they were told nothing: an operation that did not end
/// had it made there.
fn made_ready(evidence: &Evidence, state: &State, id: &ServiceId) -> Vec<NodeId> {
    let told = |node: &NodeId| state.services[id].directives.contains_key(node);
    let nodes = evidence.nodes.keys().copied();
    nodes
        .filter(|node| !told(node) && memory_of(evidence, *node, id).is_some())
        .collect()
}

fn set_route(
    control: &mut Control,
    id: &ServiceId,
    node: NodeId,
    evidence: &Evidence,
    unknowns: &mut Vec<Unknown>,
) {
    match control.backend(id, node) {
        Some(backend) => control.set_route(id, RouteState::Serving(backend)),
        None => {
            unknowns.push(Unknown::Route(id.clone(), node_name(evidence, node)));
            control.set_route(id, RouteState::Down);
        }
    }
}

/// Containers of which nobody knows what they are.
fn undescribed(state: &State, evidence: &Evidence, unknowns: &mut Vec<Unknown>) {
    for (node, found) in &evidence.nodes {
        let told: BTreeSet<&ServiceId> =
            found.memory.directives.iter().map(|d| &d.service).collect();
        for container in &found.memory.containers {
            let known = state.services.contains_key(&container.service);
            if !known && !told.contains(&container.service) {
                let name = node_name(evidence, *node);
                unknowns.push(Unknown::Description(container.service.clone(), name));
            }
        }
    }
}
