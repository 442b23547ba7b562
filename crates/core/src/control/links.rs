//! Who is connected.

use super::event::Session;
use crate::mutant::Mutant;
use flocker_types::api::LinkView;
use flocker_types::ids::NodeId;
use flocker_types::time::{Monotonic, Now, UnixMs};
use flocker_types::volume::{PoolUsage, StorageKind};
use std::collections::{BTreeMap, BTreeSet};

/// The connections, and what was said once on each.
#[derive(Debug, Clone, Default)]
pub(crate) struct Links {
    agents: BTreeMap<NodeId, Link<AgentFacts>>,
    proxies: BTreeMap<NodeId, Link<()>>,
    chores_delayed_until: BTreeMap<NodeId, Monotonic>,
    #[cfg(feature = "mutants")]
    replaced: BTreeMap<Session, Session>,
}

#[derive(Debug, Clone)]
struct Link<Facts> {
    session: Option<Session>,
    since: UnixMs,
    since_monotonic: Monotonic,
    facts: Facts,
}

/// What an agent's hello said of its node.
#[derive(Debug, Clone)]
pub(crate) struct AgentFacts {
    pub(crate) version: String,
    pub(crate) storage: StorageKind,
    pub(crate) pool: PoolUsage,
}

impl Links {
    /// The session of a node's agent, if it is connected.
    pub(crate) fn agent(&self, node: NodeId) -> Option<Session> {
        self.agents.get(&node)?.session
    }

    /// Every session of a node, of its agent and of its proxy.
    pub(crate) fn sessions_of(&self, node: NodeId) -> Vec<Session> {
        let agent = self.agents.get(&node).and_then(|link| link.session);
        let proxy = self.proxies.get(&node).and_then(|link| link.session);
        agent.into_iter().chain(proxy).collect()
    }

    pub(crate) fn agents(&self) -> BTreeSet<NodeId> {
        self.agents
            .iter()
            .filter(|(_, l)| l.session.is_some())
            .map(|(node, _)| *node)
            .collect()
    }

    pub(crate) fn proxies(&self) -> Vec<Session> {
        self.proxies
            .values()
            .filter_map(|link| link.session)
            .collect()
    }

    pub(crate) fn proxy_nodes(&self) -> Vec<NodeId> {
        let connected = self
            .proxies
            .iter()
            .filter(|(_, link)| link.session.is_some());
        connected.map(|(node, _)| *node).collect()
    }

    pub(crate) fn pools(&self) -> BTreeMap<NodeId, PoolUsage> {
        self.agents
            .iter()
            .map(|(node, link)| (*node, link.facts.pool))
            .collect()
    }

    pub(crate) fn facts(&self, node: NodeId) -> Option<&AgentFacts> {
        self.agents.get(&node).map(|link| &link.facts)
    }

    pub(crate) fn set_pool(&mut self, node: NodeId, pool: PoolUsage) {
        if let Some(link) = self.agents.get_mut(&node) {
            link.facts.pool = pool;
        }
    }

    /// The node of an agent's session, if that is its present one.
    pub(crate) fn agent_node(&self, session: Session) -> Option<NodeId> {
        node_of(&self.agents, self.meant(session, Mutant::OldSessionHeard))
    }

    pub(crate) fn proxy_node(&self, session: Session) -> Option<NodeId> {
        node_of(&self.proxies, session)
    }

    /// Remembers a connection and returns the older one of the same node.
    pub(crate) fn agent_up(
        &mut self,
        node: NodeId,
        session: Session,
        facts: AgentFacts,
        now: Now,
    ) -> Option<Session> {
        let old = self.agents.insert(node, up(session, facts, now));
        let old = old.and_then(|old| old.session);
        #[cfg(feature = "mutants")]
        self.replaced.extend(old.map(|old| (old, session)));
        old
    }

    /// The session that an event is about; with one of these bugs, the one that has replaced it.
    #[cfg(feature = "mutants")]
    fn meant(&self, mut session: Session, bug: Mutant) -> Session {
        while let Some(newer) = self
            .replaced
            .get(&session)
            .filter(|_| crate::mutant::planted(bug))
        {
            session = *newer;
        }
        session
    }

    #[cfg(not(feature = "mutants"))]
    fn meant(&self, session: Session, _: Mutant) -> Session {
        session
    }

    pub(crate) fn proxy_up(&mut self, node: NodeId, session: Session, now: Now) -> Option<Session> {
        self.proxies
            .insert(node, up(session, (), now))
            .and_then(|old| old.session)
    }

    pub(crate) fn agent_down(&mut self, session: Session, now: Now) -> Option<NodeId> {
        let session = self.meant(session, Mutant::OldSessionEndsNew);
        down(&mut self.agents, session, now)
    }

    pub(crate) fn proxy_down(&mut self, session: Session, now: Now) -> Option<NodeId> {
        down(&mut self.proxies, session, now)
    }

    /// Since when an agent has been away; `None` while it is connected. An agent that was never
    /// seen has been away since this process began to count.
    pub(crate) fn agent_lost_since(&self, node: NodeId) -> Option<Monotonic> {
        match self.agents.get(&node) {
            Some(link) if link.session.is_some() => None,
            Some(link) => Some(link.since_monotonic),
            None => Some(Monotonic::default()),
        }
    }

    pub(crate) fn delay_chores(&mut self, node: NodeId, until: Monotonic) {
        self.chores_delayed_until.insert(node, until);
    }

    pub(crate) fn chores_delayed_until(&self, node: NodeId) -> Monotonic {
        self.chores_delayed_until
            .get(&node)
            .copied()
            .unwrap_or_default()
    }

    pub(crate) fn agent_view(&self, node: NodeId) -> LinkView {
        view(self.agents.get(&node))
    }

    pub(crate) fn proxy_view(&self, node: NodeId) -> LinkView {
        view(self.proxies.get(&node))
    }
}

fn up<Facts>(session: Session, facts: Facts, now: Now) -> Link<Facts> {
    Link {
        session: Some(session),
        since: now.wall,
        since_monotonic: now.monotonic,
        facts,
    }
}

fn down<Facts>(
    links: &mut BTreeMap<NodeId, Link<Facts>>,
    session: Session,
    now: Now,
) -> Option<NodeId> {
    let (node, link) = links
        .iter_mut()
        .find(|(_, link)| link.session == Some(session))?;
    link.session = None;
    link.since = now.wall;
    link.since_monotonic = now.monotonic;
    Some(*node)
}

fn node_of<Facts>(links: &BTreeMap<NodeId, Link<Facts>>, session: Session) -> Option<NodeId> {
    links
        .iter()
        .find(|(_, link)| link.session == Some(session))
        .map(|(node, _)| *node)
}

fn view<Facts>(link: Option<&Link<Facts>>) -> LinkView {
    match link {
        None => LinkView::Never,
        Some(link) if link.session.is_some() => LinkView::Connected(link.since),
        Some(link) => LinkView::Lost(link.since),
    }
}
