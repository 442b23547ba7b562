//! How a service's container is made, beyond image, command, environment, ports and volumes: what
//! Compose files say and the container engine carries out.
//!
//! Part of [`crate::app::ServiceSpec`]. Values are valid: whoever makes one has checked them.

use crate::secret::SecretText;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The engine's options for a container. The default is what the engine does by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Default)]
#[serde(default)]
pub struct ContainerOptions {
    /// Replaces the image's entry point when present; an empty list takes it away.
    #[serde(skip_serializing_if = "is_default")]
    pub entrypoint: Option<Vec<String>>,
    /// User (and group) of the first process; the image's when absent.
    #[serde(skip_serializing_if = "is_default")]
    pub user: Option<String>,
    /// Directory in which the first process starts; the image's when absent.
    #[serde(skip_serializing_if = "is_default")]
    pub working_dir: Option<String>,
    /// Host name inside the container.
    #[serde(skip_serializing_if = "is_default")]
    pub hostname: Option<String>,
    /// Domain name inside the container.
    #[serde(skip_serializing_if = "is_default")]
    pub domain_name: Option<String>,
    /// Labels, beside our own.
    #[serde(skip_serializing_if = "is_default")]
    pub labels: BTreeMap<String, String>,
    /// Annotations for the low-level runtime.
    #[serde(skip_serializing_if = "is_default")]
    pub annotations: BTreeMap<String, String>,
    /// Directories in memory: path to mount options, such as `size=64m,mode=1777`.
    #[serde(skip_serializing_if = "is_default")]
    pub tmpfs: BTreeMap<String, String>,
    /// Directories and files of the node. They tie the service to it.
    #[serde(skip_serializing_if = "is_default")]
    pub binds: Vec<BindMount>,
    /// Devices of the node. They tie the service to it.
    #[serde(skip_serializing_if = "is_default")]
    pub devices: Vec<Device>,
    /// Rules for devices, as the kernel's device cgroup takes them.
    #[serde(skip_serializing_if = "is_default")]
    pub device_rules: Vec<String>,
    /// Configs and secrets: files that travel with the service and are mounted read-only.
    #[serde(skip_serializing_if = "is_default")]
    pub files: Vec<FileMount>,
    /// Limits of the kernel for each process, by name.
    #[serde(skip_serializing_if = "is_default")]
    pub ulimits: BTreeMap<String, Ulimit>,
    /// Kernel capabilities that are added.
    #[serde(skip_serializing_if = "is_default")]
    pub cap_add: Vec<String>,
    /// Kernel capabilities that are taken away.
    #[serde(skip_serializing_if = "is_default")]
    pub cap_drop: Vec<String>,
    /// Options of the security modules.
    #[serde(skip_serializing_if = "is_default")]
    pub security_opt: Vec<String>,
    /// More groups of the first process.
    #[serde(skip_serializing_if = "is_default")]
    pub group_add: Vec<String>,
    /// All rights on the node.
    #[serde(skip_serializing_if = "is_default")]
    pub privileged: bool,
    /// The container's own files cannot be written.
    #[serde(skip_serializing_if = "is_default")]
    pub read_only: bool,
    /// The first process has a terminal.
    #[serde(skip_serializing_if = "is_default")]
    pub tty: bool,
    /// The first process's input stays open.
    #[serde(skip_serializing_if = "is_default")]
    pub stdin_open: bool,
    /// A small init process runs first; the engine's setting when absent.
    #[serde(skip_serializing_if = "is_default")]
    pub init: Option<bool>,
    /// How the log is kept; ours (JSON files of bounded size) when absent.
    #[serde(skip_serializing_if = "is_default")]
    pub logging: Option<Logging>,
    /// Name servers.
    #[serde(skip_serializing_if = "is_default")]
    pub dns: Vec<String>,
    /// Domains in which short names are looked up.
    #[serde(skip_serializing_if = "is_default")]
    pub dns_search: Vec<String>,
    /// Options of the resolver.
    #[serde(skip_serializing_if = "is_default")]
    pub dns_options: Vec<String>,
    /// More names for the hosts file: name and address (or `host-gateway`).
    #[serde(skip_serializing_if = "is_default")]
    pub extra_hosts: Vec<(String, String)>,
    /// Kernel settings of the container's namespaces.
    #[serde(skip_serializing_if = "is_default")]
    pub sysctls: BTreeMap<String, String>,
    /// Limits of memory, processors and processes, beside those of the service itself.
    #[serde(skip_serializing_if = "is_default")]
    pub resources: Resources,
    /// Kernel namespaces that are not the container's own.
    #[serde(skip_serializing_if = "is_default")]
    pub namespaces: Namespaces,
}

