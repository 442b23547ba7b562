//! `flocker sandbox`: a whole cluster on one machine, to try things and to break them.
//!
//! Arguments and words only; the sandbox itself is the testkit's.

use super::Format;
use crate::context;
use crate::failure::Failure;
use crate::output::table::Table;
use crate::output::{self, Style};
use crate::quantity::{bytes, parse_size};
use clap::{Args, Subcommand, ValueEnum};
use flocker_testkit::sandbox::{
    Sandbox as Cluster, SandboxName, SandboxRecord, SandboxSpec, Target,
};
use flocker_types::volume::StorageKind;
use nix::sys::signal::Signal;
use std::path::PathBuf;
use std::time::Instant;

/// Make a cluster on this machine, to try Flocker and to break it
///
/// Every node is a network namespace with an address, a Docker engine and a pool of its own. Needs root.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sudo flocker sandbox up
  sudo flocker sandbox shell n1
  sudo flocker sandbox kill n1 control
  sudo flocker sandbox cut n1 n2
  sudo flocker sandbox heal n1
  sudo flocker sandbox down")]
pub(crate) struct Sandbox {
    #[command(subcommand)]
    command: Action,
}

/// Which sandbox is meant.
#[derive(Debug, Args)]
struct Which {
    /// The sandbox
    #[arg(long, value_name = "NAME", default_value = "sandbox")]
    name: SandboxName,
}

/// What pools are made of.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Storage {
    Btrfs,
    Zfs,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a sandbox with a cluster that is ready
    #[command(after_help = "Example:\n  sudo flocker sandbox up --nodes 5 --storage zfs")]
    Up {
        #[command(flatten)]
        which: Which,

        /// How many nodes: n1, n2 ...
        #[arg(long, value_name = "N", default_value_t = 3)]
        nodes: u8,

        /// What its pools are made of
        #[arg(long, value_enum, default_value = "btrfs")]
        storage: Storage,

        /// How large each node's pool may grow
        #[arg(long, value_name = "SIZE", default_value = "4G", value_parser = parse_size)]
        pool_size: u64,
    },
    /// Remove a sandbox with all its data, also one that was left behind half-made
    #[command(
        after_help = "Examples:\n  sudo flocker sandbox down\n  sudo flocker sandbox down --all"
    )]
    Down {
        /// The sandbox
        #[arg(value_name = "NAME", default_value = "sandbox", conflicts_with = "all")]
        name: SandboxName,

        /// Every sandbox on this machine
        #[arg(long)]
        all: bool,
    },
    /// List the sandboxes on this machine
    #[command(after_help = "Example:\n  flocker sandbox list")]
    List(Format),
    /// Open a shell on a node
    #[command(after_help = "Example:\n  sudo flocker sandbox shell n1")]
    Shell {
        /// The node
        node: String,

        #[command(flatten)]
        which: Which,
    },
    /// Kill processes of a node, as a crash would
    #[command(after_help = "Example:\n  sudo flocker sandbox kill n1 control")]
    Kill {
        /// The node
        node: String,

        /// control, agent, proxy, docker or all
        #[arg(value_name = "ROLE", default_value = "all")]
        role: Target,

        #[command(flatten)]
        which: Which,
    },
    /// Start again what was killed on a node
    #[command(after_help = "Example:\n  sudo flocker sandbox start n1")]
    Start {
        /// The node
        node: String,

        #[command(flatten)]
        which: Which,
    },
    /// Cut a node's network, to one other node or to all
    #[command(
        after_help = "Examples:\n  sudo flocker sandbox cut n1\n  sudo flocker sandbox cut n1 n2"
    )]
    Cut {
        /// The node
        node: String,

        /// The other node; all when not given
        other: Option<String>,

        #[command(flatten)]
        which: Which,
    },
    /// Mend a node's network
    #[command(after_help = "Example:\n  sudo flocker sandbox heal n1")]
    Heal {
        /// The node
        node: String,

        #[command(flatten)]
        which: Which,
    },
}

