//! Relaying to a container on this node.

use super::super::testing::{
    CLUSTER_ADDRESS, Container, Namespace, TestCluster, TestProxy, ask, inside, route, serving,
    soon,
};
use flocker_types::route::RouteState;
use std::io::ErrorKind;
use std::net::Ipv4Addr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;
const FIRST: Ipv4Addr = Ipv4Addr::new(127, 0, 1, 1);
const SECOND: Ipv4Addr = Ipv4Addr::new(127, 0, 1, 2);

#[test]
fn bytes_go_both_ways_and_each_direction_ends_on_its_own() {
    Namespace::new("relay").run(async |_| {
        let directory = tempfile::tempdir().unwrap();
        let config = TestCluster::new().config(1, HERE, directory.path());
        let mut proxy = TestProxy::start(config).await;
        let _container = Container::start(FIRST, inside(80), b'A').await;
        proxy
            .apply(route("web", 1, 80, serving(1, HERE, FIRST)))
            .await;
        for address in [
            (HERE, 80),
            (CLUSTER_ADDRESS, 80),
            (CLUSTER_ADDRESS, inside(80)),
        ] {
            let (mut client, name) = ask(address).await.unwrap();
            assert_eq!(name, b'A');
            let sent: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_be_bytes).collect();
            let (mut read, mut write) = client.split();
            let write = async {
                write.write_all(&sent).await.unwrap();
                write.shutdown().await.unwrap();
            };
            let mut back = Vec::new();
            let (_, read) = soon("the echo", async {
                tokio::join!(write, read.read_to_end(&mut back))
            })
            .await;
            read.unwrap();
            assert_eq!(back.pop(), Some(b'!'), "what came after our end was lost");
            assert!(back == sent, "{} bytes came back", back.len());
        }
    });
}

#[test]
fn a_container_that_is_not_there_yet_is_waited_for_and_one_that_stays_away_is_a_reset() {
    Namespace::new("late").run(async |_| {
        let directory = tempfile::tempdir().unwrap();
        let mut config = TestCluster::new().config(1, HERE, directory.path());
        config.limits.unreachable_ms_max = 300;
        let mut proxy = TestProxy::start(config.clone()).await;
        proxy
            .apply(route("web", 1, 80, serving(1, HERE, FIRST)))
            .await;
        let error = soon("the reset", ask((CLUSTER_ADDRESS, 80)))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        proxy.stop().await;

        config.limits.unreachable_ms_max = 5_000;
        let mut proxy = TestProxy::start(config).await;
        proxy
            .apply(route("web", 1, 80, serving(1, HERE, FIRST)))
            .await;
        let client = tokio::spawn(ask((CLUSTER_ADDRESS, 80)));
        // The second client's refusal shows that the first one was accepted and tries already.
        proxy.apply(route("other", 2, 90, RouteState::Down)).await;
        soon("a reset", ask((HERE, 90))).await.unwrap_err();
        let _container = Container::start(FIRST, inside(80), b'A').await;
        let (_, name) = soon("the connection", client).await.unwrap().unwrap();
        assert_eq!(name, b'A');
    });
}

#[test]
fn nobody_serving_is_a_reset_at_once() {
    Namespace::new("down").run(async |_| {
        let directory = tempfile::tempdir().unwrap();
        let config = TestCluster::new().config(1, HERE, directory.path());
        let mut proxy = TestProxy::start(config).await;
        proxy.apply(route("web", 1, 80, RouteState::Down)).await;
        let error = soon("the reset", ask((HERE, 80))).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn relays_to_a_backend_that_serves_no_more_end_and_a_stale_route_changes_nothing() {
    Namespace::new("moved").run(async |_| {
        let directory = tempfile::tempdir().unwrap();
        let config = TestCluster::new().config(1, HERE, directory.path());
        let mut proxy = TestProxy::start(config).await;
        let _first = Container::start(FIRST, inside(80), b'A').await;
        let _second = Container::start(SECOND, inside(80), b'B').await;
        proxy
            .apply(route("web", 1, 80, serving(1, HERE, FIRST)))
            .await;
        let (mut old, _) = ask((HERE, 80)).await.unwrap();
        // A hold leaves it alone: the container may still answer.
        proxy
            .apply(route("web", 2, 80, RouteState::Held { limit_ms: 9_000 }))
            .await;
        old.write_all(b"x").await.unwrap();
        assert_eq!(soon("the echo", old.read_u8()).await.unwrap(), b'x');
        proxy
            .apply(route("web", 3, 80, serving(1, HERE, SECOND)))
            .await;
        let error = soon("the reset", old.read_u8()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        let (mut new, name) = ask((HERE, 80)).await.unwrap();
        assert_eq!(name, b'B');

        // An older generation is answered with the newer one and otherwise ignored.
        use super::super::events::ControlEvent;
        use flocker_types::link::{ProxyMessage, ToProxy};
        let stale = route("web", 2, 80, serving(1, HERE, FIRST));
        proxy
            .tell(ControlEvent::Message(ToProxy::Route(stale)))
            .await;
        let answer = proxy.answer("an answer", |_| true).await;
        let ProxyMessage::Applied { generation, .. } = answer else {
            panic!("{answer:?}");
        };
        assert_eq!(generation.0, 3);
        new.write_all(b"y").await.unwrap();
        assert_eq!(soon("the echo", new.read_u8()).await.unwrap(), b'y');
        assert_eq!(ask((HERE, 80)).await.unwrap().1, b'B');

        let gone = ToProxy::Gone {
            service: route("web", 4, 80, RouteState::Down).service,
            generation: flocker_types::ids::Generation(4),
        };
        proxy.tell(ControlEvent::Message(gone)).await;
        soon("the end", new.read_u8()).await.unwrap_err();
        let error = soon("a refusal", ask((HERE, 80))).await.unwrap_err();
        let refused = matches!(
            error.kind(),
            ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset
        );
        assert!(refused, "{error}");
    });
}
