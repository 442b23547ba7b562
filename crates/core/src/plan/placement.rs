//! Which service goes to which node, and which ones go away.

use super::Planner;
use flocker_types::app::Placement;
use flocker_types::ids::{NodeId, ServiceId, ServiceName};
use flocker_types::operation::OperationKind;
use std::collections::{BTreeMap, BTreeSet};

/// The node of each service of the manifest that is to run.
///
/// A service goes where the manifest says; else, when the manifest says nothing of any node, it
/// stays where it or its data is; else it goes to the connected node that has the fewest services.
pub(super) fn place(
    planner: &mut Planner<'_>,
    placement: &Placement,
) -> BTreeMap<ServiceName, NodeId> {
    let mut placed = BTreeMap::new();
    let mut load = load(planner);
    for name in placement
        .services
        .keys()
        .filter(|n| !planner.application.services.contains_key(n))
    {
        planner.problems.push(format!(
            "{name}: it is placed, but no manifest describes it"
        ));
    }
    for name in planner.application.services.keys() {
        let node = match placement.services.get(name) {
            Some(text) => match planner.state.node_called(text) {
                Some(node) => node.id,
                None => {
                    let all = planner.names(planner.state.nodes.keys().copied());
                    planner.problems.push(format!(
                        "{name}: there is no node {text}; the cluster's nodes are {all}"
                    ));
                    continue;
                }
            },
            None if !placement.exact_nodes.is_empty() => continue,
            None => match choose(planner, &planner.id(name), &load) {
                Some(node) => node,
                None => {
                    planner
                        .problems
                        .push(format!("{name}: no node is connected; see flocker node ls"));
                    continue;
                }
            },
        };
        *load.entry(node).or_default() += 1;
        placed.insert(name.clone(), node);
    }
    placed
}

fn load(planner: &Planner<'_>) -> BTreeMap<NodeId, usize> {
    let mut load: BTreeMap<NodeId, usize> = planner
        .observed
        .connected
        .iter()
        .map(|node| (*node, 0))
        .collect();
    for service in planner.state.services.values() {
        if let Some(count) = service.node.and_then(|node| load.get_mut(&node)) {
            *count += 1;
        }
    }
    load
}

fn choose(planner: &Planner<'_>, id: &ServiceId, load: &BTreeMap<NodeId, usize>) -> Option<NodeId> {
    if let Some(node) = planner
        .state
        .services
        .get(id)
        .and_then(|record| record.node)
    {
        return Some(node);
    }
    let spec = planner.application.services.get(&id.name)?;
    let volumes = planner.state.existing_volumes(&id.application, spec);
    if let Some(volume) = volumes.iter().flatten().find(|volume| volume.created) {
        return Some(volume.holder);
    }
    load.iter()
        .min_by_key(|(_, count)| **count)
        .map(|(node, _)| *node)
}

/// Adds a removal for every running service of the application that the manifests want gone.
pub(super) fn removals(
    planner: &mut Planner<'_>,
    placement: &Placement,
    placed: &BTreeMap<ServiceName, NodeId>,
) {
    let mut exact: BTreeSet<NodeId> = BTreeSet::new();
    for text in &placement.exact_nodes {
        match planner.state.node_called(text) {
            Some(node) => drop(exact.insert(node.id)),
            None => {
                let all = planner.names(planner.state.nodes.keys().copied());
                planner.problems.push(format!(
                    "there is no node {text}; the cluster's nodes are {all}"
                ));
            }
        }
    }
    let state = planner.state;
    for record in state.services.values() {
        let Some(node) = record.node else { continue };
        let ours = record.id.application == planner.application.name;
        if !ours || placed.contains_key(&record.id.name) {
            continue;
        }
        let unwanted =
            placement.remove_absent && !planner.application.services.contains_key(&record.id.name);
        if !unwanted && !exact.contains(&node) {
            continue;
        }
        if let Some(operation) = record.operation {
            planner.problems.push(format!(
                "{}: operation {} is still going on; wait for it (flocker status)",
                record.id,
                operation.short()
            ));
            continue;
        }
        planner.push_step(
            record.id.clone(),
            OperationKind::Remove,
            Some(node),
            None,
            record.spec.clone(),
            Vec::new(),
        );
    }
}
