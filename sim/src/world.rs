//! The world: a whole cluster of the real cores, and everything round them as a model.
//!
//! One queue of events, one thread. The tests drive it step by step (`probe.rs`); a scenario
//! drives itself (`run.rs`). It knows no real time and no chance but the scenario's seed.

use crate::agent_process::AgentInput;
use crate::check::Checks;
use crate::clients::Clients;
use crate::control_process::ControlHost;
use crate::echo::Echoes;
use crate::event::{Life, Queue, What};
use crate::network::{Direction, End, Host, LinkId, LinkKind, Network};
use crate::node::Node;
use crate::operator::People;
use crate::scenario::Scenario;
use crate::store::Store;
use crate::trace::{Story, Trace};
use flocker_core::cluster::{Change, MetaRecord, NodeRecord, Record};
use flocker_types::ids::{ClusterId, Generation, NodeId, NodeName};
use flocker_types::time::UnixMs;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// A process that can be made to stand still.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Process {
    Control,
    Agent(NodeId),
    Proxy(NodeId),
}

/// Whether a process stands still, and what it will find when it goes on.
#[derive(Debug, Default)]
pub(crate) struct Pause {
    depth: u32,
    deferred: Vec<What>,
}

impl Pause {
    pub(crate) fn stands(&self) -> bool {
        self.depth > 0
    }
}

/// The whole world.
#[derive(Debug)]
pub struct World {
    pub(crate) scenario: Scenario,
    pub(crate) now_us: u64,
    pub(crate) queue: Queue,
    pub(crate) network: Network,
    pub(crate) control: ControlHost,
    pub(crate) nodes: BTreeMap<NodeId, Node>,
    pub(crate) proxy_links: BTreeSet<LinkId>,
    pub(crate) container_network: flocker_core::cluster::Network,
    pub(crate) registry_down: u32,
    pub(crate) rebellious_proxies: bool,
    pub(crate) clients: Clients,
    pub(crate) people: People,
    pub(crate) checks: Checks,
    pub(crate) trace: Trace,
    pub(crate) next_number: u64,
    /// Events handled so far.
    pub(crate) steps: u64,
}

/// The id of a node that was there from the beginning.
pub fn node_id(number: u8) -> NodeId {
    NodeId(Uuid::from_u128(u128::from(number)))
}

impl World {
    /// A cluster whose processes are about to start.
    pub fn new(scenario: Scenario, story: Story) -> Self {
        let seed = scenario.seed;
        let cluster = ClusterId(Uuid::from_u128(99));
        let meta = MetaRecord {
            cluster,
            generation: Generation::default(),
            service_network: "10.214.0.0/16".parse().expect("a network"),
            container_network: "10.213.0.0/16".parse().expect("a network"),
        };
        let container_network = meta.container_network;
        let mut store = Store::default();
        store.put(Record::Meta(meta));
        let mut world = Self {
            now_us: 1_000_000,
            queue: Queue::default(),
            network: Network::new(seed, scenario.latency_us),
            control: ControlHost::new(store, seed, scenario.store_us),
            nodes: BTreeMap::new(),
            proxy_links: BTreeSet::new(),
            container_network,
            registry_down: 0,
            rebellious_proxies: scenario.rebellious_proxies,
            clients: Clients::default(),
            people: People::new(seed),
            checks: Checks::default(),
            trace: Trace::new(story),
            next_number: 0,
            steps: 0,
            scenario,
        };
        let drift = world.control.rng.below(2 * crate::clock::DRIFT_PPM_MAX);
        let centre = i64::try_from(crate::clock::DRIFT_PPM_MAX).unwrap_or(0);
        world.control.drift_ppm = i64::try_from(drift).unwrap_or(0) - centre;
        for number in 1..=world.scenario.nodes {
            let id = node_id(number);
            let mut node = Node::new(seed, id, cluster, number);
            node.echoes = Echoes::new(&world.scenario, number);
            world.control.store.put(Record::Node(NodeRecord {
                id,
                name: NodeName::new(node.name.clone()).expect("a valid name"),
                address: node.address,
                stream_address: None,
                tunnel: None,
                joined: UnixMs(0),
            }));
            world.start_node(id, node);
        }
        world.after(0, What::ControlStart);
        world
    }

    /// A node's processes are about to start.
    pub(crate) fn start_node(&mut self, id: NodeId, node: Node) {
        self.nodes.insert(id, node);
        self.after(1_000, What::AgentStart(id));
        self.after(1_000, What::ProxyStart(id));
    }

