//! What differs between two descriptions of a service, in words.

use flocker_types::app::ServiceSpec;
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
        .map(|mount| format!("{}:{}", mount.volume, mount.target))
        .collect()
}

fn sizes(spec: &ServiceSpec) -> Vec<Option<u64>> {
    spec.mounts
        .iter()
        .map(|mount| mount.size_bytes_max)
        .collect()
}
