//! What an application is: services, their ports, links and volumes, and where they are to run.
//!
//! The manifest crate makes these from files; control keeps them; agents build containers from
//! them. Values here are already valid: whoever makes one has checked names, ports and paths.

use crate::container::{ContainerOptions, is_default};
use crate::ids::{ApplicationName, ServiceId, ServiceName, VolumeName};
use crate::secret::SecretText;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Pause budget of a service that states none, in milliseconds.
pub const PAUSE_BUDGET_DEFAULT_MS: u64 = 2_000;
/// Time that a container gets between its stop signal and SIGKILL when the manifest states none,
/// in milliseconds (Docker's default).
pub const STOP_GRACE_DEFAULT_MS: u64 = 10_000;

/// Everything that one application's manifests say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Application {
    /// Its name; services and volumes are unique within it.
    pub name: ApplicationName,
    /// The services, by name.
    pub services: BTreeMap<ServiceName, ServiceSpec>,
}

/// One service: a container and how it is reached. Where it runs is not part of it: see
/// [`Placement`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceSpec {
    /// Image reference, with an explicit tag or digest.
    pub image: String,
    /// Replaces the image's command when present.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// Environment variables, beside those that links add. These win.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// Environment variables whose values nobody is to see; none of them is in `environment` too.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secret_environment: BTreeMap<String, SecretText>,
    /// Ports published on every node.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PortMapping>,
    /// Ports that other services reach at the cluster address, beside the published ones.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    #[schemars(with = "Vec<u16>")]
    pub expose: BTreeSet<u16>,
    /// Names under which this service reaches others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<Link>,
    /// Volumes and where the container sees them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<VolumeMount>,
    /// Memory limit in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_limit_bytes: Option<u64>,
    /// Docker's relative CPU weight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_shares: Option<u32>,
    /// What to do when the container exits by itself.
    #[serde(default)]
    pub restart: RestartPolicy,
    /// How to tell that the service works; the image's own check when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheck>,
    /// Signal that asks the container to stop; the image's own (else SIGTERM) when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// Time between the stop signal and SIGKILL, in milliseconds.
    pub stop_grace_ms: u64,
    /// Services of the same application that must be started, or healthy, first.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub depends_on: BTreeMap<ServiceName, DependencyCondition>,
    /// Longest pause that a planned move should cause, in milliseconds.
    pub pause_budget_ms: u64,
    /// How its container is made, beyond all this.
    #[serde(default, skip_serializing_if = "is_default")]
    pub container: ContainerOptions,
}

impl ServiceSpec {
    /// A service that only has an image, everything else at its default.
    pub fn of_image(image: impl Into<String>) -> Self {
        Self {
            image: image.into(),
            command: None,
            environment: BTreeMap::new(),
            secret_environment: BTreeMap::new(),
            ports: Vec::new(),
            expose: BTreeSet::new(),
            links: Vec::new(),
            mounts: Vec::new(),
            memory_limit_bytes: None,
            cpu_shares: None,
            restart: RestartPolicy::Never,
            health_check: None,
            stop_signal: None,
            stop_grace_ms: STOP_GRACE_DEFAULT_MS,
            depends_on: BTreeMap::new(),
            pause_budget_ms: PAUSE_BUDGET_DEFAULT_MS,
            container: ContainerOptions::default(),
        }
    }

    /// Every value that nobody is to see: its name, for people, and the value.
    pub fn secrets_mut(&mut self) -> impl Iterator<Item = (&str, &mut SecretText)> {
        let variables = self.secret_environment.iter_mut();
        let files = self.container.files.iter_mut();
        variables
            .map(|(name, value)| (name.as_str(), value))
            .chain(files.map(|file| (file.target.as_str(), &mut file.content)))
    }

    /// The same, to look at.
    pub fn secrets(&self) -> impl Iterator<Item = (&str, &SecretText)> {
        let variables = self.secret_environment.iter();
        let files = self.container.files.iter();
        variables
            .map(|(name, value)| (name.as_str(), value))
            .chain(files.map(|file| (file.target.as_str(), &file.content)))
    }

    /// Takes the values of secret variables, and what configs and secrets hold, away, for people.
    pub fn hide_secrets(&mut self) {
        for (_, value) in self.secrets_mut() {
            *value = SecretText::Hidden;
        }
    }
}

