//! Users, revocation, renewal, and what is written down of all that.

use crate::cluster::{Cluster, LIMIT, join_request, refusal};
use crate::fake::{self, AgentLink, Obedient, ProxyLink};
use flocker_control::StateDirectory;
use flocker_net::client::{ApiClient, ClientError};
use flocker_net::link::{AGENT_PATH, LinkError, LinkLimits, PROXY_PATH, connect};
use flocker_net::pki::{Identity, MemberCertificate, Role, key_and_request};
use flocker_net::tls::Credentials;
use flocker_types::access::{
    AccessNotice, AddUserRequest, AuditAnswer, AuditView, CertificateResponse, RenewNodesRequest,
    RenewRequest, RevokeRequest, Revoked, UserRecord, UserRole,
};
use flocker_types::api::{
    ClusterView, DeployRequest, ErrorCode, JoinResponse, MoveRequest, OperationView, PlanRequest,
    Started, TokenRequest, TokenResponse,
};
use flocker_types::app::{Application, Placement, ServiceSpec};
use flocker_types::ids::{ApplicationName, ServiceName};
use flocker_types::link::{AgentMessage, ToAgent, ToProxy};
use flocker_types::plan::Plan;
use flocker_types::secret::SecretText;
use std::time::{Duration, SystemTime};

/// A user who was let in by control, and the certificate.
async fn let_in(
    cluster: &Cluster,
    name: &str,
    role: UserRole,
) -> Result<(Credentials, MemberCertificate), ClientError> {
    let key = key_and_request().unwrap();
    let request = AddUserRequest {
        name: name.to_owned(),
        role,
        certificate_request: key.request_pem,
    };
    let response: CertificateResponse = cluster.client().post("/v1/users", &request).await?;
    let pem = &response.certificate;
    let credentials = Credentials::from_pem(pem, &key.key_pem, &response.authority).unwrap();
    let certificate = MemberCertificate::from_pem(pem).unwrap();
    Ok((credentials, certificate))
}

/// A client at control's present address.
fn client(cluster: &Cluster, credentials: &Credentials) -> ApiClient {
    ApiClient::new(cluster.address, credentials.clone())
}

async fn revoke(cluster: &Cluster, request: &RevokeRequest) {
    let ops = cluster.client();
    let () = ops.post("/v1/revocations", request).await.unwrap();
}

async fn audit(cluster: &Cluster, query: &str) -> AuditView {
    let path = format!("/v1/audit?limit=1000{query}");
    cluster.client().get(&path).await.unwrap()
}

fn move_of(name: &str) -> MoveRequest {
    MoveRequest {
        service: name.parse().unwrap(),
        node: "n1".to_owned(),
    }
}

#[tokio::test]
async fn a_user_is_let_in_shut_out_at_once_and_let_in_again() {
    let mut cluster = Cluster::start().await;
    let (hers, first) = let_in(&cluster, "ann", UserRole::Operator).await.unwrap();
    let ann = client(&cluster, &hers);
    assert!(matches!(&first.identity.role, Role::User { name, role }
        if name == "ann" && *role == UserRole::Operator));
    ann.get::<ClusterView>("/v1/status").await.unwrap();
    let (status, error) = refusal(let_in(&cluster, "ann", UserRole::Admin).await.map(drop));
    assert_eq!((status, error.code), (409, ErrorCode::Conflict));
    let (status, _) = refusal(let_in(&cluster, "a/b", UserRole::Admin).await.map(drop));
    assert_eq!(status, 400);

    // What goes on for her is cut off too.
    let mut events = ann.stream_lines("/v1/events").await.unwrap();
    revoke(&cluster, &RevokeRequest::User("ann".to_owned())).await;
    let ended = async { while let Some(Ok(_)) = events.next().await {} };
    tokio::time::timeout(LIMIT, ended).await.unwrap();
    let (status, error) = refusal(ann.get::<ClusterView>("/v1/status").await);
    assert_eq!((status, error.code), (403, ErrorCode::Forbidden));
    assert!(error.message.contains("revoked"), "{error:?}");
    cluster.restart().await;
    let ann = client(&cluster, &hers);
    let (status, _) = refusal(ann.get::<ClusterView>("/v1/status").await);
    assert_eq!(status, 403, "after a restart too");
    let users: Vec<UserRecord> = cluster.client().get("/v1/users").await.unwrap();
    assert!(users[0].revoked.is_some());

    let (hers, second) = let_in(&cluster, "ann", UserRole::Viewer).await.unwrap();
    let ann = client(&cluster, &hers);
    assert!(second.issued > first.issued);
    ann.get::<ClusterView>("/v1/status").await.unwrap();
    // One certificate alone.
    revoke(&cluster, &RevokeRequest::Serial(second.serial)).await;
    let (status, _) = refusal(ann.get::<ClusterView>("/v1/status").await);
    assert_eq!(status, 403);
}

