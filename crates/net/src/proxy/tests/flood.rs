//! Ten thousand connections to each listener of a proxy: others are served meanwhile, and the process
//! keeps its size. And what a node can reach through a tunnel.

use super::super::testing::{
    Container, Namespace, TUNNEL_PORT, TestCluster, TestProxy, inside, node, route, service,
    serving, soon,
};
use super::super::tunnel::{self, Request, TunnelFailure};
use crate::pki::Role;
use crate::testing::{flood, resident_bytes};
use crate::tls::{self, ConnectOptions, Credentials, Expect};
use std::net::{Ipv4Addr, SocketAddr};
use tokio::io::AsyncReadExt;
use tokio::net::TcpSocket;

const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;
const FIRST: Ipv4Addr = Ipv4Addr::new(127, 0, 1, 1);
const FLOOD: usize = 10_000;
/// Either end of each connection is in this process.
const GROWTH_MAX: u64 = 512 << 20;

async fn proxy(cluster: &TestCluster, directory: &std::path::Path) -> TestProxy {
    let mut config = cluster.config(1, HERE, directory);
    // Both ends of every connection, and the containers, are in this process and its descriptors.
    config.limits.connections_per_address_max = 1_000;
    let mut proxy = TestProxy::start(config).await;
    let web = route("web", 1, 80, serving(1, HERE, FIRST));
    proxy.apply(web).await;
    proxy
}

/// The name that the container says to a client at this address.
async fn ask_from(source: Ipv4Addr) -> std::io::Result<u8> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((source, 0).into())?;
    let mut stream = socket.connect((HERE, 80).into()).await?;
    stream.read_u8().await
}

/// Asks as node 2 for a port of a service.
async fn tunnel(
    credentials: &Credentials,
    name: &str,
    internal_port: u16,
) -> Result<u8, TunnelFailure> {
    let address = SocketAddr::from((HERE, TUNNEL_PORT));
    let expect = Expect::Node(node(1));
    let stream = tls::connect(address, credentials, &expect, ConnectOptions::default()).await;
    let stream = stream.map_err(|error| TunnelFailure::Connect(Box::new(error)))?;
    let request = Request {
        service: service(name),
        internal_port,
    };
    let mut stream = tunnel::ask(stream, &request, 5_000).await?;
    Ok(stream.read_u8().await?)
}

#[test]
fn ten_thousand_clients_of_one_address_leave_room_for_others() {
    Namespace::new("flood").run(async |_| {
        let directory = tempfile::tempdir().unwrap();
        let _proxy = proxy(&TestCluster::new(), directory.path()).await;
        let _container = Container::start(FIRST, inside(80), b'A').await;
        let before = resident_bytes();
        let source = Ipv4Addr::new(127, 0, 0, 2);
        let clients = flood((HERE, 80).into(), FLOOD, |_| source).await;
        let other = soon("another address", ask_from(Ipv4Addr::new(127, 0, 0, 3))).await;
        assert_eq!(other.unwrap(), b'A');
        let grown = resident_bytes().saturating_sub(before);
        assert!(grown < GROWTH_MAX, "{grown} bytes more are resident");
        let same = soon("the same address", ask_from(source)).await;
        assert!(same.is_err(), "it has more than its share");
        drop(clients);
        soon("room again", async {
            while ask_from(source).await.is_err() {
                tokio::task::yield_now().await;
            }
        })
        .await;
    });
}

#[test]
fn ten_thousand_silent_tunnels_keep_no_node_out() {
    Namespace::new("tunnels").run(async |_| {
        let directory = tempfile::tempdir().unwrap();
        let cluster = TestCluster::new();
        let _proxy = proxy(&cluster, directory.path()).await;
        let _container = Container::start(FIRST, inside(80), b'A').await;
        let before = resident_bytes();
        let source = |_| Ipv4Addr::new(127, 0, 0, 2);
        let mut silent = flood((HERE, TUNNEL_PORT).into(), FLOOD, source).await;
        let member = cluster.credentials(Role::Node(node(2)));
        let reached = soon("a tunnel", tunnel(&member, "web", inside(80))).await;
        assert_eq!(reached.unwrap(), b'A');
        let grown = resident_bytes().saturating_sub(before);
        assert!(grown < GROWTH_MAX, "{grown} bytes more are resident");
        let first = silent.first_mut().unwrap();
        let ended = soon("the first one's end", first.read_u8()).await;
        assert!(ended.is_err());
    });
}

#[test]
fn a_tunnel_reaches_ports_of_routes_and_nothing_else() {
    Namespace::new("reach").run(async |_| {
        let directory = tempfile::tempdir().unwrap();
        let cluster = TestCluster::new();
        let mut proxy = proxy(&cluster, directory.path()).await;
        let elsewhere = route("db", 2, 81, serving(2, FIRST, FIRST));
        proxy.apply(elsewhere).await;
        let _container = Container::start(FIRST, inside(80), b'A').await;
        let _secret = Container::start(FIRST, 9_999, b'S').await;
        let member = cluster.credentials(Role::Node(node(2)));
        let reached = soon("its port", tunnel(&member, "web", inside(80))).await;
        assert_eq!(reached.unwrap(), b'A');
        for (name, port) in [
            ("web", 9_999),
            ("web", 22),
            ("nothing", 80),
            ("db", inside(81)),
        ] {
            let reached = soon("an answer", tunnel(&member, name, port)).await;
            assert!(
                matches!(reached, Err(TunnelFailure::Moved)),
                "{name} {port}: {reached:?}"
            );
        }
        for role in [crate::testing::user(), Role::Control] {
            let other = cluster.credentials(role);
            let reached = soon("an answer", tunnel(&other, "web", inside(80))).await;
            assert!(reached.is_err(), "{reached:?}");
        }
        let stranger = TestCluster::new().credentials(Role::Node(node(2)));
        let reached = soon("an answer", tunnel(&stranger, "web", inside(80))).await;
        assert!(reached.is_err(), "{reached:?}");
    });
}
