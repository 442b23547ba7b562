//! The shell's jobs and streams between two nodes with real TLS and with pools and engines in memory.
//! The cores are played by the tests.

use crate::config::AgentConfig;
use crate::jobs;
use crate::run::Node;
use crate::shell::ShellInput;
use crate::streams;
use crate::volume_usage::{self, UsageBell};
use crate::watch::Watcher;
use flocker_core::agent::{Event, Job, JobId, JobOutcome};
use flocker_net::link::LinkLimits;
use flocker_net::pki::{Authority, Identity, NODE_VALIDITY, Role};
use flocker_net::tls::{ConnectOptions, Credentials, Expect, connect};
use flocker_runtime::{ImageInfo, Runtime};
use flocker_storage::stream::{FrameReader, FrameWriter};
use flocker_storage::{StorageErrorKind, VolumeStore};
use flocker_testkit::fakes::{FakeRuntime, FakeVolumeStore, Fault, RuntimeCall, StorageCall};
use flocker_types::access::{Revocation, Revoked, UserRole};
use flocker_types::app::{ServiceSpec, VolumeMount};
use flocker_types::ids::{
    ApplicationName, ClusterId, Epoch, NodeId, OperationId, ServiceId, SnapshotName, TaskId,
    VolumeId, VolumeName,
};
use flocker_types::stream::StreamRequest;
use flocker_types::task::{
    ContainerSpec, CopyVolume, Failure, Peer, Retry, TaskOutcome, VolumeClaim,
};
use flocker_types::time::UnixMs;
use flocker_types::volume::{Role as VolumeRole, StorageKind, VolumeCopy, VolumeLabel};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{ReadHalf, WriteHalf, split};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

mod gates;

const LIMIT: Duration = Duration::from_secs(20);

struct TestNode {
    node: Node,
    store: Arc<FakeVolumeStore>,
    runtime: Arc<FakeRuntime>,
    inputs: mpsc::Receiver<ShellInput>,
    peer: Peer,
}

fn cluster() -> ClusterId {
    ClusterId(Uuid::from_u128(7))
}

fn volume() -> VolumeId {
    VolumeId(Uuid::from_u128(1))
}

fn label(epoch: u64) -> VolumeLabel {
    VolumeLabel {
        cluster: cluster(),
        id: volume(),
        application: ApplicationName::default(),
        name: VolumeName::new("data").unwrap(),
        epoch: Epoch(epoch),
        size_bytes_max: None,
        service: None,
    }
}

fn snapshot(name: &str) -> SnapshotName {
    SnapshotName::new(name).unwrap()
}

fn image() -> ImageInfo {
    ImageInfo {
        id: "sha256:1".to_owned(),
        exposed_ports: Vec::new(),
    }
}

fn credentials(authority: &Authority, role: Role) -> Credentials {
    let identity = Identity {
        cluster: cluster(),
        role,
    };
    let issued = authority.issue(&identity, NODE_VALIDITY).unwrap();
    let pem = authority.certificate_pem();
    Credentials::from_pem(&issued.certificate_pem, &issued.key_pem, pem).unwrap()
}

impl TestNode {
    async fn new(authority: &Authority, number: u128) -> Self {
        let id = NodeId(Uuid::from_u128(number));
        let config = AgentConfig {
            cluster: cluster(),
            node: id,
            name: "n1".parse().unwrap(),
            node_address: Ipv4Addr::LOCALHOST,
            stream_listen: (Ipv4Addr::LOCALHOST, 0).into(),
            control: (Ipv4Addr::LOCALHOST, 1).into(),
            credentials: credentials(authority, Role::Node(id)),
            certificates: "/nowhere".into(),
            state_dir: "/nowhere".into(),
            pool: "auto".parse().unwrap(),
            docker: "/nowhere".into(),
            container_network: "10.213.0.0/16".parse().unwrap(),
            link: LinkLimits::default(),
        };
        let (sender, inputs) = mpsc::channel(64);
        let runtime = Arc::new(FakeRuntime::new());
        let store = Arc::new(FakeVolumeStore::new(StorageKind::Btrfs, 1 << 30));
        let node = Node {
            config: Arc::new(config),
            store: Arc::clone(&store) as Arc<dyn VolumeStore>,
            watcher: Watcher::new(Arc::clone(&runtime) as Arc<dyn Runtime>, sender.clone()),
            usage_bell: UsageBell::default(),
            runtime: Arc::clone(&runtime) as Arc<dyn Runtime>,
            inputs: sender,
        };
        let listener = streams::listen(&node).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(streams::serve(listener, node.clone()));
        let peer = Peer { node: id, address };
        Self {
            node,
            store,
            runtime,
            inputs,
            peer,
        }
    }

