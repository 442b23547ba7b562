//! Reads `environment:` and `env_file:` of a service: what variables its container has.
//!
//! Also reads other mappings from names to values, such as labels, which Compose writes the same
//! two ways.

use super::env_file;
use super::project::Project;
use crate::common;
use crate::diagnostic::quoted;
use crate::read::{self, Dialect};
use crate::report::Report;
use crate::source::{Source, Span};
use crate::yaml::{Data, Node, Scalar};
use std::collections::BTreeMap;

const FILE_HINT: &str = "write a path, a list of paths, or '- {path: x.env, required: false}'";

/// A name, its value (none where only the name is written), and where it stands.
pub(super) type Value = (String, Option<String>, Span);

/// The variables of a service: those of its files, and over them its own.
pub(super) fn of_service(
    service: &Node,
    project: &Project<'_>,
    report: &mut Report,
) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    if let Some(node) = service.get("env_file").filter(|node| !node.is_null()) {
        variables = of_files(files(node, project, report), project, report);
    }
    if let Some(node) = service.get("environment") {
        own(node, project, &mut variables, report);
    }
    variables
}

/// The labels of the files that `label_file` names, written like variables.
pub(super) fn of_label_files(
    node: &Node,
    project: &Project<'_>,
    report: &mut Report,
) -> BTreeMap<String, String> {
    of_files(files(node, project, report), project, report)
}

/// The values of files of variables, later ones over earlier ones.
fn of_files(
    files: Vec<File>,
    project: &Project<'_>,
    report: &mut Report,
) -> BTreeMap<String, String> {
    let what = "the file of variables";
    let mut variables: BTreeMap<String, String> = BTreeMap::new();
    for (path, is_required, at) in files {
        let text = if is_required {
            project.text(&path, what, at, report)
        } else {
            project.text_if_there(&path, what, at, report).flatten()
        };
        let Some(text) = text else { continue };
        let source = Source::new(path.display().to_string(), text);
        let file = report.add_file(&source);
        let outer = &project.options.variables;
        let lookup = |name: &str| outer.get(name).or_else(|| variables.get(name)).cloned();
        let found = env_file::parse(file, &source.text, &lookup, report);
        variables.extend(found);
    }
    variables
}

fn own(
    node: &Node,
    project: &Project<'_>,
    variables: &mut BTreeMap<String, String>,
    report: &mut Report,
) {
    let hint = "write NAME: \"value\", one in each line";
    for (name, value, at) in values(node, "'environment'", hint, report) {
        if !common::check_variable_name(&name, at, report) {
            continue;
        }
        let value = match value {
            Some(value) => value,
            // A variable without a value takes the caller's.
            None => match project.options.variables.get(&name) {
                Some(value) => value.clone(),
                None => {
                    report.warning(
                        at,
                        format!(
                            "the variable {} has no value here and is not set",
                            quoted(&name)
                        ),
                        format!("set it in the environment, or write {name}: \"\""),
                    );
                    variables.remove(&name);
                    continue;
                }
            },
        };
        if common::check_variable_value(&value, at, report) {
            variables.insert(name, value);
        }
    }
}

/// What `NAME: value` or `- NAME=value` say, in the order of the file; the last one of a name
/// counts.
pub(super) fn values(node: &Node, what: &str, hint: &str, report: &mut Report) -> Vec<Value> {
    let mut found: Vec<Value> = Vec::new();
    match &node.data {
        Data::Sequence(items) => {
            for item in items {
                let text = read::text(
                    item,
                    &format!("an item of {what}"),
                    Dialect::Compose,
                    report,
                );
                let Some(text) = text else { continue };
                let (name, value) = match text.split_once('=') {
                    Some((name, value)) => (name, Some(value.to_owned())),
                    None => (text, None),
                };
                if found.iter().any(|(known, ..)| known == name) {
                    report.warning(
                        item.span,
                        format!(
                            "the variable {} is given twice; this one counts",
                            quoted(name)
                        ),
                        "keep one of the two",
                    );
                    found.retain(|(known, ..)| known != name);
                }
                found.push((name.to_owned(), value, item.span));
            }
        }
        Data::Mapping(entries) => {
            for entry in entries {
                let name = entry.key.to_string();
                match entry.value.as_scalar() {
                    _ if entry.value.is_null() => found.push((name, None, entry.key_span)),
                    _ if entry.value.is_failed() => {}
                    Some(scalar) => {
                        let value = scalar.as_value();
                        warn_of_number(scalar, &value, entry.value.span, report);
                        found.push((name, Some(value), entry.value.span));
                    }
                    None => report.error(
                        entry.value.span,
                        format!(
                            "{} must be text, not {}",
                            quoted(&entry.key),
                            entry.value.describe()
                        ),
                        "write one text in its place, in quotes where in doubt",
                    ),
                }
            }
        }
        Data::Scalar(_) if node.is_null() => {}
        Data::Scalar(_) => report.mismatch(
            node,
            format!(
                "{what} must be a mapping or a list, not {}",
                node.describe()
            ),
            hint,
        ),
    }
    found
}

/// Says where Compose reads something else than what is written.
fn warn_of_number(scalar: &Scalar, value: &str, at: Span, report: &mut Report) {
    if !value.eq_ignore_ascii_case(&scalar.text) {
        report.warning(
            at,
            format!(
                "Compose reads {} as the number {value}",
                quoted(&scalar.text)
            ),
            format!("put it in quotes to keep it: \"{}\"", scalar.text),
        );
    }
}

type File = (std::path::PathBuf, bool, Span);

/// The files that `env_file` names, whether each must be there, and where that is said.
fn files(node: &Node, project: &Project<'_>, report: &mut Report) -> Vec<File> {
    let items = match &node.data {
        Data::Sequence(items) => items.as_slice(),
        Data::Scalar(_) | Data::Mapping(_) => std::slice::from_ref(node),
    };
    let mut files = Vec::new();
    for item in items {
        let mut is_required = true;
        let mut path_node = item;
        if item.as_mapping().is_some() {
            let entries = item.as_mapping().unwrap_or_default();
            read::unknown_keys(
                entries,
                &["path", "required", "format"],
                "an item of 'env_file'",
                report,
            );
            let path = read::required(item, "path", item.span, FILE_HINT, report);
            let Some(path) = path else { continue };
            path_node = path;
            if let Some(node) = item.get("required") {
                is_required = read::truth(node, "'required'", report).unwrap_or(true);
            }
            if let Some(format) = item.get("format") {
                report.error(
                    format.span,
                    "the 'format' of a file of variables is not supported",
                    "remove it: the file is read as Compose reads '.env'",
                );
            }
        }
        let path = read::text(path_node, "'env_file'", Dialect::Compose, report);
        if let Some(path) = path {
            let at = path_node.span;
            files.push((project.path(path, at), is_required, at));
        }
    }
    files
}
