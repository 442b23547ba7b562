//! The HTTP API of control, version 1: one router for people, programs and nodes.
//!
//! Served over TLS in which everybody shows a certificate of the cluster, except who joins. Bodies
//! and answers are the types of [`flocker_types::api`]; every refusal is an
//! [`ApiError`](flocker_types::api::ApiError) in JSON, with the status that belongs to its code.
//! It translates between HTTP and the core's requests and decides nothing else.
//!
//! | method and path | who | body | answer |
//! |---|---|---|---|
//! | `POST /v1/plan` | user | `PlanRequest` | `Plan` |
//! | `POST /v1/deploy` | user | `DeployRequest` | 202 `Started` |
//! | `POST /v1/services/move` | user | `MoveRequest` | 202 `Started` |
//! | `POST /v1/services/remove` | user | `RemoveRequest` | 202 `Started` |
//! | `POST /v1/volumes/remove` | user | `RemoveVolumeRequest` | 204 |
//! | `POST /v1/volumes/restore` | user | `RestoreVolumeRequest` | 204 |
//! | `GET /v1/status` | user | | `ClusterView` |
//! | `GET /v1/operations/{id}` | user | | `OperationView` |
//! | `GET /v1/operations/{id}/end` | user | | `OperationView`, once it has ended |
//! | `GET /v1/events?after=SEQ` | user | | server-sent `EventRecord`s |
//! | `GET /v1/services/{application}/{name}/logs?tail=N&follow=yes\|no` | user | | `LogLine`s, one a line |
//! | `POST /v1/tokens` | user | `TokenRequest` | `TokenResponse` |
//! | `POST /v1/join` | anybody with a token | `JoinRequest` | `JoinResponse` |
//! | `GET /v1/health`, `GET /v1/version` | user, node | | [`Health`], [`Version`] |
//! | `POST /v1/link/agent`, `POST /v1/link/proxy` | node | messages, one a line | messages, one a line |

mod extract;
mod join;
mod orders;
mod refusal;
mod streams;
mod views;

pub use join::TOKEN_VALID_MS_MAX;
pub use views::{Health, Version};

use crate::links::{self, Member};
use crate::shell::Handle;
use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{Method, StatusCode, Uri};
use axum::response::Response;
use axum::routing::{get, post};
use extract::Node;
use flocker_net::link::{self, AGENT_PATH, LinkLimits, PROXY_PATH};
use flocker_net::pki::Authority;
use flocker_types::api::ErrorCode;
use flocker_types::ids::ClusterId;
use flocker_types::link::MESSAGE_BYTES_MAX;
use join::JoinGate;
use refusal::Refusal;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Longest body of a request, in bytes.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;
/// Longest application, or plan, in bytes: both grow with the number of services.
pub const PLAN_BODY_BYTES_MAX: usize = MESSAGE_BYTES_MAX;
/// A request that is not meant to wait is answered within this time, in milliseconds.
pub const ANSWER_MS_MAX: u64 = 30_000;
/// A request that waits for an operation's end is answered within this time, in milliseconds.
pub const OPERATION_END_MS_MAX: u64 = 60 * 60 * 1_000;

/// What never changes while control runs.
#[derive(Debug, Clone)]
pub(crate) struct ClusterFacts {
    /// The cluster.
    pub(crate) cluster: ClusterId,
    /// Where nodes reach control.
    pub(crate) control: SocketAddr,
    /// Addresses of services.
    pub(crate) service_network: String,
    /// Addresses of containers.
    pub(crate) container_network: String,
}

/// What every handler has.
pub(crate) struct Api {
    handle: Handle,
    authority: Authority,
    facts: ClusterFacts,
    links: LinkLimits,
    joins: JoinGate,
    /// Ends answers that would go on.
    stopping: CancellationToken,
}

impl Api {
    pub(crate) fn new(
        handle: Handle,
        authority: Authority,
        facts: ClusterFacts,
        links: LinkLimits,
        stopping: CancellationToken,
    ) -> Arc<Self> {
        Arc::new(Self {
            handle,
            authority,
            facts,
            links,
            joins: JoinGate::default(),
            stopping,
        })
    }
}

/// The whole API.
pub(crate) fn router(api: Arc<Api>) -> Router {
    let plans = DefaultBodyLimit::max(PLAN_BODY_BYTES_MAX);
    Router::new()
        .route("/v1/plan", post(orders::plan).layer(plans))
        .route("/v1/deploy", post(orders::deploy).layer(plans))
        .route("/v1/services/move", post(orders::move_service))
        .route("/v1/services/remove", post(orders::remove_service))
        .route("/v1/volumes/remove", post(orders::remove_volume))
        .route("/v1/volumes/restore", post(orders::restore_volume))
        .route("/v1/status", get(views::status))
        .route("/v1/operations/{id}", get(views::operation))
        .route("/v1/operations/{id}/end", get(views::operation_end))
        .route("/v1/health", get(views::health))
        .route("/v1/version", get(views::version))
        .route("/v1/events", get(streams::events))
        .route("/v1/services/{application}/{name}/logs", get(streams::logs))
        .route("/v1/tokens", post(join::make_token))
        .route("/v1/join", post(join::join))
        .route(AGENT_PATH, post(agent_link))
        .route(PROXY_PATH, post(proxy_link))
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(api)
}

/// `POST /v1/link/agent`: the link of a node's agent.
async fn agent_link(State(api): State<Arc<Api>>, node: Node, request: Request) -> Response {
    let member = api.member(&node);
    let (link, response) = link::accept(request.into_body(), api.links);
    tokio::spawn(links::serve_agent(api.handle.clone(), member, link));
    response.map(Body::new)
}

/// `POST /v1/link/proxy`: the link of a node's proxy.
async fn proxy_link(State(api): State<Arc<Api>>, node: Node, request: Request) -> Response {
    let member = api.member(&node);
    let (link, response) = link::accept(request.into_body(), api.links);
    tokio::spawn(links::serve_proxy(api.handle.clone(), member, link));
    response.map(Body::new)
}

impl Api {
    fn member(&self, node: &Node) -> Member {
        Member {
            cluster: self.facts.cluster,
            node: node.0,
        }
    }
}

async fn no_such_path(uri: Uri) -> Refusal {
    Refusal::new(
        StatusCode::NOT_FOUND,
        ErrorCode::NotFound,
        format!("there is no {} in this API", uri.path()),
    )
    .hint("this program and control may have different versions; compare them by /v1/version")
}

async fn no_such_method(method: Method, uri: Uri) -> Refusal {
    Refusal::new(
        StatusCode::METHOD_NOT_ALLOWED,
        ErrorCode::Invalid,
        format!("{} cannot be used with {method}", uri.path()),
    )
    .hint("the header Allow says which method it has")
}
