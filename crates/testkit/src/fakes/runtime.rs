//! A container runtime in memory: containers run no process; the test says when one ends or what
//! its health is.

use super::containers::{State, StopState, no_image};
use super::faults::Faults;
use super::images::Packed;
use async_trait::async_trait;
use flocker_runtime::{
    ContainerEvent, ContainerInfo, ContainerRequest, ContainerRun, Health, ImageInfo, LogSink,
    MountRequest, Release, Runtime, RuntimeError, RuntimeErrorKind, Started,
};
use flocker_types::api::LogLine;
use flocker_types::ids::ServiceId;
use flocker_types::link::Follow;
use std::io::Cursor;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::{mpsc, watch};

/// Events that wait for one subscriber; a slower one loses its subscription, as with the real one.
const EVENTS_QUEUED_MAX: usize = 1_024;
/// Largest image stream that is taken.
const IMAGE_BYTES_MAX: u64 = 1024 * 1024;
/// Exit code of a container that ends at its stop signal (SIGTERM).
const CODE_STOPPED: i64 = 143;
/// Exit code of a container that had to be killed (SIGKILL).
const CODE_KILLED: i64 = 137;

/// A method of the runtime, for faults and counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is the method of that name")]
pub enum RuntimeCall {
    List,
    Inspect,
    Image,
    Pull,
    ExportImage,
    ImportImage,
    Create,
    Fill,
    Hold,
    Release,
    Start,
    Stop,
    Remove,
    Events,
    Logs,
}

/// A container runtime in memory.
#[derive(Debug)]
pub struct FakeRuntime {
    /// What goes wrong next, and what was called.
    pub faults: Faults<RuntimeCall, RuntimeErrorKind>,
    state: Mutex<State>,
    /// Changes with every log line and every end of a container.
    changes: watch::Sender<u64>,
}

impl Default for FakeRuntime {
    fn default() -> Self {
        Self {
            faults: Faults::default(),
            state: Mutex::default(),
            changes: watch::Sender::new(0),
        }
    }
}

/// What a test does to the fake.
impl FakeRuntime {
    /// An engine without images or containers.
    pub fn new() -> Self {
        Self::default()
    }

    /// The engine has this image from now on.
    pub fn add_image(&self, reference: &str, image: ImageInfo) {
        self.lock().images.add(reference, image);
    }

    /// The registry has this image from now on; [`Runtime::pull`] finds it there.
    pub fn add_to_registry(&self, reference: &str, image: ImageInfo) {
        self.lock().registry.add(reference, image);
    }

    /// A running container ends by itself. Nothing happens to one that does not run.
    pub fn end_container(&self, service: &ServiceId, code: i64) {
        self.lock().end(service, code);
        self.changed();
    }

    /// A running container's health check has a result.
    pub fn set_health(&self, service: &ServiceId, to: Health) {
        let mut state = self.lock();
        if let Some(container) = state.containers.get_mut(service)
            && let ContainerRun::Running { health, .. } = &mut container.run
        {
            *health = to.clone();
            state.publish(&ContainerEvent::Health(service.clone(), to));
        }
    }

    /// The service's container ignores its stop signal from now on: stop takes the whole grace time.
    pub fn ignore_stop_signal(&self, service: &ServiceId) {
        self.lock().deaf.insert(service.clone());
    }

    /// A container writes a line.
    pub fn write_log(&self, service: &ServiceId, line: LogLine) {
        if let Some(container) = self.lock().containers.get_mut(service) {
            container.log.push(line);
        }
        self.changed();
    }

    /// The engine dies: subscriptions close, calls fail. Containers stay as they are.
    pub fn engine_down(&self) {
        let mut state = self.lock();
        state.engine_is_down = true;
        state.subscribers.clear();
    }

    /// The engine answers again.
    pub fn engine_up(&self) {
        self.lock().engine_is_down = false;
    }

    /// The volumes that a container was let through its gate with.
    pub fn volumes(&self, service: &ServiceId) -> Vec<MountRequest> {
        let state = self.lock();
        let container = state.containers.get(service);
        container.map_or_else(Vec::new, |one| one.volumes.clone())
    }

