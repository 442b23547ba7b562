//! Reads `x-flocker`, which says what Compose has no words for.

use super::limits;
use crate::common;
use crate::read::{self, Dialect};
use crate::report::Report;
use crate::source::Span;
use crate::yaml::{Entry, Node};

/// Keys that later versions will honour.
const PLANNED: [&str; 7] = [
    "addresses",
    "copies",
    "failover",
    "hooks",
    "max_loss",
    "rpo",
    "retention",
];

/// What `x-flocker` of a service says.
#[derive(Debug, Default)]
pub(super) struct ServiceExtension {
    /// The node it is to run on, and where the file says so.
    pub(super) node: Option<(String, Span)>,
    /// The size of its only volume.
    pub(super) size: Option<(u64, Span)>,
    /// The longest pause that a move should cause, in milliseconds.
    pub(super) pause_budget_ms: Option<u64>,
    /// Names of variables whose values nobody is to see, and where the file says so.
    pub(super) secret_environment: Vec<(String, Span)>,
}

/// Reads `x-flocker` of a service.
pub(super) fn of_service(node: &Node, report: &mut Report) -> ServiceExtension {
    let mut said = ServiceExtension::default();
    let hint = "write for example 'x-flocker: {node: node-1, size: 10G, pause_budget: 2s}'";
    let Some(entries) = read::mapping(node, "'x-flocker'", hint, report) else {
        return said;
    };
    check_keys(
        entries,
        &["node", "size", "pause_budget", "secret_environment"],
        "'x-flocker' of a service",
        report,
    );
    if let Some(node) = node.get("node") {
        said.node = read::text(node, "'node'", Dialect::Compose, report)
            .and_then(|text| common::node_name(text, node.span, report))
            .map(|name| (name, node.span));
    }
    if let Some(node) = node.get("size") {
        said.size = limits::volume_size(node, report).map(|size| (size, node.span));
    }
    if let Some(node) = node.get("pause_budget") {
        said.pause_budget_ms = limits::duration_ms(node, "'pause_budget'", 1, report);
    }
    if let Some(node) = node.get("secret_environment") {
        let hint = "write the names of variables: 'secret_environment: [PASSWORD]'";
        for item in read::list(node, "'secret_environment'", hint, report).unwrap_or_default() {
            let name = read::text(item, "a variable's name", Dialect::Compose, report);
            let names = &mut said.secret_environment;
            names.extend(name.map(|name| (name.to_owned(), item.span)));
        }
    }
    said
}

/// Reads `x-flocker` of a top-level volume: its size in bytes.
pub(super) fn of_volume(node: &Node, report: &mut Report) -> Option<u64> {
    let hint = "write for example 'x-flocker: {size: 10G}'";
    let entries = read::mapping(node, "'x-flocker'", hint, report)?;
    check_keys(entries, &["size"], "'x-flocker' of a volume", report);
    limits::volume_size(node.get("size")?, report)
}

fn check_keys(entries: &[Entry], known: &[&str], inside: &str, report: &mut Report) {
    for entry in entries {
        if PLANNED.contains(&&*entry.key) {
            report.error(
                entry.key_span,
                format!("'{}' in 'x-flocker' is not supported yet", entry.key),
                "remove it: Flocker refuses what it would not honour",
            );
        } else if !known.contains(&&*entry.key) {
            read::unknown_key(entry, known, inside, report);
        }
    }
}
