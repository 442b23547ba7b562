//! The fakes keep the contracts of the traits, and their faults do what they say.

#![expect(
    clippy::unwrap_used,
    reason = "all of this is a test: it fails by panicking"
)]

use flocker_runtime::conformance::{self, Behaviour, Subject};
use flocker_runtime::{
    ContainerEvent, ContainerRequest, ContainerRun, Health, ImageInfo, MountRequest, Runtime,
    RuntimeErrorKind,
};
use flocker_storage::volume_store::{StorageErrorKind, VolumeStore};
use flocker_testkit::fakes::{FakeRuntime, FakeVolumeStore, Fault, RuntimeCall, StorageCall};
use flocker_types::api::{LogLine, LogStream};
use flocker_types::app::HealthCheck;
use flocker_types::ids::{Epoch, ServiceId, SnapshotName, VolumeId};
use flocker_types::link::Follow;
use flocker_types::volume::{Checksum, Role, StorageKind, VolumeLabel};
use std::net::Ipv4Addr;
use std::time::Duration;

const IMAGE_ID: &str = "sha256:1";

struct FakeSubject(FakeRuntime);

impl Subject for FakeSubject {
    fn runtime(&self) -> &dyn Runtime {
        &self.0
    }

    fn request(&self, service: &ServiceId, behaviour: Behaviour) -> ContainerRequest {
        if behaviour == Behaviour::IgnoresStopSignal {
            self.0.ignore_stop_signal(service);
        }
        request(service)
    }

    fn volume(&self, _service: &ServiceId) -> MountRequest {
        MountRequest {
            source: "/pool/volume".into(),
            target: "/data".to_owned(),
            read_only: false,
        }
    }

    fn started(&self, service: &ServiceId, behaviour: Behaviour) {
        if let Behaviour::EndsWith(code) = behaviour {
            self.0.end_container(service, code);
        }
    }
}

fn request(service: &ServiceId) -> ContainerRequest {
    ContainerRequest {
        service: service.clone(),
        image_id: IMAGE_ID.to_owned(),
        command: None,
        environment: Vec::new(),
        hosts: Vec::new(),
        mounts: Vec::new(),
        options: flocker_types::container::ContainerOptions::default(),
        memory_limit_bytes: None,
        cpu_shares: None,
        health_check: None,
        stop_signal: None,
        address: Ipv4Addr::new(10, 0, 0, 2),
        fingerprint: "f1".to_owned(),
    }
}

fn image() -> ImageInfo {
    ImageInfo {
        id: IMAGE_ID.to_owned(),
        exposed_ports: vec![80],
    }
}

fn runtime() -> FakeRuntime {
    let runtime = FakeRuntime::new();
    runtime.add_image("web:1", image());
    runtime
}

fn db() -> ServiceId {
    "db".parse().unwrap()
}

#[tokio::test]
async fn the_fake_runtime_conforms() {
    conformance::run_all(&FakeSubject(runtime())).await;
}

#[tokio::test]
async fn runtime_faults_are_used_once_and_in_order() {
    let runtime = runtime();
    let refused = || RuntimeErrorKind::Refused("because a test says so".to_owned());
    runtime
        .faults
        .inject(RuntimeCall::Create, Fault::Fail(refused()));
    runtime
        .faults
        .inject(RuntimeCall::Create, Fault::LoseAnswer(refused()));
    runtime.faults.inject(RuntimeCall::Start, Fault::Hang);
    let request = request(&db());
    assert!(runtime.create(&request).await.is_err());
    assert_eq!(runtime.inspect(&db()).await.unwrap(), None);
    assert!(runtime.create(&request).await.is_err());
    assert!(runtime.inspect(&db()).await.unwrap().is_some());
    assert!(runtime.create(&request).await.is_ok());
    assert_eq!(runtime.faults.count(RuntimeCall::Create), 3);
    let hung = tokio::time::timeout(Duration::from_millis(20), runtime.start(&db())).await;
    assert!(hung.is_err());
    assert_eq!(
        runtime.inspect(&db()).await.unwrap().unwrap().run,
        ContainerRun::Created
    );
    runtime.start(&db()).await.unwrap();
}

#[tokio::test]
async fn a_dead_fake_engine_closes_subscriptions_and_keeps_containers() {
    let runtime = runtime();
    runtime.create(&request(&db())).await.unwrap();
    runtime.start(&db()).await.unwrap();
    let mut events = runtime.events().await.unwrap();
    runtime.engine_down();
    assert_eq!(events.recv().await, None);
    let error = runtime.list().await.unwrap_err();
    assert!(matches!(error.kind, RuntimeErrorKind::EngineDown { .. }));
    runtime.engine_up();
    let listed = runtime.list().await.unwrap();
    assert!(matches!(listed[0].run, ContainerRun::Running { .. }));
}

