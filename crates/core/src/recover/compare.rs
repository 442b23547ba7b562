//! How two states differ in what lasts, in sentences: for the operator, who sees what the nodes knew
//! better than a backup, and for tests, where a state that was lost must come back.

use crate::cluster::{NodeRecord, ServiceRecord, State, VolumeRecord};
use flocker_types::ids::{NodeId, SnapshotName};
use flocker_types::route::{Route, RouteState};

/// What of `new` is not as in `old`, one sentence each. Not compared is what no node can know
/// ([`super::Unknown`]): operations, tokens, what was learned, when nodes joined, services that run
/// nowhere, and the numbers of generations.
pub fn differences(old: &State, new: &State) -> Vec<String> {
    let mut lines = Vec::new();
    let named = |id: &NodeId| {
        let record = old.nodes.get(id).or_else(|| new.nodes.get(id));
        record.map_or_else(|| id.short(), |node| node.name.to_string())
    };
    for (id, node) in &old.nodes {
        match new.nodes.get(id) {
            None => lines.push(format!("node {} is not there", node.name)),
            Some(other) if !same_node(node, other) => lines.push(format!(
                "node {} is {} at {}",
                node.name, other.name, other.address
            )),
            Some(_) => {}
        }
    }
    let added = new
        .nodes
        .iter()
        .filter(|(id, _)| !old.nodes.contains_key(id));
    lines.extend(added.map(|(_, node)| format!("node {} is new", node.name)));
    services(old, new, &named, &mut lines);
    for (id, volume) in &old.volumes {
        match new.volumes.get(id) {
            None => lines.push(format!("volume {} ({}) is gone", volume.name, id.short())),
            Some(other) => volume_lines(volume, other, &named, &mut lines),
        }
    }
    let added = new
        .volumes
        .iter()
        .filter(|(id, _)| !old.volumes.contains_key(id));
    lines.extend(added.map(|(id, volume)| {
        let holder = named(&volume.holder);
        format!(
            "volume {} ({}) is new, held by {holder}",
            volume.name,
            id.short()
        )
    }));
    lines
}

fn same_node(old: &NodeRecord, new: &NodeRecord) -> bool {
    let joined = old.joined;
    *old == NodeRecord {
        joined,
        ..new.clone()
    }
}

fn services(old: &State, new: &State, named: &impl Fn(&NodeId) -> String, lines: &mut Vec<String>) {
    let on = |service: &ServiceRecord| service.node.as_ref().map(named);
    for (id, service) in old
        .services
        .iter()
        .filter(|(_, service)| service.node.is_some())
    {
        let other = new.services.get(id).filter(|other| other.node.is_some());
        let Some(other) = other else {
            lines.push(format!("{id} runs nowhere"));
            continue;
        };
        if let (Some(before), Some(now)) = (on(service), on(other))
            && service.node != other.node
        {
            lines.push(format!("{id} runs on {now}, not on {before}"));
            continue;
        }
        let mut differs = |what: &str, same: bool| {
            if !same {
                lines.push(format!("{id}: {what} differs"));
            }
        };
        differs("its description", service.spec == other.spec);
        differs(
            "its address",
            service.cluster_address == other.cluster_address,
        );
        differs("the list of its volumes", service.volumes == other.volumes);
        differs("its container", service.prepared == other.prepared);
        differs("its route", same_route(&service.route, &other.route));
        let told = |service: &ServiceRecord| {
            let node = service.node?;
            service.directives.get(&node).cloned()
        };
        differs("what its node was told", told(service) == told(other));
    }
    for (id, service) in new
        .services
        .iter()
        .filter(|(_, service)| service.node.is_some())
    {
        if old
            .services
            .get(id)
            .is_none_or(|before| before.node.is_none())
        {
            let node = on(service).unwrap_or_default();
            lines.push(format!("{id} runs on {node}"));
        }
    }
}

/// Ports in any order, and the same end.
fn same_route(old: &Route, new: &Route) -> bool {
    let serves = |route: &Route| match &route.state {
        RouteState::Serving(backend) => Some(backend.clone()),
        RouteState::Held { .. } | RouteState::Down => None,
    };
    let ports = |route: &Route| {
        let mut ports: Vec<(u16, Option<u16>)> = route
            .ports
            .iter()
            .map(|port| (port.internal, port.external))
            .collect();
        ports.sort_unstable();
        ports
    };
    old.cluster_address == new.cluster_address
        && serves(old) == serves(new)
        && ports(old) == ports(new)
}

fn volume_lines(
    old: &VolumeRecord,
    new: &VolumeRecord,
    named: &impl Fn(&NodeId) -> String,
    lines: &mut Vec<String>,
) {
    let title = format!("volume {} ({})", old.name, old.id.short());
    if old.holder != new.holder || old.epoch != new.epoch {
        lines.push(format!(
            "{title} is held by {} in epoch {}, not by {} in epoch {}",
            named(&new.holder),
            new.epoch,
            named(&old.holder),
            old.epoch
        ));
        return;
    }
    let mut differs = |what: &str, same: bool| {
        if !same {
            lines.push(format!("{title}: {what} differs"));
        }
    };
    differs(
        "its name",
        (&old.application, &old.name) == (&new.application, &new.name),
    );
    differs("where its epoch began", old.head == new.head);
    differs("its size", old.size_bytes_max == new.size_bytes_max);
    let copies = |volume: &VolumeRecord| -> Vec<(NodeId, Vec<SnapshotName>)> {
        let copies = volume.copies.iter();
        copies
            .map(|(node, copy)| (*node, copy.snapshots.clone()))
            .collect()
    };
    differs("the list of its copies", copies(old) == copies(new));
}
