//! Requests: who may make them, and what those hear that are not well formed.

use crate::cluster::{Cluster, init_request, refusal};
use crate::raw;
use bytes::Bytes;
use flocker_control::api::{BODY_BYTES_MAX, Health, Version};
use flocker_control::{Bound, ControlConfig, ControlError, InitError, LoadError, initialise};
use flocker_net::client::ApiClient;
use flocker_net::pki::Role;
use flocker_types::access::UserRole;
use flocker_types::api::ErrorCode;
use http_body_util::Full;
use hyper::Request;
use std::net::Ipv4Addr;

const OPERATOR_ROUTES: [(&str, &str); 4] = [
    ("POST", "/v1/deploy"),
    ("POST", "/v1/services/move"),
    ("POST", "/v1/services/remove"),
    ("POST", "/v1/volumes/restore"),
];
const ADMIN_ROUTES: [(&str, &str); 8] = [
    ("POST", "/v1/volumes/remove"),
    ("POST", "/v1/tokens"),
    ("GET", "/v1/users"),
    ("POST", "/v1/users"),
    ("POST", "/v1/revocations"),
    ("POST", "/v1/nodes/renew"),
    ("GET", "/v1/audit"),
    ("GET", "/v1/backup"),
];
const VIEWER_ROUTES: [(&str, &str); 8] = [
    ("POST", "/v1/plan"),
    ("GET", "/v1/status"),
    ("GET", "/v1/operations/6d0b2a6c-8f6f-4a3e-9a52-51e5cf0f3e0a"),
    (
        "GET",
        "/v1/operations/6d0b2a6c-8f6f-4a3e-9a52-51e5cf0f3e0a/end",
    ),
    ("GET", "/v1/events"),
    ("GET", "/v1/services/shop/db/logs"),
    // Not even whether they are well formed is said to those who may not ask.
    ("GET", "/v1/operations/nonsense"),
    ("GET", "/v1/events?nonsense=1"),
];
const NODE_ROUTES: [(&str, &str); 2] = [("POST", "/v1/link/agent"), ("POST", "/v1/link/proxy")];
const MEMBER_ROUTES: [(&str, &str); 4] = [
    ("GET", "/v1/health"),
    ("GET", "/v1/version"),
    ("GET", "/v1/openapi.json"),
    ("POST", "/v1/certificates/renew"),
];

fn request((method, path): (&str, &str)) -> Request<Full<Bytes>> {
    let mut request = raw::post(path, "{}");
    *request.method_mut() = method.parse().unwrap();
    request
}

#[tokio::test]
async fn each_route_is_for_those_who_may() {
    let cluster = Cluster::start().await;
    let node = cluster.node_credentials(cluster.first);
    let user = cluster.user_credentials();
    let forbidden = async |credentials, route| {
        let (status, error) = raw::refusal(&cluster, credentials, request(route)).await;
        assert_eq!(
            (status, error.code),
            (403, ErrorCode::Forbidden),
            "{route:?}"
        );
        assert!(error.hint.is_some());
    };
    let of_users = || {
        let viewers = VIEWER_ROUTES.into_iter();
        viewers.chain(OPERATOR_ROUTES).chain(ADMIN_ROUTES)
    };
    for route in of_users() {
        forbidden(Some(&node), route).await;
    }
    for route in NODE_ROUTES {
        forbidden(Some(&user), route).await;
    }
    for route in of_users().chain(NODE_ROUTES).chain(MEMBER_ROUTES) {
        forbidden(None, route).await;
    }
    // Control's own certificate is for being talked to.
    let control = cluster.credentials(Role::Control);
    for route in of_users().chain(NODE_ROUTES).chain(MEMBER_ROUTES) {
        forbidden(Some(&control), route).await;
    }
    let by_node = ApiClient::new(cluster.address, node);
    for client in [by_node, cluster.client()] {
        let health: Health = client.get("/v1/health").await.unwrap();
        assert_eq!(health.status, "ok");
        let version: Version = client.get("/v1/version").await.unwrap();
        assert_eq!(version.cluster, cluster.id);
    }
}

#[tokio::test]
async fn a_role_may_what_the_lesser_ones_may_and_no_more() {
    let cluster = Cluster::start().await;
    let allowed = async |role, route| {
        let credentials = cluster.user("ann", role);
        let response = raw::send(&cluster, Some(&credentials), request(route)).await;
        response.status().as_u16() != 403
    };
    let tables: [(UserRole, &[(&str, &str)]); 3] = [
        (UserRole::Viewer, &VIEWER_ROUTES),
        (UserRole::Operator, &OPERATOR_ROUTES),
        (UserRole::Admin, &ADMIN_ROUTES),
    ];
    for (needed, routes) in tables {
        for route in routes {
            // These wait or go on; that they begin is enough.
            for role in UserRole::ALL {
                let may = allowed(role, *route).await;
                assert_eq!(may, role >= needed, "{role} {route:?}");
            }
        }
    }
    let viewer = ApiClient::new(cluster.address, cluster.user("eve", UserRole::Viewer));
    let answer = viewer.post::<_, ()>("/v1/services/move", &"").await;
    let (_, error) = refusal(answer);
    assert_eq!(
        error.message,
        "/v1/services/move needs the role operator, and eve is viewer"
    );
    assert!(error.hint.unwrap().contains("--role operator"));
}

