//! What went wrong with Flocker 0.1 to 0.4 (two copies, empty volumes, old data, hanging for ever),
//! each told as its users met it: v1 manifests with a database that has a value in it.

use crate::support::databases::{await_redis, redis};
use crate::support::manifests::{File, nodes, redis as services};
use crate::support::{Cluster, LIMIT, THREE};
use flocker_testkit::images::Image;
use flocker_testkit::sandbox::{Role, Target};
use flocker_types::operation::{OperationStatus, Phase};
use std::time::{Duration, Instant};

const PORT: u16 = 6379;

/// Where the one service of most tests runs; the other nodes are listed as empty.
fn on(node: &str) -> Vec<File> {
    let rest = THREE.into_iter().filter(|other| *other != node);
    let mut all: Vec<(&str, &[&str])> = vec![(node, &["cache"])];
    all.extend(rest.map(|other| (other, &[][..])));
    vec![services(&[("cache", PORT)]), nodes(&all)]
}

async fn with_value(cluster: &Cluster, node: &str, value: &str) {
    cluster.deploy(&on(node)).await;
    let at = cluster.at("n1", PORT);
    await_redis(at, "PING", "+PONG").await;
    assert_eq!(redis(at, &format!("SET gen {value}")).await.unwrap(), "+OK");
}

/// It runs once, on this node, with its data, and every node knows.
async fn assert_value(cluster: &Cluster, node: &str, value: &str) {
    assert_eq!(cluster.assert_one_running_copy("cache").await, node);
    for by in THREE {
        await_redis(cluster.at(by, PORT), "GET gen", value).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_was_taken_out_and_put_back_finds_its_data_on_whichever_node() {
    let cluster = Cluster::up(&[Image::Redis]).await;
    with_value(&cluster, "n2", "1").await;
    let nowhere = || {
        let application = services(&[("cache", PORT)]);
        [application, nodes(&THREE.map(|node| (node, &[][..])))]
    };
    let away = async || {
        cluster.deploy(&nowhere()).await;
        assert!(cluster.running_on("cache").await.is_empty());
        let view = cluster.view().await;
        assert_eq!(
            view.volumes.len(),
            1,
            "the volume stays: {:#?}",
            view.volumes
        );
    };
    away().await;
    cluster.deploy(&on("n2")).await;
    assert_value(&cluster, "n2", "1").await;
    away().await;
    cluster.deploy(&on("n3")).await;
    assert_value(&cluster, "n3", "1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_the_manifest_leaves_out_still_gives_up_its_service() {
    let cluster = Cluster::up(&[Image::Redis]).await;
    with_value(&cluster, "n1", "1").await;
    let only_n3 = [services(&[("cache", PORT)]), nodes(&[("n3", &["cache"])])];
    cluster.deploy(&only_n3).await;
    assert_value(&cluster, "n3", "1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn round_three_nodes_and_back_every_node_starts_with_the_newest_data() {
    let cluster = Cluster::up(&[Image::Redis]).await;
    with_value(&cluster, "n1", "0").await;
    for (generation, node) in ["n2", "n3", "n1", "n2", "n1", "n3"].iter().enumerate() {
        let value = format!("{}", generation + 1);
        let set = redis(cluster.at("n2", PORT), &format!("SET gen {value}")).await;
        assert_eq!(set.unwrap(), "+OK");
        cluster.deploy(&on(node)).await;
        assert_value(&cluster, node, &value).await;
        let volumes = cluster.view().await.volumes;
        assert_eq!(volumes.len(), 1, "{volumes:#?}");
        assert_eq!(volumes[0].holder.as_str(), *node);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_services_swap_their_nodes_in_one_deployment() {
    let cluster = Cluster::up(&[Image::Redis]).await;
    let (left, right) = (6001, 6002);
    let placed = |n1: &'static str, n2: &'static str| {
        let application = services(&[("left", left), ("right", right)]);
        [application, nodes(&[("n1", &[n1]), ("n2", &[n2])])]
    };
    cluster.deploy(&placed("left", "right")).await;
    for (port, value) in [(left, "l"), (right, "r")] {
        let at = cluster.at("n3", port);
        await_redis(at, "PING", "+PONG").await;
        assert_eq!(redis(at, &format!("SET who {value}")).await.unwrap(), "+OK");
    }
    let begun = Instant::now();
    let moves = cluster.deploy(&placed("right", "left")).await;
    println!("both moves took {:.1?}", begun.elapsed());
    assert_eq!(moves.len(), 2);
    assert_eq!(cluster.assert_one_running_copy("left").await, "n2");
    assert_eq!(cluster.assert_one_running_copy("right").await, "n1");
    for by in THREE {
        await_redis(cluster.at(by, left), "GET who", "l").await;
        await_redis(cluster.at(by, right), "GET who", "r").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_last_delta_that_fails_after_the_stop_leads_back() {
    let cluster = Cluster::up(&[Image::Redis]).await;
    with_value(&cluster, "n2", "7").await;
    // A proxy that does not answer makes the hold last half a second, so that the cut comes in time.
    let proxy = Target::One(Role::Proxy);
    cluster.freeze("n1", proxy).await.unwrap();
    let begun = Instant::now();
    let id = cluster.start_move("cache", "n3").await;
    let seen = cluster.wait_phase(id, Phase::Hold).await;
    cluster.cut("n2", "n3").await.unwrap();
    cluster.thaw("n1", proxy).await.unwrap();
    assert_eq!(seen, Phase::Hold, "the cut must come before the last delta");
    let failed = cluster.wait_operation(id, LIMIT).await.operation;
    let took = begun.elapsed();
    println!(
        "failed after {took:.1?}: {:?}; pause {:?} ms",
        failed.status, failed.pause_ms
    );
    let is_so = |phase: &Phase| *phase == Phase::LastDelta;
    assert!(
        matches!(&failed.status, OperationStatus::Failed { phase, .. } if is_so(phase)),
        "{failed:#?}"
    );
    assert!(
        took < Duration::from_secs(60),
        "clients wait all that time: {took:?}"
    );
    // n3 cannot reach it while the cable is cut, the others can.
    assert_eq!(cluster.assert_one_running_copy("cache").await, "n2");
    await_redis(cluster.at("n1", PORT), "GET gen", "7").await;
    cluster.heal_between("n2", "n3").await.unwrap();
    assert_value(&cluster, "n2", "7").await;
    assert_eq!(
        redis(cluster.at("n1", PORT), "SET gen 8").await.unwrap(),
        "+OK"
    );
    cluster.move_to("cache", "n3").await;
    assert_value(&cluster, "n3", "8").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_another_service_publishes_is_refused_and_nothing_changes() {
    let cluster = Cluster::up(&[Image::Redis]).await;
    with_value(&cluster, "n1", "1").await;
    let other = |port| [services(&[("other", port)]), nodes(&[("n2", &["other"])])];
    let refused = cluster.plan(&other(PORT)).await;
    let message = refused.expect_err("two services at one port").to_string();
    println!("refused: {message}");
    for word in ["6379", "cache", "other"] {
        assert!(message.contains(word), "{word} is not named: {message}");
    }
    assert_value(&cluster, "n1", "1").await;
    cluster.deploy(&other(PORT + 1)).await;
    await_redis(cluster.at("n1", PORT + 1), "PING", "+PONG").await;
    assert_value(&cluster, "n1", "1").await;
}
