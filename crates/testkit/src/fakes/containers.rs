//! The containers of the fake runtime, and what each call makes of them. Called by the fake alone.

use super::images::Images;
use flocker_runtime::{
    ContainerEvent, ContainerInfo, ContainerRequest, ContainerRun, Health, MountRequest, Release,
    RuntimeErrorKind, Started,
};
use flocker_types::api::LogLine;
use flocker_types::ids::ServiceId;
use std::collections::{BTreeMap, BTreeSet};
use tokio::sync::mpsc;

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) engine_is_down: bool,
    pub(super) images: Images,
    pub(super) registry: Images,
    pub(super) containers: BTreeMap<ServiceId, FakeContainer>,
    pub(super) deaf: BTreeSet<ServiceId>,
    pub(super) subscribers: Vec<mpsc::Sender<ContainerEvent>>,
    pub(super) pid_last: u32,
}

#[derive(Debug)]
pub(super) struct FakeContainer {
    pub(super) request: ContainerRequest,
    pub(super) run: ContainerRun,
    /// Paths of the volumes that it waits for at its gate whenever it starts; none without a gate.
    pub(super) gate: Option<Vec<String>>,
    /// What it was let through with.
    pub(super) volumes: Vec<MountRequest>,
    pub(super) log: Vec<LogLine>,
}

impl State {
    pub(super) fn engine(&mut self) -> Result<&mut Self, RuntimeErrorKind> {
        if self.engine_is_down {
            return Err(RuntimeErrorKind::EngineDown {
                endpoint: "the fake engine".to_owned(),
                reason: "a test took it down".to_owned(),
            });
        }
        Ok(self)
    }

    pub(super) fn publish(&mut self, event: &ContainerEvent) {
        self.subscribers
            .retain(|subscriber| subscriber.try_send(event.clone()).is_ok());
    }

    pub(super) fn end(&mut self, service: &ServiceId, code: i64) {
        if let Some(container) = self.containers.get_mut(service)
            && matches!(container.run, ContainerRun::Running { .. })
        {
            container.run = ContainerRun::Exited { code };
            self.publish(&ContainerEvent::Exited(service.clone(), code));
        }
    }

    pub(super) fn create(&mut self, request: &ContainerRequest) -> Result<(), RuntimeErrorKind> {
        if let Some(found) = self.containers.get(&request.service) {
            if found.request.fingerprint == request.fingerprint {
                return Ok(());
            }
            if matches!(found.run, ContainerRun::Running { .. }) {
                return Err(RuntimeErrorKind::Refused(
                    "its container still runs, made from another description; stop it first"
                        .to_owned(),
                ));
            }
            self.remove(&request.service)?;
        }
        if self.images.find(&request.image_id).is_none() {
            return Err(no_image(&request.image_id));
        }
        let container = FakeContainer {
            request: request.clone(),
            run: ContainerRun::Created,
            gate: None,
            volumes: Vec::new(),
            log: Vec::new(),
        };
        self.containers.insert(request.service.clone(), container);
        Ok(())
    }

    pub(super) fn hold(
        &mut self,
        request: &ContainerRequest,
        volumes: &[String],
    ) -> Result<(), RuntimeErrorKind> {
        if let Some(found) = self.containers.get(&request.service) {
            let same = found.request.fingerprint == request.fingerprint;
            if same && found.run == ContainerRun::AtGate {
                return Ok(());
            }
            self.remove(&request.service)?;
        }
        self.create(request)?;
        if let Some(container) = self.containers.get_mut(&request.service) {
            container.gate = Some(volumes.to_vec());
            container.run = ContainerRun::AtGate;
        }
        Ok(())
    }

    pub(super) fn release(
        &mut self,
        service: &ServiceId,
        fingerprint: &str,
        volumes: &[MountRequest],
    ) -> Result<Release, RuntimeErrorKind> {
        let found = self.containers.get_mut(service);
        let same = |container: &&mut FakeContainer| container.request.fingerprint == fingerprint;
        let Some(container) = found.filter(same) else {
            return Ok(Release::NotWaiting);
        };
        let Some(gate) = &container.gate else {
            return Ok(Release::NotWaiting);
        };
        match container.run {
            ContainerRun::Running { .. } => return Ok(Release::Passed),
            ContainerRun::AtGate => {}
            ContainerRun::Created | ContainerRun::Exited { .. } => return Ok(Release::NotWaiting),
        }
        let given: BTreeSet<&String> = volumes.iter().map(|volume| &volume.target).collect();
        if given != gate.iter().collect() {
            self.remove(service)?;
            return Ok(Release::NotWaiting);
        }
        container.volumes = volumes.to_vec();
        self.run(service);
        Ok(Release::Passed)
    }

    /// From now on its command runs.
    fn run(&mut self, service: &ServiceId) {
        self.pid_last += 1;
        let pid = self.pid_last;
        let Some(container) = self.containers.get_mut(service) else {
            return;
        };
        let checked = match &container.request.health_check {
            Some(check) => check.test.first().is_some_and(|test| test != "NONE"),
            None => false,
        };
        let health = if checked {
            Health::Starting
        } else {
            Health::None
        };
        container.run = ContainerRun::Running { pid, health };
    }

    pub(super) fn start(&mut self, service: &ServiceId) -> Result<Started, RuntimeErrorKind> {
        let container = self
            .containers
            .get_mut(service)
            .ok_or(RuntimeErrorKind::NoContainer)?;
        if matches!(container.run, ContainerRun::Running { .. }) {
            return Ok(Started::Runs);
        }
        if container.gate.is_some() {
            container.run = ContainerRun::AtGate;
            return Ok(Started::AtGate);
        }
        self.run(service);
        self.publish(&ContainerEvent::Started(service.clone()));
        Ok(Started::Runs)
    }

    pub(super) fn remove(&mut self, service: &ServiceId) -> Result<(), RuntimeErrorKind> {
        match self.containers.get(service) {
            None => Ok(()),
            Some(container) if matches!(container.run, ContainerRun::Running { .. }) => Err(
                RuntimeErrorKind::Refused("it runs; stop it first".to_owned()),
            ),
            Some(_) => {
                self.containers.remove(service);
                self.publish(&ContainerEvent::Removed(service.clone()));
                Ok(())
            }
        }
    }

    pub(super) fn info(&self, service: &ServiceId) -> Option<ContainerInfo> {
        let container = self.containers.get(service)?;
        Some(ContainerInfo {
            service: service.clone(),
            fingerprint: container.request.fingerprint.clone(),
            image_id: container.request.image_id.clone(),
            address: container.request.address,
            run: container.run.clone(),
        })
    }

    pub(super) fn stop_state(&self, service: &ServiceId) -> StopState {
        match self.containers.get(service).map(|one| &one.run) {
            None => StopState::Ended(None),
            Some(ContainerRun::Created) => StopState::Ended(Some(0)),
            Some(ContainerRun::AtGate) => StopState::AtGate,
            Some(ContainerRun::Exited { code }) => StopState::Ended(Some(*code)),
            Some(ContainerRun::Running { .. }) if self.deaf.contains(service) => StopState::Deaf,
            Some(ContainerRun::Running { .. }) => StopState::Listens,
        }
    }
}

pub(super) enum StopState {
    Ended(Option<i64>),
    AtGate,
    Listens,
    Deaf,
}

pub(super) fn no_image(image: &str) -> RuntimeErrorKind {
    RuntimeErrorKind::NoImage {
        image: image.to_owned(),
        reason: "the fake engine does not have it".to_owned(),
    }
}
