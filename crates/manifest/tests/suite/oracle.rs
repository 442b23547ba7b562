//! Applications as people write them mean what Docker Compose says that they mean: for each one in
//! `tests/fixtures/compose`, what was read equals what `docker compose config` said, which
//! `record.sh` there recorded. Everything in its answer must be accounted for, and nothing else may
//! be in ours.

use crate::suite::expected::{Surroundings, service};
use crate::suite::support::show;
use flocker_manifest::{Manifest, ParseOptions, ReadFile, Source, parse_merged, parse_variables};
use flocker_types::app::ServiceSpec;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

const APPLICATIONS_MIN: usize = 30;
/// Where the applications were when the answers were recorded.
const PROJECT: &str = "/project";

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/compose")
}

/// Reads what lies below `/project` from the fixtures, and nothing else.
#[derive(Debug)]
struct Fixtures;

impl ReadFile for Fixtures {
    fn read(&self, path: &Path, _bytes_max: usize) -> io::Result<Vec<u8>> {
        let inside = path
            .strip_prefix(PROJECT)
            .map_err(|_| io::Error::from(io::ErrorKind::PermissionDenied))?;
        fs::read(fixtures().join(inside))
    }
}

/// The files and profiles that the recorded command named.
fn arguments(directory: &Path) -> (Vec<String>, BTreeSet<String>) {
    let text = fs::read_to_string(directory.join("arguments")).unwrap_or_default();
    let words: Vec<&str> = text.split_whitespace().collect();
    let values = |option: &'static str| {
        let pairs = words.chunks(2).filter(move |pair| pair[0] == option);
        pairs.map(|pair| pair[1].to_owned())
    };
    let files: Vec<String> = values("-f").collect();
    let files = match files.is_empty() {
        true => vec!["compose.yml".to_owned()],
        false => files,
    };
    (files, values("--profile").collect())
}

fn options(name: &str, profiles: BTreeSet<String>) -> ParseOptions {
    let outer = [("HOME", "/home/operator"), ("FROM_OUTSIDE", "yes")];
    let outer = BTreeMap::from(outer.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let mut variables = BTreeMap::new();
    if let Ok(text) = fs::read_to_string(fixtures().join(name).join(".env")) {
        variables = parse_variables(&Source::new(".env", text), &outer).unwrap();
    }
    variables.extend(outer);
    ParseOptions {
        application_name: None,
        directory_name: Some(name.to_owned()),
        variables,
        directory: Path::new(PROJECT).join(name),
        files: Some(Arc::new(Fixtures)),
        profiles,
    }
}

/// Puts what has no order into one, and leaves out what Compose does not know.
fn comparable(mut spec: ServiceSpec) -> ServiceSpec {
    spec.links.sort_by(|a, b| a.alias.cmp(&b.alias));
    spec.container.files.sort_by(|a, b| a.target.cmp(&b.target));
    spec.container.extra_hosts.sort();
    spec.mounts
        .iter_mut()
        .for_each(|mount| mount.size_bytes_max = None);
    spec
}

fn check(name: &str) {
    let directory = fixtures().join(name);
    let (files, profiles) = arguments(&directory);
    let options = options(name, profiles);
    let sources: Vec<Source> = files
        .iter()
        .map(|file| Source::new(file, fs::read_to_string(directory.join(file)).unwrap()))
        .collect();
    let parsed = parse_merged(&sources, &options)
        .unwrap_or_else(|found| panic!("{name} is refused:\n{}", show(&found)));
    let Manifest::Application(parsed) = parsed.manifest else {
        panic!("{name} is no application");
    };
    let oracle = fs::read_to_string(directory.join("oracle.json")).unwrap();
    let oracle: Value = serde_json::from_str(&oracle).unwrap();
    assert_eq!(parsed.application.name.as_str(), oracle["name"], "{name}");
    let expected = oracle["services"].as_object().unwrap();
    let names: Vec<&str> = parsed
        .application
        .services
        .keys()
        .map(flocker_types::ids::ServiceName::as_str)
        .collect();
    assert_eq!(
        names,
        expected.keys().map(String::as_str).collect::<Vec<_>>(),
        "{name}"
    );
    let surroundings = Surroundings {
        oracle: &oracle,
        variables: &options.variables,
        files: &Fixtures,
    };
    for (service_name, spec) in parsed.application.services {
        let expected = service(service_name.as_str(), &surroundings);
        let (ours, theirs) = (comparable(spec), comparable(expected));
        assert!(
            ours == theirs,
            "{name}/{service_name}:\nours   {ours:#?}\ntheirs {theirs:#?}"
        );
    }
}

#[test]
fn applications_mean_what_compose_says() {
    let mut count = 0;
    for entry in fs::read_dir(fixtures()).unwrap() {
        let entry = entry.unwrap();
        if entry.path().is_dir() {
            check(entry.file_name().to_str().unwrap());
            count += 1;
        }
    }
    assert!(count >= APPLICATIONS_MIN, "{count} applications");
}
