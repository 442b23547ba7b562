//! The example shop, by the commands of its page in the guide: deployed, moved, taken away, restored.

use crate::support::databases::{connect, number};
use crate::support::web::{await_page, http};
use crate::support::{Cluster, THREE};
use flocker_testkit::images::Image;
use flocker_types::api::{EventRecord, LogLine, OperationView, ServiceView, VolumeView};
use flocker_types::operation::OperationStatus;
use serde::de::DeserializeOwned;

const SHOP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/shop/shop.yml");
const SERVERS: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../examples/shop/servers.yml"
);
const PAGE: u16 = 8080;

/// What a command prints as JSON.
async fn json<T: DeserializeOwned>(cluster: &Cluster, words: &[&str]) -> T {
    let text = cluster.run(words).await;
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{words:?}: {error}\n{text}"))
}

/// What a command prints as one JSON value per line.
async fn json_lines<T: DeserializeOwned>(cluster: &Cluster, words: &[&str]) -> Vec<T> {
    let text = cluster.run(words).await;
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

async fn deploy(cluster: &Cluster) -> Vec<OperationView> {
    json(cluster, &["deploy", SERVERS, SHOP, "--yes", "--json"]).await
}

async fn volume(cluster: &Cluster, name: &str) -> VolumeView {
    json(cluster, &["volume", "inspect", name, "--json"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_shop_is_deployed_moved_taken_away_and_restored() {
    let images = [Image::Postgres, Image::Redis, Image::ShopWeb];
    let cluster = Cluster::up(&images).await;
    opens(&cluster).await;
    shows_what_it_did(&cluster).await;
    moves(&cluster).await;
    loses_and_finds_its_visits(&cluster).await;
}

async fn opens(cluster: &Cluster) {
    let deployed = deploy(cluster).await;
    assert_eq!(deployed.len(), 3);
    for view in &deployed {
        assert_eq!(view.operation.status, OperationStatus::Succeeded);
    }
    for node in THREE {
        await_page(cluster.at(node, PAGE), "GET", "0 orders").await;
    }
    let ordered = http(cluster.at("n2", PAGE), "POST").await.unwrap();
    assert!(ordered.contains("1 orders"), "{ordered}");
    // Links are names in the container's hosts file, the same wherever the other service runs.
    let hosts = cluster.exec("n3", "shop/web", &["cat", "/etc/hosts"]).await;
    for name in ["postgres", "redis"] {
        assert!(hosts.contains(name), "no {name} in {hosts}");
    }
    let again = deploy(cluster).await;
    assert!(again.is_empty(), "nothing to do: {again:#?}");
}

async fn shows_what_it_did(cluster: &Cluster) {
    let services: Vec<ServiceView> = json(cluster, &["ps", "--json"]).await;
    let names: Vec<String> = services
        .iter()
        .map(|service| service.id.to_string())
        .collect();
    assert_eq!(names, ["shop/postgres", "shop/redis", "shop/web"]);
    assert!(
        services.iter().all(|service| service.problems.is_empty()),
        "{services:#?}"
    );
    let log: Vec<LogLine> = json_lines(cluster, &["logs", "shop/postgres", "--json"]).await;
    let ready = "ready to accept connections";
    assert!(log.iter().any(|line| line.text.contains(ready)), "{log:#?}");
    let last: Vec<LogLine> =
        json_lines(cluster, &["logs", "shop/postgres", "--tail", "1", "--json"]).await;
    assert_eq!(last.len(), 1);
    let events: Vec<EventRecord> = json_lines(cluster, &["events", "--json"]).await;
    let about = |words: &str| events.iter().any(|event| event.message.contains(words));
    assert!(
        about("start shop/postgres on n1") && about("shop/web is done"),
        "{events:#?}"
    );
    let volumes: Vec<VolumeView> = json(cluster, &["volume", "ls", "--json"]).await;
    let names: Vec<&str> = volumes.iter().map(|volume| volume.name.as_str()).collect();
    assert_eq!(names, ["orders", "visits"]);
    // The same for people: it must not be empty, and must name what there is.
    for (command, word) in [
        ("ps", "shop/web"),
        ("status", "n3"),
        ("events", "shop/redis"),
    ] {
        let text = cluster.run(&[command]).await;
        assert!(text.contains(word), "{command}: {text}");
    }
}

async fn moves(cluster: &Cluster) {
    let words = ["move", "shop/postgres", "n3", "--json"];
    let text = cluster.run(&words).await;
    println!(
        "moved: {}",
        text.lines()
            .filter(|line| line.contains("pause_ms"))
            .collect::<String>()
    );
    assert_eq!(cluster.assert_one_running_copy("shop/postgres").await, "n3");
    for node in THREE {
        await_page(cluster.at(node, PAGE), "GET", "1 orders").await;
    }
    let mut config = cluster.postgres_at("n1", 5432);
    config.dbname("shop").password("tea-and-biscuits");
    let client = connect(&config).await.unwrap();
    assert_eq!(number(&client, "SELECT count(*) FROM orders").await, 1);
}

async fn loses_and_finds_its_visits(cluster: &Cluster) {
    let used = cluster
        .try_run(&["volume", "rm", "shop/visits", "--yes"])
        .await;
    let message = used.expect_err("it is used").to_string();
    assert!(message.contains("shop/redis"), "{message}");

    cluster.run(&["rm", "shop/redis"]).await;
    assert!(cluster.running_on("shop/redis").await.is_empty());
    assert_eq!(volume(cluster, "shop/visits").await.destroy_after, None);
    cluster
        .run(&["volume", "rm", "shop/visits", "--yes", "--grace", "1h"])
        .await;
    assert!(volume(cluster, "shop/visits").await.destroy_after.is_some());
    cluster.run(&["volume", "restore", "shop/visits"]).await;
    assert_eq!(volume(cluster, "shop/visits").await.destroy_after, None);
    let deployed = deploy(cluster).await;
    assert_eq!(
        deployed.len(),
        2,
        "redis is missing, postgres not where it belongs: {deployed:#?}"
    );
    await_page(cluster.at("n1", PAGE), "GET", "1 orders").await;
    let page = http(cluster.at("n1", PAGE), "GET").await.unwrap();
    let visits = page
        .split("<p>")
        .nth(1)
        .and_then(|rest| rest.split(' ').next())
        .unwrap();
    assert!(
        visits.parse::<u32>().unwrap() > 4,
        "visits were counted before: {page}"
    );

    // And with nobody's wish to keep it, it goes, everywhere.
    cluster.run(&["rm", "shop/redis"]).await;
    cluster
        .run(&["volume", "rm", "shop/visits", "--yes", "--grace", "1s"])
        .await;
    let what = "the volume to be gone";
    let gone = flocker_testkit::wait::until::<_, flocker_testkit::wait::WaitError, _, _>(
        what,
        crate::support::LIMIT,
        || async { Ok((cluster.view().await.volumes.len() == 1).then_some(())) },
    );
    gone.await.unwrap();
}
