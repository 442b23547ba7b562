//! Operations: at most one on a service, each ends, what succeeded is so, what failed before the commit
//! changed nothing, and nothing turns round and round without rest.

use super::{Counts, Verdict};
use crate::store::Store;
use flocker_core::cluster::{Change, Key, Record};
use flocker_types::ids::{NodeId, OperationId, ServiceId};
use flocker_types::operation::{Operation, OperationStatus, Phase};
use std::collections::BTreeMap;

/// More ticks in a second than this mean that a loop does not rest.
const TICKS_MAX: u32 = 300;

/// An operation tries one task again so many times at the most, then goes back.
const ATTEMPTS_MAX: u32 = 3;

/// What is remembered of operations.
#[derive(Debug, Default)]
pub(crate) struct Operations {
    /// Where their services were when they began.
    began: BTreeMap<OperationId, Option<NodeId>>,
    /// Nothing in this run makes a container end.
    pub(crate) undisturbed: bool,
    /// Nothing goes wrong in this run: every operation succeeds.
    pub(crate) calm: bool,
}

pub(super) fn rests(who: &str, count: u32) -> Verdict {
    if count > TICKS_MAX {
        return Err(format!("{who} had {count} ticks within a second"));
    }
    Ok(())
}

pub(super) fn one_each(store: &Store, changes: &[Change]) -> Verdict {
    let begins = |change: &Change| matches!(change, Change::Put(Record::Operation(record)) if record.operation.finished.is_none());
    if !changes.iter().any(begins) {
        return Ok(());
    }
    let mut busy: BTreeMap<&ServiceId, OperationId> = BTreeMap::new();
    for record in store.records() {
        if let Record::Operation(record) = record
            && record.operation.finished.is_none()
        {
            let (service, id) = (&record.operation.service, record.operation.id);
            if let Some(other) = busy.insert(service, id) {
                return Err(format!(
                    "{service} has the operations {} and {}",
                    other.short(),
                    id.short()
                ));
            }
        }
    }
    Ok(())
}

impl Operations {
    pub(super) fn changes(
        &mut self,
        _: u64,
        store: &Store,
        changes: &[Change],
        counts: &mut Counts,
    ) -> Verdict {
        for change in changes {
            let Change::Put(Record::Operation(record)) = change else {
                continue;
            };
            let operation = &record.operation;
            if record.attempts > ATTEMPTS_MAX {
                return Err(format!(
                    "{} of {} is at its attempt {} in phase {}",
                    operation.kind, operation.service, record.attempts, operation.phase
                ));
            }
            let node = |record: Option<&Record>| match record {
                Some(Record::Service(service)) => service.node,
                _ => None,
            };
            let service = Key::Service(operation.service.clone());
            let here = node(store.get(&service));
            let old = match store.get(&Key::Operation(operation.id)) {
                Some(Record::Operation(old)) => Some(&old.operation),
                _ => None,
            };
            self.began.entry(operation.id).or_insert(here);
            match old {
                // Clients' waits are told after the end.
                Some(old)
                    if old.finished.is_some()
                        && (old.status != operation.status || old.phase != operation.phase) =>
                {
                    return Err(format!("an ended operation of {} changed", old.service));
                }
                Some(old) if old.finished.is_some() => {}
                _ if operation.finished.is_some() => {
                    counts.operations += 1;
                    let put = changes.iter().rev().find_map(|change| match change {
                        Change::Put(record) if record.key() == service => Some(record),
                        _ => None,
                    });
                    let there = node(put.or_else(|| store.get(&service)));
                    let failed = !matches!(operation.status, OperationStatus::Succeeded);
                    counts.failed += u64::from(failed);
                    self.ended(operation, there)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn ended(&self, operation: &Operation, node: Option<NodeId>) -> Verdict {
        let began = self.began.get(&operation.id).copied().flatten();
        let (kind, service) = (operation.kind, &operation.service);
        match &operation.status {
            OperationStatus::Succeeded if node != operation.target => Err(format!(
                "{kind} of {service} succeeded and it is on {node:?}"
            )),
            OperationStatus::Failed { phase, .. } if *phase <= Phase::Commit && node != began => {
                Err(format!(
                    "{kind} of {service} failed in phase {phase} and changed its node"
                ))
            }
            OperationStatus::Failed { failure, .. }
                if self.undisturbed && failure.message.contains("ended at once") =>
            {
                Err(format!(
                    "{kind} of {service} failed though nothing ended: {failure}"
                ))
            }
            OperationStatus::Failed { phase, failure } if self.calm && *phase != Phase::Wait => {
                Err(format!(
                    "{kind} of {service} failed in phase {phase} though nothing went wrong: {failure}"
                ))
            }
            OperationStatus::Running | OperationStatus::Aborting { .. } => {
                Err(format!("{kind} of {service} has ended and goes on"))
            }
            _ => Ok(()),
        }
    }
}
