//! Builds the engine's description of a container from a [`ContainerRequest`]. Pure; decides
//! nothing but what is the same for every container: no restarts by the engine, bounded logs,
//! mounts that later mounts of the node reach.

use super::gate::{NewGate, PROGRAM_TARGET};
use super::labels::{LABEL_ADDRESS, LABEL_CLUSTER, LABEL_FINGERPRINT, LABEL_GATE, LABEL_SERVICE};
use super::network::network_name;
use super::options;
use crate::runtime_trait::{ContainerRequest, MountRequest};
use bollard::models::{
    ContainerCreateBody, EndpointIpamConfig, EndpointSettings, HealthConfig, HostConfig,
    HostConfigLogConfig, ImageConfig, Mount, MountBindOptions, MountBindOptionsPropagationEnum,
    MountType, NetworkingConfig, RestartPolicy, RestartPolicyNameEnum,
};
use flocker_types::app::HealthCheck;
use flocker_types::ids::ClusterId;
use std::collections::HashMap;

/// Log files of one container on the node: this many ...
const LOG_FILES_MAX: &str = "3";
/// ... of this size each.
const LOG_FILE_SIZE_MAX: &str = "10m";
const NANOSECONDS_PER_MS: u64 = 1_000_000;

/// The container that the engine is asked for.
pub(super) fn container_body(
    request: &ContainerRequest,
    cluster: ClusterId,
    gate: Option<&NewGate>,
) -> ContainerCreateBody {
    let network = network_name(cluster);
    let mut body = ContainerCreateBody {
        image: Some(request.image_id.clone()),
        cmd: request.command.clone(),
        env: Some(
            request
                .environment
                .iter()
                .map(|(key, value)| format!("{key}={value}"))
                .collect(),
        ),
        labels: Some(labels(request, cluster)),
        healthcheck: request.health_check.as_ref().map(health_config),
        stop_signal: request.stop_signal.clone(),
        host_config: Some(host_config(request, &network)),
        networking_config: Some(NetworkingConfig {
            endpoints_config: Some(HashMap::from([(network, endpoint(request))])),
        }),
        ..ContainerCreateBody::default()
    };
    options::apply(&request.options, &mut body);
    if let Some(gate) = gate {
        begin_at(gate, &mut body);
    }
    body
}

/// The gate's program in place of the container's own; user, directory and environment stay.
fn begin_at(gate: &NewGate, body: &mut ContainerCreateBody) {
    body.entrypoint = Some(vec![PROGRAM_TARGET.to_owned()]);
    body.cmd = Some(gate.arguments.clone());
    let labels = body.labels.get_or_insert_default();
    labels.insert(LABEL_GATE.to_owned(), gate.places.len().to_string());
    let program = MountRequest {
        source: gate.program.clone(),
        target: PROGRAM_TARGET.to_owned(),
        read_only: true,
    };
    // Nothing of the container may be put into a place, where it would be hidden when the volume comes: the
    // engine refuses to start a container that has something to be mounted, or its directory, in one.
    let places = gate.places.iter().map(|(source, target)| MountRequest {
        source: source.clone(),
        target: target.clone(),
        read_only: true,
    });
    let host = body.host_config.get_or_insert_default();
    let mounts = host.mounts.get_or_insert_default();
    mounts.extend(
        std::iter::once(program)
            .chain(places)
            .map(|m| bind_mount(&m)),
    );
}

/// The command that the engine makes of a request and its image, by the engine's own rules: an entry
/// point of the request's own makes the image's command void, an empty one does not.
pub(super) fn command_of(request: &ContainerRequest, image: &ImageConfig) -> Vec<String> {
    let from_image = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
    let entrypoint = request.options.entrypoint.as_ref();
    let replaced = entrypoint.is_some_and(|words| !words.is_empty());
    let own = request.command.as_ref().filter(|words| !words.is_empty());
    let command = match own {
        Some(words) => words.clone(),
        None if replaced => Vec::new(),
        None => from_image(&image.cmd),
    };
    let entrypoint = entrypoint.map_or_else(|| from_image(&image.entrypoint), Clone::clone);
    // The engine's way to take an entry point away.
    let taken_away = entrypoint == [""];
    let entrypoint = entrypoint.into_iter().filter(|_| !taken_away);
    entrypoint.chain(command).collect()
}

fn labels(request: &ContainerRequest, cluster: ClusterId) -> HashMap<String, String> {
    HashMap::from([
        (LABEL_CLUSTER.to_owned(), cluster.to_string()),
        (LABEL_SERVICE.to_owned(), request.service.to_string()),
        (LABEL_FINGERPRINT.to_owned(), request.fingerprint.clone()),
        (LABEL_ADDRESS.to_owned(), request.address.to_string()),
    ])
}

