//! Examples of what goes between control and the agent and proxy of a node.

use super::{
    bare_label, checksum, cluster, copy, failure, full_spec, label, node, plain_spec, service,
    snapshot, task_id, volume_id,
};
use flocker_types::access::{AccessNotice, Revocation, Revoked};
use flocker_types::api::{LogLine, LogStream};
use flocker_types::ids::{BootId, Epoch, Generation};
use flocker_types::link::{
    AgentHello, AgentMemory, AgentMessage, ContainerMemory, Follow, ProxyMessage, ToAgent, ToProxy,
};
use flocker_types::route::{Backend, Route, RoutePort, RouteState};
use flocker_types::task::{
    ContainerSpec, ContainerState, CopiedVolume, CopyVolume, Directive, Failure, IncomingVolume,
    Peer, Prepared, Retry, ServiceStatus, Task, TaskOutcome, TaskProgress, TaskReport, VolumeClaim,
    Want, Work,
};
use flocker_types::time::UnixMs;
use flocker_types::volume::{PoolUsage, Role, StorageKind, VolumeCopy};
use std::net::Ipv4Addr;
use uuid::Uuid;

fn container() -> ContainerSpec {
    ContainerSpec {
        spec: plain_spec(),
        hosts: vec![("db".to_owned(), Ipv4Addr::new(10, 64, 0, 2))],
        link_environment: vec![("DB_PORT_5432_TCP_PROTO".to_owned(), "tcp".to_owned())],
        image_id: Some("sha256:00ff".to_owned()),
        volumes: vec![volume_id()],
        cluster_address: None,
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

fn hello() -> AgentHello {
    AgentHello {
        cluster: cluster(),
        node: node(1),
        name: Some("n1".parse().unwrap()),
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
    }
}

pub(crate) fn agent_messages() -> Vec<AgentMessage> {
    let mut messages = vec![AgentMessage::Hello(Box::new(hello()))];
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
    messages.push(AgentMessage::Memory(Box::new(memory())));
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
            delete: vec![snapshot(2)],
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
                cluster_address: Some(Ipv4Addr::new(10, 64, 0, 9)),
                ..container()
            },
            volumes: vec![claim(Some(snapshot(2))), claim(None)],
        },
        Want::Stopped,
        Want::Absent,
    ]
}

fn revoked() -> AccessNotice {
    let revocation = |whom| Revocation {
        whom,
        until: UnixMs(1_800_000_000_000),
        by: "ops".to_owned(),
        mark: None,
    };
    AccessNotice::Revoked {
        revocations: vec![
            revocation(Revoked::Node(node(1))),
            revocation(Revoked::User("ann".to_owned())),
            revocation(Revoked::Serial("6a0c".to_owned())),
        ],
    }
}

fn directive(want: Want) -> Directive {
    Directive {
        service: service(),
        generation: Generation(9),
        want,
    }
}

fn memory() -> AgentMemory {
    AgentMemory {
        directives: vec![directive(Want::Stopped)],
        stopped: vec![directive(wants().remove(0))],
        containers: vec![ContainerMemory {
            service: service(),
            fingerprint: "00ff".to_owned(),
            prepared: prepared(),
        }],
        generation_max: Generation(12),
        revocations: vec![Revocation {
            whom: Revoked::User("ann".to_owned()),
            until: UnixMs(1_800_000_000_000),
            by: "ops".to_owned(),
            mark: Some("00ff".to_owned()),
        }],
    }
}

pub(crate) fn to_agent() -> Vec<ToAgent> {
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
        ToAgent::Recall,
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
        ToAgent::Access(revoked()),
        ToAgent::Access(AccessNotice::Renew),
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
        ToProxy::Access(revoked()),
        ToProxy::Heartbeat,
    ]
}
