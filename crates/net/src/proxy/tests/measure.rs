//! How long things take that a client of a moving service notices. Prints its figures; the limits
//! are far above them, so that a busy machine does not fail, and far below what a person notices.

use super::super::events::ControlEvent;
use super::super::testing::{
    Container, Namespace, TestCluster, TestProxy, ask, inside, route, serving, soon,
};
use super::tunnels::{B, CONTAINER, TwoNodes};
use flocker_types::link::{ProxyMessage, ToProxy};
use flocker_types::route::{Route, RouteState};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;
const FIRST: Ipv4Addr = Ipv4Addr::new(127, 0, 1, 1);
const ROUNDS: usize = 100;
/// Slowest median that passes, in milliseconds.
const MEDIAN_MS_MAX: u128 = 100;
/// Longest time from a release to the last connection that passes, in milliseconds.
const LAST_MS_MAX: u128 = 8_000;

/// Prints the median and the 99th percentile.
fn show(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let (median, high) = (times[times.len() / 2], times[times.len() * 99 / 100]);
    println!(
        "{what}: p50 {median:.2?}, p99 {high:.2?}, {} runs",
        times.len()
    );
    assert!(median.as_millis() < MEDIAN_MS_MAX, "{what}: {median:?}");
}

async fn connecting(address: (Ipv4Addr, u16)) -> Vec<Duration> {
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        soon("a connection", ask(address)).await.unwrap();
        times.push(start.elapsed());
    }
    times
}

/// Megabytes per second through an echo: each byte is relayed twice.
async fn echoing(address: (Ipv4Addr, u16)) -> f64 {
    const BYTES: usize = 64 * 1024 * 1024;
    let (mut client, _) = ask(address).await.unwrap();
    let (mut read, mut write) = client.split();
    let block = vec![5; 256 * 1024];
    let start = Instant::now();
    let write = async {
        for _ in 0..BYTES / block.len() {
            write.write_all(&block).await.unwrap();
        }
    };
    let mut buffer = vec![0; 256 * 1024];
    let read = async {
        let mut left = BYTES;
        while left > 0 {
            left -= read.read(&mut buffer).await.unwrap();
        }
    };
    soon("the echo", async { tokio::join!(write, read) }).await;
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let megabytes = BYTES as f64 / 1e6;
    megabytes / start.elapsed().as_secs_f64()
}

/// Holds, lets `clients` connect, releases to `release`, and measures each part.
async fn hold_and_release(proxy: &mut TestProxy, clients: u32, held: Route, release: Route) {
    let start = Instant::now();
    proxy.apply(held.clone()).await;
    println!("hold acknowledged after {:.2?}", start.elapsed());
    let port = held.ports[0].external.unwrap();
    let mut waiting = JoinSet::new();
    for _ in 0..clients {
        waiting.spawn(ask((HERE, port)));
    }
    soon("them to be held", async {
        while proxy.apply(held.clone()).await < clients {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let start = Instant::now();
    let route = ControlEvent::Message(ToProxy::Route(release));
    proxy.tell(route).await;
    let mut times = Vec::new();
    while let Some(client) = soon("a client", waiting.join_next()).await {
        client.unwrap().unwrap();
        times.push(start.elapsed());
    }
    let waited = |message: &ProxyMessage| matches!(message, ProxyMessage::Waited { .. });
    proxy.answer("how long they waited", waited).await;
    let last = times[times.len() - 1];
    println!(
        "released to {clients}: first {:.2?}, last {last:.2?}",
        times[0]
    );
    assert!(last.as_millis() < LAST_MS_MAX, "{last:?}");
}

#[test]
fn a_local_container_is_reached_quickly() {
    Namespace::new("time").run(async |_| {
        let directory = tempfile::tempdir().unwrap();
        let config = TestCluster::new().config(1, HERE, directory.path());
        let mut proxy = TestProxy::start(config).await;
        let _container = Container::start(FIRST, inside(80), b'A').await;
        proxy
            .apply(route("web", 1, 80, serving(1, HERE, FIRST)))
            .await;
        show("direct", connecting((FIRST, inside(80))).await);
        show("through the proxy", connecting((HERE, 80)).await);
        println!("echo direct {:.0} MB/s", echoing((FIRST, inside(80))).await);
        println!(
            "echo through the proxy {:.0} MB/s",
            echoing((HERE, 80)).await
        );
        for (round, clients) in [(1, 1), (2, 200)] {
            let hold = RouteState::Held { limit_ms: 9_000 };
            let held = route("web", 2 * round, 80, hold);
            let release = route("web", 2 * round + 1, 80, serving(1, HERE, FIRST));
            hold_and_release(&mut proxy, clients, held, release).await;
        }
    });
}

#[test]
fn a_container_on_another_node_is_reached_quickly() {
    TwoNodes::new().run(async |mut a, mut b| {
        let there = || serving(2, B, CONTAINER);
        b.apply(route("web", 1, 80, there())).await;
        a.apply(route("web", 1, 80, there())).await;
        show("through a tunnel", connecting((HERE, 80)).await);
        println!(
            "echo through a tunnel {:.0} MB/s",
            echoing((HERE, 80)).await
        );
        for (round, clients) in [(1, 1), (2, 200)] {
            let hold = RouteState::Held { limit_ms: 9_000 };
            let held = route("web", 2 * round, 80, hold);
            let release = route("web", 2 * round + 1, 80, there());
            hold_and_release(&mut a, clients, held, release).await;
        }
    });
}
