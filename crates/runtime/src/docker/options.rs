//! Puts the options of a container ([`ContainerOptions`]) into the engine's description of it.
//! Pure; every option that the type has is here.

use bollard::models::{
    ContainerCreateBody, DeviceMapping, HostConfig, HostConfigCgroupnsModeEnum,
    HostConfigLogConfig, Mount, MountBindOptions, MountBindOptionsPropagationEnum, MountType,
    ResourcesUlimits,
};
use flocker_types::container::{
    BindMount, ContainerOptions, Device, Logging, Namespaces, Resources, Ulimit,
};
use std::collections::{BTreeMap, HashMap};

/// Adds the options to a description that has everything else.
pub(super) fn apply(options: &ContainerOptions, body: &mut ContainerCreateBody) {
    // No `..`: a new option that nobody carries out does not compile.
    let ContainerOptions {
        entrypoint,
        user,
        working_dir,
        hostname,
        domain_name,
        labels,
        annotations,
        tmpfs,
        binds,
        devices,
        device_rules,
        // The agent writes these to its disk and asks for mounts of them.
        files: _,
        ulimits,
        cap_add,
        cap_drop,
        security_opt,
        group_add,
        privileged,
        read_only,
        tty,
        stdin_open,
        init,
        logging,
        dns,
        dns_search,
        dns_options,
        extra_hosts,
        sysctls,
        resources,
        namespaces,
    } = options;
    body.entrypoint.clone_from(entrypoint);
    body.user.clone_from(user);
    body.working_dir.clone_from(working_dir);
    body.hostname.clone_from(hostname);
    body.domainname.clone_from(domain_name);
    body.tty = tty.then_some(true);
    body.open_stdin = stdin_open.then_some(true);
    add_labels(labels, body);
    let host = body.host_config.get_or_insert_default();
    host.annotations = some_map(annotations);
    host.tmpfs = some_map(tmpfs);
    add_binds(binds, host);
    host.devices = some(devices.iter().map(device).collect());
    host.device_cgroup_rules = some(device_rules.clone());
    host.ulimits = some(ulimits.iter().map(ulimit).collect());
    host.cap_add = some(cap_add.clone());
    host.cap_drop = some(cap_drop.clone());
    host.security_opt = some(security_opt.clone());
    host.group_add = some(group_add.clone());
    host.privileged = privileged.then_some(true);
    host.readonly_rootfs = read_only.then_some(true);
    host.init = *init;
    if let Some(logging) = logging {
        host.log_config = Some(log_config(logging));
    }
    host.dns = some(dns.clone());
    host.dns_search = some(dns_search.clone());
    host.dns_options = some(dns_options.clone());
    add_hosts(extra_hosts, host);
    host.sysctls = some_map(sysctls);
    limit(resources, host);
    share(namespaces, host);
}

/// Ours win: by them a container is found.
fn add_labels(labels: &BTreeMap<String, String>, body: &mut ContainerCreateBody) {
    let ours = body.labels.get_or_insert_default();
    for (name, value) in labels {
        ours.entry(name.clone()).or_insert_with(|| value.clone());
    }
}

/// Directories and files of the node. Where a missing one is to be made, in the engine's older form:
/// engines before 23 make nothing for the other one.
fn add_binds(binds: &[BindMount], host: &mut HostConfig) {
    let (made, present): (Vec<&BindMount>, Vec<&BindMount>) =
        binds.iter().partition(|bind| bind.create_source);
    let mounts = host.mounts.get_or_insert_default();
    mounts.extend(present.into_iter().map(bind));
    let texts = made.into_iter().map(|bind| {
        let access = if bind.read_only { "ro" } else { "rw" };
        let propagation = bind.propagation.as_deref().unwrap_or("rprivate");
        format!("{}:{}:{access},{propagation}", bind.source, bind.target)
    });
    host.binds = some(texts.collect());
}