    /// Does a job; answers questions for admission with `admit` on the way.
    async fn job(&mut self, job: Job) -> Result<JobOutcome, Failure> {
        jobs::spawn(self.node.clone(), JobId(1), job, CancellationToken::new());
        let end = async {
            loop {
                match self.inputs.recv().await {
                    Some(ShellInput::Event(Event::JobDone { result, .. })) => return result,
                    Some(_) => {}
                    None => panic!("the node is gone"),
                }
            }
        };
        tokio::time::timeout(LIMIT, end)
            .await
            .expect("a job has an end")
    }

    async fn wait_for(&mut self, wanted: impl Fn(&Event) -> bool) {
        let found = async {
            while let Some(input) = self.inputs.recv().await {
                if matches!(&input, ShellInput::Event(event) if wanted(event)) {
                    return;
                }
            }
        };
        tokio::time::timeout(LIMIT, found)
            .await
            .expect("the event comes");
    }

    /// Answers every question whether a volume may come, from now on.
    fn admit(mut self, answer: Result<VolumeLabel, Failure>) -> Self {
        let (_, nothing) = mpsc::channel(1);
        let mut inputs = std::mem::replace(&mut self.inputs, nothing);
        tokio::spawn(async move {
            while let Some(input) = inputs.recv().await {
                if let ShellInput::Incoming { answer: reply, .. } = input {
                    drop(reply.send(answer.clone()));
                }
            }
        });
        self
    }
}

async fn two_nodes() -> (TestNode, TestNode) {
    let authority = Authority::create(cluster()).unwrap();
    (
        TestNode::new(&authority, 1).await,
        TestNode::new(&authority, 2).await,
    )
}

fn copy_job(to: Peer, name: &str) -> Job {
    let copy = CopyVolume {
        volume: volume(),
        epoch: Epoch(1),
        snapshot: snapshot(name),
        bases: Vec::new(),
    };
    Job::Copy {
        task: TaskId {
            operation: OperationId(Uuid::nil()),
            sequence: 1,
        },
        volumes: vec![copy],
        target: to,
        stall_limit_ms: 5_000,
    }
}

#[tokio::test]
async fn a_volume_goes_from_node_to_node_and_then_only_its_delta() {
    let (mut a, b) = two_nodes().await;
    let b = b.admit(Ok(label(1)));
    a.store.create(&label(1)).await.unwrap();
    a.store.write(volume(), "rows", b"1").unwrap();
    let first = a.job(copy_job(b.peer, "s1")).await.unwrap();
    let JobOutcome::Task(TaskOutcome::Copied { volumes }) = first else {
        panic!("{first:?}")
    };
    assert!(volumes[0].full);
    a.store.write(volume(), "rows", b"12").unwrap();
    let second = a.job(copy_job(b.peer, "s2")).await.unwrap();
    let JobOutcome::Task(TaskOutcome::Copied { volumes }) = second else {
        panic!("{second:?}")
    };
    assert!(!volumes[0].full);
    let copy = b.store.get(volume()).await.unwrap().unwrap();
    assert_eq!(copy.role, VolumeRole::Replica);
    assert_eq!(
        copy.snapshots.last().unwrap().checksum,
        Some(volumes[0].checksum.clone())
    );
    assert_eq!(
        b.store
            .read_snapshot(volume(), &snapshot("s2"), "rows")
            .unwrap(),
        b"12"
    );
}

#[tokio::test]
async fn what_the_core_does_not_expect_is_refused_with_its_reason() {
    let (mut a, b) = two_nodes().await;
    let reason = Failure {
        message: "nobody is expected to send it".to_owned(),
        retry: Retry::Pointless,
    };
    let b = b.admit(Err(reason.clone()));
    a.store.create(&label(1)).await.unwrap();
    assert_eq!(a.job(copy_job(b.peer, "s1")).await.unwrap_err(), reason);
    assert_eq!(b.store.get(volume()).await.unwrap(), None);
}

#[tokio::test]
async fn a_snapshot_whose_end_was_lost_is_not_sent_under_the_same_name() {
    let (mut a, b) = two_nodes().await;
    let b = b.admit(Ok(label(1)));
    a.store.create(&label(1)).await.unwrap();
    let lost = StorageErrorKind::BadStream("the answer was lost".to_owned());
    b.store
        .faults
        .inject(StorageCall::Receive, Fault::LoseAnswer(lost));
    assert_eq!(
        a.job(copy_job(b.peer, "s1")).await.unwrap_err().retry,
        Retry::MayHelp
    );
    let again = a.job(copy_job(b.peer, "s1")).await.unwrap_err();
    assert!(again.message.contains("whose end was lost"), "{again}");
    a.job(copy_job(b.peer, "s2")).await.unwrap();
}

