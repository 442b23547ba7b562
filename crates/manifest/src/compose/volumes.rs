//! Reads the volumes of a Compose file: those declared at the top level, and where services mount
//! them. Only named volumes: Flocker keeps and moves them; a directory of one server it could not.

use super::extension;
use super::keys::{self, Place};
use crate::common;
use crate::diagnostic::quoted;
use crate::parsed::Draft;
use crate::read::{self, Dialect};
use crate::report::Report;
use crate::source::Span;
use crate::suggest::nearest;
use crate::yaml::{Data, Node};
use flocker_types::app::VolumeMount;
use flocker_types::ids::VolumeName;
use std::collections::BTreeMap;

/// A volume of the top level.
#[derive(Debug)]
pub(super) struct Declared {
    size_bytes_max: Option<u64>,
    span: Span,
    use_count: usize,
}

/// The volumes of the top level, by their names as written.
pub(super) type Volumes = BTreeMap<String, Declared>;

const HINT: &str = "write '- name:/path/in/the/container', and 'name:' below the top-level \
                    'volumes:'";

/// Reads the top-level `volumes:`.
pub(super) fn declared(root: &Node, report: &mut Report<'_>) -> Volumes {
    let mut volumes = Volumes::new();
    let Some(node) = root.get("volumes").filter(|node| !node.is_null()) else {
        return volumes;
    };
    let hint = "write one key for each volume, with nothing or 'x-flocker: {size: 10G}' below it";
    for entry in read::mapping(node, "'volumes'", hint, report).unwrap_or_default() {
        let name = common::name(&entry.key, entry.key_span, VolumeName::new, report);
        let what = format!("the volume {}", quoted(&entry.key));
        let mut size_bytes_max = None;
        if !entry.value.is_null()
            && let Some(entries) = read::mapping(&entry.value, &what, hint, report)
        {
            keys::check(entries, Place::Volume, &what, report);
            size_bytes_max = entry
                .value
                .get("x-flocker")
                .and_then(|node| extension::of_volume(node, report));
        }
        if name.is_some() {
            volumes.insert(
                entry.key.to_string(),
                Declared {
                    size_bytes_max,
                    span: entry.key_span,
                    use_count: 0,
                },
            );
        }
    }
    volumes
}

/// Says which declared volumes no service mounts: they are not made.
pub(super) fn warn_of_unused(volumes: &Volumes, report: &mut Report<'_>) {
    for (name, declared) in volumes {
        if declared.use_count == 0 {
            report.warning(
                declared.span,
                format!("no service uses the volume '{name}'; it is not made"),
                "remove it, or mount it in a service",
            );
        }
    }
}

/// Reads a service's `volumes:` into the draft.
pub(super) fn mounts(
    node: &Node,
    volumes: &mut Volumes,
    draft: &mut Draft,
    report: &mut Report<'_>,
) {
    for item in read::list(node, "'volumes'", HINT, report).unwrap_or_default() {
        let written = match &item.data {
            Data::Mapping(_) => long(item, report),
            Data::Scalar(_) | Data::Sequence(_) => short(item, report),
        };
        if let Some((name, path)) = written {
            mount(&name, &path, item.span, volumes, draft, report);
        }
    }
}

fn short(item: &Node, report: &mut Report<'_>) -> Option<(String, String)> {
    let text = read::text(item, "a volume", Dialect::Compose, report)?;
    let parts: Vec<&str> = text.split(':').collect();
    let (source, path, options) = match parts.as_slice() {
        [path] => {
            anonymous(path, item.span, report);
            return None;
        }
        [source, path] => (*source, *path, ""),
        [source, path, options] => (*source, *path, *options),
        _ => {
            report.error(
                item.span,
                format!("{} has too many ':'", quoted(text)),
                HINT,
            );
            return None;
        }
    };
    if source.starts_with(['/', '.', '~']) {
        bind(source, item.span, report);
        return None;
    }
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "rw" => {}
            "ro" => {
                read_only(item.span, report);
                return None;
            }
            option => {
                report.error(
                    item.span,
                    format!("the option {} of a volume is not supported", quoted(option)),
                    format!("write \"{source}:{path}\""),
                );
                return None;
            }
        }
    }
    Some((source.to_owned(), path.to_owned()))
}

