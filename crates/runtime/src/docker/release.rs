//! Letting a container through its gate: the one thing left to do while clients wait. Asks the engine
//! nothing where what it said before is enough.

use super::Docker;
use super::gate::{Gates, Held};
use super::hold::blocking;
use crate::runtime_trait::{ContainerRun, MountRequest, Release, RuntimeError};
use flocker_types::ids::ServiceId;

impl Docker {
    /// Mounts the volumes. A container that cannot get them is taken away, and is as good as never made.
    pub(super) async fn release_container(
        &self,
        service: &ServiceId,
        fingerprint: &str,
        volumes: &[MountRequest],
    ) -> Result<Release, RuntimeError> {
        let known = self.gates.held(service);
        let held = match known.filter(|held| Gates::is_at_gate(held.pid) && !held.checked) {
            Some(held) => held,
            None => match self.look_at_gate(service, fingerprint).await? {
                Ok(held) => held,
                Err(release) => return Ok(release),
            },
        };
        if held.fingerprint != fingerprint {
            return Ok(Release::NotWaiting);
        }
        // From here on its end is news; if it has ended before, that shows now.
        self.gates.forget(service);
        if !Gates::is_at_gate(held.pid) {
            return Ok(Release::NotWaiting);
        }
        let (gates, of, volumes) = (self.gates.clone(), service.clone(), volumes.to_vec());
        let covered = blocking(move || gates.cover(&of, held.pid, &volumes)).await;
        let why = match covered {
            Ok(true) => return Ok(Release::Passed),
            // It went on with them, and has ended already.
            Ok(false) if !Gates::is_at_gate(held.pid) => return Ok(Release::Passed),
            Ok(false) => "the volumes did not arrive in it".to_owned(),
            Err(error) => error.to_string(),
        };
        tracing::warn!(%service, %why, "a container at its gate is of no use; it is made anew");
        self.discard(service).await;
        Ok(Release::NotWaiting)
    }

    /// The container at its gate, as the engine knows it; or what is to be said without one.
    async fn look_at_gate(
        &self,
        service: &ServiceId,
        fingerprint: &str,
    ) -> Result<Result<Held, Release>, RuntimeError> {
        let found = self.find(service, "let go on the container of").await?;
        let Some(found) = found.filter(|f| f.gated && f.info.fingerprint == fingerprint) else {
            return Ok(Err(Release::NotWaiting));
        };
        match found.info.run {
            ContainerRun::Running { .. } => return Ok(Err(Release::Passed)),
            ContainerRun::AtGate if !found.healthy => {}
            ContainerRun::AtGate => {
                // It says nothing about a service that does not run yet, and will not be told anew when
                // that changes.
                tracing::info!(%service, "its health check passes at the gate; it is made anew");
                self.discard(service).await;
                return Ok(Err(Release::NotWaiting));
            }
            ContainerRun::Created | ContainerRun::Exited { .. } => {
                return Ok(Err(Release::NotWaiting));
            }
        }
        Ok(self.gates.held(service).ok_or(Release::NotWaiting))
    }
}
