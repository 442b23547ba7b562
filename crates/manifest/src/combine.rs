//! Joins the files of one deployment and checks what no file shows alone.
//!
//! Used by `flocker check FILE...` and `flocker deploy [DEPLOYMENT] APPLICATION...`.

use crate::diagnostic::{self, Diagnostic, Severity};
use crate::parsed::{
    ApplicationFormat, ParsedApplication, ParsedDeployment, ServiceMarks, conflicts,
};
use crate::suggest::nearest;
use flocker_types::app::{Application, Placement};
use flocker_types::ids::{ApplicationName, ServiceName};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// One application, whole.
#[derive(Debug, Clone)]
pub struct Combined {
    /// What it is.
    pub application: Application,
    /// Where it is to run.
    pub placement: Placement,
    /// Things that are probably not meant.
    pub warnings: Vec<Diagnostic>,
}

/// Joins application files of one application and the deployment file that places their services.
///
/// With a deployment file the services that it lists run where it says, on its nodes nothing else
/// of the application runs, and services that no file places do not run: they are left out of the
/// result, with a warning. Without one, services run where `x-flocker: {node: ...}` says, or where
/// control chooses.
///
/// # Errors
/// All contradictions between the files, and the warnings, by file and position.
pub fn combine(
    applications: &[ParsedApplication],
    deployment: Option<&ParsedDeployment>,
) -> Result<Combined, Vec<Diagnostic>> {
    let mut found = Vec::new();
    let name = common_name(applications, &mut found);
    let marks = join(applications, &mut found);
    found.extend(conflicts(marks.iter().copied()));
    warn_of_loose_links(&marks, &mut found);

    let mut application = Application {
        name,
        services: BTreeMap::new(),
    };
    let mut placement = Placement::default();
    for parsed in applications {
        let services = parsed.application.services.clone();
        application.services.extend(services);
        placement.services.extend(parsed.placement.services.clone());
    }
    match deployment {
        Some(deployment) => {
            place(deployment, &marks, &mut placement, &mut found);
            leave_out(deployment, &marks, &placement, &mut application, &mut found);
        }
        None => {
            placement.remove_absent = !applications.is_empty()
                && applications
                    .iter()
                    .all(|parsed| parsed.format == ApplicationFormat::Compose);
        }
    }

    let files: Vec<Arc<str>> = applications
        .iter()
        .map(|parsed| Arc::clone(&parsed.file))
        .chain(deployment.map(|parsed| Arc::clone(&parsed.file)))
        .collect();
    diagnostic::sort(&mut found, &files);
    if found.iter().any(|one| one.severity == Severity::Error) {
        return Err(found);
    }
    Ok(Combined {
        application,
        placement,
        warnings: found,
    })
}

type Marks<'m> = Vec<(&'m ServiceName, &'m ServiceMarks)>;

/// The name that all files agree on.
fn common_name(applications: &[ParsedApplication], found: &mut Vec<Diagnostic>) -> ApplicationName {
    let Some(first) = applications.first() else {
        return ApplicationName::default();
    };
    let name = &first.application.name;
    for other in &applications[1..] {
        if other.application.name == *name {
            continue;
        }
        let Some(marks) = other.marks.values().next() else {
            continue;
        };
        let message = format!(
            "this file describes the application '{}', but {} describes '{name}'",
            other.application.name, first.file
        );
        found.push(
            Diagnostic::new(Severity::Error, &marks.name, message)
                .with_hint("give them one name, or deploy them one after the other"),
        );
    }
    name.clone()
}

/// All services with their places; a service that two files define is an error.
fn join<'m>(applications: &'m [ParsedApplication], found: &mut Vec<Diagnostic>) -> Marks<'m> {
    let mut first_marks: BTreeMap<&ServiceName, &ServiceMarks> = BTreeMap::new();
    let mut all = Vec::new();
    for (service, marks) in applications.iter().flat_map(|parsed| &parsed.marks) {
        if let Some(first) = first_marks.get(service) {
            let message = format!(
                "'{service}' is already defined ({}:{})",
                first.name.file, first.name.line
            );
            found.push(
                Diagnostic::new(Severity::Error, &marks.name, message)
                    .with_hint("rename one of the two, or name each file once"),
            );
            continue;
        }
        first_marks.insert(service, marks);
        all.push((service, marks));
    }
    all
}

/// A v1 link names a port, not a service; nobody may have that port (yet).
fn warn_of_loose_links(marks: &Marks<'_>, found: &mut Vec<Diagnostic>) {
    let published: BTreeSet<u16> = marks
        .iter()
        .flat_map(|(_, marks)| marks.ports.iter().map(|(port, _)| *port))
        .collect();
    for (port, at) in marks.iter().flat_map(|(_, marks)| &marks.links) {
        if !published.contains(port) {
            let message = format!("no service of these files publishes the port {port}");
            found.push(Diagnostic::new(Severity::Warning, at, message).with_hint(
                "the link will reach whoever publishes it in the cluster; to link to a service \
                     of these files, write its external port",
            ));
        }
    }
}

fn place(
    deployment: &ParsedDeployment,
    marks: &Marks<'_>,
    placement: &mut Placement,
    found: &mut Vec<Diagnostic>,
) {
    let known: BTreeMap<&ServiceName, &ServiceMarks> = marks.iter().copied().collect();
    for node in &deployment.nodes {
        placement.exact_nodes.insert(node.name.clone());
        for (service, at) in &node.services {
            let Some(marks) = known.get(service) else {
                let names = known.keys().map(|name| name.as_str());
                let hint = match nearest(service.as_str(), names) {
                    Some(near) => format!("did you mean '{near}'?"),
                    None => "define it in an application file, or remove it here".to_owned(),
                };
                let message = format!("no application file defines '{service}'");
                found.push(Diagnostic::new(Severity::Error, at, message).with_hint(hint));
                continue;
            };
            let wanted = placement
                .services
                .insert(service.clone(), node.name.clone());
            if let (Some(wanted), Some(wish)) = (wanted, &marks.node)
                && wanted != node.name
            {
                let message = format!(
                    "the deployment places '{service}' on '{}', {}:{} on '{wanted}'",
                    node.name, wish.file, wish.line
                );
                found.push(
                    Diagnostic::new(Severity::Warning, at, message)
                        .with_hint("the deployment file counts; make the two agree"),
                );
            }
        }
    }
}

/// A service that a deployment does not place does not run, as Flocker always had it.
fn leave_out(
    deployment: &ParsedDeployment,
    marks: &Marks<'_>,
    placement: &Placement,
    application: &mut Application,
    found: &mut Vec<Diagnostic>,
) {
    if found.iter().any(|one| one.severity == Severity::Error) {
        // A misspelt name in the deployment would be reported a second time.
        return;
    }
    for (service, marks) in marks {
        if placement.services.contains_key(*service) {
            continue;
        }
        application.services.remove(*service);
        let message = format!(
            "'{service}' will not run: {} places it on no node",
            deployment.file
        );
        found.push(
            Diagnostic::new(Severity::Warning, &marks.name, message)
                .with_hint("list it below one of the nodes to run it"),
        );
    }
}
