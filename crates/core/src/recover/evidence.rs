//! What a recovery is given, and what follows at once from it: who was told what last.

use crate::cluster::{MetaRecord, NodeRecord, State};
use flocker_types::ids::{NodeId, ServiceId, VolumeId};
use flocker_types::link::{AgentHello, AgentMemory};
use flocker_types::task::{Directive, VolumeClaim, Want};
use flocker_types::time::UnixMs;
use flocker_types::volume::VolumeCopy;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

/// Everything from which the state is made again.
#[derive(Debug, Clone)]
pub struct Evidence {
    /// The cluster and its networks. Its generation counts for nothing.
    pub meta: MetaRecord,
    /// The time, for what has to carry one.
    pub now: UnixMs,
    /// A state from before: that of a backup, or of a store that is to be completed. What nodes know
    /// better counts for more.
    pub base: Option<State>,
    /// The nodes that have come.
    pub nodes: BTreeMap<NodeId, NodeEvidence>,
    /// Whether more were expected.
    pub attendance: Attendance,
    /// What the operator said: this node's copy of that volume is the one that counts.
    pub preferred: BTreeMap<VolumeId, NodeId>,
}

/// What one node has and remembers.
#[derive(Debug, Clone)]
pub struct NodeEvidence {
    /// Its agent's hello.
    pub hello: AgentHello,
    /// What its agent was told.
    pub memory: AgentMemory,
    /// Its proxy's tunnel, if its proxy has come too.
    pub tunnel: Option<SocketAddr>,
}

/// Whether every node of the cluster has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attendance {
    /// Every one.
    Complete,
    /// Not these, by name.
    Missing(BTreeSet<String>),
    /// Nobody said how many there are.
    NotKnown,
}

impl Evidence {
    /// Nodes of the base that have not come.
    pub(super) fn absent_of_base(&self) -> BTreeMap<NodeId, &NodeRecord> {
        let of_base = self.base.iter().flat_map(|base| &base.nodes);
        of_base
            .filter(|(id, _)| !self.nodes.contains_key(id))
            .map(|(id, record)| (*id, record))
            .collect()
    }

    /// Who is missing, the base's nodes included.
    pub(super) fn attendance(&self) -> Attendance {
        let absent = self.absent_of_base();
        let mut names: BTreeSet<String> =
            absent.values().map(|node| node.name.to_string()).collect();
        match &self.attendance {
            Attendance::Missing(missing) => names.extend(missing.iter().cloned()),
            Attendance::NotKnown if names.is_empty() => return Attendance::NotKnown,
            Attendance::NotKnown | Attendance::Complete => {}
        }
        match names.is_empty() {
            true => Attendance::Complete,
            false => Attendance::Missing(names),
        }
    }

    /// A node's copy of a volume.
    pub(super) fn copy(&self, node: NodeId, volume: VolumeId) -> Option<&VolumeCopy> {
        let copies = &self.nodes.get(&node)?.hello.volumes;
        copies.iter().find(|copy| copy.label.id == volume)
    }

    /// Every copy that was reported.
    pub(super) fn copies(&self) -> impl Iterator<Item = (NodeId, &VolumeCopy)> {
        let of_node = |(id, node): (&NodeId, &'_ NodeEvidence)| (*id, node.hello.volumes.len());
        let ids: Vec<(NodeId, usize)> = self.nodes.iter().map(of_node).collect();
        ids.into_iter().flat_map(move |(id, count)| {
            (0..count).map(move |index| (id, &self.nodes[&id].hello.volumes[index]))
        })
    }
}

/// The newest word that each node got about each service.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// By the node's ledger or by the base, whichever is newer.
    pub(super) directives: BTreeMap<(ServiceId, NodeId), Directive>,
    /// Where the newest word is to stop: what the service was told to run before.
    pub(super) stopped: BTreeMap<(ServiceId, NodeId), Directive>,
}

impl Known {
    pub(super) fn of(evidence: &Evidence) -> Self {
        let mut known = Self::default();
        for (node, found) in &evidence.nodes {
            let runs = found.memory.stopped.iter();
            for directive in runs.chain(&found.memory.directives) {
                known.hear(*node, directive);
            }
        }
        let services = evidence.base.iter().flat_map(|base| base.services.values());
        for service in services {
            for (node, directive) in &service.directives {
                known.hear(*node, directive);
            }
        }
        known.stopped.retain(|key, _| {
            let newest = known.directives.get(key);
            newest.is_some_and(|directive| directive.want == Want::Stopped)
        });
        known
    }

    fn hear(&mut self, node: NodeId, directive: &Directive) {
        let key = (directive.service.clone(), node);
        let newest = self.directives.get(&key).map(|known| known.generation);
        if newest.is_none_or(|newest| newest < directive.generation) {
            self.directives.insert(key.clone(), directive.clone());
        }
        let run = self.stopped.get(&key).map(|known| known.generation);
        if matches!(directive.want, Want::Run { .. })
            && run.is_none_or(|run| run < directive.generation)
        {
            self.stopped.insert(key, directive.clone());
        }
    }

    /// Every claim to hold a volume that a node was given and that was not taken back by a word to go.
    pub(super) fn claims(&self) -> impl Iterator<Item = (NodeId, &VolumeClaim)> {
        let directives = self.directives.iter().chain(&self.stopped);
        directives.flat_map(|((_, node), directive)| {
            let claims = match &directive.want {
                Want::Run { volumes, .. } => &volumes[..],
                Want::Stopped | Want::Absent => &[],
            };
            claims.iter().map(|claim| (*node, claim))
        })
    }
}
