//! Who holds each volume: the highest epoch with a copy counts; what could be either way is refused.

use super::evidence::{Evidence, Known};
use super::node_name;
use super::outcome::{Conflict, CopySeen, Unknown};
use crate::cluster::{CopyRecord, State, VolumeRecord};
use flocker_types::ids::{Epoch, NodeId, SnapshotName, VolumeId, VolumeName};
use flocker_types::volume::{Role, VolumeCopy, VolumeLabel};
use std::collections::{BTreeMap, BTreeSet};

/// Everything that is said of one volume.
struct Said<'a> {
    id: VolumeId,
    copies: BTreeMap<NodeId, &'a VolumeCopy>,
    /// Who may be its holder, with the epoch.
    holders: BTreeSet<(Epoch, NodeId)>,
    /// With which snapshot an epoch began.
    heads: BTreeMap<Epoch, SnapshotName>,
    base: Option<&'a VolumeRecord>,
    labels: Vec<&'a VolumeLabel>,
}

/// Every volume's record.
///
/// # Errors
/// Every conflict.
pub(super) fn decide(
    evidence: &Evidence,
    known: &Known,
) -> Result<BTreeMap<VolumeId, VolumeRecord>, Vec<Conflict>> {
    let mut volumes = BTreeMap::new();
    let mut conflicts = Vec::new();
    for (id, said) in gather(evidence, known) {
        match said.record(evidence) {
            Ok(Some(record)) => drop(volumes.insert(id, record)),
            Ok(None) => {}
            Err(conflict) => conflicts.push(conflict),
        }
    }
    match conflicts.is_empty() {
        true => Ok(volumes),
        false => Err(conflicts),
    }
}

fn gather<'a>(evidence: &'a Evidence, known: &'a Known) -> BTreeMap<VolumeId, Said<'a>> {
    let mut all: BTreeMap<VolumeId, Said<'a>> = BTreeMap::new();
    for (node, copy) in evidence.copies() {
        let said = all
            .entry(copy.label.id)
            .or_insert_with(|| Said::of(copy.label.id));
        said.copies.insert(node, copy);
        said.labels.push(&copy.label);
        if copy.role == Role::Holder {
            said.holders.insert((copy.label.epoch, node));
        }
    }
    // A node that has come and has no copy cannot be the holder, whatever it was told.
    let may_hold =
        |node: NodeId, id| !evidence.nodes.contains_key(&node) || evidence.copy(node, id).is_some();
    for (node, claim) in known.claims() {
        let id = claim.label.id;
        let said = all.entry(id).or_insert_with(|| Said::of(id));
        said.labels.push(&claim.label);
        if may_hold(node, id) {
            said.holders.insert((claim.label.epoch, node));
        }
        if let Some(head) = &claim.head {
            said.heads.insert(claim.label.epoch, head.clone());
        }
    }
    for record in evidence.base.iter().flat_map(|base| base.volumes.values()) {
        let said = all.entry(record.id).or_insert_with(|| Said::of(record.id));
        said.base = Some(record);
        if may_hold(record.holder, record.id) {
            said.holders.insert((record.epoch, record.holder));
        }
        if let Some(head) = &record.head {
            said.heads.insert(record.epoch, head.clone());
        }
    }
    all
}

impl<'a> Said<'a> {
    fn of(id: VolumeId) -> Self {
        Self {
            id,
            copies: BTreeMap::new(),
            holders: BTreeSet::new(),
            heads: BTreeMap::new(),
            base: None,
            labels: Vec::new(),
        }
    }

