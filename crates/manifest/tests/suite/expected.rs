//! What `docker compose config` says about a service, in our words. A key that nobody here knows
//! fails the test, so nothing in an answer is overlooked.

use flocker_manifest::ReadFile;
use flocker_types::app::{
    DependencyCondition, HealthCheck, Link, LinkTarget, PortMapping, RestartPolicy, ServiceSpec,
    VolumeMount,
};
use flocker_types::container::{BindMount, ContainerOptions, Device, FileMount, Logging, Ulimit};
use flocker_types::secret::SecretText;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What an answer refers to.
pub(crate) struct Surroundings<'s> {
    pub(crate) oracle: &'s Value,
    pub(crate) variables: &'s BTreeMap<String, String>,
    pub(crate) files: &'s dyn ReadFile,
}

/// The answer writes `$$` for a dollar sign, so that it can be read again.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.replace("$$", "$"),
        Value::Number(number) => number.to_string(),
        other => panic!("not a text: {other}"),
    }
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(text).collect()
}

fn number<T: TryFrom<i64>>(value: &Value) -> T {
    let number: i64 = text(value).parse().unwrap();
    T::try_from(number).unwrap_or_else(|_| panic!("{value} is out of range"))
}

fn map(value: &Value) -> BTreeMap<String, String> {
    let entries = value.as_object().unwrap().iter();
    entries
        .map(|(key, value)| (key.clone(), text(value)))
        .collect()
}

/// Go's way of writing a duration, in milliseconds.
fn milliseconds(value: &Value) -> u64 {
    let mut total = 0.0;
    let mut digits = String::new();
    let mut unit = String::new();
    let mut add = |digits: &mut String, unit: &mut String| {
        let factor = match unit.as_str() {
            "h" => 3_600_000.0,
            "m" => 60_000.0,
            "s" => 1_000.0,
            "ms" => 1.0,
            other => panic!("{other} is not a unit"),
        };
        total += digits.parse::<f64>().unwrap() * factor;
        digits.clear();
        unit.clear();
    };
    for c in text(value).chars() {
        if c.is_ascii_digit() || c == '.' {
            if !unit.is_empty() {
                add(&mut digits, &mut unit);
            }
            digits.push(c);
        } else {
            unit.push(c);
        }
    }
    add(&mut digits, &mut unit);
    format!("{total:.0}").parse().unwrap()
}

/// The description of a service that an answer amounts to.
pub(crate) fn service(name: &str, about: &Surroundings<'_>) -> ServiceSpec {
    let body = about.oracle["services"][name].as_object().unwrap();
    let mut spec = ServiceSpec::of_image(image(&text(&body["image"])));
    for (key, value) in body.iter().filter(|(_, value)| !value.is_null()) {
        let known = basics(key, value, &mut spec)
            || mounts(key, value, about, &mut spec)
            || limits(key, value, &mut spec)
            || options(key, value, &mut spec.container);
        assert!(known, "{name}: nobody knows '{key}': {value}");
    }
    spec.links.extend(links(name, about));
    spec
}

/// A reference without a tag means the newest.
fn image(reference: &str) -> String {
    let last = reference.rsplit('/').next().unwrap();
    match last.contains([':', '@']) {
        true => reference.to_owned(),
        false => format!("{reference}:latest"),
    }
}

fn basics(key: &str, value: &Value, spec: &mut ServiceSpec) -> bool {
    match key {
        // Checked where other services look for this one, or without meaning for us.
        "image" | "networks" | "container_name" | "profiles" | "attach" | "platform" => {}
        "scale" => assert_eq!(value, 1),
        "pull_policy" => assert_eq!(value, "missing"),
        "command" => spec.command = Some(texts(value)),
        "environment" => {
            let entries = value.as_object().unwrap().iter();
            let set = entries.filter(|(_, value)| !value.is_null());
            spec.environment = set
                .map(|(name, value)| (name.clone(), text(value)))
                .collect();
        }
        "ports" => {
            for port in value.as_array().unwrap() {
                assert_eq!(port["protocol"], "tcp");
                let mapping = PortMapping {
                    internal: number(&port["target"]),
                    external: number(&port["published"]),
                };
                if !spec.ports.contains(&mapping) {
                    spec.ports.push(mapping);
                }
            }
        }
        "expose" => spec.expose = value.as_array().unwrap().iter().map(number).collect(),
        "links" => {
            for link in texts(value) {
                let (target, alias) = link.split_once(':').unwrap_or((&link, &link));
                spec.links.push(Link {
                    alias: alias.to_owned(),
                    target: LinkTarget::Service(target.parse().unwrap()),
                });
            }
        }
        "depends_on" => {
            for (name, about) in value.as_object().unwrap() {
                let condition = match about["condition"].as_str().unwrap() {
                    "service_healthy" => DependencyCondition::Healthy,
                    "service_started" => DependencyCondition::Started,
                    other => panic!("{other}"),
                };
                spec.depends_on.insert(name.parse().unwrap(), condition);
            }
        }
        "healthcheck" => spec.health_check = Some(health(value.as_object().unwrap())),
        "stop_signal" => spec.stop_signal = Some(text(value)),
        "stop_grace_period" => spec.stop_grace_ms = milliseconds(value),
        "restart" => spec.restart = restart(&text(value)),
        _ => return false,
    }
    true
}

