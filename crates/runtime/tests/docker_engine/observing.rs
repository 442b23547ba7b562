//! Health and logs of running containers.

use crate::world::{World, expect_event, log_of, within};
use flocker_runtime::{ContainerEvent, ContainerRun, Health, MountRequest, Runtime};
use flocker_types::api::LogStream;
use flocker_types::app::HealthCheck;
use flocker_types::link::Follow;

pub(crate) async fn health_changes_are_told(world: &World) {
    let source = world.engine.shared_directory().join("health");
    std::fs::create_dir(&source).unwrap();
    let mut request = world.script("health", "sleep 1000000");
    request.mounts = vec![MountRequest {
        source: source.clone(),
        target: "/data".to_owned(),
        read_only: false,
    }];
    let test = "test -e /data/well || { echo not well; exit 1; }";
    request.health_check = Some(HealthCheck {
        test: vec!["CMD-SHELL".to_owned(), test.to_owned()],
        interval_ms: 100,
        timeout_ms: 5_000,
        retries: 2,
        start_period_ms: 60_000,
        start_interval_ms: None,
    });
    let mut events = world.docker.events().await.unwrap();
    world.run(&request).await;
    let health = || async {
        let info = world.docker.inspect(&request.service).await.unwrap();
        match info.unwrap().run {
            ContainerRun::Running { health, .. } => health,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(health().await, Health::Starting);
    std::fs::write(source.join("well"), "").unwrap();
    let healthy = ContainerEvent::Health(request.service.clone(), Health::Healthy);
    expect_event(&mut events, |event| *event == healthy).await;
    assert_eq!(health().await, Health::Healthy);
    std::fs::remove_file(source.join("well")).unwrap();
    let unwell = Health::Unhealthy("not well".to_owned());
    let unhealthy = ContainerEvent::Health(request.service.clone(), unwell.clone());
    expect_event(&mut events, |event| *event == unhealthy).await;
    assert_eq!(health().await, unwell);
    let listed = world.docker.list().await.unwrap();
    assert_eq!(listed.len(), 1);
    world.end(&request.service).await;
}

pub(crate) async fn logs_have_tail_and_follow(world: &World) {
    let source = world.engine.shared_directory().join("logs");
    std::fs::create_dir(&source).unwrap();
    let script = "for i in 1 2 3 4 5; do echo line $i; done; echo oops >&2; \
                  while ! test -e /data/go; do sleep 0.02; done; echo last; echo -n rest";
    let mut request = world.script("logs", script);
    request.mounts = vec![MountRequest {
        source: source.clone(),
        target: "/data".to_owned(),
        read_only: false,
    }];
    world.run(&request).await;
    let (sink, mut batches) = tokio::sync::mpsc::channel(1);
    let docker = world.docker.clone();
    let service = request.service.clone();
    let copying = tokio::spawn(async move {
        let done = docker.logs(&service, None, Follow::Yes, sink).await;
        done.unwrap();
    });
    let mut followed = Vec::new();
    while followed.len() < 6 {
        let batch = within("the first lines", batches.recv()).await;
        followed.extend(batch.unwrap());
    }
    let (err, out): (Vec<_>, Vec<_>) = followed
        .into_iter()
        .partition(|line| line.stream == LogStream::Stderr);
    let texts: Vec<String> = out.into_iter().map(|line| line.text).collect();
    assert_eq!(texts, ["line 1", "line 2", "line 3", "line 4", "line 5"]);
    assert_eq!(err[0].text, "oops");

    // Nobody listens any more: the call ends though the container goes on.
    let (sink, listener) = tokio::sync::mpsc::channel(1);
    drop(listener);
    let unheard = world.docker.logs(&request.service, None, Follow::Yes, sink);
    within("an unheard log to end", unheard).await.unwrap();

    std::fs::write(source.join("go"), "").unwrap();
    let last = within("the last line", batches.recv()).await.unwrap();
    assert_eq!(last[0].text, "last");
    // Docker 20.10 itself sometimes drops an unterminated rest when following; never a whole line.
    while let Some(batch) = within("the log's end", batches.recv()).await {
        assert_eq!(batch[0].text, "rest");
    }
    within("the call", copying).await.unwrap();

    let tail = log_of(&world.docker, &request.service, Some(2), Follow::No).await;
    let texts: Vec<&str> = tail.iter().map(|line| line.text.as_str()).collect();
    assert_eq!(texts, ["last", "rest"]);
    world.end(&request.service).await;
}
