//! Tunnels between the proxies of two nodes, each in a namespace of its own.

use super::super::events::ControlEvent;
use super::super::testing::{
    Container, Namespace, TUNNEL_PORT, TestCluster, TestProxy, ask, inside, node, route, serving,
    soon,
};
use super::super::tunnel::TunnelFailure;
use crate::pki::Role;
use flocker_types::access::{Revocation, Revoked};
use flocker_types::link::ToProxy;
use flocker_types::route::RouteState;
use flocker_types::time::UnixMs;
use std::net::{Ipv4Addr, SocketAddr};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const A: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub(super) const B: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
pub(super) const CONTAINER: Ipv4Addr = Ipv4Addr::new(127, 0, 1, 1);

/// Two nodes joined by a cable, and what they share.
pub(super) struct TwoNodes {
    a: Namespace,
    b: Namespace,
    cluster: TestCluster,
}

impl TwoNodes {
    pub(super) fn new() -> Self {
        let (a, b) = (Namespace::new("a"), Namespace::new("b"));
        Namespace::connect(&a, "192.0.2.1/24", &b, "192.0.2.2/24");
        Self {
            a,
            b,
            cluster: TestCluster::new(),
        }
    }

    /// Runs `on_a` on node 1 with the proxies of both nodes; node 2 has its container from the
    /// start.
    pub(super) fn run(&self, on_a: impl AsyncFnOnce(TestProxy, TestProxy) + Send) {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                self.b.run(async |_| {
                    let directory = tempfile::tempdir().unwrap();
                    let config = self.cluster.config(2, B, directory.path());
                    let proxy = TestProxy::start(config).await;
                    let _container = Container::start(CONTAINER, inside(80), b'B').await;
                    let _ = sender.send(proxy);
                    let _ = ended.await;
                });
            });
            self.a.run(async |_| {
                let directory = tempfile::tempdir().unwrap();
                let config = self.cluster.config(1, A, directory.path());
                let proxy = TestProxy::start(config).await;
                on_a(proxy, soon("the other node", receiver).await.unwrap()).await;
                drop(end);
            });
        });
    }
}

#[test]
fn a_service_on_another_node_is_reached_through_its_proxy() {
    TwoNodes::new().run(async |mut a, mut b| {
        let web = route("web", 1, 80, serving(2, B, CONTAINER));
        b.apply(web.clone()).await;
        a.apply(web).await;
        let (mut client, name) = soon("a tunnel", ask((Ipv4Addr::LOCALHOST, 80)))
            .await
            .unwrap();
        assert_eq!(name, b'B');
        let sent = vec![7; 3_000_000];
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
    });
}

#[test]
fn while_the_other_proxy_knows_only_an_older_route_the_connection_waits() {
    TwoNodes::new().run(async |mut a, mut b| {
        // B's proxy has not heard of the service at all, then that it is on A, then the truth.
        a.apply(route("web", 3, 80, serving(2, B, CONTAINER))).await;
        let client = tokio::spawn(ask((Ipv4Addr::LOCALHOST, 80)));
        b.apply(route("web", 1, 80, serving(1, A, CONTAINER))).await;
        b.apply(route("web", 2, 80, RouteState::Held { limit_ms: 9_000 }))
            .await;
        assert!(!client.is_finished());
        b.apply(route("web", 3, 80, serving(2, B, CONTAINER))).await;
        assert_eq!(soon("the client", client).await.unwrap().unwrap().1, b'B');
    });
}

