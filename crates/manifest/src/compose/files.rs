//! Reads configs and secrets: files that travel with a service and are mounted read-only.
//!
//! Their contents come from files beside the manifest, from variables, or stand in the manifest.
//! No message shows a content.

use super::keys::{self, Place};
use super::project::Project;
use super::values;
use crate::common;
use crate::diagnostic::quoted;
use crate::read::{self, Dialect};
use crate::report::Report;
use crate::source::Span;
use crate::suggest::nearest;
use crate::yaml::{Entry, Node};
use flocker_types::container::FileMount;
use flocker_types::secret::SecretText;
use std::collections::BTreeMap;

/// Most bytes in one config or secret.
const FILE_BYTES_MAX: usize = 100 * 1024;
/// Most bytes in all of an application.
const ALL_BYTES_MAX: usize = 512 * 1024;
/// Permissions of a file that says nothing about them.
const MODE_DEFAULT: u32 = 0o444;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A config: seen at `/NAME`.
    Config,
    /// A secret: seen at `/run/secrets/NAME`.
    Secret,
}

impl Kind {
    fn key(self) -> &'static str {
        match self {
            Self::Config => "configs",
            Self::Secret => "secrets",
        }
    }

    fn noun(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Secret => "secret",
        }
    }
}

/// The configs and secrets of the top level.
#[derive(Debug, Default)]
pub(super) struct Declared {
    contents: BTreeMap<(&'static str, String), Option<SecretText>>,
}

/// Reads the top-level `configs:` and `secrets:`.
pub(super) fn declared(root: &Node, project: &Project<'_>, report: &mut Report) -> Declared {
    let mut declared = Declared::default();
    let mut left = ALL_BYTES_MAX;
    for kind in [Kind::Config, Kind::Secret] {
        let Some(node) = root.get(kind.key()).filter(|node| !node.is_null()) else {
            continue;
        };
        let hint = "write one key for each, with 'file: ./path' below it";
        let what = format!("'{}'", kind.key());
        for entry in read::mapping(node, &what, hint, report).unwrap_or_default() {
            let content = content(entry, kind, project, report);
            if let Some(text) = &content {
                match left.checked_sub(text.len()) {
                    Some(rest) => left = rest,
                    None => report.error(
                        entry.key_span,
                        format!(
                            "the configs and secrets have more than {ALL_BYTES_MAX} bytes in all"
                        ),
                        "put large files into a volume or into the image",
                    ),
                }
            }
            let name = entry.key.to_string();
            let content = content.map(SecretText::Plain);
            declared.contents.insert((kind.key(), name), content);
        }
    }
    declared
}

fn content(
    entry: &Entry,
    kind: Kind,
    project: &Project<'_>,
    report: &mut Report,
) -> Option<String> {
    let node = &entry.value;
    let what = format!("the {} {}", kind.noun(), quoted(&entry.key));
    let hint = "write 'file: ./path' below it";
    let entries = read::mapping(node, &what, hint, report)?;
    keys::check(entries, Place::File, &what, report);
    let mut sources = ["file", "environment", "content"]
        .into_iter()
        .filter_map(|key| Some((key, node.get(key)?)));
    let source = sources.next();
    if let Some((key, other)) = sources.next() {
        report.error(
            other.span,
            format!("{what} has its content from somewhere else already, not from '{key}'"),
            "keep one of the two",
        );
        return None;
    }
    let Some((key, node)) = source else {
        if node.get("external").is_none() {
            report.error(entry.key_span, format!("{what} has no content"), hint);
        }
        return None;
    };
    let text = match key {
        "file" => {
            let path = values::text(node, key, report)?;
            let path = project.path(&path, node.span);
            project.text(&path, "the file", node.span, report)?
        }
        "environment" => {
            let name = values::text(node, key, report)?;
            let value = project.options.variables.get(&name).cloned();
            if value.is_none() {
                report.error(
                    node.span,
                    format!("the variable {} is not set", quoted(&name)),
                    "set it in the environment or in .env",
                );
            }
            value?
        }
        _ => read::text(node, "'content'", Dialect::Compose, report)?.to_owned(),
    };
    if text.len() > FILE_BYTES_MAX {
        report.error(
            node.span,
            format!(
                "{what} has {} bytes; it may have {FILE_BYTES_MAX}",
                text.len()
            ),
            "put large files into a volume or into the image",
        );
        return None;
    }
    Some(text)
}

/// Reads a service's `configs:` or `secrets:`.
pub(super) fn mounts(
    node: &Node,
    kind: Kind,
    declared: &Declared,
    report: &mut Report,
) -> Vec<FileMount> {
    let hint = "write '- name', or '- {source: name, target: /path, mode: 0440}'";
    let what = format!("'{}'", kind.key());
    let mut mounts = Vec::new();
    for item in read::list(node, &what, hint, report).unwrap_or_default() {
        mounts.extend(mount(item, kind, declared, hint, report));
    }
    mounts
}

fn mount(
    item: &Node,
    kind: Kind,
    declared: &Declared,
    hint: &str,
    report: &mut Report,
) -> Option<FileMount> {
    let name_node = match item.as_mapping() {
        Some(entries) => {
            let known = ["source", "target", "uid", "gid", "mode"];
            let what = format!("a {} of a service", kind.noun());
            read::unknown_keys(entries, &known, &what, report);
            read::required(item, "source", item.span, hint, report)?
        }
        None => item,
    };
    let name = values::text(name_node, "source", report)?;
    let content = content_of(&name, kind, name_node.span, declared, report)?;
    let target = match item.get("target").filter(|node| !node.is_null()) {
        Some(node) => values::text(node, "target", report)?,
        None => name,
    };
    let absolute = match (target.starts_with('/'), kind) {
        (true, _) => target,
        (false, Kind::Config) => format!("/{target}"),
        (false, Kind::Secret) => format!("/run/secrets/{target}"),
    };
    let id = |key: &str, report: &mut Report| match item.get(key).filter(|node| !node.is_null()) {
        Some(node) => values::number(node, key, 0..=i128::from(u32::MAX), report),
        None => Some(0),
    };
    Some(FileMount {
        target: common::mountpoint(&absolute, item.span, report)?,
        content,
        mode: match item.get("mode").filter(|node| !node.is_null()) {
            Some(node) => values::mode(node, report)?,
            None => MODE_DEFAULT,
        },
        user: id("uid", report)?,
        group: id("gid", report)?,
    })
}

fn content_of(
    name: &str,
    kind: Kind,
    at: Span,
    declared: &Declared,
    report: &mut Report,
) -> Option<SecretText> {
    let key = (kind.key(), name.to_owned());
    if let Some(content) = declared.contents.get(&key) {
        // Without one, an error was reported where it is declared.
        return content.clone();
    }
    let names = declared.contents.keys();
    let names = names
        .filter(|(of, _)| *of == kind.key())
        .map(|(_, name)| name.as_str());
    let hint = match nearest(name, names) {
        Some(near) => format!("did you mean '{near}'?"),
        None => format!("declare it in the top-level '{}:'", kind.key()),
    };
    report.error(
        at,
        format!("the {} {} is not declared", kind.noun(), quoted(name)),
        hint,
    );
    None
}