#[tokio::test]
async fn health_is_what_the_test_says() {
    let runtime = runtime();
    let mut request = request(&db());
    request.health_check = Some(HealthCheck {
        test: vec!["CMD".to_owned(), "check".to_owned()],
        interval_ms: 1_000,
        timeout_ms: 1_000,
        retries: 1,
        start_period_ms: 0,
        start_interval_ms: None,
    });
    runtime.create(&request).await.unwrap();
    runtime.start(&db()).await.unwrap();
    let mut events = runtime.events().await.unwrap();
    runtime.set_health(&db(), Health::Unhealthy("broken".to_owned()));
    let expected = Health::Unhealthy("broken".to_owned());
    assert_eq!(
        events.recv().await,
        Some(ContainerEvent::Health(db(), expected.clone()))
    );
    match runtime.inspect(&db()).await.unwrap().unwrap().run {
        ContainerRun::Running { health, .. } => assert_eq!(health, expected),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn images_come_from_the_registry_or_from_another_fake() {
    let one = FakeRuntime::new();
    one.add_to_registry("web:1", image());
    let progress = tokio::sync::watch::Sender::new(0);
    assert_eq!(one.pull("web:1", progress).await.unwrap(), image());
    let other = FakeRuntime::new();
    let tar = one.export_image(IMAGE_ID).await.unwrap();
    other.import_image(tar).await.unwrap();
    assert_eq!(other.image("web:1").await.unwrap(), Some(image()));
}

#[tokio::test]
async fn logs_have_tail_and_follow() {
    let runtime = std::sync::Arc::new(runtime());
    runtime.create(&request(&db())).await.unwrap();
    runtime.start(&db()).await.unwrap();
    let line = |text: &str| LogLine {
        stream: LogStream::Stdout,
        text: text.to_owned(),
    };
    runtime.write_log(&db(), line("one"));
    runtime.write_log(&db(), line("two"));
    let (sink, mut batches) = tokio::sync::mpsc::channel(1);
    let following = std::sync::Arc::clone(&runtime);
    let call = tokio::spawn(async move {
        let done = following.logs(&db(), Some(1), Follow::Yes, sink).await;
        done.unwrap();
    });
    assert_eq!(batches.recv().await, Some(vec![line("two")]));
    runtime.write_log(&db(), line("three"));
    assert_eq!(batches.recv().await, Some(vec![line("three")]));
    runtime.end_container(&db(), 0);
    assert_eq!(batches.recv().await, None);
    call.await.unwrap();
}

fn label(epoch: u64) -> VolumeLabel {
    VolumeLabel {
        cluster: "8c5b2f31-0000-4000-8000-000000000000".parse().unwrap(),
        id: volume(),
        application: "shop".parse().unwrap(),
        name: "data".parse().unwrap(),
        epoch: Epoch(epoch),
        size_bytes_max: Some(1_000),
        service: None,
    }
}

fn volume() -> VolumeId {
    "11111111-0000-4000-8000-000000000000".parse().unwrap()
}

fn name(text: &str) -> SnapshotName {
    text.parse().unwrap()
}

fn pool() -> FakeVolumeStore {
    FakeVolumeStore::new(StorageKind::Btrfs, 1 << 20)
}

async fn carry(
    from: &FakeVolumeStore,
    to: &FakeVolumeStore,
    label: &VolumeLabel,
    base: Option<&SnapshotName>,
    head: &SnapshotName,
) {
    let stream = from.send(volume(), base, head).await.unwrap();
    let verify = Box::new(|| Ok(Checksum("c".repeat(64))));
    to.receive(label, base, head, stream.reader, verify)
        .await
        .unwrap();
}

/// A whole move and the way back, with a tail left behind.
#[tokio::test]
async fn a_volume_moves_between_fake_pools() {
    let (one, two) = (pool(), pool());
    let (s1, s2, s3) = (name("e1-s1-x"), name("e1-s2-x"), name("e2-s1-y"));
    one.create(&label(1)).await.unwrap();
    one.create(&label(1)).await.unwrap();
    one.write(volume(), "a", b"1").unwrap();
    one.write(volume(), "b", b"1").unwrap();
    one.snapshot(volume(), &s1).await.unwrap();
    carry(&one, &two, &label(1), None, &s1).await;
    one.write(volume(), "a", b"2").unwrap();
    one.snapshot(volume(), &s2).await.unwrap();
    carry(&one, &two, &label(1), Some(&s1), &s2).await;
    assert!(two.write(volume(), "a", b"3").is_err());
    two.promote(&label(2), &s2).await.unwrap();
    assert_eq!(two.read(volume(), "a"), Some(b"2".to_vec()));
    assert_eq!(two.read(volume(), "b"), Some(b"1".to_vec()));

    one.write(volume(), "a", b"late").unwrap();
    one.demote(volume(), Epoch(2), &s2).await.unwrap();
    let copy = one.get(volume()).await.unwrap().unwrap();
    assert_eq!((copy.role, copy.label.epoch), (Role::Replica, Epoch(2)));
    assert_eq!(copy.head(), Some(&s2));
    let tail = name("tail-e1");
    assert_eq!(
        one.read_snapshot(volume(), &tail, "a"),
        Some(b"late".to_vec())
    );
    let delete = [s1.clone(), s2.clone(), tail.clone()];
    one.prune(volume(), &delete).await.unwrap();
    let kept = one.get(volume()).await.unwrap().unwrap().snapshots;
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].name, tail);

    two.snapshot(volume(), &s3).await.unwrap();
    carry(&two, &one, &label(2), None, &s3).await;
    let stale = one.set_label(&label(1)).await.unwrap_err();
    assert!(matches!(stale.kind, StorageErrorKind::StaleEpoch { .. }));
    one.destroy(volume()).await.unwrap();
    one.destroy(volume()).await.unwrap();
    assert_eq!(one.list().await.unwrap(), vec![]);
}