/// A container port and the port at which every node answers for it. TCP.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub struct PortMapping {
    /// The port inside the container.
    pub internal: u16,
    /// The port on every node.
    pub external: u16,
}

/// A name in a container for another service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Link {
    /// The name in the container's hosts file and in the link variables.
    pub alias: String,
    /// Whom it reaches.
    pub target: LinkTarget,
}

/// How a manifest names the other end of a link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LinkTarget {
    /// Compose: a service of the same application, at its own ports. Sets no variables.
    Service(ServiceName),
    /// v1: whoever publishes `remote_port` in this cluster. Sets
    /// `<ALIAS>_PORT_<local_port>_TCP...`. With no such service the node's own address is used.
    Published {
        /// The port number in the variables' names.
        local_port: u16,
        /// The published (external) port of the other service.
        remote_port: u16,
    },
}

/// A volume in a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VolumeMount {
    /// The volume's name in its application.
    pub volume: VolumeName,
    /// Absolute, normalised path in the container.
    pub target: String,
    /// Most bytes that the volume may hold; none means as much as the pool has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes_max: Option<u64>,
    /// The container cannot write it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub read_only: bool,
}

/// What happens when a container exits by itself. Carried out by the agent, not by Docker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Default)]
#[serde(rename_all = "snake_case")]
pub enum RestartPolicy {
    /// It stays stopped (until the node reboots or somebody deploys again).
    #[default]
    Never,
    /// It is started again.
    Always,
    /// It is started again after a non-zero exit, at most that many times when given.
    OnFailure {
        /// Restarts before giving up; none means no limit.
        retries_max: Option<u32>,
    },
}

/// A command that tells whether the service works.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HealthCheck {
    /// As Docker takes it: `["CMD", ...]`, `["CMD-SHELL", "..."]` or `["NONE"]`.
    pub test: Vec<String>,
    /// Between two checks, in milliseconds.
    pub interval_ms: u64,
    /// After which one check counts as failed, in milliseconds.
    pub timeout_ms: u64,
    /// Failures in a row that make the service unhealthy.
    pub retries: u32,
    /// Time after the start in which failures do not count, in milliseconds.
    pub start_period_ms: u64,
    /// Between two checks in that time, in milliseconds; the engine's own when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_interval_ms: Option<u64>,
}

/// How far a dependency must have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DependencyCondition {
    /// Its container runs.
    Started,
    /// Its health check passes.
    Healthy,
}

/// Where services are to run, as a manifest says it. Nodes are named as the manifest does: by
/// name or by address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Default)]
pub struct Placement {
    /// Node of each service that is placed.
    pub services: BTreeMap<ServiceName, String>,
    /// Nodes whose services of this application are exactly those listed: others on them are
    /// stopped (their volumes kept). A v1 deployment lists such nodes; `node: []` empties one.
    #[schemars(with = "Vec<String>")]
    pub exact_nodes: BTreeSet<String>,
    /// When true, every service of the application that is not in the manifest is stopped,
    /// wherever it runs (Compose files).
    pub remove_absent: bool,
}

/// The environment variables that Flocker 0.2 to 1.0 set for a link.
pub fn link_variables(
    alias: &str,
    local_port: u16,
    host: &str,
    remote_port: u16,
) -> [(String, String); 4] {
    let name = format!(
        "{}_PORT_{local_port}_TCP",
        alias.to_uppercase().replace('-', "_")
    );
    [
        (name.clone(), format!("tcp://{host}:{remote_port}")),
        (format!("{name}_PROTO"), "tcp".to_owned()),
        (format!("{name}_ADDR"), host.to_owned()),
        (format!("{name}_PORT"), remote_port.to_string()),
    ]
}

/// Name of the Docker container that runs a service.
pub fn container_name(service: &ServiceId) -> String {
    format!("flocker--{}--{}", service.application, service.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_variables_are_those_of_the_old_flocker() {
        let variables = link_variables("dash-alias", 80, "172.16.255.250", 8080);
        assert_eq!(
            variables[0],
            (
                "DASH_ALIAS_PORT_80_TCP".into(),
                "tcp://172.16.255.250:8080".into()
            )
        );
        assert_eq!(
            variables[3],
            ("DASH_ALIAS_PORT_80_TCP_PORT".into(), "8080".into())
        );
    }
}
