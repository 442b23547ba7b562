//! Reads a v1 deployment file: which applications run on which nodes.

use super::check_top_level;
use crate::common;
use crate::diagnostic::quoted;
use crate::parsed::DeployedNode;
use crate::read;
use crate::report::Report;
use crate::source::Span;
use crate::yaml::{Entry, Node};
use flocker_types::ids::ServiceName;
use std::collections::BTreeMap;

const HINT: &str = "write the applications of the node as a list: [\"name\"], or [] for none";

/// The nodes of the file; what is wrong is in the report.
pub(crate) fn read_deployment(root: &Node, report: &mut Report) -> Vec<DeployedNode> {
    check_top_level(root, "nodes", report);
    let Some(nodes) = root.get("nodes") else {
        report.error(
            root.span,
            "the key 'nodes' is missing",
            "write 'nodes:' and below it one key for each node, with a list of applications",
        );
        return Vec::new();
    };
    let hint = "write one key for each node, with a list of applications; {} for none";
    let mut seen = BTreeMap::new();
    read::mapping(nodes, "'nodes'", hint, report)
        .unwrap_or_default()
        .iter()
        .filter_map(|entry| node(entry, &mut seen, report))
        .collect()
}

fn node(
    entry: &Entry,
    seen: &mut BTreeMap<ServiceName, (String, Span)>,
    report: &mut Report,
) -> Option<DeployedNode> {
    let name = common::node_name(&entry.key, entry.key_span, report);
    let what = format!("the node {}", quoted(&entry.key));
    let mut services: Vec<(ServiceName, crate::source::Location)> = Vec::new();
    for item in read::list(&entry.value, &what, HINT, report)? {
        let Some(scalar) = item.as_scalar().filter(|_| !item.is_null()) else {
            report.error(
                item.span,
                format!(
                    "an item of {what} must be the name of an application, not {}",
                    item.describe()
                ),
                HINT,
            );
            continue;
        };
        let Some(service) = common::name(&scalar.text, item.span, ServiceName::new, report) else {
            continue;
        };
        match seen.get(&service) {
            None => {
                seen.insert(service.clone(), (entry.key.to_string(), item.span));
                services.push((service, report.locate(item.span)));
            }
            Some((node, _)) if **node == *entry.key => report.warning(
                item.span,
                format!("'{service}' is listed twice on this node"),
                "list it once; it runs once",
            ),
            Some((node, first)) => {
                let message = format!(
                    "'{service}' is already placed on {} (line {})",
                    quoted(node),
                    first.line
                );
                report.error(
                    item.span,
                    message,
                    "a service runs on one node: remove it from one of the two",
                );
            }
        }
    }
    Some(DeployedNode {
        name: name?,
        services,
    })
}
