//! What the tests share: small sandboxes, and a way into a node's network for a socket of our own.

use flocker_testkit::sandbox::{NodePlace, Sandbox, SandboxGuard, SandboxSpec};
use flocker_testkit::wait::{self, WaitError};
use flocker_types::volume::StorageKind;
use std::fs::File;
use std::time::Duration;

/// A sandbox of the given size with a name of its own.
pub(crate) fn spec(nodes: u8) -> SandboxSpec {
    SandboxSpec {
        name: SandboxGuard::fresh_name(),
        nodes,
        storage: StorageKind::Btrfs,
        pool_bytes: 1 << 30,
    }
}

/// Runs something on a thread that is in the node's network. A socket made there stays there.
pub(crate) fn in_network_of<T: Send + 'static>(
    node: &NodePlace,
    run: impl FnOnce() -> T + Send + 'static,
) -> T {
    let namespace = File::open(node.namespace_file()).unwrap();
    let inside = move || {
        nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        run()
    };
    std::thread::spawn(inside).join().unwrap()
}

/// Starts a container in the node's own network: `name` may be followed by options, `image` by the
/// command's arguments.
pub(crate) async fn run_container(sandbox: &Sandbox, node: &str, name: &str, image: &str) {
    let docker = sandbox.tool_on(node, "docker").unwrap();
    let run = docker.args(["run", "-d", "--network", "host", "--name"]);
    run.args(name.split(' '))
        .args(image.split(' '))
        .run()
        .await
        .unwrap();
}

/// How to reach a PostgreSQL in a node's network.
pub(crate) fn pg_config(
    node: &NodePlace,
    database: &str,
    password: &str,
) -> tokio_postgres::Config {
    let mut config = tokio_postgres::Config::new();
    config
        .host(node.address.to_string())
        .user("postgres")
        .password(password)
        .dbname(database)
        .connect_timeout(Duration::from_secs(2));
    config
}

/// The one number that a query yields, once the database lets us ask.
pub(crate) async fn one_number(config: &tokio_postgres::Config, query: &str) -> i64 {
    let limit = Duration::from_secs(30);
    wait::until::<_, WaitError, _, _>("the database", limit, || async move {
        let Ok((client, connection)) = config.connect(tokio_postgres::NoTls).await else {
            return Ok(None);
        };
        tokio::spawn(connection);
        Ok(client
            .query_one(query, &[])
            .await
            .ok()
            .map(|row| row.get(0)))
    })
    .await
    .unwrap()
}
