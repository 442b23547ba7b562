//! Starting a container before its volumes are there: up to its gate, and no further.
//!
//! Everything that could go wrong with the mounts to come is tried out here, while nobody waits: a
//! container that would not get its volumes is refused, and is then made when they are there.

use super::Docker;
use super::answer::Found;
use super::errors::failed;
use super::gate::{Gates, NewGate};
use super::request::command_of;
use crate::runtime_trait::{ContainerRequest, ContainerRun, RuntimeError, RuntimeErrorKind};
use flocker_types::app::container_name;
use flocker_types::ids::ServiceId;
use std::io;
use std::time::{Duration, Instant};

/// How long a container that the engine has started may take to stand at its gate.
const STAND_LIMIT: Duration = Duration::from_secs(10);
/// How often it is looked at until then.
const LOOK_EVERY: Duration = Duration::from_millis(2);

impl Docker {
    /// Makes the container with a gate and starts it; what cannot be held is taken away again.
    pub(super) async fn hold_container(
        &self,
        request: &ContainerRequest,
        volumes: &[String],
    ) -> Result<(), RuntimeError> {
        let service = &request.service;
        let action = format!("start the container of {service} up to its gate");
        if let Some(found) = self.find(service, "look for the container of").await? {
            let same = found.info.fingerprint == request.fingerprint;
            if same && found.info.run == ContainerRun::AtGate {
                return Ok(());
            }
            self.clear_away(&action, &found).await?;
        }
        let gate = self.plan_gate(&action, request, volumes).await?;
        self.make_container(&action, request, Some(&gate)).await?;
        self.start_container(service).await.map(drop)
    }

    async fn plan_gate(
        &self,
        action: &str,
        request: &ContainerRequest,
        volumes: &[String],
    ) -> Result<NewGate, RuntimeError> {
        let image = self.look_at_image(&request.image_id, action).await?;
        let Some(image) = image else {
            let (image, reason) = (
                request.image_id.clone(),
                "the engine does not have it".to_owned(),
            );
            return Err(failed(action, RuntimeErrorKind::NoImage { image, reason }));
        };
        let command = command_of(request, &image.config.unwrap_or_default());
        let (gates, service) = (self.gates.clone(), request.service.clone());
        let volumes = volumes.to_vec();
        let planned = blocking(move || Ok(gates.plan(&service, &volumes, &command))).await;
        planned
            .unwrap_or_else(|error| Err(error.to_string()))
            .map_err(|why| failed(action, RuntimeErrorKind::NoGate(why)))
    }

    /// Starts a container that has a gate, and returns when it stands there and would get its volumes.
    pub(super) async fn start_to_gate(
        &self,
        action: &str,
        found: &Found,
    ) -> Result<(), RuntimeError> {
        let service = &found.info.service;
        let no_gate = |why: String| failed(action, RuntimeErrorKind::NoGate(why));
        let (gates, of) = (self.gates.clone(), service.clone());
        let closed = blocking(move || gates.close(&of)).await;
        closed.map_err(|error| no_gate(error.to_string()))?;
        self.start_by_id(action, &found.id).await?;
        let standing = self.await_gate(action, service).await?;
        let (gates, of) = (self.gates.clone(), service.clone());
        let arrive = blocking(move || gates.mounts_arrive(&of, standing.pid)).await;
        match arrive {
            Ok(true) => Ok(()),
            Ok(false) => Err(no_gate(
                "the engine's containers do not see what is mounted on the node later; the engine and \
                 the agent need the same mounts, or `mount --make-rshared /` on the node"
                    .to_owned(),
            )),
            Err(error) => Err(no_gate(error.to_string())),
        }
    }

    /// After a start of ours: takes the places of containers away that are gone.
    pub(super) async fn forget_gone(&self) -> Result<(), RuntimeError> {
        let listed = self.list_containers().await?;
        let names: Vec<String> = listed
            .iter()
            .map(|info| container_name(&info.service))
            .collect();
        let gates = self.gates.clone();
        let cleared = blocking(move || {
            gates.keep_only(&names);
            Ok(())
        });
        // It cannot fail, and what it could not clear it has said.
        drop(cleared.await);
        Ok(())
    }

    async fn await_gate(&self, action: &str, service: &ServiceId) -> Result<Found, RuntimeError> {
        let begun = Instant::now();
        loop {
            let why = match self.find(service, "look for the container of").await? {
                None => "its container was removed".to_owned(),
                Some(found) => match found.info.run {
                    ContainerRun::AtGate if Gates::is_at_gate(found.pid) => return Ok(found),
                    ContainerRun::AtGate if begun.elapsed() < STAND_LIMIT => {
                        tokio::time::sleep(LOOK_EVERY).await;
                        continue;
                    }
                    ContainerRun::Exited { code } => {
                        format!(
                            "its gate ended with code {code}; `docker logs` on the node says more"
                        )
                    }
                    _ => "its gate cannot be seen among the node's processes".to_owned(),
                },
            };
            return Err(failed(action, RuntimeErrorKind::NoGate(why)));
        }
    }

    /// Takes away a container that could not be held. What is left is taken away by the next to come.
    pub(super) async fn discard(&self, service: &ServiceId) {
        let stopped = self.stop_container(service, 0).await;
        let removed = match stopped {
            Ok(_) => self.remove_container(service).await,
            Err(error) => Err(error),
        };
        if let Err(error) = removed {
            tracing::warn!(%service, %error, "a container that cannot be held stays behind");
        }
    }
}

/// Runs what the kernel may take its time for.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(io::Error::other(error)))
}
