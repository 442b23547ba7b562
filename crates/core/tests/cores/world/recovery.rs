//! Control's store is lost, or replaced by an older one, and made again from the nodes.

use super::World;
use flocker_core::cluster::{Change, Key, Record, State};
use flocker_core::recover::{Attendance, Conflict, Evidence, NodeEvidence, Recovered, recover};
use flocker_types::ids::NodeId;
use std::collections::BTreeMap;

impl World {
    /// The state as the store has it.
    pub(crate) fn stored(&self) -> State {
        State::from_records(self.store.values().cloned()).expect("there is a cluster")
    }

    /// What the nodes whose agents run hold, told to nobody but `base`.
    pub(crate) fn evidence(&self, base: Option<State>) -> Evidence {
        let mut missing = std::collections::BTreeSet::new();
        let mut nodes = BTreeMap::new();
        for (id, node) in &self.nodes {
            let Some(agent) = &node.agent else {
                missing.insert(format!("n{}", id.0.as_u128()));
                continue;
            };
            let found = NodeEvidence {
                hello: agent.hello(),
                memory: agent.memory(),
                tunnel: Some((node.address, 4525).into()),
            };
            nodes.insert(*id, found);
        }
        let Record::Meta(meta) = self.store[&Key::Meta].clone() else {
            panic!("the cluster's record is there");
        };
        Evidence {
            meta,
            now: self.now().wall,
            base,
            nodes,
            attendance: match missing.is_empty() {
                true => Attendance::Complete,
                false => Attendance::Missing(missing),
            },
            preferred: BTreeMap::new(),
        }
    }

    pub(crate) fn recovered(&self, base: Option<State>) -> Result<Recovered, Vec<Conflict>> {
        recover(&self.evidence(base))
    }

    /// Control starts again on this state, and nothing of what it had is left.
    pub(crate) fn replace_store(&mut self, mut state: State) {
        self.store.clear();
        for change in state.take_changes() {
            if let Change::Put(record) = change {
                self.store.insert(record.key(), record);
            }
        }
        self.start_control();
    }

    /// How often containers were started or stopped on each node.
    pub(crate) fn interventions(&self) -> BTreeMap<NodeId, u64> {
        self.nodes
            .iter()
            .map(|(id, node)| (*id, node.interventions))
            .collect()
    }
}
