//! Volume streams between the pools of the test world.

use super::node::{Node, StoredVolume, failure};
use flocker_core::agent::{Event, JobId, JobOutcome};
use flocker_types::ids::{NodeId, SnapshotName};
use flocker_types::task::{CopiedVolume, CopyVolume, Failure, TaskOutcome};
use flocker_types::volume::{Checksum, VolumeCopy};
use std::collections::BTreeMap;

/// Sends volumes from one node's pool to another's, as the agents' shells would.
pub(super) fn copy(
    nodes: &mut BTreeMap<NodeId, Node>,
    id: NodeId,
    job: JobId,
    volumes: &[CopyVolume],
    target: NodeId,
) -> Vec<(NodeId, Event)> {
    let mut events = Vec::new();
    let mut copied = Vec::new();
    for volume in volumes {
        match send(nodes, id, volume, target) {
            Ok((done, there)) => {
                copied.push(done);
                events.push((target, Event::Volume(there)));
            }
            Err(failure) => {
                events.push((
                    id,
                    Event::JobDone {
                        job,
                        result: Err(failure),
                    },
                ));
                return events;
            }
        }
    }
    let outcome = JobOutcome::Task(TaskOutcome::Copied { volumes: copied });
    events.push((
        id,
        Event::JobDone {
            job,
            result: Ok(outcome),
        },
    ));
    events
}

fn send(
    nodes: &mut BTreeMap<NodeId, Node>,
    id: NodeId,
    copy: &CopyVolume,
    target: NodeId,
) -> Result<(CopiedVolume, VolumeCopy), Failure> {
    if nodes[&target].agent.is_none() || nodes[&id].cut_from == Some(target) {
        return Err(failure("the target does not answer"));
    }
    let grant = nodes[&target].ledger.grants.get(&copy.volume).cloned();
    let grant = grant.filter(|grant| grant.source == id && grant.epoch == copy.epoch);
    let label = grant.ok_or_else(|| failure("not expected"))?.label;
    let source = nodes
        .get_mut(&id)
        .expect("a node")
        .pool
        .volumes
        .get_mut(&copy.volume);
    let source = source.ok_or_else(|| failure("no volume"))?;
    let live = source.live.clone().ok_or_else(|| failure("not held"))?;
    if source.content_at(&copy.snapshot).is_none() {
        source.snapshots.push((copy.snapshot.clone(), live, None));
    }
    let of_source = source.snapshots.clone();
    let checksum = Checksum(format!("sum of {}", copy.snapshot));
    let stored = nodes
        .get_mut(&target)
        .expect("a node")
        .pool
        .volumes
        .entry(copy.volume);
    let stored = stored.or_insert_with(|| StoredVolume {
        label,
        snapshots: Vec::new(),
        live: None,
    });
    if stored.live.is_some() {
        return Err(failure("held there"));
    }
    let has = |stored: &StoredVolume, name: &SnapshotName| stored.content_at(name).is_some();
    if has(stored, &copy.snapshot) {
        return Err(failure(
            "the target has this snapshot from an attempt whose end was lost",
        ));
    }
    let full = !of_source.iter().any(|(name, _, _)| has(stored, name));
    for (name, content, _) in of_source {
        let wanted = copy.bases.contains(&name) || name == copy.snapshot;
        if wanted && !has(stored, &name) {
            stored
                .snapshots
                .push((name, content, Some(checksum.clone())));
        }
    }
    let done = CopiedVolume {
        volume: copy.volume,
        snapshot: copy.snapshot.clone(),
        checksum,
        bytes: if full { 1 << 30 } else { 1 << 16 },
        wire_bytes: 1 << 16,
        full,
        milliseconds: 20,
    };
    Ok((done, stored.copy()))
}
