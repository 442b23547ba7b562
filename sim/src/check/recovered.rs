//! *data-outlives-control*, the store itself: the state that `flocker recover` makes from what the nodes
//! remember is the state that was lost, but for what no node can know.

use super::Nodes;
use crate::store::Store;
use flocker_core::cluster::{Key, Record, State};
use flocker_core::recover::{Attendance, Evidence, NodeEvidence, Unknown, differences, recover};
use flocker_types::ids::VolumeId;
use flocker_types::time::UnixMs;
use std::collections::{BTreeMap, BTreeSet};

/// The rebuilt state; or in what it differs from the one in the store.
pub(crate) fn rebuilt(nodes: &Nodes, store: &Store) -> Result<State, String> {
    let (_, Some(mut lost)) = store.load() else {
        return Err("the store has no cluster".to_owned());
    };
    let found = recover(&evidence(nodes, store)?).map_err(|conflicts| {
        let texts: Vec<String> = conflicts.iter().map(ToString::to_string).collect();
        format!("it cannot be rebuilt: {}", texts.join("; "))
    })?;
    let mut state = found.state.clone();
    for id in beyond_nodes(&lost) {
        lost.volumes.remove(&id);
        state.volumes.remove(&id);
    }
    // A node that was let in and whose answer was lost has never come; there is nobody to ask.
    lost.nodes.retain(|id, _| nodes.contains_key(id));
    let renamed = |unknown: &Unknown| matches!(unknown, Unknown::Renamed(..));
    let renamed = found.unknowns.iter().any(renamed);
    // Said in a sentence of its own: two volumes of one name, one of which was to be deleted.
    let told = |line: &String| renamed && line.ends_with("its name differs");
    let differs: Vec<String> = differences(&lost, &state)
        .into_iter()
        .filter(|line| !told(line))
        .collect();
    if differs.is_empty() {
        Ok(found.state)
    } else {
        Err(format!("what was rebuilt differs: {}", differs.join("; ")))
    }
}

/// What the nodes would tell, if every one came.
fn evidence(nodes: &Nodes, store: &Store) -> Result<Evidence, String> {
    let Some(Record::Meta(meta)) = store.get(&Key::Meta).cloned() else {
        return Err("the store has no cluster".to_owned());
    };
    let mut come = BTreeMap::new();
    for (id, node) in nodes {
        let agent = node.agent.core.as_ref();
        let agent = agent.ok_or_else(|| format!("the agent of {} does not run", node.name))?;
        let found = NodeEvidence {
            hello: agent.hello(),
            memory: agent.memory(),
            tunnel: Some((node.address, crate::node::TUNNEL_PORT).into()),
        };
        come.insert(*id, found);
    }
    Ok(Evidence {
        meta,
        now: UnixMs(0),
        base: None,
        nodes: come,
        attendance: Attendance::Complete,
        preferred: BTreeMap::new(),
    })
}

/// Volumes of which no node knows what control knew: those that were never made, and those that a
/// person wants deleted.
fn beyond_nodes(lost: &State) -> BTreeSet<VolumeId> {
    let beyond = lost.volumes.values().filter(|volume| {
        volume.destroy_after.is_some() || (!volume.created && volume.copies.is_empty())
    });
    beyond.map(|volume| volume.id).collect()
}
