//! *hold-is-comfort*: no operation waits long for a proxy, and no route leads to a container that has
//! not answered. (That nothing else depends on proxies and dates is shown by runs in which proxies
//! do not hold and dates are wrong, and every other checker is content.)

use super::{Nodes, Verdict};
use flocker_core::agent::Ledger;
use flocker_core::cluster::{Change, Record};
use flocker_types::ids::{NodeId, OperationId, ServiceId};
use flocker_types::operation::{OperationKind, OperationStatus, Phase};
use flocker_types::task::Want;
use std::collections::{BTreeMap, BTreeSet};

/// A hold that is confirmed by nobody ends after this at the latest, in microseconds: half a second by
/// the design, with room for the store and for clocks.
const HOLD_US_MAX: u64 = 2_500_000;

/// What is watched.
#[derive(Debug, Default)]
pub(super) struct HoldIsComfort {
    /// Since when operations are in the hold.
    since: BTreeMap<OperationId, u64>,
    /// Containers that have answered since their directive came.
    answered: BTreeSet<(NodeId, ServiceId)>,
}

impl HoldIsComfort {
    /// Control, or its store, stood still: nothing can be said of the holds that go on.
    pub(super) fn interrupted(&mut self) {
        self.since.clear();
    }

    pub(super) fn ledger(&mut self, id: NodeId, old: &Ledger, new: &Ledger) {
        for (service, directive) in &new.directives {
            let fresh = old.directives.get(service) != Some(directive);
            if fresh && matches!(directive.want, Want::Run { .. }) {
                // What runs already and stays is ready already; if it is replaced it answers anew.
                self.answered.remove(&(id, service.clone()));
            }
        }
    }

    pub(super) fn listens(&mut self, id: NodeId, service: &ServiceId) {
        self.answered.insert((id, service.clone()));
    }

    pub(super) fn changes(&mut self, now: u64, changes: &[Change], nodes: &Nodes) -> Verdict {
        for change in changes {
            let Change::Put(Record::Operation(record)) = change else {
                continue;
            };
            let operation = &record.operation;
            let running = operation.status == OperationStatus::Running;
            if running && operation.phase == Phase::Hold {
                self.since.entry(operation.id).or_insert(now);
            } else if let Some(since) = self.since.remove(&operation.id)
                && now - since > HOLD_US_MAX
            {
                return Err(format!(
                    "{} of {} waited {} ms for proxies to hold",
                    operation.kind,
                    operation.service,
                    (now - since) / 1_000
                ));
            }
            let released = running && operation.phase == Phase::Release;
            if let Some(target) = operation.target.filter(|_| released)
                && record.failed_forward.is_none()
                && operation.kind != OperationKind::Start
            {
                self.released(target, &operation.service, nodes)?;
            }
        }
        Ok(())
    }

    fn released(&self, target: NodeId, service: &ServiceId, nodes: &Nodes) -> Verdict {
        let listens = nodes[&target].running(service).is_some_and(|c| c.listens);
        if listens || self.answered.contains(&(target, service.clone())) {
            return Ok(());
        }
        Err(format!(
            "clients of {service} are led to {} before it answers there",
            nodes[&target].name
        ))
    }
}
