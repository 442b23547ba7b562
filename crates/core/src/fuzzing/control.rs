//! A history of control's core: people ask, two nodes do what they are told, the third lies.

use super::input::Input;
use super::said::{CLUSTER, Names, node_id};
use crate::cluster::{Change, Key, MetaRecord, NodeRecord, Record, State, record_from_json};
use crate::control::{Command, Control, Event, Output, Request, RequestId, Response, Session};
use flocker_types::api::{
    DeployRequest, MoveRequest, PlanRequest, RemoveRequest, RemoveVolumeRequest,
    RestoreVolumeRequest,
};
use flocker_types::app::{Application, Placement, PortMapping, ServiceSpec, VolumeMount};
use flocker_types::ids::{Generation, NodeId, ServiceName, VolumeId};
use flocker_types::link::{AgentHello, AgentMessage, Follow, ProxyMessage, ToAgent};
use flocker_types::plan::Plan;
use flocker_types::task::{Directive, ServiceStatus, Task, Work};
use flocker_types::time::{Monotonic, Now, UnixMs};
use flocker_types::volume::{PoolUsage, StorageKind, VolumeCopy};
use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;

pub(super) const NODES: usize = 3;
/// The one that lies.
const LIAR: usize = 3;
const STEPS_MAX: usize = 400;
/// No step says more than this.
const COMMANDS_MAX: usize = 1_000;

pub(super) fn run(mut input: Input<'_>) {
    let mut world = World::new();
    for _ in 0..STEPS_MAX {
        if input.is_empty() {
            break;
        }
        world.something(&mut input);
    }
    // Whatever was written can be read, and gone on from.
    world.restart();
    world.tick(3_600_000);
}

pub(super) struct World {
    control: Control,
    store: BTreeMap<Key, Record>,
    pub(super) clock_ms: u64,
    next: u64,
    names: Names,
    plan: Option<Plan>,
    agents: BTreeMap<NodeId, Session>,
    proxies: BTreeMap<NodeId, Session>,
    pub(super) tasks: VecDeque<(NodeId, Task)>,
    pub(super) directives: VecDeque<(NodeId, Directive)>,
    applied: VecDeque<(NodeId, ProxyMessage)>,
    pub(super) copies: BTreeMap<(NodeId, VolumeId), VolumeCopy>,
}

impl World {
    fn new() -> Self {
        let meta = MetaRecord {
            cluster: CLUSTER,
            generation: Generation::default(),
            service_network: "10.214.0.0/24".parse().expect("a network"),
            container_network: "10.213.0.0/24".parse().expect("a network"),
        };
        let mut store = BTreeMap::from([(Key::Meta, Record::Meta(meta))]);
        for number in 1..=NODES {
            let id = node_id(number);
            let record = NodeRecord {
                id,
                name: format!("n{number}").parse().expect("a valid name"),
                address: address(number),
                stream_address: None,
                tunnel: None,
                joined: UnixMs(0),
            };
            store.insert(Key::Node(id), Record::Node(record));
        }
        let state = State::from_records(store.values().cloned()).expect("there is a cluster");
        let mut world = Self {
            control: Control::new(state),
            store,
            clock_ms: 1_000,
            next: 0,
            names: Names::new(),
            plan: None,
            agents: BTreeMap::new(),
            proxies: BTreeMap::new(),
            tasks: VecDeque::new(),
            directives: VecDeque::new(),
            applied: VecDeque::new(),
            copies: BTreeMap::new(),
        };
        world.tick(0);
        for number in 1..=NODES {
            world.connect(number, Vec::new(), Vec::new());
            world.connect_proxy(number);
        }
        world
    }

    fn something(&mut self, input: &mut Input<'_>) {
        match input.below(16) {
            0 => self.ask_for_plan(input),
            1 => {
                if let Some(plan) = self.plan.clone() {
                    self.ask(Request::Deploy(Box::new(DeployRequest { plan })));
                }
            }
            2 => self.ask_something(input),
            3..=6 => self.do_task(input),
            7 | 8 => self.follow_directive(input),
            9 => {
                if let Some((node, message)) = self.applied.pop_front() {
                    self.proxy_says(node, message);
                }
            }
            10 => self.tick(input.number().min(100_000)),
            11 => self.reconnect(input),
            12 => {
                let message = self.proxy_lie(input);
                self.proxy_says(node_id(LIAR), message);
            }
            13 => self.restart(),
            _ => {
                let message = self.names.anything(input);
                self.agent_says(node_id(LIAR), message);
            }
        }
    }

    /// One event, what follows from it, and whether that may be.
    fn step(&mut self, event: Event) {
        let liar = match &event {
            Event::AgentMessage { session, .. } => self.agents.get(&node_id(LIAR)) == Some(session),
            Event::ProxyMessage { .. } => true,
            _ => false,
        };
        let before = self.control.state().clone();
        self.clock_ms += 1;
        let now = Now {
            monotonic: Monotonic(self.clock_ms),
            wall: UnixMs(self.clock_ms),
        };
        let output = self.control.step(now, event);
        check_volumes(&before, self.control.state());
        if liar {
            check_lie(&before, self.control.state());
        }
        let services = self.control.state().services.len();
        assert!(self.control.statuses.len() <= services * NODES);
        assert!(self.control.applied.len() <= services * NODES);
        assert!(self.control.route_problems.len() <= services * NODES);
        self.carry_out(output);
    }

