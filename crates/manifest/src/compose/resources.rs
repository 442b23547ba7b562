//! Reads what limits a service: `mem_limit`, `cpus` and their like, and `deploy:`.

use super::keys::{self, Place};
use super::limits;
use super::values::{number, text};
use crate::common;
use crate::diagnostic::quoted;
use crate::read::{self, Dialect};
use crate::report::Report;
use crate::yaml::{Entry, Node};
use flocker_types::app::{RestartPolicy, ServiceSpec};

const NANO_CPUS_IN_ONE: f64 = 1e9;
/// More processors than any server has.
const CPUS_MAX: f64 = 100_000.0;
const HINT: &str = "write 'resources: {limits: {memory: 512m, cpus: \"0.5\"}}' below it";

/// Reads every limit of a service into its description.
pub(super) fn of_service(service: &Node, spec: &mut ServiceSpec, report: &mut Report) {
    for entry in service.as_mapping().unwrap_or_default() {
        if !entry.value.is_null() {
            one(entry, spec, report);
        }
    }
    let deploy = service.get("deploy").filter(|node| !node.is_null());
    if let Some(deploy) = deploy {
        let restarts = service.get("restart").is_some_and(|node| !node.is_null());
        self::deploy(deploy, restarts, spec, report);
    }
}

fn one(entry: &Entry, spec: &mut ServiceSpec, report: &mut Report) {
    let node = &entry.value;
    let key = &*entry.key;
    let resources = &mut spec.container.resources;
    let any = 1..=i128::from(i64::MAX);
    match key {
        "mem_limit" => {
            let bytes = limits::amount(node, "'mem_limit'", report);
            spec.memory_limit_bytes =
                bytes.and_then(|bytes| common::memory_limit(bytes, node.span, report));
        }
        "cpu_shares" => spec.cpu_shares = common::cpu_shares(node, Dialect::Compose, report),
        "cpus" => resources.nano_cpus = cpus(node, "'cpus'", report),
        "cpuset" => resources.cpu_set = text(node, key, report),
        "cpu_period" => resources.cpu_period_us = microseconds(node, key, report),
        "cpu_quota" => resources.cpu_quota_us = microseconds(node, key, report),
        "mem_reservation" => {
            resources.memory_reservation_bytes = limits::amount(node, "'mem_reservation'", report);
        }
        "memswap_limit" => {
            let is_unlimited = node.as_scalar().is_some_and(|scalar| &*scalar.text == "-1");
            resources.memory_swap_bytes = if is_unlimited {
                Some(-1)
            } else {
                let bytes = limits::amount(node, "'memswap_limit'", report);
                bytes.and_then(|bytes| i64::try_from(bytes).ok())
            };
        }
        "mem_swappiness" => resources.memory_swappiness = number(node, key, 0..=100, report),
        "pids_limit" => resources.pids_max = number(node, key, -1..=*any.end(), report),
        "shm_size" => resources.shm_size_bytes = limits::amount(node, "'shm_size'", report),
        "oom_kill_disable" => {
            let disabled = read::truth(node, "'oom_kill_disable'", report);
            resources.oom_kill_disable = disabled.unwrap_or_default();
        }
        "oom_score_adj" => resources.oom_score_adj = number(node, key, -1000..=1000, report),
        _ => {}
    }
}

/// Microseconds: a plain number, or a duration.
fn microseconds(node: &Node, key: &str, report: &mut Report) -> Option<u64> {
    const US_IN_MS: u64 = 1000;
    let is_duration = node
        .as_scalar()
        .is_some_and(|scalar| scalar.text.ends_with('s'));
    if is_duration {
        let ms = limits::duration_ms(node, &format!("'{key}'"), 1, report)?;
        return Some(ms.saturating_mul(US_IN_MS));
    }
    number(node, key, 1..=i128::from(i64::MAX), report)
}

/// Processors, such as `0.5`, in thousand-millionths of one.
fn cpus(node: &Node, what: &str, report: &mut Report) -> Option<u64> {
    let text = read::text(node, what, Dialect::Compose, report)?;
    let value = text.parse::<f64>().ok();
    match value.filter(|value| (0.0..=CPUS_MAX).contains(value)) {
        // Zero is Compose's word for no limit.
        Some(0.0) => None,
        Some(value) => {
            let nano = (value * NANO_CPUS_IN_ONE).round();
            // Exact: the value was checked to be small and is whole.
            format!("{nano:.0}").parse().ok()
        }
        None => {
            report.error(
                node.span,
                format!(
                    "{what} must be a number of processors, not {}",
                    quoted(text)
                ),
                "write for example 0.5 or 2",
            );
            None
        }
    }
}

