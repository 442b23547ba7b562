//! Which address each service's container has on this node.
//!
//! Called when a container is prepared or started. The ledger keeps what was given out.

use super::Agent;
use flocker_types::ids::ServiceId;
use flocker_types::task::Want;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

impl Agent {
    /// The fixed address of a service's container on this node. It stays the service's own when the
    /// container is gone, so that no proxy that has not heard of that leads clients to another service;
    /// only when no other is left, the one goes that has been of no use for longest.
    pub(super) fn address_of(&mut self, id: &ServiceId) -> Option<Ipv4Addr> {
        if let Some(address) = self.ledger.addresses.get(id) {
            return Some(*address);
        }
        let taken: BTreeSet<Ipv4Addr> = self.ledger.addresses.values().copied().collect();
        let free = self.network.free_address(&taken).ok();
        let address = free.or_else(|| self.take_idle_address())?;
        self.ledger.addresses.insert(id.clone(), address);
        self.ledger_changed = true;
        Some(address)
    }

    fn take_idle_address(&mut self) -> Option<Ipv4Addr> {
        let idle = self.ledger.directives.values().filter(|directive| {
            let service = self.services.get(&directive.service);
            directive.want == Want::Absent
                && self.ledger.addresses.contains_key(&directive.service)
                && service.is_none_or(|service| !service.may_exist())
        });
        let oldest = idle.min_by_key(|directive| directive.generation)?;
        self.ledger.addresses.remove(&oldest.service.clone())
    }
}
