//! Leaves out the services whose `profiles:` are not active.

use crate::read::{self, Dialect};
use crate::report::Report;
use crate::yaml::{Data, Node};
use std::collections::{BTreeMap, BTreeSet};

/// The services that were left out, each with its profiles.
pub(super) type Inactive = BTreeMap<String, Vec<String>>;

/// Takes the services out of the tree that have profiles, none of them active.
pub(super) fn take_inactive(
    root: &mut Node,
    active: &BTreeSet<String>,
    report: &mut Report,
) -> Inactive {
    let mut inactive = Inactive::new();
    let Data::Mapping(top) = &mut root.data else {
        return inactive;
    };
    for services in top.iter_mut().filter(|entry| &*entry.key == "services") {
        let Data::Mapping(entries) = &mut services.value.data else {
            continue;
        };
        entries.retain(|entry| {
            let Some(node) = entry.value.get("profiles").filter(|node| !node.is_null()) else {
                return true;
            };
            let profiles = profiles(node, report);
            let runs = profiles.is_empty()
                || active.contains("*")
                || profiles.iter().any(|profile| active.contains(profile));
            if !runs {
                inactive.insert(entry.key.to_string(), profiles);
            }
            runs
        });
    }
    inactive
}

fn profiles(node: &Node, report: &mut Report) -> Vec<String> {
    let hint = "write a list: 'profiles: [debug]'";
    let items = read::list(node, "'profiles'", hint, report).unwrap_or_default();
    let mut found = Vec::new();
    for item in items {
        let Some(text) = read::text(item, "a profile", Dialect::Compose, report) else {
            continue;
        };
        let is_name = text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
        if is_name {
            found.push(text.to_owned());
        } else {
            report.error(
                item.span,
                format!(
                    "{} cannot be the name of a profile",
                    crate::diagnostic::quoted(text)
                ),
                "use letters, digits, '_', '.' and '-', a letter or digit first",
            );
        }
    }
    found
}
