//! Engines that die and registries that do not answer.

use crate::world::{World, config, within};
use flocker_runtime::test_engine::{TestEngine, TestImage};
use flocker_runtime::{Docker, Runtime, RuntimeErrorKind};
use flocker_types::link::Follow;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// The runtime's own limit for a silent registry is 20 s.
const PULL_LIMIT: Duration = Duration::from_secs(25);

/// A registry that takes connections and says nothing. Takes as long as the limit: run beside the rest.
pub(crate) async fn a_silent_registry_is_given_up(world: &World) {
    let namespace = world.engine.network_namespace();
    let listening = std::thread::spawn(move || {
        let namespace = std::fs::File::open(namespace).unwrap();
        let kind = Some(LinkNameSpaceType::Network);
        move_into_link_name_space(namespace.as_fd(), kind).unwrap();
        TcpListener::bind("127.0.0.1:5000").unwrap()
    });
    let _listener = listening.join().unwrap();
    let begun = Instant::now();
    let progress = tokio::sync::watch::Sender::new(0);
    let pull = world
        .docker
        .pull("127.0.0.1:5000/nobody/nothing:1", progress);
    let error = tokio::time::timeout(PULL_LIMIT, pull).await;
    let error = error.unwrap().unwrap_err();
    println!("     gave up after {:?}: {error}", begun.elapsed());
    assert!(
        matches!(error.kind, RuntimeErrorKind::TimedOut { .. }),
        "{error}"
    );
    assert!(error.retry_can_help());
}

/// Calls fail as `EngineDown`, events and logs end; nothing hangs.
pub(crate) async fn a_dead_engine_is_said_to_be_dead(world: &World) {
    let engine = TestEngine::start().await.unwrap();
    let docker = Docker::connect(config(&engine, world.cluster))
        .await
        .unwrap();
    let image = TestImage {
        repository: "flocker-test",
        tag: "1",
        instructions: &[],
    };
    let image = engine.make_image(image).await.unwrap();
    let mut request = world.script("orphan", "sleep 1000000");
    request.image_id = image.id;
    docker.create(&request).await.unwrap();
    docker.start(&request.service).await.unwrap();
    let mut events = docker.events().await.unwrap();
    let (sink, mut batches) = tokio::sync::mpsc::channel(1);
    let log = docker.logs(&request.service, None, Follow::Yes, sink);
    let kill = async { engine.kill().unwrap() };
    let (log, ()) = within("the log to end", async { tokio::join!(log, kill) }).await;
    if let Err(error) = log {
        assert!(
            matches!(error.kind, RuntimeErrorKind::EngineDown { .. }),
            "{error}"
        );
    }
    assert_eq!(batches.recv().await, None);
    within("the events to end", async {
        while events.recv().await.is_some() {}
    })
    .await;
    let errors = [
        docker.list().await.err(),
        docker.create(&request).await.err(),
        docker.start(&request.service).await.err(),
        docker.stop(&request.service, 0).await.err(),
        docker.events().await.err(),
        docker
            .pull("flocker-test:1", tokio::sync::watch::Sender::new(0))
            .await
            .err(),
        Docker::connect(config(&engine, world.cluster)).await.err(),
    ];
    for error in errors {
        let error = error.expect("the engine is dead");
        assert!(
            matches!(error.kind, RuntimeErrorKind::EngineDown { .. }),
            "{error}"
        );
        assert!(error.retry_can_help());
    }
}