    pub(crate) fn after(&mut self, us: u64, what: What) {
        self.queue.push(self.now_us + us, what);
    }

    pub(crate) fn node_mut(&mut self, id: NodeId) -> &mut Node {
        self.nodes.get_mut(&id).expect("nodes stay")
    }

    /// The node of a number, if there is one by now.
    pub(crate) fn numbered(&self, number: u8) -> Option<NodeId> {
        let name = format!("n{number}");
        let found = self.nodes.values().find(|node| node.name == name);
        found.map(|node| node.id)
    }

    /// Whether a certain life of a node's process goes on.
    pub(crate) fn process_lives(&self, id: NodeId, kind: LinkKind, life: Life) -> bool {
        let node = &self.nodes[&id];
        match kind {
            LinkKind::Agent => node.agent.life == life && node.agent.core.is_some(),
            LinkKind::Proxy => node.proxy.life == life && node.proxy.table.is_some(),
        }
    }

    /// A process without power leaves its links open at the other end.
    pub(crate) fn abandon_links_of(&mut self, id: NodeId, kind: LinkKind, life: Life) {
        for link in self.network.links.values_mut() {
            if link.node == id && link.kind == kind && link.client_life == life {
                link.client_open = false;
            }
        }
    }

    fn pause_of(&mut self, process: Process) -> Option<&mut Pause> {
        match process {
            Process::Control => Some(&mut self.control.pause),
            Process::Agent(id) => self.nodes.get_mut(&id).map(|node| &mut node.agent.pause),
            Process::Proxy(id) => self.nodes.get_mut(&id).map(|node| &mut node.proxy.pause),
        }
    }

    /// A process stands still from now on.
    pub(crate) fn pause(&mut self, process: Process) {
        if let Some(pause) = self.pause_of(process) {
            pause.depth += 1;
        }
        if process == Process::Control {
            self.checks.control_interrupted();
        }
        self.note_blocked();
    }

    /// And goes on, with everything that came meanwhile.
    pub(crate) fn resume(&mut self, process: Process) {
        let Some(pause) = self.pause_of(process) else {
            return;
        };
        pause.depth = pause.depth.saturating_sub(1);
        if pause.depth == 0 {
            let deferred = std::mem::take(&mut pause.deferred);
            for what in deferred {
                self.after(0, what);
            }
        }
        self.note_blocked();
    }

    /// A process that died does not stand still any more.
    pub(crate) fn resume_at_once(&mut self, process: Process) {
        if let Some(pause) = self.pause_of(process) {
            pause.depth = 0;
            let deferred = std::mem::take(&mut pause.deferred);
            // What is meant for its machine still happens; what is meant for it finds it gone.
            for what in deferred {
                self.after(0, what);
            }
        }
    }

    /// Which process it is that something happens to.
    fn subject(&self, what: &What) -> Option<Process> {
        match what {
            What::ControlRound(_) | What::ControlKept(_) | What::Ask(..) => Some(Process::Control),
            What::AgentTick(id, _)
            | What::AgentKept(id, _)
            | What::AgentTold(id, ..)
            | What::WatcherHears(id, ..)
            | What::WatcherLooks(id, _)
            | What::Echo(id)
            | What::Job(id, ..)
            | What::Reception(id, ..) => Some(Process::Agent(*id)),
            What::ProxySaved(id, ..) => Some(Process::Proxy(*id)),
            What::Connect(id, kind, _) => Some(client(*id, *kind)),
            What::Visit(id) => self.visited(*id).map(Process::Proxy),
            What::Linked(link) => self.end_of(*link, End::Client),
            What::Arrive(link, direction, _) | What::Unstick(link, direction) => {
                self.end_of(*link, receiver(*direction))
            }
            What::Silence(link, end) => self.end_of(*link, *end),
            _ => None,
        }
    }

    fn end_of(&self, link: LinkId, end: End) -> Option<Process> {
        let link = self.network.links.get(&link)?;
        Some(match end {
            End::Client => client(link.node, link.kind),
            End::Server => Process::Control,
        })
    }

