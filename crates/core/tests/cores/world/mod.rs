//! A small world for tests of the cores: one control and some nodes, each with a real core, joined
//! by message queues, with pools and containers that are values in memory. No IO, no time but what
//! a test lets pass.
//!
//! Processes can be killed and started again at any moment: what survives is exactly what their
//! shells would have made durable.

mod ask;
mod node;
mod recovery;
mod transfer;

pub(crate) use node::{JobParcel, Node};

use flocker_core::cluster::{Change, Key, MetaRecord, NodeRecord, Record, State};
use flocker_core::control::{Command, Control, Event, Output, Response, Session};
use flocker_types::api::{ApiError, PlanRequest};
use flocker_types::app::{Application, Placement, PortMapping, ServiceSpec, VolumeMount};
use flocker_types::ids::{
    ApplicationName, ClusterId, Generation, NodeId, NodeName, ServiceId, ServiceName, VolumeName,
};
use flocker_types::link::{AgentMessage, ProxyMessage, ToAgent, ToProxy};
use flocker_types::route::Route;
use flocker_types::time::{Monotonic, Now, UnixMs};
use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;
use uuid::Uuid;

/// Something on its way.
#[derive(Debug)]
pub(crate) enum Parcel {
    ToControl(Session, AgentMessage),
    ProxyToControl(Session, ProxyMessage),
    ToAgent(NodeId, ToAgent),
    ToProxy(NodeId, ToProxy),
    /// A job of a node is to be carried out.
    Job(NodeId, node::JobParcel),
    /// A node's core is to be told something.
    Tell(NodeId, u64, Box<flocker_core::agent::Event>),
}

/// The whole world.
pub(crate) struct World {
    pub(crate) store: BTreeMap<Key, Record>,
    pub(crate) control: Option<Control>,
    pub(crate) nodes: BTreeMap<NodeId, Node>,
    pub(crate) replies: BTreeMap<u64, Result<Response, ApiError>>,
    pub(crate) log: Vec<String>,
    queue: VecDeque<Parcel>,
    sessions: BTreeMap<Session, NodeId>,
    proxy_sessions: BTreeMap<Session, NodeId>,
    pub(crate) routes: BTreeMap<(NodeId, ServiceId), Route>,
    clock_ms: u64,
    /// How wrong the date is.
    pub(crate) date_ahead_ms: u64,
    next: u64,
    /// Messages handled so far; a test can stop the world at any of them.
    pub(crate) steps: u64,
}

pub(crate) fn service(name: &str) -> ServiceId {
    name.parse().expect("a valid name")
}

pub(crate) fn node_id(number: u128) -> NodeId {
    NodeId(Uuid::from_u128(number))
}

/// A database with one volume and one port.
pub(crate) fn database(name: &str, port: u16) -> (ServiceName, ServiceSpec) {
    let mut spec = ServiceSpec::of_image("postgres:15");
    spec.ports.push(PortMapping {
        internal: 5432,
        external: port,
    });
    spec.mounts.push(VolumeMount {
        read_only: false,
        volume: VolumeName::new(format!("{name}-data")).expect("a valid name"),
        target: "/data".to_owned(),
        size_bytes_max: None,
    });
    (ServiceName::new(name).expect("a valid name"), spec)
}

/// "These services, each on that node", as a v1 deployment says it.
pub(crate) fn deployment(
    services: &[((ServiceName, ServiceSpec), &str)],
    nodes: &[&str],
) -> PlanRequest {
    PlanRequest {
        application: Application {
            name: ApplicationName::default(),
            services: services
                .iter()
                .map(|(service, _)| service.clone())
                .collect(),
        },
        placement: Placement {
            services: services
                .iter()
                .map(|((name, _), node)| (name.clone(), (*node).to_owned()))
                .collect(),
            exact_nodes: nodes.iter().map(|node| (*node).to_owned()).collect(),
            remove_absent: false,
        },
    }
}

