//! Listing, making, starting and removing containers of this cluster.

use super::Docker;
use super::answer::{Found, Owner, read_container};
use super::engine::{CHANGE_MS_MAX, QUERY_MS_MAX};
use super::errors::failed;
use super::gate::NewGate;
use super::hold::blocking;
use super::interrupted::is_interrupted;
use super::labels::of_cluster;
use super::network::network_name;
use super::request::container_body;
use crate::runtime_trait::{
    ContainerInfo, ContainerRequest, ContainerRun, RuntimeError, RuntimeErrorKind, Started,
};
use bollard::errors::Error as ClientError;
use bollard::models::ContainerInspectResponse;
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, InspectContainerOptions, ListContainersOptionsBuilder,
    RemoveContainerOptionsBuilder, StartContainerOptions,
};
use flocker_types::app::container_name;
use flocker_types::ids::ServiceId;
use futures_util::{StreamExt, TryStreamExt};
use std::future::Future;

/// What to do with a container that runs and is to be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Running {
    End,
    Refuse,
}

/// Containers inspected at the same time while listing.
const INSPECTIONS_MAX: usize = 8;

impl Docker {
    /// Every container of ours. The engine's list has neither process id nor health, so each is
    /// inspected; one that is removed meanwhile is left out.
    pub(super) async fn list_containers(&self) -> Result<Vec<ContainerInfo>, RuntimeError> {
        let action = "list the containers";
        let options = ListContainersOptionsBuilder::new()
            .all(true)
            .filters(&of_cluster(self.cluster))
            .build();
        let request = self.engine.client().list_containers(Some(options));
        let listed = self.engine.call(action, QUERY_MS_MAX, request).await?;
        let ids: Vec<String> = listed.into_iter().filter_map(|one| one.id).collect();
        let mut found: Vec<ContainerInfo> = futures_util::stream::iter(ids)
            .map(|id| async move { self.look_at(&id, action).await })
            .buffer_unordered(INSPECTIONS_MAX)
            .try_filter_map(async |answer| {
                Ok(
                    match answer.map(|answer| read_container(answer, self.cluster)) {
                        Some(Owner::Us(container)) => {
                            Some(self.gates.as_it_stands(*container).info)
                        }
                        Some(Owner::Others(_)) | None => None,
                    },
                )
            })
            .try_collect()
            .await?;
        found.sort_by(|a, b| a.service.cmp(&b.service));
        Ok(found)
    }

    /// The container of a service; an error when its name is taken by a container that is not it.
    pub(super) async fn find(
        &self,
        service: &ServiceId,
        verb: &str,
    ) -> Result<Option<Found>, RuntimeError> {
        let action = format!("{verb} {service}");
        let name = container_name(service);
        let Some(answer) = self.look_at(&name, &action).await? else {
            return Ok(None);
        };
        let why = match read_container(answer, self.cluster) {
            Owner::Us(found) if found.info.service == *service => {
                return Ok(Some(self.gates.as_it_stands(*found)));
            }
            Owner::Us(found) => format!("it belongs to the service {}", found.info.service),
            Owner::Others(why) => why,
        };
        Err(failed(
            action,
            RuntimeErrorKind::Refused(format!(
                "a container that is not ours has the name {name}: {why}; remove or rename it"
            )),
        ))
    }

    /// What the engine says about a container, once it can say the truth.
    async fn look_at(
        &self,
        name_or_id: &str,
        action: &str,
    ) -> Result<Option<ContainerInspectResponse>, RuntimeError> {
        let answer = self.look_once(name_or_id, action).await?;
        let Some(id) = answer.as_ref().and_then(|answer| answer.id.clone()) else {
            return Ok(answer);
        };
        if !self.settling.contains(&id) {
            return Ok(answer);
        }
        self.wait_settled(action, &id).await?;
        self.look_once(&id, action).await
    }

    async fn look_once(
        &self,
        name_or_id: &str,
        action: &str,
    ) -> Result<Option<ContainerInspectResponse>, RuntimeError> {
        let request = async {
            let client = self.engine.client();
            match client
                .inspect_container(name_or_id, None::<InspectContainerOptions>)
                .await
            {
                Ok(answer) => Ok(Some(answer)),
                Err(ClientError::DockerResponseServerError {
                    status_code: 404, ..
                }) => Ok(None),
                Err(error) => Err(error),
            }
        };
        self.engine.call(action, QUERY_MS_MAX, request).await
    }

    /// Makes the container, or leaves the one that is there when it was made from the same request.
    pub(super) async fn create_container(
        &self,
        request: &ContainerRequest,
    ) -> Result<(), RuntimeError> {
        let verb = "create the container of";
        let action = format!("{verb} {}", request.service);
        if let Some(found) = self.find(&request.service, verb).await? {
            if found.info.fingerprint == request.fingerprint {
                return self.check_request(&action, request);
            }
            self.clear_away(&action, &found).await?;
        }
        self.make_container(&action, request, None).await
    }

    /// Removes a container that is in the way of another one, unless it runs.
    pub(super) async fn clear_away(&self, action: &str, found: &Found) -> Result<(), RuntimeError> {
        if matches!(found.info.run, ContainerRun::Running { .. }) {
            let why = "its container still runs, made from another description; stop it first";
            return Err(failed(action, RuntimeErrorKind::Refused(why.to_owned())));
        }
        self.remove_found(action, found).await
    }