#[tokio::test]
async fn a_fake_pool_refuses_what_a_real_one_refuses() {
    let (one, two) = (pool(), pool());
    let (s1, s9) = (name("e1-s1-x"), name("e1-s9-x"));
    one.create(&label(1)).await.unwrap();
    one.snapshot(volume(), &s1).await.unwrap();
    let wrong_role = |kind| matches!(kind, StorageErrorKind::WrongRole(_));
    assert!(wrong_role(one.create(&label(2)).await.unwrap_err().kind));
    assert!(wrong_role(
        one.promote(&label(2), &s1).await.unwrap_err().kind
    ));
    assert!(matches!(
        one.send(volume(), None, &s9).await.unwrap_err().kind,
        StorageErrorKind::NoSuchSnapshot(_)
    ));
    assert!(matches!(
        one.write(volume(), "big", &[0; 1_001]).unwrap_err(),
        StorageErrorKind::NoSpace(_)
    ));
    let verify = || Box::new(|| Ok(Checksum("c".repeat(64))));
    let stream = one.send(volume(), None, &s1).await.unwrap().reader;
    let held = one.receive(&label(1), None, &s9, stream, verify()).await;
    assert!(wrong_role(held.unwrap_err().kind));
    let noise = Box::new(std::io::Cursor::new(b"noise".to_vec()));
    let damaged = two.receive(&label(1), None, &s1, noise, verify()).await;
    assert!(matches!(
        damaged.unwrap_err().kind,
        StorageErrorKind::BadStream(_)
    ));
    assert_eq!(two.get(volume()).await.unwrap(), None);
    carry(&one, &two, &label(1), None, &s1).await;
    assert!(matches!(
        two.promote(&label(1), &s1).await.unwrap_err().kind,
        StorageErrorKind::StaleEpoch { .. }
    ));
    let path = one.mount_path(volume()).await;
    assert!(path.is_ok());
    assert!(two.mount_path(volume()).await.is_err());
}

#[tokio::test]
async fn storage_faults_hit_the_call_they_are_meant_for() {
    let pool = pool();
    let full = || StorageErrorKind::NoSpace("a test says so".to_owned());
    pool.faults.inject(StorageCall::Create, Fault::Fail(full()));
    pool.faults
        .inject(StorageCall::Snapshot, Fault::LoseAnswer(full()));
    let error = pool.create(&label(1)).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot create the volume 11111111: there is no room left on the pool: a test says so"
    );
    pool.create(&label(1)).await.unwrap();
    assert!(pool.snapshot(volume(), &name("s1")).await.is_err());
    let copy = pool.get(volume()).await.unwrap().unwrap();
    assert_eq!(copy.head(), Some(&name("s1")));
    assert_eq!(
        pool.faults.calls(),
        [
            StorageCall::Create,
            StorageCall::Create,
            StorageCall::Snapshot,
            StorageCall::Get
        ]
    );
}
