//! Reads Compose files by the current Compose Specification.
//!
//! What Flocker does not honour is refused by name, never dropped. `x-flocker` says what Compose
//! has no words for; other `x-` keys belong to somebody else and are left alone.

mod command;
mod depends;
mod env_file;
mod environment;
mod extension;
mod files;
mod health;
mod hosts;
mod interpolate;
mod keys;
mod limits;
mod merge;
mod networks;
mod options;
mod ports;
mod profiles;
mod project;
mod resources;
mod service;
mod short;
mod values;
mod volumes;

pub(crate) use env_file::parse as parse_env_file;
use profiles::Inactive;
use project::Project;

use crate::ParseOptions;
use crate::common;
use crate::diagnostic::quoted;
use crate::parsed::{Draft, Drafts};
use crate::read::{self, Dialect};
use crate::report::Report;
use crate::source::Span;
use crate::yaml::Node;
use flocker_types::app::Placement;
use flocker_types::ids::{ApplicationName, ServiceName};
use std::collections::BTreeMap;

/// Most services in one Compose file. Each has a link to each other one.
const SERVICES_MAX: usize = 500;

/// The services of the file, the application's name, and where services want to run. What is wrong
/// is in the report.
pub(crate) fn read_application(
    roots: Vec<Node>,
    options: &ParseOptions,
    report: &mut Report,
) -> Option<(Drafts, ApplicationName, Placement)> {
    let mut project = Project::new(options);
    let mut root = project.join(roots, report)?;
    keys::check_top_level(root.as_mapping().unwrap_or_default(), report);
    let name = application_name(&root, options, report);
    let mut placement = Placement {
        remove_absent: true,
        ..Placement::default()
    };
    let mut drafts = Drafts::new();
    let inactive = profiles::take_inactive(&mut root, &options.profiles, report);
    let mut volumes = volumes::declared(&root, report);
    let networks = networks::declared(&root, report);
    let files = files::declared(&root, &project, report);
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
        return Some((drafts, name, placement));
    }
    let names = Names {
        active: entries.iter().map(|entry| &*entry.key).collect(),
        inactive,
    };
    let mut waits = BTreeMap::new();
    let mut attached = BTreeMap::new();
    for entry in entries {
        let service = common::service_name(entry, report);
        let mut draft = Draft::new(report.locate(entry.key_span));
        let mut reader = service::Reader {
            names: &names,
            volumes: &mut volumes,
            project: &project,
            networks: &networks,
            files: &files,
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
        attached.insert(service.clone(), said.attached);
        drafts.insert(service, draft);
    }
    depends::check(&drafts, &waits, report);
    volumes::warn_of_unused(&volumes, report);
    networks::link_all(&mut drafts, &attached, &names, report);
    Some((drafts, name, placement))
}

/// The name that the caller gave (also as `COMPOSE_PROJECT_NAME`), else the one in the file, else
/// the directory's.
fn application_name(root: &Node, options: &ParseOptions, report: &mut Report) -> ApplicationName {
    let written = root.get("name").and_then(|node| {
        let text = read::text(node, "'name'", Dialect::Compose, report)?;
        common::name(text, node.span, ApplicationName::new, report)
    });
    let of_caller = || {
        let name = options.variables.get("COMPOSE_PROJECT_NAME")?;
        ApplicationName::new(name.as_str()).ok()
    };
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
        .or_else(of_caller)
        .or(written)
        .or_else(of_directory)
        .unwrap_or_default()
}

/// The names of the services of an application.
pub(super) struct Names<'n> {
    /// Those that run, as written.
    active: Vec<&'n str>,
    /// Those whose profiles are not active.
    inactive: Inactive,
}

impl Names<'_> {
    /// True when a service of that name runs.
    fn has(&self, name: &str) -> bool {
        self.active.contains(&name)
    }

    /// A service that something else names; an error was reported when it does not run.
    fn known(&self, text: &str, span: Span, report: &mut Report) -> Option<ServiceName> {
        if self.has(text) {
            // A name that is not valid was reported at its own place.
            return ServiceName::new(text).ok();
        }
        if let Some(profiles) = self.inactive.get(text) {
            report.error(
                span,
                format!("{} runs only in a profile that is not active", quoted(text)),
                format!(
                    "add '--profile {}', or remove this",
                    profiles.first().map_or("NAME", String::as_str)
                ),
            );
            return None;
        }
        let hint = match crate::suggest::nearest(text, self.active.iter().copied()) {
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
}
