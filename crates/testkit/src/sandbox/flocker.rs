//! A Flocker cluster on the sandbox's nodes, made by the commands that a person would use.
//!
//! Called by `up` and by `start`. Reads nothing of Flocker's but what its commands print.

use super::faults::Role;
use super::groups;
use super::node::{self, log_tail};
use super::record::NodePlace;
use super::{Sandbox, SandboxError};
use crate::tool::Tool;
use crate::wait;
use flocker_types::api::{ClusterView, LinkView};
use futures_util::future::try_join_all;
use std::path::Path;
use std::time::Duration;

const INIT_LIMIT: Duration = Duration::from_secs(60);
const CONTROL_LIMIT: Duration = Duration::from_secs(30);
const READY_LIMIT: Duration = Duration::from_secs(60);
const STATUS_LIMIT: Duration = Duration::from_secs(5);

impl Sandbox {
    /// Makes the cluster: init on the first node, join on the others, start, wait until all is
    /// connected.
    pub(super) async fn form_cluster(&self, flocker: &Path) -> Result<(), SandboxError> {
        let (first, others) = self
            .nodes()
            .split_first()
            .ok_or_else(|| SandboxError::Invalid {
                what: "a cluster needs a node".to_owned(),
                hint: "choose 1 or more".to_owned(),
            })?;
        let context = self.record().context();
        let init = self.enrol(flocker, first, &["init"])?;
        init.args(["--context", &context]).run().await?;
        self.start_flocker(first, Role::Control)?;
        self.start_flocker(first, Role::Agent)?;
        self.start_flocker(first, Role::Proxy)?;
        self.await_status("control to answer", CONTROL_LIMIT, |_| true)
            .await?;
        try_join_all(others.iter().map(|node| self.join(flocker, first, node))).await?;
        self.await_ready().await
    }

    async fn join(
        &self,
        flocker: &Path,
        first: &NodePlace,
        node: &NodePlace,
    ) -> Result<(), SandboxError> {
        let context = self.record().context();
        let token = Tool::new(flocker).args(["token", "--context", &context]);
        let token = token.run().await?;
        let words = ["join", &first.address.to_string(), "--token", token.trim()];
        self.enrol(flocker, node, &words)?.run().await?;
        self.start_flocker(node, Role::Agent)?;
        self.start_flocker(node, Role::Proxy)
    }

    /// `flocker init` or `flocker join`, with what both are told about the node.
    fn enrol(
        &self,
        flocker: &Path,
        node: &NodePlace,
        words: &[&str],
    ) -> Result<Tool, SandboxError> {
        Ok(node::tool_on(node, &flocker.display().to_string())?
            .args(self.options(node, words))
            .limit(INIT_LIMIT))
    }

    /// The same as words, the program first.
    pub(super) fn enrol_words(
        &self,
        node: &NodePlace,
        words: &[&str],
    ) -> Result<Vec<String>, SandboxError> {
        let mut all = vec![self.program()?];
        all.extend(self.options(node, words));
        Ok(all)
    }

    fn options(&self, node: &NodePlace, words: &[&str]) -> Vec<String> {
        let named = [
            ("--name", node.name.clone()),
            ("--address", node.address.to_string()),
            ("--state-dir", node.state_directory().display().to_string()),
            ("--docker", node::docker_url(node)),
            ("--pool", node::pool_spec(self.record(), node)),
        ];
        let named = named
            .into_iter()
            .flat_map(|(name, value)| [name.to_owned(), value]);
        let words = words.iter().map(|word| (*word).to_owned());
        words
            .chain(named)
            .chain(["--no-start".to_owned()])
            .collect()
    }

    fn program(&self) -> Result<String, SandboxError> {
        match &self.record().flocker {
            Some(flocker) => Ok(flocker.display().to_string()),
            None => Err(SandboxError::Invalid {
                what: format!(
                    "sandbox \"{}\" was made without Flocker",
                    self.record().name
                ),
                hint: "make one with it: flocker sandbox up".to_owned(),
            }),
        }
    }

    /// Which of Flocker's processes a node has.
    pub(super) fn flocker_roles(&self, node: &NodePlace) -> Vec<Role> {
        let is_first = self.nodes().first() == Some(node);
        let mut roles = Role::FLOCKER.to_vec();
        roles.retain(|role| is_first || *role != Role::Control);
        roles
    }

    /// Starts one of Flocker's processes without waiting for it.
    pub(super) fn start_flocker(&self, node: &NodePlace, role: Role) -> Result<(), SandboxError> {
        let invalid = |what: String, hint: &str| SandboxError::Invalid {
            what,
            hint: hint.to_owned(),
        };
        let program = self.program()?;
        if !self.flocker_roles(node).contains(&role) {
            let what = format!("node {} does not run {}", node.name, role.name());
            return Err(invalid(what, "control runs on n1"));
        }
        let state = node.state_directory().display().to_string();
        let words = [program.as_str(), role.name(), "--state-dir", &state];
        let process = node::start_on(node, role.name(), &words, &[])?;
        // Before it has opened a socket. Without such groups a process cannot be cut off alone.
        groups::put(node, role, process);
        Ok(())
    }

    /// Waits until every node's agent and proxy are connected to control.
    pub async fn await_ready(&self) -> Result<(), SandboxError> {
        let nodes = self.nodes().len();
        self.await_status("all agents and proxies to connect", READY_LIMIT, |view| {
            let is_up = |link| matches!(link, LinkView::Connected(_));
            let mut views = view.nodes.iter();
            view.nodes.len() == nodes && views.all(|node| is_up(node.agent) && is_up(node.proxy))
        })
        .await
    }

    /// Everything about the cluster, by `flocker status`; none when control does not answer.
    pub async fn status(&self) -> Result<Option<ClusterView>, SandboxError> {
        let Some(flocker) = &self.record().flocker else {
            return Ok(None);
        };
        let context = self.record().context();
        let tool = Tool::new(flocker)
            .args(["status", "--json", "--context", &context])
            .limit(STATUS_LIMIT);
        match tool.output().await {
            Ok(output) if output.status.success() => {
                Ok(serde_json::from_slice(&output.stdout).ok())
            }
            Ok(_refused) => Ok(None),
            Err(error) if error.can_retry() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn await_status(
        &self,
        what: &str,
        limit: Duration,
        is_so: impl Fn(&ClusterView) -> bool,
    ) -> Result<(), SandboxError> {
        let is_so = &is_so;
        wait::until(what, limit, || async move {
            self.check_alive()?;
            let view = self.status().await?;
            Ok(view.filter(is_so).map(drop))
        })
        .await
    }

    /// Fails when a process that was started has ended by itself.
    fn check_alive(&self) -> Result<(), SandboxError> {
        for node in self.nodes() {
            for role in self.flocker_roles(node) {
                let started = self.process(node, role)?;
                if started.is_some_and(|process| !process.is_running()) {
                    return Err(SandboxError::Died {
                        node: node.name.clone(),
                        role: role.name().to_owned(),
                        log: log_tail(&node.log(role.name())),
                    });
                }
            }
        }
        Ok(())
    }
}