#[tokio::test]
async fn a_renewed_certificate_has_the_same_name_and_role_and_another_key() {
    let cluster = Cluster::start().await;
    let (hers, first) = let_in(&cluster, "ann", UserRole::Viewer).await.unwrap();
    let ann = client(&cluster, &hers);
    let renew = async |client: &ApiClient| {
        let key = key_and_request().unwrap();
        let request = RenewRequest {
            certificate_request: key.request_pem,
        };
        let path = "/v1/certificates/renew";
        let response: CertificateResponse = client.post(path, &request).await.unwrap();
        MemberCertificate::from_pem(&response.certificate).unwrap()
    };
    let second = renew(&ann).await;
    assert_eq!(second.identity, first.identity);
    assert_ne!(second.serial, first.serial);
    let users: Vec<UserRecord> = cluster.client().get("/v1/users").await.unwrap();
    assert_eq!(users[0].serial, second.serial);
    let node = ApiClient::new(cluster.address, cluster.node_credentials(cluster.first));
    let renewed = renew(&node).await;
    assert_eq!(renewed.identity.role, Role::Node(cluster.first));
    let view = cluster.status().await;
    let shown: Vec<&str> = view.certificates.iter().map(|c| c.whose.as_str()).collect();
    let expected = [
        "the authority",
        "control",
        "node n1",
        "you (user ops (admin))",
    ];
    assert_eq!(shown, expected);
    assert_eq!(view.certificates[2].serial, renewed.serial);
    assert!(view.certificates.iter().all(|c| c.warning.is_none()));
}