    /// The request that a container was made from.
    pub fn request(&self, service: &ServiceId) -> Option<ContainerRequest> {
        let state = self.lock();
        state.containers.get(service).map(|one| one.request.clone())
    }
}

impl FakeRuntime {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    async fn run<T>(
        &self,
        call: RuntimeCall,
        action: String,
        work: impl FnOnce(&mut State) -> Result<T, RuntimeErrorKind> + Send,
    ) -> Result<T, RuntimeError> {
        let outcome = match self.faults.enter(call).await {
            Err(kind) => Err(kind),
            Ok(lost) => {
                let worked = self.lock().engine().and_then(work);
                match (worked, lost) {
                    (Ok(_), Some(kind)) => Err(kind),
                    (worked, _) => worked,
                }
            }
        };
        outcome.map_err(|kind| RuntimeError { action, kind })
    }
}

#[async_trait]
impl Runtime for FakeRuntime {
    async fn list(&self) -> Result<Vec<ContainerInfo>, RuntimeError> {
        self.run(
            RuntimeCall::List,
            "list the containers".to_owned(),
            |state| {
                Ok(state
                    .containers
                    .keys()
                    .filter_map(|id| state.info(id))
                    .collect())
            },
        )
        .await
    }

    async fn inspect(&self, service: &ServiceId) -> Result<Option<ContainerInfo>, RuntimeError> {
        let action = format!("inspect the container of {service}");
        self.run(
            RuntimeCall::Inspect,
            action,
            |state| Ok(state.info(service)),
        )
        .await
    }

    async fn image(&self, image: &str) -> Result<Option<ImageInfo>, RuntimeError> {
        let action = format!("look for the image {image}");
        self.run(RuntimeCall::Image, action, |state| {
            Ok(state.images.find(image).cloned())
        })
        .await
    }

    async fn pull(
        &self,
        image: &str,
        progress: watch::Sender<u64>,
    ) -> Result<ImageInfo, RuntimeError> {
        let action = format!("pull the image {image}");
        self.run(RuntimeCall::Pull, action, |state| {
            let found = state.registry.find(image).cloned();
            let found = found.ok_or_else(|| no_image(image))?;
            progress.send_replace(1);
            state.images.add(image, found.clone());
            Ok(found)
        })
        .await
    }

    async fn export_image(
        &self,
        image: &str,
    ) -> Result<Box<dyn AsyncRead + Send + Unpin>, RuntimeError> {
        let action = format!("export the image {image}");
        let bytes = self
            .run(RuntimeCall::ExportImage, action, |state| {
                let packed = state.images.pack(image).ok_or_else(|| no_image(image))?;
                serde_json::to_vec(&packed)
                    .map_err(|error| RuntimeErrorKind::Other(error.to_string()))
            })
            .await?;
        Ok(Box::new(Cursor::new(bytes)))
    }

    async fn import_image(
        &self,
        tar: Box<dyn AsyncRead + Send + Unpin>,
    ) -> Result<(), RuntimeError> {
        let mut bytes = Vec::new();
        let read = tar.take(IMAGE_BYTES_MAX).read_to_end(&mut bytes).await;
        self.run(
            RuntimeCall::ImportImage,
            "import an image".to_owned(),
            |state| {
                read.map_err(|error| RuntimeErrorKind::Other(error.to_string()))?;
                let packed: Packed = serde_json::from_slice(&bytes)
                    .map_err(|error| RuntimeErrorKind::Other(error.to_string()))?;
                state.images.unpack(packed);
                Ok(())
            },
        )
        .await
    }

    async fn create(&self, request: &ContainerRequest) -> Result<(), RuntimeError> {
        let action = format!("create the container of {}", request.service);
        self.run(RuntimeCall::Create, action, |state| state.create(request))
            .await
    }

