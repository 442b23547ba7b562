//! When copying is enough: what the next delta will take, and whether another round would help.
//!
//! Time is predicted from time, not from bytes: a megabyte of scattered pages costs many times a
//! megabyte of appended ones, and an application keeps to its pattern from round to round. If in
//! the last round it took `d` ms to copy what was written in `a` ms, then what is written in the next
//! `a'` ms takes about `d / a * a'`.

use crate::cluster::Learned;
use crate::plan::{delta_ms, stop_and_start};
use flocker_types::operation::{Prediction, Round};

/// Rounds of copying before the last delta, at most.
const ROUNDS_MAX: usize = 12;
/// A delta that takes this long is short enough not to try for a shorter one, in milliseconds:
/// starting the filesystem's commands takes about as long.
const SHORT_DELTA_MS: u64 = 40;
/// Another round has to promise this part of the present delta, in per cent, to be worth it.
const WORTHWHILE_PER_CENT: u64 = 75;

/// What to do after the rounds so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// Another round.
    Again,
    /// Stop the service now; this is what to expect.
    Enough(Prediction),
    /// More rounds do not help and the pause will be longer than the budget.
    TooSlow(Prediction),
}

/// What the pause will be if the service is stopped after these rounds.
pub(super) fn predict(rounds: &[Round], learned: &Learned) -> Prediction {
    let mut prediction = stop_and_start(learned);
    prediction.delta_ms = match rounds {
        [] => delta_ms(learned),
        // Only a full copy so far: a delta is not known, but it gathers for as long as that took.
        [.., last] if last.full => delta_ms(learned).max(last.milliseconds / 10),
        [.., before, last] => {
            let gathered_ms = before.milliseconds.max(1);
            let will_gather_ms = last.milliseconds;
            let scaled = last.milliseconds.saturating_mul(will_gather_ms) / gathered_ms;
            scaled.max(last.milliseconds.min(SHORT_DELTA_MS) / 2).max(1)
        }
        [only] => only.milliseconds,
    };
    prediction
}

/// Whether the rounds so far are enough for the budget, in milliseconds.
pub(super) fn decide(rounds: &[Round], learned: &Learned, budget_ms: u64) -> Pace {
    let Some(last) = rounds.last() else {
        return Pace::Again;
    };
    let prediction = predict(rounds, learned);
    if last.full && rounds.len() < ROUNDS_MAX {
        return Pace::Again;
    }
    let shrinks = prediction.delta_ms.saturating_mul(100)
        < last.milliseconds.saturating_mul(WORTHWHILE_PER_CENT);
    let worth_it = last.milliseconds > SHORT_DELTA_MS && shrinks;
    if worth_it && rounds.len() < ROUNDS_MAX {
        return Pace::Again;
    }
    if prediction.pause_ms() <= budget_ms {
        Pace::Enough(prediction)
    } else {
        Pace::TooSlow(prediction)
    }
}

/// The mean of what was known and a new value.
pub(super) fn mean(old: Option<u64>, new: u64) -> u64 {
    old.map_or(new, |old| old.midpoint(new))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(milliseconds: u64, full: bool) -> Round {
        Round {
            bytes: 1,
            wire_bytes: 1,
            milliseconds,
            full,
            predicted_pause_ms: 0,
        }
    }

    #[test]
    fn a_full_copy_is_always_followed_by_a_delta() {
        let rounds = [round(3_000, true)];
        assert_eq!(decide(&rounds, &Learned::default(), 60_000), Pace::Again);
    }

    #[test]
    fn rounds_go_on_while_they_shrink() {
        let learned = Learned::default();
        let mut rounds = vec![round(3_000, true), round(600, false)];
        assert_eq!(predict(&rounds, &learned).delta_ms, 120);
        assert_eq!(decide(&rounds, &learned, 60_000), Pace::Again);
        rounds.push(round(120, false));
        assert_eq!(decide(&rounds, &learned, 60_000), Pace::Again);
        rounds.push(round(30, false));
        assert!(matches!(decide(&rounds, &learned, 60_000), Pace::Enough(_)));
    }

    #[test]
    fn a_delta_that_does_not_shrink_ends_the_copy() {
        let rounds = [round(3_000, true), round(2_900, false), round(2_950, false)];
        assert!(matches!(
            decide(&rounds, &Learned::default(), 2_000),
            Pace::TooSlow(_)
        ));
        assert!(matches!(
            decide(&rounds, &Learned::default(), 9_000),
            Pace::Enough(_)
        ));
    }
}