fn endpoint(request: &ContainerRequest) -> EndpointSettings {
    EndpointSettings {
        ipam_config: Some(EndpointIpamConfig {
            ipv4_address: Some(request.address.to_string()),
            ..EndpointIpamConfig::default()
        }),
        ..EndpointSettings::default()
    }
}

fn host_config(request: &ContainerRequest, network: &str) -> HostConfig {
    HostConfig {
        network_mode: Some(network.to_owned()),
        // The agent restarts containers: only it knows whether this node may still run them.
        restart_policy: Some(RestartPolicy {
            name: Some(RestartPolicyNameEnum::NO),
            maximum_retry_count: None,
        }),
        mounts: Some(request.mounts.iter().map(bind_mount).collect()),
        memory: request
            .memory_limit_bytes
            .map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX)),
        cpu_shares: request.cpu_shares.map(i64::from),
        extra_hosts: Some(
            request
                .hosts
                .iter()
                .map(|(name, address)| format!("{name}:{address}"))
                .collect(),
        ),
        log_config: Some(HostConfigLogConfig {
            typ: Some("json-file".to_owned()),
            config: Some(HashMap::from([
                ("max-size".to_owned(), LOG_FILE_SIZE_MAX.to_owned()),
                ("max-file".to_owned(), LOG_FILES_MAX.to_owned()),
            ])),
        }),
        ..HostConfig::default()
    }
}

/// A bind by `mounts`, not by `binds`: for those the engine refuses a missing directory instead of
/// making it.
fn bind_mount(mount: &MountRequest) -> Mount {
    Mount {
        typ: Some(MountType::BIND),
        source: Some(mount.source.to_string_lossy().into_owned()),
        target: Some(mount.target.clone()),
        read_only: Some(mount.read_only),
        bind_options: Some(MountBindOptions {
            propagation: Some(MountBindOptionsPropagationEnum::RSLAVE),
            ..MountBindOptions::default()
        }),
        ..Mount::default()
    }
}

fn health_config(check: &HealthCheck) -> HealthConfig {
    HealthConfig {
        test: Some(check.test.clone()),
        interval: Some(nanoseconds(check.interval_ms)),
        timeout: Some(nanoseconds(check.timeout_ms)),
        retries: Some(i64::from(check.retries)),
        start_period: Some(nanoseconds(check.start_period_ms)),
        start_interval: check.start_interval_ms.map(nanoseconds),
    }
}

