//! *one-writer*: no two nodes ever have the same volume writable at the same time. Between a commit and
//! the old holder's demotion both copies can be written to; then the older one has no container, and
//! nothing is written there.

use super::{Nodes, Truth, Verdict};
use crate::echo::runs_on;
use crate::node::Node;
use flocker_core::agent::Job;
use flocker_types::ids::{NodeId, ServiceId, VolumeId};
use flocker_types::task::VolumeClaim;

fn writers(nodes: &Nodes, volume: VolumeId) -> Vec<(NodeId, &ServiceId)> {
    let mut writers = Vec::new();
    for node in nodes.values() {
        for (service, container) in &node.engine.containers {
            if container.is_running() && container.volumes().contains(&volume) {
                writers.push((node.id, service));
            }
        }
    }
    writers
}

pub(super) fn started(id: NodeId, service: &ServiceId, nodes: &Nodes) -> Verdict {
    let Some(container) = nodes[&id].running(service) else {
        return Ok(());
    };
    for volume in container.volumes() {
        let writers = writers(nodes, *volume);
        if writers.len() > 1 {
            return Err(format!(
                "volume {} is written by {writers:?}",
                volume.short()
            ));
        }
    }
    let elsewhere = nodes
        .values()
        .find(|node| node.id != id && node.running(service).is_some());
    match elsewhere {
        Some(node) => Err(format!(
            "{service} runs on {} and on {}",
            node.name, nodes[&id].name
        )),
        None => Ok(()),
    }
}

pub(super) fn promoted(id: NodeId, claim: &VolumeClaim, nodes: &Nodes) -> Verdict {
    let volume = claim.label.id;
    if let Some(writer) = writers(nodes, volume).first() {
        return Err(format!(
            "volume {} becomes writable on {} while {writer:?} writes it",
            volume.short(),
            nodes[&id].name
        ));
    }
    let twin = nodes.values().find(|node| {
        let copy = node.pool.volumes.get(&volume);
        node.id != id
            && copy.is_some_and(|copy| copy.live.is_some() && copy.label.epoch >= claim.label.epoch)
    });
    match twin {
        Some(node) => Err(format!(
            "volume {} is held in epoch {} by {} already",
            volume.short(),
            claim.label.epoch,
            node.name
        )),
        None => Ok(()),
    }
}

pub(super) fn wrote(id: NodeId, volume: VolumeId, truth: &Truth) -> Verdict {
    match truth.holder.get(&volume) {
        Some(holder) if *holder != id => Err(format!(
            "a container writes volume {} on node {id}, which is held by node {holder}",
            volume.short()
        )),
        _ => Ok(()),
    }
}

/// A copy that a node's own service writes is not given up, not even when somebody says so.
pub(super) fn job(node: &Node, job: &Job) -> Verdict {
    let (volume, what) = match job {
        Job::Demote { volume, .. } => (*volume, "made a replica"),
        Job::Destroy { volume } => (*volume, "deleted"),
        _ => return Ok(()),
    };
    if runs_on(node, volume) {
        return Err(format!(
            "volume {} is to be {what} on {}, which is told to run a service on it",
            volume.short(),
            node.name
        ));
    }
    Ok(())
}

pub(super) fn unused(node: &Node, volume: VolumeId, what: &str) -> Verdict {
    let user = node
        .engine
        .containers
        .iter()
        .find(|(_, container)| container.is_running() && container.volumes().contains(&volume));
    match user {
        Some((service, _)) => Err(format!(
            "volume {} is {what} on {} while {service} writes it",
            volume.short(),
            node.name
        )),
        None => Ok(()),
    }
}