type Case = (Request<Full<Bytes>>, u16, ErrorCode, &'static str);

fn bad_paths() -> [Case; 9] {
    let operation = "/v1/operations/6d0b2a6c-8f6f-4a3e-9a52-51e5cf0f3e0a";
    let (invalid, unknown) = (ErrorCode::Invalid, ErrorCode::NotFound);
    [
        (raw::get("/v1/nothing"), 404, unknown, "/v1/nothing"),
        (raw::get("/"), 404, unknown, "/"),
        (raw::get("/v1/plan"), 405, invalid, "GET"),
        (raw::get(operation), 404, unknown, "6d0b2a6c"),
        (
            raw::get("/v1/operations/7"),
            400,
            invalid,
            "/v1/operations/7",
        ),
        (raw::get("/v1/events?after=x"), 400, invalid, "after=x"),
        (raw::get("/v1/events?since=7"), 400, invalid, "since"),
        (raw::get("/v1/services/shop/-/logs"), 400, invalid, "letter"),
        (
            raw::get("/v1/services/shop/db/logs"),
            404,
            unknown,
            "shop/db",
        ),
    ]
}

fn bad_bodies() -> [Case; 5] {
    let path = "/v1/services/remove";
    let mut plain = raw::post(path, r#"{"service":"db"}"#);
    plain.headers_mut().remove("content-type");
    let long = vec![b' '; BODY_BYTES_MAX + 1];
    let missing = r#"{"application":{"name":"shop","services":{"db":{}}},"placement":{}}"#;
    let invalid = ErrorCode::Invalid;
    [
        (plain, 415, invalid, "application/json"),
        (raw::post(path, "{\"service\":\n7"), 400, invalid, "line 2"),
        (
            raw::post(path, r#"{"service":"-"}"#),
            400,
            invalid,
            "service",
        ),
        (
            raw::post("/v1/plan", missing),
            400,
            invalid,
            "application.services.db",
        ),
        (raw::post(path, long), 413, invalid, "limit"),
    ]
}

#[tokio::test]
async fn what_is_not_well_formed_is_refused_with_the_place() {
    let cluster = Cluster::start().await;
    let user = cluster.user_credentials();
    for (request, status, code, said) in bad_paths().into_iter().chain(bad_bodies()) {
        let what = format!("{} {}", request.method(), request.uri());
        let (found, error) = raw::refusal(&cluster, Some(&user), request).await;
        assert_eq!((found, error.code), (status, code), "{what}: {error:?}");
        assert!(
            error.message.contains(said),
            "{what}: {error:?} lacks {said}"
        );
    }
}

#[tokio::test]
async fn a_cluster_is_made_once_and_control_says_why_it_does_not_start() {
    let directory = tempfile::tempdir().unwrap();
    let request = init_request();
    let listen = "127.0.0.1:0".parse().unwrap();
    let config = || ControlConfig::new(listen, directory.path().to_owned(), request.node);
    let early = Bound::open(config()).await.err().unwrap();
    assert!(
        matches!(early, ControlError::Load(LoadError::NoCluster)),
        "{early:?}"
    );
    initialise(directory.path(), &request).unwrap();
    let again = initialise(directory.path(), &init_request()).err().unwrap();
    assert!(matches!(again, InitError::Exists { .. }), "{again:?}");

    let first = Bound::open(config()).await.unwrap();
    let second = Bound::open(config()).await.err().unwrap();
    assert!(matches!(second, ControlError::Store(_)), "{second:?}");
    let mut taken = config();
    taken.api_listen = first.address();
    drop(first);
    let _occupied = std::net::TcpListener::bind(taken.api_listen).unwrap();
    let refused = Bound::open(taken).await.err().unwrap();
    assert!(
        matches!(refused, ControlError::Listen { .. }),
        "{refused:?}"
    );

    let other = tempfile::tempdir().unwrap();
    let mut overlapping = init_request();
    overlapping.container_network = "10.0.0.0/8".parse().unwrap();
    let refused = initialise(other.path(), &overlapping).err().unwrap();
    assert!(matches!(refused, InitError::Overlap { .. }), "{refused:?}");
    overlapping.container_network = "10.214.0.0/16".parse().unwrap();
    overlapping.address = Ipv4Addr::new(10, 214, 255, 255);
    let refused = initialise(other.path(), &overlapping).err().unwrap();
    assert!(matches!(refused, InitError::Overlap { .. }), "{refused:?}");
}