fn restart(text: &str) -> RestartPolicy {
    match text.split_once(':').unwrap_or((text, "")) {
        ("no", _) => RestartPolicy::Never,
        ("always" | "unless-stopped", _) => RestartPolicy::Always,
        ("on-failure", retries) => RestartPolicy::OnFailure {
            retries_max: retries.parse().ok(),
        },
        other => panic!("{other:?}"),
    }
}

fn health(about: &Map<String, Value>) -> HealthCheck {
    let mut check = HealthCheck {
        test: Vec::new(),
        interval_ms: 30_000,
        timeout_ms: 30_000,
        retries: 3,
        start_period_ms: 0,
        start_interval_ms: None,
    };
    for (key, value) in about {
        match key.as_str() {
            "test" => check.test = texts(value),
            "disable" => check.test = vec!["NONE".to_owned()],
            "interval" => check.interval_ms = milliseconds(value),
            "timeout" => check.timeout_ms = milliseconds(value),
            "retries" => check.retries = number(value),
            "start_period" => check.start_period_ms = milliseconds(value),
            "start_interval" => check.start_interval_ms = Some(milliseconds(value)),
            other => panic!("nobody knows '{other}' of a health check"),
        }
    }
    check
}

fn mounts(key: &str, value: &Value, about: &Surroundings<'_>, spec: &mut ServiceSpec) -> bool {
    match key {
        "volumes" => value
            .as_array()
            .unwrap()
            .iter()
            .for_each(|one| volume(one, spec)),
        "tmpfs" => {
            for text in texts(value) {
                let (path, options) = text.split_once(':').unwrap_or((&text, ""));
                let tmpfs = &mut spec.container.tmpfs;
                tmpfs.insert(path.to_owned(), options.to_owned());
            }
        }
        "configs" | "secrets" => {
            for one in value.as_array().unwrap() {
                spec.container.files.push(file(one, key, about));
            }
        }
        _ => return false,
    }
    true
}

fn volume(one: &Value, spec: &mut ServiceSpec) {
    let target = text(&one["target"]);
    let read_only = one["read_only"].as_bool().unwrap_or_default();
    match one["type"].as_str().unwrap() {
        "volume" => spec.mounts.push(VolumeMount {
            volume: text(&one["source"]).parse().unwrap(),
            target,
            size_bytes_max: None,
            read_only,
        }),
        "bind" => spec.container.binds.push(BindMount {
            source: text(&one["source"]),
            target,
            read_only,
            create_source: one["bind"]["create_host_path"]
                .as_bool()
                .unwrap_or_default(),
            propagation: one["bind"]["propagation"].as_str().map(str::to_owned),
        }),
        "tmpfs" => {
            let about = &one["tmpfs"];
            let mode: u32 = number(&about["mode"]);
            let options = format!("size={},mode={mode:o}", text(&about["size"]));
            spec.container.tmpfs.insert(target, options);
        }
        other => panic!("nobody knows '{other}'"),
    }
}

fn file(one: &Value, kind: &str, about: &Surroundings<'_>) -> FileMount {
    let source = text(&one["source"]);
    let declared = &about.oracle[kind][&source];
    let content = if let Some(path) = declared["file"].as_str() {
        String::from_utf8(about.files.read(Path::new(path), usize::MAX).unwrap()).unwrap()
    } else if let Some(name) = declared["environment"].as_str() {
        about.variables[name].clone()
    } else {
        text(&declared["content"])
    };
    let directory = if kind == "secrets" {
        "/run/secrets/"
    } else {
        "/"
    };
    let target = one["target"].as_str().map_or(source, str::to_owned);
    let id = |key: &str| one.get(key).map_or(0, number);
    FileMount {
        target: match target.starts_with('/') {
            true => target,
            false => format!("{directory}{target}"),
        },
        content: SecretText::Plain(content),
        mode: one.get("mode").map_or(0o444, number),
        user: id("uid"),
        group: id("gid"),
    }
}

