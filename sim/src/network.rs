//! The network: who reaches whom, how long that takes, and the links to control.
//!
//! An established link is one TCP stream: what was sent arrives in order, once, or not at all.
//! Within it nothing is duplicated or overtaken. Messages come twice, late, or out of order all the
//! same, because a link breaks and the next one says everything again, while what was sent on the
//! old one is still on its way. A cut holds packets back; when it is healed in time they arrive after all.

use crate::event::{Life, What};
use crate::rng::Rng;
use crate::world::World;
use flocker_core::control::Session;
use flocker_types::ids::NodeId;
use flocker_types::link::{AgentMessage, ProxyMessage, ToAgent, ToProxy};
use std::collections::{BTreeMap, VecDeque};

/// A side that hears nothing for this long closes its end, in microseconds.
const SILENCE_US: u64 = 5_000_000;
/// How often a side with nothing to say shows that it is there, in microseconds.
const HEARTBEAT_US: u64 = 1_000_000;
/// The longest that connecting may take, in microseconds.
pub(crate) const CONNECT_US_MAX: u64 = 5_000_000;

/// A machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Host {
    /// Where people sit.
    Outside,
    /// Where control runs.
    Control,
    /// A node.
    Node(NodeId),
}

/// A link's number.
pub(crate) type LinkId = u64;

/// Whose link to control it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum LinkKind {
    Agent,
    Proxy,
}

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// To control.
    Up,
    /// To the node.
    Down,
}

/// One end of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The node's.
    Client,
    /// Control's.
    Server,
}

/// What travels on a link.
#[derive(Debug)]
pub(crate) enum Wire {
    Agent(AgentMessage),
    ToAgent(ToAgent),
    Proxy(ProxyMessage),
    ToProxy(ToProxy),
    /// The other end was closed.
    Close,
}

#[derive(Debug, Default)]
struct Way {
    stuck: VecDeque<Wire>,
    last_arrival_us: u64,
    blocked_since_us: Option<u64>,
}

/// A link between a node's process and control.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) node: NodeId,
    pub(crate) kind: LinkKind,
    pub(crate) client_life: Life,
    pub(crate) server_life: Life,
    pub(crate) client_open: bool,
    pub(crate) server_open: bool,
    /// Control's number for it, once the hello was taken.
    pub(crate) session: Option<Session>,
    since_us: u64,
    up: Way,
    down: Way,
}

impl Link {
    fn way(&mut self, direction: Direction) -> &mut Way {
        match direction {
            Direction::Up => &mut self.up,
            Direction::Down => &mut self.down,
        }
    }

    fn ends(&self, direction: Direction) -> (Host, Host) {
        match direction {
            Direction::Up => (Host::Node(self.node), Host::Control),
            Direction::Down => (Host::Control, Host::Node(self.node)),
        }
    }
}

/// Who reaches whom.
#[derive(Debug)]
pub(crate) struct Network {
    cuts: BTreeMap<(Host, Host), u32>,
    slow: BTreeMap<(Host, Host), u64>,
    latency_us: (u64, u64),
    rng: Rng,
    pub(crate) links: BTreeMap<LinkId, Link>,
    next_link: LinkId,
}

impl Network {
    pub(crate) fn new(seed: u64, latency_us: (u64, u64)) -> Self {
        Self {
            cuts: BTreeMap::new(),
            slow: BTreeMap::new(),
            latency_us,
            rng: Rng::fork(seed, 1),
            links: BTreeMap::new(),
            next_link: 0,
        }
    }

    pub(crate) fn is_cut(&self, from: Host, to: Host) -> bool {
        self.cuts.contains_key(&(from, to))
    }

    pub(crate) fn is_cut_either_way(&self, one: Host, other: Host) -> bool {
        self.is_cut(one, other) || self.is_cut(other, one)
    }

    pub(crate) fn delay_us(&mut self, from: Host, to: Host) -> u64 {
        let (low, high) = self.latency_us;
        let usual = self.rng.between(low, high);
        let slow = self.slow.get(&(from, to)).copied().unwrap_or(0);
        let extra = if slow == 0 { 0 } else { self.rng.below(slow) };
        usual + extra
    }

    pub(crate) fn slow_down(&mut self, from: Host, to: Host, extra_us: u64) {
        if extra_us == 0 {
            self.slow.remove(&(from, to));
        } else {
            self.slow.insert((from, to), extra_us);
        }
    }

    fn cut(&mut self, from: Host, to: Host) {
        *self.cuts.entry((from, to)).or_default() += 1;
    }

    fn mend(&mut self, from: Host, to: Host) {
        if let Some(count) = self.cuts.get_mut(&(from, to)) {
            *count -= 1;
            if *count == 0 {
                self.cuts.remove(&(from, to));
            }
        }
    }
}

impl World {
    /// Nothing gets from one host to the other any more.
    pub(crate) fn cut_way(&mut self, from: Host, to: Host) {
        self.network.cut(from, to);
        self.note_blocked();
    }

