//! Reads one entry of `applications:`.

use crate::common;
use crate::diagnostic::quoted;
use crate::parsed::Draft;
use crate::read::{self, Dialect};
use crate::report::Report;
use crate::size::{self, AmountProblem};
use crate::yaml::{Entry, Meaning, Node};
use flocker_types::app::{Link, LinkTarget, PortMapping, RestartPolicy, VolumeMount};
use flocker_types::ids::{ServiceName, VolumeName};

const KEYS: [&str; 8] = [
    "image",
    "ports",
    "links",
    "environment",
    "volume",
    "mem_limit",
    "cpu_shares",
    "restart_policy",
];

/// Reads the body of an application into `draft`. `name` is its name when that was valid.
pub(super) fn read(
    entry: &Entry,
    name: Option<&ServiceName>,
    draft: &mut Draft,
    report: &mut Report,
) {
    let body = &entry.value;
    let what = format!("the application {}", quoted(&entry.key));
    let hint = "write at least 'image: repository:tag' below the name";
    let Some(entries) = read::mapping(body, &what, hint, report) else {
        return;
    };
    read::unknown_keys(entries, &KEYS, &what, report);
    let hint = "write 'image: repository:tag'";
    if let Some(node) = read::required(body, "image", entry.key_span, hint, report)
        && let Some(image) = common::image(node, Dialect::Strict, report)
    {
        draft.spec.image = image;
    }
    if let Some(node) = body.get("ports") {
        ports(node, draft, report);
    }
    if let Some(node) = body.get("links") {
        links(node, draft, report);
    }
    if let Some(node) = body.get("environment") {
        environment(node, draft, report);
    }
    if let Some(entry) = body.entry("volume") {
        volume(entry, name, draft, report);
    }
    if let Some(node) = body.get("mem_limit") {
        draft.spec.memory_limit_bytes = common::memory_limit_integer(node, report);
    }
    if let Some(node) = body.get("cpu_shares") {
        draft.spec.cpu_shares = common::cpu_shares(node, Dialect::Strict, report);
    }
    if let Some(entry) = body.entry("restart_policy")
        && let Some(policy) = restart_policy(entry, report)
    {
        draft.spec.restart = policy;
    }
}

fn ports(node: &Node, draft: &mut Draft, report: &mut Report) {
    let hint = "write '- internal: 80' and, below it, '  external: 8080'; [] for none";
    for item in read::list(node, "'ports'", hint, report).unwrap_or_default() {
        let Some(entries) = read::mapping(item, "a port", hint, report) else {
            continue;
        };
        read::unknown_keys(entries, &["internal", "external"], "a port", report);
        let mut one = |key: &str| {
            let value = read::required(item, key, item.span, hint, report)?;
            read::port(value, &format!("'{key}'"), Dialect::Strict, report)
        };
        let (internal, external) = (one("internal"), one("external"));
        if let (Some(external), Some(value)) = (external, item.get("external")) {
            draft
                .marks
                .ports
                .push((external, report.locate(value.span)));
        }
        if let (Some(internal), Some(external)) = (internal, external) {
            draft.spec.ports.push(PortMapping { internal, external });
        }
    }
}

fn links(node: &Node, draft: &mut Draft, report: &mut Report) {
    let hint = "write '- local_port: 80', 'remote_port: 8080' and 'alias: name' as one item";
    for item in read::list(node, "'links'", hint, report).unwrap_or_default() {
        let Some(entries) = read::mapping(item, "a link", hint, report) else {
            continue;
        };
        read::unknown_keys(
            entries,
            &["local_port", "remote_port", "alias"],
            "a link",
            report,
        );
        let mut port = |key: &str| {
            let value = read::required(item, key, item.span, hint, report)?;
            read::port(value, &format!("'{key}'"), Dialect::Strict, report)
        };
        let (local, remote) = (port("local_port"), port("remote_port"));
        let alias = read::required(item, "alias", item.span, hint, report).and_then(|value| {
            let alias = read::text(value, "'alias'", Dialect::Strict, report)?;
            common::check_alias(alias, value.span, report).then_some(alias)
        });
        let (Some(local_port), Some(remote_port), Some(alias)) = (local, remote, alias) else {
            continue;
        };
        let link = Link {
            alias: alias.to_owned(),
            target: LinkTarget::Published {
                local_port,
                remote_port,
            },
        };
        let at = item.get("remote_port").map_or(item.span, |node| node.span);
        if draft.spec.links.contains(&link) {
            report.warning(
                item.span,
                "this link is given twice",
                "remove one of the two",
            );
            continue;
        }
        let clashes = draft.spec.links.iter().any(|known| {
            known.alias == link.alias
                && matches!(known.target, LinkTarget::Published { local_port: port, .. } if port == local_port)
        });
        if clashes {
            report.error(
                item.span,
                format!("another link already has the alias '{alias}' and local port {local_port}"),
                "they would set the same variables: choose another alias or local port",
            );
            continue;
        }
        draft.spec.links.push(link);
        draft.marks.links.push((remote_port, report.locate(at)));
    }
}