fn limits(key: &str, value: &Value, spec: &mut ServiceSpec) -> bool {
    let resources = &mut spec.container.resources;
    match key {
        "mem_limit" => spec.memory_limit_bytes = Some(number(value)),
        "cpu_shares" => spec.cpu_shares = Some(number(value)),
        "cpus" => resources.nano_cpus = Some(nano(value)),
        "cpuset" => resources.cpu_set = Some(text(value)),
        "cpu_period" => resources.cpu_period_us = Some(number(value)),
        "cpu_quota" => resources.cpu_quota_us = Some(number(value)),
        "mem_reservation" => resources.memory_reservation_bytes = Some(number(value)),
        "memswap_limit" => resources.memory_swap_bytes = Some(number(value)),
        "mem_swappiness" => resources.memory_swappiness = Some(number(value)),
        "pids_limit" => resources.pids_max = Some(number(value)),
        "shm_size" => resources.shm_size_bytes = Some(number(value)),
        "oom_kill_disable" => resources.oom_kill_disable = value.as_bool().unwrap(),
        "oom_score_adj" => resources.oom_score_adj = Some(number(value)),
        "deploy" => {
            let limits = &value["resources"]["limits"];
            let given = |key: &str| limits.get(key);
            spec.memory_limit_bytes = given("memory").map(number).or(spec.memory_limit_bytes);
            resources.nano_cpus = given("cpus").map(nano).or(resources.nano_cpus);
            resources.pids_max = given("pids").map(number).or(resources.pids_max);
            let reserved = value["resources"]["reservations"].get("memory");
            resources.memory_reservation_bytes = reserved.map(number);
            if let Some(policy) = value.get("restart_policy") {
                assert_eq!(policy["condition"], "on-failure");
                let retries_max = policy.get("max_attempts").map(number);
                spec.restart = RestartPolicy::OnFailure { retries_max };
            }
        }
        _ => return false,
    }
    true
}

fn nano(value: &Value) -> u64 {
    let cpus: f64 = text(value).parse().unwrap();
    format!("{:.0}", cpus * 1e9).parse().unwrap()
}

fn options(key: &str, value: &Value, options: &mut ContainerOptions) -> bool {
    let flag = || value.as_bool().unwrap();
    match key {
        "entrypoint" => options.entrypoint = Some(texts(value)),
        "user" => options.user = Some(text(value)),
        "working_dir" => options.working_dir = Some(text(value)),
        "hostname" => options.hostname = Some(text(value)),
        "domainname" => options.domain_name = Some(text(value)),
        "labels" => options.labels = map(value),
        "annotations" => options.annotations = map(value),
        "device_cgroup_rules" => options.device_rules = texts(value),
        "cap_add" => options.cap_add = texts(value),
        "cap_drop" => options.cap_drop = texts(value),
        "security_opt" => options.security_opt = texts(value),
        "group_add" => options.group_add = texts(value),
        "privileged" => options.privileged = flag(),
        "read_only" => options.read_only = flag(),
        "tty" => options.tty = flag(),
        "stdin_open" => options.stdin_open = flag(),
        "init" => options.init = Some(flag()),
        "dns" => options.dns = texts(value),
        "dns_search" => options.dns_search = texts(value),
        "dns_opt" => options.dns_options = texts(value),
        "sysctls" => options.sysctls = map(value),
        "ipc" => options.namespaces.ipc = Some(text(value)),
        "pid" => options.namespaces.pid = Some(text(value)),
        "uts" => options.namespaces.uts = Some(text(value)),
        "userns_mode" => options.namespaces.users = Some(text(value)),
        "cgroup" => options.namespaces.cgroup = Some(text(value)),
        "extra_hosts" => {
            let hosts = texts(value);
            let pairs = hosts.iter().map(|host| host.split_once('=').unwrap());
            options.extra_hosts = pairs.map(|(a, b)| (a.to_owned(), b.to_owned())).collect();
        }
        "logging" => {
            options.logging = Some(Logging {
                driver: text(&value["driver"]),
                options: value.get("options").map(map).unwrap_or_default(),
            });
        }
        "devices" => {
            let devices = value.as_array().unwrap().iter();
            options.devices = devices
                .map(|device| Device {
                    source: text(&device["source"]),
                    target: text(&device["target"]),
                    permissions: text(&device["permissions"]),
                })
                .collect();
        }
        "ulimits" => {
            for (name, limit) in value.as_object().unwrap() {
                let one = |key: &str| number(limit.get(key).unwrap_or(limit));
                let (soft, hard) = (one("soft"), one("hard"));
                options.ulimits.insert(name.clone(), Ulimit { soft, hard });
            }
        }
        _ => return false,
    }
    true
}

/// By which names a service finds the others: those that share a network with it.
fn links(name: &str, about: &Surroundings<'_>) -> Vec<Link> {
    let services = about.oracle["services"].as_object().unwrap();
    let own = services[name]["networks"].as_object().unwrap();
    let mut links = Vec::new();
    for (other, body) in services.iter().filter(|(other, _)| *other != name) {
        let theirs = body["networks"].as_object().unwrap();
        let shared: Vec<&Value> = theirs
            .iter()
            .filter(|(network, _)| own.contains_key(*network))
            .map(|(_, about)| about)
            .collect();
        if shared.is_empty() {
            continue;
        }
        let mut names = BTreeSet::from([other.clone()]);
        names.extend(body.get("container_name").map(text));
        let aliases = shared.iter().filter_map(|about| about.get("aliases"));
        names.extend(aliases.flat_map(texts));
        links.extend(names.into_iter().map(|alias| Link {
            alias,
            target: LinkTarget::Service(other.parse().unwrap()),
        }));
    }
    links
}
