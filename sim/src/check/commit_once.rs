//! *commit-once*: the holder changes in one transaction, by one epoch, and only to a node whose pool has
//! everything that was written, at the head that the transaction names, with the source at rest. A
//! service's node and its volumes' holders change together.

use super::{Nodes, Truth, Verdict};
use crate::store::Store;
use flocker_core::cluster::{Change, Key, Record, ServiceRecord, VolumeRecord};
use flocker_types::ids::{Epoch, NodeId, VolumeId};
use flocker_types::task::Want;
use std::collections::BTreeMap;

/// Who held which volume in which epoch.
#[derive(Debug, Default)]
pub(super) struct CommitOnce {
    holders: BTreeMap<(VolumeId, Epoch), NodeId>,
}

impl CommitOnce {
    pub(super) fn changes(
        &mut self,
        store: &Store,
        changes: &[Change],
        nodes: &Nodes,
        truth: &Truth,
    ) -> Verdict {
        let after = latest(changes);
        for change in after.values() {
            match change {
                Change::Put(Record::Volume(volume)) => {
                    self.volume(store, volume, nodes, truth)?;
                }
                Change::Put(Record::Service(service)) => {
                    service_is_whole(store, &after, service)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn volume(
        &mut self,
        store: &Store,
        volume: &VolumeRecord,
        nodes: &Nodes,
        truth: &Truth,
    ) -> Verdict {
        let id = volume.id;
        let known = self.holders.insert((id, volume.epoch), volume.holder);
        if known.is_some_and(|known| known != volume.holder) {
            return Err(format!(
                "volume {} has two holders in epoch {}",
                id.short(),
                volume.epoch
            ));
        }
        let Some(Record::Volume(old)) = store.get(&Key::Volume(id)) else {
            return Ok(());
        };
        if old.holder == volume.holder && old.epoch == volume.epoch {
            return Ok(());
        }
        if old.holder == volume.holder || volume.epoch != old.epoch.next() {
            return Err(format!(
                "volume {} goes from epoch {} to {}",
                id.short(),
                old.epoch,
                volume.epoch
            ));
        }
        proved(volume, nodes, truth)
    }
}

/// The new holder really has what the transaction says, and nobody writes.
fn proved(volume: &VolumeRecord, nodes: &Nodes, truth: &Truth) -> Verdict {
    let id = volume.id.short();
    let target = &nodes[&volume.holder];
    let copy = target.pool.volumes.get(&volume.id);
    let head = volume.head.as_ref();
    let content = copy
        .zip(head)
        .and_then(|(copy, head)| copy.content_at(head));
    let Some(content) = content else {
        return Err(format!(
            "volume {id} is committed to {}, which lacks its head",
            target.name
        ));
    };
    if *content != truth.of(volume.id) {
        return Err(format!(
            "volume {id} is committed with {} records, {} were written",
            content.len(),
            truth.of(volume.id).len()
        ));
    }
    let writes = nodes.values().find(|node| {
        let mut containers = node.engine.containers.values();
        containers.any(|c| c.is_running() && c.volumes().contains(&volume.id))
    });
    match writes {
        Some(node) => Err(format!(
            "volume {id} is committed while it is written on {}",
            node.name
        )),
        None => Ok(()),
    }
}

/// What a transaction makes of each key.
fn latest(changes: &[Change]) -> BTreeMap<Key, &Change> {
    let key = |change: &Change| match change {
        Change::Put(record) => record.key(),
        Change::Delete(key) => key.clone(),
    };
    changes.iter().map(|change| (key(change), change)).collect()
}

/// A service that runs somewhere has all its volumes there, and is told to run there and nowhere else.
fn service_is_whole(
    store: &Store,
    after: &BTreeMap<Key, &Change>,
    service: &ServiceRecord,
) -> Verdict {
    let told: Vec<NodeId> = service
        .directives
        .iter()
        .filter(|(_, directive)| matches!(directive.want, Want::Run { .. }))
        .map(|(node, _)| *node)
        .collect();
    if told.iter().any(|node| Some(*node) != service.node) {
        return Err(format!(
            "{} is told to run on {told:?}, not on its node",
            service.id
        ));
    }
    let Some(node) = service.node.filter(|_| service.operation.is_none()) else {
        return Ok(());
    };
    if told != [node] {
        return Err(format!(
            "{} is on node {node}, which is not told to run it",
            service.id
        ));
    }
    for volume in &service.volumes {
        let key = Key::Volume(*volume);
        let record = match after.get(&key) {
            Some(Change::Put(record)) => Some(record),
            Some(Change::Delete(_)) => None,
            None => store.get(&key),
        };
        let Some(Record::Volume(volume)) = record else {
            return Err(format!("{} has a volume that is not there", service.id));
        };
        if volume.holder != node {
            return Err(format!(
                "{} runs on {node}, its volume {} is held by {}",
                service.id, volume.name, volume.holder
            ));
        }
    }
    Ok(())
}