    /// The record; none when nothing is left of the volume.
    fn record(&self, evidence: &Evidence) -> Result<Option<VolumeRecord>, Conflict> {
        let away = |node: &NodeId| !evidence.nodes.contains_key(node);
        if self.copies.is_empty() && !self.holders.iter().any(|(_, node)| away(node)) {
            return Ok(None);
        }
        let (epoch, holder) = match evidence.preferred.get(&self.id) {
            Some(node) => self.preferred(evidence, *node)?,
            None => self.holder(evidence)?,
        };
        let newest = |other: &&&VolumeLabel| other.epoch;
        let label = self.labels.iter().max_by_key(newest);
        let Some((application, name)) = label
            .map(|label| (label.application.clone(), label.name.clone()))
            .or_else(|| {
                self.base
                    .map(|base| (base.application.clone(), base.name.clone()))
            })
        else {
            return Ok(None);
        };
        let of_label = label.and_then(|label| label.size_bytes_max);
        let size_bytes_max = of_label.or(self.base.and_then(|base| base.size_bytes_max));
        Ok(Some(VolumeRecord {
            id: self.id,
            application,
            name,
            holder,
            epoch,
            head: self.head(epoch, holder),
            size_bytes_max,
            snapshot_sequence: self.snapshot_sequence(),
            created: self.base.is_none_or(|base| base.created) || !self.copies.is_empty(),
            granted: self.granted(evidence),
            destroy_after: self.base.and_then(|base| base.destroy_after),
            grace_left_ms: self.base.map_or(0, |base| base.grace_left_ms),
            copies: self.copy_records(evidence),
        }))
    }

    /// Who was told to have a copy, as far as is known; a member that has not come may have been.
    fn granted(&self, evidence: &Evidence) -> BTreeSet<NodeId> {
        let mut granted = self.base.map_or_else(BTreeSet::new, |b| b.granted.clone());
        granted.extend(evidence.absent_of_base().keys());
        granted
    }

    /// The one node with the highest epoch, of which nobody knows a higher one.
    fn holder(&self, evidence: &Evidence) -> Result<(Epoch, NodeId), Conflict> {
        let known = self.epoch_max();
        let highest: Vec<NodeId> = self
            .holders
            .iter()
            .filter(|(epoch, _)| *epoch == known)
            .map(|(_, node)| *node)
            .collect();
        match highest[..] {
            [holder] => Ok((known, holder)),
            [] => Err(Conflict::HolderAway {
                name: self.name(),
                volume: self.id,
                epoch: known,
                copies: self.copies_seen(evidence),
            }),
            _ => Err(Conflict::TwoHolders {
                name: self.name(),
                volume: self.id,
                epoch: known,
                nodes: highest
                    .iter()
                    .map(|node| node_name(evidence, *node))
                    .collect(),
            }),
        }
    }

    /// What the operator said. A copy that is not the holder's already begins an epoch of its own, so
    /// that whoever comes later with the present one is the older.
    fn preferred(&self, evidence: &Evidence, node: NodeId) -> Result<(Epoch, NodeId), Conflict> {
        let Some(copy) = self.copies.get(&node) else {
            return Err(Conflict::NoSuchCopy {
                volume: self.id,
                node: node_name(evidence, node),
            });
        };
        let known = self.epoch_max();
        if copy.role == Role::Holder && copy.label.epoch == known {
            return Ok((known, node));
        }
        Ok((known.next(), node))
    }

    fn epoch_max(&self) -> Epoch {
        let of_labels = self.labels.iter().map(|label| label.epoch);
        let of_holders = self.holders.iter().map(|(epoch, _)| *epoch);
        let of_base = self.base.iter().map(|base| base.epoch);
        of_labels
            .chain(of_holders)
            .chain(of_base)
            .max()
            .unwrap_or(Epoch::FIRST)
    }

    /// Where the epoch began: as somebody was told, or else the newest snapshot on the holder that was
    /// taken in an earlier epoch. None where a writable copy of an earlier epoch was preferred: it goes on
    /// as it is, with what was written after its newest snapshot.
    fn head(&self, epoch: Epoch, holder: NodeId) -> Option<SnapshotName> {
        if let Some(head) = self.heads.get(&epoch) {
            return Some(head.clone());
        }
        let copy = self.copies.get(&holder)?;
        if copy.role == Role::Holder && copy.label.epoch < epoch {
            return None;
        }
        let snapshots = &copy.snapshots;
        let earlier = |name: &&SnapshotName| {
            numbers(name).is_some_and(|(taken_in, _)| Epoch(taken_in) < epoch)
        };
        snapshots
            .iter()
            .rev()
            .map(|s| &s.name)
            .find(earlier)
            .cloned()
    }

