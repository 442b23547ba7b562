//! Reads `healthcheck:`.

use super::keys::{self, Place};
use super::limits;
use crate::read::{self, Dialect};
use crate::report::Report;
use crate::source::Span;
use crate::yaml::{Data, Node};
use flocker_types::app::HealthCheck;

/// Docker's defaults.
const INTERVAL_DEFAULT_MS: u64 = 30_000;
const TIMEOUT_DEFAULT_MS: u64 = 30_000;
const RETRIES_DEFAULT: u32 = 3;
/// Most failures in a row that a file may ask for.
const RETRIES_MAX: i128 = 10_000;

const HINT: &str =
    "write 'test: [\"CMD\", \"program\", \"argument\"]', or 'test: \"a shell command\"'";

/// Reads the check of one service; `None` when the image's own check counts. `at` is its key.
pub(super) fn read(node: &Node, at: Span, report: &mut Report) -> Option<HealthCheck> {
    let entries = read::mapping(node, "'healthcheck'", HINT, report)?;
    keys::check(entries, Place::Health, "a health check", report);
    let is_disabled = node
        .get("disable")
        .and_then(|node| read::truth(node, "'disable'", report))
        .unwrap_or(false);
    let mut time = |key: &str, least_ms: u64, default_ms: u64| match node.get(key) {
        Some(node) => {
            limits::duration_ms(node, &format!("'{key}'"), least_ms, report).unwrap_or(default_ms)
        }
        None => default_ms,
    };
    let interval_ms = time("interval", 1, INTERVAL_DEFAULT_MS);
    let timeout_ms = time("timeout", 1, TIMEOUT_DEFAULT_MS);
    let start_period_ms = time("start_period", 0, 0);
    let start_interval_ms = node
        .get("start_interval")
        .and_then(|node| limits::duration_ms(node, "'start_interval'", 1, report));
    let retries = node
        .get("retries")
        .and_then(|node| {
            read::integer(node, "'retries'", 1..=RETRIES_MAX, Dialect::Compose, report)
        })
        .and_then(|retries| u32::try_from(retries).ok())
        .unwrap_or(RETRIES_DEFAULT);
    let test = match node.get("test") {
        _ if is_disabled => vec!["NONE".to_owned()],
        Some(node) => test(node, report)?,
        None => {
            report.error(at, "a health check needs a 'test'", HINT);
            return None;
        }
    };
    Some(HealthCheck {
        test,
        interval_ms,
        timeout_ms,
        retries,
        start_period_ms,
        start_interval_ms,
    })
}

fn test(node: &Node, report: &mut Report) -> Option<Vec<String>> {
    let Data::Sequence(items) = &node.data else {
        let command = read::text(node, "'test'", Dialect::Compose, report)?;
        if command.trim().is_empty() || command.contains('\0') {
            report.error(node.span, "the test has no command", HINT);
            return None;
        }
        return Some(vec!["CMD-SHELL".to_owned(), command.to_owned()]);
    };
    let words: Vec<&str> = items
        .iter()
        .filter_map(|item| read::text(item, "a word of 'test'", Dialect::Compose, report))
        .collect();
    if words.len() < items.len() {
        return None;
    }
    let is_well_formed = match words.as_slice() {
        ["NONE"] => true,
        ["CMD", program, ..] => !program.is_empty(),
        ["CMD-SHELL", command] => !command.trim().is_empty(),
        _ => false,
    };
    if !is_well_formed || words.iter().any(|word| word.contains('\0')) {
        report.error(
            node.span,
            "the list of a test begins with CMD, CMD-SHELL or NONE",
            "write [\"CMD\", \"program\", \"argument\"], [\"CMD-SHELL\", \"one shell command\"] or \
             [\"NONE\"]",
        );
        return None;
    }
    Some(words.into_iter().map(str::to_owned).collect())
}
