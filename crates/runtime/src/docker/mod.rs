//! The Docker Engine as a [`Runtime`]: connects, and hands each call to the module that knows it.
//!
//! The agent's shell makes one [`Docker`] per node. Containers that lack our cluster's label are
//! never changed or removed, also when one has a name that we need: that is an error.

mod answer;
mod containers;
mod engine;
mod errors;
mod events;
mod fill;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod gate;
mod hold;
mod images;
mod interrupted;
mod labels;
mod log_lines;
mod logs;
mod network;
mod options;
mod process;
mod pull_progress;
mod release;
mod request;
mod settling;
mod stop;
mod subnet;
mod unpack;

pub use labels::{
    LABEL_ADDRESS, LABEL_CLUSTER, LABEL_FILL, LABEL_FINGERPRINT, LABEL_GATE, LABEL_SERVICE,
};
pub use network::network_name;

use crate::runtime_trait::{
    ContainerEvent, ContainerInfo, ContainerRequest, ImageInfo, LogSink, MountRequest, Release,
    Runtime, RuntimeError, Started,
};
use async_trait::async_trait;
use engine::Engine;
use flocker_types::ids::{ClusterId, ServiceId};
use flocker_types::link::Follow;
use gate::Gates;
use settling::Settling;
use std::path::{Path, PathBuf};
use subnet::Subnet;
use tokio::io::AsyncRead;

/// How to reach the engine, and what is ours in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DockerConfig {
    /// The engine's Unix socket, usually `/var/run/docker.sock`.
    pub socket: PathBuf,
    /// Containers with this cluster's label are ours.
    pub cluster: ClusterId,
    /// Subnet of the node's container network, as `a.b.c.d/n`. Its first address is the node's own;
    /// containers get the addresses that their requests name.
    pub container_network: String,
    /// A directory of our own for what containers need that are started before their volumes are there.
    pub gates: PathBuf,
}

/// The Docker Engine of this node.
#[derive(Debug, Clone)]
pub struct Docker {
    engine: Engine,
    cluster: ClusterId,
    subnet: Subnet,
    settling: Settling,
    gates: Gates,
}

impl Docker {
    /// Connects to the engine, agrees on an API version with it, and makes the container network
    /// when it is missing. The value stays good when the engine restarts later.
    ///
    /// # Errors
    /// `EngineDown` when nobody answers at the socket; `Refused` when the engine is too old or too
    /// new, or the network exists with another subnet.
    pub async fn connect(config: DockerConfig) -> Result<Self, RuntimeError> {
        let subnet = Subnet::parse(&config.container_network)?;
        let docker = Self {
            engine: Engine::connect(&config.socket).await?,
            cluster: config.cluster,
            subnet,
            settling: Settling::default(),
            gates: Gates::open(&config.gates),
        };
        docker.ensure_network().await?;
        docker.forget_gone().await?;
        docker.forget_fills().await?;
        Ok(docker)
    }

    /// The API version that is spoken with the engine, as in `1.41`.
    pub fn api_version(&self) -> String {
        self.engine.api_version()
    }
}

#[async_trait]
impl Runtime for Docker {
    async fn list(&self) -> Result<Vec<ContainerInfo>, RuntimeError> {
        self.list_containers().await
    }

    async fn inspect(&self, service: &ServiceId) -> Result<Option<ContainerInfo>, RuntimeError> {
        let found = self.find(service, "inspect the container of").await?;
        Ok(found.map(|container| container.info))
    }

    async fn image(&self, image: &str) -> Result<Option<ImageInfo>, RuntimeError> {
        self.find_image(image).await
    }

    async fn pull(
        &self,
        image: &str,
        progress: tokio::sync::watch::Sender<u64>,
    ) -> Result<ImageInfo, RuntimeError> {
        self.pull_image(image, progress).await
    }

    async fn export_image(
        &self,
        image: &str,
    ) -> Result<Box<dyn AsyncRead + Send + Unpin>, RuntimeError> {
        self.save_image(image).await
    }

    async fn import_image(
        &self,
        tar: Box<dyn AsyncRead + Send + Unpin>,
    ) -> Result<(), RuntimeError> {
        self.load_image(tar).await
    }

    async fn create(&self, request: &ContainerRequest) -> Result<(), RuntimeError> {
        self.create_container(request).await
    }

    async fn fill(&self, image_id: &str, path: &str, directory: &Path) -> Result<(), RuntimeError> {
        self.fill_directory(image_id, path, directory).await
    }

    async fn hold(
        &self,
        request: &ContainerRequest,
        volumes: &[String],
    ) -> Result<(), RuntimeError> {
        self.hold_container(request, volumes).await
    }

    async fn release(
        &self,
        service: &ServiceId,
        fingerprint: &str,
        volumes: &[MountRequest],
    ) -> Result<Release, RuntimeError> {
        self.release_container(service, fingerprint, volumes).await
    }

    async fn start(&self, service: &ServiceId) -> Result<Started, RuntimeError> {
        self.start_container(service).await
    }

    async fn stop(&self, service: &ServiceId, grace_ms: u64) -> Result<Option<i64>, RuntimeError> {
        self.stop_container(service, grace_ms).await
    }

    async fn remove(&self, service: &ServiceId) -> Result<(), RuntimeError> {
        self.remove_container(service).await
    }

    async fn events(&self) -> Result<tokio::sync::mpsc::Receiver<ContainerEvent>, RuntimeError> {
        self.subscribe().await
    }

    async fn logs(
        &self,
        service: &ServiceId,
        tail: Option<u32>,
        follow: Follow,
        sink: LogSink,
    ) -> Result<(), RuntimeError> {
        self.copy_logs(service, tail, follow, sink).await
    }
}
