//! *stale-rejected*: whoever receives something that carries an epoch or a generation rejects an older
//! one. Ledgers and routes never go back, no stream comes from a former holder, and no generation is
//! given out twice.

use super::Verdict;
use crate::node::Node;
use crate::store::Store;
use flocker_core::agent::Ledger;
use flocker_core::cluster::{Change, Key, Record};
use flocker_core::route::RouteTable;
use flocker_types::ids::{Epoch, Generation, NodeId, ServiceId, VolumeId};
use std::collections::BTreeMap;

/// The newest that each has seen.
#[derive(Debug, Default)]
pub(super) struct StaleRejected {
    routes: BTreeMap<(NodeId, ServiceId), Generation>,
    epochs: BTreeMap<(NodeId, VolumeId), Epoch>,
}

impl StaleRejected {
    pub(super) fn routes(&mut self, id: NodeId, table: &RouteTable) -> Verdict {
        for route in table.routes() {
            let key = (id, route.service.clone());
            let known = self.routes.insert(key, route.generation);
            if known.is_some_and(|known| known > route.generation) {
                return Err(format!(
                    "the proxy of {id} went back to generation {} of {}",
                    route.generation, route.service
                ));
            }
        }
        Ok(())
    }

    /// What it had not saved it has forgotten.
    pub(super) fn proxy_died(&mut self, id: NodeId) {
        self.routes.retain(|(of, _), _| *of != id);
    }

    pub(super) fn epoch(&mut self, node: &Node, volume: VolumeId) -> Verdict {
        let Some(copy) = node.pool.volumes.get(&volume) else {
            return Ok(());
        };
        let known = self.epochs.insert((node.id, volume), copy.label.epoch);
        if known.is_some_and(|known| known > copy.label.epoch) {
            return Err(format!(
                "the copy of volume {} on {} went back to epoch {}",
                volume.short(),
                node.name,
                copy.label.epoch
            ));
        }
        Ok(())
    }
}

pub(super) fn ledger(old: &Ledger, new: &Ledger) -> Verdict {
    for (service, before) in &old.directives {
        let now = new.directives.get(service);
        let fits = now.is_some_and(|now| now.generation > before.generation || now == before);
        if !fits {
            return Err(format!(
                "the directive for {service} of generation {} gave way to {:?}",
                before.generation,
                now.map(|now| now.generation)
            ));
        }
    }
    Ok(())
}

/// A stream is taken only from the node that the durable ledger names, in that epoch, and never from
/// one that the store says is the holder no more.
pub(super) fn admitted(
    node: &Node,
    from: NodeId,
    volume: VolumeId,
    epoch: Epoch,
    store: &Store,
) -> Verdict {
    let grant = node.ledger.grants.get(&volume);
    if !grant.is_some_and(|grant| grant.source == from && grant.epoch == epoch) {
        return Err(format!(
            "{} takes volume {} from {from} in epoch {epoch}, which its ledger does not allow",
            node.name,
            volume.short()
        ));
    }
    if let Some(Record::Volume(record)) = store.get(&Key::Volume(volume))
        && record.holder == node.id
    {
        return Err(format!(
            "{} holds volume {} and takes it from {from}",
            node.name,
            volume.short()
        ));
    }
    Ok(())
}

/// Whatever is told to a node carries a generation that the store has given out, once.
pub(super) fn generations_are_kept(store: &Store, changes: &[Change]) -> Verdict {
    let mut counter = match store.get(&Key::Meta) {
        Some(Record::Meta(meta)) => meta.generation,
        _ => return Ok(()),
    };
    let before = counter;
    for change in changes {
        if let Change::Put(Record::Meta(meta)) = change {
            counter = counter.max(meta.generation);
        }
    }
    for change in changes {
        let Change::Put(Record::Service(service)) = change else {
            continue;
        };
        let old = match store.get(&Key::Service(service.id.clone())) {
            Some(Record::Service(old)) => Some(old),
            _ => None,
        };
        for (node, directive) in &service.directives {
            let known = old.and_then(|old| old.directives.get(node));
            let same = known == Some(directive);
            if directive.generation > counter || (!same && directive.generation <= before) {
                return Err(format!(
                    "generation {} for {} is not one of the counter's, which is at {counter}",
                    directive.generation, service.id
                ));
            }
        }
    }
    Ok(())
}