    /// Handles the next event; false when there is none.
    pub(crate) fn step(&mut self) -> bool {
        let Some((at_us, what)) = self.queue.pop() else {
            return false;
        };
        self.now_us = self.now_us.max(at_us);
        self.steps += 1;
        if let Some(process) = self.subject(&what)
            && let Some(pause) = self.pause_of(process)
            && pause.stands()
        {
            pause.deferred.push(what);
            return true;
        }
        let kind = std::mem::discriminant(&what);
        self.trace.note(1, hash_of(&kind), self.now_us);
        self.happen(what);
        true
    }

    fn happen(&mut self, what: What) {
        match what {
            What::ControlStart => self.start_control_process(),
            What::ControlRound(life) => self.control_round(life),
            What::ControlKept(life) => self.control_kept(life),
            What::AgentStart(id) => self.start_agent_process(id),
            What::AgentTick(id, life) => self.agent_tick(id, life),
            What::AgentKept(id, life) => self.agent_kept(id, life),
            What::AgentTold(id, life, input) => self.told(id, life, *input),
            What::WatcherHears(id, service, code) => self.watcher_hears(id, &service, code),
            What::WatcherLooks(id, life) => self.watcher_looks(id, life),
            What::Job(id, life, job) => self.job_step(id, life, job),
            What::Reception(id, life, number) => self.reception_step(id, life, number),
            What::ProxyStart(id) => self.start_proxy_process(id),
            What::ProxySaved(id, life, save) => self.proxy_saved(id, life, save),
            What::Connect(id, kind, life) => self.connect(id, kind, life),
            What::Linked(link) => self.linked(link),
            What::Arrive(link, direction, wire) => self.arrive(link, direction, *wire),
            What::Unstick(link, direction) => self.unstick(link, direction),
            What::Silence(link, end) => self.silence(link, end),
            What::Engine(id, life, call) => self.engine_acts(id, life, call),
            What::EngineUp(id, life) => self.engine_up(id, life),
            What::Listens(id, service, run) => self.container_listens(id, &service, run),
            What::Writes(id, service, run) => self.container_writes(id, &service, run),
            What::Synced(id, service, run, record) => self.synced(id, &service, run, record),
            What::Client(number) => self.client_comes(number),
            What::Visit(id) => self.visit_arrives(id),
            What::Ask(id, request) => self.control_asked(id, request),
            What::Operator(person, step) => self.person_goes_on(person, step),
            What::Action(index) => self.begin_action(index),
            What::ActionEnds(index) => self.end_action(index),
            What::PowerOn(id) => self.power_on(id),
            What::Echo(id) => self.echo(id),
        }
    }

    fn told(&mut self, id: NodeId, life: Life, input: AgentInput) {
        self.agent_told(id, life, input);
    }

    /// Phases that operations entered, for the story.
    pub(crate) fn tell_phases(&mut self, changes: &[Change]) {
        for change in changes {
            if let Change::Put(Record::Operation(record)) = change {
                let operation = &record.operation;
                let key = operation.id;
                let phase = (operation.phase, operation.finished.is_some());
                if self.people.phases.insert(key, phase) != Some(phase) {
                    let (kind, service) = (operation.kind, operation.service.clone());
                    let end = operation.finished.is_some();
                    self.trace.say(self.now_us, || {
                        if end {
                            format!("{kind} of {service} has ended")
                        } else {
                            format!("{kind} of {service}: {}", phase.0)
                        }
                    });
                }
            }
        }
    }

    pub(crate) fn host(&self, place: crate::scenario::Place) -> Option<Host> {
        match place {
            crate::scenario::Place::Control => Some(Host::Control),
            crate::scenario::Place::Outside => Some(Host::Outside),
            crate::scenario::Place::Node(number) => self.numbered(number).map(Host::Node),
        }
    }
}

fn client(id: NodeId, kind: LinkKind) -> Process {
    match kind {
        LinkKind::Agent => Process::Agent(id),
        LinkKind::Proxy => Process::Proxy(id),
    }
}

fn receiver(direction: Direction) -> End {
    match direction {
        Direction::Up => End::Server,
        Direction::Down => End::Client,
    }
}

fn hash_of(value: &impl std::hash::Hash) -> u64 {
    use std::hash::Hasher;
    /// FNV-1a: the same on every machine and in every run.
    struct Fnv(u64);
    impl Hasher for Fnv {
        fn finish(&self) -> u64 {
            self.0
        }
        fn write(&mut self, bytes: &[u8]) {
            for byte in bytes {
                self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
    }
    let mut hasher = Fnv(0xcbf2_9ce4_8422_2325);
    value.hash(&mut hasher);
    hasher.finish()
}
