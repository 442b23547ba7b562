//! The formats of Flocker 0.1 to 1.0: application files and deployment files with `version: 1`.

mod application;
mod deployment;
mod service;

pub(crate) use application::read_application;
pub(crate) use deployment::read_deployment;
pub(crate) use service::environment;

use crate::diagnostic::quoted;
use crate::report::Report;
use crate::suggest::nearest;
use crate::yaml::{Meaning, Node};

/// Checks `version: 1` and warns of keys that Flocker always ignored. `main` is the other key that
/// the file must have.
fn check_top_level(root: &Node, main: &str, report: &mut Report) {
    match root.entry("version") {
        None => report.error(
            root.span,
            "the key 'version' is missing",
            "write 'version: 1' in the first line",
        ),
        Some(entry) => {
            let is_one = entry
                .value
                .as_scalar()
                .is_some_and(|scalar| match scalar.meaning() {
                    Meaning::Integer(number) => number == 1,
                    // Python's 1.0 and True equal 1, so these were always accepted.
                    Meaning::Fraction(number) => number.total_cmp(&1.0).is_eq(),
                    Meaning::Truth(value) | Meaning::OldTruth(value) => value,
                    _ => false,
                });
            if !is_one {
                report.error(
                    entry.value.span,
                    format!("'version' must be 1, not {}", entry.value.describe()),
                    "write 'version: 1', without quotes",
                );
            }
        }
    }
    for entry in root.as_mapping().unwrap_or_default() {
        if &*entry.key == "version" || &*entry.key == main {
            continue;
        }
        let hint = match nearest(&entry.key, ["version", main]) {
            Some(near) => format!("did you mean '{near}'?"),
            None if entry.key.starts_with("x-") => continue,
            None => "remove it, or put it where it belongs".to_owned(),
        };
        report.warning(
            entry.key_span,
            format!("the key {} is ignored here", quoted(&entry.key)),
            hint,
        );
    }
}
