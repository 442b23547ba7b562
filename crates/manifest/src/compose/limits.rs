//! Reads amounts of Compose files: bytes and durations.

use crate::diagnostic::quoted;
use crate::read::{self, Dialect};
use crate::report::Report;
use crate::size::{self, AmountProblem};
use crate::yaml::{Meaning, Node};

/// A duration such as `1m30s`, in milliseconds, of at least `least_ms`.
pub(super) fn duration_ms(
    node: &Node,
    what: &str,
    least_ms: u64,
    report: &mut Report,
) -> Option<u64> {
    let text = read::text(node, what, Dialect::Compose, report)?;
    let hint = "write a number and a unit (ms, s, m, h), for example 10s or 1m30s";
    let message = match size::duration_ms(text) {
        Ok(ms) if ms >= least_ms => return Some(ms),
        Ok(ms) => format!("{what} must be at least {least_ms}ms, not {ms}ms"),
        Err(AmountProblem::TooLarge) => format!("{what} can be at most 24h"),
        Err(AmountProblem::Unreadable | AmountProblem::Zero) => {
            format!("{what} must be a duration, not {}", quoted(text))
        }
    };
    report.error(node.span, message, hint);
    None
}

/// The size of a volume in bytes, at least one.
pub(super) fn volume_size(node: &Node, report: &mut Report) -> Option<u64> {
    bytes(node, "'size'", size::volume_bytes, report)
}

fn bytes(
    node: &Node,
    what: &str,
    parse: fn(&str) -> Result<u64, AmountProblem>,
    report: &mut Report,
) -> Option<u64> {
    let text = read::text(node, what, Dialect::Compose, report)?;
    let message = match parse(text) {
        Ok(bytes) => return Some(bytes),
        Err(AmountProblem::Zero) => format!("{what} must be greater than zero"),
        Err(AmountProblem::TooLarge) => format!("{what} is too large: {}", quoted(text)),
        Err(AmountProblem::Unreadable) => {
            format!("{what} must be an amount of bytes, not {}", quoted(text))
        }
    };
    report.error(
        node.span,
        message,
        "write a number, or one with k, m, g or t (times 1024): 512m, 1.5g",
    );
    None
}

/// An amount of bytes, zero included.
pub(super) fn amount(node: &Node, what: &str, report: &mut Report) -> Option<u64> {
    bytes(node, what, size::compose_bytes, report)
}

/// A service is one container.
pub(super) fn one_replica(node: &Node, what: &str, report: &mut Report) {
    let is_one = node
        .as_scalar()
        .is_some_and(|scalar| scalar.meaning() == Meaning::Integer(1) || &*scalar.text == "1");
    if !is_one {
        report.mismatch(
            node,
            format!("{what} other than 1 is not supported yet"),
            "remove it: a service is one container",
        );
    }
}
