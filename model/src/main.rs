//! `model`: explores the scenarios and shows what was seen. `model large` takes the large ones, too;
//! `model NUMBER [STATES]` one alone, as far as so many states, `model calm NUMBER` one way through it. Called by people and by `make model`.

#![expect(clippy::print_stdout, reason = "its output is what it is for")]

use flocker_model::{explore, scenario};
use std::process::ExitCode;
use std::time::Instant;

/// States of one scenario at the most; far more than the large ones have, and what memory allows.
const STATES_MAX: usize = 3_000_000;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut scenarios = scenario::small();
    let all = arguments.iter().any(|argument| argument == "large");
    let mut numbers = arguments
        .iter()
        .filter_map(|argument| argument.parse().ok());
    let chosen: Option<usize> = numbers.next();
    let states_max = numbers.next().unwrap_or(STATES_MAX);
    if all || chosen.is_some() {
        scenarios.extend(scenario::large());
    }
    let (mut states, mut failed) = (0, false);
    for (number, scenario) in scenarios.iter().enumerate() {
        if chosen.is_some_and(|chosen| chosen != number) {
            continue;
        }
        if arguments.iter().any(|argument| argument == "calm") {
            println!("{number:2} {}", scenario.name);
            let steps = flocker_model::calm(scenario);
            steps.iter().for_each(|step| println!("   {step}"));
            continue;
        }
        let began = Instant::now();
        let report = explore(scenario, states_max);
        println!(
            "{number:2} {}: {} states, {} transitions, depth {}, {} at rest, {} on their way at \
             once, {}+{} core steps, {:.1} s{}",
            scenario.name,
            report.states,
            report.transitions,
            report.depth,
            report.at_rest,
            report.in_flight_max,
            report.core_steps.0,
            report.core_steps.1,
            began.elapsed().as_secs_f64(),
            if report.complete { "" } else { " (not all)" },
        );
        for (index, step) in report.last.iter().enumerate() {
            println!("   {:3}. {step}", index + 1);
        }
        states += report.states;
        if let Some((violation, steps)) = report.broken {
            failed = true;
            println!("   {violation}; the shortest way:");
            for (index, step) in steps.iter().enumerate() {
                println!("   {:3}. {step}", index + 1);
            }
        }
    }
    println!("{states} states in all");
    ExitCode::from(u8::from(failed))
}
