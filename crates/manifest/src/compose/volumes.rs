//! Reads the volumes of a Compose file: those declared at the top level, and what services mount:
//! named volumes, which Flocker keeps and moves; directories of a node, which tie the service to
//! it; directories in memory.

use super::keys::{self, Place};
use super::project::Project;
use super::{extension, limits, short, values};
use crate::common;
use crate::diagnostic::quoted;
use crate::parsed::Draft;
use crate::read::{self, Dialect};
use crate::report::Report;
use crate::source::Span;
use crate::suggest::nearest;
use crate::yaml::{Data, Node};
use flocker_types::app::VolumeMount;
use flocker_types::container::BindMount;
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
pub(super) fn declared(root: &Node, report: &mut Report) -> Volumes {
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
            check_driver(&entry.value, report);
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

/// Only the engine's own kind of volume, made when it is not there, is what Flocker keeps.
fn check_driver(node: &Node, report: &mut Report) {
    for (key, known, hint) in [
        (
            "driver",
            "local",
            "remove it: Flocker keeps the volume itself, on the node of its service",
        ),
        (
            "external",
            "false",
            "remove it: Flocker makes the volume; copy the data of the old one into it",
        ),
    ] {
        if let Some(entry) = node.entry(key)
            && let Some(scalar) = entry.value.as_scalar().filter(|_| !entry.value.is_null())
            && &*scalar.text != known
        {
            let message = format!("'{key}: {}' of a volume is not supported", scalar.text);
            report.error(entry.key_span, message, hint);
        }
    }
}

/// Says which declared volumes no service mounts: they are not made.
pub(super) fn warn_of_unused(volumes: &Volumes, report: &mut Report) {
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

/// What an item of a service's `volumes:` says.
struct Written {
    kind: Kind,
    target: String,
    read_only: bool,
    at: Span,
}

enum Kind {
    /// A volume of that name.
    Volume(String),
    /// A directory or file of the node.
    Bind {
        source: String,
        source_at: Span,
        create_source: bool,
        propagation: Option<String>,
    },
    /// A directory in memory, with mount options.
    Tmpfs(String),
}

/// Reads a service's `volumes:` into the draft.
pub(super) fn mounts(
    node: &Node,
    volumes: &mut Volumes,
    project: &Project<'_>,
    draft: &mut Draft,
    report: &mut Report,
) {
    for item in read::list(node, "'volumes'", HINT, report).unwrap_or_default() {
        let written = match &item.data {
            Data::Mapping(_) => long(item, report),
            Data::Scalar(_) | Data::Sequence(_) => short_form(item, report),
        };
        let Some(written) = written else { continue };
        match written.kind {
            Kind::Volume(name) => {
                let (at, read_only) = (written.at, written.read_only);
                mount(
                    &name,
                    &written.target,
                    read_only,
                    at,
                    volumes,
                    draft,
                    report,
                );
            }
            Kind::Tmpfs(options) => {
                if let Some(target) = common::mountpoint(&written.target, written.at, report) {
                    draft.spec.container.tmpfs.insert(target, options);
                }
            }
            Kind::Bind {
                source,
                source_at,
                create_source,
                propagation,
            } => {
                let target = common::mountpoint(&written.target, written.at, report);
                let source = project.path(&source, source_at);
                let source = source.to_string_lossy().into_owned();
                warn_of_bind(&source, source_at, report);
                draft
                    .spec
                    .container
                    .binds
                    .extend(target.map(|target| BindMount {
                        source,
                        target,
                        read_only: written.read_only,
                        create_source,
                        propagation,
                    }));
            }
        }
    }
}

fn warn_of_bind(source: &str, at: Span, report: &mut Report) {
    report.warning(
        at,
        format!(
            "{} belongs to the node: it is neither copied nor moved, and ties the service to its \
             node",
            quoted(source)
        ),
        "use a named volume for data, and 'configs:' for files that travel with the service",
    );
}

fn short_form(item: &Node, report: &mut Report) -> Option<Written> {
    let text = read::text(item, "a volume", Dialect::Compose, report)?;
    let parts = short::volume(text);
    let Some(source) = parts.source else {
        anonymous(parts.target, item.span, report);
        return None;
    };
    if parts.rest.is_some() {
        report.error(
            item.span,
            format!("{} has too many ':'", quoted(text)),
            HINT,
        );
        return None;
    }
    let mut read_only = false;
    let mut propagation = None;
    for option in parts.options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "rw" => read_only = false,
            "ro" => read_only = true,
            "nocopy" => report.warning(
                item.span,
                "the option 'nocopy' of a volume is ignored",
                "remove it: a new volume begins with what the image has in its place",
            ),
            "z" | "Z" | "cached" | "delegated" | "consistent" => report.warning(
                item.span,
                format!("the option {} of a volume is ignored", quoted(option)),
                "remove it: it makes no difference here",
            ),
            "shared" | "slave" | "private" | "rshared" | "rslave" | "rprivate"
                if parts.is_path() =>
            {
                propagation = Some(option.to_owned());
            }
            option => {
                report.error(
                    item.span,
                    format!("the option {} of a volume is not supported", quoted(option)),
                    format!("write \"{source}:{}\"", parts.target),
                );
                return None;
            }
        }
    }
    let kind = match parts.is_path() {
        true => Kind::Bind {
            source: source.to_owned(),
            source_at: item.span,
            create_source: true,
            propagation,
        },
        false => Kind::Volume(source.to_owned()),
    };
    Some(Written {
        kind,
        target: parts.target.to_owned(),
        read_only,
        at: item.span,
    })
}