#[tokio::test]
async fn a_node_that_is_not_the_expected_one_gets_nothing() {
    let (mut a, b) = two_nodes().await;
    a.store.create(&label(1)).await.unwrap();
    let wrong = Peer {
        node: NodeId(Uuid::from_u128(9)),
        address: b.peer.address,
    };
    let failure = a.job(copy_job(wrong, "s1")).await.unwrap_err();
    assert!(failure.message.contains("expected"), "{failure}");
}

#[tokio::test]
async fn a_job_that_fails_tells_before_its_end_what_it_made_of_its_volumes() {
    let (mut a, _) = two_nodes().await;
    a.store.create(&label(1)).await.unwrap();
    let nobody = Peer {
        node: NodeId(Uuid::from_u128(9)),
        address: a.peer.address,
    };
    let (job, cancel) = (copy_job(nobody, "s1"), CancellationToken::new());
    jobs::spawn(a.node.clone(), JobId(1), job, cancel);
    let has_it = |copy: &VolumeCopy| copy.snapshots.iter().any(|s| s.name == snapshot("s1"));
    a.wait_for(|event| matches!(event, Event::Volume(copy) if has_it(copy)))
        .await;
    let failed = |event: &Event| matches!(event, Event::JobDone { result: Err(_), .. });
    a.wait_for(failed).await;
    // Its image is nowhere.
    let cancel = CancellationToken::new();
    jobs::spawn(a.node.clone(), JobId(2), run_job(1, None), cancel);
    a.wait_for(|event| matches!(event, Event::Volume(copy) if copy.role == VolumeRole::Holder))
        .await;
    a.wait_for(failed).await;
}

type Ends = (
    FrameReader<ReadHalf<TlsStream<TcpStream>>>,
    FrameWriter<WriteHalf<TlsStream<TcpStream>>>,
);

/// A connection to a node's stream listener with any certificate.
async fn knock(to: Peer, credentials: &Credentials) -> Option<Ends> {
    let expect = Expect::Node(to.node);
    let connected = connect(to.address, credentials, &expect, ConnectOptions::default()).await;
    let (reader, writer) = split(connected.ok()?);
    Some((
        FrameReader::new(reader, LIMIT),
        FrameWriter::new(writer, LIMIT),
    ))
}

