//! What the fuzzers do with this crate: any text is read, and what is said about it must hold.
//!
//! libFuzzer calls it (`fuzz/`), and a test replays the corpora. No part of the program: it is
//! compiled for tests and fuzzers alone.

use crate::{
    Diagnostic, Manifest, ParseOptions, Parsed, ParsedApplication, ParsedDeployment, RenderStyle,
    Severity, Source, combine, parse, render_all,
};
use flocker_types::app::{Application, Placement, ServiceSpec};
use std::collections::BTreeSet;

/// Stands between two files in one input.
const BETWEEN_FILES: char = '\u{1e}';
/// More files than this are not joined.
const FILES_MAX: usize = 4;

/// Files in the formats of Flocker 0.1 to 1.0: applications and deployments, joined.
pub fn manifest_v1(bytes: &[u8]) {
    read_and_join(bytes, &ParseOptions::default());
}

/// Fig files, and deployment files beside them.
pub fn manifest_fig(bytes: &[u8]) {
    let options = ParseOptions {
        application_name: "shop".parse().ok(),
        ..ParseOptions::default()
    };
    read_and_join(bytes, &options);
}

/// Compose files, with variables that have values.
pub fn manifest_compose(bytes: &[u8]) {
    let variable = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let options = ParseOptions {
        application_name: None,
        directory_name: Some("shop".to_owned()),
        variables: [
            variable("TAG", "16"),
            variable("EMPTY", ""),
            variable("COUNT", "2"),
            variable("ODD", "${TAG}: {a: [\"1\n"),
        ]
        .into(),
        ..ParseOptions::default()
    };
    read_and_join(bytes, &options);
}

fn read_and_join(bytes: &[u8], options: &ParseOptions) {
    let text = String::from_utf8_lossy(bytes);
    let mut applications: Vec<ParsedApplication> = Vec::new();
    let mut deployment: Option<ParsedDeployment> = None;
    let mut sources = Vec::new();
    for (index, part) in text.split(BETWEEN_FILES).take(FILES_MAX).enumerate() {
        let source = Source::new(format!("{index}.yml"), part);
        match read(&source, options).map(|parsed| parsed.manifest) {
            Some(Manifest::Application(parsed)) => {
                check_application(&parsed.application, &parsed.placement);
                applications.push(parsed);
            }
            Some(Manifest::Deployment(parsed)) => {
                assert!(parsed.nodes().all(|(name, _)| !name.is_empty()));
                deployment = Some(parsed);
            }
            None => {}
        }
        sources.push(source);
    }
    match combine(&applications, deployment.as_ref()) {
        Ok(combined) => {
            check_application(&combined.application, &combined.placement);
            check_all(&combined.warnings, &sources, Severity::Warning);
        }
        Err(found) => check_all(&found, &sources, Severity::Error),
    }
}

/// Reads one file, twice: the same text says the same.
fn read(source: &Source, options: &ParseOptions) -> Option<Parsed> {
    let sources = std::slice::from_ref(source);
    let again = parse(source, options);
    match (parse(source, options), again) {
        (Ok(parsed), Ok(again)) => {
            check_all(&parsed.warnings, sources, Severity::Warning);
            assert_eq!(parsed.warnings, again.warnings);
            Some(parsed)
        }
        (Err(found), Err(again)) => {
            check_all(&found, sources, Severity::Error);
            assert_eq!(found, again);
            None
        }
        _ => panic!("valid and not valid"),
    }
}

/// The worst of the diagnostics is `worst`, and each points at a place that is there.
fn check_all(found: &[Diagnostic], sources: &[Source], worst: Severity) {
    let errors = found.iter().any(|one| one.severity == Severity::Error);
    assert_eq!(errors, worst == Severity::Error, "{found:?}");
    for one in found {
        let source = sources.iter().find(|source| source.name == one.file);
        check(one, source.expect("the file is one of those given"));
    }
    let plain = render_all(found, RenderStyle::Plain);
    assert!(!plain.contains('\u{1b}'), "{plain}");
    let _ = render_all(found, RenderStyle::Coloured);
}

fn check(one: &Diagnostic, source: &Source) {
    assert!(!one.message.is_empty() && one.length >= 1, "{one:?}");
    let text = source.text.strip_prefix('\u{feff}').unwrap_or(&source.text);
    let joined = text.replace("\r\n", "\n");
    let line = joined.split(['\n', '\r']).nth(one.line.wrapping_sub(1));
    let line = line.unwrap_or_else(|| panic!("no such line: {one:?}"));
    // Just after the last character something may be missing.
    let columns = line.chars().count() + 1;
    assert!((1..=columns).contains(&one.column), "{one:?}");
    assert!(one.excerpt_column <= one.column, "{one:?}");
    assert!(line.contains(&one.excerpt), "{one:?}");
}

/// What only a valid manifest has.
fn check_application(application: &Application, placement: &Placement) {
    let mut ports = BTreeSet::new();
    let mut volumes = BTreeSet::new();
    for spec in application.services.values() {
        check_service(spec);
        for port in &spec.ports {
            assert!(ports.insert(port.external), "a port of two services");
        }
        for mount in &spec.mounts {
            assert!(volumes.insert(&mount.volume), "a volume of two services");
        }
    }
    for service in placement.services.keys() {
        assert!(application.services.contains_key(service), "{service}");
    }
}

fn check_service(spec: &ServiceSpec) {
    assert!(!spec.image.is_empty() && !spec.image.contains(char::is_whitespace));
    assert!(spec.ports.iter().all(|p| p.external > 0 && p.internal > 0));
    for name in spec.environment.keys() {
        assert!(!name.is_empty() && !name.contains(['=', '\0']), "{name:?}");
    }
    for mount in &spec.mounts {
        let path = mount.target.as_str();
        assert!(path.starts_with('/'), "{path:?}");
        assert!(!path.split('/').any(|part| part == ".."), "{path:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::replay;

    #[test]
    fn the_corpora_hold() {
        replay("manifest_v1", manifest_v1);
        replay("manifest_fig", manifest_fig);
        replay("manifest_compose", manifest_compose);
    }
}
