//! Reads manifest files for `check` and `deploy`: finds out which is the deployment file, gives the
//! parser what it needs to know about a file's surroundings.
//!
//! What is in the files is the business of `flocker-manifest`.

use crate::failure::Failure;
use clap::Args;
use flocker_manifest::{
    Diagnostic, FILE_BYTES_MAX, Manifest, ParseOptions, Parsed, ParsedApplication,
    ParsedDeployment, ReadFile, Source, parse, parse_merged, parse_variables,
};
use flocker_types::ids::ApplicationName;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a file was read as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An application of that name with so many services.
    Application(ApplicationName, usize),
    /// A deployment of so many services on so many nodes.
    Deployment(usize, usize),
}

/// Manifest files, each valid by itself.
#[derive(Debug, Default)]
pub(crate) struct Manifests {
    /// What each file is, in the order in which they were given.
    pub(crate) kinds: Vec<(PathBuf, Kind)>,
    /// What to run.
    pub(crate) applications: Vec<ParsedApplication>,
    /// Where to run it.
    pub(crate) deployments: Vec<ParsedDeployment>,
    /// Things that are probably not meant.
    pub(crate) warnings: Vec<Diagnostic>,
    /// What is wrong, and the warnings of those files.
    pub(crate) errors: Vec<Diagnostic>,
}

/// The manifest files of a command, and what is needed to understand them.
#[derive(Debug, Default, Args)]
pub(crate) struct ManifestArgs {
    /// Manifest files
    #[arg(required_unless_present = "merged", value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,

    /// A Compose file; each further one is merged over those before it
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    pub(crate) merged: Vec<PathBuf>,

    /// The application's name, where a file gives none
    #[arg(long, value_name = "NAME")]
    pub(crate) application: Option<ApplicationName>,

    /// Run the services of this profile of a Compose file too ('*' for all)
    #[arg(long = "profile", value_name = "NAME")]
    pub(crate) profiles: Vec<String>,

    /// Read the variables for Compose files from this file instead of `.env`
    #[arg(long = "env-file", value_name = "FILE")]
    pub(crate) env_files: Vec<PathBuf>,
}

/// Reads all files; what is wrong in them is in `errors`.
pub(crate) fn read(given: &ManifestArgs) -> Result<Manifests, Failure> {
    let mut manifests = Manifests::default();
    if let Some(first) = given.merged.first() {
        let mut sources = Vec::new();
        for path in &given.merged {
            sources.push(source_of(path)?);
        }
        if let Some(options) = manifests.options(given, first)? {
            manifests.take(first, parse_merged(&sources, &options));
        }
    }
    for path in &given.files {
        let source = source_of(path)?;
        if let Some(options) = manifests.options(given, path)? {
            manifests.take(path, parse(&source, &options));
        }
    }
    if manifests.deployments.len() > 1 {
        return Err(Failure::new(
            "these are several deployment files; one says where everything runs",
        )
        .hint("give one of them, with the application files that it places"));
    }
    Ok(manifests)
}

impl Manifests {
    /// What the parser needs to know about a file's surroundings; none after an error in them.
    fn options(
        &mut self,
        given: &ManifestArgs,
        path: &Path,
    ) -> Result<Option<ParseOptions>, Failure> {
        let Some(variables) = self.variables(&given.env_files, path)? else {
            return Ok(None);
        };
        let mut profiles: BTreeSet<String> = given.profiles.iter().cloned().collect();
        if let Some(more) = variables.get("COMPOSE_PROFILES") {
            let more = more.split(',').map(str::trim);
            profiles.extend(more.filter(|name| !name.is_empty()).map(str::to_owned));
        }
        Ok(Some(ParseOptions {
            application_name: given.application.clone(),
            directory_name: directory_name(path),
            variables,
            directory: absolute_directory(path),
            files: Some(Arc::new(Disk)),
            profiles,
        }))
    }

    /// What `${VARIABLE}` stands for: the caller's environment, and below it the files given for
    /// this, else `.env` beside the manifest.
    fn variables(
        &mut self,
        given: &[PathBuf],
        path: &Path,
    ) -> Result<Option<BTreeMap<String, String>>, Failure> {
        let own: BTreeMap<String, String> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let beside = directory_of(path).join(".env");
        let files = match given {
            [] if beside.is_file() => std::slice::from_ref(&beside),
            given => given,
        };
        let mut variables = BTreeMap::new();
        for file in files {
            match parse_variables(&source_of(file)?, &own) {
                Ok(found) => variables.extend(found),
                Err(errors) => {
                    self.errors.extend(errors);
                    return Ok(None);
                }
            }
        }
        variables.extend(own);
        Ok(Some(variables))
    }

    fn take(&mut self, path: &Path, parsed: Result<Parsed, Vec<Diagnostic>>) {
        let parsed = match parsed {
            Ok(parsed) => parsed,
            Err(diagnostics) => return self.errors.extend(diagnostics),
        };
        self.warnings.extend(parsed.warnings);
        let kind = match parsed.manifest {
            Manifest::Application(application) => {
                let described = &application.application;
                let kind = Kind::Application(described.name.clone(), described.services.len());
                self.applications.push(application);
                kind
            }
            Manifest::Deployment(deployment) => {
                let nodes: Vec<_> = deployment.nodes().collect();
                let services = nodes.iter().map(|(_, services)| services.len()).sum();
                let kind = Kind::Deployment(services, nodes.len());
                self.deployments.push(deployment);
                kind
            }
        };
        self.kinds.push((path.to_owned(), kind));
    }
}

/// Reads the files that Compose files name.
#[derive(Debug)]
struct Disk;

impl ReadFile for Disk {
    fn read(&self, path: &Path, bytes_max: usize) -> std::io::Result<Vec<u8>> {
        let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX);
        let mut bytes = Vec::new();
        File::open(path)?
            .take(limit.saturating_add(1))
            .read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

fn source_of(path: &Path) -> Result<Source, Failure> {
    Ok(Source::new(path.display().to_string(), read_text(path)?))
}

fn read_text(path: &Path) -> Result<String, Failure> {
    let cannot = |error: std::io::Error| {
        Failure::because(format!("cannot read {}", path.display()), &error)
            .hint("check the path, and that you may read the file")
    };
    let limit = u64::try_from(FILE_BYTES_MAX).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(cannot)?;
    // One byte more, so that the parser sees that it is too long and says so.
    file.take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(cannot)?;
    String::from_utf8(bytes).map_err(|error| {
        Failure::because(format!("{} is not a text", path.display()), &error)
            .hint("manifests are YAML in UTF-8")
    })
}

fn directory_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn directory_name(path: &Path) -> Option<String> {
    let directory = directory_of(path).canonicalize().ok()?;
    Some(directory.file_name()?.to_str()?.to_owned())
}

fn absolute_directory(path: &Path) -> PathBuf {
    let directory = directory_of(path);
    std::path::absolute(&directory).unwrap_or(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_knows_its_directory() {
        let directory = tempfile::tempdir().unwrap();
        let inner = directory.path().join("shop");
        std::fs::create_dir(&inner).unwrap();
        assert_eq!(directory_name(&inner.join("x.yml")), Some("shop".into()));
        assert!(directory_name(Path::new("x.yml")).is_some());
    }
}