    fn snapshot_sequence(&self) -> u64 {
        let snapshots = self.copies.values().flat_map(|copy| &copy.snapshots);
        let of_names = snapshots
            .filter_map(|s| numbers(&s.name))
            .map(|(_, sequence)| sequence);
        let of_base = self.base.map(|base| base.snapshot_sequence);
        of_names.chain(of_base).max().unwrap_or_default()
    }

    fn copy_records(&self, evidence: &Evidence) -> BTreeMap<NodeId, CopyRecord> {
        let of_base = self.base.iter().flat_map(|base| base.copies.clone());
        let away = of_base.filter(|(node, _)| !evidence.nodes.contains_key(node));
        let here = self
            .copies
            .iter()
            .map(|(node, copy)| (*node, copy_record(copy)));
        away.chain(here).collect()
    }

    fn copies_seen(&self, evidence: &Evidence) -> Vec<CopySeen> {
        let seen = |(node, copy): (&NodeId, &&VolumeCopy)| CopySeen {
            node: node_name(evidence, *node),
            epoch: copy.label.epoch,
            newest: copy.head().cloned(),
        };
        self.copies.iter().map(seen).collect()
    }

    fn name(&self) -> VolumeName {
        let of_labels = self.labels.first().map(|label| label.name.clone());
        let named = of_labels.or_else(|| self.base.map(|base| base.name.clone()));
        named.unwrap_or_else(|| {
            VolumeName::new(self.id.short()).expect("hexadecimal digits are a name")
        })
    }
}

fn copy_record(copy: &VolumeCopy) -> CopyRecord {
    CopyRecord {
        role: copy.role,
        epoch: copy.label.epoch,
        snapshots: copy.snapshots.iter().map(|s| s.name.clone()).collect(),
        used_bytes: copy.used_bytes,
    }
}

/// Epoch and sequence of a snapshot that control named: `e<epoch>-s<sequence>-<operation>`.
fn numbers(name: &SnapshotName) -> Option<(u64, u64)> {
    let rest = name.as_str().strip_prefix('e')?;
    let (epoch, rest) = rest.split_once("-s")?;
    let (sequence, _) = rest.split_once('-')?;
    Some((epoch.parse().ok()?, sequence.parse().ok()?))
}

/// One name means one volume. Of several, the one in use keeps it, or the one with the lowest id.
pub(super) fn name_apart(state: &mut State, unknowns: &mut Vec<Unknown>) {
    let used: BTreeSet<VolumeId> = state
        .services
        .values()
        .flat_map(|service| service.volumes.iter().copied())
        .collect();
    for id in &used {
        // A deletion that the base knows was taken back since.
        if let Some(volume) = state.volumes.get_mut(id) {
            volume.destroy_after = None;
        }
    }
    let mut order: Vec<VolumeId> = state.volumes.keys().copied().collect();
    order.sort_by_key(|id| (!used.contains(id), *id));
    let mut taken = BTreeSet::new();
    for id in order {
        let Some(volume) = state.volumes.get_mut(&id) else {
            continue;
        };
        if volume.destroy_after.is_some() {
            continue;
        }
        if taken.insert((volume.application.clone(), volume.name.clone())) {
            continue;
        }
        // Cut so that it stays a name.
        let stem: String = volume.name.as_str().chars().take(100).collect();
        if let Ok(name) = VolumeName::new(format!("{stem}-{}", id.short())) {
            unknowns.push(Unknown::Renamed(volume.name.clone(), name.clone()));
            volume.name = name;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_a_snapshot_are_read_from_its_name() {
        let read = |name: &str| numbers(&SnapshotName::new(name).unwrap());
        assert_eq!(read("e12-s345-01234567"), Some((12, 345)));
        assert_eq!(read("tail-e12"), None);
        assert_eq!(read("e1-s-01234567"), None);
    }
}
