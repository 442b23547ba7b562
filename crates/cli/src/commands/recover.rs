//! `flocker recover`, and what it has in common with `flocker control restore`: waiting for the nodes,
//! showing what follows from them, asking, writing.

use crate::failure::Failure;
use crate::node_file::{NodeFile, STATE_DIR_DEFAULT, StateDir};
use crate::output::{self, Answer};
use crate::quantity::{count, parse_duration};
use crate::units::{self, Role};
use clap::Args;
use flocker_control::ControlConfig;
use flocker_control::recovery::{
    Gathered, Recovery, RecoveryBase, RecoveryError, RecoveryRequest, Wanted,
};
use flocker_core::cluster::State;
use flocker_core::recover::{Recovered, differences};
use flocker_types::ids::{NodeId, VolumeId};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// Make control's store again from what the nodes hold
///
/// For when the store is lost or damaged; it runs on control's server, in control's place. The nodes
/// know which services they run and which volumes they hold; nothing of it is stopped or changed.
/// What no node knows is shown before anything is written. Run it again when a node comes that was
/// missing: what the store has by then is kept.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sudo systemctl stop flocker-control
  sudo flocker recover --nodes n1,n2,n3
  sudo flocker recover --expect 3 --limit 5m
  sudo flocker recover --nodes n1,n2 --without n3 --prefer shop/data=n2")]
pub(crate) struct Recover {
    #[command(flatten)]
    options: RecoverOptions,
}

/// How a store is made again.
#[derive(Debug, Args)]
pub(crate) struct RecoverOptions {
    /// Where the node keeps everything
    #[arg(long, value_name = "DIRECTORY", default_value = STATE_DIR_DEFAULT)]
    pub(crate) state_dir: PathBuf,

    /// The nodes that have to come, by name, separated by commas
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    nodes: Vec<String>,

    /// How many nodes have to come
    #[arg(long, value_name = "NUMBER")]
    expect: Option<usize>,

    /// Nodes that will not come, by name, separated by commas
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    without: Vec<String>,

    /// How long to wait for the nodes
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = parse_duration)]
    limit: Duration,

    /// Which node's copy of a volume counts, where that is not clear; may be repeated
    #[arg(long, value_name = "VOLUME=NODE", value_parser = parse_preference)]
    prefer: Vec<(String, String)>,

    /// Do not ask
    #[arg(short, long)]
    yes: bool,

    /// Do not start control; say how to
    #[arg(long)]
    no_start: bool,
}

fn parse_preference(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((volume, node)) if !volume.is_empty() && !node.is_empty() => {
            Ok((volume.to_owned(), node.to_owned()))
        }
        _ => Err(format!("\"{text}\" is not VOLUME=NODE, as in shop/data=n2")),
    }
}

impl Recover {
    /// Makes the store again.
    pub(crate) async fn run(&self) -> Result<(), Failure> {
        let node = self.options.node()?;
        self.options.make(&node, RecoveryBase::Store).await
    }
}

impl RecoverOptions {
    /// This server, which must be control's.
    pub(crate) fn node(&self) -> Result<NodeFile, Failure> {
        let node = StateDir::new(&self.state_dir).load()?;
        match node.has_control {
            true => Ok(node),
            false => Err(Failure::new("control does not run on this node")
                .hint(format!("do this on the server of {}", node.control))),
        }
    }

    /// From waiting for the nodes to the new store.
    pub(crate) async fn make(&self, node: &NodeFile, base: RecoveryBase) -> Result<(), Failure> {
        let state = StateDir::new(&self.state_dir);
        let listen = SocketAddr::from((Ipv4Addr::UNSPECIFIED, node.port));
        let request = RecoveryRequest {
            config: ControlConfig::new(listen, state.control(), node.node),
            cluster: node.cluster,
            service_network: node.service_network,
            container_network: node.container_network,
            base,
        };
        let mut recovery = Recovery::open(request)
            .await
            .map_err(|error| explain(&error))?;
        let wanted = self.wanted();
        self.gather(&mut recovery, &wanted).await?;
        let preferred = self.preferred(&recovery)?;
        let recovered = recovery.rebuild(&wanted, preferred).map_err(|conflicts| {
            for conflict in &conflicts {
                output::note(&format!("  - {conflict}"));
            }
            Failure::new("this cannot be decided without you; nothing was written")
                .hint("run it again with what is said above")
        })?;
        output::data(&report(recovery.base(), &recovered))?;
        if !self.yes && !agreed().await? {
            output::note("nothing was written");
            return Err(Failure::Shown);
        }
        let kept = recovery
            .write(recovered.state)
            .await
            .map_err(|error| explain(&error))?;
        output::note("control's store is written");
        if let Some(kept) = kept {
            output::note(&format!("the old one is kept as {}", kept.display()));
        }
        match units::systemd_runs() && !self.no_start {
            true => units::start(&[Role::Control], state.path()),
            false => {
                units::tell_how_to_start(&[Role::Control], state.path());
                Ok(())
            }
        }
    }

    fn wanted(&self) -> Wanted {
        Wanted {
            names: self.nodes.iter().cloned().collect(),
            count: self.expect,
            without: self.without.iter().cloned().collect(),
        }
    }

