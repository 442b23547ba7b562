//! Jobs of a move on its target: the container is started before its volumes are there, where it can be.

use super::*;
use flocker_runtime::{ContainerRun, RuntimeErrorKind};
use flocker_types::task::IncomingVolume;

fn prepare_job() -> Job {
    Job::Prepare {
        service: service(),
        container: Box::new(container()),
        address: Ipv4Addr::new(10, 213, 0, 2),
        fingerprint: "f".to_owned(),
        incoming: vec![IncomingVolume {
            label: label(1),
            source: NodeId(Uuid::from_u128(1)),
            size_bytes_estimate: 1,
        }],
        image_peers: Vec::new(),
        stall_limit_ms: 5_000,
    }
}

/// The target of a move, prepared, with the volume's data.
async fn prepared_target(fault: Option<Fault<RuntimeErrorKind>>) -> TestNode {
    let (mut a, mut b) = two_nodes().await;
    b.runtime.add_image("db:1", image());
    if let Some(fault) = fault {
        b.runtime.faults.inject(RuntimeCall::Hold, fault);
    }
    b.job(prepare_job()).await.unwrap();
    let b = b.admit(Ok(label(1)));
    a.store.create(&label(1)).await.unwrap();
    a.job(copy_job(b.peer, "s1")).await.unwrap();
    let (sender, inputs) = mpsc::channel(64);
    let mut b = TestNode { inputs, ..b };
    b.node.inputs = sender.clone();
    b.node.watcher = Watcher::new(Arc::clone(&b.node.runtime), sender);
    b
}

async fn run_of(node: &TestNode) -> ContainerRun {
    let found = node.node.runtime.inspect(&service()).await.unwrap();
    found.expect("it is there").run
}

#[tokio::test]
async fn a_container_waits_for_its_volumes_and_is_then_only_let_go() {
    let mut b = prepared_target(None).await;
    assert_eq!(run_of(&b).await, ContainerRun::AtGate);
    let seen = b.node.watcher.look().await.unwrap();
    assert_eq!(seen[0].run, flocker_core::agent::ContainerRunSeen::Created);
    b.job(run_job(2, Some("s1"))).await.unwrap();
    assert!(matches!(run_of(&b).await, ContainerRun::Running { .. }));
    let volumes = b.runtime.volumes(&service());
    assert_eq!(volumes[0].target, "/data");
    assert_eq!(
        volumes[0].source,
        b.store.mount_path(volume()).await.unwrap()
    );
    assert_eq!(b.runtime.faults.count(RuntimeCall::Start), 0);
    assert_eq!(b.runtime.faults.count(RuntimeCall::Create), 0);
    b.wait_for(|event| matches!(event, Event::Ready { .. }))
        .await;
    // It ends, and is started again: by way of its gate.
    b.runtime.end_container(&service(), 1);
    b.job(run_job(2, Some("s1"))).await.unwrap();
    assert!(matches!(run_of(&b).await, ContainerRun::Running { .. }));
}

#[tokio::test]
async fn where_no_gate_is_possible_it_is_made_when_its_volumes_are_there() {
    let why = RuntimeErrorKind::NoGate("a test says so".to_owned());
    let mut b = prepared_target(Some(Fault::Fail(why))).await;
    assert_eq!(b.node.runtime.inspect(&service()).await.unwrap(), None);
    b.job(run_job(2, Some("s1"))).await.unwrap();
    assert!(matches!(run_of(&b).await, ContainerRun::Running { .. }));
    let request = b.runtime.request(&service()).unwrap();
    assert_eq!(request.mounts[0].target, "/data");
}

#[tokio::test]
async fn a_gate_that_does_not_work_any_more_is_done_without() {
    let mut b = prepared_target(None).await;
    b.job(run_job(2, Some("s1"))).await.unwrap();
    b.runtime.end_container(&service(), 1);
    // What the runtime then does: the container is gone.
    b.node.runtime.remove(&service()).await.unwrap();
    let why = RuntimeErrorKind::NoGate("a test says so".to_owned());
    b.runtime
        .faults
        .inject(RuntimeCall::Start, Fault::Fail(why));
    b.job(run_job(2, Some("s1"))).await.unwrap();
    assert!(matches!(run_of(&b).await, ContainerRun::Running { .. }));
}

#[tokio::test]
async fn a_container_at_its_gate_is_removed_without_a_stop() {
    let mut b = prepared_target(None).await;
    let remove = Job::RemoveContainer { service: service() };
    assert_eq!(b.job(remove).await.unwrap(), JobOutcome::Done);
    assert_eq!(b.node.runtime.inspect(&service()).await.unwrap(), None);
}
