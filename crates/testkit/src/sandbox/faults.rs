//! Everything that can be broken in a sandbox, and mended: processes, cables, power.
//!
//! Called by tests and by `flocker sandbox kill|cut|heal`.

use super::groups;
use super::network;
use super::node;
use super::record::NodePlace;
use super::teardown;
use super::{Sandbox, SandboxError};
use crate::process::ProcessRecord;
use crate::wait::{self, WaitError};
use nix::sys::signal::Signal;
use std::str::FromStr;
use std::time::Duration;

const END_LIMIT: Duration = Duration::from_secs(20);

/// A process of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// `flocker control`; on the first node only.
    Control,
    /// `flocker agent`.
    Agent,
    /// `flocker proxy`.
    Proxy,
    /// The Docker engine.
    Docker,
}

impl Role {
    /// Flocker's own, in the order in which they start.
    pub const FLOCKER: [Self; 3] = [Self::Control, Self::Agent, Self::Proxy];

    /// Its name: in commands, of its log, of its record.
    pub fn name(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Agent => "agent",
            Self::Proxy => "proxy",
            Self::Docker => node::DOCKER,
        }
    }
}

/// Which processes a fault hits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// One.
    One(Role),
    /// Flocker's and the engine; what is in containers goes on.
    All,
}

impl Target {
    fn roles(self) -> Vec<Role> {
        match self {
            Self::One(role) => vec![role],
            Self::All => Role::FLOCKER.into_iter().chain([Role::Docker]).collect(),
        }
    }
}

impl FromStr for Target {
    type Err = SandboxError;

    fn from_str(name: &str) -> Result<Self, SandboxError> {
        let roles = Target::All.roles();
        match roles.into_iter().find(|role| role.name() == name) {
            Some(role) => Ok(Self::One(role)),
            None if name == "all" => Ok(Self::All),
            None => Err(SandboxError::Invalid {
                what: format!("a node runs nothing that is called \"{name}\""),
                hint: "choose control, agent, proxy, docker or all".to_owned(),
            }),
        }
    }
}

impl Sandbox {
    /// Whether a process of a node runs.
    pub fn is_running(&self, node: &str, role: Role) -> Result<bool, SandboxError> {
        let process = self.process(self.node(node)?, role)?;
        Ok(process.is_some_and(ProcessRecord::is_running))
    }

    /// The process, as it was last started.
    pub fn process(
        &self,
        node: &NodePlace,
        role: Role,
    ) -> Result<Option<ProcessRecord>, SandboxError> {
        Ok(ProcessRecord::load(&node.process_file(role.name()))?)
    }

    /// Sends a signal to processes of a node, and waits for their end when it is one that ends
    /// them. Returns which there were.
    pub async fn kill(
        &self,
        node: &str,
        target: Target,
        signal: Signal,
    ) -> Result<Vec<Role>, SandboxError> {
        let node = self.node(node)?;
        let mut hit = Vec::new();
        for role in target.roles() {
            let Some(process) = self.process(node, role)? else {
                continue;
            };
            if process.signal(signal) {
                hit.push(role);
            }
            if matches!(signal, Signal::SIGKILL | Signal::SIGTERM | Signal::SIGINT) {
                let what = format!("{} of {} to end", role.name(), node.name);
                let look = || async move { Ok((!process.is_running()).then_some(())) };
                wait::until::<_, WaitError, _, _>(&what, END_LIMIT, look).await?;
            }
        }
        Ok(hit)
    }

    /// Stops processes from running, as if the machine were too slow to be of use.
    pub async fn freeze(&self, node: &str, target: Target) -> Result<Vec<Role>, SandboxError> {
        self.kill(node, target, Signal::SIGSTOP).await
    }

    /// Lets them run again.
    pub async fn thaw(&self, node: &str, target: Target) -> Result<Vec<Role>, SandboxError> {
        self.kill(node, target, Signal::SIGCONT).await
    }