    async fn gather(&self, recovery: &mut Recovery, wanted: &Wanted) -> Result<(), Failure> {
        let seconds = self.limit.as_secs();
        output::note(&format!("waiting for the nodes, {seconds} s at most"));
        let mut known = BTreeSet::new();
        let gathered = recovery
            .gather(wanted, self.limit, |now| tell(now, &mut known))
            .await;
        let here = join(&gathered.nodes);
        for (node, reason) in &gathered.troubles {
            output::warning(&format!("{node} has come, but {reason}"));
        }
        if gathered.nodes.is_empty() {
            return Err(
                Failure::new(format!("no node has come within {seconds} s")).hint(
                    "agents connect to the address of control in their node.toml; see on a node: \
                 journalctl -u flocker-agent",
                ),
            );
        }
        if !gathered.missing.is_empty() {
            let missing = join(&gathered.missing);
            return Err(Failure::new(format!(
                "{missing} did not come within {seconds} s; here are {here}; nothing was written"
            ))
            .hint(format!(
                "look at its agent; or wait longer by --limit; or, if it will not come, say \
                 --without {}",
                missing.replace(", ", ",")
            )));
        }
        if !gathered.enough {
            return Err(Failure::new(format!(
                "only {} came within {seconds} s: {here}; nothing was written",
                count(gathered.nodes.len(), "node")
            ))
            .hint("wait longer by --limit, or expect fewer by --expect"));
        }
        Ok(())
    }

    fn preferred(&self, recovery: &Recovery) -> Result<BTreeMap<VolumeId, NodeId>, Failure> {
        let mut preferred = BTreeMap::new();
        for (volume, node) in &self.prefer {
            let Some(id) = recovery.node_named(node) else {
                return Err(Failure::new(format!(
                    "--prefer {volume}={node}: no node of that name has come"
                )));
            };
            let found = recovery.volumes_called(volume);
            let mut found = found.into_iter();
            match (found.next(), found.next()) {
                (Some(one), None) => drop(preferred.insert(one, id)),
                (None, _) => {
                    return Err(Failure::new(format!(
                        "--prefer {volume}={node}: no node that has come has that volume"
                    )));
                }
                _ => {
                    return Err(Failure::new(format!(
                        "--prefer {volume}={node}: several volumes are called so"
                    ))
                    .hint("give its id"));
                }
            }
        }
        Ok(preferred)
    }
}

fn tell(now: &Gathered, known: &mut BTreeSet<String>) {
    for node in &now.nodes {
        if known.insert(node.clone()) {
            output::note(&format!("{node} is here"));
        }
    }
}

fn join(names: &BTreeSet<String>) -> String {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    names.join(", ")
}

/// What was found, what it changes, what is not known.
fn report(base: Option<&State>, recovered: &Recovered) -> String {
    let state = &recovered.state;
    let named = |id: &NodeId| {
        let node = state.nodes.get(id);
        node.map_or_else(|| id.short(), |node| node.name.to_string())
    };
    let nodes: Vec<String> = state.nodes.keys().map(named).collect();
    let mut text = format!("{}: {}\n", count(nodes.len(), "node"), nodes.join(", "));
    let placed: Vec<String> = state
        .services
        .values()
        .filter_map(|service| Some(format!("{} on {}", service.id, named(&service.node?))))
        .collect();
    text += &format!("{}\n", count(placed.len(), "service"));
    placed
        .iter()
        .for_each(|line| text += &format!("  {line}\n"));
    text += &format!("{}\n", count(state.volumes.len(), "volume"));
    for volume in state.volumes.values() {
        text += &format!(
            "  {}/{} held by {} in epoch {}, {}\n",
            volume.application,
            volume.name,
            named(&volume.holder),
            volume.epoch,
            count(volume.copies.len(), "copy").replace("copys", "copies")
        );
    }
    let better = base.map_or_else(Vec::new, |base| differences(base, state));
    if !better.is_empty() {
        text += "the nodes know better:\n";
        better
            .iter()
            .for_each(|line| text += &format!("  {line}\n"));
    }
    text += "what is not known:\n";
    for unknown in &recovered.unknowns {
        text += &format!("  {unknown}\n");
    }
    text
}

async fn agreed() -> Result<bool, Failure> {
    // Beside the links of the nodes, which would end if nobody served them.
    let asked = tokio::task::spawn_blocking(|| output::confirm("Write this?")).await;
    match asked.ok().flatten() {
        Some(answer) => Ok(answer == Answer::Yes),
        None => Err(Failure::new(
            "writing a store needs a yes, and there is no terminal to ask at",
        )
        .hint("say --yes if it is meant")),
    }
}

fn explain(error: &RecoveryError) -> Failure {
    let hint = match error {
        RecoveryError::Listen { .. } => {
            "does control run? While it runs its state is not lost, even if its file is: take a \
             backup first (flocker control backup), then stop it (systemctl stop flocker-control)"
        }
        RecoveryError::Exists { .. } => {
            "say --replace if the backup is to take its place; the store is set aside then"
        }
        RecoveryError::Store(_) => "stop control first: systemctl stop flocker-control",
        _ => return Failure::of(error),
    };
    Failure::of(error).hint(hint)
}
