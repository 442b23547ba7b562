//! Breadth first through every state: what is found first is found by the fewest steps.

use crate::action::{Action, enabled};
use crate::apply::apply;
use crate::check;
use crate::machine::Machine;
use crate::property::{Property, Violation, broken};
use crate::scenario::Scenario;
use crate::shared::Print;
use crate::state::State;
use crate::story::tell;
use std::collections::HashSet;

/// More steps than any run needs; one that is longer goes round for ever.
const DEPTH_MAX: u32 = 2_000;

/// What came of an exploration.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Different states.
    pub states: usize,
    /// Steps between them.
    pub transitions: usize,
    /// Steps to the farthest of them.
    pub depth: u32,
    /// States in which everything is at rest.
    pub at_rest: usize,
    /// Most messages, jobs and news on their way at once.
    pub in_flight_max: usize,
    /// Different steps of control's core, and of the agents'.
    pub core_steps: (usize, usize),
    /// The property that does not hold, and the shortest way there.
    pub broken: Option<(Violation, Vec<String>)>,
    /// Whether every state was seen; not, when the limit on their number came first.
    pub complete: bool,
    /// When not every state was seen: the way to the last one.
    pub last: Vec<String>,
}

/// One way through a scenario without a fault, told step by step.
pub fn calm(scenario: &Scenario) -> Vec<String> {
    let mut machine = Machine::default();
    let mut steps = Vec::new();
    let mut state = match scenario.start(&mut machine) {
        Ok(state) => state,
        Err(violation) => return vec![violation.to_string()],
    };
    while let Some(action) = enabled(&state, scenario).first().copied() {
        steps.push(tell(&state, action));
        match apply(&mut machine, scenario, &state, action) {
            Ok(Some(next)) => state = next,
            Ok(None) => break,
            Err(violation) => {
                steps.push(violation.to_string());
                break;
            }
        }
    }
    steps
}

/// Number of the state in which the exploration begins.
const FIRST: u32 = 0;

/// From which state one was reached first, and how.
#[derive(Clone, Copy)]
struct Origin {
    state: u32,
    action: Action,
}

struct Explorer<'a> {
    scenario: &'a Scenario,
    machine: Machine,
    start: State,
    /// The prints of all states that were found.
    known: HashSet<Print>,
    /// How each was found; the first was not.
    origins: Vec<Origin>,
    report: Report,
}

/// Explores a scenario: every state, but no more than so many.
pub fn explore(scenario: &Scenario, states_max: usize) -> Report {
    let mut machine = Machine::default();
    let start = match scenario.start(&mut machine) {
        Ok(start) => start,
        Err(violation) => {
            return Report {
                broken: Some((violation, vec!["before anything was asked".to_owned()])),
                ..Report::default()
            };
        }
    };
    let mut explorer = Explorer {
        scenario,
        machine,
        known: HashSet::from([start.print()]),
        start,
        origins: Vec::new(),
        report: Report::default(),
    };
    let broken = explorer.run(states_max);
    let steps = explorer.machine.steps();
    let story = broken.map(|(violation, at, action)| (violation, explorer.story(at, action)));
    let last = match explorer.report.complete || story.is_some() {
        true => Vec::new(),
        false => {
            let number = u32::try_from(explorer.origins.len()).unwrap_or(FIRST);
            explorer.story(number, None)
        }
    };
    Report {
        broken: story,
        last,
        states: explorer.known.len(),
        core_steps: steps,
        ..explorer.report
    }
}

type Breach = (Violation, u32, Option<Action>);

impl Explorer<'_> {
    /// One distance from the beginning after the other; only the states of two are kept.
    fn run(&mut self, states_max: usize) -> Option<Breach> {
        let mut layer = vec![(FIRST, self.start.clone())];
        while !layer.is_empty() {
            let mut next = Vec::new();
            for (number, state) in layer {
                if self.known.len() > states_max {
                    return None;
                }
                if let Err((violation, action)) = self.expand(number, &state, &mut next) {
                    return Some((violation, number, action));
                }
            }
            if self.report.depth > DEPTH_MAX {
                let what = "this goes on for ever";
                let violation = broken(Property::OperationEnds, what);
                return next.first().map(|(number, _)| (violation, *number, None));
            }
            self.report.depth += u32::from(!next.is_empty());
            layer = next;
        }
        self.report.complete = true;
        None
    }

    fn expand(
        &mut self,
        number: u32,
        state: &State,
        next: &mut Vec<(u32, State)>,
    ) -> Result<(), (Violation, Option<Action>)> {
        self.report.in_flight_max = self.report.in_flight_max.max(state.in_flight());
        let actions = enabled(state, self.scenario);
        let usual = actions.iter().filter(|action| !action.is_fault());
        let only_waits = usual.copied().eq([Action::Wait]);
        for action in actions {
            let after = apply(&mut self.machine, self.scenario, state, action);
            let Some(after) = after.map_err(|violation| (violation, Some(action)))? else {
                if only_waits && action == Action::Wait {
                    self.report.at_rest += 1;
                    check::at_rest(state, self.scenario).map_err(|violation| (violation, None))?;
                }
                continue;
            };
            self.report.transitions += 1;
            if !self.known.insert(after.print()) {
                continue;
            }
            check::always(&after).map_err(|violation| (violation, Some(action)))?;
            self.origins.push(Origin {
                state: number,
                action,
            });
            let found = u32::try_from(self.origins.len()).unwrap_or(u32::MAX);
            next.push((found, after));
        }
        Ok(())
    }

    /// The way to a state, and the step after it, for people.
    fn story(&mut self, mut at: u32, last: Option<Action>) -> Vec<String> {
        let mut actions = Vec::from_iter(last);
        while at != FIRST {
            let index = usize::try_from(at - 1).unwrap_or(0);
            let origin = self.origins[index];
            actions.push(origin.action);
            at = origin.state;
        }
        let mut state = self.start.clone();
        let mut steps = Vec::new();
        for action in actions.into_iter().rev() {
            steps.push(tell(&state, action));
            match apply(&mut self.machine, self.scenario, &state, action) {
                Ok(Some(next)) => state = next,
                Ok(None) | Err(_) => break,
            }
        }
        steps
    }
}
