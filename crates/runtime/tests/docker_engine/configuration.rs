//! What a request asks for is what the container gets.

use crate::world::{SUBNET, World, config, eventually, expect_event, log_of};
use flocker_runtime::docker::{DockerConfig, network_name};
use flocker_runtime::{
    ContainerEvent, ContainerRequest, ContainerRun, Docker, MountRequest, Runtime, RuntimeErrorKind,
};
use flocker_types::app::HealthCheck;
use flocker_types::link::Follow;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;

pub(crate) async fn everything_asked_for_arrives(world: &World) {
    let mut request = world.script("all", "env; cat /etc/hosts");
    request.environment = vec![
        ("PLAIN".to_owned(), "a=b c".to_owned()),
        ("EMPTY".to_owned(), String::new()),
    ];
    request.hosts = vec![("cache".to_owned(), Ipv4Addr::new(10, 200, 0, 9))];
    request.memory_limit_bytes = Some(96 << 20);
    request.cpu_shares = Some(333);
    request.stop_signal = Some("SIGQUIT".to_owned());
    request.health_check = Some(HealthCheck {
        test: vec!["NONE".to_owned()],
        interval_ms: 0,
        timeout_ms: 0,
        retries: 0,
        start_period_ms: 0,
        start_interval_ms: None,
    });
    world.run(&request).await;
    let lines = log_of(&world.docker, &request.service, None, Follow::Yes).await;
    let has = |text: &str| lines.iter().any(|line| line.text == text);
    for text in [
        "PLAIN=a=b c",
        "EMPTY=",
        "FROM_IMAGE=yes",
        "10.200.0.9\tcache",
    ] {
        assert!(has(text), "{text} is not in {lines:?}");
    }
    let client = world.engine.client().await.unwrap();
    let found = client
        .inspect_container("flocker--test--all", None)
        .await
        .unwrap();
    let host = found.host_config.unwrap();
    assert_eq!(host.memory, Some(96 << 20));
    assert_eq!(host.cpu_shares, Some(333));
    assert_eq!(host.restart_policy.unwrap().name.unwrap().to_string(), "no");
    let log = host.log_config.unwrap().config.unwrap();
    assert_eq!(log.get("max-size").map(String::as_str), Some("10m"));
    let settings = found.config.unwrap();
    assert_eq!(settings.stop_signal.as_deref(), Some("SIGQUIT"));
    let test = settings.healthcheck.unwrap().test.unwrap();
    assert_eq!(test, ["NONE"]);
    let endpoints = found.network_settings.unwrap().networks.unwrap();
    assert_eq!(endpoints.len(), 1);
    assert!(endpoints.contains_key(&network_name(world.cluster)));
    world.end(&request.service).await;
}

pub(crate) async fn what_is_impossible_is_refused(world: &World) {
    let good = world.script("impossible", "true");
    let missing = world.engine.shared_directory().join("missing");
    let cases = [
        (
            ContainerRequest {
                mounts: vec![MountRequest {
                    source: missing.clone(),
                    target: "/data".to_owned(),
                    read_only: false,
                }],
                ..good.clone()
            },
            "no such directory",
        ),
        (
            ContainerRequest {
                address: Ipv4Addr::new(10, 1, 1, 1),
                ..good.clone()
            },
            SUBNET,
        ),
        (
            ContainerRequest {
                stop_signal: Some("SIGNONSENSE".to_owned()),
                ..good.clone()
            },
            "SIGNONSENSE",
        ),
    ];
    for (request, part) in cases {
        let made = world.docker.create(&request).await;
        let error = match made {
            Err(error) => error,
            Ok(()) => world.docker.start(&request.service).await.unwrap_err(),
        };
        assert!(
            matches!(&error.kind, RuntimeErrorKind::Refused(why) if why.contains(part)),
            "{error}"
        );
        world.docker.remove(&request.service).await.unwrap();
    }
    assert!(!missing.exists());
}

