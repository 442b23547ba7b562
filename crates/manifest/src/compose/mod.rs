//! Reads Compose files by the current Compose Specification.
//!
//! What Flocker does not honour is refused by name, never dropped. `x-flocker` says what Compose
//! has no words for; other `x-` keys belong to somebody else and are left alone.

mod command;
mod depends;
mod extension;
mod health;
mod interpolate;
mod keys;
mod limits;
mod ports;
mod service;
mod volumes;

use crate::ParseOptions;
use crate::common;
use crate::diagnostic::quoted;
use crate::parsed::{Draft, Drafts};
use crate::read::{self, Dialect};
use crate::report::Report;
use crate::yaml::Node;
use flocker_types::app::{Link, LinkTarget, Placement};
use flocker_types::ids::{ApplicationName, ServiceName};
use std::collections::{BTreeMap, BTreeSet};

/// Most services in one Compose file. Each has a link to each other one.
const SERVICES_MAX: usize = 500;

/// The services of the file, the application's name, and where services want to run. What is wrong
/// is in the report.
pub(crate) fn read_application(
    mut root: Node,
    options: &ParseOptions,
    report: &mut Report<'_>,
) -> (Drafts, ApplicationName, Placement) {
    interpolate::all(&mut root, &options.variables, report);
    keys::check_top_level(root.as_mapping().unwrap_or_default(), report);
    let name = application_name(&root, options, report);
    let mut placement = Placement {
        remove_absent: true,
        ..Placement::default()
    };
    let mut drafts = Drafts::new();
    let mut volumes = volumes::declared(&root, report);
    let hint = "write one key for each service, with 'image:' below it";
    let entries = root
        .get("services")
        .and_then(|services| read::mapping(services, "'services'", hint, report))
        .unwrap_or_default();
    if let Some(entry) = entries.get(SERVICES_MAX) {
        report.error(
            entry.key_span,
            format!("a Compose file can have at most {SERVICES_MAX} services"),
            "split it into several applications",
        );
        return (drafts, name, placement);
    }
    let names: Vec<&str> = entries.iter().map(|entry| &*entry.key).collect();
    let mut waits = BTreeMap::new();
    for entry in entries {
        let service = common::service_name(entry, report);
        let mut draft = Draft::new(report.locate(entry.key_span));
        let mut reader = service::Reader {
            names: &names,
            volumes: &mut volumes,
            variables: &options.variables,
            draft: &mut draft,
        };
        let said = reader.read(entry, report);
        let Some(service) = service else { continue };
        if let Some(node) = said.node {
            placement.services.insert(service.clone(), node);
        }
        if let Some(span) = said.depends_on {
            waits.insert(service.clone(), span);
        }
        drafts.insert(service, draft);
    }
    depends::check(&drafts, &waits, report);
    volumes::warn_of_unused(&volumes, report);
    link_all(&mut drafts);
    (drafts, name, placement)
}

/// The name that the caller gave, else the one in the file, else the directory's.
fn application_name(
    root: &Node,
    options: &ParseOptions,
    report: &mut Report<'_>,
) -> ApplicationName {
    let written = root.get("name").and_then(|node| {
        let text = read::text(node, "'name'", Dialect::Compose, report)?;
        common::name(text, node.span, ApplicationName::new, report)
    });
    let of_directory = || {
        let kept: String = options
            .directory_name
            .as_deref()
            .unwrap_or("")
            .to_lowercase()
            .chars()
            .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
            .take(flocker_types::ids::NAME_BYTES_MAX)
            .collect();
        ApplicationName::new(kept.trim_start_matches(['_', '-'])).ok()
    };
    options
        .application_name
        .clone()
        .or(written)
        .or_else(of_directory)
        .unwrap_or_default()
}

/// Every service reaches every other one by its name.
fn link_all(drafts: &mut Drafts) {
    let names: Vec<ServiceName> = drafts.keys().cloned().collect();
    for (service, draft) in drafts {
        // Those that `links:` gave already.
        let given: BTreeSet<String> = draft
            .spec
            .links
            .iter()
            .map(|link| link.alias.clone())
            .collect();
        let others = names
            .iter()
            .filter(|other| *other != service && !given.contains(other.as_str()));
        draft.spec.links.extend(others.map(|other| Link {
            alias: other.to_string(),
            target: LinkTarget::Service(other.clone()),
        }));
    }
}

/// A service that something else names; an error was reported when there is none.
fn known_service(
    text: &str,
    span: crate::source::Span,
    names: &[&str],
    report: &mut Report<'_>,
) -> Option<ServiceName> {
    if names.contains(&text) {
        // A name that is not valid was reported at its own place.
        return ServiceName::new(text).ok();
    }
    let hint = match crate::suggest::nearest(text, names.iter().copied()) {
        Some(near) => format!("did you mean '{near}'?"),
        None => "name a service of this file".to_owned(),
    };
    report.error(
        span,
        format!("there is no service {} in this file", quoted(text)),
        hint,
    );
    None
}
