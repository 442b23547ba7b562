//! What the cases share: one engine, one connection, and requests that work in it.

use flocker_runtime::conformance::{Behaviour, Subject};
use flocker_runtime::docker::DockerConfig;
use flocker_runtime::test_engine::{TestEngine, TestImage};
use flocker_runtime::{ContainerEvent, ContainerRequest, Docker, ImageInfo, MountRequest, Runtime};
use flocker_types::container::ContainerOptions;
use flocker_types::ids::{ClusterId, ServiceId};
use std::future::Future;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::Receiver;

pub(crate) const SUBNET: &str = "172.31.7.0/24";
/// Longest that a case waits for anything.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);
pub(crate) const GRACE_MS: u64 = 20_000;

/// An engine with our network and an image.
pub(crate) struct World {
    pub(crate) engine: TestEngine,
    pub(crate) docker: Docker,
    pub(crate) cluster: ClusterId,
    pub(crate) image: ImageInfo,
    addresses: AtomicU8,
}

impl World {
    pub(crate) async fn new() -> Self {
        let engine = TestEngine::start().await.unwrap();
        let cluster: ClusterId = "8c5b2f31-0000-4000-8000-000000000000".parse().unwrap();
        let docker = Docker::connect(config(&engine, cluster)).await.unwrap();
        let image = TestImage {
            repository: "flocker-test",
            tag: "1",
            instructions: &[r#"CMD ["sleep", "1000000"]"#, "ENV FROM_IMAGE=yes"],
        };
        let image = engine.make_image(image).await.unwrap();
        Self {
            engine,
            docker,
            cluster,
            image,
            addresses: AtomicU8::new(10),
        }
    }

    /// A request for a service that runs a shell script.
    pub(crate) fn script(&self, name: &str, script: &str) -> ContainerRequest {
        let number = self.addresses.fetch_add(1, Ordering::Relaxed);
        ContainerRequest {
            service: format!("test/{name}").parse().unwrap(),
            image_id: self.image.id.clone(),
            command: Some(["sh", "-c", script].map(str::to_owned).to_vec()),
            environment: Vec::new(),
            hosts: Vec::new(),
            mounts: Vec::new(),
            options: ContainerOptions::default(),
            memory_limit_bytes: None,
            cpu_shares: None,
            health_check: None,
            stop_signal: None,
            address: Ipv4Addr::new(172, 31, 7, number),
            fingerprint: "f1".to_owned(),
        }
    }

    pub(crate) async fn run(&self, request: &ContainerRequest) {
        self.docker.create(request).await.unwrap();
        self.docker.start(&request.service).await.unwrap();
    }

    pub(crate) async fn end(&self, service: &ServiceId) {
        self.docker.stop(service, 0).await.unwrap();
        self.docker.remove(service).await.unwrap();
    }
}

impl Subject for World {
    fn runtime(&self) -> &dyn Runtime {
        &self.docker
    }

    fn request(&self, service: &ServiceId, behaviour: Behaviour) -> ContainerRequest {
        let script = match behaviour {
            Behaviour::Obeys => "trap 'exit 0' TERM; sleep 1000000 & wait".to_owned(),
            Behaviour::IgnoresStopSignal => "trap '' TERM; sleep 1000000".to_owned(),
            Behaviour::EndsWith(code) => format!("exit {code}"),
        };
        ContainerRequest {
            service: service.clone(),
            ..self.script("any", &script)
        }
    }

    fn volume(&self, service: &ServiceId) -> MountRequest {
        let source = self.engine.shared_directory().join("conformance");
        std::fs::create_dir_all(&source).unwrap();
        std::fs::write(source.join("of"), service.to_string()).unwrap();
        MountRequest {
            source,
            target: "/data".to_owned(),
            read_only: false,
        }
    }
}

pub(crate) fn config(engine: &TestEngine, cluster: ClusterId) -> DockerConfig {
    DockerConfig {
        socket: engine.socket(),
        cluster,
        container_network: SUBNET.to_owned(),
        gates: engine.shared_directory().join("gates"),
    }
}

pub(crate) async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    match tokio::time::timeout(LIMIT, work).await {
        Ok(done) => done,
        Err(_) => panic!("waited in vain for {what}"),
    }
}

/// Looks until it yields something.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut look: impl FnMut() -> F,
) -> T {
    let begun = Instant::now();
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(begun.elapsed() < LIMIT, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Reads events until the wanted one.
pub(crate) async fn expect_event(
    events: &mut Receiver<ContainerEvent>,
    wanted: impl Fn(&ContainerEvent) -> bool,
) -> ContainerEvent {
    within("an event", async {
        loop {
            let event = events.recv().await.unwrap();
            if wanted(&event) {
                return event;
            }
        }
    })
    .await
}

/// Every line of a container's log so far, or until its end.
pub(crate) async fn log_of(
    docker: &Docker,
    service: &ServiceId,
    tail: Option<u32>,
    follow: flocker_types::link::Follow,
) -> Vec<flocker_types::api::LogLine> {
    let (sink, mut batches) = tokio::sync::mpsc::channel(4);
    let reading = async {
        let mut lines = Vec::new();
        while let Some(batch) = batches.recv().await {
            lines.extend(batch);
        }
        lines
    };
    let both = async { tokio::join!(docker.logs(service, tail, follow, sink), reading) };
    let (done, lines) = within("the log", both).await;
    done.unwrap();
    lines
}
