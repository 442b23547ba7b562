//! The crash matrix for people: one grid for each operation, made of the table.
//!
//! Pure: the runner writes what this returns beside the table, and a test compares the two.

use super::cells::{Cell, Fault, Operation, Process};
use super::limits::limits;
use super::table::{Row, Table};
use std::collections::BTreeMap;
use std::fmt::Write;

/// The text of docs/crash-matrix.md.
pub(super) fn of(table: &Table) -> String {
    let mut text = head(table);
    for operation in Operation::ALL {
        grid(&mut text, table, operation);
    }
    not_held(&mut text, table);
    senseless(&mut text);
    text
}

fn head(table: &Table) -> String {
    let every = Cell::every();
    let sensible = every.iter().filter(|cell| cell.senseless().is_none());
    let (wanted, run) = (sensible.count(), table.rows.len());
    let held = table.rows.iter().filter(|row| row.has_held()).count();
    let elsewhere = table.rows.iter().filter(|row| !row.is_hit()).count();
    let sum = |of: fn(&Row) -> u64| table.rows.iter().map(of).sum::<u64>();
    let most = |of: fn(&Row) -> u64| table.rows.iter().map(of).max().unwrap_or_default();
    let limits = serde_json::to_value(limits()).unwrap_or_default();
    let limits = limits.as_object().into_iter().flatten();
    let limits: Vec<String> = limits
        .map(|(name, value)| format!("`{name}` {value}"))
        .collect();
    format!(
        "# The crash matrix\n\n\
         Made by `make test-matrix` of [crash-matrix.tsv](crash-matrix.tsv), which has every figure; \
         do not edit.\n\n\
         Each cell is one run on a sandbox: nodes as network namespaces with Docker engines and btrfs \
         pools of their own, PostgreSQL, and two clients that insert numbered rows by another node's \
         proxy all the while. In the named step of the operation one process is killed (SIGKILL; a \
         node: everything on it at once), stands still (SIGSTOP; a node: containers too), or is cut off \
         from everybody. Killed ones are started again after 2 s. The other faults last 20 s (some of the earlier runs 17 s), longer \
         than any chain of limits in these runs; 35 s where a stream may be under way, \
         longer than an agent waits for its next piece; 70 s where a standing engine is wanted, longer \
         than an agent waits for it. A cell *holds* when the operation ends, the service then runs \
         exactly once, where the operation says that it does, new rows are acknowledged, every row \
         that was ever acknowledged is there once, and all nodes are connected again, within 240 s \
         of the fault's end.\n\n\
         **{run} of {wanted} cells were run, {held} hold.** {elsewhere} of them were hit in another step \
         than the one aimed at. {} rows were acknowledged and {} found (a client whose \
         acknowledgement was lost may find one more). The longest way back to health took {:.1} s \
         after the fault's end; the longest wait of a client for one row, fault included, \
         was {:.1} s. The commit in the table is the change as it landed; it may have been run before \
         it was put on top of others.\n\n\
         `T` and `S`: the service runs on the operation's target or source; `=`: where it \
         ran before, and the server has joined; `-`: nowhere, as \
         asked (where a deployment failed before its commit, asking again succeeded); then the \
         seconds from the fault's end to health. In brackets the step that was hit when it was another. \
         `?`: not run yet. `x`: did not hold. A point: makes no sense, see the end.\n\n\
         Limits of control in these runs, in ms: {}.\n",
        sum(|row| row.acknowledged),
        sum(|row| row.found),
        seconds(most(|row| row.healed_after_ms)),
        seconds(most(|row| row.longest_wait_ms)),
        limits.join(", "),
    )
}

fn seconds(milliseconds: u64) -> f64 {
    std::time::Duration::from_millis(milliseconds).as_secs_f64()
}

fn grid(text: &mut String, table: &Table, operation: Operation) {
    let steps = operation.steps();
    let names: Vec<&str> = steps.iter().map(|step| step.name).collect();
    write!(
        text,
        "\n## {}\n\n| | {} |\n",
        operation.name(),
        names.join(" | ")
    )
    .ok();
    writeln!(text, "|---|{}", "---|".repeat(names.len())).ok();
    for process in Process::ALL {
        for fault in Fault::ALL {
            let cell = |step: &_| Cell {
                operation,
                step: *step,
                process,
                fault,
            };
            let cells: Vec<Cell> = steps.iter().map(cell).collect();
            if cells.iter().all(|cell| cell.senseless().is_some()) {
                continue;
            }
            let shown: Vec<String> = cells.iter().map(|cell| shown(table, cell)).collect();
            let (process, fault) = (process.name(), fault.name());
            writeln!(text, "| {process} {fault} | {} |", shown.join(" | ")).ok();
        }
    }
}

fn shown(table: &Table, cell: &Cell) -> String {
    let Some(row) = table.row(cell) else {
        let is_senseless = cell.senseless().is_some();
        return if is_senseless { "." } else { "?" }.to_owned();
    };
    if !row.has_held() {
        return "x".to_owned();
    }
    let places: Vec<&str> = row
        .runs_on
        .split(", ")
        .map(|place| match place {
            "target" => "T",
            "source" => "S",
            "unmoved" => "=",
            _ => "-",
        })
        .collect();
    let healed = seconds(row.healed_after_ms);
    let elsewhere = match row.is_hit() {
        true => String::new(),
        false => format!(" ({})", row.hit),
    };
    format!("{} {healed:.1}{elsewhere}", places.concat())
}

/// Cells that did not hold, with what was wrong.
fn not_held(text: &mut String, table: &Table) {
    let failed: Vec<&Row> = table.rows.iter().filter(|row| !row.has_held()).collect();
    if !failed.is_empty() {
        text.push_str("\n## What did not hold\n\n");
    }
    for row in failed {
        writeln!(text, "- {}: {}", row.key.join(", "), row.outcome).ok();
    }
}

/// Which cells make no sense, by their reasons.
fn senseless(text: &mut String) {
    let mut reasons: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for cell in Cell::every() {
        if let Some(reason) = cell.senseless() {
            let [operation, _, process, fault] = cell.key();
            let named = format!("{operation}: {process} {fault}");
            let of_reason = reasons.entry(reason).or_default();
            if !of_reason.contains(&named) {
                of_reason.push(named);
            }
        }
    }
    text.push_str("\n## Cells that make no sense\n\n");
    for (reason, cells) in reasons {
        writeln!(text, "- {reason}: {}", cells.join("; ")).ok();
    }
}