    /// And now it does.
    pub(crate) fn mend_way(&mut self, from: Host, to: Host) {
        self.network.mend(from, to);
        self.note_blocked();
        let stuck: Vec<(LinkId, Direction)> = self
            .network
            .links
            .iter()
            .flat_map(|(id, link)| [(*id, link, Direction::Up), (*id, link, Direction::Down)])
            .filter(|(_, link, direction)| link.ends(*direction) == (from, to))
            .map(|(id, _, direction)| (id, direction))
            .collect();
        for (id, direction) in stuck {
            // The kernel sends again after a while that grew during the cut.
            let wait_us = self.network.rng.between(1_000, 2_000_000);
            self.after(wait_us, What::Unstick(id, direction));
        }
    }

    /// Notes from when on each way of each link brings nothing, and looks again when that may have
    /// lasted too long for whoever listens.
    pub(crate) fn note_blocked(&mut self) {
        let now = self.now_us;
        let ids: Vec<LinkId> = self.network.links.keys().copied().collect();
        for id in ids {
            for direction in [Direction::Up, Direction::Down] {
                let blocked = self.is_blocked(id, direction);
                let Some(link) = self.network.links.get_mut(&id) else {
                    continue;
                };
                let since_us = link.since_us;
                let way = link.way(direction);
                match (blocked, way.blocked_since_us) {
                    (true, None) => {
                        way.blocked_since_us = Some(now);
                        let end = match direction {
                            Direction::Up => End::Server,
                            Direction::Down => End::Client,
                        };
                        // The last sign of life came up to a heartbeat ago.
                        let heard = (now - since_us) % HEARTBEAT_US;
                        self.after(SILENCE_US - heard, What::Silence(id, end));
                    }
                    (false, Some(_)) => way.blocked_since_us = None,
                    _ => {}
                }
            }
        }
    }

    fn is_blocked(&self, id: LinkId, direction: Direction) -> bool {
        let Some(link) = self.network.links.get(&id) else {
            return false;
        };
        let (from, to) = link.ends(direction);
        let silent = match direction {
            Direction::Up => {
                let node = &self.nodes[&link.node];
                let (life, stands) = match link.kind {
                    LinkKind::Agent => (node.agent.life, node.agent.pause.stands()),
                    LinkKind::Proxy => (node.proxy.life, node.proxy.pause.stands()),
                };
                !node.powered || stands || life != link.client_life
            }
            Direction::Down => self.control.pause.stands() || self.control.life != link.server_life,
        };
        self.network.is_cut(from, to) || silent
    }

    /// An end that has heard nothing for too long closes.
    pub(crate) fn silence(&mut self, id: LinkId, end: End) {
        let direction = match end {
            End::Client => Direction::Down,
            End::Server => Direction::Up,
        };
        let now = self.now_us;
        let Some(link) = self.network.links.get_mut(&id) else {
            return;
        };
        let Some(since) = link.way(direction).blocked_since_us else {
            return;
        };
        let least = SILENCE_US - HEARTBEAT_US;
        if now - since < least {
            return self.after(least, What::Silence(id, end));
        }
        match end {
            End::Client => self.close_client_end(id),
            End::Server => self.close_server_end(id),
        }
    }

    /// A process tries to reach control.
    pub(crate) fn connect(&mut self, node: NodeId, kind: LinkKind, life: Life) {
        if !self.process_lives(node, kind, life) {
            return;
        }
        let host = Host::Node(node);
        let mute = self.control.process.is_none();
        let deaf =
            self.network.is_cut_either_way(host, Host::Control) || self.control.pause.stands();
        if deaf || mute {
            let wait = if deaf { CONNECT_US_MAX } else { 1_000 };
            let backoff = self.network.rng.between(50_000, 2_000_000);
            return self.after(wait + backoff, What::Connect(node, kind, life));
        }
        self.network.next_link += 1;
        let id = self.network.next_link;
        let link = Link {
            node,
            kind,
            client_life: life,
            server_life: self.control.life,
            client_open: true,
            server_open: true,
            session: None,
            since_us: self.now_us,
            up: Way::default(),
            down: Way::default(),
        };
        self.network.links.insert(id, link);
        let trips: u64 = (0..4)
            .map(|_| self.network.delay_us(host, Host::Control))
            .sum();
        self.after(trips, What::Linked(id));
    }

    /// The client's end is there.
    pub(crate) fn linked(&mut self, id: LinkId) {
        let Some(link) = self.network.links.get(&id) else {
            return;
        };
        let (node, kind, life) = (link.node, link.kind, link.client_life);
        if !link.client_open || !self.process_lives(node, kind, life) {
            return;
        }
        match kind {
            LinkKind::Agent => self.agent_linked(node, id),
            LinkKind::Proxy => self.proxy_linked(node, id),
        }
    }

