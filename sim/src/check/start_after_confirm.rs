//! *start-after-confirm*: a service with volumes starts only once control has spoken to this life of the
//! agent, and only on the node that the store says is the holder, in its epoch.

use super::Verdict;
use crate::node::Node;
use crate::store::Store;
use flocker_core::agent::Job;
use flocker_core::cluster::{Key, Record};
use flocker_types::ids::ServiceId;

pub(super) fn job(node: &Node, job: &Job) -> Verdict {
    match job {
        Job::Run {
            service, volumes, ..
        } if !volumes.is_empty() && !node.agent.confirmed => Err(format!(
            "{} starts {service} before control has spoken",
            node.name
        )),
        _ => Ok(()),
    }
}

pub(super) fn started(node: &Node, service: &ServiceId, store: &Store) -> Verdict {
    let Some(container) = node.running(service) else {
        return Ok(());
    };
    for volume in container.volumes() {
        let Some(copy) = node.pool.volumes.get(volume) else {
            return Err(format!(
                "{service} starts on {} without a volume",
                node.name
            ));
        };
        let Some(Record::Volume(record)) = store.get(&Key::Volume(*volume)) else {
            return Err(format!(
                "{service} starts with a volume that is not in the store"
            ));
        };
        if record.holder != node.id || record.epoch != copy.label.epoch {
            return Err(format!(
                "{service} starts on {} with volume {} in epoch {}; node {} holds it in epoch {}",
                node.name,
                volume.short(),
                copy.label.epoch,
                record.holder,
                record.epoch
            ));
        }
    }
    Ok(())
}