/// A mapping of variables, as v1 and Fig have it.
pub(crate) fn environment(node: &Node, draft: &mut Draft, report: &mut Report) {
    if node.is_null() {
        return;
    }
    let hint = "write NAME: \"value\", one in each line";
    for entry in read::mapping(node, "'environment'", hint, report).unwrap_or_default() {
        let name_is_valid = common::check_variable_name(&entry.key, entry.key_span, report);
        let what = format!("the variable {}", quoted(&entry.key));
        let Some(value) = read::text(&entry.value, &what, Dialect::Strict, report) else {
            continue;
        };
        if common::check_variable_value(value, entry.value.span, report) && name_is_valid {
            draft
                .spec
                .environment
                .insert(entry.key.to_string(), value.to_owned());
        }
    }
}

fn volume(entry: &Entry, service: Option<&ServiceName>, draft: &mut Draft, report: &mut Report) {
    let node = &entry.value;
    let hint = "write 'mountpoint: /path' below 'volume:'";
    let Some(entries) = read::mapping(node, "'volume'", hint, report) else {
        return;
    };
    let keys = ["mountpoint", "maximum_size", "dataset_id"];
    read::unknown_keys(entries, &keys, "a volume", report);
    let target =
        read::required(node, "mountpoint", entry.key_span, hint, report).and_then(|node| {
            let path = read::text(node, "'mountpoint'", Dialect::Strict, report)?;
            if !path.is_ascii() {
                report.error(
                    node.span,
                    format!("the mountpoint {} is not ASCII", quoted(path)),
                    "use the letters a-z, A-Z, digits and ASCII signs",
                );
                return None;
            }
            common::mountpoint(path, node.span, report)
        });
    let size_bytes_max = node
        .get("maximum_size")
        .and_then(|node| maximum_size(node, report));
    let (name, at) = match node.get("dataset_id") {
        Some(id) => {
            let text = read::text(id, "'dataset_id'", Dialect::Strict, report);
            let name = text.and_then(|text| common::name(text, id.span, VolumeName::new, report));
            (name, id.span)
        }
        // A service's name is always a valid volume name: both follow the same rule.
        None => (
            service.and_then(|name| VolumeName::new(name.as_str()).ok()),
            entry.key_span,
        ),
    };
    if let Some(name) = &name {
        draft.marks.volumes.push((name.clone(), report.locate(at)));
    }
    if let (Some(volume), Some(target)) = (name, target) {
        draft.spec.mounts.push(VolumeMount {
            read_only: false,
            volume,
            target,
            size_bytes_max,
        });
    }
}

fn maximum_size(node: &Node, report: &mut Report) -> Option<u64> {
    let text = read::text(node, "'maximum_size'", Dialect::Strict, report)?;
    let message = match size::storage_bytes(text) {
        Ok(bytes) => return Some(bytes),
        Err(AmountProblem::Unreadable) => format!("{} is not a size", quoted(text)),
        Err(AmountProblem::Zero) => "'maximum_size' must be greater than zero".to_owned(),
        Err(AmountProblem::TooLarge) => format!("the size {} is too large", quoted(text)),
    };
    report.error(
        node.span,
        message,
        "write a number of bytes, or with K, M, G or T (times 1024): \"500M\", \"1.5G\"",
    );
    None
}

fn restart_policy(entry: &Entry, report: &mut Report) -> Option<RestartPolicy> {
    let node = &entry.value;
    let hint = "write 'name: always', 'name: on-failure' or 'name: never' below it";
    let entries = read::mapping(node, "'restart_policy'", hint, report)?;
    let keys = ["name", "maximum_retry_count"];
    read::unknown_keys(entries, &keys, "a restart policy", report);
    let name_node = read::required(node, "name", entry.key_span, hint, report)?;
    let count = node.entry("maximum_retry_count");
    let retries_max = count.and_then(|entry| {
        let range = 1..=i128::from(u32::MAX);
        let what = "'maximum_retry_count'";
        let count = read::integer(&entry.value, what, range, Dialect::Strict, report)?;
        u32::try_from(count).ok()
    });
    let name = match name_node.as_scalar().map(crate::yaml::Scalar::meaning) {
        Some(Meaning::Text) => read::text(name_node, "'name'", Dialect::Strict, report)?,
        _ => "",
    };
    let policy = match name {
        "never" => RestartPolicy::Never,
        "always" => RestartPolicy::Always,
        "on-failure" => return Some(RestartPolicy::OnFailure { retries_max }),
        _ => {
            report.error(
                name_node.span,
                format!("a restart policy's name cannot be {}", name_node.describe()),
                "use one of: always, never, on-failure",
            );
            return None;
        }
    };
    if let Some(count) = count {
        report.error(
            count.key_span,
            format!("'maximum_retry_count' has no meaning with the policy '{name}'"),
            "remove it, or write 'name: on-failure'",
        );
    }
    Some(policy)
}
