//! One run: the scenario happens, then everything that was wrong is put right, and the cluster has to
//! heal completely within a stated time.

use crate::check::{Counts, Violation, recovered};
use crate::event::What;
use crate::healing;
use crate::scenario::{Action, Scenario};
use crate::store::Store;
use crate::trace::Story;
use crate::world::World;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// After the last fault every operation ends within this, in milliseconds. The longest wait of an
/// operation is the ten minutes for a service that it depends on.
pub const OPERATIONS_END_MS: u64 = 1_000_000;
/// What was stopped with its machine or its engine runs again within this, in milliseconds.
pub const RESTARTED_MS: u64 = 120_000;
/// After that, and after somebody has deployed again what should run, the cluster is whole within
/// this, in milliseconds.
pub const HEALED_MS: u64 = 300_000;
/// When nothing happens any more, control knows within this all that the nodes know, in milliseconds:
/// a chore that failed is tried again after half a minute.
const QUIET_MS: u64 = 120_000;
/// After control's store was made again the cluster is watched this long, in microseconds.
const AFTER_RECOVERY_US: u64 = 20_000_000;
/// How often it is looked whether it is, in microseconds.
const LOOK_US: u64 = 500_000;
/// A run handles at most so many events: more mean that something turns round and round.
const STEPS_MAX: u64 = 3_000_000;

/// What came of a run.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Its seed.
    pub seed: u64,
    /// The promise that was broken, if one was.
    pub violation: Option<Violation>,
    /// A number that equal runs have in common.
    pub hash: u64,
    /// Events that were handled.
    pub steps: u64,
    /// Simulated time, in milliseconds.
    pub ended_ms: u64,
    /// What happened in it.
    pub counts: Counts,
    /// The story, if it was told.
    pub story: Vec<String>,
}

/// Runs a scenario to its end, or to the first violation.
pub fn run(scenario: Scenario, story: Story) -> Outcome {
    let seed = scenario.seed;
    let mut world = World::new(scenario, story);
    let ran = catch_unwind(AssertUnwindSafe(|| world.play()));
    if let Err(panic) = ran {
        let text = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("it panicked");
        let now = world.now_us;
        world
            .checks
            .note(now, "assertions of the core", Err(text.to_owned()));
    }
    if let Some(violation) = world.checks.violation.clone() {
        let now = world.now_us;
        world.trace.say(now, || {
            format!("VIOLATION of {}: {}", violation.checker, violation.message)
        });
    }
    Outcome {
        seed,
        violation: world.checks.violation.take(),
        hash: world.trace.hash(),
        steps: world.steps,
        ended_ms: world.now_us / 1_000,
        counts: world.checks.counts,
        story: world.trace.lines().to_vec(),
    }
}

impl World {
    fn play(&mut self) {
        let begins = self.now_us;
        let faults = |action: &Action| matches!(action, Action::Fault(_));
        self.checks.operations.calm = !self.scenario.rebellious_proxies
            && !self
                .scenario
                .actions
                .iter()
                .any(|timed| faults(&timed.action));
        let stops =
            |action: &Action| matches!(action, Action::Fault(fault) if fault.stops_containers());
        let actions = &self.scenario.actions;
        self.checks.operations.undisturbed = !actions.iter().any(|timed| stops(&timed.action));
        for (index, timed) in self.scenario.actions.iter().enumerate() {
            self.queue
                .push(begins + timed.at_ms * 1_000, What::Action(index));
        }
        if self.scenario.clients_us.1 > 0 {
            for index in 0..self.scenario.services.len() {
                let (id, every) = (self.scenario.services[index].id(), self.scenario.clients_us);
                self.add_client(id, every);
            }
        }
        let end = begins + self.scenario.faults_end_ms * 1_000 + 1;
        self.go_on_until(end);
        self.trace.say(self.now_us, || {
            "everything that was wrong is put right".to_owned()
        });
        if !self.wait_for(
            OPERATIONS_END_MS,
            "every operation ends",
            healing::operations_ended,
        ) {
            return;
        }
        self.go_on_until(self.now_us + 5_000_000);
        // What a machine's or an engine's end has stopped is started again without being asked for.
        let by_itself = self.checks.counts.failed == 0
            && !self.scenario.actions.iter().any(
                |timed| matches!(&timed.action, Action::Fault(fault) if fault.hinders_starts()),
            );
        if by_itself && !self.wait_for(RESTARTED_MS, "the cluster heals", healing::services_run) {
            return;
        }
        self.redeploy();
        if !self.wait_for(HEALED_MS, "the cluster heals", healing::healed) {
            return;
        }
        self.clients.stopped = true;
        self.go_on_until(self.now_us + 5_000_000);
        let now = self.now_us;
        let verdict = healing::everything_is_there(self);
        self.checks
            .note(now, "every acknowledged record is there", verdict);
        let verdict = healing::told(self);
        self.checks.note(now, "every request is answered", verdict);
        let verdict = healing::labels(self);
        self.checks.note(now, "data-outlives-control", verdict);
        self.lose_store();
    }

    /// Control's store is gone. What the nodes remember makes it again; everything runs on, and no
    /// container notices.
    fn lose_store(&mut self) {
        let promise = "the rebuilt state is the lost one";
        let same = |world: &World| recovered::rebuilt(&world.nodes, &world.control.store).map(drop);
        if !self.wait_for(QUIET_MS, promise, same) {
            return;
        }
        let Ok(state) = recovered::rebuilt(&self.nodes, &self.control.store) else {
            return;
        };
        self.trace.say(self.now_us, || {
            "control's store is lost, and made again from the nodes".to_owned()
        });
        self.end_control_process();
        self.control.store = Store::rebuilt(&state);
        let starts = self.checks.counts.starts;
        self.after(0, What::ControlStart);
        self.go_on_until(self.now_us + AFTER_RECOVERY_US);
        if !self.wait_for(HEALED_MS, "the recovered cluster is whole", healing::healed) {
            return;
        }
        let now = self.now_us;
        let again = self.checks.counts.starts - starts;
        let verdict = if again == 0 {
            healing::everything_is_there(self)
        } else {
            Err(format!(
                "{again} containers were started after the recovery"
            ))
        };
        self.checks.note(now, "data-outlives-control", verdict);
    }

    fn over(&mut self) -> bool {
        if self.steps > STEPS_MAX {
            let now = self.now_us;
            let text = format!("{STEPS_MAX} events and no end");
            self.checks.note(now, "no busy loop", Err(text));
        }
        self.checks.violation.is_some()
    }

    fn go_on_until(&mut self, end_us: u64) {
        while !self.over() && self.queue.next_us().is_some_and(|next| next < end_us) {
            self.step();
        }
        if !self.over() {
            self.now_us = self.now_us.max(end_us);
        }
    }

    /// False when it took too long, or something else went wrong.
    fn wait_for(
        &mut self,
        limit_ms: u64,
        promise: &'static str,
        is_so: fn(&World) -> Result<(), String>,
    ) -> bool {
        let end = self.now_us + limit_ms * 1_000;
        loop {
            if self.over() {
                return false;
            }
            let Err(missing) = is_so(self) else {
                return true;
            };
            if self.now_us >= end {
                let now = self.now_us;
                let text = format!("not within {limit_ms} ms: {missing}");
                self.checks.note(now, promise, Err(text));
                return false;
            }
            self.go_on_until(self.now_us + LOOK_US);
        }
    }
}
