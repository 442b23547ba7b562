//! What the tests share: shorthand for parsing text and for showing what was said about it.

use flocker_manifest::{
    Combined, Diagnostic, Manifest, ParseOptions, Parsed, ParsedApplication, ParsedDeployment,
    Source, parse,
};

/// Parses a text as the file `f.yml`.
pub(crate) fn parse_text(text: &str) -> Result<Parsed, Vec<Diagnostic>> {
    parse(&Source::new("f.yml", text), &ParseOptions::default())
}

/// The application that a text describes.
pub(crate) fn application(text: &str) -> ParsedApplication {
    application_named("f.yml", text)
}

/// The application that a file of that name with that text describes.
pub(crate) fn application_named(file: &str, text: &str) -> ParsedApplication {
    match parse(&Source::new(file, text), &ParseOptions::default()) {
        Ok(Parsed {
            manifest: Manifest::Application(parsed),
            ..
        }) => parsed,
        other => panic!("not a valid application: {other:#?}"),
    }
}

/// The deployment that a text describes.
pub(crate) fn deployment(text: &str) -> ParsedDeployment {
    match parse(&Source::new("d.yml", text), &ParseOptions::default()) {
        Ok(Parsed {
            manifest: Manifest::Deployment(parsed),
            ..
        }) => parsed,
        other => panic!("not a valid deployment: {other:#?}"),
    }
}

/// Joins one application with one deployment.
pub(crate) fn combined(application_text: &str, deployment_text: &str) -> Combined {
    let application = application(application_text);
    flocker_manifest::combine(&[application], Some(&deployment(deployment_text)))
        .unwrap_or_else(|found| panic!("{}", show(&found)))
}

/// Diagnostics, one in each line: `line:column+length severity: message (hint)`.
pub(crate) fn show(diagnostics: &[Diagnostic]) -> String {
    diagnostics
        .iter()
        .map(|one| {
            let hint = one
                .hint
                .as_ref()
                .map_or(String::new(), |hint| format!(" ({hint})"));
            format!(
                "{}:{}+{} {}: {}{hint}\n",
                one.line, one.column, one.length, one.severity, one.message
            )
        })
        .collect()
}
