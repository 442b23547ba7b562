//! How long a step will take and how long clients will wait, before anything is measured in it.

use crate::cluster::{Learned, State};
use flocker_types::operation::{OperationKind, Prediction};
use flocker_types::plan::PlanStep;

/// Time to stop a container of which nothing is known, in milliseconds.
const STOP_GUESS_MS: u64 = 300;
/// Time from a start to readiness of which nothing is known, in milliseconds.
const START_GUESS_MS: u64 = 700;
/// A last delta of which nothing is known, in milliseconds.
const DELTA_GUESS_MS: u64 = 60;
/// A copy's rate of which nothing is known, in bytes per second: what `btrfs receive` writes on one
/// core (measured: 325 to 460 MB/s; half of it assumed).
const COPY_GUESS_BYTES_PER_SECOND: u64 = 150_000_000;

/// Fills in what will be copied, how long it takes, and the pause.
pub fn estimate(state: &State, step: &mut PlanStep) {
    let learned = state
        .services
        .get(&step.service)
        .map(|s| s.learned)
        .unwrap_or_default();
    let moves_data = step.target.is_some() && step.source.is_some() && step.source != step.target;
    if moves_data {
        step.copy_bytes = step
            .volumes
            .iter()
            .filter_map(|planned| state.volumes.get(&planned.id?))
            .map(|volume| {
                let common = step
                    .target
                    .and_then(|target| volume.copies.get(&target))
                    .is_some();
                // With a copy on the target a delta is enough; how large, nobody knows yet.
                if common {
                    volume.used_bytes() / 20
                } else {
                    volume.used_bytes()
                }
            })
            .sum();
        let rate = learned
            .copy_bytes_per_second
            .unwrap_or(COPY_GUESS_BYTES_PER_SECOND)
            .max(1);
        step.copy_ms = step.copy_bytes.saturating_mul(1_000) / rate;
    }
    step.pause = match step.kind {
        OperationKind::Move => Some(Prediction {
            delta_ms: if step.volumes.is_empty() {
                0
            } else {
                delta_ms(&learned)
            },
            ..stop_and_start(&learned)
        }),
        OperationKind::Replace => Some(stop_and_start(&learned)),
        OperationKind::Start | OperationKind::Remove => None,
    };
}

/// A service's last delta at a guess, in milliseconds.
pub(crate) fn delta_ms(learned: &Learned) -> u64 {
    learned.delta_ms.unwrap_or(DELTA_GUESS_MS)
}

/// The parts of the pause that are not copying.
pub(crate) fn stop_and_start(learned: &Learned) -> Prediction {
    Prediction {
        stop_ms: learned.stop_ms.unwrap_or(STOP_GUESS_MS),
        delta_ms: 0,
        start_ms: learned.start_ms.unwrap_or(START_GUESS_MS),
    }
}
