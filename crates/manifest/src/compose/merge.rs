//! Joins two Compose trees as Compose does: a later file over an earlier one, a service over the
//! one that it extends.
//!
//! Mappings are joined key by key, lists are appended, single values are replaced; [`rule`] names
//! the places where it is otherwise. Pure: works on trees, reads no file.

use super::short;
use crate::diagnostic::quoted;
use crate::report::Report;
use crate::yaml::{Data, Entry, Form, Join, Node, Scalar};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How two values at one place are joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// Key by key, items appended, a later single value counts.
    Plain,
    /// The later one counts as a whole.
    Replace,
    /// `NAME: value` or `- NAME=value`: by name.
    Named,
    /// A name, or a list of names, or a mapping with something below each: by name.
    Keyed,
    /// One text or a list of them: appended.
    Texts,
    /// `host: address` or `- host=address`: appended, one host may have several.
    Hosts,
    /// As `Plain` when both have the same driver, else as `Replace`.
    Logging,
}

/// The rule for a place; `path` begins at the root of the file.
fn rule(path: &[&str]) -> Rule {
    let in_service = match path {
        ["services", _, rest @ ..] => rest,
        ["volumes" | "networks" | "configs" | "secrets", _, "labels"] => return Rule::Named,
        _ => return Rule::Plain,
    };
    match in_service {
        ["command" | "entrypoint"] | ["healthcheck", "test"] | ["ulimits", _] => Rule::Replace,
        ["environment" | "labels" | "annotations" | "sysctls"] | ["deploy", "labels"] => {
            Rule::Named
        }
        ["depends_on" | "networks"] => Rule::Keyed,
        ["dns" | "dns_opt" | "dns_search" | "env_file" | "label_file" | "tmpfs"] => Rule::Texts,
        ["extra_hosts"] => Rule::Hosts,
        ["logging"] => Rule::Logging,
        _ => Rule::Plain,
    }
}

/// `over` on top of `base`. `path` is where both stand.
pub(super) fn merge(base: Node, over: Node, path: &[&str], report: &mut Report) -> Node {
    if over.join == Join::Override || base.is_null() {
        return over;
    }
    match rule(path) {
        Rule::Replace => over,
        _ if over.is_null() && over.join == Join::Merge => base,
        Rule::Named => mappings(named(base), named(over), path, report),
        Rule::Keyed => mappings(keyed(base, path), keyed(over, path), path, report),
        Rule::Texts => append(texts(base), texts(over), path, report),
        Rule::Hosts => append(hosts(base), hosts(over), path, report),
        Rule::Logging if drivers_differ(&base, &over) => over,
        Rule::Plain | Rule::Logging => match (&base.data, &over.data) {
            (Data::Mapping(_), Data::Mapping(_)) => mappings(base, over, path, report),
            (Data::Sequence(_), Data::Sequence(_)) => append(base, over, path, report),
            (Data::Scalar(_), _) => over,
            (Data::Mapping(_) | Data::Sequence(_), _) => differ(base, &over, path, report),
        },
    }
}

/// Says that two values cannot be joined.
fn differ(base: Node, over: &Node, path: &[&str], report: &mut Report) -> Node {
    let key = path.last().copied().unwrap_or("the file");
    report.mismatch(
        over,
        format!(
            "{} is {} here and {} in what it is joined with",
            quoted(key),
            over.describe(),
            base.describe()
        ),
        "write both in one form, or mark this one with '!override'",
    );
    base
}

/// Takes away what `!reset` marks.
pub(super) fn tidy(node: &mut Node) {
    match &mut node.data {
        Data::Scalar(_) => {}
        Data::Mapping(entries) => {
            entries.retain(|entry| entry.value.join != Join::Reset);
            entries.iter_mut().for_each(|entry| tidy(&mut entry.value));
        }
        Data::Sequence(items) => {
            items.retain(|item| item.join != Join::Reset);
            items.iter_mut().for_each(tidy);
        }
    }
}

fn mappings(mut base: Node, over: Node, path: &[&str], report: &mut Report) -> Node {
    if over.as_mapping().is_none() || base.as_mapping().is_none() {
        return differ(base, &over, path, report);
    }
    let (Data::Mapping(entries), Data::Mapping(others)) = (&mut base.data, over.data) else {
        return base;
    };
    for other in others {
        let at = entries.iter().position(|entry| entry.key == other.key);
        match at {
            Some(at) if other.value.join == Join::Reset => drop(entries.remove(at)),
            Some(at) => {
                let mut inner = path.to_vec();
                inner.push(&other.key);
                let nothing = Node::text(other.key_span, "");
                let earlier = std::mem::replace(&mut entries[at].value, nothing);
                entries[at].value = merge(earlier, other.value, &inner, report);
                entries[at].key_span = other.key_span;
            }
            None => entries.push(other),
        }
    }
    base
}

fn append(mut base: Node, over: Node, path: &[&str], report: &mut Report) -> Node {
    if !matches!(
        (&base.data, &over.data),
        (Data::Sequence(_), Data::Sequence(_))
    ) {
        return differ(base, &over, path, report);
    }
    if let (Data::Sequence(items), Data::Sequence(others)) = (&mut base.data, over.data) {
        items.extend(others);
        unify(items, path);
    }
    base
}

