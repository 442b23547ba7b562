//! What becomes of every key of the Compose Specification: data, no decisions.
//!
//! `docs/compose.md` shows these tables; a test compares the two.

use super::Treatment::{self, Honoured as H, Ignored as I, Refused as R};

/// A key and what becomes of it.
pub(super) type Key = (&'static str, Treatment);

const REMOVE: &str = "remove it: Flocker refuses what it would not honour";
const MODE: &str = "remove it: every service has a network of its own on its node, and the others \
                    reach it by name";
const HOST: &str = "remove it: not every node of a cluster has this";
const BUILD: &str = "build and push the image, then write 'image: repository:tag'";
const NO_SWARM: &str = "Flocker replaces one service at a time, by its own rules";
const NO_BUILD: &str = "it is for building and developing";
const NAMES: &str = "Flocker names what it makes itself";
const OWN_NETWORK: &str = "Flocker gives services addresses from its own networks";

pub(super) const TOP_LEVEL: &[Key] = &[
    ("name", H),
    (
        "version",
        I("it is obsolete in Compose files: remove the line"),
    ),
    ("services", H),
    ("volumes", H),
    ("networks", H),
    ("configs", H),
    ("secrets", H),
    (
        "include",
        R("give all files to the command, each after '-f'"),
    ),
    ("models", R(REMOVE)),
];

pub(super) const SERVICE: &[Key] = &[
    ("annotations", H),
    (
        "attach",
        I("it is for watching logs in a terminal: see 'flocker logs'"),
    ),
    (
        "blkio_config",
        R("remove it; 'mem_limit' and 'cpus' are honoured"),
    ),
    ("build", R(BUILD)),
    ("cap_add", H),
    ("cap_drop", H),
    ("cgroup", H),
    ("cgroup_parent", R(HOST)),
    ("command", H),
    ("configs", H),
    (
        "container_name",
        I("the others reach the service by this name too, but its container is named by Flocker"),
    ),
    ("cpu_count", R("write 'cpus'")),
    ("cpu_percent", R("write 'cpus'")),
    ("cpu_period", H),
    ("cpu_quota", H),
    ("cpu_rt_period", R(HOST)),
    ("cpu_rt_runtime", R(HOST)),
    ("cpu_shares", H),
    ("cpus", H),
    ("cpuset", H),
    ("credential_spec", R(REMOVE)),
    ("depends_on", H),
    ("deploy", H),
    ("develop", I(NO_BUILD)),
    ("device_cgroup_rules", H),
    ("devices", H),
    ("dns", H),
    ("dns_opt", H),
    ("dns_search", H),
    ("domainname", H),
    ("driver_opts", R(REMOVE)),
    ("entrypoint", H),
    ("env_file", H),
    ("environment", H),
    ("expose", H),
    ("extends", H),
    (
        "external_links",
        R("remove it: other applications are reached at the ports that they publish"),
    ),
    ("extra_hosts", H),
    ("gpus", R(HOST)),
    ("group_add", H),
    ("healthcheck", H),
    ("hostname", H),
    ("image", H),
    ("init", H),
    ("ipc", H),
    ("isolation", R(REMOVE)),
    ("label_file", H),
    ("labels", H),
    ("links", H),
    ("log_driver", R("write 'logging: {driver: ...}'")),
    ("log_opt", R("write 'logging: {options: ...}'")),
    ("logging", H),
    (
        "mac_address",
        R("remove it: a container's address changes with its node"),
    ),
    ("mem_limit", H),
    ("mem_reservation", H),
    ("mem_swappiness", H),
    ("memswap_limit", H),
    ("models", R(REMOVE)),
    ("net", R(MODE)),
    ("network_mode", R(MODE)),
    ("networks", H),
    ("oom_kill_disable", H),
    ("oom_score_adj", H),
    ("pid", H),
    ("pids_limit", H),
    (
        "platform",
        I("the image is pulled for the node's own platform"),
    ),
    ("ports", H),
    (
        "post_start",
        R("remove it, and do it in the image's entry point"),
    ),
    (
        "pre_stop",
        R("remove it, and do it when the stop signal comes"),
    ),
    ("privileged", H),
    ("profiles", H),
    ("provider", R(REMOVE)),
    ("pull_policy", H),
    (
        "pull_refresh_after",
        R("name the version that shall run in 'image'"),
    ),
    ("read_only", H),
    ("restart", H),
    ("runtime", R(HOST)),
    ("scale", H),
    ("secrets", H),
    ("security_opt", H),
    ("shm_size", H),
    ("stdin_open", H),
    ("stop_grace_period", H),
    ("stop_signal", H),
    (
        "storage_opt",
        R("write 'x-flocker: {size: 10G}' to limit a volume"),
    ),
    ("sysctls", H),
    ("tmpfs", H),
    ("tty", H),
    ("ulimits", H),
    ("use_api_socket", R(HOST)),
    ("user", H),
    ("userns_mode", H),
    ("uts", H),
    ("volume_driver", R("remove it: Flocker keeps the volumes")),
    ("volumes", H),
    (
        "volumes_from",
        R("name the volumes below 'volumes:'; a volume belongs to one service"),
    ),
    ("working_dir", H),
    ("x-flocker", H),
];

pub(super) const DEPLOY: &[Key] = &[
    ("endpoint_mode", I(NO_SWARM)),
    (
        "labels",
        I("they are labels of a Swarm service, not of its container"),
    ),
    ("mode", H),
    (
        "placement",
        R("write 'x-flocker: {node: NAME}' in the service"),
    ),
    ("replicas", H),
    ("resources", H),
    ("restart_policy", H),
    ("rollback_config", I(NO_SWARM)),
    ("update_config", I(NO_SWARM)),
];

pub(super) const RESTART_POLICY: &[Key] = &[
    ("condition", H),
    (
        "delay",
        I("Flocker waits longer from one restart to the next by itself"),
    ),
    ("max_attempts", H),
    (
        "window",
        I("a container that runs for a while counts as started"),
    ),
];

pub(super) const RESOURCES: &[Key] = &[("limits", H), ("reservations", H)];

pub(super) const LIMITS: &[Key] = &[("cpus", H), ("memory", H), ("pids", H)];

pub(super) const RESERVATIONS: &[Key] = &[
    ("cpus", I("Compose does not reserve processors either")),
    ("devices", R(HOST)),
    ("generic_resources", R(HOST)),
    ("memory", H),
];

pub(super) const VOLUME: &[Key] = &[
    ("driver", H),
    (
        "driver_opts",
        R("remove it: Flocker keeps the volume itself, on the node of its service"),
    ),
    ("external", H),
    (
        "labels",
        I("Flocker keeps the volume itself, without labels"),
    ),
    (
        "name",
        I("the key above is the volume's name in this application"),
    ),
    ("x-flocker", H),
];

pub(super) const NETWORK: &[Key] = &[
    ("attachable", I(OWN_NETWORK)),
    ("driver", H),
    ("driver_opts", I(OWN_NETWORK)),
    ("enable_ipv4", I(OWN_NETWORK)),
    ("enable_ipv6", I(OWN_NETWORK)),
    ("external", H),
    ("internal", H),
    ("ipam", I(OWN_NETWORK)),
    ("labels", I(OWN_NETWORK)),
    ("name", I(NAMES)),
];

pub(super) const SERVICE_NETWORK: &[Key] = &[
    ("aliases", H),
    ("driver_opts", I(OWN_NETWORK)),
    ("gw_priority", I(OWN_NETWORK)),
    (
        "interface_name",
        R("remove it: the container has one interface, eth0"),
    ),
    (
        "ipv4_address",
        R("remove it: use the service's name, which always leads to it"),
    ),
    (
        "ipv6_address",
        R("remove it: use the service's name, which always leads to it"),
    ),
    (
        "link_local_ips",
        R("remove it: use the service's name, which always leads to it"),
    ),
    (
        "mac_address",
        R("remove it: a container's address changes with its node"),
    ),
    ("priority", I(OWN_NETWORK)),
];

pub(super) const FILE: &[Key] = &[
    ("content", H),
    ("driver", R("write 'file: ./path'")),
    ("driver_opts", R("write 'file: ./path'")),
    ("environment", H),
    (
        "external",
        R("write 'file: ./path': it travels with the service"),
    ),
    ("file", H),
    ("labels", I(NAMES)),
    ("name", I(NAMES)),
    ("template_driver", R("write the file as it shall be")),
];

pub(super) const HEALTH: &[Key] = &[
    ("disable", H),
    ("interval", H),
    ("retries", H),
    ("start_interval", H),
    ("start_period", H),
    ("test", H),
    ("timeout", H),
];

pub(super) const PORT: &[Key] = &[
    ("app_protocol", I("it is a note for readers")),
    ("host_ip", H),
    ("mode", H),
    ("name", I("it is a note for readers")),
    ("protocol", H),
    ("published", H),
    ("target", H),
];

pub(super) const MOUNT: &[Key] = &[
    ("bind", H),
    ("consistency", I("it makes no difference on Linux")),
    ("image", R(REMOVE)),
    ("read_only", H),
    ("source", H),
    ("target", H),
    ("tmpfs", H),
    ("type", H),
    (
        "volume",
        I("a volume is mounted as a whole, and begins with what the image has in its place"),
    ),
    (
        "x-flocker",
        R("write it below the volume's name in the top-level 'volumes:'"),
    ),
];

pub(super) const BIND: &[Key] = &[
    ("create_host_path", H),
    ("propagation", H),
    ("recursive", R(REMOVE)),
    ("selinux", I("labels of files are left as they are")),
];
