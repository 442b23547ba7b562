//! What the fuzzers do with this crate: requests to every route of the API, through the real router, loop
//! and core, over a store in memory.
//!
//! libFuzzer calls it (`fuzz/`), and a test replays the corpora. No part of the program: it is
//! compiled for tests and fuzzers alone.

use crate::api::{Api, ClusterFacts, Office, router};
use crate::audit::AuditLog;
use crate::authorities::Authorities;
use crate::certificates::Certificates;
use crate::config::StateDirectory;
use crate::shell::{Keeper, Shell};
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use flocker_core::cluster::{MetaRecord, NodeRecord, State};
use flocker_core::control::Control;
use flocker_net::link::LinkLimits;
use flocker_net::pki::{Authority, Identity, MemberCertificate, NODE_VALIDITY, Role, Sealer};
use flocker_net::tls::Credentials;
use flocker_store::MemoryStore;
use flocker_types::access::UserRole;
use flocker_types::api::{ApiError, ErrorCode};
use flocker_types::ids::{ClusterId, Generation, NodeId};
use flocker_types::time::UnixMs;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use uuid::Uuid;

/// Stands between two requests in one input.
const BETWEEN_REQUESTS: u8 = 0x1e;
/// More requests than this are not made of one input.
const REQUESTS_MAX: usize = 8;
/// What is not answered by then waits for something: a log, an operation's end, a link.
const ANSWER_MAX: Duration = Duration::from_millis(200);
/// The status never waits; on a busy machine it may be late.
const STATUS_MAX: Duration = Duration::from_secs(60);
const ANSWER_BYTES_MAX: usize = 8 << 20;

thread_local! {
    static AUDIT: tempfile::TempDir =
        tempfile::tempdir().expect("there is room for a log");
    static RUNTIME: Runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime can be made");
    static AUTHORITY: (String, String) = {
        let authority = Authority::create(CLUSTER).expect("an authority can be made");
        let directory = tempfile::tempdir().expect("there is room for two files");
        let (certificate, key) = (directory.path().join("ca.pem"), directory.path().join("ca.key"));
        authority.save(&certificate, &key).expect("it can be written");
        let key = std::fs::read_to_string(key).expect("it can be read");
        (authority.certificate_pem().to_owned(), key)
    };
}

const CLUSTER: ClusterId = ClusterId(Uuid::from_u128(1));
const NODE: NodeId = NodeId(Uuid::from_u128(2));

/// Requests, one after the other. Each is a line `ROLE METHOD PATH`, and the body; a role is `user`,
/// `node` or nobody. What is refused is refused as the API says, and nothing is a mistake of ours.
pub fn http_api(bytes: &[u8]) {
    RUNTIME.with(|runtime| {
        runtime.block_on(async {
            let shutdown = CancellationToken::new();
            let (shell, api) = api(&shutdown);
            let running = shell.spawn(shutdown.clone());
            for part in bytes
                .split(|byte| *byte == BETWEEN_REQUESTS)
                .take(REQUESTS_MAX)
            {
                if let Some(request) = request(part) {
                    ask(&api, request, ANSWER_MAX).await;
                }
            }
            // Whatever was asked, control is still there.
            let status = request(b"user GET /v1/status").expect("a request");
            let answer = ask(&api, status, STATUS_MAX).await;
            assert_eq!(answer, Some(StatusCode::OK));
            shutdown.cancel();
            let ended = running.await.expect("the loop does not panic");
            ended.expect("the loop ends in good order");
        });
    });
}

