//! Reads Fig files, as Flocker 0.3 to 1.0 did: services at the top level.
//!
//! What Fig had and Flocker never honoured is refused by name.

use crate::common;
use crate::diagnostic::quoted;
use crate::parsed::{Draft, Drafts};
use crate::ports;
use crate::read::{self, Dialect};
use crate::report::Report;
use crate::source::Span;
use crate::suggest::nearest;
use crate::v1::environment;
use crate::yaml::{Data, Entry, Node};
use flocker_types::app::{Link, LinkTarget, VolumeMount};
use flocker_types::ids::{ServiceName, VolumeName};
use std::collections::BTreeMap;

const KEYS: [&str; 6] = [
    "image",
    "environment",
    "ports",
    "links",
    "volumes",
    "mem_limit",
];

/// Most links that one file may make, one for each port of each target.
const LINKS_MAX: usize = 100_000;

/// Keys that Fig knew and Flocker refused.
const REFUSED: [&str; 11] = [
    "working_dir",
    "entrypoint",
    "user",
    "hostname",
    "domainname",
    "privileged",
    "dns",
    "net",
    "volumes_from",
    "expose",
    "command",
];

/// True when the value can only be a service of a Fig file.
pub(crate) fn is_service(node: &Node) -> bool {
    ["image", "build"].iter().any(|key| {
        node.get(key)
            .is_some_and(|value| value.as_scalar().is_some())
    })
}

/// A link as written, until all services of the file are known.
struct WrittenLink {
    from: ServiceName,
    to: String,
    alias: String,
    span: Span,
}

/// The services of the file; what is wrong is in the report.
pub(crate) fn read_application(root: &Node, report: &mut Report) -> Drafts {
    let mut drafts = Drafts::new();
    let mut links = Vec::new();
    for entry in root.as_mapping().unwrap_or_default() {
        let name = common::service_name(entry, report);
        let mut draft = Draft::new(report.locate(entry.key_span));
        let written = service(entry, name.as_ref(), &mut draft, report);
        if let Some(name) = name {
            links.extend(written.into_iter().map(|(to, alias, span)| WrittenLink {
                from: name.clone(),
                to,
                alias,
                span,
            }));
            drafts.insert(name, draft);
        }
    }
    let mut aliases: BTreeMap<(ServiceName, String), String> = BTreeMap::new();
    let mut made_count = 0;
    for link in links {
        let key = (link.from.clone(), link.alias.clone());
        match aliases.get(&key) {
            Some(to) if *to == link.to => continue,
            Some(to) => {
                report.error(
                    link.span,
                    format!(
                        "the alias {} already stands for {}",
                        quoted(&link.alias),
                        quoted(to)
                    ),
                    "choose another alias",
                );
                continue;
            }
            None => aliases.insert(key, link.to.clone()),
        };
        made_count += resolve(&link, &mut drafts, report);
        if made_count > LINKS_MAX {
            report.error(
                link.span,
                format!("the links of this file lead to more than {LINKS_MAX} ports"),
                "split the file into several applications",
            );
            break;
        }
    }
    drafts
}

fn service(
    entry: &Entry,
    name: Option<&ServiceName>,
    draft: &mut Draft,
    report: &mut Report,
) -> Vec<(String, String, Span)> {
    let body = &entry.value;
    let what = format!("the service {}", quoted(&entry.key));
    let hint = "write at least 'image: repository:tag' below the name";
    let Some(entries) = read::mapping(body, &what, hint, report) else {
        return Vec::new();
    };
    for entry in entries {
        check_key(entry, body, &what, report);
    }
    match body.get("image") {
        Some(node) => {
            if let Some(image) = common::image(node, Dialect::Strict, report) {
                draft.spec.image = image;
            }
        }
        None if body.get("build").is_none() => report.error(
            entry.key_span,
            "the key 'image' is missing",
            "write 'image: repository:tag'",
        ),
        None => {}
    }
    if let Some(node) = body.get("environment") {
        match &node.data {
            Data::Sequence(items) => environment_list(items, draft, report),
            Data::Scalar(_) | Data::Mapping(_) => environment(node, draft, report),
        }
    }
    if let Some(node) = body.get("ports") {
        let hint = "write '- \"80:8080\"': the port on the nodes, then the one in the container";
        for item in read::list(node, "'ports'", hint, report).unwrap_or_default() {
            ports::short(item, ports::Rules::Fig, draft, report);
        }
    }
    if let Some(entry) = body.entry("volumes") {
        volumes(entry, name, draft, report);
    }
    if let Some(node) = body.get("mem_limit") {
        draft.spec.memory_limit_bytes = common::memory_limit_integer(node, report);
    }
    body.get("links")
        .map(|node| links(node, report))
        .unwrap_or_default()
}

