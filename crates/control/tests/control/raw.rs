//! HTTP requests that no client of ours would make.

use crate::cluster::{Cluster, LIMIT};
use bytes::Bytes;
use flocker_net::tls::{ALPN_HTTP1, ConnectOptions, Credentials, Expect, connect, connect_pinned};
use flocker_types::api::ApiError;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming};
use hyper_util::rt::TokioIo;

/// Sends a request over HTTP/1.1, with a certificate or without.
pub(crate) async fn send(
    cluster: &Cluster,
    credentials: Option<&Credentials>,
    request: Request<Full<Bytes>>,
) -> Response<Incoming> {
    let options = ConnectOptions {
        alpn: &[ALPN_HTTP1],
        ..ConnectOptions::default()
    };
    let stream = match credentials {
        Some(credentials) => connect(cluster.address, credentials, &Expect::Control, options).await,
        None => connect_pinned(cluster.address, cluster.authority.fingerprint(), options).await,
    };
    let stream = TokioIo::new(stream.unwrap());
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    tokio::time::timeout(LIMIT, sender.send_request(request))
        .await
        .unwrap()
        .unwrap()
}

/// A request with a body in what is said to be JSON.
pub(crate) fn post(path: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    Request::post(path)
        .header("host", "flocker.internal")
        .header("content-type", "application/json")
        .body(Full::new(body.into()))
        .unwrap()
}

/// A request without a body.
pub(crate) fn get(path: &str) -> Request<Full<Bytes>> {
    Request::get(path)
        .header("host", "flocker.internal")
        .body(Full::default())
        .unwrap()
}

/// The status and the refusal, which every refused request must have.
pub(crate) async fn refusal(
    cluster: &Cluster,
    credentials: Option<&Credentials>,
    request: Request<Full<Bytes>>,
) -> (u16, ApiError) {
    let what = format!("{} {}", request.method(), request.uri());
    let response = send(cluster, credentials, request).await;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let error = serde_json::from_slice(&body);
    (
        status,
        error.unwrap_or_else(|e| panic!("{what}: {status} {body:?}: {e}")),
    )
}