    /// Puts a message on a link; it goes nowhere when that end is closed.
    pub(crate) fn send(&mut self, id: LinkId, direction: Direction, wire: Wire) {
        let now = self.now_us;
        let network = &mut self.network;
        let Some(link) = network.links.get(&id) else {
            return;
        };
        let open = match direction {
            Direction::Up => link.client_open,
            Direction::Down => link.server_open,
        };
        if !open {
            return;
        }
        let (from, to) = link.ends(direction);
        let delay = network.delay_us(from, to);
        let Some(link) = network.links.get_mut(&id) else {
            return;
        };
        let way = link.way(direction);
        let arrival = (now + delay).max(way.last_arrival_us + 1);
        way.last_arrival_us = arrival;
        self.queue
            .push(arrival, What::Arrive(id, direction, Box::new(wire)));
    }

    /// A message is at the other host.
    pub(crate) fn arrive(&mut self, id: LinkId, direction: Direction, wire: Wire) {
        let Some(link) = self.network.links.get(&id) else {
            return;
        };
        let (from, to) = link.ends(direction);
        let cut = self.network.is_cut(from, to);
        let Some(link) = self.network.links.get_mut(&id) else {
            return;
        };
        let way = link.way(direction);
        if cut || !way.stuck.is_empty() {
            way.stuck.push_back(wire);
            return;
        }
        self.hand_over(id, direction, wire);
    }

    /// What was held back by a cut arrives, if the cut is healed.
    pub(crate) fn unstick(&mut self, id: LinkId, direction: Direction) {
        let Some(link) = self.network.links.get_mut(&id) else {
            return;
        };
        let (from, to) = link.ends(direction);
        if self.network.is_cut(from, to) {
            return;
        }
        let Some(link) = self.network.links.get_mut(&id) else {
            return;
        };
        let stuck = std::mem::take(&mut link.way(direction).stuck);
        for wire in stuck {
            self.hand_over(id, direction, wire);
        }
    }

    fn hand_over(&mut self, id: LinkId, direction: Direction, wire: Wire) {
        let Some(link) = self.network.links.get(&id) else {
            return;
        };
        let (node, kind, life) = (link.node, link.kind, link.client_life);
        match direction {
            Direction::Up if link.server_life == self.control.life && link.server_open => {
                self.control_hears(id, wire);
            }
            Direction::Down if link.client_open && self.process_lives(node, kind, life) => {
                self.node_mut(node).echoes.hear(&wire);
                match kind {
                    LinkKind::Agent => self.agent_hears(node, id, wire),
                    LinkKind::Proxy => self.proxy_hears(node, id, wire),
                }
            }
            _ => {}
        }
        self.forget_closed(id);
    }

    fn forget_closed(&mut self, id: LinkId) {
        let closed = self
            .network
            .links
            .get(&id)
            .is_some_and(|link| !link.client_open && !link.server_open);
        if closed {
            self.network.links.remove(&id);
        }
    }

    /// The node's process closes its end; it will try again.
    pub(crate) fn close_client_end(&mut self, id: LinkId) {
        let Some(link) = self.network.links.get(&id) else {
            return;
        };
        if !link.client_open {
            return;
        }
        let (node, kind, life) = (link.node, link.kind, link.client_life);
        self.send(id, Direction::Up, Wire::Close);
        if let Some(link) = self.network.links.get_mut(&id) {
            link.client_open = false;
        }
        self.forget_closed(id);
        if self.process_lives(node, kind, life) {
            match kind {
                LinkKind::Agent => self.agent_unlinked(node, id),
                LinkKind::Proxy => self.proxy_unlinked(node, id),
            }
            let backoff = self.network.rng.between(25_000, 2_000_000);
            self.after(backoff, What::Connect(node, kind, life));
        }
    }

    /// Control closes its end.
    pub(crate) fn close_server_end(&mut self, id: LinkId) {
        let Some(link) = self.network.links.get(&id) else {
            return;
        };
        if !link.server_open {
            return;
        }
        let (session, life) = (link.session, link.server_life);
        self.send(id, Direction::Down, Wire::Close);
        if let Some(link) = self.network.links.get_mut(&id) {
            link.server_open = false;
        }
        self.forget_closed(id);
        if life == self.control.life {
            self.control_lost(session);
        }
    }

    /// A node's process has died: its kernel closes its links, unless it lost its power.
    pub(crate) fn drop_links_of(&mut self, node: NodeId, kind: LinkKind, life: Life) {
        let of = |link: &Link| link.node == node && link.kind == kind && link.client_life == life;
        let ids: Vec<LinkId> = self
            .network
            .links
            .iter()
            .filter(|(_, link)| of(link))
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            self.close_client_end(id);
        }
    }

    /// Control has died: its kernel closes its links.
    pub(crate) fn drop_links_of_control(&mut self, life: Life) {
        let ids: Vec<LinkId> = self
            .network
            .links
            .iter()
            .filter(|(_, link)| link.server_life == life)
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            self.close_server_end(id);
        }
    }
}