    /// Images in memory have no files.
    async fn fill(&self, image_id: &str, path: &str, directory: &Path) -> Result<(), RuntimeError> {
        let action = format!("fill {} with {path} of {image_id}", directory.display());
        self.run(RuntimeCall::Fill, action, |_| Ok(())).await
    }

    async fn hold(
        &self,
        request: &ContainerRequest,
        volumes: &[String],
    ) -> Result<(), RuntimeError> {
        let action = format!("hold the container of {}", request.service);
        self.run(RuntimeCall::Hold, action, |state| {
            state.hold(request, volumes)
        })
        .await
    }

    async fn release(
        &self,
        service: &ServiceId,
        fingerprint: &str,
        volumes: &[MountRequest],
    ) -> Result<Release, RuntimeError> {
        let action = format!("let go on the container of {service}");
        self.run(RuntimeCall::Release, action, |state| {
            state.release(service, fingerprint, volumes)
        })
        .await
    }

    async fn start(&self, service: &ServiceId) -> Result<Started, RuntimeError> {
        let action = format!("start the container of {service}");
        self.run(RuntimeCall::Start, action, |state| state.start(service))
            .await
    }

    async fn stop(&self, service: &ServiceId, grace_ms: u64) -> Result<Option<i64>, RuntimeError> {
        let action = format!("stop the container of {service}");
        let state = self.run(RuntimeCall::Stop, action, |state| {
            let found = state.stop_state(service);
            if matches!(found, StopState::Listens) {
                state.end(service, CODE_STOPPED);
            }
            if let (StopState::AtGate, Some(one)) = (&found, state.containers.get_mut(service)) {
                one.run = ContainerRun::Exited { code: CODE_KILLED };
            }
            Ok(found)
        });
        let code = match state.await? {
            StopState::Ended(code) => code,
            StopState::Listens => Some(CODE_STOPPED),
            StopState::AtGate => Some(CODE_KILLED),
            StopState::Deaf => {
                tokio::time::sleep(Duration::from_millis(grace_ms)).await;
                self.lock().end(service, CODE_KILLED);
                Some(CODE_KILLED)
            }
        };
        self.changed();
        Ok(code)
    }

    async fn remove(&self, service: &ServiceId) -> Result<(), RuntimeError> {
        let action = format!("remove the container of {service}");
        let removed = self
            .run(RuntimeCall::Remove, action, |state| state.remove(service))
            .await;
        self.changed();
        removed
    }

    async fn events(&self) -> Result<mpsc::Receiver<ContainerEvent>, RuntimeError> {
        self.run(
            RuntimeCall::Events,
            "watch the containers".to_owned(),
            |state| {
                let (sender, receiver) = mpsc::channel(EVENTS_QUEUED_MAX);
                state.subscribers.push(sender);
                Ok(receiver)
            },
        )
        .await
    }

    async fn logs(
        &self,
        service: &ServiceId,
        tail: Option<u32>,
        follow: Follow,
        sink: LogSink,
    ) -> Result<(), RuntimeError> {
        let action = format!("read the log of {service}");
        let mut changes = self.changes.subscribe();
        let mut next = self
            .run(RuntimeCall::Logs, action, |state| {
                let container = state.containers.get(service);
                let lines = container.ok_or(RuntimeErrorKind::NoContainer)?.log.len();
                let wanted = tail.map_or(lines, |tail| usize::try_from(tail).unwrap_or(lines));
                Ok(lines.saturating_sub(wanted))
            })
            .await?;
        loop {
            let (lines, runs) = match self.lock().containers.get(service) {
                None => return Ok(()),
                Some(container) => (
                    container.log.get(next..).unwrap_or_default().to_vec(),
                    matches!(container.run, ContainerRun::Running { .. }),
                ),
            };
            next += lines.len();
            if !lines.is_empty() && sink.send(lines).await.is_err() {
                return Ok(());
            }
            if follow == Follow::No || !runs {
                return Ok(());
            }
            tokio::select! {
                () = sink.closed() => return Ok(()),
                changed = changes.changed() => if changed.is_err() { return Ok(()) },
            }
        }
    }
}