impl World {
    /// A cluster of nodes n1, n2 ... with everything connected.
    pub(crate) fn new(nodes: u128) -> Self {
        let meta = MetaRecord {
            cluster: ClusterId(Uuid::from_u128(99)),
            generation: Generation::default(),
            service_network: "10.214.0.0/16".parse().expect("a network"),
            container_network: "10.213.0.0/16".parse().expect("a network"),
        };
        let mut world = Self {
            store: BTreeMap::from([(Key::Meta, Record::Meta(meta))]),
            control: None,
            nodes: BTreeMap::new(),
            replies: BTreeMap::new(),
            log: Vec::new(),
            queue: VecDeque::new(),
            sessions: BTreeMap::new(),
            proxy_sessions: BTreeMap::new(),
            routes: BTreeMap::new(),
            clock_ms: 1_000,
            date_ahead_ms: 0,
            next: 0,
            steps: 0,
        };
        for number in 1..=nodes {
            let id = node_id(number);
            let last = u8::try_from(number).expect("few nodes");
            let address = Ipv4Addr::new(10, 0, 0, last);
            let record = NodeRecord {
                id,
                name: NodeName::new(format!("n{number}")).expect("a valid name"),
                address,
                stream_address: None,
                tunnel: None,
                joined: UnixMs(0),
            };
            world.store.insert(Key::Node(id), Record::Node(record));
            world.nodes.insert(id, Node::new(id, address));
        }
        world.start_control();
        for id in world.nodes.keys().copied().collect::<Vec<_>>() {
            world.start_agent(id);
            world.connect_proxy(id);
        }
        world.settle();
        world
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub(crate) fn now(&self) -> Now {
        Now {
            monotonic: Monotonic(self.clock_ms),
            wall: UnixMs(self.clock_ms + self.date_ahead_ms),
        }
    }

    /// Control's process starts, from what the store has.
    pub(crate) fn start_control(&mut self) {
        let state = State::from_records(self.store.values().cloned()).expect("there is a cluster");
        self.control = Some(Control::new(state));
        self.step_control(Event::Tick);
        for id in self.nodes.keys().copied().collect::<Vec<_>>() {
            if self.nodes[&id].agent.is_some() {
                self.connect_agent(id);
            }
            self.connect_proxy(id);
        }
    }

    /// Control's process is killed; connections break.
    pub(crate) fn kill_control(&mut self) {
        self.control = None;
        self.sessions.clear();
        self.proxy_sessions.clear();
        self.queue
            .retain(|parcel| matches!(parcel, Parcel::Job(..) | Parcel::Tell(..)));
        let connected: Vec<NodeId> = self.nodes.keys().copied().collect();
        for id in connected {
            self.tell(id, flocker_core::agent::Event::LinkDown);
        }
    }

    /// An agent's process starts and connects.
    pub(crate) fn start_agent(&mut self, id: NodeId) {
        let now = self.now();
        let node = self.nodes.get_mut(&id).expect("a node");
        let output = node.start(now);
        self.carry_out_agent(id, output);
        self.connect_agent(id);
    }

    /// An agent's process is killed; its jobs end wherever they are. Containers go on.
    pub(crate) fn kill_agent(&mut self, id: NodeId) {
        self.nodes.get_mut(&id).expect("a node").agent = None;
        self.queue.retain(|parcel| {
            !matches!(parcel,
                Parcel::Job(of, _) | Parcel::Tell(of, _, _) | Parcel::ToAgent(of, _) if *of == id)
        });
        let session = self
            .sessions
            .iter()
            .find(|(_, of)| **of == id)
            .map(|(s, _)| *s);
        if let Some(session) = session {
            self.sessions.remove(&session);
            self.queue
                .retain(|p| !matches!(p, Parcel::ToControl(of, _) if *of == session));
            if self.control.is_some() {
                self.step_control(Event::AgentLost { session });
            }
        }
    }

    /// Volume streams between two nodes fail from now on.
    pub(crate) fn cut(&mut self, one: NodeId, other: NodeId) {
        for (id, peer) in [(one, other), (other, one)] {
            self.nodes.get_mut(&id).expect("a node").cut_from = Some(peer);
        }
    }

    /// And now they do not.
    pub(crate) fn mend(&mut self) {
        for node in self.nodes.values_mut() {
            node.cut_from = None;
        }
    }

    fn connect_agent(&mut self, id: NodeId) {
        if self.control.is_none() || self.nodes[&id].agent.is_none() {
            return;
        }
        let session = Session(self.number());
        self.sessions.insert(session, id);
        self.tell(id, flocker_core::agent::Event::LinkUp);
    }

    fn connect_proxy(&mut self, id: NodeId) {
        if self.control.is_none() || self.proxy_sessions.values().any(|of| *of == id) {
            return;
        }
        let session = Session(self.number());
        self.proxy_sessions.insert(session, id);
        let tunnel = (self.nodes[&id].address, 4525).into();
        self.step_control(Event::ProxyConnected {
            session,
            node: id,
            tunnel,
        });
    }

    /// Hands an event to control's core and carries out what follows.
    pub(crate) fn step_control(&mut self, event: Event) {
        let now = self.now();
        let Some(control) = &mut self.control else {
            return;
        };
        let output = control.step(now, event);
        self.carry_out_control(output);
    }

    fn carry_out_control(&mut self, output: Output) {
        for change in output.changes {
            match change {
                Change::Put(record) => drop(self.store.insert(record.key(), record)),
                Change::Delete(key) => drop(self.store.remove(&key)),
            }
        }
        for command in output.commands {
            match command {
                Command::ToAgent(session, message) => {
                    if let Some(node) = self.sessions.get(&session) {
                        self.queue.push_back(Parcel::ToAgent(*node, message));
                    }
                }
                Command::ToProxy(session, message) => {
                    if let Some(node) = self.proxy_sessions.get(&session) {
                        self.queue.push_back(Parcel::ToProxy(*node, message));
                    }
                }
                Command::Close(session, _) => {
                    self.sessions.remove(&session);
                }
                Command::Reply(id, answer) => drop(self.replies.insert(id.0, answer)),
                Command::Publish(event) => self.log.push(event.message),
            }
        }
    }

    /// Hands an event to a node's core and carries out what follows.
    pub(crate) fn tell(&mut self, id: NodeId, event: flocker_core::agent::Event) {
        let now = self.now();
        let Some(agent) = self.nodes.get_mut(&id).and_then(|node| node.agent.as_mut()) else {
            return;
        };
        let output = agent.step(now, event);
        self.carry_out_agent(id, output);
    }

    fn carry_out_agent(&mut self, id: NodeId, output: flocker_core::agent::Output) {
        let node = self.nodes.get_mut(&id).expect("a node");
        if let Some(ledger) = output.ledger {
            node.ledger = ledger;
        }
        for command in output.commands {
            match command {
                flocker_core::agent::Command::Send(message) => {
                    let session = self.sessions.iter().find(|(_, of)| **of == id);
                    if let Some((session, _)) = session {
                        self.queue.push_back(Parcel::ToControl(*session, message));
                    }
                }
                flocker_core::agent::Command::Begin(job, work) => {
                    let parcel = node::JobParcel { job, work };
                    self.queue.push_back(Parcel::Job(id, parcel));
                }
                flocker_core::agent::Command::Cancel(job) => {
                    let queued = |parcel: &Parcel| matches!(parcel, Parcel::Job(of, p) if *of == id && p.job == job);
                    if self.queue.iter().any(queued) {
                        self.queue.retain(|parcel| !queued(parcel));
                        let failure = node::failure("cancelled");
                        let event = flocker_core::agent::Event::JobDone {
                            job,
                            result: Err(failure),
                        };
                        self.post(id, event);
                    }
                }
                _ => {}
            }
        }
    }

    fn post(&mut self, id: NodeId, event: flocker_core::agent::Event) {
        let life = self.nodes[&id].life;
        self.queue
            .push_back(Parcel::Tell(id, life, Box::new(event)));
    }

    /// Handles one parcel; false when there is none.
    pub(crate) fn deliver(&mut self) -> bool {
        let Some(parcel) = self.queue.pop_front() else {
            return false;
        };
        self.steps += 1;
        self.clock_ms += 1;
        match parcel {
            Parcel::ToControl(session, AgentMessage::Hello(hello)) => {
                self.step_control(Event::AgentConnected { session, hello });
            }
            Parcel::ToControl(session, message) => {
                self.step_control(Event::AgentMessage { session, message });
            }
            Parcel::ProxyToControl(session, message) => {
                self.step_control(Event::ProxyMessage { session, message });
            }
            Parcel::ToAgent(id, message) => {
                self.tell(id, flocker_core::agent::Event::Control(message));
            }
            Parcel::ToProxy(id, message) => self.proxy(id, message),
            Parcel::Job(id, parcel) => {
                for (node, event) in node::carry_out(&mut self.nodes, id, parcel) {
                    self.post(node, event);
                }
            }
            Parcel::Tell(id, life, event) => {
                if self.nodes[&id].life == life {
                    self.tell(id, *event);
                }
            }
        }
        self.check();
        true
    }

    fn proxy(&mut self, id: NodeId, message: ToProxy) {
        let routes = match message {
            ToProxy::Route(route) => vec![route],
            ToProxy::Welcome { routes } => routes,
            ToProxy::Gone { .. } | ToProxy::Access(_) | ToProxy::Heartbeat => Vec::new(),
        };
        for route in routes {
            let (service, generation) = (route.service.clone(), route.generation);
            self.routes.insert((id, service.clone()), route);
            let session = self.proxy_sessions.iter().find(|(_, of)| **of == id);
            if let Some((session, _)) = session {
                let applied = ProxyMessage::Applied {
                    service,
                    generation,
                    held: 0,
                };
                self.queue
                    .push_back(Parcel::ProxyToControl(*session, applied));
            }
        }
    }

    /// Until nothing is on its way.
    pub(crate) fn settle(&mut self) {
        for _ in 0..100_000 {
            if !self.deliver() {
                return;
            }
        }
        panic!(
            "the world does not settle; last events: {:?}",
            self.log.last()
        );
    }

    /// Lets time pass, with everything that it makes happen.
    pub(crate) fn pass_ms(&mut self, milliseconds: u64) {
        let end = self.clock_ms + milliseconds;
        while self.clock_ms < end {
            self.clock_ms += 1_000;
            self.step_control(Event::Tick);
            for id in self.nodes.keys().copied().collect::<Vec<_>>() {
                self.tell(id, flocker_core::agent::Event::Tick);
            }
            self.settle();
        }
    }

    /// The invariants that hold at every moment.
    pub(crate) fn check(&self) {
        let volumes: Vec<_> = self
            .nodes
            .values()
            .flat_map(|node| node.pool.holders())
            .collect();
        for (index, volume) in volumes.iter().enumerate() {
            let twice = volumes[index + 1..].iter().any(|other| other == volume);
            assert!(
                !twice || self.one_is_stopped(*volume),
                "one-writer: {volume:?}"
            );
        }
        for service in self.nodes.values().flat_map(Node::running) {
            let running = self
                .nodes
                .values()
                .filter(|n| n.running().contains(&service))
                .count();
            assert!(running <= 1, "{service} runs on {running} nodes");
        }
    }

    /// Between the commit and the source's demotion two copies are marked as holders; then the
    /// older one has no container and never will.
    fn one_is_stopped(&self, volume: flocker_types::ids::VolumeId) -> bool {
        let writers = self
            .nodes
            .values()
            .filter(|node| node.writes(volume))
            .count();
        writers <= 1
    }
}
