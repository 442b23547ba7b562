//! A new authority takes the place of the old one while databases are moved about and clients go on.

use crate::support::databases::{await_redis, redis};
use crate::support::{Cluster, THREE, manifests};
use flocker_net::client::ApiClient;
use flocker_net::tls::{ConnectOptions, CredentialFiles, Credentials, Expect, connect};
use flocker_testkit::images::Image;
use flocker_testkit::sandbox::Role;
use flocker_types::access::{RotationPhase, RotationView};
use flocker_types::api::ClusterView;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

const PORT: u16 = 6379;
const CONTROL_PORT: u16 = 4523;
const AGENT_PORT: u16 = 4524;
/// For a phase: nodes look at their certificates every few seconds.
const PHASE_LIMIT: Duration = Duration::from_secs(120);

/// One request after the other at a node, each over a connection of its own.
struct Load {
    stop: Arc<AtomicBool>,
    asking: JoinHandle<(u64, Vec<String>)>,
}

impl Load {
    fn start(at: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let asking = tokio::spawn(async move {
            let (mut asked, mut failed) = (0, Vec::new());
            while !stopped.load(Ordering::Relaxed) {
                asked += 1;
                match redis(at, "GET greeting").await {
                    Ok(answer) if answer == "hello" => {}
                    other => failed.push(format!("{other:?}")),
                }
            }
            (asked, failed)
        });
        Self { stop, asking }
    }

    async fn stop(self) -> (u64, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        self.asking.await.unwrap()
    }
}

async fn rotation(cluster: &Cluster) -> Option<RotationView> {
    cluster.view().await.rotation
}

/// The serial number of the authority's own certificate.
async fn authority(cluster: &Cluster) -> String {
    let view = cluster.view().await;
    let mut all = view.certificates.into_iter();
    all.find(|one| one.whose == "the authority").unwrap().serial
}

/// Another node than that on which the service runs.
fn next_node(view: &ClusterView) -> &'static str {
    let runs_on = view.services[0].node.as_ref();
    let is_it = |name: &&str| runs_on.is_some_and(|node| node.as_str() == *name);
    let at = THREE.iter().position(is_it);
    THREE[(at.unwrap() + 1) % THREE.len()]
}

/// Moves the service from node to node until the change is so far; how many moves that were.
async fn moves_until(cluster: &Cluster, what: &str, done: impl Fn(&ClusterView) -> bool) -> usize {
    let deadline = Instant::now() + PHASE_LIMIT;
    let mut moves = 0;
    loop {
        let view = cluster.view().await;
        if done(&view) {
            return moves;
        }
        assert!(Instant::now() < deadline, "{what}: {:?}", view.rotation);
        cluster.move_to("cache", next_node(&view)).await;
        moves += 1;
    }
}

fn is_at(view: &ClusterView, phase: RotationPhase) -> bool {
    view.rotation.as_ref().is_some_and(|one| one.phase == phase)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_authority_is_changed_while_services_move() {
    let mut cluster = Cluster::up(&[Image::Redis]).await;
    let on = [("n1", &[][..]), ("n2", &[]), ("n3", &["cache"])];
    let files = [manifests::redis(&[("cache", PORT)]), manifests::nodes(&on)];
    cluster.deploy(&files).await;
    await_redis(cluster.at("n1", PORT), "SET greeting hello", "+OK").await;
    let stolen = node_credentials(&cluster, "n3");
    let before = authority(&cluster).await;
    let loads = ["n1", "n2", "n3"].map(|node| Load::start(cluster.at(node, PORT)));
    let begun = Instant::now();
    cluster
        .run(&["authority", "rotate", "--overlap", "1s"])
        .await;
    let mut moves = moves_until(&cluster, "certificates of the new one", |view| {
        is_at(view, RotationPhase::Issuing)
    })
    .await;
    println!("introduced after {:.1?}, {moves} moves", begun.elapsed());
    // Control may be killed at any time.
    cluster.kill("n1", Role::Control).await;
    cluster.start("n1", Role::Control).await.unwrap();
    cluster.await_ready().await.unwrap();
    moves += moves_until(&cluster, "every node to have one", |view| {
        view.rotation
            .as_ref()
            .is_some_and(|one| one.nodes.is_empty())
    })
    .await;
    println!("issued after {:.1?}, {moves} moves", begun.elapsed());
    let hanging = rotation(&cluster).await.unwrap().users;
    assert_eq!(hanging.len(), 1, "the sandbox's user: {hanging:?}");
    let shown = cluster.run(&["status"]).await;
    assert!(shown.contains("flocker user renew"), "{shown}");
    cluster.run(&["user", "renew"]).await;
    let control = cluster.at("n1", CONTROL_PORT);
    cluster.api = ApiClient::new(control, cluster.credentials());
    moves += moves_until(&cluster, "the old one to be dropped", |view| {
        view.rotation.is_none()
    })
    .await;
    println!(
        "dropped and forgotten after {:.1?}, {moves} moves",
        begun.elapsed()
    );
    let mut asked = 0;
    for load in loads {
        let (here, failed) = load.stop().await;
        assert_eq!(failed, Vec::<String>::new(), "of {here}");
        asked += here;
    }
    println!("{asked} requests meanwhile, none failed");
    assert!(moves >= 3, "only {moves} moves");
    assert_ne!(authority(&cluster).await, before);
    old_ones_are_refused(&cluster, &stolen).await;
    everything_starts_again(&cluster).await;
}

fn node_credentials(cluster: &Cluster, node: &str) -> Credentials {
    let directory = cluster.node(node).unwrap().state_directory().join("certs");
    Credentials::load(&directory, CredentialFiles::NODE).unwrap()
}

/// A certificate of the old authority gets no stream any more, though its time is not over.
async fn old_ones_are_refused(cluster: &Cluster, stolen: &Credentials) {
    let view = cluster.view().await;
    let n2 = view
        .nodes
        .iter()
        .find(|one| one.name.as_str() == "n2")
        .unwrap();
    let at = cluster.at("n2", AGENT_PORT);
    let options = ConnectOptions::default();
    // It does not trust the agent either; whoever has stolen it would not mind.
    let ours = connect(at, stolen, &Expect::Node(n2.id), options).await;
    assert!(
        ours.is_err(),
        "the agent shows a certificate of the old authority"
    );
    let files = cluster.node("n3").unwrap().state_directory().join("certs");
    let trusted = std::fs::read_to_string(files.join(CredentialFiles::NODE.authority)).unwrap();
    assert_eq!(trusted.matches("BEGIN CERTIFICATE").count(), 1);
}

async fn everything_starts_again(cluster: &Cluster) {
    for node in ["n1", "n2", "n3"] {
        for role in [Role::Agent, Role::Proxy] {
            cluster.kill(node, role).await;
            cluster.start(node, role).await.unwrap();
        }
    }
    cluster.await_ready().await.unwrap();
    for _ in 0..2 {
        let view = cluster.view().await;
        cluster.move_to("cache", next_node(&view)).await;
    }
    await_redis(cluster.at("n3", PORT), "GET greeting", "hello").await;
    cluster.run(&["token"]).await;
}
