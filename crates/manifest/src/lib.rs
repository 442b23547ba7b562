//! Turns manifest files into the typed model of `flocker_types::app`, or says everything that is
//! wrong with them: file, line, column, the text underlined, and what to write instead.
//!
//! [`parse`] reads one file of any format: v1 application and deployment files, Fig files, Compose
//! files. [`combine()`] joins what belongs together and checks what no file shows alone. Used by
//! the CLI (`flocker check`, `flocker deploy`) and by control's API. It opens no file itself (what a
//! Compose file names is asked of [`ReadFile`]), knows no cluster and never panics, whatever the
//! input.
//!
//! Where it differs from its models, on purpose:
//! - v1 and Fig: an external port twice, a service on two nodes, a volume of two services, numbers
//!   out of range, names that Docker does not take and keys written twice are errors. Flocker 0.x
//!   took them and failed later, or silently.
//! - Fig: `A=b=c` sets `A`; `/host:/path` is refused; `mem_limit` is honoured; the alias of a link
//!   is also a host name; `22:22` without quotes is the port that was meant, with a warning.
//! - Compose: a volume belongs to one service and has a name; only TCP ports, at all addresses;
//!   `docs/compose.md` says of every key whether it is honoured, ignored with a warning or refused.
//! - With a deployment file, a service that no file places does not run, as Flocker always had it.

mod combine;
mod common;
mod compose;
mod detect;
mod diagnostic;
mod fig;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod image;
mod parsed;
mod ports;
mod read;
#[cfg(test)]
#[path = "../../../fuzz/replay.rs"]
mod replay;
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
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fmt, io};

/// Reads the files that a Compose file names: `env_file`, `extends`, configs, secrets.
pub trait ReadFile: fmt::Debug + Send + Sync {
    /// The bytes of a file, or a few more than `bytes_max` of them when it is larger.
    ///
    /// # Errors
    /// What the system says; `NotFound` where there is no such file.
    fn read(&self, path: &Path, bytes_max: usize) -> io::Result<Vec<u8>>;
}

/// What a caller knows beside the file itself.
#[derive(Debug, Clone, Default)]
pub struct ParseOptions {
    /// The application's name, when the user gave one; wins over what a Compose file says.
    pub application_name: Option<ApplicationName>,
    /// Name of the directory that holds the file: names a Compose application that has no `name:`.
    pub directory_name: Option<String>,
    /// Values for `${VARIABLE}` in Compose files, usually the caller's environment and `.env`.
    pub variables: BTreeMap<String, String>,
    /// The directory that relative paths in Compose files count from: that of the first file.
    pub directory: PathBuf,
    /// Reads files; none where there are none to be read.
    pub files: Option<Arc<dyn ReadFile>>,
    /// The profiles that are active; `*` means all.
    pub profiles: BTreeSet<String>,
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
    let mut report = Report::new();
    let manifest = read(source, options, &mut report);
    conclude(manifest, report)
}

fn conclude(manifest: Option<Manifest>, report: Report) -> Result<Parsed, Vec<Diagnostic>> {
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

/// Reads Compose files that describe one application together: each is merged over those before
/// it, as `docker compose -f ONE -f TWO` does.
///
/// # Errors
/// All errors of the files, and their warnings, by file and position.
pub fn parse_merged(sources: &[Source], options: &ParseOptions) -> Result<Parsed, Vec<Diagnostic>> {
    let mut report = Report::new();
    let mut roots = Vec::new();
    for source in sources {
        let file = report.add_file(source);
        if let Some(root) = yaml::load(&source.text, file, &mut report)
            && detect::is_compose(&root, &mut report)
        {
            roots.push(root);
        }
    }
    let file = Arc::from(sources.first().map_or("", |source| source.name.as_str()));
    let parsed =
        compose::read_application(roots, options, &mut report).map(|(drafts, name, placement)| {
            let format = ApplicationFormat::Compose;
            let parsed = finish(file, format, name, placement, drafts, &mut report);
            Manifest::Application(parsed)
        });
    conclude(parsed, report)
}

/// Reads a file of variables, such as `.env`, by the rules of Compose. `outer` has the variables
/// that win inside its values: the caller's environment.
///
/// # Errors
/// What is wrong with the file, each with its place.
pub fn parse_variables(
    source: &Source,
    outer: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, Vec<Diagnostic>> {
    let mut report = Report::new();
    let file = report.add_file(source);
    let lookup = |name: &str| outer.get(name).cloned();
    let variables = compose::parse_env_file(file, &source.text, &lookup, &mut report);
    if report.has_errors() {
        return Err(report.finish());
    }
    Ok(variables)
}

fn read(source: &Source, options: &ParseOptions, report: &mut Report) -> Option<Manifest> {
    let file = report.add_file(source);
    let root = yaml::load(&source.text, file, report)?;
    let file: Arc<str> = Arc::from(source.name.as_str());
    let name = options.application_name.clone();
    let format = detect::format(&root, report)?;
    if format != Format::Compose {
        yaml::refuse_joins(&root, report);
    }
    let (format, drafts, name, placement) = match format {
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
            let (drafts, name, placement) = compose::read_application(vec![root], options, report)?;
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
    report: &mut Report,
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
