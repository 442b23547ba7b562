//! What containers find and how they live: links of v1 manifests, restart policies, reboots.

use crate::support::databases::await_redis;
use crate::support::manifests::{nodes, redis as redis_services};
use crate::support::{Cluster, LIMIT, THREE};
use flocker_testkit::images::Image;
use flocker_testkit::sandbox::Role;
use flocker_testkit::wait::{self, WaitError};
use flocker_types::app::container_name;
use flocker_types::task::ContainerState;
use std::time::{Duration, Instant};

const PORT: u16 = 6379;

/// As the manual of Flocker 0.2 to 1.0 had it: one finds the other by alias and port.
const LINKED: &str = r#"
version: 1
applications:
  store:
    image: redis:7
    ports: [{internal: 6379, external: 7379}]
    volume: {mountpoint: /data}
  reader:
    image: redis:7
    links: [{local_port: 6379, remote_port: 7379, alias: the-store}]
    environment: {THE_STORE_PORT_6379_TCP_PROTO: mine}
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_v1_link_is_a_name_and_variables_and_follows_the_other_service() {
    let cluster = Cluster::up(&[Image::Redis]).await;
    let placed = |store: &'static str| {
        let text = ("application.yml", LINKED.to_owned());
        [text, nodes(&[("n1", &["reader"]), (store, &["store"])])]
    };
    cluster.deploy(&placed("n2")).await;
    await_redis(cluster.at("n1", 7379), "SET key value", "+OK").await;
    let variables = cluster.exec("n1", "reader", &["env"]).await;
    let value = |name: &str| {
        let mut lines = variables.lines();
        lines.find_map(|line| line.strip_prefix(&format!("{name}=")).map(str::to_owned))
    };
    let address = value("THE_STORE_PORT_6379_TCP_ADDR").expect("an address");
    let port = value("THE_STORE_PORT_6379_TCP_PORT").expect("a port");
    let url = Some(format!("tcp://{address}:{port}"));
    assert_eq!(value("THE_STORE_PORT_6379_TCP"), url, "{variables}");
    // The service's own environment wins over the link's.
    assert_eq!(
        value("THE_STORE_PORT_6379_TCP_PROTO").as_deref(),
        Some("mine")
    );
    let reads = async || {
        for host in [address.as_str(), "the-store"] {
            let words = ["redis-cli", "-h", host, "-p", &port, "GET", "key"];
            let said = cluster.exec("n1", "reader", &words).await;
            assert_eq!(said.trim(), "value", "by {host}");
        }
    };
    reads().await;
    let started = |service: &str| {
        let name = container_name(&service.parse().unwrap());
        let cluster = &cluster;
        async move {
            let words = ["inspect", "-f", "{{.State.StartedAt}}", name.as_str()];
            cluster.docker("n1", &words).await
        }
    };
    let before = started("reader").await;
    let moved = cluster.deploy(&placed("n3")).await;
    assert_eq!(moved.len(), 1, "the reader is left alone: {moved:#?}");
    await_redis(cluster.at("n1", 7379), "GET key", "value").await;
    reads().await;
    assert_eq!(started("reader").await, before, "and was not restarted");
}

const POLICIES: &str = r#"
version: 1
applications:
  always: {image: "redis:7", restart_policy: {name: always}, volume: {mountpoint: /data}}
  never: {image: "redis:7"}
  failing: {image: "redis:7", restart_policy: {name: on-failure, maximum_retry_count: 2}}
"#;

#[tokio::test(flavor = "multi_thread")]
async fn containers_that_end_are_started_again_as_their_policies_say() {
    let cluster = Cluster::up(&[Image::Redis]).await;
    let placed = nodes(&[("n1", &["always", "never", "failing"])]);
    cluster
        .deploy(&[("application.yml", POLICIES.to_owned()), placed])
        .await;
    let kill = async |service: &str| {
        let name = container_name(&service.parse().unwrap());
        cluster.docker("n1", &["kill", &name]).await;
    };
    let is_stopped = |state: &ContainerState| matches!(state, ContainerState::Stopped { .. });

    kill("never").await;
    let what = "the service without a policy to stay stopped";
    cluster
        .wait_service(what, "never", |seen| is_stopped(&seen.state))
        .await;
    assert!(cluster.running_on("never").await.is_empty());

    for _ in 0..3 {
        kill("always").await;
        cluster.one_running_copy("always", LIMIT).await;
    }
    for _ in 0..2 {
        kill("failing").await;
        cluster.one_running_copy("failing", LIMIT).await;
    }
    kill("failing").await;
    let what = "the service to be given up after two restarts";
    cluster
        .wait_service(what, "failing", |seen| is_stopped(&seen.state))
        .await;
    assert!(cluster.running_on("failing").await.is_empty());
    // Docker's own policy is never used where there is a volume.
    let name = container_name(&"always".parse().unwrap());
    let words = ["inspect", "-f", "{{.HostConfig.RestartPolicy.Name}}", &name];
    assert_eq!(cluster.docker("n1", &words).await.trim(), "no");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_reboot_a_service_starts_with_its_data_once_control_has_confirmed_it() {
    let cluster = Cluster::up(&[Image::Redis]).await;
    let files = [
        redis_services(&[("cache", PORT)]),
        nodes(&[("n3", &["cache"])]),
    ];
    cluster.deploy(&files).await;
    let at = cluster.at("n2", PORT);
    await_redis(at, "SET key value", "+OK").await;
    await_redis(at, "SAVE", "+OK").await;

    cluster.power_off("n3").await.unwrap();
    let begun = Instant::now();
    cluster.power_on("n3").await.unwrap();
    await_redis(at, "GET key", "value").await;
    println!(
        "with control: back {:.1?} after the boot began",
        begun.elapsed()
    );
    assert_eq!(cluster.assert_one_running_copy("cache").await, "n3");

    cluster.power_off("n3").await.unwrap();
    cluster.kill("n1", Role::Control).await;
    cluster.power_on("n3").await.unwrap();
    never_runs(&cluster, "cache", Duration::from_secs(6)).await;
    assert!(cluster.is_running("n3", Role::Agent).unwrap());
    cluster.start("n1", Role::Control).await.unwrap();
    let begun = Instant::now();
    for node in THREE {
        await_redis(cluster.at(node, PORT), "GET key", "value").await;
    }
    println!(
        "without control: back {:.1?} after control",
        begun.elapsed()
    );
    assert_eq!(cluster.assert_one_running_copy("cache").await, "n3");
}

/// Watches for a while that a service is not started.
async fn never_runs(cluster: &Cluster, service: &str, watched: Duration) {
    let seen = wait::until::<_, WaitError, _, _>("nothing", watched, || async {
        let running = cluster.running_on(service).await;
        Ok((!running.is_empty()).then_some(running))
    });
    if let Ok(running) = seen.await {
        panic!("{service} runs on {running:?} though control has confirmed nothing");
    }
}
