//! Control's store is lost under a running cluster, or an old backup of it is put back: the nodes make
//! it good, and no container notices.

use crate::support::databases::{await_redis, connect, number, wait_until_it_answers};
use crate::support::manifests::{File, nodes};
use crate::support::{Cluster, LIMIT, THREE};
use flocker_testkit::images::Image;
use flocker_testkit::sandbox::Role;
use flocker_testkit::tool::ToolError;
use std::fmt::Write;
use std::path::PathBuf;
use std::time::Instant;

const POSTGRES: [(&str, u16); 2] = [("orders", 5432), ("people", 5433)];
const REDIS: [(&str, u16); 4] = [
    ("cart", 6380),
    ("queue", 6381),
    ("sessions", 6382),
    ("tags", 6383),
];
const PLAIN: [(&str, u16); 4] = [
    ("one", 7001),
    ("two", 7002),
    ("three", 7003),
    ("four", 7004),
];

/// Two PostgreSQL and four Redis with volumes, four Redis without; one of these links to another.
fn application() -> File {
    let mut text = "version: 1\napplications:\n".to_owned();
    for (name, port) in POSTGRES {
        let service = format!(
            "  {name}:\n    image: postgres:15\n    environment: {{POSTGRES_PASSWORD: secret}}\n    \
             ports: [{{internal: 5432, external: {port}}}]\n    \
             volume: {{mountpoint: /var/lib/postgresql/data}}\n"
        );
        text.push_str(&service);
    }
    for (name, port) in REDIS.into_iter().chain(PLAIN) {
        let ports = format!("ports: [{{internal: 6379, external: {port}}}]");
        writeln!(text, "  {name}:\n    image: redis:7\n    {ports}").unwrap();
        if REDIS.contains(&(name, port)) {
            text.push_str("    volume: {mountpoint: /data}\n");
        }
        if name == "four" {
            text.push_str("    links: [{local_port: 6379, remote_port: 6380, alias: cart}]\n");
        }
    }
    ("application.yml", text)
}

fn placed(orders: &str) -> Vec<File> {
    let rest = [
        ("n1", ["people", "cart", "one"].as_slice()),
        ("n2", &["queue", "sessions", "two", "three"]),
        ("n3", &["tags", "four"]),
    ];
    let all = rest.map(|(node, services)| {
        let mut services = services.to_vec();
        if node == orders {
            services.push("orders");
        }
        (node, services)
    });
    let all: Vec<(&str, &[&str])> = all.iter().map(|(node, s)| (*node, s.as_slice())).collect();
    vec![application(), nodes(&all)]
}

impl Cluster {
    fn store(&self) -> PathBuf {
        let directory = self.node("n1").unwrap().state_directory();
        directory.join("control/state.redb")
    }

    /// A command on control's server, as its root.
    async fn on_server(&self, words: &[&str]) -> Result<String, ToolError> {
        self.on_server_reading(words, "").await
    }

    /// The same, with this on standard input.
    async fn on_server_reading(&self, words: &[&str], input: &str) -> Result<String, ToolError> {
        let directory = self.node("n1").unwrap().state_directory();
        self.tool_on("n1", env!("CARGO_BIN_EXE_flocker"))
            .unwrap()
            .args(words.iter().copied())
            .args(["--state-dir", &directory.display().to_string()])
            .input(input)
            .limit(LIMIT)
            .run()
            .await
    }

    /// Every container of every node: its id, when it was started, how it is.
    async fn containers(&self) -> Vec<String> {
        let mut all = Vec::new();
        for node in THREE {
            let ids = self.docker(node, &["ps", "-aq", "--no-trunc"]).await;
            let format =
                "{{.Name}} {{.Id}} {{.State.StartedAt}} {{.State.Status}} {{.RestartCount}}";
            let mut words = vec!["inspect", "-f", format];
            words.extend(ids.lines());
            let seen = self.docker(node, &words).await;
            all.extend(seen.lines().map(|line| format!("{node} {line}")));
        }
        all.sort();
        all
    }

    /// Writes a row into each service that has a volume.
    async fn fill(&self, row: i64) {
        for (_, port) in POSTGRES {
            let client = wait_until_it_answers(&self.postgres_at("n2", port)).await;
            let script = format!(
                "CREATE TABLE IF NOT EXISTS t (n bigint); INSERT INTO t VALUES ({row}); CHECKPOINT"
            );
            client.batch_execute(&script).await.unwrap();
        }
        for (_, port) in REDIS {
            await_redis(self.at("n3", port), &format!("SET row{row} {row}"), "+OK").await;
        }
    }

