//! Reads networks, and links the services that share one.
//!
//! Flocker carries a network of Compose out as names: a service finds another one by name only
//! where they share a network. It is not a wall: whoever knows an address reaches it, and a
//! warning says so.

use super::Names;
use super::keys::{self, Place};
use super::values;
use crate::common;
use crate::diagnostic::quoted;
use crate::parsed::Drafts;
use crate::read;
use crate::report::Report;
use crate::source::Span;
use crate::suggest::nearest;
use crate::yaml::{Data, Node};
use flocker_types::app::{Link, LinkTarget};
use flocker_types::ids::ServiceName;
use std::collections::{BTreeMap, BTreeSet};

/// The network of services that name none.
const DEFAULT: &str = "default";
const HINT: &str = "write a list: 'networks: [front, back]'";

/// Where a service is attached, and under which names others find it there.
#[derive(Debug, Default)]
pub(super) struct Attached {
    /// Network to names.
    networks: BTreeMap<String, Vec<(String, Span)>>,
    /// Names in all of them (`container_name`).
    names: Vec<(String, Span)>,
}

impl Attached {
    fn shares_network_with(&self, other: &Self) -> bool {
        self.networks
            .keys()
            .any(|name| other.networks.contains_key(name))
    }
}

/// Reads the top-level `networks:`; returns the declared names.
pub(super) fn declared(root: &Node, report: &mut Report) -> BTreeSet<String> {
    let mut names = BTreeSet::from([DEFAULT.to_owned()]);
    let Some(node) = root.get("networks").filter(|node| !node.is_null()) else {
        return names;
    };
    let hint = "write one key for each network, with nothing below it";
    for entry in read::mapping(node, "'networks'", hint, report).unwrap_or_default() {
        names.insert(entry.key.to_string());
        if entry.value.is_null() {
            continue;
        }
        let what = format!("the network {}", quoted(&entry.key));
        let Some(entries) = read::mapping(&entry.value, &what, hint, report) else {
            continue;
        };
        keys::check(entries, Place::Network, &what, report);
        for (key, known, hint) in [
            (
                "driver",
                ["bridge", "overlay"].as_slice(),
                "remove it: Flocker carries the traffic between nodes itself",
            ),
            (
                "external",
                ["false", "no"].as_slice(),
                "remove it: other applications are reached at the ports that they publish",
            ),
        ] {
            let value = entry.value.entry(key);
            if let Some(entry) = value.filter(|entry| !entry.value.is_null())
                && let Some(scalar) = entry.value.as_scalar()
                && !known.contains(&&*scalar.text.to_lowercase())
            {
                let message = format!("'{key}: {}' of a network is not supported", scalar.text);
                report.error(entry.key_span, message, hint);
            }
        }
        if let Some(entry) = entry.value.entry("internal")
            && read::truth(&entry.value, "'internal'", report) == Some(true)
        {
            report.warning(
                entry.key_span,
                format!("{what} is not cut off from the outside: 'internal' is not enforced"),
                "use the nodes' firewalls where this matters",
            );
        }
    }
    names
}

/// Reads the `networks:` and `container_name:` of a service.
pub(super) fn of_service(
    service: &Node,
    declared: &BTreeSet<String>,
    report: &mut Report,
) -> Attached {
    let mut attached = Attached::default();
    if let Some(node) = service.get("container_name").filter(|node| !node.is_null())
        && let Some(name) = values::text(node, "container_name", report)
        && common::check_alias(&name, node.span, report)
    {
        attached.names.push((name, node.span));
    }
    let node = service.get("networks").filter(|node| !node.is_null());
    match node.map(|node| (&node.data, node)) {
        None => {}
        Some((Data::Mapping(entries), _)) => {
            for entry in entries {
                let names = aliases(&entry.key, &entry.value, report);
                if check_declared(&entry.key, entry.key_span, declared, report) {
                    attached.networks.insert(entry.key.to_string(), names);
                }
            }
        }
        Some((_, node)) => {
            for item in read::list(node, "'networks'", HINT, report).unwrap_or_default() {
                if let Some(name) = values::text(item, "networks", report)
                    && check_declared(&name, item.span, declared, report)
                {
                    attached.networks.insert(name, Vec::new());
                }
            }
        }
    }
    if attached.networks.is_empty() {
        attached.networks.insert(DEFAULT.to_owned(), Vec::new());
    }
    attached
}

