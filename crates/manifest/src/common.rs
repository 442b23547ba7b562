//! Reads what all formats have: names, images, environments, mountpoints, limits.
//!
//! Called by the v1, Fig and Compose readers.

use crate::diagnostic::quoted;
use crate::image;
use crate::read::{self, Dialect};
use crate::report::Report;
use crate::source::Span;
use crate::yaml::{Entry, Node};
use flocker_types::ids::{InvalidName, ServiceName};

/// Docker's engine refuses containers with less memory, in bytes.
const MEMORY_LIMIT_BYTES_MIN: u64 = 6 * 1024 * 1024;
/// The kernel's largest CPU weight.
const CPU_SHARES_MAX: i128 = 262_144;
/// Longest alias of a link: it becomes a host name.
const ALIAS_BYTES_MAX: usize = 63;

/// A name that somebody chose, checked by its type.
pub(crate) fn name<T>(
    text: &str,
    span: Span,
    make: impl FnOnce(String) -> Result<T, InvalidName>,
    report: &mut Report,
) -> Option<T> {
    match make(text.to_owned()) {
        Ok(name) => Some(name),
        Err(error) => {
            report.error(
                span,
                format!(
                    "{} is not a valid {} name: {}",
                    quoted(text),
                    error.kind,
                    error.reason
                ),
                name_hint(text),
            );
            None
        }
    }
}

/// The name of a service, from its key.
pub(crate) fn service_name(entry: &Entry, report: &mut Report) -> Option<ServiceName> {
    name(&entry.key, entry.key_span, ServiceName::new, report)
}

fn name_hint(text: &str) -> String {
    let kept: String = text
        .chars()
        .take(flocker_types::ids::NAME_BYTES_MAX)
        .map(|c| {
            if c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-') {
                c
            } else {
                '-'
            }
        })
        .collect();
    let kept = kept.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
    let kept = kept.trim_end_matches('-');
    if kept.is_empty() {
        "choose a name like 'db-1'".to_owned()
    } else {
        format!("for example '{kept}'")
    }
}

/// An image reference, with an explicit tag.
pub(crate) fn image(node: &Node, dialect: Dialect, report: &mut Report) -> Option<String> {
    let reference = read::text(node, "'image'", dialect, report)?;
    match image::parse(reference) {
        Ok(image) => Some(image),
        Err(problem) => {
            let message = format!("{}: {}", problem.message, quoted(reference));
            report.error(node.span, message, problem.hint);
            None
        }
    }
}

/// True when the text can be the name of an environment variable; else an error was reported.
pub(crate) fn check_variable_name(name: &str, span: Span, report: &mut Report) -> bool {
    let problem = if name.is_empty() {
        "an environment variable has no name"
    } else if name.contains('=') {
        "the name of an environment variable cannot contain '='"
    } else if name.contains('\0') {
        "the name of an environment variable cannot contain a NUL character"
    } else {
        return true;
    };
    report.error(span, problem, "write NAME: \"value\"");
    false
}

/// True when the text can be the value of an environment variable; else an error was reported.
pub(crate) fn check_variable_value(value: &str, span: Span, report: &mut Report) -> bool {
    if value.contains('\0') {
        report.error(
            span,
            "an environment variable cannot contain a NUL character",
            "remove the \\0; put binary values into a file, or encode them",
        );
        return false;
    }
    true
}

/// An absolute path in a container, without `.`, `..` and doubled slashes.
pub(crate) fn mountpoint(path: &str, span: Span, report: &mut Report) -> Option<String> {
    if path.contains(char::is_control) {
        report.error(
            span,
            "a path in a container cannot contain control characters",
            "remove the escape from the path",
        );
        return None;
    }
    if !path.starts_with('/') {
        report.error(
            span,
            format!("the path {} is not absolute", quoted(path)),
            format!("begin it with '/': \"/{}\"", path.trim_start_matches("./")),
        );
        return None;
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    if parts.is_empty() {
        report.error(
            span,
            "a volume cannot replace the container's root directory",
            "name a directory, such as \"/data\"",
        );
        return None;
    }
    Some(format!("/{}", parts.join("/")))
}

/// A limit of memory in bytes; zero is Docker's word for no limit.
pub(crate) fn memory_limit(bytes: u64, span: Span, report: &mut Report) -> Option<u64> {
    if bytes > 0 && bytes < MEMORY_LIMIT_BYTES_MIN {
        report.warning(
            span,
            format!("a memory limit of {bytes} bytes is below what Docker accepts (6 MiB)"),
            format!("the unit is bytes; write at least {MEMORY_LIMIT_BYTES_MIN}"),
        );
    }
    (bytes > 0).then_some(bytes)
}

/// A v1 or Fig `mem_limit`: a number of bytes, or nothing.
pub(crate) fn memory_limit_integer(node: &Node, report: &mut Report) -> Option<u64> {
    if node.is_null() {
        return None;
    }
    let range = 0..=i128::from(i64::MAX);
    let bytes = read::integer(node, "'mem_limit'", range, Dialect::Strict, report)?;
    memory_limit(u64::try_from(bytes).ok()?, node.span, report)
}

/// A CPU weight; zero is Docker's word for its default.
pub(crate) fn cpu_shares(node: &Node, dialect: Dialect, report: &mut Report) -> Option<u32> {
    if node.is_null() {
        return None;
    }
    let shares = read::integer(node, "'cpu_shares'", 0..=CPU_SHARES_MAX, dialect, report)?;
    u32::try_from(shares).ok().filter(|shares| *shares > 0)
}

/// True when the text can be a name in a hosts file and in link variables; else an error was
/// reported.
pub(crate) fn check_alias(alias: &str, span: Span, report: &mut Report) -> bool {
    let is_valid = alias.len() <= ALIAS_BYTES_MAX
        && alias.starts_with(|c: char| c.is_ascii_alphanumeric())
        && alias
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
    if !is_valid {
        report.error(
            span,
            format!("{} cannot be the alias of a link", quoted(alias)),
            format!(
                "it becomes a host name: use letters, digits, '-', '_' and '.', at most \
                 {ALIAS_BYTES_MAX}, a letter or digit first"
            ),
        );
    }
    is_valid
}

/// A node as manifests name it: a node's name, a host name or an address.
pub(crate) fn node_name(text: &str, span: Span, report: &mut Report) -> Option<String> {
    if text.parse::<std::net::IpAddr>().is_ok() {
        return Some(text.to_owned());
    }
    name(text, span, flocker_types::ids::NodeName::new, report).map(String::from)
}
