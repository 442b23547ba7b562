//! What an agent tells when control has lost its store, or has an old one: everything that it was told
//! and has noted, and what its containers are made of.

use super::Agent;
use flocker_types::ids::Generation;
use flocker_types::link::{AgentMemory, ContainerMemory};

impl Agent {
    /// What this node remembers, beyond its hello. Nothing changes by telling it.
    pub fn memory(&self) -> AgentMemory {
        let containers = self.services.iter().filter_map(|(id, service)| {
            let container = service.container.as_ref()?;
            Some(ContainerMemory {
                service: id.clone(),
                fingerprint: container.fingerprint.clone(),
                prepared: container.prepared.clone(),
            })
        });
        let directives = self.ledger.directives.values();
        // A chore's number is a generation, too; that of an operation's task is not.
        let chores = self.tasks.keys().filter(|id| id.operation.0.is_nil());
        let generation_max = directives
            .clone()
            .map(|directive| directive.generation)
            .chain(chores.map(|id| Generation(u64::from(id.sequence))))
            .max();
        AgentMemory {
            directives: directives.cloned().collect(),
            stopped: self.ledger.stopped.values().cloned().collect(),
            containers: containers.collect(),
            generation_max: generation_max.unwrap_or_default(),
            // The shell has them, beside the certificates.
            revocations: Vec::new(),
        }
    }
}
