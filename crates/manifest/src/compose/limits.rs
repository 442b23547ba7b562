//! Reads amounts of Compose files: bytes, durations, and the `deploy:` section that limits memory.

use super::keys::{self, Place};
use crate::common;
use crate::diagnostic::quoted;
use crate::read::{self, Dialect};
use crate::report::Report;
use crate::size::{self, AmountProblem};
use crate::yaml::{Meaning, Node};

/// A duration such as `1m30s`, in milliseconds, of at least `least_ms`.
pub(super) fn duration_ms(
    node: &Node,
    what: &str,
    least_ms: u64,
    report: &mut Report<'_>,
) -> Option<u64> {
    let text = read::text(node, what, Dialect::Compose, report)?;
    let hint = "write a number and a unit (ms, s, m, h), for example 10s or 1m30s";
    let message = match size::duration_ms(text) {
        Ok(ms) if ms >= least_ms => return Some(ms),
        Ok(ms) => format!("{what} must be at least {least_ms}ms, not {ms}ms"),
        Err(AmountProblem::TooLarge) => format!("{what} can be at most 24h"),
        Err(AmountProblem::Unreadable | AmountProblem::Zero) => {
            format!("{what} must be a duration, not {}", quoted(text))
        }
    };
    report.error(node.span, message, hint);
    None
}

/// The size of a volume in bytes, at least one.
pub(super) fn volume_size(node: &Node, report: &mut Report<'_>) -> Option<u64> {
    bytes(node, "'size'", size::volume_bytes, report)
}

fn bytes(
    node: &Node,
    what: &str,
    parse: fn(&str) -> Result<u64, AmountProblem>,
    report: &mut Report<'_>,
) -> Option<u64> {
    let text = read::text(node, what, Dialect::Compose, report)?;
    let message = match parse(text) {
        Ok(bytes) => return Some(bytes),
        Err(AmountProblem::Zero) => format!("{what} must be greater than zero"),
        Err(AmountProblem::TooLarge) => format!("{what} is too large: {}", quoted(text)),
        Err(AmountProblem::Unreadable) => {
            format!("{what} must be an amount of bytes, not {}", quoted(text))
        }
    };
    report.error(
        node.span,
        message,
        "write a number, or one with k, m, g or t (times 1024): 512m, 1.5g",
    );
    None
}

/// The memory limit, from `mem_limit` or from `deploy.resources.limits.memory`.
pub(super) fn memory(service: &Node, report: &mut Report<'_>) -> Option<u64> {
    let direct = service.get("mem_limit").filter(|node| !node.is_null());
    let nested = service
        .get("deploy")
        .and_then(|deploy| deploy_memory(deploy, report));
    let mut one = |node: &Node, what: &str| {
        let bytes = bytes(node, what, size::compose_bytes, report)?;
        common::memory_limit(bytes, node.span, report)
    };
    let direct_bytes = direct.and_then(|node| one(node, "'mem_limit'"));
    let nested_bytes = nested.and_then(|node| one(node, "'memory'"));
    if let (Some(a), Some(b), Some(nested)) = (direct_bytes, nested_bytes, nested)
        && a != b
    {
        report.error(
            nested.span,
            "'mem_limit' of this service says something else",
            "give the limit once",
        );
    }
    direct_bytes.or(nested_bytes)
}

fn deploy_memory<'n>(deploy: &'n Node, report: &mut Report<'_>) -> Option<&'n Node> {
    let hint = "write 'resources: {limits: {memory: 512m}}' below it, or use 'mem_limit'";
    let entries = read::mapping(deploy, "'deploy'", hint, report)?;
    keys::check(entries, Place::Deploy, "'deploy'", report);
    if let Some(replicas) = deploy.get("replicas") {
        one_replica(replicas, "'replicas'", report);
    }
    let resources = deploy.get("resources")?;
    let entries = read::mapping(resources, "'resources'", hint, report)?;
    keys::check(entries, Place::Resources, "'resources'", report);
    let limits = resources.get("limits")?;
    let entries = read::mapping(limits, "'limits'", hint, report)?;
    keys::check(entries, Place::Limits, "'limits'", report);
    limits.get("memory").filter(|node| !node.is_null())
}

/// A service is one container.
pub(super) fn one_replica(node: &Node, what: &str, report: &mut Report<'_>) {
    let is_one = node
        .as_scalar()
        .is_some_and(|scalar| scalar.meaning() == Meaning::Integer(1) || &*scalar.text == "1");
    if !is_one {
        report.mismatch(
            node,
            format!("{what} other than 1 is not supported yet"),
            "remove it: a service is one container",
        );
    }
}
