//! `sim`: runs the simulator, and shows what came of it. See `docs/simulator.md`.
//!
//! It decides nothing; everything it shows comes from the library.
#![expect(clippy::print_stdout, reason = "it is a command")]

use clap::Parser;
use flocker_sim::draw::draw;
use flocker_sim::minimize::minimize;
use flocker_sim::run::{Outcome, run};
use flocker_sim::sweep::{Sweep, sweep};
use flocker_sim::trace::Story;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Runs whole clusters of the real decisions in a simulated world.
#[derive(Debug, Parser)]
#[command(name = "sim")]
struct Arguments {
    /// Run one seed and tell its story.
    #[arg(long)]
    seed: Option<u64>,
    /// Run many seeds: `A..B`, B not included.
    #[arg(long, value_parser = range)]
    seeds: Option<(u64, u64)>,
    /// With --seed: shrink the run, if it fails, to the fewest faults and orders, and tell that story.
    #[arg(long, requires = "seed")]
    minimize: bool,
    /// Plant every known bug, one after the other, and show that each is found.
    #[arg(long)]
    mutants: bool,
    /// Plant this bug, by its name (with --seed).
    #[arg(long, requires = "seed")]
    mutant: Option<String>,
    /// With --mutants: seeds tried for each bug at the most.
    #[arg(long, default_value_t = 2_000)]
    seeds_max: u64,
    /// Threads.
    #[arg(long)]
    threads: Option<usize>,
    /// Stop after so many failures.
    #[arg(long, default_value_t = 10)]
    failures_max: usize,
}

fn range(text: &str) -> Result<(u64, u64), String> {
    let wrong = || format!("{text} is no range of seeds; write it as 0..1000");
    let (from, to) = text.split_once("..").ok_or_else(wrong)?;
    let number = |part: &str| part.parse::<u64>().map_err(|_| wrong());
    Ok((number(from)?, number(to)?))
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // Panics of the core are violations like others, and are told as such.
    std::panic::set_hook(Box::new(|_| {}));
    let threads = arguments
        .threads
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, std::num::NonZero::get));
    if arguments.mutants {
        return bugs::find(threads, arguments.seeds_max);
    }
    if let Some(name) = &arguments.mutant
        && let Err(unknown) = bugs::plant(name)
    {
        println!("{unknown}");
        return ExitCode::FAILURE;
    }
    if let Some(seed) = arguments.seed {
        return if arguments.minimize {
            shrink(seed)
        } else {
            tell(&run(draw(seed), Story::Told))
        };
    }
    let (from, to) = arguments.seeds.unwrap_or((0, 1_000));
    many(from, to, threads, arguments.failures_max)
}

#[cfg(feature = "mutants")]
mod bugs {
    //! Planting the core's named bugs.

    use flocker_core::mutant::Mutant;
    use flocker_sim::mutants::{Hunt, hunt_all};
    use std::process::ExitCode;

    pub(crate) fn plant(name: &str) -> Result<(), String> {
        let named = Mutant::ALL.iter().find(|mutant| mutant.name() == name);
        let mutant = named.ok_or_else(|| format!("there is no mutant {name}"))?;
        flocker_core::mutant::plant(Some(*mutant));
        Ok(())
    }

    pub(crate) fn find(threads: usize, seeds_max: u64) -> ExitCode {
        let show = |hunt: &Hunt| {
            let name = hunt.mutant.name();
            match &hunt.caught {
                Some((seed, violation)) => println!(
                    "{name:<28} caught by \"{}\", seed {seed}, {} seeds",
                    violation.checker, hunt.seeds
                ),
                None => println!("{name:<28} NOT CAUGHT in {} seeds", hunt.seeds),
            }
        };
        let hunts = hunt_all(Mutant::ALL, 0, seeds_max, threads, show);
        let caught = hunts.iter().filter(|hunt| hunt.caught.is_some()).count();
        println!("{caught} of {} mutants caught", hunts.len());
        if caught == hunts.len() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}

#[cfg(not(feature = "mutants"))]
mod bugs {
    //! This build cannot plant bugs.

    use std::process::ExitCode;

    const HOW: &str = "build with them: cargo run -p flocker-sim --features mutants -- --mutants";

    pub(crate) fn plant(_: &str) -> Result<(), String> {
        Err(format!("this build has no mutants; {HOW}"))
    }

    pub(crate) fn find(_: usize, _: u64) -> ExitCode {
        println!("this build has no mutants; {HOW}");
        ExitCode::FAILURE
    }
}

fn tell(outcome: &Outcome) -> ExitCode {
    for line in &outcome.story {
        println!("{line}");
    }
    println!(
        "seed {}: {} events, {} s simulated, {:?}, trace {:016x}",
        outcome.seed,
        outcome.steps,
        outcome.ended_ms / 1_000,
        outcome.counts,
        outcome.hash
    );
    match &outcome.violation {
        None => {
            println!("no violation");
            ExitCode::SUCCESS
        }
        Some(violation) => {
            println!("VIOLATION of {}: {}", violation.checker, violation.message);
            ExitCode::FAILURE
        }
    }
}

fn shrink(seed: u64) -> ExitCode {
    let scenario = draw(seed);
    let Some(violation) = run(scenario.clone(), Story::Silent).violation else {
        println!("seed {seed} breaks nothing");
        return ExitCode::SUCCESS;
    };
    let before = scenario.actions.len();
    let (small, runs) = minimize(scenario, violation.checker);
    let outcome = run(small.clone(), Story::Told);
    println!(
        "seed {seed}: {before} orders and faults shrunk to {} in {runs} runs; {} nodes",
        small.actions.len(),
        small.nodes
    );
    tell(&outcome)
}

fn many(from: u64, to: u64, threads: usize, failures_max: usize) -> ExitCode {
    let began = Instant::now();
    let told = AtomicUsize::new(0);
    let progress = |sweep: &Sweep| {
        let known = told.swap(sweep.violations.len(), Ordering::Relaxed);
        for (seed, violation) in sweep.violations.iter().skip(known) {
            println!("seed {seed}: {}: {}", violation.checker, violation.message);
        }
        if sweep.runs.is_multiple_of(5_000) {
            let rate = rate(sweep.runs, began);
            println!(
                "{} runs, {rate} a second, {} violations",
                sweep.runs,
                sweep.violations.len()
            );
        }
    };
    let sweep = sweep(from..to, threads, failures_max, progress);
    println!(
        "{} runs in {} s ({} a second, {} threads): {} events, {} h simulated",
        sweep.runs,
        began.elapsed().as_secs(),
        rate(sweep.runs, began),
        threads,
        sweep.steps,
        sweep.simulated_ms / 3_600_000
    );
    let counts = sweep.counts;
    println!(
        "{} operations ended ({} of them failed), {} starts, {} changes of holder, {} records acknowledged",
        counts.operations, counts.failed, counts.starts, counts.moves, counts.acked
    );
    for (seed, violation) in &sweep.violations {
        println!(
            "VIOLATION of {} after {} ms: {}",
            violation.checker, violation.at_ms, violation.message
        );
        println!("  cargo run --profile sim -p flocker-sim -- --minimize --seed {seed}");
    }
    println!("{} violations", sweep.violations.len());
    if sweep.violations.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn rate(runs: u64, began: Instant) -> u128 {
    u128::from(runs) * 1_000 / began.elapsed().as_millis().max(1)
}
