//! Chores: what has to be put right on the nodes and belongs to no operation. Each is found by
//! comparing what is with what should be, so a chore that was lost is simply found again.

use super::Control;
use crate::cluster::{CopyRecord, Key, VolumeRecord};
use crate::mutant::{Mutant, planted};
use flocker_types::ids::{NodeId, OperationId, SnapshotName, TaskId, VolumeId};
use flocker_types::link::ToAgent;
use flocker_types::task::{Task, Work};
use flocker_types::volume::Role;
use std::collections::BTreeSet;
use uuid::Uuid;

/// A node that failed at a chore is left alone this long, in milliseconds.
const CHORE_DELAY_MS: u64 = 30_000;
/// Of a grace time that passes no less than this is written down, in milliseconds.
const GRACE_STEP_MS_MIN: u64 = 1_000;
/// A chore that shows no progress for this long is given up, in milliseconds.
const CHORE_STALL_LIMIT_MS: u64 = 300_000;

impl Control {
    pub(super) fn do_chores(&mut self) {
        self.count_grace();
        let mut found: Vec<(NodeId, VolumeId, Work)> = Vec::new();
        let mut gone = Vec::new();
        for volume in self.state.volumes.values() {
            if self.is_busy(volume) {
                continue;
            }
            let due = volume
                .destroy_after
                .is_some_and(|time| time <= self.now.wall && volume.grace_left_ms == 0)
                || volume.destroy_after.is_some() && planted(Mutant::GraceTimeSkipped);
            if due && volume.copies.is_empty() && volume.granted.is_empty() {
                gone.push(volume.id);
            }
            // A node that was told to make it may do so late: it goes there, too, seen or not.
            let unseen = volume.granted.iter();
            let unseen = unseen.filter(|node| due && !volume.copies.contains_key(node));
            found.extend(unseen.map(|node| (*node, volume.id, deletion(volume))));
            for (node, copy) in &volume.copies {
                if let Some(work) = chore(volume, *node, copy, due) {
                    found.push((*node, volume.id, work));
                }
            }
        }
        for id in gone {
            self.state.volumes.remove(&id);
            self.state.touch(Key::Volume(id));
        }
        for (node, volume, work) in found {
            self.give_chore(node, volume, work);
        }
    }

    /// Grace time passes while control runs, whatever the date says. What is left is written down now
    /// and then, so that a restart makes a deletion later, never sooner.
    fn count_grace(&mut self) {
        let now = self.now.monotonic;
        let volumes = &self.state.volumes;
        let waits =
            |volume: &VolumeRecord| volume.destroy_after.is_some() && volume.grace_left_ms > 0;
        self.grace_since
            .retain(|id, _| volumes.get(id).is_some_and(waits));
        let waiting: Vec<(VolumeId, u64)> = volumes
            .values()
            .filter(|volume| waits(volume))
            .map(|volume| (volume.id, volume.grace_left_ms))
            .collect();
        for (id, left_ms) in waiting {
            let since = *self.grace_since.entry(id).or_insert(now);
            let passed_ms = now.since_ms(since);
            let worth_ms = (left_ms / 10).max(GRACE_STEP_MS_MIN).min(left_ms);
            if passed_ms >= worth_ms
                && let Some(volume) = self.state.volume_mut(id)
            {
                volume.grace_left_ms = left_ms.saturating_sub(passed_ms);
                self.grace_since.insert(id, now);
            }
        }
    }

    /// Volumes of a service with an operation are that operation's business.
    fn is_busy(&self, volume: &VolumeRecord) -> bool {
        !volume.created
            || self
                .state
                .user_of(volume.id)
                .is_some_and(|service| service.operation.is_some())
    }

    fn give_chore(&mut self, node: NodeId, volume: VolumeId, work: Work) {
        let has_one = |(of, task): &(NodeId, Task)| *of == node && subject(&task.work) == volume;
        let delayed = self.links.chores_delayed_until(node) > self.now.monotonic;
        if self.links.agent(node).is_none() || delayed || self.chores.values().any(has_one) {
            return;
        }
        // One counter for all chores of all time: a number that an agent has seen never returns.
        let number = self.state.next_generation().0;
        let sequence = u32::try_from(number & u64::from(u32::MAX)).unwrap_or(u32::MAX);
        let id = TaskId {
            operation: OperationId(Uuid::nil()),
            sequence,
        };
        let task = Task {
            id,
            work,
            stall_limit_ms: CHORE_STALL_LIMIT_MS,
        };
        self.chores.insert(id, (node, task.clone()));
        self.tell_agent(node, ToAgent::Task(task));
    }

