//! Reads manifest files for `check` and `deploy`: finds out which is the deployment file, gives the
//! parser what it needs to know about a file's surroundings.
//!
//! What is in the files is the business of `flocker-manifest`.

use crate::failure::Failure;
use flocker_manifest::{
    Diagnostic, FILE_BYTES_MAX, Manifest, ParseOptions, ParsedApplication, ParsedDeployment,
    Source, parse,
};
use flocker_types::ids::ApplicationName;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

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

/// Reads all files; what is wrong in them is in `errors`.
pub(crate) fn read(
    files: &[PathBuf],
    application_name: Option<&ApplicationName>,
) -> Result<Manifests, Failure> {
    let mut manifests = Manifests::default();
    for path in files {
        let source = Source::new(path.display().to_string(), read_text(path)?);
        let options = ParseOptions {
            application_name: application_name.cloned(),
            directory_name: directory_name(path),
            variables: variables(path),
        };
        match parse(&source, &options) {
            Ok(parsed) => {
                manifests.warnings.extend(parsed.warnings);
                let kind = match parsed.manifest {
                    Manifest::Application(application) => {
                        let described = &application.application;
                        let kind =
                            Kind::Application(described.name.clone(), described.services.len());
                        manifests.applications.push(application);
                        kind
                    }
                    Manifest::Deployment(deployment) => {
                        let nodes: Vec<_> = deployment.nodes().collect();
                        let services = nodes.iter().map(|(_, services)| services.len()).sum();
                        let kind = Kind::Deployment(services, nodes.len());
                        manifests.deployments.push(deployment);
                        kind
                    }
                };
                manifests.kinds.push((path.clone(), kind));
            }
            Err(diagnostics) => manifests.errors.extend(diagnostics),
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

/// What `${VARIABLE}` stands for: the caller's environment, and below it `.env` beside the file.
fn variables(path: &Path) -> BTreeMap<String, String> {
    let beside = directory_of(path).join(".env");
    let mut variables = std::fs::read_to_string(beside)
        .map(|text| parse_env(&text))
        .unwrap_or_default();
    let own = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    variables.extend(own);
    variables
}

fn parse_env(text: &str) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    for line in text.lines() {
        let line = line.trim();
        let line = line.strip_prefix("export ").unwrap_or(line);
        let Some((name, value)) = line.split_once('=').filter(|_| !line.starts_with('#')) else {
            continue;
        };
        let value = value.trim();
        let unquoted = ['"', '\'']
            .iter()
            .find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
        // Without quotes, what follows " #" is a comment.
        let value = unquoted.unwrap_or_else(|| value.split(" #").next().unwrap_or(value).trim());
        variables.insert(name.trim().to_owned(), value.to_owned());
    }
    variables
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn env_files_are_read_as_compose_reads_them() {
        let text = "# comment\nA=1\nexport B = two words # comment\nC=\"x # y\"\nD=''\nno line\n";
        let read = parse_env(text);
        let pairs: Vec<(&str, &str)> = read.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        assert_eq!(
            pairs,
            [("A", "1"), ("B", "two words"), ("C", "x # y"), ("D", "")]
        );
    }

    #[test]
    fn a_file_knows_its_directory() {
        let directory = tempfile::tempdir().unwrap();
        let inner = directory.path().join("shop");
        std::fs::create_dir(&inner).unwrap();
        assert_eq!(directory_name(&inner.join("x.yml")), Some("shop".into()));
        assert!(directory_name(Path::new("x.yml")).is_some());
    }
}