    /// Makes the container where there is none.
    pub(super) async fn make_container(
        &self,
        action: &str,
        request: &ContainerRequest,
        gate: Option<&NewGate>,
    ) -> Result<(), RuntimeError> {
        self.check_request(action, request)?;
        let create = || self.create_once(action, request, gate);
        self.with_network(create).await
    }

    /// Runs a call again after making the container network, when it failed for lack of that:
    /// somebody removed it since we connected.
    async fn with_network<F: Future<Output = Result<(), RuntimeError>>>(
        &self,
        call: impl Fn() -> F,
    ) -> Result<(), RuntimeError> {
        match call().await {
            Err(RuntimeError {
                kind: RuntimeErrorKind::Refused(reason),
                ..
            }) if lacks_network(&reason, &network_name(self.cluster)) => {
                self.ensure_network().await?;
                call().await
            }
            other => other,
        }
    }

    fn check_request(&self, action: &str, request: &ContainerRequest) -> Result<(), RuntimeError> {
        if !self.subnet.has_room_for(request.address) {
            return Err(failed(
                action,
                RuntimeErrorKind::Refused(format!(
                    "a container cannot have the address {} in the container network {}",
                    request.address, self.subnet
                )),
            ));
        }
        match request.mounts.iter().find(|mount| !mount.source.exists()) {
            None => Ok(()),
            Some(mount) => Err(failed(
                action,
                RuntimeErrorKind::Refused(format!(
                    "{} is to be mounted at {}, but there is no such directory or file",
                    mount.source.display(),
                    mount.target
                )),
            )),
        }
    }

    async fn create_once(
        &self,
        action: &str,
        request: &ContainerRequest,
        gate: Option<&NewGate>,
    ) -> Result<(), RuntimeError> {
        let options = CreateContainerOptionsBuilder::new()
            .name(&container_name(&request.service))
            .build();
        let body = container_body(request, self.cluster, gate);
        let call = self.engine.client().create_container(Some(options), body);
        let made = self.engine.call(action, CHANGE_MS_MAX, call).await;
        match made {
            Ok(_) => Ok(()),
            Err(RuntimeError {
                action,
                kind: RuntimeErrorKind::NoImage { reason, .. },
            }) => Err(RuntimeError {
                action,
                kind: RuntimeErrorKind::NoImage {
                    image: request.image_id.clone(),
                    reason,
                },
            }),
            Err(error) => Err(error),
        }
    }

    /// Starts it, or starts it up to its gate. When a gate it was made with does not work any more it is
    /// gone afterwards.
    pub(super) async fn start_container(
        &self,
        service: &ServiceId,
    ) -> Result<Started, RuntimeError> {
        let verb = "start the container of";
        let action = format!("{verb} {service}");
        let Some(found) = self.find(service, verb).await? else {
            return Err(failed(action, RuntimeErrorKind::NoContainer));
        };
        match found.info.run {
            ContainerRun::AtGate => Ok(Started::AtGate),
            ContainerRun::Running { .. } => Ok(Started::Runs),
            _ if found.gated => {
                let started = self.start_to_gate(&action, &found).await;
                if started.is_err() {
                    self.discard(service).await;
                }
                started.map(|()| Started::AtGate)
            }
            _ => {
                let started = self.start_by_id(&action, &found.id).await;
                started.map(|()| Started::Runs)
            }
        }
    }

    /// The engine answers "not modified" when it runs already.
    pub(super) async fn start_by_id(&self, action: &str, id: &str) -> Result<(), RuntimeError> {
        let start = || {
            let client = self.engine.client();
            let request = client.start_container(id, None::<StartContainerOptions>);
            self.engine.call(action, CHANGE_MS_MAX, request)
        };
        match self.with_network(start).await {
            Err(error) if is_interrupted(&error, id) => self.give_up_interrupted(action, id).await,
            other => other,
        }
    }

    /// Removes a container that does not run.
    pub(super) async fn remove_container(&self, service: &ServiceId) -> Result<(), RuntimeError> {
        let verb = "remove the container of";
        match self.find(service, verb).await? {
            None => Ok(()),
            Some(found) => {
                self.remove_found(&format!("{verb} {service}"), &found)
                    .await
            }
        }
    }

    /// Removes a container that does not run; one at its gate is ended by it.
    async fn remove_found(&self, action: &str, found: &Found) -> Result<(), RuntimeError> {
        let at_gate = found.info.run == ContainerRun::AtGate;
        let running = if at_gate {
            Running::End
        } else {
            Running::Refuse
        };
        self.remove_by_id(action, &found.id, running).await?;
        if !found.gated {
            return Ok(());
        }
        let (gates, service) = (self.gates.clone(), found.info.service.clone());
        let removed = blocking(move || gates.remove(&service)).await;
        removed.map_err(|error| failed(action, RuntimeErrorKind::Other(error.to_string())))
    }

    pub(super) async fn remove_by_id(
        &self,
        action: &str,
        id: &str,
        running: Running,
    ) -> Result<(), RuntimeError> {
        // `v` takes the unnamed volumes along that the image asked for: nobody else can reach them.
        let options = RemoveContainerOptionsBuilder::new()
            .force(running == Running::End)
            .v(true)
            .build();
        let request = self.engine.client().remove_container(id, Some(options));
        match self.engine.call(action, CHANGE_MS_MAX, request).await {
            Err(RuntimeError {
                kind: RuntimeErrorKind::NoContainer,
                ..
            }) => Ok(()),
            other => other,
        }
    }
}

/// Whether the engine refused because our network is gone.
fn lacks_network(reason: &str, network: &str) -> bool {
    reason.contains(network) && reason.contains("not found")
}
