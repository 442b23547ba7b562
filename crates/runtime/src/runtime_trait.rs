//! The trait that a container runtime implements, and its errors. The agent's shell calls it.

use async_trait::async_trait;
use flocker_types::api::LogLine;
use flocker_types::app::HealthCheck;
use flocker_types::container::ContainerOptions;
use flocker_types::ids::ServiceId;
use flocker_types::link::Follow;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use tokio::io::AsyncRead;

/// Everything needed to make a container. Whoever makes one has decided all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerRequest {
    /// Whose container it is; becomes labels and the container's name.
    pub service: ServiceId,
    /// Docker's image id.
    pub image_id: String,
    /// Replaces the image's command.
    pub command: Option<Vec<String>>,
    /// `KEY=VALUE`, complete.
    pub environment: Vec<(String, String)>,
    /// Names for the hosts file.
    pub hosts: Vec<(String, Ipv4Addr)>,
    /// Directories of this node in the container.
    pub mounts: Vec<MountRequest>,
    /// Bytes.
    pub memory_limit_bytes: Option<u64>,
    /// Docker's weight.
    pub cpu_shares: Option<u32>,
    /// None leaves the image's own in force.
    pub health_check: Option<HealthCheck>,
    /// None leaves the image's own in force.
    pub stop_signal: Option<String>,
    /// Everything else that the engine is asked for.
    pub options: ContainerOptions,
    /// The fixed address of the container in the node's container network.
    pub address: Ipv4Addr,
    /// Fingerprint of the whole request; a container with another one is out of date.
    pub fingerprint: String,
}

/// One directory or file of the node in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountRequest {
    /// On the node.
    pub source: PathBuf,
    /// In the container.
    pub target: String,
    /// The container cannot write it.
    pub read_only: bool,
}

/// An image that the engine has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageInfo {
    /// Docker's image id (`sha256:...`).
    pub id: String,
    /// TCP ports that it exposes.
    pub exposed_ports: Vec<u16>,
}

/// One of our containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerInfo {
    /// Whose.
    pub service: ServiceId,
    /// The request's fingerprint.
    pub fingerprint: String,
    /// Its image.
    pub image_id: String,
    /// Its fixed address.
    pub address: Ipv4Addr,
    /// Whether it runs.
    pub run: ContainerRun,
}

/// Whether a container runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContainerRun {
    /// Created, never started.
    Created,
    /// It waits at its gate, without its volumes ([`Runtime::hold`]). Nothing of the service runs: for
    /// everybody but the runtime it was never started.
    AtGate,
    /// Running.
    Running {
        /// The first process, in the node's process ids.
        pid: u32,
        /// What its health check says.
        health: Health,
    },
    /// It ended.
    Exited {
        /// Its exit code.
        code: i64,
    },
}

/// What came of letting a container through its gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// It has its volumes and runs, or had been let through before and still runs.
    Passed,
    /// None waits that was made from this description; nothing of it runs. It has to be made and
    /// started.
    NotWaiting,
}

/// How far a start has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Started {
    /// It runs.
    Runs,
    /// It waits at its gate, to be [released](Runtime::release).
    AtGate,
}

/// What a container's health check says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// It has none.
    None,
    /// No result yet.
    Starting,
    /// It passes.
    Healthy,
    /// It fails; the last output of the check.
    Unhealthy(String),
}

/// Something happened to one of our containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContainerEvent {
    /// It started.
    Started(ServiceId),
    /// It ended, with this exit code.
    Exited(ServiceId, i64),
    /// Its health changed.
    Health(ServiceId, Health),
    /// It was removed.
    Removed(ServiceId),
}

/// Receives log lines, in batches of bounded size. Dropping its receiver ends the call that fills it.
pub type LogSink = tokio::sync::mpsc::Sender<Vec<LogLine>>;

