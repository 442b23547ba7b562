//! A node's container engine, as Docker behaves where that matters here.
//!
//! Calls about one container are served one after the other; a call that its caller has given up is
//! carried out all the same. When the engine goes away its containers may go with it. It learns a while
//! after the last process of a container that the container has ended, and says so then.

use crate::pool::{passing, pointless};
use flocker_core::agent::{ContainerRunSeen, ContainerSeen};
use flocker_types::ids::{ServiceId, VolumeId};
use flocker_types::task::{ContainerSpec, Failure};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// What a container is made from.
#[derive(Debug, Clone)]
pub(crate) struct ContainerRequest {
    pub(crate) spec: ContainerSpec,
    pub(crate) address: Ipv4Addr,
    pub(crate) fingerprint: String,
    pub(crate) image_id: String,
}

/// A container.
#[derive(Debug, Clone)]
pub(crate) struct Container {
    pub(crate) request: ContainerRequest,
    pub(crate) run: ContainerRunSeen,
    /// Which of the node's runs of containers this one is; it grows with every start.
    pub(crate) number: u64,
    /// It answers at its ports.
    pub(crate) listens: bool,
    /// An agent of this life wants to know when it does.
    pub(crate) expected_by: Option<u64>,
    /// The engine knows that the last run has ended only from then on.
    pub(crate) settled_at_us: u64,
    /// The agent that made it end, and so knows better.
    pub(crate) settling_for: u64,
}

/// What the engine is asked for.
#[derive(Debug, Clone)]
pub(crate) enum Call {
    Create(ServiceId, Box<ContainerRequest>),
    Start(ServiceId),
    Stop(ServiceId, Grace),
    Remove(ServiceId),
}

/// How a container ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Grace {
    /// At its stop signal, having written its last.
    Heeds,
    /// Killed when its time was over.
    Ignores,
}

/// What can be made to fail or to hang.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RuntimeCall {
    /// Making a container.
    Create,
    /// Starting one.
    Start,
    /// Stopping one.
    Stop,
    /// Removing one.
    Remove,
}

impl Call {
    pub(crate) fn service(&self) -> &ServiceId {
        match self {
            Self::Create(service, _)
            | Self::Start(service)
            | Self::Stop(service, _)
            | Self::Remove(service) => service,
        }
    }

    pub(crate) fn kind(&self) -> RuntimeCall {
        match self {
            Self::Create(..) => RuntimeCall::Create,
            Self::Start(_) => RuntimeCall::Start,
            Self::Stop(..) => RuntimeCall::Stop,
            Self::Remove(_) => RuntimeCall::Remove,
        }
    }
}

/// The engine.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) up: bool,
    pub(crate) life: u64,
    pub(crate) containers: BTreeMap<ServiceId, Container>,
    pub(crate) images: BTreeSet<String>,
    pub(crate) calls: BTreeMap<u64, Call>,
    pub(crate) results: BTreeMap<u64, Result<(), Failure>>,
    pub(crate) failing: BTreeMap<RuntimeCall, u32>,
    /// Calls of these kinds take until then.
    pub(crate) hanging: BTreeMap<RuntimeCall, u64>,
    busy_until_us: BTreeMap<ServiceId, u64>,
    next_call: u64,
    runs: u64,
}

impl Engine {
    pub(crate) fn new() -> Self {
        Self {
            up: true,
            life: 1,
            containers: BTreeMap::new(),
            images: BTreeSet::new(),
            calls: BTreeMap::new(),
            results: BTreeMap::new(),
            failing: BTreeMap::new(),
            hanging: BTreeMap::new(),
            busy_until_us: BTreeMap::new(),
            next_call: 0,
            runs: 0,
        }
    }

    /// Takes a call; its number, and when it will be carried out.
    pub(crate) fn ask(&mut self, call: Call, now_us: u64, takes_us: u64) -> (u64, u64) {
        self.next_call += 1;
        let begins = self.free_at(call.service()).max(now_us);
        let hangs = self.hanging.get(&call.kind()).copied().unwrap_or(0);
        let done = begins.max(hangs) + takes_us;
        self.busy_until_us.insert(call.service().clone(), done);
        self.calls.insert(self.next_call, call);
        (self.next_call, done)
    }

    fn free_at(&self, service: &ServiceId) -> u64 {
        let busy = self.busy_until_us.get(service).copied().unwrap_or(0);
        let settling = self
            .containers
            .get(service)
            .map_or(0, |container| container.settled_at_us);
        busy.max(settling)
    }