async fn is_answered((reader, writer): &mut Ends) -> bool {
    let volume = volume();
    let asked = writer.request(&StreamRequest::Ask { volume }).await;
    asked.is_ok() && reader.reply().await.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_no_node_or_is_revoked_gets_no_stream_and_loses_those_that_are_open() {
    let authority = Authority::create(cluster()).unwrap();
    let a = TestNode::new(&authority, 1).await;
    let user = Role::User {
        name: "eve".to_owned(),
        role: UserRole::Admin,
    };
    for role in [user, Role::Control] {
        let credentials = credentials(&authority, role);
        let mut ends = knock(a.peer, &credentials).await.unwrap();
        assert!(!is_answered(&mut ends).await);
    }
    let id = NodeId(Uuid::from_u128(2));
    let theirs = credentials(&authority, Role::Node(id));
    let mut open = knock(a.peer, &theirs).await.unwrap();
    assert!(is_answered(&mut open).await);
    let revocation = Revocation {
        whom: Revoked::Node(id),
        until: UnixMs(u64::MAX),
        by: "ops".to_owned(),
        mark: None,
    };
    a.node.config.credentials.revocations().add(&[revocation]);
    assert!(open.0.reply().await.is_err(), "it is cut while it is quiet");
    match knock(a.peer, &theirs).await {
        None => {}
        Some(mut ends) => assert!(!is_answered(&mut ends).await),
    }
}

fn service() -> ServiceId {
    "db".parse().unwrap()
}

fn container() -> ContainerSpec {
    let mut spec = ServiceSpec::of_image("db:1");
    spec.mounts.push(VolumeMount {
        read_only: false,
        volume: VolumeName::new("data").unwrap(),
        target: "/data".to_owned(),
        size_bytes_max: None,
    });
    spec.environment.insert("BOTH".to_owned(), "own".to_owned());
    ContainerSpec {
        spec,
        hosts: vec![("web".to_owned(), Ipv4Addr::new(10, 214, 0, 2))],
        link_environment: vec![
            ("BOTH".to_owned(), "link".to_owned()),
            ("WEB_PORT_80_TCP_PORT".to_owned(), "8080".to_owned()),
        ],
        image_id: None,
        volumes: vec![volume()],
        cluster_address: None,
    }
}

fn run_job(epoch: u64, head: Option<&str>) -> Job {
    Job::Run {
        service: service(),
        container: Box::new(container()),
        address: Ipv4Addr::new(10, 213, 0, 2),
        fingerprint: "f".to_owned(),
        volumes: vec![VolumeClaim {
            label: label(epoch),
            head: head.map(snapshot),
        }],
    }
}

#[tokio::test]
async fn a_replica_is_promoted_then_its_container_runs_and_is_ready() {
    let (mut a, b) = two_nodes().await;
    let mut b = b.admit(Ok(label(1)));
    a.store.create(&label(1)).await.unwrap();
    a.store.write(volume(), "rows", b"1").unwrap();
    a.job(copy_job(b.peer, "s1")).await.unwrap();
    // The test plays the core again.
    let (sender, inputs) = mpsc::channel(64);
    b.node.inputs = sender.clone();
    b.node.watcher = Watcher::new(Arc::clone(&b.node.runtime), sender);
    b.inputs = inputs;
    b.runtime.add_image("db:1", image());
    let outcome = b.job(run_job(2, Some("s1"))).await.unwrap();
    let JobOutcome::Running { volumes, .. } = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(
        (volumes[0].role, volumes[0].label.epoch),
        (VolumeRole::Holder, Epoch(2))
    );
    assert_eq!(b.store.read(volume(), "rows").unwrap(), b"1");
    let request = b.runtime.request(&service()).unwrap();
    assert!(
        request
            .environment
            .contains(&("BOTH".to_owned(), "own".to_owned()))
    );
    assert_eq!(request.environment.len(), 2);
    b.wait_for(|event| matches!(event, Event::Ready { .. }))
        .await;
}

#[tokio::test]
async fn a_claim_to_a_replica_without_a_head_is_refused() {
    let (mut a, b) = two_nodes().await;
    let b = b.admit(Ok(label(1)));
    a.store.create(&label(1)).await.unwrap();
    a.job(copy_job(b.peer, "s1")).await.unwrap();
    let (sender, inputs) = mpsc::channel(64);
    let mut b = TestNode { inputs, ..b };
    b.node.inputs = sender;
    let failure = b.job(run_job(1, None)).await.unwrap_err();
    assert!(
        failure.message.contains("replica here in epoch 1"),
        "{failure}"
    );
    assert_eq!(b.runtime.faults.count(RuntimeCall::Start), 0);
}

#[tokio::test]
async fn an_image_comes_from_another_node_when_no_registry_has_it() {
    let (a, mut b) = two_nodes().await;
    a.runtime.add_image("db:1", image());
    b.store.create(&label(1)).await.unwrap();
    let prepare = |image_peers| Job::Prepare {
        service: service(),
        container: Box::new(container()),
        address: Ipv4Addr::new(10, 213, 0, 2),
        fingerprint: "f".to_owned(),
        incoming: Vec::new(),
        image_peers,
        stall_limit_ms: 5_000,
    };
    let failure = b.job(prepare(Vec::new())).await.unwrap_err();
    assert!(
        failure.message.contains("neither on this node"),
        "{failure}"
    );
    let outcome = b.job(prepare(vec![a.peer])).await.unwrap();
    assert!(matches!(outcome, JobOutcome::Prepared(_)), "{outcome:?}");
    assert!(
        b.runtime.request(&service()).is_some(),
        "the container is made"
    );
}

#[tokio::test]
async fn what_a_volume_uses_is_told_when_it_comes_to_be_held_and_when_it_changes() {
    let authority = Authority::create(cluster()).unwrap();
    let mut a = TestNode::new(&authority, 1).await;
    a.runtime.add_image("db:1", image());
    tokio::spawn(volume_usage::run(a.node.clone()));
    // The job that runs its container wakes the watcher, long before the next regular look.
    a.store.create(&label(1)).await.unwrap();
    a.store.write(volume(), "rows", &[7; 5_000]).unwrap();
    jobs::spawn(
        a.node.clone(),
        JobId(1),
        run_job(1, None),
        CancellationToken::new(),
    );
    let used = |event: &Event, least: u64| {
        let bytes = match event {
            Event::VolumeUsed { used_bytes, .. } => *used_bytes,
            _ => 0,
        };
        bytes >= least
    };
    a.wait_for(|event| used(event, 5_000)).await;
    a.store.write(volume(), "rows", &[7; 50_000]).unwrap();
    a.wait_for(|event| used(event, 50_000)).await;
}
