//! Certificates that are not what they should be, or of somebody else; roles; a join token used again.

use super::table::Table;
use super::{Listener, NodeOr, Stage, answer, credentials_of, end_of, user};
use flocker_net::client::{ApiClient, ClientError};
use flocker_net::link::{self, AGENT_PATH, LinkLimits};
use flocker_net::pki::{Authority, JoinToken, Role, key_and_request};
use flocker_net::tls::Credentials;
use flocker_testkit::sandbox::Role as Process;
use flocker_types::access::UserRole;
use flocker_types::api::{JoinRequest, JoinResponse};
use flocker_types::ids::{BootId, Epoch, NodeId};
use flocker_types::link::{AgentHello, AgentMessage, ToAgent};
use flocker_types::volume::{PoolUsage, Role as CopyRole, StorageKind, VolumeCopy, VolumeLabel};
use std::time::{Duration, SystemTime};
use uuid::Uuid;

const STATUS: &[u8] = b"GET /v1/status HTTP/1.1\r\nhost: flocker.internal\r\n\r\n";
/// What a lesser role may not, with the body that it needs.
const OPERATORS: [(&str, &str); 4] = [
    ("POST", "/v1/deploy"),
    ("POST", "/v1/services/move"),
    ("POST", "/v1/services/remove"),
    ("POST", "/v1/volumes/restore"),
];
const ADMINS: [(&str, &str); 10] = [
    ("POST", "/v1/volumes/remove"),
    ("POST", "/v1/tokens"),
    ("GET", "/v1/users"),
    ("POST", "/v1/users"),
    ("POST", "/v1/revocations"),
    ("POST", "/v1/nodes/renew"),
    ("POST", "/v1/authority/rotate"),
    ("POST", "/v1/authority/drop"),
    ("GET", "/v1/audit"),
    ("GET", "/v1/backup"),
];

pub(super) async fn try_all(stage: &Stage, table: &mut Table) {
    let other = Authority::create(stage.authority.cluster()).unwrap();
    let hours_ago = SystemTime::now() - Duration::from_secs(48 * 60 * 60);
    for listener in &stage.listeners() {
        let role = || stage.member_of(listener);
        let stranger = credentials_of(&other, &stage.authority, role(), SystemTime::now());
        let attack = "a certificate for a member's name, signed by another authority";
        stage
            .attack(
                table,
                attack,
                listener.name,
                greet(stage, listener, &stranger),
            )
            .await;
        let late = credentials_of(&stage.authority, &stage.authority, role(), hours_ago);
        stage
            .attack(
                table,
                "an expired certificate",
                listener.name,
                greet(stage, listener, &late),
            )
            .await;
    }
    revoked(stage, table).await;
    of_another_kind(stage, table).await;
    roles(stage, table).await;
    another_nodes_name(stage, table).await;
    Box::pin(false_reports(stage, table)).await;
}

/// What a connection with these credentials comes to: at control a request is made.
async fn greet(stage: &Stage, listener: &Listener, credentials: &Credentials) -> String {
    let mut stream = match stage.open(listener, credentials).await {
        Ok(stream) => stream,
        Err(error) => return super::refusal_in(&error.to_string()),
    };
    match listener.expect {
        NodeOr::Control => answer(&mut stream, STATUS).await,
        NodeOr::Node(_) => end_of(&mut stream, Duration::from_secs(3)).await,
    }
}

async fn revoked(stage: &Stage, table: &mut Table) {
    for listener in &stage.listeners() {
        let credentials = stage.credentials(stage.member_of(listener));
        let before = greet(stage, listener, &credentials).await;
        let let_in = ["200", "open"].contains(&before.as_str());
        assert!(let_in, "{} before it is revoked: {before}", listener.name);
        let mut open = stage.open(listener, &credentials).await.unwrap();
        let serial = credentials.certificate().serial;
        let words = ["user", "revoke", "--serial", &serial, "--yes"];
        stage.cluster.run(&words).await;
        stage
            .attack(
                table,
                "a connection that is open when its certificate is revoked",
                listener.name,
                end_of(&mut open, Duration::from_secs(10)),
            )
            .await;
        stage
            .attack(
                table,
                "a revoked certificate",
                listener.name,
                greet(stage, listener, &credentials),
            )
            .await;
    }
}

