//! One example of every message and record, for the tests of their JSON. Every variant is here,
//! with its optional parts once present and once absent. This file has what several of them share.

pub(crate) mod links;
mod options;
pub(crate) mod records;

use flocker_types::app::{
    DependencyCondition, HealthCheck, Link, LinkTarget, PortMapping, RestartPolicy, ServiceSpec,
    VolumeMount,
};
use flocker_types::ids::{
    ClusterId, Epoch, NodeId, OperationId, ServiceId, SnapshotName, TaskId, VolumeId,
};
use flocker_types::task::{Failure, Retry};
use flocker_types::time::UnixMs;
use flocker_types::volume::{
    Checksum, Role, ServiceDescription, Snapshot, VolumeCopy, VolumeLabel,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use uuid::Uuid;

pub(crate) fn cluster() -> ClusterId {
    ClusterId(Uuid::from_u128(0xC))
}

pub(crate) fn node(number: u128) -> NodeId {
    NodeId(Uuid::from_u128(0xA0 + number))
}

pub(crate) fn volume_id() -> VolumeId {
    VolumeId(Uuid::from_u128(0xE0))
}

pub(crate) fn service() -> ServiceId {
    "shop/db".parse().unwrap()
}

pub(crate) fn task_id() -> TaskId {
    TaskId {
        operation: OperationId(Uuid::from_u128(0x0B)),
        sequence: 3,
    }
}

pub(crate) fn snapshot(sequence: u32) -> SnapshotName {
    SnapshotName::new(format!("e1-s{sequence}-0000000b")).unwrap()
}

pub(crate) fn checksum() -> Checksum {
    Checksum("5f".repeat(32))
}

pub(crate) fn failure() -> Failure {
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
            read_only: true,
            volume: "data".parse().unwrap(),
            target: "/data".to_owned(),
            size_bytes_max: Some(1 << 30),
        }],
        memory_limit_bytes: Some(512 << 20),
        cpu_shares: Some(512),
        container: options::full_options(),
        restart: RestartPolicy::OnFailure {
            retries_max: Some(5),
        },
        health_check: Some(HealthCheck {
            test: vec!["CMD".into(), "pg_isready".into()],
            interval_ms: 5_000,
            timeout_ms: 1_000,
            retries: 3,
            start_period_ms: 10_000,
            start_interval_ms: Some(500),
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
            cluster_address: Some(Ipv4Addr::new(10, 64, 0, 9)),
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
