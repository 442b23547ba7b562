//! Many runs, on all cores, each in one thread.

use crate::check::{Counts, Violation};
use crate::draw::draw;
use crate::run::{Outcome, run};
use crate::trace::Story;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// What came of a sweep.
#[derive(Debug, Default)]
pub struct Sweep {
    /// Runs.
    pub runs: u64,
    /// Events in all of them.
    pub steps: u64,
    /// Simulated time of all of them, in milliseconds.
    pub simulated_ms: u64,
    /// What happened in them.
    pub counts: Counts,
    /// Seeds that broke a promise, in their order.
    pub violations: Vec<(u64, Violation)>,
}

impl Sweep {
    fn take(&mut self, outcome: Outcome) {
        self.runs += 1;
        self.steps += outcome.steps;
        self.simulated_ms += outcome.ended_ms;
        self.counts.add(outcome.counts);
        if let Some(violation) = outcome.violation {
            self.violations.push((outcome.seed, violation));
        }
    }
}

/// Runs every seed; stops early when so many have failed. `each` hears of every run that ended.
pub fn sweep(
    seeds: Range<u64>,
    threads: usize,
    violations_max: usize,
    each: impl Fn(&Sweep) + Sync,
) -> Sweep {
    let next = AtomicU64::new(seeds.start);
    let sweep = Mutex::new(Sweep::default());
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return;
            }
            let outcome = run(draw(seed), Story::Silent);
            // A thread that panicked would have ended the program.
            let Ok(mut sweep) = sweep.lock() else { return };
            sweep.take(outcome);
            each(&sweep);
            if sweep.violations.len() >= violations_max {
                next.store(seeds.end, Ordering::Relaxed);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(work);
        }
    });
    let mut sweep = sweep.into_inner().unwrap_or_default();
    sweep.violations.sort_by_key(|(seed, _)| *seed);
    sweep
}
