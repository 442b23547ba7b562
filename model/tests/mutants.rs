//! Bugs that are put into the core, one at a time: the exploration finds each. Compiled with the feature
//! `mutants` only.

use flocker_core::mutant::{Mutant, plant};
use flocker_model::{explore, scenario};

/// Explores the small scenario of this number until the bug shows.
fn is_caught(mutant: Mutant, number: usize) {
    let scenarios = scenario::small();
    plant(Some(mutant));
    let report = explore(&scenarios[number], usize::MAX);
    plant(None);
    let Some((violation, steps)) = report.broken else {
        panic!("{} is not found: {}", mutant.name(), scenarios[number].name);
    };
    eprintln!(
        "{}: {violation}, after {} steps and {} states",
        mutant.name(),
        steps.len(),
        report.states
    );
}

macro_rules! caught {
    ($($test:ident: $mutant:ident in $number:literal,)+) => {
        $(#[test]
        fn $test() {
            is_caught(Mutant::$mutant, $number);
        })+
    };
}

caught! {
    generation_not_kept: GenerationNotKept in 0,
    commit_not_written: CommitNotWritten in 0,
    epoch_not_incremented: EpochNotIncremented in 0,
    any_head_proves: AnyHeadProves in 0,
    last_delta_skipped: LastDeltaSkipped in 0,
    stop_not_awaited: StopNotAwaited in 0,
    old_stop_believed: OldStopBelieved in 0,
    target_started_by_abort: TargetStartedByAbort in 0,
    source_left_stopped: SourceLeftStopped in 0,
    hold_not_ended: HoldNotEnded in 0,
    snapshot_name_reused: SnapshotNameReused in 0,
    tasks_not_given_again: TasksNotGivenAgain in 0,
    report_said_once: ReportSaidOnce in 0,
    old_holder_kept: OldHolderKept in 0,
    demoted_at_wrong_head: DemotedAtWrongHead in 0,
    started_unconfirmed: StartedUnconfirmed in 0,
    exit_ignored: ExitIgnored in 3,
    common_base_pruned: CommonBasePruned in 6,
    volume_goes_with_service: VolumeGoesWithService in 8,
}
