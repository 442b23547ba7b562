//! One example of every message and record, for the tests of their JSON. Every variant is here,
//! with its optional parts once present and once absent.

use flocker_types::api::{LogLine, LogStream};
use flocker_types::app::{
    DependencyCondition, HealthCheck, Link, LinkTarget, PortMapping, RestartPolicy, ServiceSpec,
    VolumeMount,
};
use flocker_types::ids::{
    BootId, ClusterId, Epoch, Generation, NodeId, OperationId, ServiceId, SnapshotName, TaskId,
    VolumeId,
};
use flocker_types::link::{AgentHello, AgentMessage, Follow, ProxyMessage, ToAgent, ToProxy};
use flocker_types::operation::{
    HeldConnections, Operation, OperationKind, OperationStatus, OperationVolume, Phase, Prediction,
    ProvedHead, Round,
};
use flocker_types::plan::{Plan, PlanStep, PlannedVolume};
use flocker_types::route::{Backend, Route, RoutePort, RouteState};
use flocker_types::stream::{StreamReply, StreamRequest};
use flocker_types::task::{
    ContainerSpec, ContainerState, CopiedVolume, CopyVolume, Directive, Failure, IncomingVolume,
    Peer, Prepared, Retry, ServiceStatus, Task, TaskOutcome, TaskProgress, TaskReport, VolumeClaim,
    Want, Work,
};
use flocker_types::time::UnixMs;
use flocker_types::volume::{
    Checksum, PoolUsage, Role, ServiceDescription, Snapshot, StorageKind, VolumeCopy, VolumeLabel,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use uuid::Uuid;

fn cluster() -> ClusterId {
    ClusterId(Uuid::from_u128(0xC))
}

fn node(number: u128) -> NodeId {
    NodeId(Uuid::from_u128(0xA0 + number))
}

fn volume_id() -> VolumeId {
    VolumeId(Uuid::from_u128(0xE0))
}

fn service() -> ServiceId {
    "shop/db".parse().unwrap()
}

fn task_id() -> TaskId {
    TaskId {
        operation: OperationId(Uuid::from_u128(0x0B)),
        sequence: 3,
    }
}

fn snapshot(sequence: u32) -> SnapshotName {
    SnapshotName::new(format!("e1-s{sequence}-0000000b")).unwrap()
}

fn checksum() -> Checksum {
    Checksum("5f".repeat(32))
}

fn failure() -> Failure {
    Failure {
        message: "cannot pull the image postgres:16: no route to host".to_owned(),
        retry: Retry::MayHelp,
    }
}

/// A service that says everything.
pub(crate) fn full_spec() -> ServiceSpec {
    ServiceSpec {
        command: Some(vec!["postgres".into(), "-c".into(), "fsync=on".into()]),
        environment: BTreeMap::from([("PGDATA".to_owned(), "/data/db".to_owned())]),
        ports: vec![PortMapping {
            internal: 5432,
            external: 15432,
        }],
        expose: BTreeSet::from([5433]),
        links: vec![
            Link {
                alias: "cache".to_owned(),
                target: LinkTarget::Service("redis".parse().unwrap()),
            },
            Link {
                alias: "old".to_owned(),
                target: LinkTarget::Published {
                    local_port: 80,
                    remote_port: 8080,
                },
            },
        ],
        mounts: vec![VolumeMount {
            volume: "data".parse().unwrap(),
            target: "/data".to_owned(),
            size_bytes_max: Some(1 << 30),
        }],
        memory_limit_bytes: Some(512 << 20),
        cpu_shares: Some(512),
        restart: RestartPolicy::OnFailure {
            retries_max: Some(5),
        },
        health_check: Some(HealthCheck {
            test: vec!["CMD".into(), "pg_isready".into()],
            interval_ms: 5_000,
            timeout_ms: 1_000,
            retries: 3,
            start_period_ms: 10_000,
        }),
        stop_signal: Some("SIGINT".to_owned()),
        depends_on: BTreeMap::from([
            ("redis".parse().unwrap(), DependencyCondition::Started),
            ("vault".parse().unwrap(), DependencyCondition::Healthy),
        ]),
        ..ServiceSpec::of_image("postgres:16")
    }
}

/// A service that says as little as can be.
pub(crate) fn plain_spec() -> ServiceSpec {
    ServiceSpec::of_image("redis:7")
}

pub(crate) fn label() -> VolumeLabel {
    VolumeLabel {
        cluster: cluster(),
        id: volume_id(),
        application: "shop".parse().unwrap(),
        name: "data".parse().unwrap(),
        epoch: Epoch(4),
        size_bytes_max: Some(1 << 30),
        service: Some(ServiceDescription {
            id: service(),
            spec: plain_spec(),
        }),
    }
}

pub(crate) fn bare_label() -> VolumeLabel {
    VolumeLabel {
        size_bytes_max: None,
        service: None,
        ..label()
    }
}

pub(crate) fn copy() -> VolumeCopy {
    VolumeCopy {
        label: bare_label(),
        role: Role::Holder,
        snapshots: vec![
            Snapshot {
                name: snapshot(1),
                checksum: None,
                created: UnixMs(1_000),
            },
            Snapshot {
                name: snapshot(2),
                checksum: Some(checksum()),
                created: UnixMs(2_000),
            },
        ],
        used_bytes: Some(4096),
    }
}

fn container() -> ContainerSpec {
    ContainerSpec {
        spec: plain_spec(),
        hosts: vec![("db".to_owned(), Ipv4Addr::new(10, 64, 0, 2))],
        link_environment: vec![("DB_PORT_5432_TCP_PROTO".to_owned(), "tcp".to_owned())],
        image_id: Some("sha256:00ff".to_owned()),
        volumes: vec![volume_id()],
    }
}

fn peer() -> Peer {
    Peer {
        node: node(2),
        address: "10.0.0.2:4524".parse().unwrap(),
    }
}

fn prepared() -> Prepared {
    Prepared {
        image_id: "sha256:00ff".to_owned(),
        exposed_ports: vec![5432],
        address: Ipv4Addr::new(10, 65, 0, 2),
    }
}

fn status(state: ContainerState) -> ServiceStatus {
    ServiceStatus {
        service: service(),
        generation: Generation(9),
        state,
    }
}

fn container_states() -> Vec<ContainerState> {
    vec![
        ContainerState::Absent,
        ContainerState::Created,
        ContainerState::Starting,
        ContainerState::Running {
            prepared: prepared(),
            start_ms: Some(120),
            since: UnixMs(5_000),
        },
        ContainerState::Running {
            prepared: prepared(),
            start_ms: None,
            since: UnixMs(5_000),
        },
        ContainerState::Unhealthy {
            message: "no response".to_owned(),
        },
        ContainerState::Stopped {
            exit_code: Some(-1),
            stop_ms: Some(95),
        },
        ContainerState::Stopped {
            exit_code: None,
            stop_ms: None,
        },
        ContainerState::Failed(failure()),
    ]
}

fn outcomes() -> Vec<Result<TaskOutcome, Failure>> {
    vec![
        Ok(TaskOutcome::Done),
        Ok(TaskOutcome::Prepared(prepared())),
        Ok(TaskOutcome::Copied {
            volumes: vec![CopiedVolume {
                volume: volume_id(),
                snapshot: snapshot(2),
                checksum: checksum(),
                bytes: u64::MAX,
                wire_bytes: 1 << 20,
                full: true,
                milliseconds: 250,
            }],
        }),
        Err(failure()),
        Err(Failure {
            retry: Retry::Pointless,
            ..failure()
        }),
    ]
}

pub(crate) fn agent_messages() -> Vec<AgentMessage> {
    let mut messages = vec![AgentMessage::Hello(Box::new(AgentHello {
        cluster: cluster(),
        node: node(1),
        boot: BootId(Uuid::from_u128(0xB0)),
        version: "2.0.0".to_owned(),
        stream_address: "10.0.0.1:4524".parse().unwrap(),
        node_address: Ipv4Addr::new(10, 0, 0, 1),
        storage: StorageKind::Btrfs,
        pool: PoolUsage {
            size_bytes: 10 << 30,
            free_bytes: 9 << 30,
        },
        volumes: vec![copy()],
        services: vec![status(ContainerState::Absent)],
    }))];
    messages.extend(
        container_states()
            .into_iter()
            .map(|s| AgentMessage::Service(status(s))),
    );
    messages.extend(
        [Some(1 << 30), None].map(|bytes_total| AgentMessage::Progress {
            id: task_id(),
            progress: TaskProgress {
                bytes_done: 77,
                bytes_total,
            },
        }),
    );
    messages.extend(outcomes().into_iter().map(|result| {
        AgentMessage::Task(TaskReport {
            id: task_id(),
            result,
        })
    }));
    let replica = VolumeCopy {
        role: Role::Replica,
        snapshots: Vec::new(),
        used_bytes: None,
        ..copy()
    };
    messages.extend([
        AgentMessage::Volume(replica),
        AgentMessage::VolumeGone {
            volume: volume_id(),
        },
        AgentMessage::Pool(PoolUsage {
            size_bytes: 2,
            free_bytes: 1,
        }),
        AgentMessage::Heartbeat,
    ]);
    messages.extend(
        [None, Some(Ok(())), Some(Err(failure()))].map(|end| AgentMessage::Log {
            request: 8,
            lines: vec![
                LogLine {
                    stream: LogStream::Stdout,
                    text: "ready \"now\"\u{1b}[0m".to_owned(),
                },
                LogLine {
                    stream: LogStream::Stderr,
                    text: String::new(),
                },
            ],
            end,
        }),
    );
    messages
}

fn work() -> Vec<Work> {
    vec![
        Work::CreateVolume { label: label() },
        Work::Prepare {
            service: service(),
            container: Box::new(container()),
            incoming: vec![IncomingVolume {
                label: bare_label(),
                source: node(2),
                size_bytes_estimate: 1 << 30,
            }],
            image_peers: vec![peer()],
        },
        Work::Copy {
            volumes: vec![CopyVolume {
                volume: volume_id(),
                epoch: Epoch(4),
                snapshot: snapshot(2),
                bases: vec![snapshot(1)],
            }],
            target: peer(),
        },
        Work::Demote {
            volume: volume_id(),
            epoch: Epoch(5),
            head: snapshot(2),
        },
        Work::Prune {
            volume: volume_id(),
            keep: vec![snapshot(2)],
        },
        Work::Destroy {
            volume: volume_id(),
            epoch: Epoch(5),
        },
    ]
}

fn wants() -> Vec<Want> {
    let claim = |head| VolumeClaim {
        label: bare_label(),
        head,
    };
    vec![
        Want::Run {
            container: ContainerSpec {
                image_id: None,
                spec: full_spec(),
                ..container()
            },
            volumes: vec![claim(Some(snapshot(2))), claim(None)],
        },
        Want::Stopped,
        Want::Absent,
    ]
}

pub(crate) fn to_agent() -> Vec<ToAgent> {
    let directive = |want| Directive {
        service: service(),
        generation: Generation(9),
        want,
    };
    let mut messages = vec![ToAgent::Welcome {
        directives: vec![directive(Want::Stopped)],
    }];
    messages.extend(
        wants()
            .into_iter()
            .map(|want| ToAgent::Directive(directive(want))),
    );
    messages.extend(work().into_iter().map(|work| {
        ToAgent::Task(Task {
            id: task_id(),
            work,
            stall_limit_ms: 30_000,
        })
    }));
    messages.extend([
        ToAgent::Cancel(task_id()),
        ToAgent::Recorded(task_id()),
        ToAgent::Logs {
            request: 8,
            service: service(),
            tail: Some(100),
            follow: Follow::Yes,
        },
        ToAgent::Logs {
            request: 9,
            service: service(),
            tail: None,
            follow: Follow::No,
        },
        ToAgent::LogsEnd { request: 8 },
        ToAgent::Heartbeat,
    ]);
    messages
}

pub(crate) fn proxy_messages() -> Vec<ProxyMessage> {
    vec![
        ProxyMessage::Hello {
            cluster: cluster(),
            node: node(1),
            version: "2.0.0".to_owned(),
            tunnel: "10.0.0.1:4525".parse().unwrap(),
        },
        ProxyMessage::Applied {
            service: service(),
            generation: Generation(9),
            held: 3,
        },
        ProxyMessage::Problem {
            service: service(),
            generation: Generation(9),
            message: "port 80 is taken".to_owned(),
        },
        ProxyMessage::Waited {
            service: service(),
            connections: 3,
            longest_ms: 250,
        },
        ProxyMessage::Heartbeat,
    ]
}

pub(crate) fn to_proxy() -> Vec<ToProxy> {
    let route = |state| Route {
        service: service(),
        generation: Generation(9),
        cluster_address: Ipv4Addr::new(10, 64, 0, 2),
        ports: vec![
            RoutePort {
                internal: 5432,
                external: Some(15432),
            },
            RoutePort {
                internal: 5433,
                external: None,
            },
        ],
        state,
    };
    vec![
        ToProxy::Welcome {
            routes: vec![route(RouteState::Down)],
        },
        ToProxy::Route(route(RouteState::Serving(Backend {
            node: node(1),
            tunnel: "10.0.0.1:4525".parse().unwrap(),
            container: Ipv4Addr::new(10, 65, 0, 2),
        }))),
        ToProxy::Route(route(RouteState::Held { limit_ms: 30_000 })),
        ToProxy::Gone {
            service: service(),
            generation: Generation(10),
        },
        ToProxy::Heartbeat,
    ]
}

pub(crate) fn stream_requests() -> Vec<StreamRequest> {
    let send = |from, bytes_estimate| StreamRequest::Send {
        volume: volume_id(),
        epoch: Epoch(4),
        storage: StorageKind::Zfs,
        from,
        to: snapshot(2),
        bytes_estimate,
    };
    vec![
        StreamRequest::Ask {
            volume: volume_id(),
        },
        send(Some(snapshot(1)), Some(4096)),
        send(None, None),
        StreamRequest::Image {
            image: "postgres:16".to_owned(),
        },
    ]
}

pub(crate) fn stream_replies() -> Vec<StreamReply> {
    vec![
        StreamReply::Have {
            snapshots: vec![snapshot(1), snapshot(2)],
        },
        StreamReply::Ready,
        StreamReply::Received {
            checksum: checksum(),
            bytes: 4096,
        },
        StreamReply::Refused { failure: failure() },
    ]
}

pub(crate) fn plans() -> Vec<Plan> {
    let step = PlanStep {
        service: service(),
        kind: OperationKind::Move,
        source: Some(node(1)),
        source_name: Some("alpha".parse().unwrap()),
        target: Some(node(2)),
        target_name: Some("beta".parse().unwrap()),
        spec: full_spec(),
        volumes: vec![PlannedVolume {
            name: "data".parse().unwrap(),
            id: Some(volume_id()),
            epoch: Some(Epoch(4)),
            size_bytes_max: Some(1 << 30),
        }],
        changes: vec!["image: postgres:15 -> postgres:16".to_owned()],
        copy_bytes: 1 << 30,
        copy_ms: 3_000,
        pause: Some(prediction()),
    };
    let start = PlanStep {
        kind: OperationKind::Start,
        source: None,
        source_name: None,
        spec: plain_spec(),
        volumes: vec![PlannedVolume {
            name: "data".parse().unwrap(),
            id: None,
            epoch: None,
            size_bytes_max: None,
        }],
        changes: Vec::new(),
        pause: None,
        ..step.clone()
    };
    vec![Plan {
        based_on: Generation(12),
        steps: vec![step, start],
        unchanged: vec!["cache".parse().unwrap()],
        warnings: vec!["beta has little room".to_owned()],
    }]
}

fn prediction() -> Prediction {
    Prediction {
        stop_ms: 95,
        delta_ms: 11,
        start_ms: 130,
    }
}

pub(crate) fn operations() -> Vec<Operation> {
    let running = Operation {
        id: task_id().operation,
        service: service(),
        kind: OperationKind::Move,
        source: Some(node(1)),
        target: Some(node(2)),
        spec: plain_spec(),
        volumes: vec![OperationVolume {
            id: volume_id(),
            epoch: Epoch(4),
            head: Some(ProvedHead {
                snapshot: snapshot(2),
                checksum: checksum(),
            }),
        }],
        phase: Phase::LastDelta,
        status: OperationStatus::Running,
        task_sequence: 3,
        rounds: vec![Round {
            bytes: 1 << 30,
            wire_bytes: 1 << 28,
            milliseconds: 3_000,
            full: true,
            predicted_pause_ms: 236,
        }],
        predicted: Some(prediction()),
        phase_ms: Phase::ALL.into_iter().zip(1..).collect(),
        pause_ms: Some(240),
        held: HeldConnections {
            connections: 3,
            longest_ms: 230,
        },
        started: UnixMs(1_000),
        finished: None,
        waiting_for: "the last delta".to_owned(),
    };
    let ended = |kind, status| Operation {
        kind,
        status,
        source: None,
        target: None,
        volumes: Vec::new(),
        rounds: Vec::new(),
        predicted: None,
        pause_ms: None,
        phase_ms: BTreeMap::new(),
        finished: Some(UnixMs(9_000)),
        waiting_for: String::new(),
        ..running.clone()
    };
    vec![
        running.clone(),
        ended(OperationKind::Start, OperationStatus::Succeeded),
        ended(
            OperationKind::Replace,
            OperationStatus::Aborting {
                failure: failure(),
                phase: Phase::Copy,
            },
        ),
        ended(
            OperationKind::Remove,
            OperationStatus::Failed {
                failure: failure(),
                phase: Phase::Stop,
            },
        ),
    ]
}
