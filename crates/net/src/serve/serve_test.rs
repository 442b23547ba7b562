//! The server: who is there, both HTTP versions, its limit on connections, and its end.

use super::*;
use crate::testing::{ANY, Cluster, Server, user, within};
use crate::tls::{ALPN_HTTP1, ClientCertificates, ConnectOptions, Expect, connect, connect_pinned};
use axum::Router;
use axum::extract::Extension;
use axum::routing::get;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use tokio::io::AsyncReadExt;

async fn who(
    Extension(member): Extension<Option<MemberCertificate>>,
    Extension(PeerAddress(peer)): Extension<PeerAddress>,
) -> String {
    assert!(peer.ip().is_loopback());
    member.map_or("nobody".to_owned(), |member| member.identity.to_string())
}

pub(super) async fn server(cluster: &Cluster, limits: ServeLimits) -> Server {
    let credentials = cluster.credentials(Role::Control);
    let router = Router::new().route("/who", get(who)).route(
        "/never",
        get(async || std::future::pending::<String>().await),
    );
    Server::start_on(
        ANY,
        &credentials,
        router,
        ClientCertificates::Optional,
        limits,
    )
    .await
}

pub(super) type Http1 = http1::SendRequest<Empty<Bytes>>;

pub(super) async fn http1_over(stream: tokio_rustls::client::TlsStream<TcpStream>) -> Http1 {
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

pub(super) async fn ask(sender: &mut Http1, path: &str) -> String {
    let request = Request::builder()
        .uri(path)
        .header("host", "flocker.internal")
        .body(Empty::new())
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

#[tokio::test]
async fn handlers_know_who_is_there_over_http_1_too() {
    let cluster = Cluster::new();
    let server = server(&cluster, ServeLimits::default()).await;
    let options = ConnectOptions {
        alpn: &[ALPN_HTTP1],
        ..ConnectOptions::default()
    };
    let credentials = cluster.credentials(user());
    let stream = connect(server.address, &credentials, &Expect::Control, options);
    let mut known = http1_over(stream.await.unwrap()).await;
    assert_eq!(
        ask(&mut known, "/who").await,
        cluster.identity(user()).to_string()
    );
    let pin = cluster.authority.fingerprint();
    let stream = connect_pinned(server.address, pin, ConnectOptions::default());
    let mut unknown = http1_over(stream.await.unwrap()).await;
    assert_eq!(ask(&mut unknown, "/who").await, "nobody");
    drop((known, unknown));
    server.stop().await;
}

#[tokio::test]
async fn members_beyond_the_limit_are_closed_until_one_leaves() {
    let cluster = Cluster::new();
    let limits = ServeLimits {
        connections_max: 1,
        ..ServeLimits::default()
    };
    let server = server(&cluster, limits).await;
    let credentials = cluster.credentials(user());
    let options = ConnectOptions::default();
    let come = || connect(server.address, &credentials, &Expect::Control, options);
    let mut first = http1_over(come().await.unwrap()).await;
    let name = cluster.identity(user()).to_string();
    assert_eq!(ask(&mut first, "/who").await, name);
    let mut second = come().await.unwrap();
    assert!(within("its end", second.read_u8()).await.is_err());
    drop(first);
    let third = within("room", async {
        loop {
            let mut third = http1_over(come().await.unwrap()).await;
            let request = Request::builder()
                .uri("/who")
                .header("host", "flocker.internal")
                .body(Empty::new())
                .unwrap();
            if third.send_request(request).await.is_ok() {
                return third;
            }
        }
    });
    assert_eq!(ask(&mut third.await, "/who").await, name);
    server.stop().await;
}

#[tokio::test]
async fn a_request_that_never_ends_does_not_keep_the_server() {
    let cluster = Cluster::new();
    let limits = ServeLimits {
        shutdown_ms_max: 100,
        ..ServeLimits::default()
    };
    let server = server(&cluster, limits).await;
    let pin = cluster.authority.fingerprint();
    let stream = connect_pinned(server.address, pin, ConnectOptions::default());
    let mut sender = http1_over(stream.await.unwrap()).await;
    assert_eq!(ask(&mut sender, "/who").await, "nobody");
    let request = Request::builder()
        .uri("/never")
        .header("host", "flocker.internal")
        .body(Empty::new())
        .unwrap();
    let asking = tokio::spawn(async move { sender.send_request(request).await });
    server.stop().await;
    assert!(within("the request's end", asking).await.unwrap().is_err());
}

#[tokio::test]
async fn strangers_are_few_and_do_not_stay() {
    let cluster = Cluster::new();
    let limits = ServeLimits {
        strangers_max: 1,
        stranger_ms_max: 1_000,
        ..ServeLimits::default()
    };
    let server = server(&cluster, limits).await;
    let pin = cluster.authority.fingerprint();
    let options = ConnectOptions::default();
    let first = connect_pinned(server.address, pin, options).await.unwrap();
    let mut first = http1_over(first).await;
    assert_eq!(ask(&mut first, "/who").await, "nobody");
    // A second stranger is shown out at once, while a member may come in and stay.
    let mut second = connect_pinned(server.address, pin, options).await.unwrap();
    let read = within("the second's end", second.read_u8()).await;
    assert!(read.is_err());
    let credentials = cluster.credentials(user());
    let member = connect(server.address, &credentials, &Expect::Control, options);
    let mut member = http1_over(member.await.unwrap()).await;
    let gone = within("the first's end", async {
        // Ready as long as the connection is there.
        while first.ready().await.is_ok() {
            tokio::task::yield_now().await;
        }
    });
    gone.await;
    assert_eq!(
        ask(&mut member, "/who").await,
        cluster.identity(user()).to_string()
    );
    server.stop().await;
}
