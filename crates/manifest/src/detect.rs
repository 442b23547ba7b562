//! Tells which format a file has by its top-level keys.
//!
//! Unlike Flocker 0.3 it does not take a v1 file for a Fig file because one of its applications is
//! called `image`.

use crate::diagnostic::quoted;
use crate::fig;
use crate::report::Report;
use crate::suggest::nearest;
use crate::yaml::Node;

/// The formats of manifest files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// v1: `version`, `applications`.
    Application,
    /// v1: `version`, `nodes`.
    Deployment,
    /// Services at the top level.
    Fig,
    /// `services`.
    Compose,
}

const HINT: &str = "an application file has 'version: 1' and 'applications:', or 'services:' \
                    (Compose); a deployment file has 'version: 1' and 'nodes:'";

/// Whether a file that is to be merged with others can be a part of a Compose file; else an error
/// was reported.
pub(crate) fn is_compose(root: &Node, report: &mut Report) -> bool {
    let Some(entries) = root.as_mapping() else {
        report.error(
            root.span,
            format!(
                "a Compose file must be a mapping ('key: value'), not {}",
                root.describe()
            ),
            "write 'services:' with the services below it",
        );
        return false;
    };
    let other = entries
        .iter()
        .find(|entry| matches!(&*entry.key, "applications" | "nodes"));
    if let Some(entry) = other {
        report.error(
            entry.key_span,
            format!(
                "only Compose files can be merged, and '{}' is of a v1 file",
                entry.key
            ),
            "give v1 files without '-f'",
        );
    }
    other.is_none()
}

/// The format of a file; `None` when it has none, or two at once, and an error was reported.
pub(crate) fn format(root: &Node, report: &mut Report) -> Option<Format> {
    let Some(entries) = root.as_mapping() else {
        report.error(
            root.span,
            format!(
                "a manifest must be a mapping ('key: value'), not {}",
                root.describe()
            ),
            HINT,
        );
        return None;
    };
    // A Fig service may have any name, also one of ours.
    let markers: Vec<_> = entries
        .iter()
        .filter(|entry| !fig::is_service(&entry.value))
        .filter_map(|entry| match &*entry.key {
            "applications" => Some((Format::Application, entry)),
            "nodes" => Some((Format::Deployment, entry)),
            "services" => Some((Format::Compose, entry)),
            _ => None,
        })
        .collect();
    if let [(first_format, first), rest @ ..] = markers.as_slice() {
        if let Some((_, second)) = rest.first() {
            report.error(
                second.key_span,
                format!("the file has both '{}' and '{}'", first.key, second.key),
                "write them into two files",
            );
            return None;
        }
        return Some(*first_format);
    }
    if entries.iter().any(|entry| fig::is_service(&entry.value)) {
        return Some(Format::Fig);
    }
    let slip = entries.iter().find_map(|entry| {
        nearest(&entry.key, ["applications", "nodes", "services"]).map(|near| (entry, near))
    });
    match (slip, entries.first()) {
        (Some((entry, near)), _) => report.error(
            entry.key_span,
            format!("{} is not a key of a manifest", quoted(&entry.key)),
            format!("did you mean '{near}'?"),
        ),
        (None, Some(entry)) => report.error(entry.key_span, "this is not a manifest", HINT),
        (None, None) => report.error(root.span, "the manifest is empty", HINT),
    }
    None
}
