//! Listing, making, starting and removing containers of this cluster.

use super::Docker;
use super::answer::{Found, Owner, read_container};
use super::engine::{CHANGE_MS_MAX, QUERY_MS_MAX};
use super::errors::failed;
use super::interrupted::is_interrupted;
use super::labels::of_cluster;
use super::network::network_name;
use super::request::container_body;
use crate::runtime_trait::{
    ContainerInfo, ContainerRequest, ContainerRun, RuntimeError, RuntimeErrorKind,
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
                        Some(Owner::Us(container)) => Some(container.info),
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
            Owner::Us(found) if found.info.service == *service => return Ok(Some(*found)),
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
        let action = format!("create the container of {}", request.service);
        self.check_request(&action, request)?;
        if let Some(found) = self
            .find(&request.service, "create the container of")
            .await?
        {
            if found.info.fingerprint == request.fingerprint {
                return Ok(());
            }
            if matches!(found.info.run, ContainerRun::Running { .. }) {
                return Err(failed(
                    action,
                    RuntimeErrorKind::Refused(
                        "its container still runs, made from another description; stop it first"
                            .to_owned(),
                    ),
                ));
            }
            self.remove_by_id(&action, &found.id).await?;
        }
        let create = || self.create_once(&action, request);
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
    ) -> Result<(), RuntimeError> {
        let options = CreateContainerOptionsBuilder::new()
            .name(&container_name(&request.service))
            .build();
        let body = container_body(request, self.cluster);
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

    /// Starts it; the engine answers "not modified" when it runs already.
    pub(super) async fn start_container(&self, service: &ServiceId) -> Result<(), RuntimeError> {
        let verb = "start the container of";
        let action = format!("{verb} {service}");
        let Some(found) = self.find(service, verb).await? else {
            return Err(failed(action, RuntimeErrorKind::NoContainer));
        };
        let start = || {
            let client = self.engine.client();
            let request = client.start_container(&found.id, None::<StartContainerOptions>);
            self.engine.call(&action, CHANGE_MS_MAX, request)
        };
        match self.with_network(start).await {
            Err(error) if is_interrupted(&error, &found.id) => {
                self.give_up_interrupted(&action, &found.id).await
            }
            other => other,
        }
    }

    /// Removes a container that does not run.
    pub(super) async fn remove_container(&self, service: &ServiceId) -> Result<(), RuntimeError> {
        let verb = "remove the container of";
        match self.find(service, verb).await? {
            None => Ok(()),
            Some(found) => {
                self.remove_by_id(&format!("{verb} {service}"), &found.id)
                    .await
            }
        }
    }

    pub(super) async fn remove_by_id(&self, action: &str, id: &str) -> Result<(), RuntimeError> {
        // `v` takes the unnamed volumes along that the image asked for: nobody else can reach them.
        let options = RemoveContainerOptionsBuilder::new()
            .force(false)
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
