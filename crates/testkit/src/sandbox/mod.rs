//! A cluster on one machine: every node a network namespace with an address, a Docker engine and a
//! pool of its own.
//!
//! Used by `flocker sandbox`, by the demo and by the end-to-end tests. Knows Flocker only by its
//! commands, as a person does. Needs root. Nothing here runs on a real server.

mod error;
mod faults;
mod flocker;
mod groups;
mod guard;
mod lock;
mod network;
mod node;
mod record;
mod spare;
mod teardown;

pub use error::SandboxError;
pub use faults::{Role, Target};
pub use guard::SandboxGuard;
pub use record::{BASE, NODES_MAX, NodePlace, SandboxName, SandboxRecord, Subnet};

use crate::tool::Tool;
use flocker_types::volume::StorageKind;
use futures_util::future::try_join_all;
use std::path::{Path, PathBuf};

/// Smallest pool that btrfs and ZFS both take, with room for something.
const POOL_BYTES_MIN: u64 = 512 << 20;

/// What sandbox to make.
#[derive(Debug, Clone)]
pub struct SandboxSpec {
    /// What to call it.
    pub name: SandboxName,
    /// How many nodes: n1, n2 ...
    pub nodes: u8,
    /// What the pools are made of.
    pub storage: StorageKind,
    /// How large each may grow; the files are sparse.
    pub pool_bytes: u64,
}

impl SandboxSpec {
    fn check(&self) -> Result<(), SandboxError> {
        let invalid = |what: String, hint: &str| {
            Err(SandboxError::Invalid {
                what,
                hint: hint.to_owned(),
            })
        };
        if !(1..=NODES_MAX).contains(&self.nodes) {
            return invalid(
                format!("a sandbox cannot have {} nodes", self.nodes),
                &format!("choose 1 to {NODES_MAX}"),
            );
        }
        if self.pool_bytes < POOL_BYTES_MIN {
            return invalid(
                format!("a pool of {} bytes is too small", self.pool_bytes),
                "give it 512M or more",
            );
        }
        if !nix::unistd::geteuid().is_root() {
            return invalid(
                "a sandbox needs namespaces and mounts, which only root may make".to_owned(),
                "run the same command with sudo",
            );
        }
        Ok(())
    }
}

/// A sandbox that is up.
#[derive(Debug, Clone)]
pub struct Sandbox {
    record: SandboxRecord,
    nodes: Vec<NodePlace>,
}

impl Sandbox {
    /// Makes the nodes with their engines, without Flocker on them. When it fails, it leaves nothing.
    pub async fn up_bare(spec: &SandboxSpec) -> Result<Self, SandboxError> {
        Self::up_or_nothing(spec, None).await
    }

    /// Makes the nodes and a Flocker cluster of them, and waits until it is ready. `flocker` is the
    /// program; it becomes the cluster's context of the command line as `sandbox-NAME`.
    pub async fn up(spec: &SandboxSpec, flocker: &Path) -> Result<Self, SandboxError> {
        Self::up_or_nothing(spec, Some(flocker.to_owned())).await
    }

    async fn up_or_nothing(
        spec: &SandboxSpec,
        flocker: Option<PathBuf>,
    ) -> Result<Self, SandboxError> {
        spec.check()?;
        let sandbox = Self::reserve(spec, flocker).await?;
        match sandbox.make().await {
            Ok(()) => Ok(sandbox),
            Err(error) => {
                if let Err(left) = teardown::remove(&spec.name).await {
                    tracing::error!(error = %left, sandbox = %spec.name, "could not clean up");
                }
                Err(error)
            }
        }
    }

