//! Holding connections while a service moves.

use super::super::events::ControlEvent;
use super::super::testing::{
    Container, Namespace, TestCluster, TestProxy, ask, inside, route, serving, soon,
};
use flocker_types::link::{ProxyMessage, ToProxy};
use flocker_types::route::RouteState;
use std::io::ErrorKind;
use std::net::Ipv4Addr;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;
const FIRST: Ipv4Addr = Ipv4Addr::new(127, 0, 1, 1);
const SECOND: Ipv4Addr = Ipv4Addr::new(127, 0, 1, 2);
const HELD: RouteState = RouteState::Held { limit_ms: 9_000 };

/// Applies the same hold again until `count` connections wait.
async fn until_held(proxy: &mut TestProxy, generation: u64, count: u32) {
    soon("connections to be held", async {
        while proxy.apply(route("db", generation, 80, HELD)).await < count {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[test]
fn two_hundred_held_at_once_all_reach_the_new_backend() {
    Namespace::new("hold").run(async |_| {
        let directory = tempfile::tempdir().unwrap();
        let config = TestCluster::new().config(1, HERE, directory.path());
        let mut proxy = TestProxy::start(config).await;
        proxy
            .apply(route("db", 1, 80, serving(1, HERE, FIRST)))
            .await;
        proxy.apply(route("db", 2, 80, HELD)).await;
        let mut clients = JoinSet::new();
        for _ in 0..200 {
            clients.spawn(ask((HERE, 80)));
        }
        until_held(&mut proxy, 2, 200).await;
        let _container = Container::start(SECOND, inside(80), b'B').await;
        let release = route("db", 3, 80, serving(1, HERE, SECOND));
        let release = ControlEvent::Message(ToProxy::Route(release));
        proxy.tell(release).await;
        let waited = |message: &ProxyMessage| matches!(message, ProxyMessage::Waited { .. });
        let waited = proxy.answer("how long they waited", waited).await;
        assert!(
            matches!(
                waited,
                ProxyMessage::Waited {
                    connections: 200,
                    ..
                }
            ),
            "{waited:?}"
        );
        let reached = soon("all clients", clients.join_all()).await;
        assert_eq!(reached.len(), 200);
        for client in reached {
            assert_eq!(client.unwrap().1, b'B');
        }
    });
}

#[test]
fn a_hold_that_nobody_noticed_says_so_when_it_ends() {
    Namespace::new("empty").run(async |_| {
        let directory = tempfile::tempdir().unwrap();
        let config = TestCluster::new().config(1, HERE, directory.path());
        let mut proxy = TestProxy::start(config).await;
        proxy.apply(route("db", 1, 80, HELD)).await;
        let down = route("db", 2, 80, RouteState::Down);
        proxy
            .tell(ControlEvent::Message(ToProxy::Route(down)))
            .await;
        let waited = proxy.answer("the end of the hold", |_| true).await;
        assert!(
            matches!(
                waited,
                ProxyMessage::Waited {
                    connections: 0,
                    longest_ms: 0,
                    ..
                }
            ),
            "{waited:?}"
        );
    });
}

#[test]
fn a_hold_has_a_limit_in_time_and_in_number() {
    Namespace::new("limit").run(async |_| {
        let directory = tempfile::tempdir().unwrap();
        let mut config = TestCluster::new().config(1, HERE, directory.path());
        config.limits.held_per_service_max = 2;
        let mut proxy = TestProxy::start(config).await;
        proxy.apply(route("db", 1, 80, HELD)).await;
        let mut clients = JoinSet::new();
        clients.spawn(ask((HERE, 80)));
        clients.spawn(ask((HERE, 80)));
        until_held(&mut proxy, 1, 2).await;
        let error = soon("the third one's reset", ask((HERE, 80)))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        // A new hold with a short limit counts from when the connection came.
        let short = RouteState::Held { limit_ms: 50 };
        proxy.apply(route("db", 2, 80, short)).await;
        for client in soon("both resets", clients.join_all()).await {
            assert_eq!(client.unwrap_err().kind(), ErrorKind::ConnectionReset);
        }
    });
}

#[test]
fn a_client_that_resets_frees_its_place_and_one_that_half_closed_is_still_served() {
    Namespace::new("leave").run(async |_| {
        let directory = tempfile::tempdir().unwrap();
        let config = TestCluster::new().config(1, HERE, directory.path());
        let mut proxy = TestProxy::start(config).await;
        proxy.apply(route("db", 1, 80, HELD)).await;
        let leaver = TcpStream::connect((HERE, 80)).await.unwrap();
        let mut stayer = TcpStream::connect((HERE, 80)).await.unwrap();
        stayer.write_all(b"question").await.unwrap();
        stayer.shutdown().await.unwrap();
        until_held(&mut proxy, 1, 2).await;
        leaver.set_zero_linger().unwrap();
        drop(leaver);
        soon("the place to be free", async {
            while proxy.apply(route("db", 1, 80, HELD)).await != 1 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        let _container = Container::start(FIRST, inside(80), b'A').await;
        proxy
            .apply(route("db", 2, 80, serving(1, HERE, FIRST)))
            .await;
        let mut answer = String::new();
        let read = tokio::io::AsyncReadExt::read_to_string(&mut stayer, &mut answer);
        soon("the answer", read).await.unwrap();
        assert_eq!(answer, "Aquestion!");
    });
}

#[test]
fn a_hold_while_connecting_takes_the_connection_over() {
    Namespace::new("midway").run(async |_| {
        let directory = tempfile::tempdir().unwrap();
        let config = TestCluster::new().config(1, HERE, directory.path());
        let mut proxy = TestProxy::start(config).await;
        // Nothing listens at FIRST: the connection keeps trying while the route says serving.
        proxy
            .apply(route("db", 1, 80, serving(1, HERE, FIRST)))
            .await;
        let client = tokio::spawn(ask((HERE, 80)));
        until_held(&mut proxy, 2, 1).await;
        let _container = Container::start(SECOND, inside(80), b'B').await;
        proxy
            .apply(route("db", 3, 80, serving(1, HERE, SECOND)))
            .await;
        assert_eq!(soon("the client", client).await.unwrap().unwrap().1, b'B');
    });
}

#[test]
fn through_thirty_moves_in_a_row_no_client_is_refused_or_reaches_the_old_place() {
    const CLIENTS: u32 = 8;
    Namespace::new("moves").run(async |_| {
        let directory = tempfile::tempdir().unwrap();
        let config = TestCluster::new().config(1, HERE, directory.path());
        let mut proxy = TestProxy::start(config).await;
        let _first = Container::start(FIRST, inside(80), b'A').await;
        let _second = Container::start(SECOND, inside(80), b'B').await;
        let place = std::sync::Arc::new(std::sync::atomic::AtomicU8::new(b'A'));
        proxy
            .apply(route("db", 1, 80, serving(1, HERE, FIRST)))
            .await;
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            let place = std::sync::Arc::clone(&place);
            clients.spawn(async move {
                loop {
                    // The place changes only while all clients are held, so it is the same before
                    // the connection is released and after it was answered.
                    let (_, name) = ask((HERE, 80)).await.unwrap();
                    assert_eq!(name, place.load(std::sync::atomic::Ordering::SeqCst));
                }
            });
        }
        for round in 1..=30 {
            until_held(&mut proxy, 2 * round, CLIENTS).await;
            let (name, address) = if round % 2 == 0 {
                (b'A', FIRST)
            } else {
                (b'B', SECOND)
            };
            place.store(name, std::sync::atomic::Ordering::SeqCst);
            proxy
                .apply(route("db", 2 * round + 1, 80, serving(1, HERE, address)))
                .await;
        }
        assert!(clients.try_join_next().is_none(), "a client failed");
        assert_eq!(clients.len(), usize::try_from(CLIENTS).unwrap());
    });
}
