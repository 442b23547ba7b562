//! Reads the keys of a service that say how its container is made: who it runs as, what it may do,
//! its names, its log.

use super::environment;
use super::project::Project;
use super::values::{self, flag, one_of, plain_texts, text};
use super::{command, hosts};
use crate::common;
use crate::diagnostic::quoted;
use crate::read;
use crate::report::Report;
use crate::suggest::nearest;
use crate::yaml::{Entry, Node};
use flocker_types::container::{ContainerOptions, Device, Logging, Ulimit};
use std::collections::BTreeMap;

/// The kernel's capabilities, without `CAP_`.
const CAPABILITIES: [&str; 42] = [
    "ALL",
    "AUDIT_CONTROL",
    "AUDIT_READ",
    "AUDIT_WRITE",
    "BLOCK_SUSPEND",
    "BPF",
    "CHECKPOINT_RESTORE",
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "IPC_LOCK",
    "IPC_OWNER",
    "KILL",
    "LEASE",
    "LINUX_IMMUTABLE",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "MKNOD",
    "NET_ADMIN",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_RAW",
    "PERFMON",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYSLOG",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_CHROOT",
    "SYS_MODULE",
    "SYS_NICE",
    "SYS_PACCT",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "WAKE_ALARM",
];

/// The kernel's limits for processes, as the engine names them.
const ULIMITS: [&str; 16] = [
    "as",
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// Reads every key that is about the container into `options`.
pub(super) fn of_container(
    entries: &[Entry],
    project: &Project<'_>,
    options: &mut ContainerOptions,
    report: &mut Report,
) {
    for entry in entries.iter().filter(|entry| !entry.value.is_null()) {
        process(entry, options, report);
        names(entry, project, options, report);
        rights(entry, options, report);
    }
}

/// What runs, and with what around it.
fn process(entry: &Entry, options: &mut ContainerOptions, report: &mut Report) {
    let node = &entry.value;
    let key = &*entry.key;
    match key {
        "entrypoint" => options.entrypoint = command::entrypoint(node, report),
        "user" => options.user = text(node, key, report),
        "working_dir" => {
            let root = node.as_scalar().is_some_and(|scalar| &*scalar.text == "/");
            options.working_dir = match root {
                true => Some("/".to_owned()),
                false => values::path(node, key, report),
            };
        }
        "tty" => options.tty = flag(node, key, report),
        "stdin_open" => options.stdin_open = flag(node, key, report),
        "init" => options.init = Some(flag(node, key, report)),
        "read_only" => options.read_only = flag(node, key, report),
        "logging" => options.logging = logging(node, report),
        "tmpfs" => {
            for (text, at) in values::texts(node, key, report) {
                let (path, mount_options) = text.split_once(':').unwrap_or((&text, ""));
                if let Some(path) = common::mountpoint(path, at, report) {
                    options.tmpfs.insert(path, mount_options.to_owned());
                }
            }
        }
        _ => {}
    }
}

/// Names, labels, and where names are looked up.
fn names(
    entry: &Entry,
    project: &Project<'_>,
    options: &mut ContainerOptions,
    report: &mut Report,
) {
    let node = &entry.value;
    let key = &*entry.key;
    match key {
        "hostname" => options.hostname = host_name(node, key, report),
        "domainname" => options.domain_name = host_name(node, key, report),
        // The labels themselves win, wherever they stand in the file.
        "label_file" => {
            let from_files = environment::of_label_files(node, project, report);
            for (name, value) in from_files {
                options.labels.entry(name).or_insert(value);
            }
        }
        "labels" => {
            let labels = named(node, key, report);
            check_labels(node, &labels, report);
            options.labels.extend(labels);
        }
        "annotations" => options.annotations = named(node, key, report),
        "dns" => {
            let servers = values::texts(node, key, report);
            options.dns = servers
                .into_iter()
                .filter(|(text, at)| hosts::check_address(text, *at, report))
                .map(|(text, _)| text)
                .collect();
        }
        "dns_search" => options.dns_search = plain_texts(node, key, report),
        "dns_opt" => options.dns_options = plain_texts(node, key, report),
        "extra_hosts" => options.extra_hosts = hosts::read(node, report),
        _ => {}
    }
}

/// What the container may do, and what it shares with the node.
fn rights(entry: &Entry, options: &mut ContainerOptions, report: &mut Report) {
    let node = &entry.value;
    let key = &*entry.key;
    match key {
        "privileged" => options.privileged = flag(node, key, report),
        "cap_add" => options.cap_add = capabilities(node, key, report),
        "cap_drop" => options.cap_drop = capabilities(node, key, report),
        "security_opt" => options.security_opt = plain_texts(node, key, report),
        "group_add" => options.group_add = plain_texts(node, key, report),
        "device_cgroup_rules" => options.device_rules = plain_texts(node, key, report),
        "devices" => options.devices = devices(node, report),
        "sysctls" => options.sysctls = named(node, key, report),
        "ulimits" => options.ulimits = ulimits(node, report),
        "ipc" => {
            let known = ["host", "private", "shareable", "none"];
            options.namespaces.ipc = one_of(node, key, &known, report);
        }
        "pid" => options.namespaces.pid = one_of(node, key, &["host"], report),
        "uts" => options.namespaces.uts = one_of(node, key, &["host"], report),
        "userns_mode" => options.namespaces.users = one_of(node, key, &["host"], report),
        "cgroup" => {
            options.namespaces.cgroup = one_of(node, key, &["host", "private"], report);
        }
        _ => {}
    }
}

/// `NAME: value` or `- NAME=value`; a name without a value has an empty one.
fn named(node: &Node, key: &str, report: &mut Report) -> BTreeMap<String, String> {
    let hint = "write name: \"value\", one in each line";
    environment::values(node, &format!("'{key}'"), hint, report)
        .into_iter()
        .map(|(name, value, _)| (name, value.unwrap_or_default()))
        .collect()
}

/// Labels by which Flocker finds its containers are its own.
fn check_labels(node: &Node, labels: &BTreeMap<String, String>, report: &mut Report) {
    if let Some(name) = labels.keys().find(|name| name.starts_with("io.flocker.")) {
        report.error(
            node.span,
            format!("the label {} is Flocker's own", quoted(name)),
            "choose a name that does not begin with 'io.flocker.'",
        );
    }
}

fn host_name(node: &Node, key: &str, report: &mut Report) -> Option<String> {
    const HOST_NAME_BYTES_MAX: usize = 63;
    let name = text(node, key, report)?;
    let is_valid = name.len() <= HOST_NAME_BYTES_MAX
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
    if !is_valid {
        report.error(
            node.span,
            format!("{} cannot be a '{key}'", quoted(&name)),
            format!("use letters, digits, '-' and '.', at most {HOST_NAME_BYTES_MAX}"),
        );
        return None;
    }
    Some(name)
}

fn logging(node: &Node, report: &mut Report) -> Option<Logging> {
    let hint = "write 'logging: {driver: json-file, options: {max-size: 10m}}'";
    let entries = read::mapping(node, "'logging'", hint, report)?;
    read::unknown_keys(entries, &["driver", "options"], "'logging'", report);
    let driver = match node.get("driver").filter(|node| !node.is_null()) {
        Some(driver) => text(driver, "driver", report)?,
        None => "json-file".to_owned(),
    };
    let options = match node.get("options") {
        Some(options) => named(options, "options", report),
        None => BTreeMap::new(),
    };
    Some(Logging { driver, options })
}

fn capabilities(node: &Node, key: &str, report: &mut Report) -> Vec<String> {
    let mut found = Vec::new();
    for (text, at) in values::texts(node, key, report) {
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
        if CAPABILITIES.contains(&name) {
            found.push(text);
        } else {
            let message = format!("{} is not a capability of the kernel", quoted(&text));
            let hint = match nearest(name, CAPABILITIES) {
                Some(near) => format!("did you mean '{near}'?"),
                None => "write a name such as NET_ADMIN; capabilities(7) lists them".to_owned(),
            };
            report.error(at, message, hint);
        }
    }
    found
}

fn ulimits(node: &Node, report: &mut Report) -> BTreeMap<String, Ulimit> {
    let hint = "write 'nofile: 65536' or 'nofile: {soft: 1024, hard: 65536}'";
    let range = -1..=i128::from(i64::MAX);
    let mut found = BTreeMap::new();
    for entry in read::mapping(node, "'ulimits'", hint, report).unwrap_or_default() {
        if !ULIMITS.contains(&&*entry.key) {
            let hint = match nearest(&entry.key, ULIMITS) {
                Some(near) => format!("did you mean '{near}'?"),
                None => format!("known are: {}", ULIMITS.join(", ")),
            };
            let message = format!("there is no limit {} for processes", quoted(&entry.key));
            report.error(entry.key_span, message, hint);
            continue;
        }
        let value = &entry.value;
        let limit = match value.as_mapping() {
            Some(entries) => {
                read::unknown_keys(entries, &["soft", "hard"], "a limit", report);
                let mut one = |key: &str| {
                    let node = read::required(value, key, entry.key_span, hint, report)?;
                    values::number(node, key, range.clone(), report)
                };
                (one("soft"), one("hard"))
            }
            None => {
                let both = values::number(value, &entry.key, range.clone(), report);
                (both, both)
            }
        };
        if let (Some(soft), Some(hard)) = limit {
            if hard >= 0 && (soft > hard || soft < 0) {
                report.error(
                    value.span,
                    format!("the soft limit {soft} is above the hard limit {hard}"),
                    "lower the one or raise the other",
                );
                continue;
            }
            found.insert(entry.key.to_string(), Ulimit { soft, hard });
        }
    }
    found
}

fn devices(node: &Node, report: &mut Report) -> Vec<Device> {
    let hint = "write '- /dev/ttyUSB0:/dev/ttyUSB0:rw'";
    let mut found = Vec::new();
    for item in read::list(node, "'devices'", hint, report).unwrap_or_default() {
        let parts: Option<Vec<String>> = match item.as_mapping() {
            Some(entries) => {
                let known = ["source", "target", "permissions"];
                read::unknown_keys(entries, &known, "a device", report);
                let mut parts = known.iter().map(|key| match item.get(key) {
                    Some(node) => text(node, key, report),
                    None => Some(String::new()),
                });
                parts.by_ref().collect()
            }
            None => text(item, "devices", report)
                .map(|text| text.split(':').map(str::to_owned).collect()),
        };
        let Some(parts) = parts else { continue };
        let part = |at: usize, other: &str| match parts.get(at).map(String::as_str) {
            None | Some("") => other.to_owned(),
            Some(part) => part.to_owned(),
        };
        let source = part(0, "");
        let device = Device {
            target: part(1, &source),
            permissions: part(2, "rwm"),
            source,
        };
        let is_valid = parts.len() <= 3
            && device.source.starts_with('/')
            && device.target.starts_with('/')
            && device.permissions.bytes().all(|b| b"rwm".contains(&b));
        if is_valid {
            found.push(device);
        } else {
            report.error(item.span, "this is not a device of the node", hint);
        }
    }
    found
}