fn check_key(entry: &Entry, body: &Node, what: &str, report: &mut Report) {
    let key = &*entry.key;
    if KEYS.contains(&key) {
        return;
    }
    if key == "build" {
        let (message, hint) = if body.get("image").is_some() {
            (
                format!("{what} has both 'image' and 'build'"),
                "remove 'build'",
            )
        } else {
            (
                "'build' is not supported".to_owned(),
                "build and push the image, then write 'image: repository:tag'",
            )
        };
        report.error(entry.key_span, message, hint);
    } else if REFUSED.contains(&key) {
        let hint = match key {
            "expose" | "command" => {
                "move the services below 'services:' (a Compose file) to use it"
            }
            _ => "remove it",
        };
        report.error(
            entry.key_span,
            format!("'{key}' is not supported in a Fig file"),
            hint,
        );
    } else if matches!(key, "cpu_shares" | "restart") {
        report.error(
            entry.key_span,
            format!("{what} has no key '{key}'"),
            "a Fig file cannot say this: move the services below 'services:' (a Compose file)",
        );
    } else {
        read::unknown_key(entry, &KEYS, what, report);
    }
}

fn environment_list(items: &[Node], draft: &mut Draft, report: &mut Report) {
    for item in items {
        let Some(text) = read::text(item, "a variable", Dialect::Strict, report) else {
            continue;
        };
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        if common::check_variable_name(name, item.span, report)
            && common::check_variable_value(value, item.span, report)
        {
            let environment = &mut draft.spec.environment;
            environment.insert(name.to_owned(), value.to_owned());
        }
    }
}

fn volumes(entry: &Entry, service: Option<&ServiceName>, draft: &mut Draft, report: &mut Report) {
    let hint = "write the path of the volume in the container: volumes: [\"/data\"]";
    let Some(items) = read::list(&entry.value, "'volumes'", hint, report) else {
        return;
    };
    let Some(first) = items.first() else {
        report.error(entry.value.span, "'volumes' is empty", hint);
        return;
    };
    if let Some(second) = items.get(1) {
        report.error(
            second.span,
            "a service of a Fig file can have one volume",
            "to have several, move the services below 'services:' (a Compose file)",
        );
    }
    let Some(path) = read::text(first, "a volume", Dialect::Strict, report) else {
        return;
    };
    if let Some((_, inside)) = path.split_once(':') {
        report.error(
            first.span,
            format!("{} would mount a directory of the host", quoted(path)),
            format!(
                "Flocker keeps the data itself: write only the path inside, {}",
                quoted(inside)
            ),
        );
        return;
    }
    let target = common::mountpoint(path, first.span, report);
    // A service's name is always a valid volume name: both follow the same rule.
    let volume = service.and_then(|name| VolumeName::new(name.as_str()).ok());
    if let (Some(target), Some(volume)) = (target, volume) {
        let at = report.locate(first.span);
        draft.marks.volumes.push((volume.clone(), at));
        draft.spec.mounts.push(VolumeMount {
            read_only: false,
            volume,
            target,
            size_bytes_max: None,
        });
    }
}

fn links(node: &Node, report: &mut Report) -> Vec<(String, String, Span)> {
    let hint = "write '- \"service\"' or '- \"service:alias\"'";
    let mut written = Vec::new();
    for item in read::list(node, "'links'", hint, report).unwrap_or_default() {
        let Some(text) = read::text(item, "a link", Dialect::Strict, report) else {
            continue;
        };
        let (to, alias) = text.split_once(':').unwrap_or((text, text));
        if common::check_alias(alias, item.span, report) {
            written.push((to.to_owned(), alias.to_owned(), item.span));
        }
    }
    written
}

/// A link gives the alias its variables, one set for each published port of the target, and makes
/// the alias a host name. Returns how many links that made.
fn resolve(link: &WrittenLink, drafts: &mut Drafts, report: &mut Report) -> usize {
    let target = ServiceName::new(link.to.as_str()).ok().and_then(|name| {
        drafts
            .get(&name)
            .map(|draft| (name, draft.spec.ports.clone()))
    });
    let Some((target, ports)) = target else {
        let hint = match nearest(&link.to, drafts.keys().map(ServiceName::as_str)) {
            Some(near) => format!("did you mean '{near}'?"),
            None => "link only to services of the same file".to_owned(),
        };
        report.error(
            link.span,
            format!("there is no service {} in this file", quoted(&link.to)),
            hint,
        );
        return 0;
    };
    let Some(draft) = drafts.get_mut(&link.from) else {
        return 0;
    };
    let published = ports.iter().map(|port| LinkTarget::Published {
        local_port: port.internal,
        remote_port: port.external,
    });
    let made = published
        .chain([LinkTarget::Service(target)])
        .map(|target| Link {
            alias: link.alias.clone(),
            target,
        });
    let before = draft.spec.links.len();
    draft.spec.links.extend(made);
    draft.spec.links.len() - before
}