/// What the manifest says comes first, and so wins over the names of other services.
fn add_hosts(extra_hosts: &[(String, String)], host: &mut HostConfig) {
    let own = extra_hosts
        .iter()
        .map(|(name, address)| format!("{name}:{address}"));
    let others = host.extra_hosts.take().unwrap_or_default();
    host.extra_hosts = Some(own.chain(others).collect());
}

fn limit(resources: &Resources, host: &mut HostConfig) {
    let Resources {
        nano_cpus,
        cpu_set,
        cpu_period_us,
        cpu_quota_us,
        memory_reservation_bytes,
        memory_swap_bytes,
        memory_swappiness,
        pids_max,
        shm_size_bytes,
        oom_kill_disable,
        oom_score_adj,
    } = resources;
    host.nano_cpus = nano_cpus.map(signed);
    host.cpuset_cpus.clone_from(cpu_set);
    host.cpu_period = cpu_period_us.map(signed);
    host.cpu_quota = cpu_quota_us.map(signed);
    host.memory_reservation = memory_reservation_bytes.map(signed);
    host.memory_swap = *memory_swap_bytes;
    host.memory_swappiness = memory_swappiness.map(i64::from);
    host.pids_limit = *pids_max;
    host.shm_size = shm_size_bytes.map(signed);
    host.oom_kill_disable = oom_kill_disable.then_some(true);
    host.oom_score_adj = oom_score_adj.map(i64::from);
}

fn share(namespaces: &Namespaces, host: &mut HostConfig) {
    let Namespaces {
        ipc,
        pid,
        uts,
        users,
        cgroup,
    } = namespaces;
    host.ipc_mode.clone_from(ipc);
    host.pid_mode.clone_from(pid);
    host.uts_mode.clone_from(uts);
    host.userns_mode.clone_from(users);
    host.cgroupns_mode = cgroup.as_deref().map(|mode| match mode {
        "host" => HostConfigCgroupnsModeEnum::HOST,
        _ => HostConfigCgroupnsModeEnum::PRIVATE,
    });
}

fn bind(bind: &BindMount) -> Mount {
    use MountBindOptionsPropagationEnum as Propagation;
    let propagation = match bind.propagation.as_deref() {
        None | Some("rprivate") => Propagation::RPRIVATE,
        Some("private") => Propagation::PRIVATE,
        Some("shared") => Propagation::SHARED,
        Some("rshared") => Propagation::RSHARED,
        Some("slave") => Propagation::SLAVE,
        Some(_) => Propagation::RSLAVE,
    };
    Mount {
        typ: Some(MountType::BIND),
        source: Some(bind.source.clone()),
        target: Some(bind.target.clone()),
        read_only: Some(bind.read_only),
        bind_options: Some(MountBindOptions {
            propagation: Some(propagation),
            ..MountBindOptions::default()
        }),
        ..Mount::default()
    }
}

fn device(device: &Device) -> DeviceMapping {
    DeviceMapping {
        path_on_host: Some(device.source.clone()),
        path_in_container: Some(device.target.clone()),
        cgroup_permissions: Some(device.permissions.clone()),
    }
}

fn ulimit((name, limit): (&String, &Ulimit)) -> ResourcesUlimits {
    ResourcesUlimits {
        name: Some(name.clone()),
        soft: Some(limit.soft),
        hard: Some(limit.hard),
    }
}

fn log_config(logging: &Logging) -> HostConfigLogConfig {
    HostConfigLogConfig {
        typ: Some(logging.driver.clone()),
        config: some_map(&logging.options),
    }
}

fn some<T>(items: Vec<T>) -> Option<Vec<T>> {
    (!items.is_empty()).then_some(items)
}

fn some_map(map: &BTreeMap<String, String>) -> Option<HashMap<String, String>> {
    let pairs = || map.iter().map(|(key, value)| (key.clone(), value.clone()));
    (!map.is_empty()).then(|| pairs().collect())
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