impl Sandbox {
    /// Does it.
    pub(crate) async fn run(self) -> Result<(), Failure> {
        match self.command {
            Action::Up {
                which,
                nodes,
                storage,
                pool_size,
            } => {
                let storage = match storage {
                    Storage::Btrfs => StorageKind::Btrfs,
                    Storage::Zfs => StorageKind::Zfs,
                };
                up(SandboxSpec {
                    name: which.name,
                    nodes,
                    storage,
                    pool_bytes: pool_size,
                })
                .await
            }
            Action::Down { name, all } => down(name, all.then(Cluster::list)).await,
            Action::List(format) => list(format),
            Action::Shell { node, which } => shell(Cluster::open(&which.name)?.shell(&node)?),
            Action::Kill { node, role, which } => {
                let cluster = Cluster::open(&which.name)?;
                let hit = cluster.kill(&node, role, Signal::SIGKILL).await?;
                let names: Vec<&str> = hit
                    .into_iter()
                    .map(flocker_testkit::sandbox::Role::name)
                    .collect();
                match names.as_slice() {
                    [] => output::note(&format!("nothing of that ran on {node}")),
                    names => output::note(&format!("killed {} on {node}", names.join(", "))),
                }
                Ok(())
            }
            Action::Start { node, which } => start(&Cluster::open(&which.name)?, &node).await,
            Action::Cut { node, other, which } => {
                let cluster = Cluster::open(&which.name)?;
                match &other {
                    Some(other) => cluster.cut(&node, other).await?,
                    None => cluster.cut_all(&node).await?,
                }
                let from = other.unwrap_or_else(|| "everybody".to_owned());
                output::note(&format!(
                    "{node} and {from} do not hear each other any more"
                ));
                Ok(())
            }
            Action::Heal { node, which } => {
                Cluster::open(&which.name)?.heal(&node).await?;
                output::note(&format!("{node} hears everybody again"));
                Ok(())
            }
        }
    }
}

async fn up(spec: SandboxSpec) -> Result<(), Failure> {
    let began = Instant::now();
    let program = this_program()?;
    output::note(&format!(
        "making {} nodes with a Docker engine and a {} pool each",
        spec.nodes, spec.storage
    ));
    // A context of an earlier sandbox of this name leads nowhere.
    if Cluster::open(&spec.name).is_err() {
        context::forget(&format!("sandbox-{}", spec.name))?;
    }
    let sandbox = Cluster::up(&spec, &program).await?;
    let record = sandbox.record();
    output::note(&format!(
        "sandbox \"{}\" is ready after {}",
        record.name,
        crate::quantity::milliseconds(
            u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX)
        )
    ));
    for node in sandbox.nodes() {
        output::data(&format!("{}\t{}", node.name, node.address))?;
    }
    output::hint(&format!(
        "use it:    export FLOCKER_CONTEXT={}; flocker status\n      remove it: flocker sandbox \
         down {}",
        record.context(),
        record.name
    ));
    Ok(())
}

/// This program's file, as the sandbox's processes shall run it.
fn this_program() -> Result<PathBuf, Failure> {
    std::env::current_exe()
        .map_err(|error| Failure::because("cannot find this program's own file", &error))
}

async fn down(
    name: SandboxName,
    all: Option<Result<Vec<SandboxRecord>, flocker_testkit::sandbox::SandboxError>>,
) -> Result<(), Failure> {
    let names: Vec<SandboxName> = match all {
        Some(records) => records?.into_iter().map(|record| record.name).collect(),
        None => vec![name],
    };
    for name in names {
        Cluster::down(&name).await?;
        context::forget(&format!("sandbox-{name}"))?;
        output::note(&format!("removed sandbox \"{name}\""));
    }
    Ok(())
}

fn list(format: Format) -> Result<(), Failure> {
    let records = Cluster::list()?;
    if format.json {
        return output::json(&records);
    }
    let mut table = Table::new(&["NAME", "NODES", "ADDRESSES", "POOLS", "CONTEXT"]);
    for record in records {
        table.row(vec![
            record.name.to_string(),
            record.nodes.to_string(),
            record.subnet.to_string(),
            format!("{} {}", record.storage, bytes(record.pool_bytes)),
            record.context(),
        ]);
    }
    output::data(&table.render(Style::of_stdout()))
}

/// Lends the terminal to a shell.
fn shell(mut command: std::process::Command) -> Result<(), Failure> {
    // `flocker` shall be found there, and be this one.
    let own = this_program()?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let own = own.parent().map(std::path::Path::to_owned);
    let places = own.into_iter().chain(std::env::split_paths(&path));
    if let Ok(path) = std::env::join_paths(places) {
        command.env("PATH", path);
    }
    let status = command
        .status()
        .map_err(|error| Failure::because("the shell cannot be started", &error))?;
    // What was done in the shell has shown its own errors.
    match status.success() {
        true => Ok(()),
        false => Err(Failure::Shown),
    }
}

async fn start(cluster: &Cluster, node: &str) -> Result<(), Failure> {
    use flocker_testkit::sandbox::Role;
    let mut started = Vec::new();
    for role in [Role::Docker, Role::Control, Role::Agent, Role::Proxy] {
        let was_there = cluster.process(cluster.node(node)?, role)?.is_some();
        if was_there && !cluster.is_running(node, role)? {
            cluster.start(node, role).await?;
            started.push(role.name());
        }
    }
    match started.as_slice() {
        [] => output::note(&format!("everything ran on {node}")),
        names => output::note(&format!("started {} on {node}", names.join(", "))),
    }
    Ok(())
}
