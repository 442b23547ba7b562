//! Every acknowledged record is there: whenever a container starts, whenever somebody reads, and at
//! the end.

use super::{Truth, Verdict};
use crate::node::Node;
use flocker_types::ids::ServiceId;
use std::collections::BTreeSet;

pub(super) fn reads(node: &Node, service: &ServiceId, truth: &Truth) -> Verdict {
    let Some(container) = node.running(service) else {
        return Ok(());
    };
    for volume in container.volumes() {
        let Some(acked) = truth.acked.get(volume) else {
            continue;
        };
        let live = node
            .pool
            .volumes
            .get(volume)
            .and_then(|copy| copy.live.as_ref());
        let there: BTreeSet<u64> =
            live.map_or_else(BTreeSet::new, |live| live.records.iter().copied().collect());
        let missing: Vec<u64> = acked
            .iter()
            .copied()
            .filter(|r| !there.contains(r))
            .collect();
        if !missing.is_empty() {
            return Err(format!(
                "{service} on {} lacks {} acknowledged records, the first is {}",
                node.name,
                missing.len(),
                missing[0]
            ));
        }
    }
    Ok(())
}
