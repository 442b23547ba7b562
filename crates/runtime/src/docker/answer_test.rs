//! Fixtures for `answer.rs`: what engines answer, cut to the parts that matter.

use super::*;
use serde_json::json;

const CLUSTER: &str = "8c5b2f31-0000-4000-8000-000000000000";

fn cluster() -> ClusterId {
    CLUSTER.parse().unwrap()
}

/// As Docker 20.10 answers for a running container with a health check.
fn answer(state: &serde_json::Value) -> ContainerInspectResponse {
    serde_json::from_value(json!({
        "Id": "6a1f", "Created": "2026-11-20T17:50:37.847918122Z", "Path": "serve", "Args": [],
        "State": state,
        "Image": "sha256:abc", "Name": "/flocker--shop--db", "RestartCount": 0,
        "Driver": "overlay2", "Platform": "linux", "ExecIDs": null,
        "HostConfig": {"NetworkMode": "flocker-8c5b2f31", "PortBindings": null,
            "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0}, "ConsoleSize": [0, 0],
            "Isolation": "", "CgroupnsMode": "host", "IpcMode": "private"},
        "Config": {"Image": "sha256:abc", "StopSignal": "SIGINT", "Volumes": null,
            "Labels": {"io.flocker.cluster": CLUSTER, "io.flocker.service": "shop/db",
                "io.flocker.fingerprint": "f1", "io.flocker.address": "10.9.0.7"}},
        "NetworkSettings": {"Bridge": "", "Ports": {}},
    }))
    .unwrap()
}

fn state(status: &str, pid: i64, exit_code: i64, health: &serde_json::Value) -> serde_json::Value {
    json!({
        "Status": status, "Running": status == "running", "Paused": false, "Restarting": false,
        "OOMKilled": false, "Dead": false, "Pid": pid, "ExitCode": exit_code, "Error": "",
        "StartedAt": "2026-11-20T17:50:38Z", "FinishedAt": "0001-01-01T00:00:00Z",
        "Health": health,
    })
}

fn ours(state: &serde_json::Value) -> Found {
    match read_container(answer(state), cluster()) {
        Owner::Us(found) => *found,
        Owner::Others(why) => panic!("{why}"),
    }
}

fn health(status: &str, outputs: &[&str]) -> serde_json::Value {
    let log: Vec<_> = outputs
        .iter()
        .map(|output| {
            json!({"Start": "2026-11-20T17:50:38Z", "End": "2026-11-20T17:50:39Z",
                "ExitCode": 1, "Output": output})
        })
        .collect();
    json!({"Status": status, "FailingStreak": log.len(), "Log": log})
}

#[test]
fn a_running_container_is_read_whole() {
    let found = ours(&state("running", 4711, 0, &health("healthy", &[])));
    assert_eq!(
        found,
        Found {
            id: "6a1f".to_owned(),
            stop_signal: Some("SIGINT".to_owned()),
            exit_code: 0,
            pid: 4711,
            gated: false,
            checked: true,
            healthy: true,
            info: ContainerInfo {
                service: "shop/db".parse().unwrap(),
                fingerprint: "f1".to_owned(),
                image_id: "sha256:abc".to_owned(),
                address: Ipv4Addr::new(10, 9, 0, 7),
                run: ContainerRun::Running {
                    pid: 4711,
                    health: Health::Healthy,
                },
            },
        }
    );
}

#[test]
fn states_are_told_apart() {
    let none = serde_json::Value::Null;
    assert_eq!(
        ours(&state("created", 0, 0, &none)).info.run,
        ContainerRun::Created
    );
    assert_eq!(
        ours(&state("exited", 0, 137, &none)).info.run,
        ContainerRun::Exited { code: 137 }
    );
    assert_eq!(
        ours(&state("dead", 0, 1, &none)).info.run,
        ContainerRun::Exited { code: 1 }
    );
    assert_eq!(
        ours(&state("paused", 9, 0, &none)).info.run,
        ContainerRun::Running {
            pid: 9,
            health: Health::None
        }
    );
}

#[test]
fn an_unhealthy_one_comes_with_its_last_output_cut_to_size() {
    let long = "ä".repeat(HEALTH_OUTPUT_BYTES_MAX);
    for (outputs, expected_bytes) in [
        (vec!["first", " refused \n"], "refused".len()),
        (vec![long.as_str()], HEALTH_OUTPUT_BYTES_MAX),
        (vec![], 0),
    ] {
        match ours(&state("running", 1, 0, &health("unhealthy", &outputs)))
            .info
            .run
        {
            ContainerRun::Running {
                health: Health::Unhealthy(output),
                ..
            } => assert_eq!(output.len(), expected_bytes),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn containers_of_others_are_recognised() {
    let running = || answer(&state("running", 1, 0, &serde_json::Value::Null));
    let other_cluster = "00000000-0000-4000-8000-000000000001".parse().unwrap();
    match read_container(running(), other_cluster) {
        Owner::Others(why) => assert!(why.contains(CLUSTER), "{why}"),
        Owner::Us(found) => panic!("{found:?}"),
    }
    for label in [
        LABEL_CLUSTER,
        LABEL_SERVICE,
        LABEL_FINGERPRINT,
        LABEL_ADDRESS,
    ] {
        let mut stripped = running();
        let labels = stripped.config.as_mut().unwrap().labels.as_mut().unwrap();
        labels.remove(label);
        match read_container(stripped, cluster()) {
            Owner::Others(why) => assert!(why.contains(label), "{why}"),
            Owner::Us(found) => panic!("{label}: {found:?}"),
        }
    }
}

#[test]
fn exposed_tcp_ports_are_read_in_order() {
    // The engine sends an object whose values are empty objects.
    let image: ImageInspect = serde_json::from_value(json!({
        "Id": "sha256:abc", "RepoTags": ["web:1"],
        "Config": {"ExposedPorts": {"8080/tcp": {}, "53/udp": {}, "80/tcp": {}}},
    }))
    .unwrap();
    assert_eq!(
        read_image(image),
        ImageInfo {
            id: "sha256:abc".to_owned(),
            exposed_ports: vec![80, 8080],
        }
    );
}