/// Of items that name the same thing the last one counts, at the place of the first.
fn unify(items: &mut Vec<Node>, path: &[&str]) {
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    let mut kept: Vec<Node> = Vec::with_capacity(items.len());
    for item in items.drain(..) {
        let identity = identity(&item, path);
        match identity.as_ref().and_then(|key| places.get(key)) {
            Some(place) => kept[*place] = item,
            None => {
                places.extend(identity.map(|key| (key, kept.len())));
                kept.push(item);
            }
        }
    }
    *items = kept;
}

/// What an item of a list names, in lists where nothing may be named twice.
fn identity(item: &Node, path: &[&str]) -> Option<String> {
    let text = || item.as_scalar().map(|scalar| scalar.text.to_string());
    let of = |key: &str| Some(item.get(key)?.as_scalar()?.text.to_string());
    match path {
        ["services", _, "volumes"] => match text() {
            Some(text) => Some(short::volume(&text).target.to_owned()),
            None => of("target"),
        },
        ["services", _, "devices"] => match text() {
            Some(text) => Some(text.split(':').nth(1).unwrap_or(&text).to_owned()),
            None => of("target"),
        },
        ["services", _, "configs" | "secrets"] => text()
            .or_else(|| of("target"))
            .or_else(|| of("source"))
            .map(|target| target.trim_start_matches("/run/secrets/").to_owned()),
        ["services", _, "env_file"] => text().or_else(|| of("path")),
        ["services", _, "ports"] => match text() {
            Some(text) => Some(text),
            None => Some(format!(
                "{}:{}:{}/{}",
                of("host_ip").unwrap_or_default(),
                of("published").unwrap_or_default(),
                of("target")?,
                of("protocol").unwrap_or_else(|| "tcp".to_owned())
            )),
        },
        [
            "services",
            _,
            "cap_add" | "cap_drop" | "dns" | "dns_opt" | "dns_search" | "expose" | "links"
            | "profiles" | "tmpfs",
        ]
        | ["services", _, "networks", _, "aliases"] => text(),
        _ => None,
    }
}

/// A list of `NAME=value` as a mapping.
fn named(node: Node) -> Node {
    let span = node.span;
    let join = node.join;
    let Data::Sequence(items) = node.data else {
        return node;
    };
    let mut entries: Vec<Entry> = Vec::new();
    for item in items {
        let Some(scalar) = item.as_scalar() else {
            continue;
        };
        let (name, value) = match scalar.text.split_once('=') {
            Some((name, value)) => (Arc::from(name), Node::text(item.span, value)),
            None => {
                let (text, form) = (Arc::from(""), Form::Plain);
                let nothing = Data::Scalar(Scalar { text, form });
                (Arc::clone(&scalar.text), Node::new(item.span, nothing))
            }
        };
        entries.retain(|entry| entry.key != name);
        entries.push(Entry {
            key: name,
            key_span: item.span,
            value,
        });
    }
    Node {
        span,
        data: Data::Mapping(entries),
        join,
    }
}

/// A list of names as a mapping with nothing below each, or with what Compose puts there.
fn keyed(node: Node, path: &[&str]) -> Node {
    let span = node.span;
    let join = node.join;
    let Data::Sequence(items) = node.data else {
        return node;
    };
    let entries = items.into_iter().filter_map(|item| {
        let key = Arc::clone(&item.as_scalar()?.text);
        let value = match path.last() {
            Some(&"depends_on") => Data::Mapping(vec![Entry {
                key: Arc::from("condition"),
                key_span: item.span,
                value: Node::text(item.span, "service_started"),
            }]),
            _ => Data::Scalar(Scalar {
                text: Arc::from(""),
                form: Form::Plain,
            }),
        };
        Some(Entry {
            key,
            key_span: item.span,
            value: Node::new(item.span, value),
        })
    });
    Node {
        span,
        data: Data::Mapping(entries.collect()),
        join,
    }
}

/// One text as a list.
fn texts(node: Node) -> Node {
    match node.data {
        Data::Scalar(_) => Node {
            span: node.span,
            join: node.join,
            data: Data::Sequence(vec![Node {
                join: Join::Merge,
                ..node
            }]),
        },
        Data::Sequence(_) | Data::Mapping(_) => node,
    }
}

/// A mapping of hosts as a list of `host=address`.
fn hosts(node: Node) -> Node {
    let (span, join) = (node.span, node.join);
    let Data::Mapping(entries) = node.data else {
        return node;
    };
    let mut items = Vec::new();
    for entry in entries {
        let addresses = match &entry.value.data {
            Data::Sequence(addresses) => addresses.as_slice(),
            _ => std::slice::from_ref(&entry.value),
        };
        for address in addresses {
            if let Some(scalar) = address.as_scalar() {
                let text = format!("{}={}", entry.key, scalar.text);
                items.push(Node::text(entry.key_span, text));
            }
        }
    }
    Node {
        span,
        join,
        data: Data::Sequence(items),
    }
}

fn drivers_differ(base: &Node, over: &Node) -> bool {
    let driver = |node: &Node| Some(node.get("driver")?.as_scalar()?.text.clone());
    match (driver(base), driver(over)) {
        (Some(base), Some(over)) => base != over,
        _ => false,
    }
}
