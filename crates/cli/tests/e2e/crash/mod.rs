//! The crash matrix: in each step of each operation something dies, stands still or is cut off. Each
//! time it must end in one running copy with every acknowledged row.
//!
//! `make test` runs a part of it; `make test-matrix` runs what the table in docs/ does not have yet.

mod aim;
mod case;
mod cells;
mod faults;
mod join;
mod limits;
mod runner;
mod subject;
mod summary;
mod table;

use cells::{Cell, Fault, LONG, Operation, Process, SHORT};
use std::path::Path;
use table::Table;

/// What `make test` runs: each victim where the most is at stake.
const PART: [(&str, Process, Fault); 18] = [
    ("copy", Process::Control, Fault::Killed),
    ("last delta", Process::Control, Fault::Killed),
    ("start", Process::Control, Fault::Killed),
    ("stop", Process::Control, Fault::Killed),
    ("copy", Process::AgentOfSource, Fault::Killed),
    ("stop", Process::AgentOfSource, Fault::Killed),
    ("last delta", Process::AgentOfSource, Fault::Killed),
    ("start", Process::AgentOfSource, Fault::Killed),
    ("prepare", Process::AgentOfTarget, Fault::Killed),
    ("last delta", Process::AgentOfTarget, Fault::Killed),
    ("start", Process::AgentOfTarget, Fault::Killed),
    ("last delta", Process::Link, Fault::Cut),
    ("copy", Process::EngineOfSource, Fault::Killed),
    ("last delta", Process::NodeOfSource, Fault::Killed),
    ("start", Process::NodeOfTarget, Fault::Killed),
    ("stop", Process::AgentOfSource, Fault::Frozen),
    ("last delta", Process::NodeOfSource, Fault::Cut),
    ("start", Process::NodeOfTarget, Fault::Cut),
];

/// What `make test` runs of the long faults: the way back, and the wait for the only copy.
const PART_LONG: [(&str, Process, Fault); 2] = [
    ("last delta", Process::AgentOfTarget, Fault::Killed),
    ("last delta", Process::NodeOfSource, Fault::Killed),
];

#[tokio::test(flavor = "multi_thread")]
async fn whatever_dies_in_whichever_step_one_copy_runs_with_every_row() {
    if let Some(run) = runner::Whole::wanted() {
        return run.go().await;
    }
    let of = |(step, process, fault)| (Cell::of(Operation::Move, step, process, fault), SHORT);
    run_part("crash-matrix.tsv", PART.map(of).to_vec()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_away_for_long_one_copy_runs_with_every_row() {
    let of = |(step, process, fault)| (Cell::of(Operation::Move, step, process, fault), LONG);
    run_part("crash-matrix-long.tsv", PART_LONG.map(of).to_vec()).await;
}

#[test]
fn the_summary_is_that_of_the_table() {
    let table = Table::open(&table::file_in_docs("crash-matrix.tsv"));
    let written = std::fs::read_to_string(table::file_in_docs("crash-matrix.md")).unwrap();
    assert_eq!(written, summary::of(&table), "make test-matrix writes both");
}

/// Runs these cells; the table goes to the target directory.
async fn run_part(name: &str, cells: Vec<(Cell, std::time::Duration)>) {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let file = directory.parent().unwrap().join(name);
    let _absent = std::fs::remove_file(&file);
    let failed = runner::run(cells, Table::open(&file), 1, None).await;
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