    /// Chooses addresses, writes the record, makes the bridge.
    async fn reserve(spec: &SandboxSpec, flocker: Option<PathBuf>) -> Result<Self, SandboxError> {
        let _lock = lock::take().await?;
        if SandboxRecord::load(&spec.name)?.is_some() {
            return Err(SandboxError::Invalid {
                what: format!("there is a sandbox \"{}\" already", spec.name),
                hint: format!(
                    "use it, choose another name, or remove it: flocker sandbox down {}",
                    spec.name
                ),
            });
        }
        let record = SandboxRecord {
            name: spec.name.clone(),
            machine: network::machine()?,
            subnet: network::choose_subnet(&SandboxRecord::load_all()?).await?,
            nodes: spec.nodes,
            storage: spec.storage,
            pool_bytes: spec.pool_bytes,
            flocker,
        };
        record.save()?;
        let made = network::make_bridge(&record).await;
        let sandbox = Self::of(record);
        if made.is_err() {
            drop(_lock);
            teardown::remove(&spec.name).await?;
        }
        made.map(|()| sandbox)
    }

    fn of(record: SandboxRecord) -> Self {
        let nodes = record.all_nodes().collect();
        Self { record, nodes }
    }

    async fn make(&self) -> Result<(), SandboxError> {
        try_join_all(self.nodes.iter().map(|node| self.make_node(node))).await?;
        if let Some(flocker) = &self.record.flocker {
            self.form_cluster(flocker).await?;
        }
        Ok(())
    }

    async fn make_node(&self, node: &NodePlace) -> Result<(), SandboxError> {
        network::make_namespace(&self.record, node).await?;
        node::start_anchor(node).await?;
        node::make_pool(&self.record, node).await?;
        node::start_engine(node).await
    }

    /// Finds a sandbox that is up.
    pub fn open(name: &SandboxName) -> Result<Self, SandboxError> {
        match SandboxRecord::load(name)? {
            Some(record) => Ok(Self::of(record)),
            None => Err(SandboxError::Invalid {
                what: format!("there is no sandbox \"{name}\""),
                hint: "see `flocker sandbox list`, or make one: flocker sandbox up".to_owned(),
            }),
        }
    }

    /// Every sandbox on this machine, also one whose `up` was killed half-way.
    pub fn list() -> Result<Vec<SandboxRecord>, SandboxError> {
        SandboxRecord::load_all()
    }

    /// Removes a sandbox with all its data: processes, containers, mounts, devices, namespaces,
    /// files. Removes what is left of one after a crash, too; nothing happens when there is none.
    pub async fn down(name: &SandboxName) -> Result<(), SandboxError> {
        teardown::remove(name).await
    }

    /// What it is made of.
    pub fn record(&self) -> &SandboxRecord {
        &self.record
    }

    /// Its nodes, the first is n1.
    pub fn nodes(&self) -> &[NodePlace] {
        &self.nodes
    }

    /// A node by its name.
    pub fn node(&self, name: &str) -> Result<&NodePlace, SandboxError> {
        let found = self.nodes.iter().find(|node| node.name == name);
        found.ok_or_else(|| SandboxError::Invalid {
            what: format!("sandbox \"{}\" has no node \"{name}\"", self.record.name),
            hint: format!("its nodes are n1 to n{}", self.record.nodes),
        })
    }

    /// How a node's pool is described to `flocker init` and `flocker join`.
    pub fn pool_spec(&self, node: &str) -> Result<String, SandboxError> {
        Ok(node::pool_spec(&self.record, self.node(node)?))
    }

    /// A command that runs on a node: in its namespaces, its engine as `DOCKER_HOST`.
    pub fn tool_on(&self, node: &str, program: &str) -> Result<Tool, SandboxError> {
        node::tool_on(self.node(node)?, program)
    }

    /// The program and arguments for a shell on a node, with its environment; the caller lends it
    /// the terminal.
    pub fn shell(&self, node: &str) -> Result<std::process::Command, SandboxError> {
        let node = self.node(node)?;
        let shell = std::env::var_os("SHELL").unwrap_or_else(|| "/bin/sh".into());
        let mut command = std::process::Command::new("nsenter");
        command
            .args(node::enter_words(node)?)
            .arg(shell)
            .env("DOCKER_HOST", node::docker_url(node))
            .env("FLOCKER_CONTEXT", self.record.context())
            .env("PS1", format!("{}/{}# ", self.record.name, node.name));
        Ok(command)
    }
}
