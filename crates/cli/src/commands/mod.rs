//! The commands, one module each, and the choice among them.
//!
//! Each module has the command's arguments and what it does. Commands print by [`crate::output`] only.

mod agent;
mod audit;
mod authority;
mod check;
mod completions;
mod context;
mod control;
mod control_backup;
mod deploy;
mod doctor;
mod events;
pub(crate) mod flocker_deploy;
mod init;
mod join;
mod logs;
mod manual;
mod move_service;
mod node;
mod operation;
mod proxy;
mod ps;
mod recover;
mod rm;
mod sandbox;
mod status;
mod token;
mod user;
mod version;
mod volume;

use crate::context::{CONTEXT_VARIABLE, Context, Contexts};
use crate::failure::Failure;
use clap::{ArgAction, Args, Parser, Subcommand};
use std::future::Future;

/// Containers and their data, moved between servers as one thing.
#[derive(Debug, Parser)]
#[command(
    name = "flocker",
    version,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    max_term_width = 100,
    after_help = "Try it on this machine, without any other server:
  sudo flocker sandbox up

Begin on real servers:
  sudo flocker init                      on the first one
  flocker token                          prints what lets another server in
  sudo flocker join ADDRESS --token T    on each of the others"
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,

    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Debug, Default, Args)]
pub(crate) struct Global {
    /// The cluster to talk to, by the name of its context [default: $FLOCKER_CONTEXT, else the
    /// current one]
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        help_heading = "Global options"
    )]
    pub(crate) context: Option<String>,
}

impl Global {
    /// The context that was asked for, if any.
    pub(crate) fn asked(&self) -> Option<String> {
        let variable = || std::env::var(CONTEXT_VARIABLE).ok();
        let asked = self.context.clone().or_else(variable);
        asked.filter(|name| !name.is_empty())
    }

    /// The context to use.
    pub(crate) fn open(&self) -> Result<Context, Failure> {
        Contexts::of_user()?.open(self.asked().as_deref())
    }
}

/// How a command answers.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Format {
    /// Print JSON, as the API has it
    #[arg(long, action = ArgAction::SetTrue)]
    pub(crate) json: bool,
}

/// Everything that can be asked for.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    // What people use daily.
    Deploy(deploy::Deploy),
    Check(check::Check),
    Status(status::Status),
    Ps(ps::Ps),
    Move(move_service::Move),
    Rm(rm::Rm),
    Logs(logs::Logs),
    Volume(volume::Volume),
    Node(node::Node),
    Events(events::Events),
    Operation(operation::Operation),
    // The cluster itself.
    Init(init::Init),
    Token(token::Token),
    Join(join::Join),
    User(user::User),
    Audit(audit::Audit),
    Authority(authority::Authority),
    Context(context::ContextCommand),
    Sandbox(sandbox::Sandbox),
    Recover(recover::Recover),
    Doctor(doctor::Doctor),
    // The roles.
    Control(control::Control),
    Agent(agent::Agent),
    Proxy(proxy::Proxy),
    Version(version::Version),
    Completions(completions::Completions),
    Manual(manual::Manual),
}

/// Runs a command.
pub(crate) fn run(cli: Cli) -> Result<(), Failure> {
    let global = &cli.global;
    match cli.command {
        Command::Deploy(command) => wait_for(command.run(global)),
        Command::Check(command) => command.run(),
        Command::Status(command) => wait_for(command.run(global)),
        Command::Ps(command) => wait_for(command.run(global)),
        Command::Move(command) => wait_for(command.run(global)),
        Command::Rm(command) => wait_for(command.run(global)),
        Command::Logs(command) => wait_for(command.run(global)),
        Command::Volume(command) => wait_for(command.run(global)),
        Command::Node(command) => wait_for(command.run(global)),
        Command::Events(command) => wait_for(command.run(global)),
        Command::Operation(command) => wait_for(command.run(global)),
        Command::Init(command) => wait_for(command.run(global)),
        Command::Token(command) => wait_for(command.run(global)),
        Command::Join(command) => wait_for(command.run()),
        Command::User(command) => wait_for(command.run(global)),
        Command::Audit(command) => wait_for(command.run(global)),
        Command::Authority(command) => wait_for(command.run(global)),
        Command::Context(command) => command.run(global),
        Command::Sandbox(command) => wait_for(command.run()),
        Command::Recover(command) => wait_for(command.run()),
        Command::Doctor(command) => wait_for(command.run(global)),
        Command::Control(command) => command.run(global),
        Command::Agent(command) => command.run(),
        Command::Proxy(command) => command.run(),
        Command::Version(command) => command.run(),
        Command::Completions(command) => command.run(),
        Command::Manual(command) => command.run(),
    }
}

/// Runs a command that waits for answers.
pub(crate) fn wait_for(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::because("cannot start the command", &error))?;
    runtime.block_on(command)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_contradict_nothing() {
        Cli::command().debug_assert();
    }
}