fn aliases(network: &str, node: &Node, report: &mut Report) -> Vec<(String, Span)> {
    if node.is_null() {
        return Vec::new();
    }
    let what = format!("the network {} of a service", quoted(network));
    let hint = "write nothing below it, or 'aliases: [name]'";
    let Some(entries) = read::mapping(node, &what, hint, report) else {
        return Vec::new();
    };
    keys::check(entries, Place::ServiceNetwork, &what, report);
    let Some(aliases) = node.get("aliases").filter(|node| !node.is_null()) else {
        return Vec::new();
    };
    values::texts(aliases, "aliases", report)
        .into_iter()
        .filter(|(alias, at)| common::check_alias(alias, *at, report))
        .collect()
}

fn check_declared(name: &str, at: Span, declared: &BTreeSet<String>, report: &mut Report) -> bool {
    let is_declared = declared.contains(name);
    if !is_declared {
        let hint = match nearest(name, declared.iter().map(String::as_str)) {
            Some(near) => format!("did you mean '{near}'?"),
            None => format!(
                "write '{}:' below the top-level 'networks:'",
                name.escape_default()
            ),
        };
        let message = format!("the network {} is not declared", quoted(name));
        report.error(at, message, hint);
    }
    is_declared
}

/// Gives every service links to those that share a network with it, by all their names.
pub(super) fn link_all(
    drafts: &mut Drafts,
    attached: &BTreeMap<ServiceName, Attached>,
    names: &Names<'_>,
    report: &mut Report,
) {
    warn_of_walls(drafts, attached, report);
    check_names(attached, names, report);
    for (service, draft) in drafts {
        let Some(own) = attached.get(service) else {
            continue;
        };
        let given: BTreeSet<String> = draft
            .spec
            .links
            .iter()
            .map(|link| link.alias.clone())
            .collect();
        for (other, theirs) in attached {
            if other == service || !own.shares_network_with(theirs) {
                continue;
            }
            let shared = theirs.networks.iter();
            let aliases = shared
                .filter(|(network, _)| own.networks.contains_key(*network))
                .flat_map(|(_, aliases)| aliases);
            let mut found: BTreeSet<&str> = BTreeSet::from([other.as_str()]);
            found.extend(aliases.chain(&theirs.names).map(|(name, _)| name.as_str()));
            let new = found.into_iter().filter(|name| !given.contains(*name));
            draft.spec.links.extend(new.map(|name| Link {
                alias: name.to_owned(),
                target: LinkTarget::Service(other.clone()),
            }));
        }
    }
}

/// Says once that networks are not walls, where the file relies on them.
fn warn_of_walls(drafts: &Drafts, attached: &BTreeMap<ServiceName, Attached>, report: &mut Report) {
    let mut apart = attached.iter().flat_map(|(name, own)| {
        let others = attached.iter();
        others
            .filter(move |(other, theirs)| name < *other && !own.shares_network_with(theirs))
            .map(move |(other, _)| (name, other))
    });
    if let Some((one, other)) = apart.next()
        && let Some(draft) = drafts.get(one)
    {
        let at = draft.marks.name.clone();
        report.warning_at(
            &at,
            format!(
                "'{one}' and '{other}' share no network: neither finds the other by name, but \
                 whoever knows an address can reach it"
            ),
            "use passwords, or the nodes' firewalls, where this matters",
        );
    }
}

/// A name must stand for one service.
fn check_names(attached: &BTreeMap<ServiceName, Attached>, names: &Names<'_>, report: &mut Report) {
    let mut owners: BTreeMap<&str, &ServiceName> = BTreeMap::new();
    for (service, own) in attached {
        let all = own.networks.values().flatten().chain(&own.names);
        for (name, at) in all {
            let taken = names.has(name) && service.as_str() != name;
            let owner = owners.entry(name).or_insert(service);
            if taken || *owner != service {
                report.error(
                    *at,
                    format!(
                        "the name {} stands for another service already",
                        quoted(name)
                    ),
                    "give each service names of its own",
                );
            }
        }
    }
}