impl ContainerOptions {
    /// What ties the service to its node, in words: directories, files and devices of it.
    pub fn ties(&self) -> Vec<String> {
        let binds = self
            .binds
            .iter()
            .map(|bind| format!("the bind mount {}", bind.source));
        let devices = self
            .devices
            .iter()
            .map(|device| format!("the device {}", device.source));
        binds.chain(devices).collect()
    }
}

/// Limits of memory, processors and processes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Default)]
#[serde(default)]
pub struct Resources {
    /// Processors that may be used, in thousand-millionths of one.
    #[serde(skip_serializing_if = "is_default")]
    pub nano_cpus: Option<u64>,
    /// Which processors may be used, such as `0-3,5`.
    #[serde(skip_serializing_if = "is_default")]
    pub cpu_set: Option<String>,
    /// Period of the scheduler, in microseconds.
    #[serde(skip_serializing_if = "is_default")]
    pub cpu_period_us: Option<u64>,
    /// Processor time in each period, in microseconds.
    #[serde(skip_serializing_if = "is_default")]
    pub cpu_quota_us: Option<u64>,
    /// Memory that is kept for it when memory is short, in bytes.
    #[serde(skip_serializing_if = "is_default")]
    pub memory_reservation_bytes: Option<u64>,
    /// Memory and swap together, in bytes; -1 means no limit of swap.
    #[serde(skip_serializing_if = "is_default")]
    pub memory_swap_bytes: Option<i64>,
    /// How readily its memory is swapped out, 0 to 100.
    #[serde(skip_serializing_if = "is_default")]
    pub memory_swappiness: Option<u8>,
    /// Most processes; -1 means no limit.
    #[serde(skip_serializing_if = "is_default")]
    pub pids_max: Option<i64>,
    /// Size of `/dev/shm`, in bytes.
    #[serde(skip_serializing_if = "is_default")]
    pub shm_size_bytes: Option<u64>,
    /// It waits for memory instead of being killed.
    #[serde(skip_serializing_if = "is_default")]
    pub oom_kill_disable: bool,
    /// How readily the kernel kills it when memory is short, -1000 to 1000.
    #[serde(skip_serializing_if = "is_default")]
    pub oom_score_adj: Option<i16>,
}

/// Kernel namespaces that are shared; the container's own where absent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Default)]
#[serde(default)]
pub struct Namespaces {
    /// Shared memory: `host`, `private`, `shareable` or `none`.
    #[serde(skip_serializing_if = "is_default")]
    pub ipc: Option<String>,
    /// Processes: `host`.
    #[serde(skip_serializing_if = "is_default")]
    pub pid: Option<String>,
    /// Host name: `host`.
    #[serde(skip_serializing_if = "is_default")]
    pub uts: Option<String>,
    /// Users: `host`.
    #[serde(skip_serializing_if = "is_default")]
    pub users: Option<String>,
    /// Control groups: `host` or `private`.
    #[serde(skip_serializing_if = "is_default")]
    pub cgroup: Option<String>,
}

/// A directory or file of the node in a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BindMount {
    /// Absolute path on the node.
    pub source: String,
    /// Absolute path in the container.
    pub target: String,
    /// The container cannot write it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub read_only: bool,
    /// An empty directory is made on the node when there is nothing at `source`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub create_source: bool,
    /// How later mounts below it are passed on (`rslave` ...); `rprivate` when absent.
    #[serde(default, skip_serializing_if = "is_default")]
    pub propagation: Option<String>,
}

/// A device of the node in a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Device {
    /// Path on the node.
    pub source: String,
    /// Path in the container.
    pub target: String,
    /// What may be done with it: `r`, `w`, `m`.
    pub permissions: String,
}

/// A file that travels with its service: a config or a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FileMount {
    /// Absolute path in the container.
    pub target: String,
    /// What is in it.
    pub content: SecretText,
    /// Permission bits.
    pub mode: u32,
    /// Its owner in the container.
    #[serde(default, skip_serializing_if = "is_default")]
    pub user: u32,
    /// Its group in the container.
    #[serde(default, skip_serializing_if = "is_default")]
    pub group: u32,
}

/// A limit of the kernel for each process; -1 means none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ulimit {
    /// What counts, unless the process asks for more.
    pub soft: i64,
    /// As far as the process may raise it.
    pub hard: i64,
}

/// How a container's log is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Logging {
    /// The engine's log driver.
    pub driver: String,
    /// Its options.
    #[serde(default, skip_serializing_if = "is_default")]
    pub options: BTreeMap<String, String>,
}

/// True for what need not be written down.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