#[test]
fn held_on_one_node_and_released_to_the_other() {
    TwoNodes::new().run(async |mut a, mut b| {
        let hold = route("web", 1, 80, RouteState::Held { limit_ms: 9_000 });
        a.apply(hold.clone()).await;
        b.apply(hold.clone()).await;
        let client = tokio::spawn(ask((Ipv4Addr::LOCALHOST, 80)));
        soon("it to be held", async {
            while a.apply(hold.clone()).await < 1 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        // A hears of the release first: B still holds, then lets the tunnelled one through.
        let release = route("web", 2, 80, serving(2, B, CONTAINER));
        a.apply(release.clone()).await;
        soon("the tunnelled one to be held", async {
            while b.apply(hold.clone()).await < 1 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        b.apply(release).await;
        assert_eq!(soon("the client", client).await.unwrap().unwrap().1, b'B');
    });
}

#[test]
fn a_cut_node_ends_its_relays_once_the_service_serves_elsewhere() {
    TwoNodes::new().run(async |mut a, mut b| {
        let web = route("web", 1, 80, serving(2, B, CONTAINER));
        b.apply(web.clone()).await;
        a.apply(web).await;
        let (mut client, _) = ask((Ipv4Addr::LOCALHOST, 80)).await.unwrap();
        // B hears nothing any more; A learns that the service is now on A.
        let _container = Container::start(CONTAINER, inside(80), b'A').await;
        a.apply(route("web", 2, 80, serving(1, A, CONTAINER))).await;
        soon("the relay's end", client.read_u8()).await.unwrap_err();
        assert_eq!(ask((Ipv4Addr::LOCALHOST, 80)).await.unwrap().1, b'A');
    });
}

#[test]
fn a_restarted_proxy_is_found_again_though_tunnels_to_the_old_one_were_kept_ready() {
    let nodes = TwoNodes::new();
    let (up, mut is_up) = tokio::sync::mpsc::channel(1);
    let (next, mut is_next) = tokio::sync::mpsc::channel::<()>(1);
    let web = || route("web", 1, 80, serving(2, B, CONTAINER));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            nodes.b.run(async |_| {
                for name in *b"12" {
                    let directory = tempfile::tempdir().unwrap();
                    let config = nodes.cluster.config(2, B, directory.path());
                    let mut b = TestProxy::start(config).await;
                    b.apply(web()).await;
                    let _container = Container::start(CONTAINER, inside(80), name).await;
                    up.send(()).await.unwrap();
                    is_next.recv().await;
                    b.stop().await;
                }
            });
        });
        nodes.a.run(async |_| {
            let directory = tempfile::tempdir().unwrap();
            let config = nodes.cluster.config(1, A, directory.path());
            let mut a = TestProxy::start(config).await;
            a.apply(web()).await;
            for name in *b"12" {
                soon("the other proxy", is_up.recv()).await.unwrap();
                for _ in 0..10 {
                    let (_, answered) = soon("a tunnel", ask((Ipv4Addr::LOCALHOST, 80)))
                        .await
                        .unwrap();
                    assert_eq!(answered, name);
                }
                next.send(()).await.unwrap();
            }
        });
    });
}

#[test]
fn whoever_is_no_node_of_the_cluster_gets_no_tunnel() {
    let nodes = TwoNodes::new();
    let user = nodes.cluster.credentials(crate::testing::user());
    let stranger = TestCluster::new().credentials(Role::Node(node(1)));
    nodes.run(async |_, mut b| {
        b.apply(route("web", 1, 80, serving(2, B, CONTAINER))).await;
        for credentials in [user, stranger] {
            let tunnels = super::super::tunnel::Tunnels::new(credentials).unwrap();
            let request = super::super::tunnel::Request {
                service: "web".parse().unwrap(),
                internal_port: inside(80),
            };
            let address = SocketAddr::from((B, TUNNEL_PORT));
            let opened = soon("a refusal", tunnels.opener.open(node(2), address, &request)).await;
            assert!(opened.is_err());
        }
        let gone = ToProxy::Gone {
            service: "web".parse().unwrap(),
            generation: flocker_types::ids::Generation(2),
        };
        b.tell(ControlEvent::Message(gone)).await;
    });
}

/// The opening side: the peer is checked when a tunnel is made, and again as long as it is open or kept.
#[test]
fn a_peer_that_is_revoked_gets_no_tunnel_and_loses_those_it_has() {
    let nodes = TwoNodes::new();
    let own = nodes.cluster.credentials(Role::Node(node(1)));
    nodes.run(async |_, mut b| {
        b.apply(route("web", 1, 80, serving(2, B, CONTAINER))).await;
        let known = own.revocations().clone();
        let tunnels = super::super::tunnel::Tunnels::new(own).unwrap();
        let request = super::super::tunnel::Request {
            service: "web".parse().unwrap(),
            internal_port: inside(80),
        };
        let address = SocketAddr::from((B, TUNNEL_PORT));
        let open = || soon("an answer", tunnels.opener.open(node(2), address, &request));
        // By the second one some are kept ready.
        drop(open().await.unwrap());
        let mut tunnel = open().await.unwrap();
        assert_eq!(tunnel.read_u8().await.unwrap(), b'B');
        known.add(&[Revocation {
            whom: Revoked::Node(node(2)),
            until: UnixMs(u64::MAX),
            by: "root".to_owned(),
            mark: None,
        }]);
        let end = soon("its end", tunnel.read_u8()).await.unwrap_err();
        assert_eq!(end.kind(), std::io::ErrorKind::PermissionDenied);
        for _ in 0..6 {
            let Err(refusal) = open().await else {
                panic!("a revoked peer got a tunnel");
            };
            let TunnelFailure::Connect(refusal) = refusal else {
                panic!("{refusal:?}");
            };
            assert!(refusal.to_string().contains("revoked"), "{refusal}");
        }
    });
}