async fn of_another_kind(stage: &Stage, table: &mut Table) {
    let node = stage.credentials(Role::Node(stage.nodes[2]));
    let control = stage.control();
    let doing = greet(stage, &control, &node);
    stage
        .attack(
            table,
            "a node's certificate on a route for people",
            "control, 4523",
            doing,
        )
        .await;
    let admin = stage.credentials(user("mallory", UserRole::Admin));
    let attack = "an admin's certificate where nodes talk";
    for listener in [stage.agent(), stage.tunnels()] {
        let doing = greet(stage, &listener, &admin);
        stage.attack(table, attack, listener.name, doing).await;
    }
    let doing = async {
        let link = link::connect::<AgentMessage, ToAgent>(
            stage.control().at,
            &admin,
            AGENT_PATH,
            LinkLimits::default(),
        );
        match link.await {
            Ok(_) => "a link".to_owned(),
            Err(link::LinkError::Refused { status, .. }) => status.as_u16().to_string(),
            Err(error) => error.to_string(),
        }
    };
    stage
        .attack(
            table,
            "an admin's certificate on a node's link",
            "control, 4523",
            doing,
        )
        .await;
}

/// The status of each answer, once if they are all the same.
async fn statuses(stage: &Stage, role: UserRole, routes: &[(&str, &str)]) -> String {
    let credentials = stage.credentials(user("mallory", role));
    let mut seen: Vec<String> = Vec::new();
    for (method, path) in routes {
        let mut stream = stage.open(&stage.control(), &credentials).await.unwrap();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: flocker.internal\r\ncontent-type: application/json\r\n\
             content-length: 2\r\n\r\n{{}}"
        );
        let status = answer(&mut stream, request.as_bytes()).await;
        if !seen.contains(&status) {
            seen.push(status);
        }
    }
    format!("{} on each of {}", seen.join(", "), routes.len())
}

async fn roles(stage: &Stage, table: &mut Table) {
    let all: Vec<_> = OPERATORS.into_iter().chain(ADMINS).collect();
    let viewer = statuses(stage, UserRole::Viewer, &all);
    let attack = "a viewer on the routes of operators and admins";
    stage.attack(table, attack, "control, 4523", viewer).await;
    let operator = statuses(stage, UserRole::Operator, &ADMINS);
    let attack = "an operator on the routes of admins";
    stage.attack(table, attack, "control, 4523", operator).await;
}

fn hello(stage: &Stage, node: NodeId) -> AgentMessage {
    let address = stage.cluster.address("n3");
    AgentMessage::Hello(Box::new(AgentHello {
        cluster: stage.authority.cluster(),
        node,
        name: None,
        boot: BootId(Uuid::from_u128(1)),
        version: "0".to_owned(),
        stream_address: (address, super::AGENT_PORT).into(),
        node_address: address,
        storage: StorageKind::Btrfs,
        pool: PoolUsage {
            size_bytes: 1 << 40,
            free_bytes: 1 << 40,
        },
        volumes: Vec::new(),
        services: Vec::new(),
    }))
}

async fn another_nodes_name(stage: &Stage, table: &mut Table) {
    let own = stage.credentials(Role::Node(stage.nodes[2]));
    let doing = async {
        let link = link::connect::<AgentMessage, ToAgent>(
            stage.control().at,
            &own,
            AGENT_PATH,
            LinkLimits::default(),
        );
        let mut link = link.await.unwrap();
        link.sender
            .send(hello(stage, stage.nodes[1]))
            .await
            .unwrap();
        let limit = Duration::from_secs(10);
        match tokio::time::timeout(limit, link.receiver.recv()).await {
            Ok(None) => "the link is closed, nothing is said on it".to_owned(),
            Ok(Some(message)) => format!("{message:?}"),
            Err(_) => "open".to_owned(),
        }
    };
    stage
        .attack(
            table,
            "a node's certificate with another node's hello",
            "control, 4523",
            doing,
        )
        .await;
}