    /// Every row up to this one is in every service that has a volume.
    async fn assert_filled(&self, row: i64) {
        for (name, port) in POSTGRES {
            let client = connect(&self.postgres_at("n3", port)).await.unwrap();
            let rows = number(&client, "SELECT count(DISTINCT n) FROM t").await;
            assert_eq!(rows, row, "rows of {name}");
        }
        for row in 1..=row {
            for (_, port) in REDIS {
                await_redis(
                    self.at("n1", port),
                    &format!("GET row{row}"),
                    &row.to_string(),
                )
                .await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_store_is_made_again_and_no_container_notices() {
    let cluster = Cluster::up(&[Image::Postgres, Image::Redis]).await;
    cluster.deploy(&placed("n1")).await;
    cluster.fill(1).await;
    // An epoch that is not the first, and a replica.
    cluster.move_to("orders", "n2").await;
    cluster.fill(2).await;
    let before = cluster.containers().await;
    assert_eq!(before.len(), 10, "{before:#?}");

    std::fs::remove_file(cluster.store()).unwrap();
    let refused = cluster
        .on_server(&["recover", "--expect", "3", "--yes", "--no-start"])
        .await;
    let refused = refused.unwrap_err().to_string();
    assert!(
        refused.contains("flocker control backup"),
        "control still runs: {refused}"
    );
    cluster.kill("n1", Role::Control).await;

    let words = [
        "recover",
        "--nodes",
        "n1,n2,n9",
        "--limit",
        "8s",
        "--yes",
        "--no-start",
    ];
    let refused = cluster.on_server(&words).await.unwrap_err().to_string();
    assert!(refused.contains("n9 did not come"), "{refused}");
    let begun = Instant::now();
    let words = ["recover", "--nodes", "n1,n2,n3", "--yes", "--no-start"];
    let said = cluster.on_server(&words).await.unwrap();
    println!("recovered in {:.1?}:\n{said}", begun.elapsed());
    cluster.start("n1", Role::Control).await.unwrap();
    cluster.assert_heals(LIMIT).await;

    assert_eq!(
        cluster.containers().await,
        before,
        "no container was touched"
    );
    cluster.assert_filled(2).await;
    let plan = cluster.plan(&placed("n2")).await.unwrap();
    assert!(plan.steps.is_empty(), "everything is as it was: {plan:#?}");
    for (_, port) in PLAIN {
        await_redis(cluster.at("n2", port), "PING", "+PONG").await;
    }
    let moved = cluster.move_to("orders", "n1").await.operation;
    println!(
        "the move after: pause {:?} ms, {:?}",
        moved.pause_ms, moved.rounds
    );
    cluster.assert_one_running_copy("orders").await;
    cluster.fill(3).await;
    cluster.assert_filled(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_backup_is_corrected_by_the_nodes() {
    let cluster = Cluster::up(&[Image::Postgres, Image::Redis]).await;
    cluster.deploy(&placed("n1")).await;
    cluster.fill(1).await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("old.backup").display().to_string();
    let said = cluster.run(&["control", "backup", &file]).await;
    assert!(
        said.contains("10 services") && said.contains("without the authority"),
        "{said}"
    );

    // The same to standard output, as for a tool that encrypts it.
    let piped = cluster.run(&["control", "backup", "-"]).await;
    assert!(piped.starts_with("{\"flocker_backup\""), "{piped}");
    assert!(
        piped.ends_with("}}\n"),
        "nothing comes after its end: {piped}"
    );

    cluster.move_to("orders", "n3").await;
    cluster.move_to("cart", "n3").await;
    cluster.run(&["rm", "four"]).await;
    cluster.fill(2).await;
    let before = cluster.containers().await;
    cluster.kill("n1", Role::Control).await;

    let restore = |more: &'static [&'static str]| {
        let mut words = vec!["control", "restore", file.as_str(), "--yes", "--no-start"];
        words.extend(more);
        let cluster = &cluster;
        async move { cluster.on_server(&words).await }
    };
    let refused = restore(&["--expect", "3"]).await.unwrap_err().to_string();
    assert!(refused.contains("--replace"), "{refused}");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, &text[..text.len() / 2]).unwrap();
    let refused = restore(&["--expect", "3", "--replace"])
        .await
        .unwrap_err()
        .to_string();
    assert!(refused.contains("cut off"), "{refused}");
    let words = [
        "control",
        "restore",
        "-",
        "--yes",
        "--no-start",
        "--expect",
        "3",
        "--replace",
    ];
    let said = cluster.on_server_reading(&words, &piped).await.unwrap();
    println!("{said}");
    assert!(said.contains("orders runs on n3, not on n1"), "{said}");
    cluster.start("n1", Role::Control).await.unwrap();
    cluster.assert_heals(LIMIT).await;

    assert_eq!(
        cluster.containers().await,
        before,
        "no container was touched"
    );
    assert_eq!(cluster.assert_one_running_copy("orders").await, "n3");
    assert!(
        cluster.running_on("four").await.is_empty(),
        "what was removed stays removed"
    );
    cluster.assert_filled(2).await;
    cluster.move_to("orders", "n2").await;
    cluster.fill(3).await;
    cluster.assert_filled(3).await;
}
