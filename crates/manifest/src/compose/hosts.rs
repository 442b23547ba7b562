//! Reads `extra_hosts:`: more names for a container's hosts file.

use super::values;
use crate::common;
use crate::diagnostic::quoted;
use crate::report::Report;
use crate::source::Span;
use crate::yaml::{Data, Node};
use std::net::IpAddr;

/// Stands for the node as its containers reach it.
const GATEWAY: &str = "host-gateway";
const HINT: &str = "write '- \"name:10.0.0.1\"', or '- \"name:host-gateway\"'";

/// Names with their addresses, in the order of the file.
pub(super) fn read(node: &Node, report: &mut Report) -> Vec<(String, String)> {
    let mut found = Vec::new();
    match &node.data {
        Data::Mapping(entries) => {
            for entry in entries {
                for (address, at) in values::texts(&entry.value, &entry.key, report) {
                    found.extend(one(&entry.key, &address, at, report));
                }
            }
        }
        Data::Sequence(_) | Data::Scalar(_) => {
            for (text, at) in values::texts(node, "extra_hosts", report) {
                match text.split_once('=').or_else(|| text.split_once(':')) {
                    Some((name, address)) => found.extend(one(name, address, at, report)),
                    None => report.error(at, format!("{} has no address", quoted(&text)), HINT),
                }
            }
        }
    }
    found
}

fn one(name: &str, address: &str, at: Span, report: &mut Report) -> Option<(String, String)> {
    let address = address.trim_start_matches('[').trim_end_matches(']');
    if !common::check_alias(name, at, report) {
        return None;
    }
    let is_known = address == GATEWAY || check_address(address, at, report);
    is_known.then(|| (name.to_owned(), address.to_owned()))
}

/// True when the text is an IP address; else an error was reported.
pub(super) fn check_address(text: &str, at: Span, report: &mut Report) -> bool {
    let is_address = text.parse::<IpAddr>().is_ok();
    if !is_address {
        report.error(
            at,
            format!("{} is not an IP address", quoted(text)),
            "write it as 10.0.0.1 or fd00::1",
        );
    }
    is_address
}