fn api(stopping: &CancellationToken) -> (Shell, axum::Router) {
    let network = |text: &str| text.parse().expect("a network");
    let mut state = State::new(MetaRecord {
        cluster: CLUSTER,
        generation: Generation::default(),
        service_network: network("10.214.0.0/24"),
        container_network: network("10.213.0.0/24"),
    });
    let record = NodeRecord {
        id: NODE,
        name: "n1".parse().expect("a valid name"),
        address: Ipv4Addr::LOCALHOST,
        stream_address: None,
        tunnel: None,
        joined: UnixMs(0),
    };
    state.nodes.insert(NODE, record);
    let keeper = Keeper::of_empty(Box::new(MemoryStore::default()));
    let (shell, handle) = Shell::new(Box::new(Control::new(state)), keeper);
    let facts = ClusterFacts {
        cluster: CLUSTER,
        control: (Ipv4Addr::LOCALHOST, 4523).into(),
        service_network: "10.214.0.0/24".to_owned(),
        container_network: "10.213.0.0/24".to_owned(),
        state_dir: AUDIT.with(|directory| directory.path().to_owned()),
    };
    let authority = AUTHORITY.with(|(certificate, key)| {
        Authority::from_pem(certificate, key).expect("it was made by us")
    });
    let identity = Identity {
        cluster: CLUSTER,
        role: Role::Control,
    };
    let own = authority.issue(&identity, NODE_VALIDITY);
    let own = own.expect("a certificate can be issued");
    let pem = authority.certificate_pem();
    let credentials = Credentials::from_pem(&own.certificate_pem, &own.key_pem, pem);
    let files = AUDIT.with(|directory| StateDirectory::new(directory.path()));
    let office = Office {
        credentials: credentials.expect("they fit"),
        authorities: Arc::new(Authorities::only(authority, &files)),
        certificates: Certificates::open(files.certificates(), CLUSTER),
        validity: NODE_VALIDITY,
        sealer: Sealer::create().expect("there is randomness"),
        audit: AUDIT.with(|directory| AuditLog::open(directory.path()).expect("it can be written")),
    };
    let links = LinkLimits::default();
    let api = Api::new(handle, office, facts, links, stopping.clone());
    (shell, router(api))
}

fn request(part: &[u8]) -> Option<Request<Body>> {
    let end = part.iter().position(|byte| *byte == b'\n');
    let (head, body) = part.split_at(end.unwrap_or(part.len()));
    let head = std::str::from_utf8(head).ok()?;
    let mut words = head.split(' ');
    let (role, method, path) = (words.next()?, words.next()?, words.next()?);
    let identity = match role {
        "user" | "viewer" => Some(Role::User {
            name: "ops".to_owned(),
            role: match role {
                "user" => UserRole::Admin,
                _ => UserRole::Viewer,
            },
        }),
        "node" => Some(Role::Node(NODE)),
        _ => None,
    };
    let identity = identity.map(|role| MemberCertificate {
        identity: Identity {
            cluster: CLUSTER,
            role,
        },
        serial: "01".to_owned(),
        issued: UnixMs(1_000),
        expires: UnixMs(u64::MAX),
        issuer: String::new(),
    });
    Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", "application/json")
        .extension(identity)
        .body(Body::from(body.get(1..).unwrap_or_default().to_vec()))
        .ok()
}

/// The status of the answer; none when it waits for something.
async fn ask(
    api: &axum::Router,
    request: Request<Body>,
    answer_max: Duration,
) -> Option<StatusCode> {
    let shown = format!("{} {}", request.method(), request.uri());
    let is_head = request.method() == "HEAD";
    let response = timeout(answer_max, api.clone().oneshot(request));
    let response = response.await.ok()?.expect("the router does not fail");
    let status = response.status();
    let whole = timeout(answer_max, to_bytes(response.into_body(), ANSWER_BYTES_MAX));
    let body = whole.await.ok()?;
    if !status.is_success() && !is_head {
        let body = body.expect("a refusal has a body");
        let error: ApiError = serde_json::from_slice(&body)
            .unwrap_or_else(|error| panic!("{shown}: {status}: {error}: {body:?}"));
        assert_ne!(error.code, ErrorCode::Internal, "{shown}: {error}");
        assert!(!error.message.is_empty(), "{shown}");
    }
    Some(status)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::replay;

    #[test]
    fn the_corpora_hold() {
        replay("http_api", http_api);
    }
}