    /// Stops everything on a node from running, containers included, as a virtual machine that is
    /// paused.
    pub async fn freeze_all(&self, node: &str) -> Result<(), SandboxError> {
        for process in teardown::processes_of(self.node(node)?) {
            process.signal(Signal::SIGSTOP);
        }
        Ok(())
    }

    /// Lets everything on a node run again.
    pub async fn thaw_all(&self, node: &str) -> Result<(), SandboxError> {
        for process in teardown::processes_of(self.node(node)?) {
            process.signal(Signal::SIGCONT);
        }
        Ok(())
    }

    /// Whether a process stands still.
    pub fn is_frozen(&self, node: &str, role: Role) -> Result<bool, SandboxError> {
        let process = self.process(self.node(node)?, role)?;
        Ok(process.is_some_and(ProcessRecord::is_stopped))
    }

    /// Starts a process of a node, unless it runs. The engine is waited for, Flocker's are not.
    pub async fn start(&self, node: &str, role: Role) -> Result<(), SandboxError> {
        if self.is_running(node, role)? {
            return Ok(());
        }
        let node = self.node(node)?;
        match role {
            Role::Docker => node::start_engine(node).await,
            Role::Control | Role::Agent | Role::Proxy => self.start_flocker(node, role),
        }
    }

    /// Cuts the link between two nodes, both ways, for what is established too. Neither is told.
    pub async fn cut(&self, one: &str, other: &str) -> Result<(), SandboxError> {
        let (one, other) = (self.node(one)?, self.node(other)?);
        network::ignore(one, other.address).await?;
        network::ignore(other, one.address).await?;
        Ok(())
    }

    /// Cuts a node off from all others and from this machine.
    pub async fn cut_all(&self, node: &str) -> Result<(), SandboxError> {
        Ok(network::unplug(self.node(node)?).await?)
    }

    /// Cuts one process of a node off from everybody; the others on the node go on. Mended by
    /// [`heal`](Self::heal).
    pub async fn cut_process(&self, node: &str, role: Role) -> Result<(), SandboxError> {
        let node = self.node(node)?;
        let (root, group) = groups::of(node, role)?;
        Ok(network::mute(node, &root, &group).await?)
    }

    /// Makes a node refuse connections from another to one of its ports, also those that are open.
    /// Mended by [`heal`](Self::heal).
    pub async fn refuse(&self, node: &str, from: &str, port: u16) -> Result<(), SandboxError> {
        let from = self.node(from)?.address;
        Ok(network::refuse(self.node(node)?, from, port).await?)
    }

    /// Mends the link between two nodes.
    pub async fn heal_between(&self, one: &str, other: &str) -> Result<(), SandboxError> {
        let (one, other) = (self.node(one)?, self.node(other)?);
        network::hear(one, other.address).await?;
        network::hear(other, one.address).await?;
        Ok(())
    }

    /// Mends every link of a node.
    pub async fn heal(&self, name: &str) -> Result<(), SandboxError> {
        let node = self.node(name)?;
        network::plug_in(self.record(), node).await?;
        network::hear_all(node).await?;
        for other in self.nodes().iter().filter(|other| other.name != name) {
            network::hear(other, node.address).await?;
        }
        Ok(())
    }

    /// Ends everything on a node at once, containers and mounts included. What was written to its
    /// disk stays, as after a power cut with an honest disk.
    pub async fn power_off(&self, node: &str) -> Result<(), SandboxError> {
        teardown::end_node(self.node(node)?).await
    }

    /// Boots a node that was powered off: its engine and, where the sandbox has it, Flocker.
    pub async fn power_on(&self, name: &str) -> Result<(), SandboxError> {
        let node = self.node(name)?;
        node::start_anchor(node).await?;
        node::import_pool(self.record(), node).await?;
        node::start_engine(node).await?;
        if self.record().flocker.is_none() {
            return Ok(());
        }
        for role in self.flocker_roles(node) {
            self.start_flocker(node, role)?;
        }
        Ok(())
    }
}
