//! Turns manifest files into the typed model of `flocker_types::app`, or says everything that is
//! wrong with them: file, line, column, the text underlined, and what to write instead.
//!
//! [`parse`] reads one file of any format: v1 application and deployment files, Fig files, Compose
//! files. [`combine()`] joins what belongs together and checks what no file shows alone. Used by
//! the CLI (`flocker check`, `flocker deploy`) and by control's API. It reads no file, knows no
//! cluster and never panics, whatever the input.
//!
//! Where it differs from its models, on purpose:
//! - v1 and Fig: an external port twice, a service on two nodes, a volume of two services, numbers
//!   out of range, names that Docker does not take and keys written twice are errors. Flocker 0.x
//!   took them and failed later, or silently.
//! - Fig: `A=b=c` sets `A`; `/host:/path` is refused; `mem_limit` is honoured; the alias of a link
//!   is also a host name; `22:22` without quotes is the port that was meant, with a warning.
//! - Compose: a variable without value or default is an error, not an empty text; a volume belongs
//!   to one service; only named volumes, TCP ports and keys that Flocker honours are accepted.
//! - With a deployment file, a service that no file places does not run, as Flocker always had it.

mod combine;
mod common;
mod compose;
mod detect;
mod diagnostic;
mod fig;
mod image;
mod parsed;
mod ports;
mod read;
mod report;
mod size;
mod source;
mod suggest;
mod v1;
mod yaml;

pub use combine::{Combined, combine};
pub use diagnostic::{Diagnostic, RenderStyle, Severity, render_all};
pub use parsed::{ApplicationFormat, ParsedApplication, ParsedDeployment};
pub use source::{FILE_BYTES_MAX, Source};

use detect::Format;
use flocker_types::app::{Application, Placement};
use flocker_types::ids::ApplicationName;
use parsed::{Drafts, conflicts};
use report::Report;
use source::Lines;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a caller knows beside the file itself.
#[derive(Debug, Clone, Default)]
pub struct ParseOptions {
    /// The application's name, when the user gave one; wins over what a Compose file says.
    pub application_name: Option<ApplicationName>,
    /// Name of the directory that holds the file: names a Compose application that has no `name:`.
    pub directory_name: Option<String>,
    /// Values for `${VARIABLE}` in Compose files, usually the caller's environment and `.env`.
    pub variables: BTreeMap<String, String>,
}

/// A valid manifest file.
#[derive(Debug, Clone)]
pub enum Manifest {
    /// What to run.
    Application(ParsedApplication),
    /// Where to run it.
    Deployment(ParsedDeployment),
}

/// A valid manifest file and what is odd about it.
#[derive(Debug, Clone)]
pub struct Parsed {
    /// The manifest.
    pub manifest: Manifest,
    /// Things that are probably not meant, in order of position.
    pub warnings: Vec<Diagnostic>,
}

/// Reads one file, whatever its format.
///
/// # Errors
/// All errors of the file, and its warnings, in order of position.
pub fn parse(source: &Source, options: &ParseOptions) -> Result<Parsed, Vec<Diagnostic>> {
    let lines = Lines::of(source);
    let mut report = Report::new(&lines);
    let manifest = read(source, options, &mut report);
    let failed = report.has_errors();
    let diagnostics = report.finish();
    match manifest {
        Some(manifest) if !failed => Ok(Parsed {
            manifest,
            warnings: diagnostics,
        }),
        _ => Err(diagnostics),
    }
}

fn read(source: &Source, options: &ParseOptions, report: &mut Report<'_>) -> Option<Manifest> {
    let root = yaml::load(&source.text, report)?;
    let file: Arc<str> = Arc::from(source.name.as_str());
    let name = options.application_name.clone();
    let (format, drafts, name, placement) = match detect::format(&root, report)? {
        Format::Deployment => {
            let nodes = v1::read_deployment(&root, report);
            return Some(Manifest::Deployment(ParsedDeployment { file, nodes }));
        }
        Format::Application => {
            let drafts = v1::read_application(&root, report);
            let name = name.unwrap_or_default();
            (ApplicationFormat::V1, drafts, name, Placement::default())
        }
        Format::Fig => {
            let drafts = fig::read_application(&root, report);
            let name = name.unwrap_or_default();
            (ApplicationFormat::Fig, drafts, name, Placement::default())
        }
        Format::Compose => {
            let (drafts, name, placement) = compose::read_application(root, options, report);
            (ApplicationFormat::Compose, drafts, name, placement)
        }
    };
    let parsed = finish(file, format, name, placement, drafts, report);
    Some(Manifest::Application(parsed))
}

fn finish(
    file: Arc<str>,
    format: ApplicationFormat,
    name: ApplicationName,
    placement: Placement,
    drafts: Drafts,
    report: &mut Report<'_>,
) -> ParsedApplication {
    let mut services = BTreeMap::new();
    let mut marks = BTreeMap::new();
    for (service, draft) in drafts {
        services.insert(service.clone(), draft.spec);
        marks.insert(service, draft.marks);
    }
    report.extend(conflicts(&marks));
    ParsedApplication {
        application: Application { name, services },
        placement,
        format,
        file,
        marks,
    }
}
