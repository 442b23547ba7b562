//! Watches our containers: which are there, when one ends, when one is ready.
//!
//! The loop hears of it as events; jobs tell it what they started. It starts and stops nothing.

use crate::readiness::{self, Ports};
use crate::shell::ShellInput;
use flocker_core::agent::{ContainerRunSeen, ContainerSeen, Event};
use flocker_runtime::{ContainerEvent, ContainerInfo, ContainerRun, Health, Runtime, RuntimeError};
use flocker_types::ids::ServiceId;
use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// An engine that is away is asked again this often.
const ENGINE_RETRY: Duration = Duration::from_millis(500);

/// The watcher; clones are of the same one.
#[derive(Clone)]
pub(crate) struct Watcher {
    runtime: Arc<dyn Runtime>,
    inputs: mpsc::Sender<ShellInput>,
    probes: Arc<Mutex<HashMap<ServiceId, Probe>>>,
}

/// How a service's readiness is found out, and the attempt that is under way.
#[derive(Default)]
struct Probe {
    ports: Ports,
    attempt: Option<CancellationToken>,
}

impl Watcher {
    pub(crate) fn new(runtime: Arc<dyn Runtime>, inputs: mpsc::Sender<ShellInput>) -> Self {
        Self {
            runtime,
            inputs,
            probes: Arc::default(),
        }
    }

    /// Every container of ours, as the core takes it.
    pub(crate) async fn look(&self) -> Result<Vec<ContainerSeen>, RuntimeError> {
        let mut seen = Vec::new();
        for info in self.runtime.list().await? {
            let image = self.runtime.image(&info.image_id).await?;
            let exposed_ports = image.map(|image| image.exposed_ports).unwrap_or_default();
            seen.push(as_seen(info, exposed_ports));
        }
        Ok(seen)
    }

    /// Follows the engine's events, for ever. When the engine goes away and comes back the core is
    /// told what is there then.
    pub(crate) async fn run(self) {
        let mut first = true;
        loop {
            match self.runtime.events().await {
                Ok(mut events) => {
                    if !first {
                        self.tell_all().await;
                    }
                    first = false;
                    while let Some(event) = events.recv().await {
                        self.happened(event).await;
                    }
                    tracing::warn!("the container engine has gone away");
                }
                Err(error) => tracing::debug!(%error, "the container engine is away"),
            }
            sleep(ENGINE_RETRY).await;
        }
    }

    async fn tell_all(&self) {
        match self.look().await {
            Ok(containers) => {
                for seen in &containers {
                    if seen.run == ContainerRunSeen::Running {
                        self.expect_ready(&seen.service, seen.address);
                    }
                }
                self.tell(Event::Containers(containers)).await;
            }
            Err(error) => tracing::warn!(%error, "cannot list the containers"),
        }
    }

    async fn happened(&self, event: ContainerEvent) {
        match event {
            ContainerEvent::Exited(service, code) => {
                // News of an earlier run may come after the container was started again.
                let now = self.runtime.inspect(&service).await;
                let runs = matches!(
                    now,
                    Ok(Some(ContainerInfo {
                        run: ContainerRun::Running { .. },
                        ..
                    }))
                );
                if !runs {
                    self.forget(&service);
                    self.tell(Event::Exited { service, code }).await;
                }
            }
            ContainerEvent::Health(service, Health::Healthy) => {
                self.tell(Event::Ready { service }).await;
            }
            ContainerEvent::Health(service, Health::Unhealthy(message)) => {
                self.tell(Event::Unhealthy { service, message }).await;
            }
            ContainerEvent::Health(_, Health::None | Health::Starting)
            | ContainerEvent::Started(_)
            | ContainerEvent::Removed(_) => {}
        }
    }

    async fn tell(&self, event: Event) {
        // A loop that has ended takes everything down with it.
        drop(self.inputs.send(ShellInput::Event(event)).await);
    }

    /// Where to knock to see whether a service is ready.
    pub(crate) fn remember_ports(&self, service: &ServiceId, ports: Ports) {
        self.lock().entry(service.clone()).or_default().ports = ports;
    }

    /// A container runs: says so once it is ready.
    pub(crate) fn expect_ready(&self, service: &ServiceId, address: Ipv4Addr) {
        let cancel = CancellationToken::new();
        let ports = {
            let mut probes = self.lock();
            let probe = probes.entry(service.clone()).or_default();
            if let Some(old) = probe.attempt.replace(cancel.clone()) {
                old.cancel();
            }
            probe.ports.clone()
        };
        let (watcher, service) = (self.clone(), service.clone());
        tokio::spawn(async move {
            let ready = readiness::wait(watcher.runtime.as_ref(), &service, address, &ports);
            tokio::select! {
                () = cancel.cancelled() => {}
                ready = ready => if ready {
                    watcher.tell(Event::Ready { service }).await;
                }
            }
        });
    }

    /// A container has ended: nobody waits for it to be ready any more.
    pub(crate) fn forget(&self, service: &ServiceId) {
        let attempt = self
            .lock()
            .get_mut(service)
            .and_then(|probe| probe.attempt.take());
        if let Some(attempt) = attempt {
            attempt.cancel();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ServiceId, Probe>> {
        self.probes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn as_seen(info: ContainerInfo, exposed_ports: Vec<u16>) -> ContainerSeen {
    ContainerSeen {
        service: info.service,
        fingerprint: info.fingerprint,
        image_id: info.image_id,
        exposed_ports,
        address: info.address,
        run: match info.run {
            // What waits at its gate has not begun to run.
            ContainerRun::Created | ContainerRun::AtGate => ContainerRunSeen::Created,
            ContainerRun::Running { .. } => ContainerRunSeen::Running,
            ContainerRun::Exited { code } => ContainerRunSeen::Exited { code: Some(code) },
        },
    }
}
