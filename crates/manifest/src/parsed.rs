//! What parsing one file gives, with the places that checks across files need.
//!
//! The format readers fill it; [`crate::combine()`] joins several of them.

use crate::diagnostic::{Diagnostic, Severity};
use crate::source::Location;
use flocker_types::app::{Application, Placement, ServiceSpec};
use flocker_types::ids::{ServiceName, VolumeName};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The formats of application files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApplicationFormat {
    /// `version: 1` and `applications:`, as Flocker 0.1 to 1.0 read it.
    V1,
    /// Services at the top level, as Fig had it and Flocker 0.3 to 1.0 read it.
    Fig,
    /// `services:`, the Compose Specification.
    Compose,
}

/// A valid application file.
#[derive(Debug, Clone)]
pub struct ParsedApplication {
    /// What it describes.
    pub application: Application,
    /// Where it wants its services, as far as it says so (`x-flocker: {node: ...}`).
    pub placement: Placement,
    /// In which format it was written.
    pub format: ApplicationFormat,
    pub(crate) file: Arc<str>,
    pub(crate) marks: BTreeMap<ServiceName, ServiceMarks>,
}

/// A valid deployment file: which services run on which nodes.
#[derive(Debug, Clone)]
pub struct ParsedDeployment {
    pub(crate) file: Arc<str>,
    pub(crate) nodes: Vec<DeployedNode>,
}

impl ParsedDeployment {
    /// The nodes that the file lists and the services on each, in the order of the file.
    pub fn nodes(&self) -> impl Iterator<Item = (&str, Vec<&ServiceName>)> {
        self.nodes.iter().map(|node| {
            let services = node.services.iter().map(|(name, _)| name).collect();
            (node.name.as_str(), services)
        })
    }
}

/// One node of a deployment file.
#[derive(Debug, Clone)]
pub(crate) struct DeployedNode {
    /// Its name or address.
    pub(crate) name: String,
    /// What runs there, and where the file says so.
    pub(crate) services: Vec<(ServiceName, Location)>,
}

/// Where a file says what about one service.
#[derive(Debug, Clone)]
pub(crate) struct ServiceMarks {
    /// Its name.
    pub(crate) name: Location,
    /// Its published ports.
    pub(crate) ports: Vec<(u16, Location)>,
    /// Its links to whoever publishes a port.
    pub(crate) links: Vec<(u16, Location)>,
    /// Its volumes.
    pub(crate) volumes: Vec<(VolumeName, Location)>,
    /// The node it wants.
    pub(crate) node: Option<Location>,
}

/// A service while its file is being read.
#[derive(Debug)]
pub(crate) struct Draft {
    /// What is known so far; what was wrong is left at its default, and an error was reported.
    pub(crate) spec: ServiceSpec,
    /// Where the file says so.
    pub(crate) marks: ServiceMarks,
}

impl Draft {
    /// A service of which only the place of its name is known.
    pub(crate) fn new(name: Location) -> Self {
        Self {
            spec: ServiceSpec::of_image(""),
            marks: ServiceMarks {
                name,
                ports: Vec::new(),
                links: Vec::new(),
                volumes: Vec::new(),
                node: None,
            },
        }
    }
}

/// The services of a file while it is being read.
pub(crate) type Drafts = BTreeMap<ServiceName, Draft>;

/// What two services may not share: a published port, a volume.
pub(crate) fn conflicts<'m>(
    services: impl IntoIterator<Item = (&'m ServiceName, &'m ServiceMarks)>,
) -> Vec<Diagnostic> {
    let mut ports = Vec::new();
    let mut volumes = Vec::new();
    for (service, marks) in services {
        ports.extend(marks.ports.iter().map(|(port, at)| (*port, service, at)));
        volumes.extend(marks.volumes.iter().map(|(name, at)| (name, service, at)));
    }
    let mut found = Vec::new();
    for (port, service, at, first_service, first) in repeated(ports) {
        let message = format!(
            "the external port {port} is already published by '{first_service}' ({}:{})",
            first.file, first.line
        );
        let hint = if service == first_service {
            "publish each external port once".to_owned()
        } else {
            format!("every node answers at this port, for one service: give '{service}' another")
        };
        found.push(Diagnostic::new(Severity::Error, at, message).with_hint(hint));
    }
    for (volume, service, at, first_service, first) in repeated(volumes) {
        let message = if service == first_service {
            format!("'{service}' mounts the volume '{volume}' twice")
        } else {
            format!(
                "the volume '{volume}' is already used by '{first_service}' ({}:{})",
                first.file, first.line
            )
        };
        let hint = if service == first_service {
            "mount it once, at one path"
        } else {
            "a volume belongs to one service: give this one a volume of its own"
        };
        found.push(Diagnostic::new(Severity::Error, at, message).with_hint(hint));
    }
    found
}

type Claim<'m, T> = (T, &'m ServiceName, &'m Location);
type Conflict<'m, T> = (
    T,
    &'m ServiceName,
    &'m Location,
    &'m ServiceName,
    &'m Location,
);

/// The claims of something that an earlier claim (by position) already has, with that one.
fn repeated<'m, T: Ord + Copy>(mut claims: Vec<Claim<'m, T>>) -> Vec<Conflict<'m, T>> {
    // Stable: files stay in the order in which they were given.
    let mut files: Vec<Arc<str>> = Vec::new();
    for (_, _, at) in &claims {
        if !files.contains(&at.file) {
            files.push(Arc::clone(&at.file));
        }
    }
    let rank = |at: &Location| files.iter().position(|file| *file == at.file);
    claims.sort_by_key(|(_, _, at)| (rank(at), at.line, at.column));
    let mut first_claims: BTreeMap<T, (&ServiceName, &Location)> = BTreeMap::new();
    let mut found = Vec::new();
    for (thing, service, at) in claims {
        match first_claims.get(&thing) {
            Some((first_service, first)) => {
                found.push((thing, service, at, *first_service, *first));
            }
            None => {
                first_claims.insert(thing, (service, at));
            }
        }
    }
    found
}
