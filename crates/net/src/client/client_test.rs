//! The API client against a real server: answers, refusals, streams, restarts, and what it says.

use super::*;
use crate::pki::Role;
use crate::serve::{PeerAddress, ServeLimits};
use crate::testing::{ANY, Cluster, Server, user, within};
use crate::tls::{ClientCertificates, TlsError};
use axum::body::Body;
use axum::extract::Extension;
use axum::http::header;
use axum::response::{IntoResponse, Response as Answer};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use flocker_types::api::{ApiError, ErrorCode};

async fn refuse() -> Answer {
    let error = ApiError {
        code: ErrorCode::Conflict,
        message: "db is being moved".to_owned(),
        hint: Some("wait for it".to_owned()),
    };
    (axum::http::StatusCode::CONFLICT, Json(error)).into_response()
}

async fn events() -> Answer {
    let parts = [
        ": hi\n\ndata: {\"a\"",
        ":1}\n\nevent: x\ndata:two\ndata: lines\r\n\r\n",
        "data: cut",
    ];
    stream_of("text/event-stream", &parts)
}

async fn lines() -> Answer {
    stream_of(
        "application/x-ndjson",
        &["{\"a\":1}\n{\"a\"", ":2}\n", "last"],
    )
}

fn stream_of(kind: &'static str, parts: &[&'static str]) -> Answer {
    let parts: Vec<Result<_, std::io::Error>> = parts.iter().map(|part| Ok(*part)).collect();
    let body = Body::from_stream(futures_util::stream::iter(parts));
    ([(header::CONTENT_TYPE, kind)], body).into_response()
}

fn router() -> Router {
    Router::new()
        .route(
            "/sum",
            post(async |Json(numbers): Json<Vec<u32>>| Json(numbers.iter().sum::<u32>())),
        )
        .route(
            "/port",
            get(async |Extension(PeerAddress(peer)): Extension<PeerAddress>| Json(peer.port())),
        )
        .route(
            "/thing",
            delete(async || axum::http::StatusCode::NO_CONTENT),
        )
        .route("/refuse", get(refuse))
        .route(
            "/html",
            get(async || (axum::http::StatusCode::BAD_GATEWAY, "<html>no</html>")),
        )
        .route("/long", get(async || "x".repeat(10_000)))
        .route(
            "/never",
            get(async || std::future::pending::<String>().await),
        )
        .route("/events", get(events))
        .route("/lines", get(lines))
}

async fn start(address: SocketAddr, cluster: &Cluster) -> Server {
    let credentials = cluster.credentials(Role::Control);
    let limits = ServeLimits {
        shutdown_ms_max: 100,
        ..ServeLimits::default()
    };
    Server::start_on(
        address,
        &credentials,
        router(),
        ClientCertificates::Required,
        limits,
    )
    .await
}

fn impatient() -> ClientLimits {
    ClientLimits {
        request_ms_max: 1_000,
        response_bytes_max: 1_000,
        ..ClientLimits::default()
    }
}

#[tokio::test]
async fn requests_share_one_connection() {
    let cluster = Cluster::new();
    let server = start(ANY, &cluster).await;
    let client = ApiClient::new(server.address, cluster.credentials(user()));
    assert_eq!(client.post::<_, u32>("/sum", &[1, 2, 3]).await.unwrap(), 6);
    client.delete::<()>("/thing").await.unwrap();
    let (one, other) = (client.clone(), client);
    let (one, other) = tokio::join!(one.get::<u16>("/port"), other.get::<u16>("/port"));
    assert_eq!(one.unwrap(), other.unwrap());
}

#[tokio::test]
async fn refusals_keep_their_words_and_hints() {
    let cluster = Cluster::new();
    let server = start(ANY, &cluster).await;
    let client = ApiClient::with_limits(server.address, cluster.credentials(user()), impatient());
    let error = client.get::<()>("/refuse").await.unwrap_err();
    assert_eq!(error.to_string(), "db is being moved");
    assert_eq!(error.hint().as_deref(), Some("wait for it"));
    let error = client.get::<()>("/html").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "/html was answered with 502 Bad Gateway: <html>no</html>"
    );
    let error = client.get::<()>("/lines").await.unwrap_err();
    assert!(
        matches!(error, ClientError::NotUnderstood { .. }),
        "{error:?}"
    );
    let error = client.get::<()>("/long").await.unwrap_err();
    assert!(
        matches!(
            error,
            ClientError::TooLong {
                bytes_max: 1_000,
                ..
            }
        ),
        "{error:?}"
    );
    let error = client.get::<()>("/never").await.unwrap_err();
    assert!(
        matches!(
            error,
            ClientError::Timeout {
                limit_ms: 1_000,
                ..
            }
        ),
        "{error:?}"
    );
    let error = client.get::<()>("/a path").await.unwrap_err();
    assert!(matches!(error, ClientError::BadPath { .. }), "{error:?}");
    assert_eq!(
        client.post::<_, u32>("/sum", &[1]).await.unwrap(),
        1,
        "still of use"
    );
}

#[tokio::test]
async fn streams_are_read_as_they_come() {
    let cluster = Cluster::new();
    let server = start(ANY, &cluster).await;
    let client = ApiClient::new(server.address, cluster.credentials(user()));
    for (path, expected) in [
        ("/events", vec!["{\"a\":1}", "two\nlines"]),
        ("/lines", vec!["{\"a\":1}", "{\"a\":2}", "last"]),
    ] {
        let mut stream = client.stream_lines(path).await.unwrap();
        let mut found = Vec::new();
        while let Some(text) = within("a text", stream.next()).await {
            found.push(text.unwrap());
        }
        assert_eq!(found, expected, "{path}");
    }
    let error = client.stream_lines("/refuse").await.unwrap_err();
    assert_eq!(error.to_string(), "db is being moved");
}

#[tokio::test]
async fn a_restarted_control_is_found_without_an_error() {
    let cluster = Cluster::new();
    let server = start(ANY, &cluster).await;
    let address = server.address;
    let client = ApiClient::new(address, cluster.credentials(user()));
    client.get::<u16>("/port").await.unwrap();
    server.stop().await;
    let server = start(address, &cluster).await;
    client.get::<u16>("/port").await.unwrap();
    assert_eq!(client.post::<_, u32>("/sum", &[4, 5]).await.unwrap(), 9);
    server.stop().await;
    let error = client.get::<u16>("/port").await.unwrap_err();
    assert!(error.retry_can_help());
    let hint = error.hint().unwrap();
    assert_eq!(
        hint,
        format!("is `flocker control` running, and is {address} its address?")
    );
}

#[tokio::test]
async fn who_is_not_let_in_is_told_so() {
    let cluster = Cluster::new();
    let server = start(ANY, &cluster).await;
    // Control of this test wants a certificate from everybody.
    let client = ApiClient::pinned(server.address, cluster.authority.fingerprint());
    let error = client.get::<u16>("/port").await.unwrap_err();
    assert!(
        matches!(error, ClientError::Connect(TlsError::RefusedByPeer { .. })),
        "{error:?}"
    );
    assert!(!error.retry_can_help());
    let stranger = ApiClient::new(server.address, Cluster::new().credentials(user()));
    let error = stranger.get::<u16>("/port").await.unwrap_err();
    assert!(
        matches!(error, ClientError::Connect(TlsError::Refused { .. })),
        "{error:?}"
    );
}
