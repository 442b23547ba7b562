//! A cluster of three nodes in a sandbox, and the client with which tests talk to its control.
//!
//! Made once per test; taken down with everything when dropped, its context of the command line too.

use super::LIMIT;
use flocker_net::client::ApiClient;
use flocker_net::tls::{CredentialFiles, Credentials};
use flocker_testkit::images::{self, Image};
use flocker_testkit::sandbox::{NodePlace, Role, Sandbox, SandboxGuard, SandboxSpec, Target};
use flocker_testkit::tool::{Tool, ToolError};
use flocker_testkit::wait::{self, WaitError};
use flocker_types::api::ClusterView;
use flocker_types::volume::StorageKind;
use nix::sys::signal::Signal;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Deref;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The names of the nodes.
pub(crate) const THREE: [&str; 3] = ["n1", "n2", "n3"];
/// The program under test, unless `FLOCKER_E2E_PROGRAM` names another: a run of hours uses a copy, which
/// no build replaces meanwhile.
fn program() -> PathBuf {
    let other = std::env::var_os("FLOCKER_E2E_PROGRAM");
    other.map_or_else(|| env!("CARGO_BIN_EXE_flocker").into(), PathBuf::from)
}

const CONTROL_PORT: u16 = 4523;

/// A cluster that runs.
pub(crate) struct Cluster {
    // Before the sandbox, which removes the context that it tells of.
    logs: Logs,
    sandbox: SandboxGuard,
    /// Talks to control as the sandbox's user.
    pub(crate) api: ApiClient,
}

impl Cluster {
    /// A cluster of three nodes on btrfs whose engines have these images.
    pub(crate) async fn up(images: &[Image]) -> Self {
        Self::up_on(StorageKind::Btrfs, 4 << 30, images).await
    }

    /// A cluster of three nodes with this storage.
    pub(crate) async fn up_on(storage: StorageKind, pool_bytes: u64, images: &[Image]) -> Self {
        let begun = Instant::now();
        let spec = SandboxSpec {
            name: SandboxGuard::fresh_name(),
            nodes: 3,
            storage,
            pool_bytes,
        };
        // What a killed run with the same process number left, if anything.
        Sandbox::down(&spec.name).await.unwrap();
        let sandbox = SandboxGuard::up(&spec, &program()).await.unwrap();
        let sockets: Vec<_> = sandbox
            .nodes()
            .iter()
            .map(NodePlace::docker_socket)
            .collect();
        images::provide(&sockets, images).await.unwrap();
        println!("sandbox {} up in {:.1?}", spec.name, begun.elapsed());
        let control = SocketAddr::from((sandbox.nodes()[0].address, CONTROL_PORT));
        let context = context_directory(&sandbox);
        let credentials = Credentials::load(&context, CredentialFiles::USER).unwrap();
        Self {
            logs: Logs(sandbox.nodes().to_vec()),
            sandbox,
            api: ApiClient::new(control, credentials),
        }
    }

    /// What the sandbox's user shows.
    pub(crate) fn credentials(&self) -> Credentials {
        Credentials::load(&context_directory(&self.sandbox), CredentialFiles::USER).unwrap()
    }

    /// Adds a server that is no node yet.
    pub(crate) async fn add_server(&mut self) {
        self.sandbox.add_server().await.unwrap();
    }

    /// A node's address.
    pub(crate) fn address(&self, node: &str) -> Ipv4Addr {
        self.node(node).unwrap().address
    }

    /// Where a published port is reached at a node.
    pub(crate) fn at(&self, node: &str, port: u16) -> SocketAddr {
        SocketAddr::from((self.address(node), port))
    }

    /// A command of the command line, for this cluster.
    pub(crate) fn flocker(&self, words: &[&str]) -> Tool {
        Tool::new(program())
            .args(words.iter().copied())
            .args(["--context", &self.record().context()])
            .limit(LIMIT)
    }

    /// Runs a command of the command line that must succeed, and returns what it printed.
    pub(crate) async fn run(&self, words: &[&str]) -> String {
        let output = self.try_run(words).await;
        output.unwrap_or_else(|error| panic!("flocker {words:?}: {error}"))
    }

    /// Runs a command of the command line.
    pub(crate) async fn try_run(&self, words: &[&str]) -> Result<String, ToolError> {
        self.flocker(words).run().await
    }

    /// Ends a process of a node at once.
    pub(crate) async fn kill(&self, node: &str, role: Role) {
        let hit = self.sandbox.kill(node, Target::One(role), Signal::SIGKILL);
        assert_eq!(hit.await.unwrap(), [role], "{} of {node}", role.name());
    }

    /// Prints what Flocker's processes logged last.
    pub(crate) fn print_logs(&self) {
        self.logs.print();
    }

    /// Everything that control can tell.
    pub(crate) async fn view(&self) -> ClusterView {
        let what = "control to answer";
        wait::until::<_, WaitError, _, _>(what, LIMIT, || async {
            Ok(self.api.get("/v1/status").await.ok())
        })
        .await
        .unwrap()
    }

    /// Waits until every agent and proxy is connected and no operation goes on.
    pub(crate) async fn assert_heals(&self, limit: Duration) {
        self.await_ready().await.unwrap();
        let what = "every operation to end";
        wait::until::<_, WaitError, _, _>(what, limit, || async {
            let view = self.view().await;
            let open = view
                .operations
                .iter()
                .any(|one| one.operation.finished.is_none());
            Ok((!open).then_some(()))
        })
        .await
        .unwrap();
    }
}

impl Deref for Cluster {
    type Target = Sandbox;

    fn deref(&self) -> &Sandbox {
        &self.sandbox
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _absent = std::fs::remove_dir_all(context_directory(&self.sandbox));
        if std::thread::panicking() {
            self.logs.print();
        }
    }
}

/// Where `flocker init` has put the user's certificate.
fn context_directory(sandbox: &Sandbox) -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".config");
    let base = std::env::var_os("XDG_CONFIG_HOME").map_or_else(home, PathBuf::from);
    base.join("flocker/contexts")
        .join(sandbox.record().context())
}

/// The logs of Flocker's processes, shown when a test fails.
struct Logs(Vec<NodePlace>);

impl Logs {
    /// Most lines of each log that are shown.
    const LINES_MAX: usize = 60;

    fn print(&self) {
        for node in &self.0 {
            for role in Role::FLOCKER {
                let text = std::fs::read_to_string(node.log(role.name())).unwrap_or_default();
                let lines: Vec<&str> = text.lines().collect();
                let from = lines.len().saturating_sub(Self::LINES_MAX);
                if !lines.is_empty() {
                    println!("--- {} of {}, from line {from}", role.name(), node.name);
                    println!("{}", lines[from..].join("\n"));
                }
            }
        }
    }
}