/// A container runtime on this node. Every method has a time limit of its own and may be repeated.
#[async_trait]
pub trait Runtime: Send + Sync + 'static {
    /// Every container of ours (of this cluster), running or not.
    async fn list(&self) -> Result<Vec<ContainerInfo>, RuntimeError>;

    /// One of them.
    async fn inspect(&self, service: &ServiceId) -> Result<Option<ContainerInfo>, RuntimeError>;

    /// The image, if the engine has it; by reference or id.
    async fn image(&self, image: &str) -> Result<Option<ImageInfo>, RuntimeError>;

    /// Fetches an image from its registry. `progress` counts bytes received.
    async fn pull(
        &self,
        image: &str,
        progress: tokio::sync::watch::Sender<u64>,
    ) -> Result<ImageInfo, RuntimeError>;

    /// An image with its tags as a tar stream (`docker save`).
    async fn export_image(
        &self,
        image: &str,
    ) -> Result<Box<dyn AsyncRead + Send + Unpin>, RuntimeError>;

    /// Loads what [`export_image`](Self::export_image) made. The image then has the id that it had
    /// there, and its tags; digests as names do not travel, so look it up by id or tag.
    async fn import_image(
        &self,
        tar: Box<dyn AsyncRead + Send + Unpin>,
    ) -> Result<(), RuntimeError>;

    /// Makes the container without starting it. A container of the same service and fingerprint is
    /// left as it is; one with another fingerprint is an error unless it has ended, never ran or waits
    /// at its gate, then it is replaced.
    async fn create(&self, request: &ContainerRequest) -> Result<(), RuntimeError>;

    /// Gives an empty directory of this node what the image has at `path`, as a volume that is new begins:
    /// files, owners, modes. Does nothing when the directory has files, or the image nothing there. One
    /// that broke off is done anew.
    async fn fill(&self, image_id: &str, path: &str, directory: &Path) -> Result<(), RuntimeError>;

    /// Makes the container before its volumes are there, and starts it up to its gate: everything that a
    /// start costs is done, but the service's own command does not run before [`release`](Self::release).
    /// `volumes` are the volumes' paths in the container; `request` is without them. `Ok` when it waits
    /// there already. When this fails nothing of it is left, as far as can be; above all
    /// [`NoGate`](RuntimeErrorKind::NoGate) says that this container cannot be held, and has to be
    /// created once its volumes are there.
    async fn hold(
        &self,
        request: &ContainerRequest,
        volumes: &[String],
    ) -> Result<(), RuntimeError>;

    /// Gives the container at its gate these volumes, all of those that were announced, and lets it go
    /// on. Does nothing to a container of another fingerprint, nor to one that never had a gate.
    async fn release(
        &self,
        service: &ServiceId,
        fingerprint: &str,
        volumes: &[MountRequest],
    ) -> Result<Release, RuntimeError>;

    /// Starts it, or, if it was made by [`hold`](Self::hold), starts it up to its gate; when that is no
    /// longer possible ([`NoGate`](RuntimeErrorKind::NoGate)) it is gone. `Ok` when it runs already.
    async fn start(&self, service: &ServiceId) -> Result<Started, RuntimeError>;

    /// Sends its stop signal, waits `grace_ms`, then kills; returns as soon as every process of the
    /// container has ended, so nothing of it writes any more. The exit code is there when it is known
    /// by then: an engine learns it some 100 ms later, which no pause should wait for (the
    /// [`ContainerEvent::Exited`] has it). `Ok` with the code of its last run (0 when it never
    /// ran) when it does not run; `None` also when there is no such container. Calls that follow
    /// (inspect, start, remove) see it as ended.
    async fn stop(&self, service: &ServiceId, grace_ms: u64) -> Result<Option<i64>, RuntimeError>;

    /// Removes it; it must not run, and one that waits at its gate does not. `Ok` when there is none.
    async fn remove(&self, service: &ServiceId) -> Result<(), RuntimeError>;

    /// Everything that happens to our containers from now on, but what happens at a gate. The channel
    /// closes when the engine goes away; the caller then lists and subscribes again.
    async fn events(&self) -> Result<tokio::sync::mpsc::Receiver<ContainerEvent>, RuntimeError>;

    /// Sends the container's log to `sink` and returns at its end, or when nobody listens.
    async fn logs(
        &self,
        service: &ServiceId,
        tail: Option<u32>,
        follow: Follow,
        sink: LogSink,
    ) -> Result<(), RuntimeError>;
}

/// A runtime call that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action}: {kind}")]
pub struct RuntimeError {
    /// What was tried, as in "start the container of db".
    pub action: String,
    /// Why it failed.
    pub kind: RuntimeErrorKind,
}

impl RuntimeError {
    /// Whether the same call may succeed later without anybody changing anything.
    pub fn retry_can_help(&self) -> bool {
        self.kind.retry_can_help()
    }
}

impl RuntimeErrorKind {
    /// Whether the same call may succeed later without anybody changing anything: the engine may
    /// come back, a registry may be reached again; a refusal stays one.
    pub fn retry_can_help(&self) -> bool {
        match self {
            Self::EngineDown { .. }
            | Self::TimedOut { .. }
            | Self::NoImage { .. }
            | Self::Other(_) => true,
            Self::NoContainer | Self::NoGate(_) | Self::Refused(_) => false,
        }
    }
}

/// Why a runtime call failed.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeErrorKind {
    /// The engine does not answer.
    #[error("the container engine does not answer at {endpoint}: {reason}")]
    EngineDown {
        /// Where it should.
        endpoint: String,
        /// What was met instead.
        reason: String,
    },
    /// The image is neither here nor in a registry that can be reached.
    #[error("there is no image {image}: {reason}")]
    NoImage {
        /// The image.
        image: String,
        /// What the engine said.
        reason: String,
    },
    /// There is no such container.
    #[error("there is no such container")]
    NoContainer,
    /// It cannot wait at a gate.
    #[error("it cannot be started before its volumes are there: {0}")]
    NoGate(String),
    /// The engine refuses, and would again.
    #[error("the engine refuses: {0}")]
    Refused(String),
    /// It took longer than it may.
    #[error("no answer within {limit_ms} ms while waiting for {waiting_for}")]
    TimedOut {
        /// The limit.
        limit_ms: u64,
        /// What was waited for.
        waiting_for: String,
    },
    /// Anything else.
    #[error("{0}")]
    Other(String),
}
