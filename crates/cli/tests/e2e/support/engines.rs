//! Asking the nodes' Docker engines directly, past Flocker: what really runs.

use super::{Cluster, THREE};
use flocker_testkit::wait::{self, WaitError};
use flocker_types::app::container_name;
use std::time::Duration;

impl Cluster {
    /// Runs `docker` on a node; it must succeed.
    pub(crate) async fn docker(&self, node: &str, words: &[&str]) -> String {
        let tool = self.tool_on(node, "docker").unwrap();
        tool.args(words.iter().copied()).run().await.unwrap()
    }

    /// Runs a command in a service's container; it must succeed.
    pub(crate) async fn exec(&self, node: &str, service: &str, words: &[&str]) -> String {
        let container = container_name(&service.parse().unwrap());
        let mut all = vec!["exec", container.as_str()];
        all.extend(words);
        self.docker(node, &all).await
    }

    /// The nodes on which a service's container runs. To an engine one that waits at its gate does, too:
    /// what counts is whether the service's own command does.
    pub(crate) async fn running_on(&self, service: &str) -> Vec<&'static str> {
        let name = format!("name=^/{}$", container_name(&service.parse().unwrap()));
        let mut found = Vec::new();
        for node in THREE {
            let tool = self.tool_on(node, "docker").unwrap();
            let list = tool.args(["ps", "-q", "--filter", &name]);
            // An engine that does not answer is asked again by who waits.
            let Ok(list) = list.run().await else {
                return Vec::new();
            };
            for id in list.lines() {
                let tool = self.tool_on(node, "docker").unwrap();
                let ask = tool.args(["inspect", "-f", "{{.State.Pid}}", id]);
                // One that has gone meanwhile does not run.
                let pid = ask.run().await.unwrap_or_default();
                let command = std::fs::read(format!("/proc/{}/cmdline", pid.trim()));
                if command.is_ok_and(|command| !command.starts_with(b"/.flocker-gate\0")) {
                    found.push(node);
                }
            }
        }
        found
    }

    /// What a service's container was started with: its own command, or a gate.
    pub(crate) async fn first_program(&self, node: &str, service: &str) -> String {
        let container = container_name(&service.parse().unwrap());
        let words = ["inspect", "-f", "{{.Path}}", &container];
        self.docker(node, &words).await.trim().to_owned()
    }

    /// Waits until a service runs once, and returns where. More than one copy is never right.
    pub(crate) async fn one_running_copy(&self, service: &str, limit: Duration) -> &'static str {
        let what = format!("one container of {service} to run");
        wait::until::<_, WaitError, _, _>(&what, limit, || async {
            let running = self.running_on(service).await;
            assert!(running.len() <= 1, "{service} runs on {running:?}");
            Ok(running.first().copied())
        })
        .await
        .unwrap()
    }

    /// Exactly one copy of a service runs now.
    pub(crate) async fn assert_one_running_copy(&self, service: &str) -> &'static str {
        let running = self.running_on(service).await;
        assert_eq!(running.len(), 1, "{service} runs on {running:?}");
        running[0]
    }
}
