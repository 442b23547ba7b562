//! A container's life: the contract that every runtime has, and how Docker's is kept.

use crate::world::{GRACE_MS, World, eventually, expect_event, within};
use bollard::models::{ContainerCreateBody, NetworkCreateRequest};
use bollard::query_parameters::CreateContainerOptionsBuilder;
use flocker_runtime::docker::LABEL_CLUSTER;
use flocker_runtime::{
    ContainerEvent, ContainerRun, MountRequest, Runtime, RuntimeErrorKind, conformance,
};
use std::collections::HashMap;
use std::time::{Duration, Instant};

pub(crate) async fn conforms(world: &World) {
    conformance::run_all(world).await;
    assert_eq!(world.docker.list().await.unwrap(), vec![]);
}

/// Stop returns soon after the signal; nothing writes any more; what follows sees it as ended.
pub(crate) async fn stop_is_quick_and_complete(world: &World) {
    let directory = world.engine.shared_directory().join("stop");
    std::fs::create_dir(&directory).unwrap();
    let mut took = Vec::new();
    for round in 0..5 {
        let script = "(trap '' TERM; while true; do echo x >>/data/log; done) & \
                      trap 'exit 3' TERM; touch /data/ready; wait";
        let mut request = world.script(&format!("stop{round}"), script);
        request.mounts = vec![MountRequest {
            source: directory.clone(),
            target: "/data".to_owned(),
            read_only: false,
        }];
        let mut events = world.docker.events().await.unwrap();
        world.run(&request).await;
        let ready = directory.join("ready");
        eventually("the script", || async { ready.exists().then_some(()) }).await;
        let begun = Instant::now();
        world.docker.stop(&request.service, GRACE_MS).await.unwrap();
        took.push(begun.elapsed());
        let log = directory.join("log");
        let size = std::fs::metadata(&log).unwrap().len();
        let info = world.docker.inspect(&request.service).await.unwrap();
        assert_eq!(info.unwrap().run, ContainerRun::Exited { code: 3 });
        assert_eq!(std::fs::metadata(&log).unwrap().len(), size);
        expect_event(&mut events, |event| {
            *event == ContainerEvent::Exited(request.service.clone(), 3)
        })
        .await;
        world.docker.remove(&request.service).await.unwrap();
        std::fs::remove_file(&ready).unwrap();
    }
    took.sort_unstable();
    println!("     stop took {took:?}");
    // Docker's own stop takes some 100 ms on an idle machine; the fastest round shows which way was taken.
    assert!(took[0] < Duration::from_millis(50), "{took:?}");
}

pub(crate) async fn stop_signal_is_the_requests_own(world: &World) {
    for (name, signal) in [("int", "SIGINT"), ("rt", "SIGRTMIN+3"), ("number", "12")] {
        let script = "trap 'exit 7' INT; trap 'exit 8' 37; trap 'exit 9' USR2; echo ready; \
                      sleep 1000000 & wait";
        let mut request = world.script(name, script);
        request.stop_signal = Some(signal.to_owned());
        let mut events = world.docker.events().await.unwrap();
        world.run(&request).await;
        let lines = || async {
            let follow = flocker_types::link::Follow::No;
            let lines = crate::world::log_of(&world.docker, &request.service, None, follow).await;
            (!lines.is_empty()).then_some(())
        };
        eventually("the script", lines).await;
        world.docker.stop(&request.service, GRACE_MS).await.unwrap();
        let expected = match name {
            "int" => 7,
            "rt" => 8,
            _ => 9,
        };
        let exited = ContainerEvent::Exited(request.service.clone(), expected);
        expect_event(&mut events, |event| *event == exited).await;
        world.docker.remove(&request.service).await.unwrap();
    }
}

/// One without our label, and one of another cluster, both with names that we need.
pub(crate) async fn foreign_containers_are_left_alone(world: &World) {
    let client = world.engine.client().await.unwrap();
    let other = HashMap::from([(
        LABEL_CLUSTER.to_owned(),
        "00000000-0000-4000-8000-000000000001".to_owned(),
    )]);
    for (name, labels) in [("foreign1", HashMap::new()), ("foreign2", other)] {
        let request = world.script(name, "true");
        let container = format!("flocker--test--{name}");
        let options = CreateContainerOptionsBuilder::new()
            .name(&container)
            .build();
        let body = ContainerCreateBody {
            image: Some(world.image.id.clone()),
            labels: Some(labels),
            ..ContainerCreateBody::default()
        };
        let made = client.create_container(Some(options), body).await.unwrap();
        client.start_container(&made.id, None).await.unwrap();
        let service = &request.service;
        let outcomes = [
            world.docker.create(&request).await.err(),
            world.docker.start(service).await.err(),
            world.docker.stop(service, 0).await.err(),
            world.docker.remove(service).await.err(),
            world.docker.inspect(service).await.err(),
        ];
        for error in outcomes {
            let error = error.expect("it is not ours");
            assert!(
                matches!(&error.kind, RuntimeErrorKind::Refused(why) if why.contains(&container)),
                "{error}"
            );
        }
        assert_eq!(world.docker.list().await.unwrap(), vec![]);
        let found = client.inspect_container(&made.id, None).await.unwrap();
        assert_eq!(found.state.unwrap().running, Some(true));
        let options = bollard::query_parameters::RemoveContainerOptionsBuilder::new()
            .force(true)
            .build();
        client
            .remove_container(&made.id, Some(options))
            .await
            .unwrap();
    }
    let network = NetworkCreateRequest {
        name: "somebody-elses".to_owned(),
        ..NetworkCreateRequest::default()
    };
    client.create_network(network).await.unwrap();
    within(
        "connect",
        flocker_runtime::Docker::connect(crate::world::config(&world.engine, world.cluster)),
    )
    .await
    .unwrap();
    client.remove_network("somebody-elses").await.unwrap();
}
