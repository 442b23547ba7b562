//! What an agent finds: at its start, and when the engine was away and is back.

use super::service::Container;
use super::{Agent, ContainerRunSeen, ContainerSeen};
use crate::mutant::{Mutant, planted};
use flocker_types::ids::{Generation, ServiceId};
use flocker_types::task::Prepared;
use flocker_types::time::Monotonic;

/// When an agent looks at what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// Its process started again.
    AtStart,
    /// The node did.
    AfterReboot,
    /// The engine was away: containers that it took down with it did not end by themselves.
    AfterEngine,
}

impl Agent {
    /// What the engine has, at the start or after it was away. A service whose container ended
    /// while nobody looked is treated as if it ended now, or, after a reboot or with its engine, as if
    /// it never ran.
    pub(super) fn found(&mut self, containers: Vec<ContainerSeen>, found: Found) {
        let rebooted = found != Found::AtStart && !planted(Mutant::RebootTakenForExit);
        let known: Vec<ServiceId> = self.ledger.directives.keys().cloned().collect();
        for id in known {
            let runs =
                |seen: &ContainerSeen| seen.service == id && seen.run == ContainerRunSeen::Running;
            // Also for the next life of this process, if this one ends before it could start it.
            if rebooted && !containers.iter().any(runs) {
                self.ledger_changed |= self.ledger.started_under.remove(&id).is_some();
            }
            let service = self.services.entry(id).or_default();
            service.container = None;
            service.looked_at();
            if rebooted {
                service.start_at = Some(Monotonic::default());
            }
        }
        for seen in containers {
            let id = seen.service.clone();
            let ran = self.ran_under_present_directive(&id);
            let exited = match seen.run {
                ContainerRunSeen::Exited { code } if ran && !rebooted => Some(code.unwrap_or(0)),
                _ => None,
            };
            let due = !ran && seen.run != ContainerRunSeen::Running;
            let service = self.services.entry(id.clone()).or_default();
            service.container = Some(Container {
                fingerprint: seen.fingerprint,
                prepared: Prepared {
                    image_id: seen.image_id,
                    exposed_ports: seen.exposed_ports,
                    address: seen.address,
                },
                run: seen.run,
                ready: false,
            });
            if due {
                service.start_at = Some(Monotonic::default());
            }
            if let Some(code) = exited {
                self.ended(&id, code);
            }
        }
        // A container that vanished, rather than ended, was taken away by somebody, and one that was
        // never started was on its way: both are due for a start.
        for service in self.services.values_mut() {
            let never_ran = service
                .container
                .as_ref()
                .is_none_or(|c| c.run == ContainerRunSeen::Created);
            if never_ran && service.start_at.is_none() {
                service.start_at = Some(Monotonic::default());
            }
        }
    }

    /// The generation of the directive that is in force for a service.
    pub(super) fn present_generation(&self, id: &ServiceId) -> Option<Generation> {
        let present = self.ledger.directives.get(id);
        present.map(|directive| directive.generation)
    }

    fn ran_under_present_directive(&self, id: &ServiceId) -> bool {
        let present = self.present_generation(id);
        present.is_some() && self.ledger.started_under.get(id).copied() == present
    }
}
