//! A fixed set of runs, and that equal runs are equal.

use flocker_sim::draw::draw;
use flocker_sim::run::run;
use flocker_sim::sweep::sweep;
use flocker_sim::trace::Story;

/// Seeds that broke a promise since runs are drawn as they are now; see
/// `docs/decisions/0014-bugs-found-by-proof.md`. What earlier ones showed is held by the core's tests.
const REGRESSIONS: [u64; 7] = [4_239, 6_981, 7_799, 7_944, 8_325, 21_362, 45_411];

#[test]
fn the_same_seed_gives_the_same_bytes_in_any_order() {
    let trace = |seed: u64| {
        let outcome = run(draw(seed), Story::Told);
        (outcome.hash, outcome.steps, outcome.story)
    };
    let forth: Vec<_> = (1_000..1_012).map(trace).collect();
    let mut back: Vec<_> = (1_000..1_012).rev().map(trace).collect();
    back.reverse();
    assert_eq!(forth, back);
    let told = run(draw(1_000), Story::Told).hash;
    assert_eq!(
        told,
        run(draw(1_000), Story::Silent).hash,
        "telling changes nothing"
    );
}

#[test]
fn what_was_mended_stays_mended() {
    for seed in REGRESSIONS {
        let outcome = run(draw(seed), Story::Silent);
        assert_eq!(
            outcome.violation, None,
            "seed {seed}: sim --minimize --seed {seed}"
        );
    }
}

#[test]
fn a_fixed_set_of_seeds_breaks_no_promise() {
    let sweep = sweep(10_000..10_060, 2, 5, |_| {});
    assert_eq!(sweep.violations, Vec::new());
    assert!(
        sweep.counts.moves > 50,
        "the runs are not idle: {:?}",
        sweep.counts
    );
}