fn nanoseconds(ms: u64) -> i64 {
    i64::try_from(ms.saturating_mul(NANOSECONDS_PER_MS)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flocker_types::container::ContainerOptions;
    use serde_json::json;
    use std::net::Ipv4Addr;

    fn request() -> ContainerRequest {
        ContainerRequest {
            service: "shop/db".parse().unwrap(),
            image_id: "sha256:abc".to_owned(),
            command: Some(vec!["serve".to_owned()]),
            environment: vec![("A".to_owned(), "1=2".to_owned())],
            hosts: vec![("cache".to_owned(), Ipv4Addr::new(10, 1, 2, 3))],
            mounts: vec![MountRequest {
                source: "/pool/v/data".into(),
                target: "/var/lib/db".to_owned(),
                read_only: false,
            }],
            options: ContainerOptions::default(),
            memory_limit_bytes: Some(64 << 20),
            cpu_shares: Some(512),
            health_check: Some(HealthCheck {
                test: vec!["NONE".to_owned()],
                interval_ms: 1_500,
                timeout_ms: 200,
                retries: 3,
                start_period_ms: 0,
                start_interval_ms: None,
            }),
            stop_signal: Some("SIGINT".to_owned()),
            address: Ipv4Addr::new(10, 9, 0, 7),
            fingerprint: "f1".to_owned(),
        }
    }

    fn body_json(request: &ContainerRequest) -> serde_json::Value {
        let cluster = "8c5b2f31-0000-4000-8000-000000000000".parse().unwrap();
        serde_json::to_value(container_body(request, cluster, None)).unwrap()
    }

    #[test]
    fn everything_of_the_request_is_in_the_engines_terms() {
        assert_eq!(
            body_json(&request()),
            json!({
                "Image": "sha256:abc",
                "Cmd": ["serve"],
                "Env": ["A=1=2"],
                "Labels": {
                    "io.flocker.cluster": "8c5b2f31-0000-4000-8000-000000000000",
                    "io.flocker.service": "shop/db",
                    "io.flocker.fingerprint": "f1",
                    "io.flocker.address": "10.9.0.7",
                },
                "Healthcheck": {
                    "Test": ["NONE"],
                    "Interval": 1_500_000_000_i64,
                    "Timeout": 200_000_000,
                    "Retries": 3,
                    "StartPeriod": 0,
                },
                "StopSignal": "SIGINT",
                "HostConfig": {
                    "NetworkMode": "flocker-8c5b2f31",
                    "RestartPolicy": {"Name": "no"},
                    "Mounts": [{
                        "Type": "bind",
                        "Source": "/pool/v/data",
                        "Target": "/var/lib/db",
                        "ReadOnly": false,
                        "BindOptions": {"Propagation": "rslave"},
                    }],
                    "Memory": 67_108_864,
                    "CpuShares": 512,
                    "ExtraHosts": ["cache:10.1.2.3"],
                    "LogConfig": {
                        "Type": "json-file",
                        "Config": {"max-size": "10m", "max-file": "3"},
                    },
                },
                "NetworkingConfig": {
                    "EndpointsConfig": {
                        "flocker-8c5b2f31": {"IPAMConfig": {"IPv4Address": "10.9.0.7"}},
                    },
                },
            })
        );
    }

    #[test]
    fn what_is_not_asked_for_stays_the_images_own() {
        let bare = ContainerRequest {
            command: None,
            health_check: None,
            stop_signal: None,
            memory_limit_bytes: None,
            cpu_shares: None,
            ..request()
        };
        let body = body_json(&bare);
        for absent in ["Cmd", "Healthcheck", "StopSignal"] {
            assert_eq!(body.get(absent), None, "{absent}");
        }
        for absent in ["Memory", "CpuShares"] {
            assert_eq!(body["HostConfig"].get(absent), None, "{absent}");
        }
    }

    #[test]
    fn with_a_gate_only_the_beginning_differs() {
        let gate = NewGate {
            program: "/state/gates/program-1".into(),
            places: vec![("/state/gates/places/c/0".into(), "/data".to_owned())],
            arguments: ["/places/c/0", "--", "serve"].map(str::to_owned).to_vec(),
        };
        let mut asked = request();
        asked.mounts.clear();
        asked.options.entrypoint = Some(vec!["own".to_owned()]);
        let cluster = "8c5b2f31-0000-4000-8000-000000000000".parse().unwrap();
        let plain = body_json(&asked);
        let body = container_body(&asked, cluster, Some(&gate));
        let mut body = serde_json::to_value(body).unwrap();
        assert_eq!(body["Entrypoint"], json!(["/.flocker-gate"]));
        assert_eq!(body["Cmd"], json!(["/places/c/0", "--", "serve"]));
        assert_eq!(body["Labels"]["io.flocker.gate"], "1");
        let mount = |source: &str, target: &str| {
            json!({"Type": "bind", "Source": source, "Target": target, "ReadOnly": true,
                "BindOptions": {"Propagation": "rslave"}})
        };
        assert_eq!(
            body["HostConfig"]["Mounts"],
            json!([
                mount("/state/gates/program-1", "/.flocker-gate"),
                mount("/state/gates/places/c/0", "/data")
            ])
        );
        for (key, value) in [("Entrypoint", &plain["Entrypoint"]), ("Cmd", &plain["Cmd"])] {
            body[key] = value.clone();
        }
        body["Labels"]
            .as_object_mut()
            .unwrap()
            .remove("io.flocker.gate");
        body["HostConfig"]["Mounts"] = plain["HostConfig"]["Mounts"].clone();
        assert_eq!(body, plain);
    }

    #[test]
    fn the_command_is_the_one_that_the_engine_would_run() {
        let words =
            |text: &str| -> Vec<String> { text.split_whitespace().map(str::to_owned).collect() };
        let image = ImageConfig {
            entrypoint: Some(words("enter")),
            cmd: Some(words("image cmd")),
            ..ImageConfig::default()
        };
        let of = |entrypoint: Option<Vec<String>>, command: Option<&str>| {
            let mut asked = request();
            asked.options.entrypoint = entrypoint;
            asked.command = command.map(words);
            command_of(&asked, &image).join(" ")
        };
        assert_eq!(of(None, None), "enter image cmd");
        assert_eq!(of(None, Some("own")), "enter own");
        assert_eq!(of(Some(words("mine")), None), "mine");
        assert_eq!(of(Some(words("mine")), Some("own")), "mine own");
        assert_eq!(of(Some(Vec::new()), None), "image cmd");
        assert_eq!(of(Some(Vec::new()), Some("own")), "own");
        assert_eq!(of(Some(vec![String::new()]), Some("own")), "own");
        assert_eq!(of(Some(vec![String::new()]), None), "");
        let bare = command_of(&request(), &ImageConfig::default());
        assert_eq!(bare, ["serve"]);
    }

    #[test]
    fn huge_times_do_not_wrap() {
        assert_eq!(nanoseconds(u64::MAX), i64::MAX);
    }
}