/// The links of the first node's agent and proxy, which are welcome.
async fn linked(cluster: &Cluster, credentials: &Credentials) -> (AgentLink, ProxyLink) {
    let mut agent = fake::agent_link(cluster, credentials).await;
    let hello = fake::agent_hello(cluster.id, cluster.first);
    agent.sender.send(hello).await.unwrap();
    let welcome = fake::next(&mut agent).await;
    assert!(
        matches!(welcome, Some(ToAgent::Welcome { .. })),
        "{welcome:?}"
    );
    let mut proxy = fake::proxy_link(cluster, credentials).await;
    let hello = fake::proxy_hello(cluster.id, cluster.first);
    proxy.sender.send(hello).await.unwrap();
    let welcome = fake::next(&mut proxy).await;
    assert!(
        matches!(welcome, Some(ToProxy::Welcome { .. })),
        "{welcome:?}"
    );
    (agent, proxy)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_nodes_links_are_closed_and_it_comes_back_by_a_token_of_its_own() {
    let cluster = Cluster::start().await;
    let credentials = cluster.node_credentials(cluster.first);
    let (mut agent, mut proxy) = linked(&cluster, &credentials).await;
    let ops = cluster.client();
    let renew = RenewNodesRequest { node: None };
    let () = ops.post("/v1/nodes/renew", &renew).await.unwrap();
    let told = fake::next(&mut agent).await;
    assert_eq!(told, Some(ToAgent::Access(AccessNotice::Renew)));

    revoke(&cluster, &RevokeRequest::Node("n1".to_owned())).await;
    let ended = async { while agent.receiver.recv().await.is_some() {} };
    tokio::time::timeout(LIMIT, ended).await.unwrap();
    let ended = async { while proxy.receiver.recv().await.is_some() {} };
    tokio::time::timeout(LIMIT, ended).await.unwrap();
    for path in [AGENT_PATH, PROXY_PATH] {
        let limits = LinkLimits::default();
        let refused =
            connect::<AgentMessage, ToAgent>(cluster.address, &credentials, path, limits).await;
        let Err(LinkError::Refused { reason, .. }) = refused else {
            panic!("{refused:?}");
        };
        assert!(reason.contains("revoked"), "{reason}");
        assert!(reason.contains("--again"), "{reason}");
    }
    let view = cluster.status().await;
    let mut all = view.certificates.iter();
    let of_node = all.find(|one| one.whose == "node n1").unwrap();
    assert!(of_node.warning.as_ref().unwrap().contains("revoked"));

    let again = joined_again(&cluster).await;
    let (mut agent, _proxy) = linked(&cluster, &again).await;
    // Whoever connects hears what is revoked.
    let told = fake::next(&mut agent).await;
    let Some(ToAgent::Access(AccessNotice::Revoked { revocations })) = told else {
        panic!("{told:?}");
    };
    assert_eq!(revocations[0].whom, Revoked::Node(cluster.first));
    assert_eq!(revocations[0].by, "ops");
}

/// A new certificate for the first node, by a token that is good for nobody else.
async fn joined_again(cluster: &Cluster) -> Credentials {
    let request = TokenRequest {
        valid_ms: 60_000,
        node: Some("n1".to_owned()),
    };
    let ops = cluster.client();
    let token: TokenResponse = ops.post("/v1/tokens", &request).await.unwrap();
    let token = token.token.parse().unwrap();
    let (status, error) = refusal(cluster.join(&token, "n2", 2).await);
    assert_eq!((status, error.code), (409, ErrorCode::Conflict));
    let key = key_and_request().unwrap();
    let mut join = join_request(&token, "n1", 1);
    join.certificate_request = key.request_pem;
    let pinned = ApiClient::pinned(cluster.address, token.authority);
    let joined: JoinResponse = pinned.post("/v1/join", &join).await.unwrap();
    assert_eq!(joined.node, cluster.first);
    Credentials::from_pem(&joined.certificate, &key.key_pem, &joined.authority).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_changed_and_what_is_refused_is_written_down_and_nothing_secret() {
    let mut cluster = Cluster::start().await;
    let node = Obedient::start(&cluster).await;
    let (hers, _) = let_in(&cluster, "eve", UserRole::Viewer).await.unwrap();
    let viewer = client(&cluster, &hers);
    let connected = |view: &ClusterView| {
        matches!(
            view.nodes[0].agent,
            flocker_types::api::LinkView::Connected(_)
        )
    };
    cluster.status_when(connected).await;
    fake::deploy(&cluster, &["web"]).await;
    let (status, _) = refusal(
        viewer
            .post::<_, ()>("/v1/services/move", &move_of("db"))
            .await,
    );
    assert_eq!(status, 403);
    let ops = cluster.client();
    let (status, _) = refusal(ops.post::<_, ()>("/v1/services/move", &move_of("db")).await);
    assert_eq!(status, 404);
    let (token, response) = cluster.token(60_000).await;
    cluster.join(&token, "n2", 2).await.unwrap();
    drop(node);
    cluster.restart().await;
    let view = audit(&cluster, "").await;
    let told: Vec<String> = view
        .records
        .iter()
        .map(|record| {
            let subject = record.subject.clone().unwrap_or_default();
            let who = &record.who;
            format!("{who}: {} {} {subject}", record.request, record.answer)
        })
        .map(|line| line.split(", certificate").next().unwrap().to_owned())
        .collect();
    assert_eq!(
        told[..4],
        [
            "user ops (admin): POST /v1/users allowed let in user eve as viewer",
            "user ops (admin): POST /v1/deploy allowed start shop/web on n1",
            "user eve (viewer): POST /v1/services/move refused ",
            "user ops (admin): POST /v1/services/move failed move db to n1",
        ]
    );
    assert!(told[4].starts_with("user ops (admin): POST /v1/tokens allowed token "));
    assert!(told[5].starts_with("nobody: POST /v1/join allowed join as n2 by token "));
    assert_eq!(told.len(), 6, "looking is not written down: {told:#?}");
    assert!(
        view.records
            .iter()
            .all(|record| record.address.is_loopback())
    );
    let everything = serde_json::to_string(&view).unwrap();
    let secret = token.proof().to_string();
    assert!(!everything.contains(&response.token) && !everything.contains(&secret));

    let of_eve = audit(&cluster, "&who=eve").await.records;
    assert_eq!(of_eve.len(), 1);
    assert_eq!(of_eve[0].answer, AuditAnswer::Refused);
    let reason = of_eve[0].reason.as_deref().unwrap();
    assert!(reason.contains("needs the role operator"), "{reason}");
    let late = audit(&cluster, "&since=99999999999999").await;
    assert!(late.records.is_empty());
}

/// Credentials as they are so many days after they were issued for a year.
fn aged(cluster: &Cluster, role: Role, days: u64) -> Credentials {
    let identity = Identity {
        cluster: cluster.id,
        role,
    };
    let key = key_and_request().unwrap();
    let at = SystemTime::now() - Duration::from_secs(days * 86_400);
    let year = Duration::from_secs(365 * 86_400);
    let signed = cluster
        .authority
        .sign_request_at(&key.request_pem, &identity, year, at);
    let authority = cluster.authority.certificate_pem();
    Credentials::from_pem(&signed.unwrap(), &key.key_pem, authority).unwrap()
}

#[tokio::test]
async fn the_end_of_a_certificate_is_told_weeks_ahead_with_what_to_do() {
    let cluster = Cluster::start().await;
    let role = |name: &str| Role::User {
        name: name.to_owned(),
        role: UserRole::Admin,
    };
    let warnings = async |credentials: &Credentials| {
        let ann = client(&cluster, credentials);
        let view: ClusterView = ann.get("/v1/status").await.unwrap();
        let all = view.certificates.into_iter();
        all.filter_map(|one| Some((one.whose, one.warning?)))
            .collect::<Vec<_>>()
    };
    assert_eq!(warnings(&aged(&cluster, role("ann"), 330)).await, []);
    let told = warnings(&aged(&cluster, role("ann"), 340)).await;
    let expected = "it expires in 24 days: flocker user renew".to_owned();
    assert_eq!(told, [("you (user ann (admin))".to_owned(), expected)]);
    let theirs = aged(&cluster, Role::Node(cluster.first), 350);
    let (_agent, _proxy) = linked(&cluster, &theirs).await;
    let told = warnings(&cluster.user_credentials()).await;
    assert_eq!(told[0].0, "node n1");
    assert!(told[0].1.contains("in 14 days"), "{told:?}");
    assert!(told[0].1.contains("flocker node renew n1"), "{told:?}");
    // Who asks is a user, whoever let that one in.
    let ops = cluster.client();
    let users: Vec<UserRecord> = ops.get("/v1/users").await.unwrap();
    assert_eq!((users.len(), users[0].name.as_str()), (1, "ops"));
}

/// A service with a marked secret, as a manifest asks for it.
fn with_secret(value: &str) -> PlanRequest {
    let mut spec = ServiceSpec::of_image("web:1");
    let secret = SecretText::Plain(value.to_owned());
    spec.secret_environment.insert("API_KEY".to_owned(), secret);
    let name = ServiceName::new("keeper").unwrap();
    PlanRequest {
        application: Application {
            name: ApplicationName::new("vault").unwrap(),
            services: [(name.clone(), spec)].into(),
        },
        placement: Placement {
            services: [(name, "n1".to_owned())].into(),
            ..Placement::default()
        },
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_in_no_answer_and_arrives_all_the_same() {
    let cluster = Cluster::start().await;
    let _node = Obedient::start(&cluster).await;
    let connected = |view: &ClusterView| {
        let node = &view.nodes[0];
        let is_up = |link| matches!(link, flocker_types::api::LinkView::Connected(_));
        is_up(node.agent) && is_up(node.proxy)
    };
    cluster.status_when(connected).await;
    let ops = cluster.client();
    let plan: Plan = ops.post("/v1/plan", &with_secret("hunter2")).await.unwrap();
    let mut told = serde_json::to_string(&plan).unwrap();
    assert!(
        told.contains("API_KEY") && told.contains("sealed"),
        "{told}"
    );
    // Sealed for one variable, of use for no other.
    let mut swapped = plan.clone();
    let secrets = &mut swapped.steps[0].spec.secret_environment;
    let sealed = secrets.remove("API_KEY").unwrap();
    secrets.insert("OTHER".to_owned(), sealed);
    let swapped = DeployRequest { plan: swapped };
    let answer = ops.post::<_, Started>("/v1/deploy", &swapped).await;
    let (status, error) = refusal(answer);
    assert_eq!((status, error.code), (409, ErrorCode::Conflict));
    let deploy = DeployRequest { plan };
    let started: Started = ops.post("/v1/deploy", &deploy).await.unwrap();
    let path = format!("/v1/operations/{}/end", started.operations[0]);
    let view: OperationView = ops.get(&path).await.unwrap();
    told += &serde_json::to_string(&view).unwrap();
    told += &serde_json::to_string(&cluster.status().await).unwrap();
    told += &serde_json::to_string(&audit(&cluster, "").await).unwrap();
    // The same value changes nothing, another one is a change that is not shown.
    let same: Plan = ops.post("/v1/plan", &with_secret("hunter2")).await.unwrap();
    assert!(same.steps.is_empty(), "{same:?}");
    let other: Plan = ops.post("/v1/plan", &with_secret("hunter3")).await.unwrap();
    assert_eq!(
        other.steps[0].changes,
        ["secret environment: API_KEY changed"]
    );
    told += &serde_json::to_string(&other).unwrap();
    assert!(!told.contains("hunter"), "{told}");
    let path = StateDirectory::new(cluster.directory.path()).store();
    let store = String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned();
    assert!(store.contains("hunter2"), "control itself knows it");
}

/// The core carries a plan out as it is. One that no plan of its own could be ended it once: a start that
/// goes nowhere.
#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_control_has_not_made_is_refused_and_harms_nothing() {
    let cluster = Cluster::start().await;
    let _node = Obedient::start(&cluster).await;
    let ops = cluster.client();
    let plan: Plan = ops.post("/v1/plan", &with_secret("hunter2")).await.unwrap();
    let mut nowhere = plan.clone();
    nowhere.steps[0].target = None;
    let mut unsealed = plan.clone();
    unsealed.seal.clear();
    let mut renamed = plan.clone();
    renamed.warnings.push("all is well".to_owned());
    let mut in_the_open = plan.clone();
    let secrets = &mut in_the_open.steps[0].spec.secret_environment;
    secrets.insert("API_KEY".to_owned(), SecretText::Plain("mine".to_owned()));
    for plan in [nowhere, unsealed, renamed, in_the_open] {
        let answer = ops
            .post::<_, Started>("/v1/deploy", &DeployRequest { plan })
            .await;
        let (status, error) = refusal(answer);
        assert_eq!((status, error.code), (409, ErrorCode::Conflict));
        assert!(
            error.message.contains("no plan that control has made"),
            "{error:?}"
        );
    }
    // Control still answers, and takes the plan that it made.
    let started = ops
        .post::<_, Started>("/v1/deploy", &DeployRequest { plan })
        .await;
    assert_eq!(started.unwrap().operations.len(), 1);
}
