//! A plan as text: what starts, stops, moves and is replaced on which node, what it costs. Pure.
//!
//! `deploy` shows it before it asks.

use super::Style;
use crate::quantity::{bytes, count, milliseconds};
use flocker_types::operation::OperationKind;
use flocker_types::plan::{Plan, PlanStep};
use std::collections::BTreeMap;

/// The plan, by node.
pub(crate) fn render(plan: &Plan, style: Style) -> String {
    let mut text = format!("{}\n", summary(plan));
    let mut nodes: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for step in &plan.steps {
        for (node, line) in lines(step, style) {
            nodes.entry(node).or_default().push(line);
        }
    }
    for (node, lines) in nodes {
        text.push_str(&format!("\n{}\n", style.bold(&node)));
        lines.iter().for_each(|line| text.push_str(line));
    }
    if !plan.warnings.is_empty() {
        text.push('\n');
    }
    for warning in &plan.warnings {
        text.push_str(&format!("{} {warning}\n", style.notable("warning:")));
    }
    text
}

/// One line: `1 start, 1 move; 2 services stay as they are`.
pub(crate) fn summary(plan: &Plan) -> String {
    use OperationKind::{Move, Remove, Replace, Start};
    let steps = |kind| plan.steps.iter().filter(|step| step.kind == kind).count();
    let parts: Vec<String> = [
        (Start, "start"),
        (Move, "move"),
        (Replace, "replacement"),
        (Remove, "removal"),
    ]
    .into_iter()
    .map(|(kind, noun)| (steps(kind), noun))
    .filter(|(number, _)| *number > 0)
    .map(|(number, noun)| count(number, noun))
    .collect();
    let stay = match plan.unchanged.len() {
        0 => None,
        1 => Some("1 service stays as it is".to_owned()),
        several => Some(format!("{several} services stay as they are")),
    };
    match (parts.is_empty(), stay) {
        (true, None) => "nothing to do".to_owned(),
        (true, Some(stay)) => format!("nothing to do: {stay}"),
        (false, None) => parts.join(", "),
        (false, Some(stay)) => format!("{}; {stay}", parts.join(", ")),
    }
}

/// What a step means for each node that it concerns.
fn lines(step: &PlanStep, style: Style) -> Vec<(String, String)> {
    let name = |node: &Option<_>| {
        node.as_ref()
            .map_or("(no node)".to_owned(), ToString::to_string)
    };
    let (source, target) = (name(&step.source_name), name(&step.target_name));
    let service = style.bold(&step.service.to_string());
    let head = |mark: String, does: String| format!("  {mark} {service} {does}\n");
    match step.kind {
        OperationKind::Start => {
            let from = match &step.source_name {
                Some(from) if *from.as_str() != target => format!(" with its data from {from}"),
                _ => String::new(),
            };
            let line = head(style.good("+"), format!("starts{from}")) + &details(step, style);
            vec![(target, line)]
        }
        OperationKind::Move => vec![
            (
                source.clone(),
                head(style.notable("<"), format!("leaves for {target}")),
            ),
            (
                target,
                head(style.notable(">"), format!("comes from {source}")) + &details(step, style),
            ),
        ],
        OperationKind::Replace => vec![(
            target,
            head(style.notable("~"), "is replaced".to_owned()) + &details(step, style),
        )],
        OperationKind::Remove => vec![(
            source,
            head(style.bad("-"), "stops; its volumes are kept".to_owned()),
        )],
    }
}

fn details(step: &PlanStep, style: Style) -> String {
    let mut text = String::new();
    let mut fact = |name: &str, value: String| {
        text.push_str(&format!(
            "      {} {value}\n",
            style.faint(&format!("{name:<7}"))
        ));
    };
    if step.kind == OperationKind::Start {
        fact("image", step.spec.image.clone());
        if !step.spec.ports.is_empty() {
            let ports = step.spec.ports.iter();
            let ports: Vec<String> = ports.map(|port| port.external.to_string()).collect();
            fact("ports", ports.join(", "));
        }
    }
    for change in &step.changes {
        fact("change", change.clone());
    }
    for volume in &step.volumes {
        let mut value = volume.name.to_string();
        if volume.id.is_none() {
            value.push_str(", new and empty");
        }
        if let Some(size) = volume.size_bytes_max {
            value.push_str(&format!(", at most {}", bytes(size)));
        }
        fact("volume", value);
    }
    if step.copy_bytes > 0 {
        fact(
            "copies",
            format!(
                "about {} in about {}",
                bytes(step.copy_bytes),
                milliseconds(step.copy_ms)
            ),
        );
    }
    if let Some(pause) = step.pause {
        fact(
            "pause",
            format!(
                "about {} (stop {}, last delta {}, start {}; budget {})",
                milliseconds(pause.pause_ms()),
                milliseconds(pause.stop_ms),
                milliseconds(pause.delta_ms),
                milliseconds(pause.start_ms),
                milliseconds(step.spec.pause_budget_ms)
            ),
        );
    }
    text
}

#[cfg(test)]
#[path = "plan_test.rs"]
mod tests;
