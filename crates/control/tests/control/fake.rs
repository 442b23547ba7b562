//! Agents and proxies that say what real ones would say, and have nothing behind it.

use crate::cluster::{Cluster, LIMIT};
use flocker_net::link::{AGENT_PATH, Link, LinkLimits, PROXY_PATH, connect};
use flocker_net::pki::Role;
use flocker_net::tls::Credentials;
use flocker_types::api::{DeployRequest, LogLine, LogStream, PlanRequest, Started};
use flocker_types::app::{Application, Placement, ServiceSpec};
use flocker_types::ids::{ApplicationName, BootId, ClusterId, NodeId, ServiceName};
use flocker_types::link::{AgentHello, AgentMessage, Follow, ProxyMessage, ToAgent, ToProxy};
use flocker_types::plan::Plan;
use flocker_types::task::{
    ContainerState, Directive, Prepared, ServiceStatus, TaskOutcome, TaskReport, Want, Work,
};
use flocker_types::time::UnixMs;
use flocker_types::volume::{PoolUsage, StorageKind};
use std::net::Ipv4Addr;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use uuid::Uuid;

pub(crate) type AgentLink = Link<AgentMessage, ToAgent>;
pub(crate) type ProxyLink = Link<ProxyMessage, ToProxy>;

pub(crate) fn agent_hello(cluster: ClusterId, node: NodeId) -> AgentMessage {
    AgentMessage::Hello(Box::new(AgentHello {
        cluster,
        node,
        name: None,
        boot: BootId(Uuid::new_v4()),
        version: "test".to_owned(),
        stream_address: "127.0.0.1:1".parse().unwrap(),
        node_address: Ipv4Addr::LOCALHOST,
        storage: StorageKind::Btrfs,
        pool: PoolUsage {
            size_bytes: 1 << 30,
            free_bytes: 1 << 30,
        },
        volumes: Vec::new(),
        services: Vec::new(),
    }))
}

pub(crate) fn proxy_hello(cluster: ClusterId, node: NodeId) -> ProxyMessage {
    ProxyMessage::Hello {
        cluster,
        node,
        version: "test".to_owned(),
        tunnel: "127.0.0.1:2".parse().unwrap(),
    }
}

/// A link as an agent opens it, with nothing said yet.
pub(crate) async fn agent_link(cluster: &Cluster, credentials: &Credentials) -> AgentLink {
    let limits = LinkLimits::default();
    connect(cluster.address, credentials, AGENT_PATH, limits)
        .await
        .unwrap()
}

/// A link as a proxy opens it, with nothing said yet.
pub(crate) async fn proxy_link(cluster: &Cluster, credentials: &Credentials) -> ProxyLink {
    let limits = LinkLimits::default();
    connect(cluster.address, credentials, PROXY_PATH, limits)
        .await
        .unwrap()
}

pub(crate) async fn next<Out, In>(link: &mut Link<Out, In>) -> Option<In> {
    tokio::time::timeout(LIMIT, link.receiver.recv())
        .await
        .unwrap()
}

/// An agent and a proxy on the first node that do at once whatever they are told.
pub(crate) struct Obedient {
    tasks: Vec<JoinHandle<()>>,
    /// Numbers of the logs that the agent was told to end.
    pub(crate) ended_logs: mpsc::Receiver<u64>,
}

