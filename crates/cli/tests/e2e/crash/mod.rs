//! The crash matrix: in each phase of a move a process dies or a cable is cut, and comes back two
//! seconds later. Each time it must end in one running copy with every acknowledged row.
//!
//! `make test` runs a part of it, `FLOCKER_E2E_FULL=1` all. The table goes to `target/crash-matrix.json`.

mod case;
mod table;

use crate::support::{Cluster, settings};
use case::{Case, Victim, deploy};
use flocker_testkit::images::Image;
use flocker_types::operation::Phase;
use std::sync::Arc;
use table::Row;

/// What `make test` runs: each victim where the most is at stake.
const PART: [(Victim, Phase); 15] = [
    (Victim::Control, Phase::Copy),
    (Victim::Control, Phase::LastDelta),
    (Victim::Control, Phase::Commit),
    (Victim::Control, Phase::Keep),
    (Victim::Source, Phase::Copy),
    (Victim::Source, Phase::Stop),
    (Victim::Source, Phase::LastDelta),
    (Victim::Source, Phase::Release),
    (Victim::Target, Phase::Prepare),
    (Victim::Target, Phase::LastDelta),
    (Victim::Target, Phase::Start),
    (Victim::Link, Phase::LastDelta),
    (Victim::SourceEngine, Phase::Copy),
    (Victim::SourcePower, Phase::LastDelta),
    (Victim::TargetPower, Phase::Start),
];

fn cases() -> Vec<Case> {
    let only = settings::only_victim();
    let all = Victim::ALL
        .into_iter()
        .flat_map(|victim| Phase::ALL.map(|phase| (victim, phase)))
        // A move waits for nobody: what it depends on is not asked for.
        .filter(|(_, phase)| *phase != Phase::Wait)
        .filter(|(victim, _)| only.is_empty() || format!("{victim:?}").ends_with(&only));
    let chosen: Vec<_> = match settings::is_full() {
        true => all.collect(),
        false => PART.to_vec(),
    };
    chosen
        .into_iter()
        .map(|(victim, phase)| Case { victim, phase })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_dies_in_whichever_phase_one_copy_runs_with_every_row() {
    let cluster = Arc::new(Cluster::up(&[Image::Postgres]).await);
    deploy(&cluster).await;
    let mut rows = Vec::new();
    for case in cases() {
        // A task of its own, so that one failure does not hide what the other cases show.
        let run = tokio::spawn(case::run(Arc::clone(&cluster), case));
        let row = match run.await {
            Ok(row) => row,
            Err(error) => Row::failed(&case, &error.to_string()),
        };
        println!("{row}");
        rows.push(row);
        case::undo_everything(&cluster).await;
    }
    table::write(&rows);
    let failed: Vec<String> = rows
        .iter()
        .filter(|row| row.failure.is_some())
        .map(ToString::to_string)
        .collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
