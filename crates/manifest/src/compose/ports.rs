//! Reads `ports:` (both forms) and `expose:` of a service.

use super::keys::{self, Place};
use crate::diagnostic::quoted;
use crate::parsed::Draft;
use crate::ports;
use crate::read::{self, Dialect};
use crate::report::Report;
use crate::yaml::{Data, Node};
use flocker_types::app::PortMapping;

const HINT: &str = "write '- \"8080:80\"': the port on the nodes, then the one in the container";

/// Reads `ports:` into the draft.
pub(super) fn published(node: &Node, draft: &mut Draft, report: &mut Report) {
    for item in read::list(node, "'ports'", HINT, report).unwrap_or_default() {
        match &item.data {
            Data::Mapping(_) => long(item, draft, report),
            Data::Scalar(_) | Data::Sequence(_) => {
                ports::short(item, ports::Rules::Compose, draft, report);
            }
        }
    }
}

fn long(item: &Node, draft: &mut Draft, report: &mut Report) {
    let entries = item.as_mapping().unwrap_or_default();
    keys::check(entries, Place::Port, "a port", report);
    let hint = "write 'target: 80' (in the container) and 'published: 8080' (on the nodes)";
    let internal = read::required(item, "target", item.span, hint, report)
        .and_then(|node| read::port(node, "'target'", Dialect::Compose, report));
    let published = item.get("published").filter(|node| !node.is_null());
    let external =
        published.and_then(|node| read::port(node, "'published'", Dialect::Compose, report));
    if let Some(node) = item.get("protocol")
        && let Some(protocol) = read::text(node, "'protocol'", Dialect::Compose, report)
        && ports::check_protocol(protocol, node.span, report).is_none()
    {
        return;
    }
    if let Some(node) = item.get("mode")
        && let Some(mode) = read::text(node, "'mode'", Dialect::Compose, report)
        && !matches!(mode, "ingress" | "host")
    {
        report.error(
            node.span,
            format!("the mode of a port cannot be {}", node.describe()),
            "remove it: every node answers at a published port",
        );
    }
    if let (Some(internal), None) = (internal, published) {
        ports::expose_only(internal..=internal, item.span, draft, report);
    }
    if let Some(node) = item.get("host_ip")
        && let Some(address) = read::text(node, "'host_ip'", Dialect::Compose, report)
        && !ports::is_every_address(address)
    {
        report.error(
            node.span,
            format!(
                "a port cannot be published at one address ({}) only",
                quoted(address)
            ),
            "every node answers at a published port, at all its addresses: remove 'host_ip'",
        );
    }
    if let (Some(internal), Some(external)) = (internal, external) {
        let at = item.get("published").map_or(item.span, |node| node.span);
        ports::publish(PortMapping { internal, external }, at, draft, report);
    }
}

/// Reads `expose:` into the draft.
pub(super) fn exposed(node: &Node, draft: &mut Draft, report: &mut Report) {
    let hint = "write '- \"8080\"'";
    for item in read::list(node, "'expose'", hint, report).unwrap_or_default() {
        let Some(text) = read::text(item, "an exposed port", Dialect::Compose, report) else {
            continue;
        };
        let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        if ports::check_protocol(protocol, item.span, report).is_none() {
            continue;
        }
        if let Some(range) = ports::range(port, item.span, report) {
            draft.spec.expose.extend(range);
        }
    }
}
