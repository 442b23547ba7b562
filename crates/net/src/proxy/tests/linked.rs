//! A whole proxy with a real link to a control that the test plays.

use super::super::Proxy;
use super::super::testing::{
    Container, Namespace, TestCluster, ask, inside, node, route, serving, soon,
};
use crate::link::{Link, LinkLimits, PROXY_PATH, accept};
use crate::pki::Role;
use crate::serve::{ServeLimits, serve_tls};
use crate::tls::{ALPN_HTTP2, ClientCertificates, server_config};
use flocker_types::link::{ProxyMessage, ToProxy};
use flocker_types::route::RouteState;
use hyper::Request;
use hyper::body::Incoming;
use std::convert::Infallible;
use std::net::Ipv4Addr;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;
const FIRST: Ipv4Addr = Ipv4Addr::new(127, 0, 1, 1);

type ControlLink = Link<ToProxy, ProxyMessage>;

/// Serves links of proxies; each comes out of the receiver.
async fn control(cluster: &TestCluster) -> (std::net::SocketAddr, mpsc::Receiver<ControlLink>) {
    let listener = TcpListener::bind((HERE, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let credentials = cluster.credentials(Role::Control);
    let required = ClientCertificates::Required;
    let config = server_config(&credentials, required, &[ALPN_HTTP2]).unwrap();
    let (sender, links) = mpsc::channel(8);
    let service = tower::service_fn(move |request: Request<Incoming>| {
        let sender = sender.clone();
        async move {
            assert_eq!(request.uri().path(), PROXY_PATH);
            let (link, response) = accept(request.into_body(), LinkLimits::default());
            sender.send(link).await.unwrap();
            Ok::<_, Infallible>(response)
        }
    });
    let limits = ServeLimits::default();
    tokio::spawn(serve_tls(
        listener,
        config,
        service,
        limits,
        CancellationToken::new(),
    ));
    (address, links)
}

async fn heard(link: &mut ControlLink) -> ProxyMessage {
    soon("a message", link.receiver.recv()).await.unwrap()
}

#[test]
fn a_proxy_links_says_hello_applies_and_links_again() {
    Namespace::new("linked").run(async |_| {
        let cluster = TestCluster::new();
        let (address, mut links) = control(&cluster).await;
        let directory = tempfile::tempdir().unwrap();
        let mut config = cluster.config(1, HERE, directory.path());
        config.control = address;
        let shutdown = CancellationToken::new();
        let proxy = tokio::spawn(Proxy::run(config.clone(), shutdown.clone()));
        let _container = Container::start(FIRST, inside(80), b'A').await;

        let mut link = soon("a link", links.recv()).await.unwrap();
        let ProxyMessage::Hello {
            node: who, tunnel, ..
        } = heard(&mut link).await
        else {
            panic!("the first message is no hello");
        };
        assert_eq!((who, tunnel), (node(1), config.tunnel_address));
        let routes = vec![route("web", 1, 80, serving(1, HERE, FIRST))];
        link.sender.send(ToProxy::Welcome { routes }).await.unwrap();
        let applied = heard(&mut link).await;
        assert!(
            matches!(applied, ProxyMessage::Applied { generation, .. } if generation.0 == 1),
            "{applied:?}"
        );
        assert_eq!(ask((HERE, 80)).await.unwrap().1, b'A');

        // Control is gone: what is in force stays so. It comes back: everything is said again.
        link.handle.close();
        drop(link);
        assert_eq!(ask((HERE, 80)).await.unwrap().1, b'A');
        let mut link = soon("a new link", links.recv()).await.unwrap();
        let hello = heard(&mut link).await;
        assert!(matches!(hello, ProxyMessage::Hello { .. }), "{hello:?}");
        let routes = vec![route("web", 2, 80, RouteState::Down)];
        link.sender.send(ToProxy::Welcome { routes }).await.unwrap();
        let applied = heard(&mut link).await;
        assert!(
            matches!(applied, ProxyMessage::Applied { generation, .. } if generation.0 == 2),
            "{applied:?}"
        );
        soon("a reset", ask((HERE, 80))).await.unwrap_err();

        shutdown.cancel();
        soon("the end", proxy).await.unwrap().unwrap();
    });
}