pub(crate) async fn the_fixed_address_answers(world: &World) {
    let script = "echo served >/www/index.html; exec httpd -f -p 8080 -h /www";
    let request = world.script("web", script);
    world.run(&request).await;
    let url = format!("http://{}:8080/", request.address);
    let url = url.as_str();
    let fetch = || async move {
        let mut fetch = world.engine.command("/bin/busybox");
        let answer = fetch.args(["wget", "-q", "-O", "-", url]).output();
        let answer = answer.await.unwrap();
        answer.status.success().then_some(answer.stdout)
    };
    assert_eq!(eventually("the web server", fetch).await, b"served\n");
    // Stopped and started again, it is at the same address.
    world.docker.stop(&request.service, 0).await.unwrap();
    world.docker.start(&request.service).await.unwrap();
    assert_eq!(eventually("the web server", fetch).await, b"served\n");
    world.end(&request.service).await;
}

/// Data passes both ways, and what the node mounts below later is seen in the running container.
pub(crate) async fn mounts_are_seen_also_later_ones(world: &World) {
    let source = world.engine.shared_directory().join("volume");
    let inner = source.join("later");
    std::fs::create_dir_all(&inner).unwrap();
    std::fs::write(source.join("in"), "from the node").unwrap();
    let script = "cat /data/in; cat /data/in >/data/out; \
                  while ! test -e /data/later/file; do sleep 0.02; done; \
                  cat /data/later/file; exit 4";
    let mut request = world.script("mount", script);
    request.mounts = vec![MountRequest {
        source: source.clone(),
        target: "/data".to_owned(),
        read_only: false,
    }];
    let mut events = world.docker.events().await.unwrap();
    world.run(&request).await;
    let out = source.join("out");
    let written = || async {
        std::fs::read_to_string(&out)
            .ok()
            .filter(|text| !text.is_empty())
    };
    assert_eq!(eventually("the file", written).await, "from the node");
    let _late = LateMount::new(&inner);
    std::fs::write(inner.join("file"), "mounted later").unwrap();
    expect_event(
        &mut events,
        |event| matches!(event, ContainerEvent::Exited(of, 4) if *of == request.service),
    )
    .await;
    let lines = log_of(&world.docker, &request.service, None, Follow::No).await;
    let text: String = lines.into_iter().map(|line| line.text).collect();
    assert_eq!(text, "from the nodemounted later");
    world.end(&request.service).await;
}

struct LateMount<'a>(&'a Path);

impl<'a> LateMount<'a> {
    fn new(at: &'a Path) -> Self {
        let mut mount = Command::new("mount");
        let done = mount.args(["-t", "tmpfs", "tmpfs"]).arg(at).status();
        assert!(done.unwrap().success());
        Self(at)
    }
}

impl Drop for LateMount<'_> {
    fn drop(&mut self) {
        let _done = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

pub(crate) async fn connect_again_and_with_another_subnet(world: &World) {
    let again = Docker::connect(config(&world.engine, world.cluster)).await;
    let again = again.unwrap();
    assert_eq!(again.api_version(), world.docker.api_version());
    let other = DockerConfig {
        container_network: "172.31.8.0/24".to_owned(),
        ..config(&world.engine, world.cluster)
    };
    let error = Docker::connect(other).await.unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("172.31.7.0/24") && text.contains("172.31.8.0/24"),
        "{text}"
    );
    // Somebody removes the network: the next container brings it back.
    let client = world.engine.client().await.unwrap();
    client
        .remove_network(&network_name(world.cluster))
        .await
        .unwrap();
    let request = world.script("network", "sleep 1000000");
    world.run(&request).await;
    let info = world
        .docker
        .inspect(&request.service)
        .await
        .unwrap()
        .unwrap();
    assert!(matches!(info.run, ContainerRun::Running { .. }));
    world.end(&request.service).await;
}