impl Drop for Obedient {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Obedient {
    pub(crate) async fn start(cluster: &Cluster) -> Self {
        let credentials = cluster.credentials(Role::Node(cluster.first));
        let agent = agent_link(cluster, &credentials).await;
        let proxy = proxy_link(cluster, &credentials).await;
        agent
            .sender
            .send(agent_hello(cluster.id, cluster.first))
            .await
            .unwrap();
        proxy
            .sender
            .send(proxy_hello(cluster.id, cluster.first))
            .await
            .unwrap();
        let (ended, ended_logs) = mpsc::channel(16);
        Self {
            ended_logs,
            tasks: vec![
                tokio::spawn(obey_as_agent(agent, ended)),
                tokio::spawn(obey_as_proxy(proxy)),
            ],
        }
    }
}

async fn obey_as_agent(mut link: AgentLink, ended_logs: mpsc::Sender<u64>) {
    while let Some(message) = link.receiver.recv().await {
        if let ToAgent::LogsEnd { request } = message {
            ended_logs.try_send(request).unwrap();
        }
        for answer in agent_answers(message) {
            if link.sender.send(answer).await.is_err() {
                return;
            }
        }
    }
}

fn agent_answers(message: ToAgent) -> Vec<AgentMessage> {
    match message {
        ToAgent::Task(task) => {
            let outcome = match task.work {
                Work::Prepare { .. } => TaskOutcome::Prepared(prepared()),
                _ => TaskOutcome::Done,
            };
            vec![AgentMessage::Task(TaskReport {
                id: task.id,
                result: Ok(outcome),
            })]
        }
        ToAgent::Directive(directive) => vec![AgentMessage::Service(status(directive))],
        ToAgent::Welcome { directives } => directives
            .into_iter()
            .map(|directive| AgentMessage::Service(status(directive)))
            .collect(),
        ToAgent::Logs {
            request, follow, ..
        } => {
            let line = |text: &str| LogLine {
                stream: LogStream::Stdout,
                text: text.to_owned(),
            };
            vec![AgentMessage::Log {
                request,
                lines: vec![line("one"), line("two")],
                end: (follow == Follow::No).then_some(Ok(())),
            }]
        }
        ToAgent::Recall => vec![AgentMessage::Memory(Box::default())],
        ToAgent::LogsEnd { .. }
        | ToAgent::Cancel(_)
        | ToAgent::Recorded(_)
        | ToAgent::Access(_)
        | ToAgent::Heartbeat => Vec::new(),
    }
}

pub(crate) fn prepared() -> Prepared {
    Prepared {
        image_id: "sha256:0".to_owned(),
        exposed_ports: vec![80],
        address: Ipv4Addr::new(10, 214, 0, 2),
    }
}

fn status(directive: Directive) -> ServiceStatus {
    let state = match directive.want {
        Want::Run { .. } => ContainerState::Running {
            prepared: prepared(),
            start_ms: Some(1),
            since: UnixMs(1),
        },
        Want::Stopped => ContainerState::Stopped {
            exit_code: Some(0),
            stop_ms: Some(1),
        },
        Want::Absent => ContainerState::Absent,
    };
    ServiceStatus {
        service: directive.service,
        generation: directive.generation,
        state,
    }
}

async fn obey_as_proxy(mut link: ProxyLink) {
    while let Some(message) = link.receiver.recv().await {
        let routes = match message {
            ToProxy::Welcome { routes } => routes,
            ToProxy::Route(route) => vec![route],
            ToProxy::Gone { .. } | ToProxy::Access(_) | ToProxy::Heartbeat => Vec::new(),
        };
        for route in routes {
            let applied = ProxyMessage::Applied {
                service: route.service,
                generation: route.generation,
                held: 0,
            };
            if link.sender.send(applied).await.is_err() {
                return;
            }
        }
    }
}

/// Deploys services without volumes on the first node, by plan and deployment.
pub(crate) async fn deploy(cluster: &Cluster, names: &[&str]) -> Started {
    let service = |name: &&str| {
        (
            ServiceName::new(*name).unwrap(),
            ServiceSpec::of_image("web:1"),
        )
    };
    let request = PlanRequest {
        application: Application {
            name: ApplicationName::new("shop").unwrap(),
            services: names.iter().map(service).collect(),
        },
        placement: Placement {
            services: names
                .iter()
                .map(|name| (ServiceName::new(*name).unwrap(), "n1".to_owned()))
                .collect(),
            ..Placement::default()
        },
    };
    let client = cluster.client();
    let plan: Plan = client.post("/v1/plan", &request).await.unwrap();
    client
        .post("/v1/deploy", &DeployRequest { plan })
        .await
        .unwrap()
}
