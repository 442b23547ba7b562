//! Shrinks a failing run to the fewest actions with which the same promise is still broken.

use crate::run::run;
use crate::scenario::{Scenario, Timed};
use crate::trace::Story;

/// A scenario that breaks this promise, with as few actions as can be found, and how many runs that took.
pub fn minimize(scenario: Scenario, checker: &str) -> (Scenario, u64) {
    let mut runs = 0;
    let mut best = scenario;
    let mut fails = |actions: Vec<Timed>, shape: &Scenario| -> Option<Scenario> {
        runs += 1;
        let mut smaller = shape.clone();
        smaller.actions = actions;
        let outcome = run(smaller.clone(), Story::Silent);
        let same = outcome
            .violation
            .is_some_and(|violation| violation.checker == checker);
        same.then_some(smaller)
    };
    let mut piece = best.actions.len().div_ceil(2).max(1);
    loop {
        let mut shrunk = false;
        let mut start = 0;
        while start < best.actions.len() {
            let mut fewer = best.actions.clone();
            fewer.drain(start..(start + piece).min(best.actions.len()));
            match fails(fewer, &best) {
                Some(smaller) => {
                    best = smaller;
                    shrunk = true;
                }
                None => start += piece,
            }
        }
        if piece == 1 && !shrunk {
            break;
        }
        piece = if shrunk { piece } else { piece.div_ceil(2) };
        piece = piece.min(best.actions.len().max(1));
    }
    for shape in simpler(&best) {
        let actions = shape.actions.clone();
        if let Some(smaller) = fails(actions, &shape) {
            best = smaller;
        }
    }
    (best, runs)
}

/// The same with fewer services, nodes and clients.
fn simpler(scenario: &Scenario) -> Vec<Scenario> {
    let mut shapes = Vec::new();
    let mut quiet = scenario.clone();
    quiet.clients_us = (0, 0);
    shapes.push(quiet);
    for nodes in 2..scenario.nodes {
        let mut fewer = scenario.clone();
        fewer.nodes = nodes;
        shapes.push(fewer);
    }
    shapes.reverse();
    shapes
}
