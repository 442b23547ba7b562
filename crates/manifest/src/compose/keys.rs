//! The keys of Compose files: those we honour, and those we refuse by name.

use crate::diagnostic::quoted;
use crate::report::Report;
use crate::suggest::nearest;
use crate::yaml::Entry;

/// A key of the Compose Specification that we refuse, and what to write instead.
type Refused = (&'static str, &'static str);

const REMOVE: &str = "remove it: Flocker refuses what it would not honour";
const NETWORKS: &str =
    "remove it: every service reaches the others by name, on whichever nodes they run";
const FILES: &str = "remove it; put the values into 'environment', or the files into the image";
const HOST: &str = "remove it: it ties the service to one server";
const NAMED: &str = "remove it: Flocker names containers itself (see 'flocker ps')";
const BUILD: &str = "build and push the image, then write 'image: repository:tag'";
const VARIABLES: &str = "write the variables below 'environment:'";
const LIMITS: &str = "remove it; 'mem_limit' and 'cpu_shares' are honoured";

const TOP_LEVEL: [&str; 4] = ["name", "version", "services", "volumes"];
const TOP_LEVEL_REFUSED: [Refused; 5] = [
    ("networks", NETWORKS),
    ("configs", FILES),
    ("secrets", FILES),
    (
        "include",
        "give all files to the command, one after the other",
    ),
    ("models", REMOVE),
];

const SERVICE: [&str; 17] = [
    "image",
    "command",
    "environment",
    "ports",
    "expose",
    "links",
    "volumes",
    "depends_on",
    "healthcheck",
    "stop_signal",
    "stop_grace_period",
    "restart",
    "mem_limit",
    "cpu_shares",
    "deploy",
    "x-flocker",
    "scale",
];

const SERVICE_REFUSED: [Refused; 81] = [
    ("annotations", REMOVE),
    ("attach", REMOVE),
    ("blkio_config", LIMITS),
    ("build", BUILD),
    ("cap_add", REMOVE),
    ("cap_drop", REMOVE),
    ("cgroup", HOST),
    ("cgroup_parent", HOST),
    ("configs", FILES),
    ("container_name", NAMED),
    ("cpu_count", LIMITS),
    ("cpu_percent", LIMITS),
    ("cpu_period", LIMITS),
    ("cpu_quota", LIMITS),
    ("cpu_rt_period", LIMITS),
    ("cpu_rt_runtime", LIMITS),
    ("cpus", LIMITS),
    ("cpuset", LIMITS),
    ("credential_spec", REMOVE),
    ("develop", REMOVE),
    ("device_cgroup_rules", HOST),
    ("devices", HOST),
    ("dns", NETWORKS),
    ("dns_opt", NETWORKS),
    ("dns_search", NETWORKS),
    ("domainname", REMOVE),
    ("driver_opts", REMOVE),
    (
        "entrypoint",
        "build it into the image; 'command' is honoured",
    ),
    ("env_file", VARIABLES),
    (
        "extends",
        "write the keys out, or share them with a YAML anchor and '<<'",
    ),
    ("external_links", NETWORKS),
    ("extra_hosts", NETWORKS),
    ("gpus", HOST),
    ("group_add", REMOVE),
    ("hostname", NAMED),
    ("init", REMOVE),
    ("ipc", HOST),
    ("isolation", REMOVE),
    ("label_file", REMOVE),
    ("labels", REMOVE),
    (
        "logging",
        "remove it: 'flocker logs' reads what the container writes",
    ),
    ("mac_address", REMOVE),
    ("mem_reservation", LIMITS),
    ("mem_swappiness", LIMITS),
    ("memswap_limit", LIMITS),
    ("models", REMOVE),
    ("network_mode", NETWORKS),
    ("networks", NETWORKS),
    ("oom_kill_disable", REMOVE),
    ("oom_score_adj", REMOVE),
    ("pid", HOST),
    ("pids_limit", LIMITS),
    ("platform", REMOVE),
    ("post_start", REMOVE),
    ("pre_stop", REMOVE),
    ("privileged", HOST),
    (
        "profiles",
        "remove it, or put the service into a file of its own",
    ),
    ("provider", REMOVE),
    (
        "pull_policy",
        "remove it: an image is pulled when a node does not have it",
    ),
    ("pull_refresh_after", REMOVE),
    ("read_only", REMOVE),
    ("runtime", REMOVE),
    ("secrets", FILES),
    ("security_opt", REMOVE),
    ("shm_size", REMOVE),
    ("stdin_open", REMOVE),
    (
        "storage_opt",
        "write 'x-flocker: {size: 10G}' to limit a volume",
    ),
    ("sysctls", REMOVE),
    ("tmpfs", REMOVE),
    ("tty", REMOVE),
    ("ulimits", REMOVE),
    ("use_api_socket", HOST),
    ("user", "build it into the image (USER)"),
    ("userns_mode", HOST),
    ("uts", HOST),
    ("volume_driver", "remove it: Flocker keeps the volumes"),
    (
        "volumes_from",
        "name the volumes below 'volumes:'; a volume belongs to one service",
    ),
    ("working_dir", "build it into the image (WORKDIR)"),
    ("log_driver", REMOVE),
    ("log_opt", REMOVE),
    ("net", NETWORKS),
];