fn anonymous(path: &str, span: Span, report: &mut Report) {
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

fn long(item: &Node, report: &mut Report) -> Option<Written> {
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
        .filter(|node| !node.is_null())
        .and_then(|node| Some((values::text(node, "source", report)?, node.span)));
    let read_only = item
        .get("read_only")
        .is_some_and(|node| values::flag(node, "read_only", report));
    let kind = match kind {
        "volume" => {
            if item.get("source").is_none() {
                anonymous(target.unwrap_or(""), item.span, report);
            }
            Kind::Volume(source?.0)
        }
        "bind" => {
            if item.get("source").is_none() {
                report.error(item.span, "the key 'source' is missing", hint);
            }
            let (source, source_at) = source?;
            bind(item, source, source_at, report)
        }
        "tmpfs" => Kind::Tmpfs(tmpfs_options(item, report)),
        "npipe" | "cluster" | "image" => {
            let message = format!("mounts of the type '{kind}' are not supported yet");
            report.error(kind_node.span, message, hint);
            return None;
        }
        _ => {
            let message = format!("a mount's type cannot be {}", kind_node.describe());
            report.error(kind_node.span, message, hint);
            return None;
        }
    };
    Some(Written {
        kind,
        target: target?.to_owned(),
        read_only,
        at: item.span,
    })
}

fn bind(item: &Node, source: String, source_at: Span, report: &mut Report) -> Kind {
    let mut propagation = None;
    // As in Compose, the long form makes no directory unless it says so.
    let mut create_source = false;
    if let Some(node) = item.get("bind").filter(|node| !node.is_null()) {
        let hint = "write 'bind: {create_host_path: true}'";
        let entries = read::mapping(node, "'bind'", hint, report).unwrap_or_default();
        keys::check(entries, Place::Bind, "'bind'", report);
        if let Some(node) = node.get("create_host_path") {
            create_source = values::flag(node, "create_host_path", report);
        }
        if let Some(node) = node.get("propagation") {
            let known = [
                "shared", "slave", "private", "rshared", "rslave", "rprivate",
            ];
            propagation = values::one_of(node, "propagation", &known, report);
        }
    }
    Kind::Bind {
        source,
        source_at,
        create_source,
        propagation,
    }
}

fn tmpfs_options(item: &Node, report: &mut Report) -> String {
    let mut options = Vec::new();
    if let Some(node) = item.get("tmpfs").filter(|node| !node.is_null()) {
        let hint = "write 'tmpfs: {size: 64m, mode: 01777}'";
        let entries = read::mapping(node, "'tmpfs'", hint, report).unwrap_or_default();
        read::unknown_keys(entries, &["size", "mode"], "'tmpfs'", report);
        if let Some(node) = node.get("size")
            && let Some(bytes) = limits::amount(node, "'size'", report)
        {
            options.push(format!("size={bytes}"));
        }
        if let Some(node) = node.get("mode")
            && let Some(mode) = values::mode(node, report)
        {
            options.push(format!("mode={mode:o}"));
        }
    }
    options.join(",")
}

fn mount(
    name: &str,
    path: &str,
    read_only: bool,
    span: Span,
    volumes: &mut Volumes,
    draft: &mut Draft,
    report: &mut Report,
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
        read_only,
    });
}

/// True when `path` lies below the directory `parent`. Both are normalised.
fn is_below(path: &str, parent: &str) -> bool {
    path.strip_prefix(parent)
        .is_some_and(|rest| rest.starts_with('/'))
}