fn deploy(deploy: &Node, restarts: bool, spec: &mut ServiceSpec, report: &mut Report) {
    let Some(entries) = read::mapping(deploy, "'deploy'", HINT, report) else {
        return;
    };
    keys::check(entries, Place::Deploy, "'deploy'", report);
    if let Some(replicas) = deploy.get("replicas") {
        limits::one_replica(replicas, "'replicas'", report);
    }
    if let Some(mode) = deploy.get("mode")
        && let Some(text) = text(mode, "mode", report)
        && text != "replicated"
    {
        report.error(
            mode.span,
            format!("the mode {} is not supported", quoted(&text)),
            "remove it: a service is one container",
        );
    }
    if let Some(policy) = deploy.get("restart_policy").filter(|node| !node.is_null())
        && let Some(policy) = restart_policy(policy, report)
        && !restarts
    {
        spec.restart = policy;
    }
    let Some(resources) = deploy.get("resources").filter(|node| !node.is_null()) else {
        return;
    };
    let Some(entries) = read::mapping(resources, "'resources'", HINT, report) else {
        return;
    };
    keys::check(entries, Place::Resources, "'resources'", report);
    if let Some(limits) = resources.get("limits").filter(|node| !node.is_null()) {
        deploy_limits(limits, spec, report);
    }
    if let Some(node) = resources.get("reservations").filter(|node| !node.is_null())
        && let Some(entries) = read::mapping(node, "'reservations'", HINT, report)
    {
        keys::check(entries, Place::Reservations, "'reservations'", report);
        if let Some(memory) = node.get("memory").filter(|node| !node.is_null()) {
            spec.container.resources.memory_reservation_bytes =
                limits::amount(memory, "'memory'", report);
        }
    }
}

fn deploy_limits(node: &Node, spec: &mut ServiceSpec, report: &mut Report) {
    let Some(entries) = read::mapping(node, "'limits'", HINT, report) else {
        return;
    };
    keys::check(entries, Place::Limits, "'limits'", report);
    let given = |key: &str| node.get(key).filter(|node| !node.is_null());
    if let Some(node) = given("memory") {
        let bytes = limits::amount(node, "'memory'", report)
            .and_then(|bytes| common::memory_limit(bytes, node.span, report));
        let earlier = spec.memory_limit_bytes;
        said_twice(node, "mem_limit", earlier, bytes, report);
        spec.memory_limit_bytes = bytes.or(earlier);
    }
    let resources = &mut spec.container.resources;
    if let Some(node) = given("cpus") {
        let cpus = cpus(node, "'cpus'", report);
        said_twice(node, "cpus", resources.nano_cpus, cpus, report);
        resources.nano_cpus = cpus.or(resources.nano_cpus);
    }
    if let Some(node) = given("pids") {
        let pids = number(node, "pids", -1..=i128::from(i64::MAX), report);
        said_twice(node, "pids_limit", resources.pids_max, pids, report);
        resources.pids_max = pids.or(resources.pids_max);
    }
}

fn said_twice<T: PartialEq + Copy>(
    node: &Node,
    key: &str,
    earlier: Option<T>,
    now: Option<T>,
    report: &mut Report,
) {
    if earlier.is_some() && now.is_some() && earlier != now {
        report.error(
            node.span,
            format!("'{key}' of this service says something else"),
            "give the limit once",
        );
    }
}

fn restart_policy(node: &Node, report: &mut Report) -> Option<RestartPolicy> {
    let hint = "write 'restart_policy: {condition: on-failure, max_attempts: 3}'";
    let entries = read::mapping(node, "'restart_policy'", hint, report)?;
    keys::check(entries, Place::RestartPolicy, "'restart_policy'", report);
    let retries_max = match node.get("max_attempts").filter(|node| !node.is_null()) {
        Some(node) => Some(number(
            node,
            "max_attempts",
            0..=i128::from(u32::MAX),
            report,
        )?),
        None => None,
    };
    let condition = match node.get("condition").filter(|node| !node.is_null()) {
        Some(node) => {
            let known = ["none", "on-failure", "any"];
            super::values::one_of(node, "condition", &known, report)?
        }
        None => "any".to_owned(),
    };
    Some(match condition.as_str() {
        "none" => RestartPolicy::Never,
        "on-failure" => RestartPolicy::OnFailure {
            retries_max: retries_max.filter(|retries| *retries > 0),
        },
        _ => RestartPolicy::Always,
    })
}
