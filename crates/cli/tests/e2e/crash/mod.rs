//! The crash matrix: in each phase of a move something dies or a cable is cut, for two seconds or for
//! longer than a move waits. Each time it must end in one running copy with every acknowledged row.
//!
//! `make test` runs a part of it, `FLOCKER_E2E_FULL=1` all. The tables go to the target directory.

mod case;
mod table;

use crate::support::{Cluster, settings};
use case::{Case, LONG, SHORT, Victim, deploy};
use flocker_testkit::images::Image;
use flocker_types::operation::Phase;
use std::sync::Arc;
use std::time::Duration;
use table::Row;

/// What `make test` runs: each victim where the most is at stake.
const PART: [(Victim, Phase); 18] = [
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
    (Victim::SourceFrozen, Phase::Stop),
    (Victim::SourceAlone, Phase::LastDelta),
    (Victim::TargetAlone, Phase::Start),
];

/// What `make test` runs of the long faults: the way back, and the wait for the only copy.
const PART_LONG: [(Victim, Phase); 2] = [
    (Victim::Target, Phase::LastDelta),
    (Victim::SourcePower, Phase::LastDelta),
];

/// The chosen ones, or in the whole matrix every victim in each of these phases.
fn cases(part: &[(Victim, Phase)], phases: &[Phase], fault: Duration) -> Vec<Case> {
    let only = settings::only_victim();
    let all = Victim::ALL
        .into_iter()
        .filter(|victim| format!("{victim:?}").ends_with(&only))
        .flat_map(|victim| phases.iter().map(move |phase| (victim, *phase)));
    let chosen: Vec<_> = match settings::is_full() {
        true => all.collect(),
        false => part.to_vec(),
    };
    let case = |(victim, phase)| Case {
        victim,
        phase,
        fault,
    };
    chosen.into_iter().map(case).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_dies_in_whichever_phase_one_copy_runs_with_every_row() {
    // A move waits for no other service, so the first phase is over at once.
    run_all("crash-matrix", &cases(&PART, &Phase::ALL[1..], SHORT)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_away_for_long_one_copy_runs_with_every_row() {
    let phases = [Phase::Copy, Phase::LastDelta];
    run_all("crash-matrix-long", &cases(&PART_LONG, &phases, LONG)).await;
}

async fn run_all(name: &str, cases: &[Case]) {
    let cluster = Arc::new(Cluster::up(&[Image::Postgres]).await);
    deploy(&cluster).await;
    let mut rows = Vec::new();
    for case in cases {
        // A task of its own, so that one failure does not hide what the other cases show.
        let run = tokio::spawn(case::run(Arc::clone(&cluster), *case));
        let row = match run.await {
            Ok(row) => row,
            Err(error) => Row::failed(case, &error.to_string()),
        };
        println!("{row}");
        rows.push(row);
        case::undo_everything(&cluster).await;
    }
    table::write(name, &rows);
    let failed: Vec<String> = rows
        .iter()
        .filter(|row| row.failure.is_some())
        .map(ToString::to_string)
        .collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
