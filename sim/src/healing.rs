//! What a whole cluster looks like when nothing is wrong any more.

use crate::node::Node;
use crate::world::World;
use flocker_core::cluster::{Record, ServiceRecord, VolumeRecord};
use flocker_types::route::RouteState;

/// Control runs, nobody waits for it, and no operation goes on.
pub(crate) fn operations_ended(world: &World) -> Result<(), String> {
    if world.control.process.is_none() {
        return Err("control does not run".to_owned());
    }
    for record in world.control.store.records() {
        if let Record::Operation(record) = record
            && record.operation.finished.is_none()
        {
            let operation = &record.operation;
            return Err(format!(
                "{} of {} is in phase {} ({:?}, {:?})",
                operation.kind,
                operation.service,
                operation.phase,
                operation.status,
                live_wait(world, record.operation.id)
            ));
        }
    }
    if world.people_are_busy() {
        return Err("somebody still asks".to_owned());
    }
    Ok(())
}

fn live_wait(world: &World, id: flocker_types::ids::OperationId) -> String {
    let process = world.control.process.as_ref();
    let record = process.and_then(|process| process.core.state().operations.get(&id));
    record.map_or_else(String::new, |record| record.operation.waiting_for.clone())
}

/// Everything that shall run does, is reached from everywhere, and nothing else is left.
pub(crate) fn healed(world: &World) -> Result<(), String> {
    operations_ended(world)?;
    for record in world.control.store.records() {
        match record {
            Record::Service(service) => service_is_whole(world, service)?,
            Record::Volume(volume) => volume_is_whole(world, volume)?,
            _ => {}
        }
    }
    Ok(())
}

/// Every service that has a node runs there and answers.
pub(crate) fn services_run(world: &World) -> Result<(), String> {
    for record in world.control.store.records() {
        let Record::Service(service) = record else {
            continue;
        };
        let Some(node) = service.node.and_then(|id| world.nodes.get(&id)) else {
            continue;
        };
        if node
            .running(&service.id)
            .is_none_or(|container| !container.listens)
        {
            return Err(format!(
                "{} is not started again on {}",
                service.id, node.name
            ));
        }
    }
    Ok(())
}

fn service_is_whole(world: &World, service: &ServiceRecord) -> Result<(), String> {
    let id = &service.id;
    for node in world.nodes.values() {
        let here = service.node == Some(node.id);
        match node.engine.containers.get(id) {
            Some(container) if here => {
                if !container.is_running() || !container.listens {
                    return Err(format!(
                        "{id} does not run on {}: {:?}",
                        node.name, container.run
                    ));
                }
                if *container.volumes() != service.volumes
                    || container.request.spec.spec.image != service.spec.image
                {
                    return Err(format!("{id} runs on {} as something else", node.name));
                }
            }
            Some(_) => return Err(format!("{} has a container of {id}", node.name)),
            None if here => return Err(format!("{} has no container of {id}", node.name)),
            None => {}
        }
    }
    for node in world.nodes.values() {
        route_is_right(world, service, node)?;
    }
    Ok(())
}

fn route_is_right(world: &World, service: &ServiceRecord, node: &Node) -> Result<(), String> {
    let id = &service.id;
    let table = node.proxy.table.as_ref();
    let table = table.ok_or_else(|| format!("the proxy of {} does not run", node.name))?;
    let route = table.route(id);
    match (service.node, route.map(|route| &route.state)) {
        (Some(holder), Some(RouteState::Serving(backend))) => {
            let container = world.nodes[&holder].engine.containers.get(id);
            let right = container.is_some_and(|c| c.request.address == backend.container);
            if backend.node == holder && right {
                Ok(())
            } else {
                Err(format!(
                    "the proxy of {} leads clients of {id} astray",
                    node.name
                ))
            }
        }
        (None, Some(RouteState::Down) | None) => Ok(()),
        (_, state) => Err(format!("the proxy of {} has {id} as {state:?}", node.name)),
    }
}

fn volume_is_whole(world: &World, volume: &VolumeRecord) -> Result<(), String> {
    let name = &volume.name;
    if volume.destroy_after.is_some() {
        return Ok(());
    }
    for node in world.nodes.values() {
        let Some(copy) = node.pool.volumes.get(&volume.id) else {
            if node.id == volume.holder && volume.created {
                return Err(format!("{} holds {name} and has it not", node.name));
            }
            continue;
        };
        let holds = copy.live.is_some();
        let right = holds == (node.id == volume.holder);
        if !right || (holds && copy.label.epoch != volume.epoch) {
            return Err(format!(
                "{} has {name} as {} in epoch {}; it is held in epoch {}",
                node.name,
                copy.role(),
                copy.label.epoch,
                volume.epoch
            ));
        }
        let tails = |name: &str| name.starts_with("tail-");
        let names = copy.snapshots.iter().map(|s| s.name.as_str());
        let kept: Vec<&str> = names.filter(|name| !tails(name)).collect();
        // The newest, the head, and one for each other node.
        if kept.len() > world.nodes.len() + 1 {
            let (count, kept) = (kept.len(), kept.join(", "));
            return Err(format!(
                "{} keeps {count} snapshots of {name}: {kept}",
                node.name
            ));
        }
    }
    Ok(())
}

/// Every volume that nobody wanted deleted has everything that was ever written to it, on the node that
/// holds it.
pub(crate) fn everything_is_there(world: &World) -> Result<(), String> {
    for (id, holder) in &world.checks.truth.holder {
        let record = world
            .control
            .store
            .records()
            .find_map(|record| match record {
                Record::Volume(volume) if volume.id == *id => Some(volume),
                _ => None,
            });
        let Some(record) = record.filter(|record| record.destroy_after.is_none()) else {
            continue;
        };
        let copy = world.nodes[holder].pool.volumes.get(id);
        let live = copy.and_then(|copy| copy.live.as_ref());
        let written = world.checks.truth.of(*id);
        if live.is_none_or(|live| live.records != written) {
            return Err(format!(
                "volume {} has {} of {} records",
                record.name,
                live.map_or(0, |live| live.records.len()),
                written.len()
            ));
        }
        let acked = world.checks.truth.acked.get(id);
        let missing = acked.and_then(|acked| acked.iter().find(|r| !written.contains(r)));
        if let Some(missing) = missing {
            return Err(format!(
                "volume {} lacks the acknowledged record {missing}",
                record.name
            ));
        }
    }
    Ok(())
}

/// Nobody waits for an answer that will not come.
pub(crate) fn told(world: &World) -> Result<(), String> {
    let waiting = world
        .control
        .process
        .as_ref()
        .map_or(0, crate::control_process::ControlProcess::waiting);
    if waiting > 0 {
        return Err(format!("{waiting} requests have had no answer"));
    }
    Ok(())
}

/// Each held volume's label says what the store says, so that the store could be rebuilt.
pub(crate) fn labels(world: &World) -> Result<(), String> {
    for record in world.control.store.records() {
        let Record::Service(service) = record else {
            continue;
        };
        let Some(node) = service.node.and_then(|id| world.nodes.get(&id)) else {
            continue;
        };
        for volume in &service.volumes {
            let label = node.pool.volumes.get(volume).map(|copy| &copy.label);
            let described = label.and_then(|label| label.service.as_ref());
            let right = described.is_some_and(|d| d.id == service.id && d.spec == service.spec);
            if !right {
                return Err(format!(
                    "the label of a volume of {} describes another",
                    service.id
                ));
            }
        }
    }
    Ok(())
}