/// The attacker takes the place of n3's own agent.
async fn false_reports(stage: &Stage, table: &mut Table) {
    stage.cluster.kill("n3", Process::Agent).await;
    let own = stage.credentials(Role::Node(stage.nodes[2]));
    let doing = async {
        let link = link::connect::<AgentMessage, ToAgent>(
            stage.control().at,
            &own,
            AGENT_PATH,
            LinkLimits::default(),
        );
        let mut link = link.await.unwrap();
        link.sender
            .send(hello(stage, stage.nodes[2]))
            .await
            .unwrap();
        let welcome = link.receiver.recv().await;
        assert!(
            matches!(welcome, Some(ToAgent::Welcome { .. })),
            "{welcome:?}"
        );
        let before = stage.cluster.view().await.volumes;
        let label = VolumeLabel {
            cluster: stage.authority.cluster(),
            id: stage.volume,
            application: before[0].application.clone(),
            name: before[0].name.clone(),
            epoch: Epoch(99),
            size_bytes_max: None,
            service: None,
        };
        let copy = VolumeCopy {
            label,
            role: CopyRole::Holder,
            snapshots: Vec::new(),
            used_bytes: None,
        };
        link.sender.send(AgentMessage::Volume(copy)).await.unwrap();
        let gone = AgentMessage::VolumeGone {
            volume: stage.volume,
        };
        link.sender.send(gone).await.unwrap();
        // What came before on the link has been taken when this is.
        let pool = PoolUsage {
            size_bytes: 1 << 39,
            free_bytes: 1 << 38,
        };
        link.sender.send(AgentMessage::Pool(pool)).await.unwrap();
        let taken = async {
            loop {
                let view = stage.cluster.view().await;
                let node = view.nodes.iter().find(|one| one.id == stage.nodes[2]);
                if node.and_then(|node| node.pool) == Some(pool) {
                    return view.volumes;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let after = tokio::time::timeout(Duration::from_secs(20), taken).await;
        match after {
            Ok(after) if after == before => "not believed, nothing changes".to_owned(),
            Ok(after) => format!("{before:?} became {after:?}"),
            Err(_) => "the reports were not taken".to_owned(),
        }
    };
    let attack =
        "a node says that it holds another node's volume in a higher epoch, then that it is gone";
    stage.attack(table, attack, "control, 4523", doing).await;
    stage.cluster.start("n3", Process::Agent).await.unwrap();
    stage.cluster.await_ready().await.unwrap();
}

pub(super) async fn replayed_token(stage: &Stage, table: &mut Table) {
    let token = stage.cluster.run(&["token"]).await;
    let token: JoinToken = token.trim().parse().unwrap();
    let join = async |name: &str, last: u8| -> Result<JoinResponse, ClientError> {
        let client = ApiClient::pinned(stage.control().at, token.authority);
        let request = JoinRequest {
            token: token.proof().to_string(),
            name: name.parse().unwrap(),
            address: stage.cluster.record().subnet.address(last),
            certificate_request: key_and_request().unwrap().request_pem,
        };
        client.post("/v1/join", &request).await
    };
    join("newcomer", 90).await.unwrap();
    let doing = async {
        match join("mallory", 91).await {
            Ok(response) => format!("a certificate for {}", response.node),
            Err(ClientError::Refused { status, .. }) => status.as_u16().to_string(),
            Err(error) => error.to_string(),
        }
    };
    stage
        .attack(
            table,
            "a join token that was used before",
            "control, 4523",
            doing,
        )
        .await;
    let doing = async {
        let client = ApiClient::pinned(stage.control().at, token.authority);
        let view: Result<serde_json::Value, _> = client.get("/v1/status").await;
        match view {
            Ok(_) => "the status".to_owned(),
            Err(ClientError::Refused { status, .. }) => status.as_u16().to_string(),
            Err(error) => error.to_string(),
        }
    };
    stage
        .attack(
            table,
            "no certificate, on another route than that for joining",
            "control, 4523",
            doing,
        )
        .await;
}