    fn carry_out(&mut self, output: Output) {
        assert!(output.commands.len() <= COMMANDS_MAX);
        for change in output.changes {
            match change {
                Change::Put(record) => {
                    let json = record.to_json().expect("records have a JSON form");
                    assert_eq!(record_from_json(&json).expect("they can be read"), record);
                    self.store.insert(record.key(), record);
                }
                Change::Delete(key) => drop(self.store.remove(&key)),
            }
        }
        for command in output.commands {
            match command {
                Command::ToAgent(session, message) => {
                    let node = self.agents.iter().find(|(_, of)| **of == session);
                    if let Some((node, _)) = node {
                        self.told(*node, message);
                    }
                }
                Command::ToProxy(session, flocker_types::link::ToProxy::Route(route)) => {
                    let node = self.proxies.iter().find(|(_, of)| **of == session);
                    if let Some((node, _)) = node {
                        let message = ProxyMessage::Applied {
                            service: route.service,
                            generation: route.generation,
                            held: 0,
                        };
                        self.applied.push_back((*node, message));
                    }
                }
                Command::Reply(_, Ok(Response::Plan(plan))) => self.plan = Some(*plan),
                _ => {}
            }
        }
        self.applied.truncate(64);
        let state = self.control.state();
        for volume in state.volumes.values() {
            Names::note(&mut self.names.volumes, volume.id);
            Names::note(&mut self.names.epochs, volume.epoch);
        }
    }

    fn told(&mut self, node: NodeId, message: ToAgent) {
        match message {
            ToAgent::Task(task) => {
                Names::note(&mut self.names.tasks, task.id);
                if let Work::Copy { volumes, .. } = &task.work {
                    for copy in volumes {
                        Names::note(&mut self.names.snapshots, copy.snapshot.clone());
                    }
                }
                self.tasks.push_back((node, task));
                self.tasks.truncate(64);
            }
            ToAgent::Directive(directive) => {
                Names::note(&mut self.names.generations, directive.generation);
                self.directives.push_back((node, directive));
                self.directives.truncate(64);
            }
            _ => {}
        }
    }

    fn ask(&mut self, request: Request) {
        self.next += 1;
        let id = RequestId(self.next);
        self.step(Event::Request {
            id,
            user: "ops".to_owned(),
            request,
            seed: u128::from(self.next) << 64 | 0x5eed,
        });
    }

    fn ask_for_plan(&mut self, input: &mut Input<'_>) {
        let mut services = BTreeMap::new();
        let mut placement = BTreeMap::new();
        for name in ["a", "b"] {
            if input.one_in(4) {
                continue;
            }
            let service: ServiceName = name.parse().expect("a valid name");
            services.insert(service.clone(), spec(name, input));
            placement.insert(service, format!("n{}", 1 + input.below(NODES)));
        }
        let request = PlanRequest {
            application: Application {
                name: Default::default(),
                services,
            },
            placement: Placement {
                services: placement,
                exact_nodes: Default::default(),
                remove_absent: input.one_in(8),
            },
        };
        self.ask(Request::Plan(Box::new(request)));
    }

    fn ask_something(&mut self, input: &mut Input<'_>) {
        let service = self.names.service(input);
        let volume = self.names.volume(input);
        let request = match input.below(8) {
            0..=2 => Request::Move(MoveRequest {
                service,
                node: format!("n{}", 1 + input.below(NODES)),
            }),
            3 => Request::Remove(RemoveRequest { service }),
            4 => Request::RemoveVolume(RemoveVolumeRequest {
                volume,
                grace_ms: input.number(),
            }),
            5 => Request::RestoreVolume(RestoreVolumeRequest { volume }),
            6 => Request::Status,
            _ => Request::Logs {
                service,
                tail: None,
                follow: Follow::Yes,
            },
        };
        self.ask(request);
        if input.one_in(8) {
            self.step(Event::RequestGone(RequestId(self.next)));
        }
    }

    fn tick(&mut self, milliseconds: u64) {
        self.clock_ms += milliseconds;
        self.step(Event::Tick);
    }

    fn restart(&mut self) {
        let records = self.store.values().cloned();
        let state = State::from_records(records).expect("there is a cluster");
        self.control = Control::new(state);
        self.agents.clear();
        self.proxies.clear();
        self.tasks.clear();
        self.tick(0);
        for number in 1..=NODES {
            let copies = self.copies_of(number);
            self.connect(number, copies, Vec::new());
            self.connect_proxy(number);
        }
    }

    fn copies_of(&self, number: usize) -> Vec<VolumeCopy> {
        let of = self.copies.iter();
        of.filter(|((node, _), _)| *node == node_id(number))
            .map(|(_, copy)| copy.clone())
            .collect()
    }

