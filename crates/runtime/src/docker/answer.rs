//! Reads the engine's answers about containers and images into our own words. Pure.

use super::labels::{LABEL_ADDRESS, LABEL_CLUSTER, LABEL_FINGERPRINT, LABEL_GATE, LABEL_SERVICE};
use crate::runtime_trait::{ContainerInfo, ContainerRun, Health, ImageInfo};
use bollard::models::{
    ContainerInspectResponse, ContainerState, ContainerStateStatusEnum, Health as EngineHealth,
    HealthStatusEnum, ImageInspect,
};
use flocker_types::ids::{ClusterId, ServiceId};
use std::collections::HashMap;
use std::net::Ipv4Addr;

/// Most that is kept of a health check's output, in bytes.
const HEALTH_OUTPUT_BYTES_MAX: usize = 4_096;

/// A container of ours, with what only this implementation needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// The engine's id of it.
    pub(super) id: String,
    /// Its stop signal, when it or its image names one.
    pub(super) stop_signal: Option<String>,
    /// Exit code of its last run.
    pub(super) exit_code: i64,
    /// Its first process in the node's process ids; 0 when it has none.
    pub(super) pid: u32,
    /// It begins at a gate. Whether it waits there the engine does not know: to it, it runs.
    pub(super) gated: bool,
    /// Its health is checked.
    pub(super) checked: bool,
    /// The last check passed, whatever runs in it.
    pub(super) healthy: bool,
    /// What callers see.
    pub(super) info: ContainerInfo,
}

/// What a container that the engine has is to us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Owner {
    /// It is ours.
    Us(Box<Found>),
    /// It is not ours; why, as in "it has no label ...".
    Others(String),
}

/// Whose container it is, by its labels.
pub(super) fn read_container(answer: ContainerInspectResponse, cluster: ClusterId) -> Owner {
    let config = answer.config.unwrap_or_default();
    let labels = config.labels.unwrap_or_default();
    let (service, fingerprint, address) = match read_labels(&labels, cluster) {
        Ok(values) => values,
        Err(why) => return Owner::Others(why),
    };
    let state = answer.state.unwrap_or_default();
    let health = read_health(state.health.clone());
    Owner::Us(Box::new(Found {
        id: answer.id.unwrap_or_default(),
        stop_signal: config.stop_signal.filter(|signal| !signal.is_empty()),
        exit_code: state.exit_code.unwrap_or_default(),
        pid: read_pid(&state),
        gated: labels.contains_key(LABEL_GATE),
        checked: health != Health::None,
        healthy: health == Health::Healthy,
        info: ContainerInfo {
            service,
            fingerprint,
            image_id: answer.image.unwrap_or_default(),
            address,
            run: read_run(state),
        },
    }))
}

fn read_labels(
    labels: &HashMap<String, String>,
    cluster: ClusterId,
) -> Result<(ServiceId, String, Ipv4Addr), String> {
    let label = |name: &str| {
        labels
            .get(name)
            .ok_or_else(|| format!("it has no label {name}"))
    };
    let of_cluster = label(LABEL_CLUSTER)?;
    if *of_cluster != cluster.to_string() {
        return Err(format!("it belongs to the cluster {of_cluster}"));
    }
    let service = label(LABEL_SERVICE)?;
    let service = service
        .parse()
        .map_err(|error| format!("its label {LABEL_SERVICE} is damaged: {error}"))?;
    let address = label(LABEL_ADDRESS)?;
    let address = address
        .parse()
        .map_err(|_| format!("its label {LABEL_ADDRESS} is damaged: \"{address}\""))?;
    Ok((service, label(LABEL_FINGERPRINT)?.clone(), address))
}

fn read_run(state: ContainerState) -> ContainerRun {
    use ContainerStateStatusEnum as Status;
    match state.status {
        Some(Status::RUNNING | Status::PAUSED | Status::RESTARTING | Status::STOPPING) => {
            ContainerRun::Running {
                pid: read_pid(&state),
                health: read_health(state.health),
            }
        }
        Some(Status::CREATED) => ContainerRun::Created,
        _ => ContainerRun::Exited {
            code: state.exit_code.unwrap_or_default(),
        },
    }
}

fn read_pid(state: &ContainerState) -> u32 {
    let pid = state.pid.and_then(|pid| u32::try_from(pid).ok());
    pid.unwrap_or_default()
}

fn read_health(health: Option<EngineHealth>) -> Health {
    let Some(health) = health else {
        return Health::None;
    };
    match health.status {
        Some(HealthStatusEnum::STARTING) => Health::Starting,
        Some(HealthStatusEnum::HEALTHY) => Health::Healthy,
        Some(HealthStatusEnum::UNHEALTHY) => Health::Unhealthy(last_output(health.log)),
        None | Some(HealthStatusEnum::NONE | HealthStatusEnum::EMPTY) => Health::None,
    }
}

fn last_output(log: Option<Vec<bollard::models::HealthcheckResult>>) -> String {
    let output = log
        .and_then(|mut results| results.pop())
        .and_then(|result| result.output)
        .unwrap_or_default();
    let output = output.trim();
    let mut end = output.len().min(HEALTH_OUTPUT_BYTES_MAX);
    while !output.is_char_boundary(end) {
        end -= 1;
    }
    output[..end].to_owned()
}

/// An image's id and the TCP ports it exposes, in order.
pub(super) fn read_image(answer: ImageInspect) -> ImageInfo {
    let mut exposed_ports: Vec<u16> = answer
        .config
        .and_then(|config| config.exposed_ports)
        .unwrap_or_default()
        .iter()
        .filter_map(|port| tcp_port(port))
        .collect();
    exposed_ports.sort_unstable();
    exposed_ports.dedup();
    ImageInfo {
        id: answer.id.unwrap_or_default(),
        exposed_ports,
    }
}

/// `80/tcp` and `80`; other protocols give none.
fn tcp_port(text: &str) -> Option<u16> {
    let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    (protocol == "tcp").then(|| port.parse().ok()).flatten()
}

#[cfg(test)]
#[path = "answer_test.rs"]
mod tests;
