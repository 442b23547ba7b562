//! Reads the small values of Compose files: texts, lists of texts, truth values, amounts.
//!
//! Each says what is wrong at its place. What a value means is decided by the callers.

use crate::common;
use crate::diagnostic::quoted;
use crate::read::{self, Dialect};
use crate::report::Report;
use crate::source::Span;
use crate::yaml::{Data, Meaning, Node};

/// A text with something in it and no control characters.
pub(super) fn text(node: &Node, key: &str, report: &mut Report) -> Option<String> {
    let text = read::text(node, &format!("'{key}'"), Dialect::Compose, report)?;
    if text.is_empty() || text.contains(char::is_control) {
        report.error(
            node.span,
            format!("'{key}' is empty or has control characters"),
            "write a value, or remove the key",
        );
        return None;
    }
    Some(text.to_owned())
}

/// One text or a list of them, each with its place.
pub(super) fn texts(node: &Node, key: &str, report: &mut Report) -> Vec<(String, Span)> {
    let items = match &node.data {
        Data::Sequence(items) => items.as_slice(),
        Data::Scalar(_) => std::slice::from_ref(node),
        Data::Mapping(_) => {
            report.mismatch(
                node,
                format!("'{key}' must be a list, not a mapping"),
                "write one item in each line, after '- '",
            );
            return Vec::new();
        }
    };
    items
        .iter()
        .filter_map(|item| Some((text(item, key, report)?, item.span)))
        .collect()
}

/// The same without places.
pub(super) fn plain_texts(node: &Node, key: &str, report: &mut Report) -> Vec<String> {
    texts(node, key, report)
        .into_iter()
        .map(|(text, _)| text)
        .collect()
}

/// One of a few words.
pub(super) fn one_of(
    node: &Node,
    key: &str,
    words: &[&str],
    report: &mut Report,
) -> Option<String> {
    let text = text(node, key, report)?;
    if words.contains(&text.as_str()) {
        return Some(text);
    }
    report.error(
        node.span,
        format!(
            "'{key}: {}' is not supported",
            quoted(&text).trim_matches('\'')
        ),
        format!("use one of: {}; or remove the key", words.join(", ")),
    );
    None
}

/// A whole number.
pub(super) fn number<T: TryFrom<i128>>(
    node: &Node,
    key: &str,
    range: std::ops::RangeInclusive<i128>,
    report: &mut Report,
) -> Option<T> {
    let value = read::integer(node, &format!("'{key}'"), range, Dialect::Compose, report)?;
    T::try_from(value).ok()
}

/// `true` or `false`; false also after an error.
pub(super) fn flag(node: &Node, key: &str, report: &mut Report) -> bool {
    read::truth(node, &format!("'{key}'"), report).unwrap_or_default()
}

/// Permission bits, written in octal: `0440`, `"0440"`, `0o440`.
pub(super) fn mode(node: &Node, report: &mut Report) -> Option<u32> {
    const MODE_MAX: u32 = 0o7777;
    let scalar = node.as_scalar();
    let text = scalar.map_or("", |scalar| scalar.text.trim());
    let value = match scalar.map(crate::yaml::Scalar::meaning) {
        // Without a leading 0, and without quotes, YAML has read a decimal number.
        Some(Meaning::Integer(value)) => u32::try_from(value).ok(),
        _ => u32::from_str_radix(text.trim_start_matches("0o"), 8).ok(),
    };
    let value = value.filter(|mode| *mode <= MODE_MAX);
    if value.is_none() {
        let message = format!("'mode' must be permission bits, not {}", node.describe());
        report.mismatch(node, message, "write them in octal, for example 0440");
    }
    value
}

/// An absolute path in a container.
pub(super) fn path(node: &Node, key: &str, report: &mut Report) -> Option<String> {
    let text = text(node, key, report)?;
    common::mountpoint(&text, node.span, report)
}
