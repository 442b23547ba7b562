//! `flocker check`: manifests, without a cluster.

use crate::failure::Failure;
use crate::manifests::{self, Kind, ManifestArgs, Manifests};
use crate::output::{self, Style};
use crate::quantity::count;
use clap::Args;
use flocker_manifest::{Diagnostic, ParsedApplication, RenderStyle, Severity, combine, render_all};
use flocker_types::ids::ApplicationName;
use std::collections::BTreeMap;

/// Check manifest files, without a cluster
///
/// Reads Flocker v1, Fig and Compose files, and v1 deployment files. With a deployment file, checks
/// that it and the applications fit together. Compose files given with -f are merged into one, each over
/// those before it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  flocker check compose.yml
  flocker check -f compose.yml -f compose.production.yml
  flocker check deployment.yml application.yml")]
pub(crate) struct Check {
    #[command(flatten)]
    manifests: ManifestArgs,
}

impl Check {
    /// Checks the files, each and together.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let manifests = manifests::read(&self.manifests)?;
        let mut found = manifests.errors.clone();
        found.extend(manifests.warnings.clone());
        if manifests.errors.is_empty() {
            found.extend(together(&manifests));
        }
        show(&found);
        let errors = errors_in(&found);
        if errors > 0 {
            let warnings = found.len() - errors;
            output::note(&format!(
                "\n{}, {}",
                count(errors, "error"),
                count(warnings, "warning")
            ));
            return Err(Failure::Shown);
        }
        for (path, kind) in &manifests.kinds {
            output::data(&format!("{}: ok, {}", path.display(), describe(kind)))?;
        }
        Ok(())
    }
}

/// What no file shows alone: by application, or all with the deployment.
fn together(manifests: &Manifests) -> Vec<Diagnostic> {
    let mut groups: BTreeMap<ApplicationName, Vec<ParsedApplication>> = BTreeMap::new();
    let deployment = manifests.deployments.first();
    for parsed in &manifests.applications {
        let name = match deployment {
            Some(_) => ApplicationName::default(),
            None => parsed.application.name.clone(),
        };
        groups.entry(name).or_default().push(parsed.clone());
    }
    let combined = groups.values().map(|group| combine(group, deployment));
    combined
        .flat_map(|result| match result {
            Ok(combined) => combined.warnings,
            Err(diagnostics) => diagnostics,
        })
        .collect()
}

/// How many of them are errors.
pub(super) fn errors_in(diagnostics: &[Diagnostic]) -> usize {
    let errors = diagnostics
        .iter()
        .filter(|one| one.severity == Severity::Error);
    errors.count()
}

/// Shows diagnostics, if there are any.
pub(super) fn show(diagnostics: &[Diagnostic]) {
    if diagnostics.is_empty() {
        return;
    }
    let style = match Style::of_stderr() {
        Style::Plain => RenderStyle::Plain,
        Style::Coloured => RenderStyle::Coloured,
    };
    output::note(&render_all(diagnostics, style));
}

fn describe(kind: &Kind) -> String {
    match kind {
        Kind::Application(name, services) => {
            format!(
                "application \"{name}\" with {}",
                count(*services, "service")
            )
        }
        Kind::Deployment(services, nodes) => format!(
            "deployment of {} on {}",
            count(*services, "service"),
            count(*nodes, "node")
        ),
    }
}
