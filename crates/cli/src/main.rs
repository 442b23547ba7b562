//! `flocker`: every role and every command in one program.
//!
//! Reads the arguments, runs the command, reports its failure, and turns the result into an exit code:
//! 0 when it did what was asked, 1 when not, 2 when the arguments make no sense. What commands do is in
//! [`commands`]. Called as `flocker-deploy` it is that command of Flocker 0.1 to 0.4.

mod bundle;
mod commands;
mod context;
mod failure;
mod follow;
mod manifests;
mod names;
mod node_file;
mod output;
mod quantity;
mod role;
mod server;
mod units;

use clap::Parser;
use commands::Cli;
use failure::Failure;
use std::path::Path;
use std::process::ExitCode;

const _: () = assert!(
    !flocker_core::mutant::COMPILED_IN,
    "the simulator's named bugs are never compiled into the product: build it without the feature `mutants`"
);

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let called = arguments.next().unwrap_or_default();
    let called = Path::new(&called).file_name().unwrap_or_default();
    let result = if called == commands::flocker_deploy::NAME {
        commands::flocker_deploy::run(arguments.collect())
    } else {
        // Ends the process by itself on --help (0) and on arguments that make no sense (2).
        commands::run(Cli::parse())
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Told(told)) => {
            output::failure(&told);
            ExitCode::FAILURE
        }
        Err(Failure::Shown) => ExitCode::FAILURE,
        Err(Failure::ReaderGone) => ExitCode::SUCCESS,
    }
}
