//! Tests of how the state of a cluster is shown.

use super::super::operation::tests::{failed, moved, moving};
use super::*;
use flocker_types::app::{PortMapping, ServiceSpec};
use flocker_types::ids::{Epoch, NodeName, SnapshotName, VolumeId};
use flocker_types::task::{Failure, Prepared, Retry};
use flocker_types::volume::{PoolUsage, StorageKind};
use std::net::Ipv4Addr;

const NOW: UnixMs = UnixMs(1_800_000_100_500);

fn node(index: u8, agent: LinkView, proxy: LinkView) -> NodeView {
    let known = agent != LinkView::Never;
    NodeView {
        id: "22222222-2222-4222-8222-222222222222".parse().unwrap(),
        name: NodeName::new(format!("n{index}")).unwrap(),
        address: Ipv4Addr::new(10, 0, 0, index),
        agent,
        proxy,
        storage: known.then_some(StorageKind::Btrfs),
        pool: known.then_some(PoolUsage {
            size_bytes: 4 << 30,
            free_bytes: 3 << 30,
        }),
        version: known.then(|| "2.0.0".to_owned()),
    }
}

fn service(name: &str, state: ContainerState) -> ServiceView {
    let mut spec = ServiceSpec::of_image("postgres:15");
    spec.ports = vec![PortMapping {
        internal: 5432,
        external: 5432,
    }];
    ServiceView {
        id: name.parse().unwrap(),
        node: NodeName::new("n1").ok(),
        state,
        spec,
        cluster_address: Ipv4Addr::new(10, 214, 0, 2),
        volumes: Vec::new(),
        operation: None,
        problems: Vec::new(),
    }
}

fn copy(node: &str, role: Role, head: &str) -> CopyView {
    CopyView {
        node: NodeName::new(node).unwrap(),
        role,
        epoch: Epoch(2),
        head: SnapshotName::new(head).ok(),
        snapshots: 2,
        used_bytes: Some(240 << 20),
    }
}

fn data() -> VolumeView {
    VolumeView {
        id: VolumeId(uuid::Uuid::from_u128(0x0abc_def0 << 96)),
        application: "shop".parse().unwrap(),
        name: "data".parse().unwrap(),
        holder: NodeName::new("n1").unwrap(),
        epoch: Epoch(2),
        service: Some("shop/db".parse().unwrap()),
        size_bytes_max: Some(1 << 30),
        destroy_after: None,
        copies: vec![
            copy("n1", Role::Holder, "e2-s5-x"),
            copy("n2", Role::Replica, "e2-s5-x"),
            copy("n3", Role::Replica, "e1-s3-y"),
        ],
    }
}

fn cluster() -> ClusterView {
    ClusterView {
        cluster: "11111111-1111-4111-8111-111111111111".parse().unwrap(),
        at: NOW,
        nodes: Vec::new(),
        services: Vec::new(),
        volumes: Vec::new(),
        operations: Vec::new(),
        rotation: None,
        certificates: Vec::new(),
    }
}

#[test]
fn a_new_cluster() {
    let mut view = cluster();
    view.nodes = vec![node(1, LinkView::Never, LinkView::Never)];
    insta::assert_snapshot!(render(&view, Style::Plain));
}

#[test]
fn a_busy_cluster() {
    let mut view = cluster();
    let up = LinkView::Connected(UnixMs(1_800_000_000_000));
    let lost = LinkView::Lost(UnixMs(1_800_000_088_000));
    view.nodes = vec![node(1, up, up), node(2, up, lost)];
    let running = ContainerState::Running {
        prepared: Prepared {
            image_id: "sha256:0".to_owned(),
            exposed_ports: vec![5432],
            address: Ipv4Addr::new(10, 213, 0, 2),
        },
        start_ms: None,
        since: UnixMs(1_800_000_000_000),
    };
    let mut moves = service("shop/db", running.clone());
    moves.operation = Some(moving().operation.id);
    let mut fails = service(
        "shop/web",
        ContainerState::Failed(Failure {
            message: "no such image".to_owned(),
            retry: Retry::MayHelp,
        }),
    );
    fails.problems = vec!["no such image".to_owned()];
    let mut removed = service("old", ContainerState::Absent);
    removed.node = None;
    removed.spec.ports = Vec::new();
    view.services = vec![removed, moves, fails, service("queue", running)];
    let mut doomed = data();
    doomed.name = "scratch".parse().unwrap();
    doomed.application = "default".parse().unwrap();
    doomed.service = None;
    doomed.copies.truncate(1);
    doomed.destroy_after = Some(UnixMs(NOW.0 + 3_600_000));
    view.volumes = vec![doomed, data()];
    view.operations = vec![moving(), moved(), failed()];
    insta::assert_snapshot!(render(&view, Style::Plain));
}

#[test]
fn one_volume() {
    insta::assert_snapshot!(volume(&data(), NOW, Style::Plain));
}
