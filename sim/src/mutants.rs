//! Shows that the simulator finds bugs: plants each of the core's named bugs, and runs seeds until a
//! checker objects.
//!
//! Compiled with the feature `mutants` only. A bug that stays hidden means that the simulator is too kind.

use crate::check::Violation;
use crate::draw::draw;
use crate::run::run;
use crate::trace::Story;
use flocker_core::mutant::{Mutant, plant};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// What came of planting a bug.
#[derive(Debug, Clone)]
pub struct Hunt {
    /// The bug.
    pub mutant: Mutant,
    /// Seeds that were run.
    pub seeds: u64,
    /// The seed that showed it, and the promise that it broke there.
    pub caught: Option<(u64, Violation)>,
}

/// Plants one bug and runs seeds until it shows, so many at the most.
pub fn hunt(mutant: Mutant, first_seed: u64, seeds_max: u64) -> Hunt {
    plant(Some(mutant));
    let mut hunt = Hunt {
        mutant,
        seeds: 0,
        caught: None,
    };
    for seed in first_seed..first_seed + seeds_max {
        hunt.seeds += 1;
        if let Some(violation) = run(draw(seed), Story::Silent).violation
            && shows_nothing_without(mutant, seed)
        {
            hunt.caught = Some((seed, violation));
            break;
        }
    }
    plant(None);
    hunt
}

/// What a seed shows without the bug is not the bug's.
fn shows_nothing_without(mutant: Mutant, seed: u64) -> bool {
    plant(None);
    let sound = run(draw(seed), Story::Silent).violation.is_none();
    plant(Some(mutant));
    sound
}

/// Every bug, on so many threads; `each` hears of every one when its hunt has ended.
pub fn hunt_all(
    mutants: &[Mutant],
    first_seed: u64,
    seeds_max: u64,
    threads: usize,
    each: impl Fn(&Hunt) + Sync,
) -> Vec<Hunt> {
    let next = AtomicUsize::new(0);
    let hunts = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                while let Some(mutant) = mutants.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let hunt = hunt(*mutant, first_seed, seeds_max);
                    each(&hunt);
                    if let Ok(mut hunts) = hunts.lock() {
                        hunts.push(hunt);
                    }
                }
            });
        }
    });
    let mut hunts = hunts.into_inner().unwrap_or_default();
    hunts.sort_by_key(|hunt| hunt.mutant);
    hunts
}
