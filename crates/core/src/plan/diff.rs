//! What differs between two descriptions of a service, in words.

use flocker_types::app::ServiceSpec;
use flocker_types::container::{ContainerOptions, FileMount};
use std::collections::BTreeSet;
use std::fmt::Debug;

/// One line for each difference that makes a new container necessary; empty when there is none.
/// Values of environment variables are not shown: they may be secret.
pub(super) fn changes(old: &ServiceSpec, new: &ServiceSpec) -> Vec<String> {
    let mut lines = Vec::new();
    let mut note = |what: &str, old: &dyn Debug, new: &dyn Debug| {
        let (old, new) = (format!("{old:?}"), format!("{new:?}"));
        if old != new {
            lines.push(format!("{what}: {old} -> {new}"));
        }
    };
    note("image", &old.image, &new.image);
    note("command", &old.command, &new.command);
    note("ports", &ports(old), &ports(new));
    note("expose", &old.expose, &new.expose);
    note("links", &old.links, &new.links);
    note(
        "memory limit",
        &old.memory_limit_bytes,
        &new.memory_limit_bytes,
    );
    note("cpu shares", &old.cpu_shares, &new.cpu_shares);
    note("restart policy", &old.restart, &new.restart);
    note("health check", &old.health_check, &new.health_check);
    note("stop signal", &old.stop_signal, &new.stop_signal);
    note("stop grace", &old.stop_grace_ms, &new.stop_grace_ms);
    note("pause budget", &old.pause_budget_ms, &new.pause_budget_ms);
    note("mounts", &mounts(old), &mounts(new));
    note("sizes", &sizes(old), &sizes(new));
    container(&old.container, &new.container, &mut note);
    let contents = changed_files(&old.container.files, &new.container.files);
    if !contents.is_empty() {
        lines.push(format!(
            "configs and secrets: {} changed",
            contents.join(", ")
        ));
    }
    let names = old.environment.keys().chain(new.environment.keys());
    let mut changed: Vec<&String> = names
        .filter(|name| old.environment.get(*name) != new.environment.get(*name))
        .collect();
    changed.sort();
    changed.dedup();
    if !changed.is_empty() {
        let names: Vec<&str> = changed.iter().map(|name| name.as_str()).collect();
        lines.push(format!("environment: {} changed", names.join(", ")));
    }
    let names = old.secret_environment.keys();
    let names: BTreeSet<&str> = names
        .chain(new.secret_environment.keys())
        .filter(|name| old.secret_environment.get(*name) != new.secret_environment.get(*name))
        .map(String::as_str)
        .collect();
    if !names.is_empty() {
        let names = names.into_iter().collect::<Vec<_>>().join(", ");
        lines.push(format!("secret environment: {names} changed"));
    }
    lines
}

type Note<'n> = dyn FnMut(&str, &dyn Debug, &dyn Debug) + 'n;

/// The options of the container. No `..`: an option whose change nobody sees does not compile.
fn container(old: &ContainerOptions, new: &ContainerOptions, note: &mut Note<'_>) {
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
        // What is in them is not shown; see `changed_files`.
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
    } = old;
    note("entry point", entrypoint, &new.entrypoint);
    note("user", user, &new.user);
    note("working directory", working_dir, &new.working_dir);
    note("host name", hostname, &new.hostname);
    note("domain name", domain_name, &new.domain_name);
    note("labels", labels, &new.labels);
    note("annotations", annotations, &new.annotations);
    note("directories in memory", tmpfs, &new.tmpfs);
    note("bind mounts", binds, &new.binds);
    note("devices", devices, &new.devices);
    note("device rules", device_rules, &new.device_rules);
    note("limits of processes", ulimits, &new.ulimits);
    note("capabilities added", cap_add, &new.cap_add);
    note("capabilities dropped", cap_drop, &new.cap_drop);
    note("security options", security_opt, &new.security_opt);
    note("more groups", group_add, &new.group_add);
    note("privileged", privileged, &new.privileged);
    note("read-only", read_only, &new.read_only);
    note("terminal", tty, &new.tty);
    note("open input", stdin_open, &new.stdin_open);
    note("init process", init, &new.init);
    note("logging", logging, &new.logging);
    note("name servers", dns, &new.dns);
    note("search domains", dns_search, &new.dns_search);
    note("resolver options", dns_options, &new.dns_options);
    note("more hosts", extra_hosts, &new.extra_hosts);
    note("kernel settings", sysctls, &new.sysctls);
    note("resources", resources, &new.resources);
    note("namespaces", namespaces, &new.namespaces);
}

/// Where configs and secrets differ.
fn changed_files<'f>(old: &'f [FileMount], new: &'f [FileMount]) -> Vec<&'f str> {
    let mut paths: Vec<&str> = old
        .iter()
        .filter(|file| !new.contains(file))
        .chain(new.iter().filter(|file| !old.contains(file)))
        .map(|file| file.target.as_str())
        .collect();
    paths.sort_unstable();
    paths.dedup();
    paths
}

fn ports(spec: &ServiceSpec) -> Vec<String> {
    let mut ports: Vec<String> = spec
        .ports
        .iter()
        .map(|port| format!("{}:{}", port.external, port.internal))
        .collect();
    ports.sort();
    ports
}

fn mounts(spec: &ServiceSpec) -> Vec<String> {
    spec.mounts
        .iter()
        .map(|mount| {
            let how = if mount.read_only { ":ro" } else { "" };
            format!("{}:{}{how}", mount.volume, mount.target)
        })
        .collect()
}

fn sizes(spec: &ServiceSpec) -> Vec<Option<u64>> {
    spec.mounts
        .iter()
        .map(|mount| mount.size_bytes_max)
        .collect()
}
