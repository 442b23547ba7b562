//! *nothing-lost*: a planned move loses no byte that a container had written before it stopped. Where a
//! holder begins, everything that was ever written is there; where one ends, nothing comes after its
//! head; and what a later move builds on is not deleted.

use super::{Nodes, Truth, Verdict};
use crate::node::Node;
use crate::store::Store;
use flocker_core::cluster::{Key, Record};
use flocker_types::ids::{Epoch, NodeId, ServiceId, SnapshotName, VolumeId};

fn compare(volume: VolumeId, content: &[u64], truth: &Truth) -> Verdict {
    let written = truth.of(volume);
    if content == written {
        return Ok(());
    }
    let same = content
        .iter()
        .zip(written)
        .take_while(|(a, b)| a == b)
        .count();
    Err(format!(
        "volume {} has {} records, of which {same} are those of the {} that were written",
        volume.short(),
        content.len(),
        written.len()
    ))
}

pub(super) fn promoted(volume: VolumeId, content: Option<&[u64]>, truth: &Truth) -> Verdict {
    compare(volume, content.unwrap_or_default(), truth)
}

pub(super) fn started(node: &Node, service: &ServiceId, truth: &Truth) -> Verdict {
    let Some(container) = node.running(service) else {
        return Ok(());
    };
    for volume in container.volumes() {
        let live = node
            .pool
            .volumes
            .get(volume)
            .and_then(|copy| copy.live.as_ref());
        let Some(live) = live else {
            return Err(format!(
                "{service} starts without its volume {}",
                volume.short()
            ));
        };
        compare(*volume, &live.records, truth)?;
    }
    Ok(())
}

pub(super) fn demoted(volume: VolumeId, held_in: Epoch, tail: Option<&[u64]>) -> Verdict {
    match tail {
        None => Ok(()),
        Some(tail) => Err(format!(
            "volume {} was written after its final snapshot in epoch {held_in}: its tail has {} \
             records",
            volume.short(),
            tail.len()
        )),
    }
}

pub(super) fn pruned(
    id: NodeId,
    volume: VolumeId,
    gone: &[SnapshotName],
    nodes: &Nodes,
    store: &Store,
) -> Verdict {
    if let Some(tail) = gone.iter().find(|name| name.as_str().starts_with("tail-")) {
        return Err(format!("the tail {tail} was deleted"));
    }
    let Some(Record::Volume(record)) = store.get(&Key::Volume(volume)) else {
        return Ok(());
    };
    if let Some(head) = record.head.as_ref().filter(|head| gone.contains(head)) {
        return Err(format!("the head {head} of the present epoch was deleted"));
    }
    let names = |id: NodeId| -> Vec<SnapshotName> {
        let copy = nodes[&id].pool.volumes.get(&volume);
        copy.map_or_else(Vec::new, |copy| {
            copy.snapshots.iter().map(|s| s.name.clone()).collect()
        })
    };
    let kept = names(id);
    for other in nodes.keys().filter(|other| **other != id) {
        let theirs = names(*other);
        let had = gone.iter().any(|name| theirs.contains(name));
        let has = kept.iter().any(|name| theirs.contains(name));
        if had && !has {
            return Err(format!(
                "{} deleted the last snapshot of volume {} that it shared with {}",
                nodes[&id].name,
                volume.short(),
                nodes[other].name
            ));
        }
    }
    Ok(())
}