    pub(super) fn delay_chores(&mut self, node: NodeId) {
        self.links
            .delay_chores(node, self.now.monotonic.plus_ms(CHORE_DELAY_MS));
    }
}

fn deletion(volume: &VolumeRecord) -> Work {
    Work::Destroy {
        volume: volume.id,
        epoch: volume.epoch,
    }
}

fn subject(work: &Work) -> VolumeId {
    match work {
        Work::Demote { volume, .. } | Work::Prune { volume, .. } | Work::Destroy { volume, .. } => {
            *volume
        }
        Work::CreateVolume { label } => label.id,
        Work::Prepare { .. } | Work::Copy { .. } => VolumeId(Uuid::nil()),
    }
}

/// What has to be put right with one copy.
fn chore(volume: &VolumeRecord, node: NodeId, copy: &CopyRecord, due: bool) -> Option<Work> {
    let id = volume.id;
    if due {
        return Some(deletion(volume));
    }
    let outdated = node != volume.holder && copy.epoch < volume.epoch;
    if outdated && copy.role == Role::Holder && !planted(Mutant::OldHolderKept) {
        let head = demotion_head(volume, node)?;
        return Some(Work::Demote {
            volume: id,
            epoch: volume.epoch,
            head,
        });
    }
    let keep = needed_snapshots(volume, node);
    let superfluous = copy.snapshots.iter().filter(|name| !keep.contains(*name));
    let delete: Vec<SnapshotName> = superfluous.cloned().collect();
    (!delete.is_empty()).then_some(Work::Prune { volume: id, delete })
}

/// At which snapshot the copy of a node that holds a volume no more becomes a replica: where its
/// successor began. When other holders have come since, that is the newest that it has: it has taken
/// none afterwards, and what was written afterwards is kept as its tail.
pub(crate) fn demotion_head(volume: &VolumeRecord, node: NodeId) -> Option<SnapshotName> {
    if planted(Mutant::DemotedAtWrongHead) {
        return volume.copies.get(&node)?.snapshots.first().cloned();
    }
    let copy = volume.copies.get(&node)?;
    let succeeded = copy.epoch.next() == volume.epoch;
    let newest = copy
        .snapshots
        .iter()
        .rfind(|name| !name.as_str().starts_with("tail-"));
    match &volume.head {
        Some(head) if succeeded || copy.snapshots.contains(head) => Some(head.clone()),
        _ => newest.cloned(),
    }
}

/// Snapshots that a copy must keep: its newest, where the holder's epoch began, every tail, and
/// with every other copy the newest one that both have, from which a delta can be sent.
pub(crate) fn needed_snapshots(volume: &VolumeRecord, node: NodeId) -> BTreeSet<SnapshotName> {
    let Some(copy) = volume.copies.get(&node) else {
        return BTreeSet::new();
    };
    let mut keep: BTreeSet<SnapshotName> = BTreeSet::new();
    keep.extend(copy.snapshots.last().cloned());
    keep.extend(volume.head.clone());
    keep.extend(
        copy.snapshots
            .iter()
            .filter(|n| n.as_str().starts_with("tail-"))
            .cloned(),
    );
    let others = volume.copies.iter().filter(|(other, _)| **other != node);
    for (_, other) in others.filter(|_| !planted(Mutant::CommonBasePruned)) {
        keep.extend(newest_common(copy, other).cloned());
    }
    keep
}

/// The newest snapshot that two copies have, in the order of the first.
pub(crate) fn newest_common<'a>(
    copy: &'a CopyRecord,
    other: &CopyRecord,
) -> Option<&'a SnapshotName> {
    copy.snapshots
        .iter()
        .rev()
        .find(|name| other.snapshots.contains(name))
}