    /// Every container as the engine shows it; none when it does not answer, as while it works on one.
    pub(crate) fn look(&self, now_us: u64, life: Option<u64>) -> Option<Vec<ContainerSeen>> {
        let busy = |service: &ServiceId| {
            self.busy_until_us
                .get(service)
                .is_some_and(|at| *at > now_us)
        };
        if !self.up || self.containers.keys().any(busy) {
            return None;
        }
        Some(
            self.containers
                .iter()
                .map(|(service, container)| container.seen(service, now_us, life))
                .collect(),
        )
    }

    /// Whether a container runs, as far as the engine tells this life of an agent.
    pub(crate) fn inspect_runs(&self, service: &ServiceId, now_us: u64, life: u64) -> bool {
        self.containers.get(service).is_some_and(|container| {
            container.seen(service, now_us, Some(life)).run == ContainerRunSeen::Running
        })
    }

    pub(crate) fn forget_probe(&mut self, service: &ServiceId) {
        if let Some(container) = self.containers.get_mut(service) {
            container.expected_by = None;
        }
    }

    pub(crate) fn runs(&self, service: &ServiceId) -> bool {
        self.containers
            .get(service)
            .is_some_and(Container::is_running)
    }

    /// A planned failure, if one is due.
    pub(crate) fn fails(&mut self, call: &Call) -> Result<(), Failure> {
        if let Some(times) = self.failing.get_mut(&call.kind()) {
            *times -= 1;
            if *times == 0 {
                self.failing.remove(&call.kind());
            }
            return Err(passing(format!("the engine failed: {:?}", call.kind())));
        }
        Ok(())
    }

    pub(crate) fn create(
        &mut self,
        service: &ServiceId,
        request: ContainerRequest,
    ) -> Result<(), Failure> {
        if let Some(old) = self.containers.get(service) {
            if old.request.fingerprint == request.fingerprint {
                return Ok(());
            }
            if old.is_running() {
                return Err(pointless(
                    "its container still runs, made from another description",
                ));
            }
        }
        if !self.images.contains(&request.image_id) {
            return Err(passing("there is no image"));
        }
        self.containers.insert(
            service.clone(),
            Container {
                request,
                run: ContainerRunSeen::Created,
                number: 0,
                listens: false,
                expected_by: None,
                settled_at_us: 0,
                settling_for: 0,
            },
        );
        Ok(())
    }

    /// Starts a container; whether it was not running before.
    pub(crate) fn start(&mut self, service: &ServiceId) -> Result<bool, Failure> {
        self.runs += 1;
        let number = self.runs;
        let missing = || pointless("there is no such container");
        let container = self.containers.get_mut(service).ok_or_else(missing)?;
        if container.is_running() {
            return Ok(false);
        }
        container.run = ContainerRunSeen::Running;
        container.number = number;
        container.listens = false;
        Ok(true)
    }

    pub(crate) fn remove(&mut self, service: &ServiceId) -> Result<(), Failure> {
        if self.runs(service) {
            return Err(pointless("a running container is not removed"));
        }
        self.containers.remove(service);
        Ok(())
    }

    /// It forgets what it was asked for.
    pub(crate) fn forget_calls(&mut self) {
        for (id, _) in std::mem::take(&mut self.calls) {
            let away = passing("the container engine does not answer");
            self.results.insert(id, Err(away));
        }
        self.busy_until_us.clear();
        self.life += 1;
    }
}

impl Container {
    pub(crate) fn is_running(&self) -> bool {
        self.run == ContainerRunSeen::Running
    }

    pub(crate) fn volumes(&self) -> &[VolumeId] {
        &self.request.spec.volumes
    }

    fn seen(&self, service: &ServiceId, now_us: u64, life: Option<u64>) -> ContainerSeen {
        // The engine has not learned of the end yet, and this asker does not know better.
        let stale = self.settled_at_us > now_us && life != Some(self.settling_for);
        let run = if stale && matches!(self.run, ContainerRunSeen::Exited { .. }) {
            ContainerRunSeen::Running
        } else {
            self.run.clone()
        };
        ContainerSeen {
            service: service.clone(),
            fingerprint: self.request.fingerprint.clone(),
            image_id: self.request.image_id.clone(),
            exposed_ports: vec![5432],
            address: self.request.address,
            run,
        }
    }
}
