//! A database is deployed and moved with its data, and is reached by every node all the time; also by
//! the command of Flocker 0.1 to 0.4.

use crate::support::databases::{connect, number, wait_until_it_answers};
use crate::support::{Cluster, LIMIT, THREE, manifests};
use flocker_testkit::images::Image;
use flocker_testkit::tool::Tool;
use flocker_types::operation::Phase;
use std::path::Path;
use tokio_postgres::error::SqlState;

const PORT: u16 = 5432;

#[tokio::test(flavor = "multi_thread")]
async fn a_database_moves_with_its_data_and_answers_at_every_node() {
    let cluster = Cluster::up(&[Image::Postgres]).await;
    let on = |node| {
        let rest = THREE.into_iter().filter(move |other| *other != node);
        let mut nodes: Vec<(&str, &[&str])> = vec![(node, &["db"])];
        nodes.extend(rest.map(|other| (other, &[][..])));
        [manifests::postgres(PORT), manifests::nodes(&nodes)]
    };
    cluster.deploy(&on("n1")).await;
    assert_eq!(cluster.assert_one_running_copy("db").await, "n1");
    let client = wait_until_it_answers(&cluster.postgres_at("n1", PORT)).await;
    let script = "CREATE TABLE t (n bigint); INSERT INTO t VALUES (41)";
    client.batch_execute(script).await.unwrap();
    for node in THREE {
        let client = connect(&cluster.postgres_at(node, PORT)).await.unwrap();
        assert_eq!(number(&client, "SELECT n FROM t").await, 41, "by {node}");
    }

    let moved = cluster.start_deploy(&on("n2")).await[0];
    let seen = cluster.wait_phase(moved, Phase::Hold).await;
    // Opened while nothing may be listening: held, not refused.
    let begun = std::time::Instant::now();
    let first = connect(&cluster.postgres_at("n3", PORT)).await;
    let waited = begun.elapsed();
    // A v1 manifest has no health check, so clients are let go when the port is open: PostgreSQL may
    // still say that it starts up, but it must be PostgreSQL that says so.
    let said = first.as_ref().err().map(|error| error.code().cloned());
    let is_database = matches!(said, None | Some(Some(SqlState::CANNOT_CONNECT_NOW)));
    assert!(is_database, "{:?}", first.err());
    let during = wait_until_it_answers(&cluster.postgres_at("n3", PORT)).await;
    assert_eq!(number(&during, "SELECT n FROM t").await, 41);
    let moved = cluster.wait_success(moved).await.operation;
    assert_eq!(cluster.assert_one_running_copy("db").await, "n2");
    println!(
        "connection opened in phase {seen} waited {waited:.1?} ({said:?}); pause {:?} ms, predicted {:?}, \
         held {:?}, phases {:?}",
        moved.pause_ms, moved.predicted, moved.held, moved.phase_ms
    );
    for node in THREE {
        let client = connect(&cluster.postgres_at(node, PORT)).await.unwrap();
        assert_eq!(number(&client, "SELECT n FROM t").await, 41, "by {node}");
    }
    let again = cluster.plan(&on("n2")).await.unwrap();
    assert!(again.steps.is_empty(), "nothing to do: {again:#?}");

    // Its container was started before its volume was there; so is the next, on a node that it has left.
    assert_eq!(cluster.first_program("n2", "db").await, "/.flocker-gate");
    cluster.deploy(&on("n1")).await;
    assert_eq!(cluster.assert_one_running_copy("db").await, "n1");
    assert_eq!(cluster.first_program("n1", "db").await, "/.flocker-gate");
    let client = wait_until_it_answers(&cluster.postgres_at("n2", PORT)).await;
    assert_eq!(number(&client, "SELECT n FROM t").await, 41);
}

/// The old command with the files of this directory; success prints nothing.
async fn flocker_deploy(cluster: &Cluster, directory: &Path, node: &str) -> String {
    let nodes = THREE.map(|other| {
        let services = if other == node { "[db]" } else { "[]" };
        format!("  {}: {services}\n", cluster.address(other))
    });
    let deployment = format!("version: 1\nnodes:\n{}", nodes.concat());
    std::fs::write(directory.join("deployment.yml"), deployment).unwrap();
    let deploy = Tool::new(directory.join("flocker-deploy"))
        .args(["deployment.yml", "application.yml"])
        .directory(directory)
        .env("FLOCKER_CONTEXT", cluster.record().context())
        .limit(LIMIT);
    deploy.run().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_of_the_old_flocker_deploys_and_moves_by_addresses() {
    let cluster = Cluster::up(&[Image::Postgres]).await;
    let directory = tempfile::tempdir().unwrap();
    let command = directory.path().join("flocker-deploy");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_flocker"), command).unwrap();
    let (name, text) = manifests::postgres(PORT);
    std::fs::write(directory.path().join(name), text).unwrap();
    for node in ["n3", "n1"] {
        assert_eq!(flocker_deploy(&cluster, directory.path(), node).await, "");
        assert_eq!(cluster.assert_one_running_copy("db").await, node);
        let client = wait_until_it_answers(&cluster.postgres_at("n2", PORT)).await;
        let script = "CREATE TABLE IF NOT EXISTS t (n bigint); INSERT INTO t VALUES (1)";
        client.batch_execute(script).await.unwrap();
        let expected = if node == "n3" { 1 } else { 2 };
        assert_eq!(number(&client, "SELECT count(*) FROM t").await, expected);
    }
    assert_eq!(flocker_deploy(&cluster, directory.path(), "n1").await, "");
}
