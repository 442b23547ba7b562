//! Reads `depends_on:` and finds services that wait for each other.

use super::Names;
use crate::parsed::{Draft, Drafts};
use crate::read::{self, Dialect};
use crate::report::Report;
use crate::source::Span;
use crate::yaml::{Data, Entry, Meaning, Node};
use flocker_types::app::DependencyCondition;
use flocker_types::ids::ServiceName;
use std::collections::{BTreeMap, BTreeSet};

const HINT: &str = "write a list of services, or 'name: {condition: service_healthy}'";

/// Reads the dependencies of one service into its draft.
pub(super) fn read(node: &Node, names: &Names<'_>, draft: &mut Draft, report: &mut Report) {
    match &node.data {
        Data::Sequence(items) => {
            for item in items {
                let name = read::text(item, "a dependency", Dialect::Compose, report)
                    .and_then(|text| names.known(text, item.span, report));
                if let Some(name) = name {
                    draft
                        .spec
                        .depends_on
                        .insert(name, DependencyCondition::Started);
                }
            }
        }
        Data::Mapping(entries) => {
            for entry in entries {
                let condition = long_form(entry, report);
                if !names.has(&entry.key) && is_optional(entry) {
                    continue;
                }
                let name = names.known(&entry.key, entry.key_span, report);
                if let (Some(name), Some(condition)) = (name, condition) {
                    draft.spec.depends_on.insert(name, condition);
                }
            }
        }
        Data::Scalar(_) => report.error(
            node.span,
            format!("'depends_on' must be a list, not {}", node.describe()),
            HINT,
        ),
    }
}

fn long_form(entry: &Entry, report: &mut Report) -> Option<DependencyCondition> {
    let node = &entry.value;
    let entries = read::mapping(node, "a dependency", HINT, report)?;
    let known = ["condition", "restart", "required"];
    read::unknown_keys(entries, &known, "a dependency", report);
    if let Some(entry) = node.entry("restart")
        && read::truth(&entry.value, "'restart'", report) == Some(true)
    {
        report.error(
            entry.key_span,
            "'restart: true' is not supported yet",
            "remove it: the service is not restarted with what it depends on",
        );
    }
    if let Some(required) = node.get("required") {
        read::truth(required, "'required'", report)?;
    }
    let hint = "write 'condition: service_started' or 'condition: service_healthy'";
    let condition = read::required(node, "condition", entry.key_span, hint, report)?;
    match read::text(condition, "'condition'", Dialect::Compose, report)? {
        "service_started" => Some(DependencyCondition::Started),
        "service_healthy" => Some(DependencyCondition::Healthy),
        "service_completed_successfully" => {
            report.error(
                condition.span,
                "'service_completed_successfully' is not supported yet",
                "run the one-off work when the image starts, or before 'flocker deploy'",
            );
            None
        }
        _ => {
            report.error(
                condition.span,
                format!(
                    "a dependency's condition cannot be {}",
                    condition.describe()
                ),
                hint,
            );
            None
        }
    }
}

/// Whether the service may do without the other one.
fn is_optional(entry: &Entry) -> bool {
    let required = entry.value.get("required").and_then(Node::as_scalar);
    required.is_some_and(|scalar| scalar.meaning() == Meaning::Truth(false))
}

/// Checks what only all services together show.
pub(super) fn check(drafts: &Drafts, waits: &BTreeMap<ServiceName, Span>, report: &mut Report) {
    for (service, span) in waits {
        let Some(draft) = drafts.get(service) else {
            continue;
        };
        for (other, condition) in &draft.spec.depends_on {
            let never_healthy = drafts
                .get(other)
                .and_then(|draft| draft.spec.health_check.as_ref())
                .is_some_and(|check| check.test == ["NONE"]);
            if *condition == DependencyCondition::Healthy && never_healthy {
                report.error(
                    *span,
                    format!("'{service}' waits for '{other}' to be healthy, whose health check is disabled"),
                    "write 'condition: service_started', or enable the health check",
                );
            }
        }
    }
    if let Some(cycle) = cycle(drafts)
        && let Some(span) = cycle.first().and_then(|service| waits.get(service))
    {
        let names: Vec<&str> = cycle.iter().map(|name| name.as_str()).collect();
        report.error(
            *span,
            format!("these services wait for each other: {}", names.join(" -> ")),
            "remove one of these dependencies",
        );
    }
}

/// A circle of services, the first one repeated at its end.
fn cycle(drafts: &Drafts) -> Option<Vec<&ServiceName>> {
    // Takes away services that wait for nothing (that is left) until none can be taken.
    let mut left: BTreeSet<&ServiceName> = drafts.keys().collect();
    loop {
        let free: Vec<&ServiceName> = left
            .iter()
            .copied()
            .filter(|service| next(drafts, service, &left).is_none())
            .collect();
        if free.is_empty() {
            break;
        }
        for service in free {
            left.remove(service);
        }
    }
    let mut path = vec![left.first().copied()?];
    loop {
        let following = next(drafts, path.last()?, &left)?;
        if let Some(start) = path.iter().position(|service| *service == following) {
            let mut cycle = path.split_off(start);
            cycle.push(following);
            return Some(cycle);
        }
        path.push(following);
    }
}

fn next<'d>(
    drafts: &'d Drafts,
    service: &ServiceName,
    left: &BTreeSet<&ServiceName>,
) -> Option<&'d ServiceName> {
    let depends_on = &drafts.get(service)?.spec.depends_on;
    depends_on.keys().find(|other| left.contains(*other))
}
