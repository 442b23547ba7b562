//! The HTTP API of control, version 1: one router for people, programs and nodes.
//!
//! Served over TLS in which everybody shows a certificate of the cluster, except who joins. Bodies
//! and answers are the types of [`flocker_types::api`]; every refusal is an
//! [`ApiError`](flocker_types::api::ApiError) in JSON, with the status that belongs to its code.
//! It translates between HTTP and the core's requests and decides nothing else.
//!
//! Who may use a route is in the router below, before the route itself; `access` sees to it. A user's
//! role includes the ones before it: viewer, operator, admin.
//!
//! | method and path | who | body | answer |
//! |---|---|---|---|
//! | `POST /v1/plan` | viewer | `PlanRequest` | `Plan` |
//! | `POST /v1/deploy` | operator | `DeployRequest` | 202 `Started` |
//! | `POST /v1/services/move` | operator | `MoveRequest` | 202 `Started` |
//! | `POST /v1/services/remove` | operator | `RemoveRequest` | 202 `Started` |
//! | `POST /v1/volumes/remove` | admin | `RemoveVolumeRequest` | 204 |
//! | `POST /v1/volumes/restore` | operator | `RestoreVolumeRequest` | 204 |
//! | `GET /v1/status` | viewer | | `ClusterView` |
//! | `GET /v1/operations/{id}` | viewer | | `OperationView` |
//! | `GET /v1/operations/{id}/end` | viewer | | `OperationView`, once it has ended |
//! | `GET /v1/events?after=SEQ` | viewer | | server-sent `EventRecord`s |
//! | `GET /v1/services/{application}/{name}/logs?tail=N&follow=yes\|no` | viewer | | `LogLine`s, one a line |
//! | `POST /v1/tokens` | admin | `TokenRequest` | `TokenResponse` |
//! | `POST /v1/join` | anybody with a token | `JoinRequest` | `JoinResponse` |
//! | `GET /v1/users` | admin | | `UserRecord`s |
//! | `POST /v1/users` | admin | `AddUserRequest` | `CertificateResponse` |
//! | `POST /v1/revocations` | admin | `RevokeRequest` | 204 |
//! | `POST /v1/nodes/renew` | admin | `RenewNodesRequest` | 204 |
//! | `POST /v1/certificates/renew` | viewer, node | `RenewRequest` | `CertificateResponse` |
//! | `POST /v1/certificates/held` | node | `HeldRequest` | 204 |
//! | `POST /v1/authority/rotate` | admin | `RotateRequest` | 204 |
//! | `POST /v1/authority/drop` | admin | `DropAuthorityRequest` | 204 |
//! | `GET /v1/audit?who=NAME&since=MS&until=MS&limit=N` | admin | | `AuditView` |
//! | `GET /v1/backup` | admin | | a [`Backup`](crate::Backup), line by line |
//! | `GET /v1/health`, `GET /v1/version` | viewer, node | | [`Health`], [`Version`] |
//! | `GET /v1/openapi.json` | viewer, node | | all this, as OpenAPI 3.1 |
//! | `POST /v1/link/agent`, `POST /v1/link/proxy` | node | messages, one a line | messages, one a line |

mod access;
mod audit;
mod authority;
mod expiry;
mod extract;
mod issue;
mod join;
mod openapi;
mod orders;
pub(crate) mod recovering;
mod refusal;
mod room;
mod secrets;
mod streams;
mod subject;
mod views;

pub(crate) use access::Chain;
pub use audit::AUDIT_RECORDS_MAX;
pub use authority::OVERLAP_MS_MAX;
pub use join::TOKEN_VALID_MS_MAX;
pub use views::{Health, Version};

use crate::audit::AuditLog;
use crate::authorities::Authorities;
use crate::certificates::Certificates;
use crate::links::{self, Member};
use crate::shell::Handle;
use access::{Effect, Rule, Who};
use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{Method, StatusCode, Uri};
use axum::response::Response;
use axum::routing::{MethodRouter, get, post};
use extract::Node;
use flocker_net::link::{self, LinkLimits};
use flocker_net::pki::Sealer;
use flocker_net::tls::Credentials;
use flocker_types::access::UserRole;
use flocker_types::api::ErrorCode;
use flocker_types::ids::ClusterId;
use flocker_types::link::MESSAGE_BYTES_MAX;
use join::JoinGate;
use refusal::Refusal;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
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
    /// Where the store is.
    pub(crate) state_dir: PathBuf,
}

/// What every handler has.
pub(crate) struct Api {
    handle: Handle,
    authorities: Arc<Authorities>,
    /// Control's own; what is revoked is in there.
    credentials: Credentials,
    /// For how long certificates are issued.
    validity: Duration,
    certificates: Certificates,
    /// For secrets in plans.
    sealer: Sealer,
    audit: AuditLog,
    facts: ClusterFacts,
    links: LinkLimits,
    joins: JoinGate,
    /// Ends answers that would go on.
    stopping: CancellationToken,
}

