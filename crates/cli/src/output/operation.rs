//! Operations as text: one line while they go on, a report when they have ended. Pure.
//!
//! `deploy`, `move`, `rm`, `operation` and `status` use it.

use super::Style;
use crate::quantity::{bytes, count, milliseconds, moment};
use flocker_types::api::OperationView;
use flocker_types::operation::{OperationKind, OperationStatus, Phase};

/// What is being done to whom: `move db n1 -> n2`.
pub(crate) fn title(view: &OperationView) -> String {
    let operation = &view.operation;
    let name = |node: &Option<_>| node.as_ref().map(ToString::to_string);
    let source = name(&view.source_name);
    let target = name(&view.target_name);
    let place = match (operation.kind, source, target) {
        (OperationKind::Remove, Some(node), _)
        | (OperationKind::Replace, _, Some(node))
        | (_, None, Some(node)) => format!(" on {node}"),
        (OperationKind::Start, Some(source), Some(target)) if source == target => {
            format!(" on {target}")
        }
        (_, Some(source), Some(target)) => format!(" {source} -> {target}"),
        _ => String::new(),
    };
    format!("{} {}{place}", operation.kind, operation.service)
}

/// Where an operation is: its phase, and what it waits for or why it goes back.
pub(crate) fn stage(view: &OperationView) -> String {
    let operation = &view.operation;
    match &operation.status {
        OperationStatus::Running if operation.phase == Phase::Copy => {
            format!("copy, round {}", operation.rounds.len() + 1)
        }
        OperationStatus::Running => operation.phase.to_string(),
        OperationStatus::Aborting { failure, phase } => {
            format!("going back; it failed in {phase}: {failure}")
        }
        OperationStatus::Succeeded => "done".to_owned(),
        OperationStatus::Failed { .. } => "failed".to_owned(),
    }
}

/// A line on an operation that goes on, with its bytes. `rate` is in bytes a second, once known.
pub(crate) fn progress_line(view: &OperationView, rate: Option<u64>) -> String {
    let mut line = format!("{}: {}", title(view), stage(view));
    let running = view.operation.status == OperationStatus::Running;
    match view
        .progress
        .filter(|progress| running && progress.bytes_done > 0)
    {
        Some(progress) => {
            line.push_str(&format!(", {}", bytes(progress.bytes_done)));
            // An estimate that turned out too low says nothing any more.
            let total = progress
                .bytes_total
                .filter(|total| *total >= progress.bytes_done);
            if let Some(total) = total {
                line.push_str(&format!(" of {}", bytes(total)));
            }
            if let Some(rate) = rate.filter(|rate| *rate > 0) {
                line.push_str(&format!(", {}/s", bytes(rate)));
                if let Some(total) = total {
                    let left_ms = (total - progress.bytes_done).saturating_mul(1_000) / rate;
                    line.push_str(&format!(", {} left", milliseconds(left_ms)));
                }
            }
        }
        None if running && !view.operation.waiting_for.is_empty() => {
            line.push_str(&format!(" (waiting for {})", view.operation.waiting_for));
        }
        None => {}
    }
    line
}

/// Everything about an operation that has ended, or about one that goes on.
pub(crate) fn report(view: &OperationView, style: Style) -> String {
    let operation = &view.operation;
    let mut text = headline(view, style);
    let mut fact = |name: &str, value: String| {
        text.push_str(&format!(
            "  {} {value}\n",
            style.faint(&format!("{name:<9}"))
        ));
    };
    if !operation.rounds.is_empty() {
        fact("copied", copied(view));
    }
    if let Some(pause_ms) = operation.pause_ms {
        let predicted = operation.predicted.map(|prediction| prediction.pause_ms());
        let was = milliseconds(pause_ms);
        fact(
            "pause",
            match predicted {
                Some(predicted) => format!("{was} (predicted {})", milliseconds(predicted)),
                None => was,
            },
        );
        let held = operation.held;
        fact(
            "clients",
            match held.connections {
                0 => "none came during the pause".to_owned(),
                several => format!(
                    "{} held, the longest for {}",
                    count(usize::try_from(several).unwrap_or(usize::MAX), "connection"),
                    milliseconds(held.longest_ms)
                ),
            },
        );
    }
    let phases: Vec<String> = operation
        .phase_ms
        .iter()
        .filter(|(_, ms)| **ms > 0)
        .map(|(phase, ms)| format!("{phase} {}", milliseconds(*ms)))
        .collect();
    if !phases.is_empty() {
        fact("phases", phases.join(", "));
    }
    text
}

fn headline(view: &OperationView, style: Style) -> String {
    let operation = &view.operation;
    let name = style.bold(&operation.service.to_string());
    let source = view
        .source_name
        .as_ref()
        .map_or("its node".to_owned(), ToString::to_string);
    let target = view
        .target_name
        .as_ref()
        .map_or("its node".to_owned(), ToString::to_string);
    let did = match operation.kind {
        OperationKind::Start => format!("runs on {target}"),
        OperationKind::Move => format!("moved from {source} to {target}"),
        OperationKind::Replace => format!("was replaced on {target}"),
        OperationKind::Remove => format!("was removed from {source}"),
    };
    match &operation.status {
        OperationStatus::Succeeded => {
            let took = operation
                .finished
                .map(|end| {
                    format!(
                        " in {}",
                        milliseconds(end.0.saturating_sub(operation.started.0))
                    )
                })
                .unwrap_or_default();
            let kept = match operation.kind == OperationKind::Remove
                && !operation.spec.mounts.is_empty()
            {
                true => "; its volumes are kept",
                false => "",
            };
            format!("{} {name} {did}{took}{kept}\n", style.good("ok:"))
        }
        OperationStatus::Failed { failure, phase } => {
            let mut text = format!(
                "{} {} did not work; it failed in {phase}: {failure}\n",
                style.bad("failed:"),
                style.bold(&title(view))
            );
            let as_before = match (operation.kind, *phase < Phase::Commit) {
                (OperationKind::Move | OperationKind::Replace, true) => {
                    Some(format!("{name} runs on {source} as before"))
                }
                _ => None,
            };
            if let Some(as_before) = as_before {
                text.push_str(&format!("  {as_before}\n"));
            }
            text
        }
        OperationStatus::Running | OperationStatus::Aborting { .. } => format!(
            "{} {}\n  {} {} since {}\n",
            style.notable("goes on:"),
            progress_line(view, None),
            style.faint("operation"),
            operation.id,
            moment(operation.started)
        ),
    }
}

fn copied(view: &OperationView) -> String {
    let rounds = &view.operation.rounds;
    let sum = |value: fn(&flocker_types::operation::Round) -> u64| {
        rounds.iter().map(value).fold(0, u64::saturating_add)
    };
    let (data, wire) = (sum(|round| round.bytes), sum(|round| round.wire_bytes));
    format!(
        "{} in {}, {} on the wire",
        bytes(data),
        count(rounds.len(), "round"),
        bytes(wire)
    )
}

#[cfg(test)]
#[path = "operation_test.rs"]
pub(crate) mod tests;