    fn reconnect(&mut self, input: &mut Input<'_>) {
        let number = 1 + input.below(NODES);
        if input.one_in(2)
            && let Some(session) = self.agents.remove(&node_id(number))
        {
            self.step(Event::AgentLost { session });
        }
        if number == LIAR {
            let copies = input.some(|input| self.names.copy(input));
            let services = input.some(|input| self.names.status(input));
            self.connect(number, copies, services);
        } else {
            self.connect(number, self.copies_of(number), Vec::new());
        }
        if input.one_in(4) {
            self.connect_proxy(number);
        }
    }

    fn connect(&mut self, number: usize, volumes: Vec<VolumeCopy>, services: Vec<ServiceStatus>) {
        self.next += 1;
        let session = Session(self.next);
        self.agents.insert(node_id(number), session);
        let hello = AgentHello {
            cluster: CLUSTER,
            node: node_id(number),
            boot: flocker_types::ids::BootId(uuid::Uuid::from_u128(1)),
            name: None,
            version: "2.0.0".to_owned(),
            stream_address: (address(number), 4524).into(),
            node_address: address(number),
            storage: StorageKind::Btrfs,
            pool: PoolUsage {
                size_bytes: 1 << 40,
                free_bytes: 1 << 39,
            },
            volumes,
            services,
        };
        let hello = Box::new(hello);
        self.step(Event::AgentConnected { session, hello });
    }

    fn connect_proxy(&mut self, number: usize) {
        self.next += 1;
        let (session, node) = (Session(self.next), node_id(number));
        self.proxies.insert(node, session);
        let tunnel = (address(number), 4525).into();
        self.step(Event::ProxyConnected {
            session,
            node,
            tunnel,
        });
    }

    pub(super) fn agent_says(&mut self, node: NodeId, message: AgentMessage) {
        if let Some(session) = self.agents.get(&node).copied() {
            self.step(Event::AgentMessage { session, message });
        }
    }

    fn proxy_says(&mut self, node: NodeId, message: ProxyMessage) {
        if let Some(session) = self.proxies.get(&node).copied() {
            self.step(Event::ProxyMessage { session, message });
        }
    }

    fn proxy_lie(&mut self, input: &mut Input<'_>) -> ProxyMessage {
        let service = self.names.service(input);
        let generation = self.names.generation(input);
        match input.below(3) {
            0 => ProxyMessage::Applied {
                service,
                generation,
                held: u32::from(input.byte()),
            },
            1 => ProxyMessage::Problem {
                service,
                generation,
                message: input.text(),
            },
            _ => ProxyMessage::Waited {
                service,
                connections: u32::from(input.byte()) << 24,
                longest_ms: input.number(),
            },
        }
    }
}

fn address(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, u8::try_from(number).unwrap_or(9))
}

fn spec(name: &str, input: &mut Input<'_>) -> ServiceSpec {
    let mut spec = ServiceSpec::of_image("postgres:15");
    spec.ports.push(PortMapping {
        internal: 80,
        external: 8_000 + u16::from(input.byte() % 3),
    });
    if !input.one_in(4) {
        spec.mounts.push(VolumeMount {
            volume: format!("{name}-data").parse().expect("a valid name"),
            target: "/data".to_owned(),
            size_bytes_max: input.maybe(Input::number),
            read_only: input.one_in(8),
        });
    }
    spec.pause_budget_ms = input.number();
    spec
}

/// A volume changes its holder by an operation that moves it there, and its epoch grows by one.
fn check_volumes(before: &State, after: &State) {
    for old in before.volumes.values() {
        let Some(new) = after.volumes.get(&old.id) else {
            assert!(
                !old.created || old.destroy_after.is_some(),
                "nobody asked for it"
            );
            continue;
        };
        if new.holder == old.holder && new.epoch == old.epoch {
            continue;
        }
        assert_eq!(new.epoch, old.epoch.next(), "an epoch was left out");
        let mut operations = before.operations.values();
        let commits = operations.any(|record| {
            let operation = &record.operation;
            operation.finished.is_none() && operation.target == Some(new.holder)
        });
        assert!(commits, "a new holder without an operation");
    }
}

/// What one node says of itself changes nothing of the others, and nothing that people decide.
fn check_lie(before: &State, after: &State) {
    assert_eq!(before.tokens, after.tokens);
    let known = |state: &State| state.services.keys().cloned().collect::<Vec<_>>();
    assert_eq!(known(before), known(after));
    for (id, old) in &before.nodes {
        assert!(*id == node_id(LIAR) || after.nodes.get(id) == Some(old));
    }
    for old in before.volumes.values() {
        let Some(new) = after.volumes.get(&old.id) else {
            continue;
        };
        assert_eq!(old.destroy_after, new.destroy_after);
        for number in 1..=NODES {
            let id = node_id(number);
            assert!(number == LIAR || old.copies.get(&id) == new.copies.get(&id));
        }
    }
}