fn anonymous(path: &str, span: Span, report: &mut Report<'_>) {
    let hint = if path.starts_with('/') {
        format!("give it a name: \"data:{path}\", and write 'data:' below the top-level 'volumes:'")
    } else {
        HINT.to_owned()
    };
    report.error(
        span,
        format!(
            "the volume {} has no name, so it could not be found again",
            quoted(path)
        ),
        hint,
    );
}

fn bind(source: &str, span: Span, report: &mut Report<'_>) {
    report.error(
        span,
        format!(
            "{} is a directory of one server, which cannot move",
            quoted(source)
        ),
        "use a named volume: \"data:/path\", or build the files into the image",
    );
}

fn read_only(span: Span, report: &mut Report<'_>) {
    report.error(
        span,
        "read-only volumes are not supported yet",
        "remove 'ro' ('read_only: true')",
    );
}

fn long(item: &Node, report: &mut Report<'_>) -> Option<(String, String)> {
    keys::check(
        item.as_mapping().unwrap_or_default(),
        Place::Mount,
        "a volume",
        report,
    );
    let hint = "write 'type: volume', 'source: name' and 'target: /path'";
    let target = read::required(item, "target", item.span, hint, report)
        .and_then(|node| read::text(node, "'target'", Dialect::Compose, report));
    let kind_node = read::required(item, "type", item.span, hint, report)?;
    let kind = read::text(kind_node, "'type'", Dialect::Compose, report)?;
    let source = item
        .get("source")
        .and_then(|node| read::text(node, "'source'", Dialect::Compose, report));
    match kind {
        "volume" => {}
        "bind" => {
            bind(source.unwrap_or("a bind mount"), kind_node.span, report);
            return None;
        }
        "tmpfs" | "npipe" | "cluster" | "image" => {
            let message = format!("mounts of the type '{kind}' are not supported yet");
            report.error(kind_node.span, message, hint);
            return None;
        }
        _ => {
            let message = format!("a mount's type cannot be {}", kind_node.describe());
            report.error(kind_node.span, message, hint);
            return None;
        }
    }
    if let Some(node) = item.get("read_only")
        && read::truth(node, "'read_only'", report) == Some(true)
    {
        read_only(node.span, report);
    }
    if item.get("source").is_none() {
        anonymous(target.unwrap_or(""), item.span, report);
    }
    Some((source?.to_owned(), target?.to_owned()))
}

fn mount(
    name: &str,
    path: &str,
    span: Span,
    volumes: &mut Volumes,
    draft: &mut Draft,
    report: &mut Report<'_>,
) {
    let target = common::mountpoint(path, span, report);
    let Some(declared) = volumes.get_mut(name) else {
        let hint = match nearest(name, volumes.keys().map(String::as_str)) {
            Some(near) => format!("did you mean '{near}'?"),
            None => format!(
                "write '{}:' below the top-level 'volumes:'",
                name.escape_default()
            ),
        };
        report.error(
            span,
            format!("the volume {} is not declared", quoted(name)),
            hint,
        );
        return;
    };
    declared.use_count += 1;
    let (Some(target), Ok(volume)) = (target, VolumeName::new(name)) else {
        return;
    };
    for other in &draft.spec.mounts {
        if other.target == target
            || is_below(&target, &other.target)
            || is_below(&other.target, &target)
        {
            let message = if other.target == target {
                format!("'{target}' is already the mountpoint of '{}'", other.volume)
            } else {
                format!(
                    "'{target}' and '{}' (of '{}') lie in each other",
                    other.target, other.volume
                )
            };
            report.error(span, message, "mount each volume at a directory of its own");
            break;
        }
    }
    let at = report.locate(span);
    draft.marks.volumes.push((volume.clone(), at));
    draft.spec.mounts.push(VolumeMount {
        volume,
        target,
        size_bytes_max: declared.size_bytes_max,
    });
}

/// True when `path` lies below the directory `parent`. Both are normalised.
fn is_below(path: &str, parent: &str) -> bool {
    path.strip_prefix(parent)
        .is_some_and(|rest| rest.starts_with('/'))
}