const DEPLOY: [&str; 2] = ["resources", "replicas"];
const DEPLOY_REFUSED: [Refused; 7] = [
    ("endpoint_mode", REMOVE),
    ("labels", REMOVE),
    ("mode", REMOVE),
    (
        "placement",
        "write 'x-flocker: {node: NAME}' in the service",
    ),
    (
        "restart_policy",
        "write 'restart: always' (or 'on-failure:3') in the service",
    ),
    ("rollback_config", REMOVE),
    ("update_config", REMOVE),
];

const RESOURCES_REFUSED: [Refused; 1] = [("reservations", LIMITS)];
const LIMITS_REFUSED: [Refused; 2] = [("cpus", LIMITS), ("pids", LIMITS)];

const VOLUME: [&str; 1] = ["x-flocker"];
const VOLUME_KEPT: &str = "remove it: Flocker keeps the volume itself, on the node of its service";
const VOLUME_REFUSED: [Refused; 5] = [
    ("driver", VOLUME_KEPT),
    ("driver_opts", VOLUME_KEPT),
    ("external", VOLUME_KEPT),
    ("labels", REMOVE),
    (
        "name",
        "remove it: the key above is the volume's name in this application",
    ),
];

const HEALTH: [&str; 6] = [
    "test",
    "interval",
    "timeout",
    "retries",
    "start_period",
    "disable",
];
const HEALTH_REFUSED: [Refused; 1] = [("start_interval", REMOVE)];

const PORT: [&str; 4] = ["target", "published", "protocol", "mode"];
const PORT_REFUSED: [Refused; 3] = [
    (
        "host_ip",
        "remove it: every node answers at a published port, at all its addresses",
    ),
    ("app_protocol", REMOVE),
    ("name", REMOVE),
];

const MOUNT: [&str; 4] = ["type", "source", "target", "read_only"];
const MOUNT_REFUSED: [Refused; 6] = [
    (
        "bind",
        "only volumes are supported: remove it and write 'type: volume'",
    ),
    ("volume", REMOVE),
    ("tmpfs", REMOVE),
    ("image", REMOVE),
    ("consistency", REMOVE),
    (
        "x-flocker",
        "write it below the volume's name in the top-level 'volumes:'",
    ),
];

/// Where in a Compose file a key stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// A service.
    Service,
    /// `deploy:` of a service.
    Deploy,
    /// `resources:` of `deploy:`.
    Resources,
    /// `limits:` of `resources:`.
    Limits,
    /// An entry of the top-level `volumes:`.
    Volume,
    /// `healthcheck:` of a service.
    Health,
    /// An item of `ports:` in long form.
    Port,
    /// An item of a service's `volumes:` in long form.
    Mount,
}

/// Reports the keys of the file's top level that are not honoured.
pub(super) fn check_top_level(entries: &[Entry], report: &mut Report<'_>) {
    for entry in entries {
        if &*entry.key == "version" {
            report.warning(
                entry.key_span,
                "'version' is obsolete in Compose files and is ignored",
                "remove the line",
            );
        }
        if &*entry.key == "x-flocker" {
            report.error(
                entry.key_span,
                "'x-flocker' has no meaning at the top level",
                "write it in a service, or below a volume's name in 'volumes:'",
            );
        }
    }
    check_against(
        entries,
        &TOP_LEVEL,
        &TOP_LEVEL_REFUSED,
        "a Compose file",
        report,
    );
}

/// Reports the keys that are not honoured at a place.
pub(super) fn check(entries: &[Entry], place: Place, inside: &str, report: &mut Report<'_>) {
    let (honoured, refused): (&[&str], &[Refused]) = match place {
        Place::Service => (&SERVICE, &SERVICE_REFUSED),
        Place::Deploy => (&DEPLOY, &DEPLOY_REFUSED),
        Place::Resources => (&["limits"], &RESOURCES_REFUSED),
        Place::Limits => (&["memory"], &LIMITS_REFUSED),
        Place::Volume => (&VOLUME, &VOLUME_REFUSED),
        Place::Health => (&HEALTH, &HEALTH_REFUSED),
        Place::Port => (&PORT, &PORT_REFUSED),
        Place::Mount => (&MOUNT, &MOUNT_REFUSED),
    };
    check_against(entries, honoured, refused, inside, report);
}

fn check_against(
    entries: &[Entry],
    honoured: &[&str],
    refused: &[Refused],
    inside: &str,
    report: &mut Report<'_>,
) {
    for entry in entries {
        let key = &*entry.key;
        if honoured.contains(&key) {
            continue;
        }
        if let Some((_, hint)) = refused.iter().find(|(name, _)| *name == key) {
            report.error(
                entry.key_span,
                format!("'{key}' is not supported yet"),
                *hint,
            );
            continue;
        }
        if report.is_full() {
            return;
        }
        let all = honoured
            .iter()
            .copied()
            .chain(refused.iter().map(|(name, _)| *name));
        let near = nearest(key, all);
        if key.starts_with("x-") && near != Some("x-flocker") {
            continue;
        }
        let hint = match near {
            Some(near) => format!("did you mean '{near}'?"),
            None => format!("known keys are: {}", honoured.join(", ")),
        };
        report.error(
            entry.key_span,
            format!("{inside} has no key {}", quoted(key)),
            hint,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_is_both_honoured_and_refused_or_listed_twice() {
        for (index, (key, hint)) in SERVICE_REFUSED.iter().enumerate() {
            assert!(!SERVICE.contains(key), "{key}");
            assert!(!hint.is_empty());
            let again = SERVICE_REFUSED[index + 1..]
                .iter()
                .any(|(other, _)| other == key);
            assert!(!again, "{key}");
        }
    }
}