/// What the API vouches with, and what it writes down.
pub(crate) struct Office {
    /// Issue certificates.
    pub(crate) authorities: Arc<Authorities>,
    /// What is known of members' certificates.
    pub(crate) certificates: Certificates,
    /// Control's own certificate.
    pub(crate) credentials: Credentials,
    /// For how long certificates are issued.
    pub(crate) validity: Duration,
    /// For secrets in plans.
    pub(crate) sealer: Sealer,
    /// Where requests are written down.
    pub(crate) audit: AuditLog,
}

impl Api {
    pub(crate) fn new(
        handle: Handle,
        office: Office,
        facts: ClusterFacts,
        links: LinkLimits,
        stopping: CancellationToken,
    ) -> Arc<Self> {
        Arc::new(Self {
            handle,
            authorities: office.authorities,
            credentials: office.credentials,
            validity: office.validity,
            certificates: office.certificates,
            sealer: office.sealer,
            audit: office.audit,
            facts,
            links,
            joins: JoinGate::default(),
            stopping,
        })
    }
}

/// Who may, method and path, and what answers.
type Route = (Rule, &'static str, MethodRouter<Arc<Api>>);

fn looks(who: Who, route: &'static str, handler: MethodRouter<Arc<Api>>) -> Route {
    let effect = Effect::Looks;
    (Rule { who, effect }, route, handler)
}

fn changes(who: Who, route: &'static str, handler: MethodRouter<Arc<Api>>) -> Route {
    let effect = Effect::Changes;
    (Rule { who, effect }, route, handler)
}

/// Every route, with who may use it.
fn routes() -> Vec<Route> {
    let plans = DefaultBodyLimit::max(PLAN_BODY_BYTES_MAX);
    let viewer = Who::User(UserRole::Viewer);
    let operator = Who::User(UserRole::Operator);
    let admin = Who::User(UserRole::Admin);
    let logs = "GET /v1/services/{application}/{name}/logs";
    vec![
        looks(viewer, "POST /v1/plan", post(orders::plan).layer(plans)),
        changes(
            operator,
            "POST /v1/deploy",
            post(orders::deploy).layer(plans),
        ),
        changes(
            operator,
            "POST /v1/services/move",
            post(orders::move_service),
        ),
        changes(
            operator,
            "POST /v1/services/remove",
            post(orders::remove_service),
        ),
        changes(
            admin,
            "POST /v1/volumes/remove",
            post(orders::remove_volume),
        ),
        changes(
            operator,
            "POST /v1/volumes/restore",
            post(orders::restore_volume),
        ),
        looks(viewer, "GET /v1/status", get(views::status)),
        looks(viewer, "GET /v1/operations/{id}", get(views::operation)),
        looks(
            viewer,
            "GET /v1/operations/{id}/end",
            get(views::operation_end),
        ),
        looks(viewer, "GET /v1/events", get(streams::events)),
        looks(viewer, logs, get(streams::logs)),
        looks(Who::Member, "GET /v1/health", get(views::health)),
        looks(Who::Member, "GET /v1/version", get(views::version)),
        changes(admin, "POST /v1/tokens", post(join::make_token)),
        changes(Who::Anybody, "POST /v1/join", post(join::join)),
        looks(admin, "GET /v1/users", get(issue::users)),
        changes(admin, "POST /v1/users", post(issue::add_user)),
        changes(admin, "POST /v1/revocations", post(issue::revoke)),
        changes(admin, "POST /v1/nodes/renew", post(issue::renew_nodes)),
        changes(
            Who::Member,
            "POST /v1/certificates/renew",
            post(issue::renew),
        ),
        looks(
            Who::Node,
            "POST /v1/certificates/held",
            post(authority::held),
        ),
        changes(admin, "POST /v1/authority/rotate", post(authority::rotate)),
        changes(admin, "POST /v1/authority/drop", post(authority::drop_old)),
        looks(admin, "GET /v1/audit", get(audit::audit)),
        // It changes nothing, but takes every secret away: that is written down.
        changes(admin, "GET /v1/backup", get(views::backup)),
        looks(Who::Member, "GET /v1/openapi.json", get(openapi::describe)),
        looks(Who::Node, "POST /v1/link/agent", post(agent_link)),
        looks(Who::Node, "POST /v1/link/proxy", post(proxy_link)),
    ]
}

/// The whole API.
pub(crate) fn router(api: Arc<Api>) -> Router {
    let mut router = Router::new();
    for (rule, route, handler) in routes() {
        let (_, path) = route.split_once(' ').unwrap_or_default();
        router = router.route(path, access::gated(&api, rule, handler));
    }
    router
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
        self.certificates.note(&node.certificate);
        Member {
            cluster: self.facts.cluster,
            node: node.id,
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
