//! Reads single values out of the tree: texts, numbers, lists, mappings, each with an error that
//! says what was expected and what to write.
//!
//! Used by the readers of all formats; the [`Dialect`] says where they differ.

use crate::diagnostic::quoted;
use crate::report::Report;
use crate::source::Span;
use crate::suggest::nearest;
use crate::yaml::{Data, Entry, Form, Meaning, Node};

/// Longest list that is read. Some lists are compared item by item.
const ITEMS_MAX: usize = 5000;

/// Which rules say what a scalar without quotes is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// v1 and Fig: YAML 1.1, and a text must be written so that YAML 1.1 takes it for one.
    Strict,
    /// Compose: YAML 1.2, numbers are taken where a text is expected and the other way round.
    Compose,
}

/// A text. `what` names it in messages, such as "'image'".
pub(crate) fn text<'n>(
    node: &'n Node,
    what: &str,
    dialect: Dialect,
    report: &mut Report,
) -> Option<&'n str> {
    let Some(scalar) = node.as_scalar() else {
        report.error(
            node.span,
            format!("{what} must be text, not {}", node.describe()),
            "write one text in its place, in quotes where in doubt",
        );
        return None;
    };
    if node.is_failed() {
        return None;
    }
    let taken = match (scalar.meaning(), dialect) {
        (Meaning::Text, _) => true,
        // What a variable brought was never anything but text.
        _ if scalar.form == Form::Completed => true,
        (Meaning::Null | Meaning::Truth(_), _) => false,
        (_, Dialect::Strict) => false,
        (_, Dialect::Compose) => true,
    };
    if taken {
        return Some(&scalar.text);
    }
    let hint = if scalar.text.is_empty() {
        "write a value, or remove the key".to_owned()
    } else {
        format!("put it in quotes: \"{}\"", scalar.text)
    };
    report.error(
        node.span,
        format!("{what} must be text, not {}", scalar.describe()),
        hint,
    );
    None
}

/// A whole number within `range`.
pub(crate) fn integer(
    node: &Node,
    what: &str,
    range: std::ops::RangeInclusive<i128>,
    dialect: Dialect,
    report: &mut Report,
) -> Option<i128> {
    let value = node.as_scalar().and_then(|scalar| match scalar.meaning() {
        Meaning::Integer(value) => Some(value),
        Meaning::Text if dialect == Dialect::Compose => scalar.text.parse().ok(),
        _ => None,
    });
    let Some(value) = value else {
        if node.is_failed() {
            return None;
        }
        let quoted_number = node
            .as_scalar()
            .filter(|scalar| scalar.text.trim().parse::<i128>().is_ok());
        let message = format!("{what} must be a whole number, not {}", node.describe());
        match quoted_number {
            Some(scalar) => {
                let digits = scalar.text.trim().trim_start_matches('0');
                let digits = if digits.is_empty() { "0" } else { digits };
                report.error(node.span, message, format!("write {digits} without quotes"));
            }
            None => report.error(node.span, message, number_hint(&range)),
        }
        return None;
    };
    if !range.contains(&value) {
        let written = node.as_scalar().map_or("", |scalar| &*scalar.text);
        let side = if value < *range.start() {
            format!("less than {}", range.start())
        } else {
            format!("more than {}", range.end())
        };
        let message = format!("{what} cannot be {side}: {}", quoted(written));
        report.error(node.span, message, number_hint(&range));
        return None;
    }
    Some(value)
}

fn number_hint(range: &std::ops::RangeInclusive<i128>) -> String {
    // A bound that only the machine has helps nobody.
    const BOUND_SHOWN_MAX: i128 = 1_000_000_000;
    let (least, most) = (range.start(), range.end());
    if *most > BOUND_SHOWN_MAX {
        format!("write a number of at least {least}, without quotes or unit")
    } else {
        format!("write a number between {least} and {most}, without quotes or unit")
    }
}

/// A port number.
pub(crate) fn port(node: &Node, what: &str, dialect: Dialect, report: &mut Report) -> Option<u16> {
    let value = integer(node, what, 1..=65535, dialect, report)?;
    u16::try_from(value).ok()
}

/// `true` or `false`.
pub(crate) fn truth(node: &Node, what: &str, report: &mut Report) -> Option<bool> {
    let value = node.as_scalar().and_then(|scalar| match scalar.meaning() {
        Meaning::Truth(value) | Meaning::OldTruth(value) => Some(value),
        // Compose reads a text where it expects a truth value.
        Meaning::Text => match scalar.text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "y" | "on" | "1" => Some(true),
            "false" | "no" | "n" | "off" | "0" => Some(false),
            _ => None,
        },
        _ => None,
    });
    if value.is_none() {
        let message = format!("{what} must be true or false, not {}", node.describe());
        report.mismatch(node, message, "write true or false");
    }
    value
}

/// A mapping's entries.
pub(crate) fn mapping<'n>(
    node: &'n Node,
    what: &str,
    hint: &str,
    report: &mut Report,
) -> Option<&'n [Entry]> {
    let entries = node.as_mapping();
    if entries.is_none() {
        let message = format!(
            "{what} must be a mapping ('key: value'), not {}",
            node.describe()
        );
        report.mismatch(node, message, hint);
    }
    entries
}

/// A list's items; none when there are too many.
pub(crate) fn list<'n>(
    node: &'n Node,
    what: &str,
    hint: &str,
    report: &mut Report,
) -> Option<&'n [Node]> {
    match &node.data {
        Data::Sequence(items) if items.len() > ITEMS_MAX => {
            report.error(
                items[ITEMS_MAX].span,
                format!("{what} can have at most {ITEMS_MAX} items"),
                "write fewer",
            );
            None
        }
        Data::Sequence(items) => Some(items),
        Data::Scalar(_) | Data::Mapping(_) => {
            let message = format!("{what} must be a list, not {}", node.describe());
            report.mismatch(node, message, hint);
            None
        }
    }
}

/// The value of a key that must be there; `at` is what lacks it.
pub(crate) fn required<'n>(
    node: &'n Node,
    key: &str,
    at: Span,
    hint: &str,
    report: &mut Report,
) -> Option<&'n Node> {
    let value = node.get(key);
    if value.is_none() {
        report.error(at, format!("the key '{key}' is missing"), hint);
    }
    value
}

/// Reports every key that is not among `known`. `inside` says where: "a port", "the volume" ...
pub(crate) fn unknown_keys(entries: &[Entry], known: &[&str], inside: &str, report: &mut Report) {
    for entry in entries {
        if !known.contains(&&*entry.key) {
            unknown_key(entry, known, inside, report);
        }
    }
}

/// Reports one key as unknown, with the nearest known one.
pub(crate) fn unknown_key(entry: &Entry, known: &[&str], inside: &str, report: &mut Report) {
    if report.is_full() {
        return;
    }
    let hint = match nearest(&entry.key, known.iter().copied()) {
        Some(near) => format!("did you mean '{near}'?"),
        None => format!("known keys are: {}", known.join(", ")),
    };
    report.error(
        entry.key_span,
        format!("{inside} has no key {}", quoted(&entry.key)),
        hint,
    );
}
