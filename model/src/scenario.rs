//! What is explored: a cluster in a certain state, what the operator asks of it, and what may go wrong.

use crate::action::{Action, enabled};
use crate::apply::apply;
use crate::machine::Machine;
use crate::property::{Property, Violation, broken};
use crate::shared::Shared;
use crate::state::{Node, Proxy, State, Store};
use flocker_core::agent::Ledger;
use flocker_core::cluster::{Key, MetaRecord, Network, NodeRecord, Record};
use flocker_core::control::{Event, Request, RequestId, Response};
use flocker_core::route::RouteTable;
use flocker_types::api::{DeployRequest, MoveRequest, PlanRequest, RemoveRequest};
use flocker_types::app::{
    Application, Placement, PortMapping, RestartPolicy, ServiceSpec, VolumeMount,
};
use flocker_types::ids::{
    ApplicationName, BootId, ClusterId, Generation, NodeId, NodeName, ServiceId, ServiceName,
    VolumeName,
};
use flocker_types::link::AgentHello;
use flocker_types::time::UnixMs;
use flocker_types::volume::{PoolUsage, StorageKind};
use std::net::Ipv4Addr;
use uuid::Uuid;

/// A thing that can go wrong. Each is tried at every moment at which it can happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Control's process dies and is started again from its store.
    ControlDies,
    /// An agent's process dies and is started again from its ledger and its pool.
    AgentDies,
    /// A node starts anew: its agent, its containers, every call under way.
    NodeReboots,
    /// A connection of an agent to control breaks; its ends learn of it at different times.
    LinkBreaks,
    /// A job fails.
    JobFails,
    /// The engine does not answer in time, and carries out the call later.
    CallIsLate,
    /// A container ends by itself.
    ContainerEnds,
}

/// What the operator asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// Deploy the service on the node of this number.
    Deploy(u8),
    /// Deploy it there, changed.
    Change(u8),
    /// Move it.
    Move(u8),
    /// Remove it; its volume stays.
    Remove,
}

/// Something to explore.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// Nodes.
    pub nodes: u8,
    /// Nodes whose proxies are connected.
    pub proxies: u8,
    /// What was asked, and has ended, before the exploration begins.
    pub before: &'static [Ask],
    /// What is asked, each when the one before has ended, at any moment from then on.
    pub requests: &'static [Ask],
    /// Whether the engine's news of containers that were stopped come at any later time.
    pub late_news: bool,
    /// What may go wrong.
    pub faults: &'static [Fault],
    /// How often something may go wrong.
    pub faults_max: u8,
    /// How often time may pass up to the next limit although something is on its way.
    pub hurries: u8,
}

/// Processes that die.
const DEATHS: &[Fault] = &[Fault::ControlDies, Fault::AgentDies];
/// What goes wrong while everything lives.
const TROUBLES: &[Fault] = &[Fault::LinkBreaks, Fault::JobFails, Fault::CallIsLate];
/// Everything.
const ALL: &[Fault] = &[
    Fault::ControlDies,
    Fault::AgentDies,
    Fault::NodeReboots,
    Fault::LinkBreaks,
    Fault::JobFails,
    Fault::CallIsLate,
    Fault::ContainerEnds,
];

const BASE: Scenario = Scenario {
    name: "",
    nodes: 2,
    proxies: 0,
    before: &[Ask::Deploy(1)],
    requests: &[Ask::Move(2)],
    late_news: false,
    faults: &[],
    faults_max: 0,
    hurries: 0,
};

/// What CI explores.
pub fn small() -> Vec<Scenario> {
    vec![
        Scenario {
            name: "a first move; any process dies at any step",
            faults: DEATHS,
            faults_max: 1,
            ..BASE
        },
        Scenario {
            name: "a move back by a delta; any process dies at any step",
            before: &[Ask::Deploy(1), Ask::Move(2)],
            requests: &[Ask::Move(1)],
            faults: DEATHS,
            faults_max: 1,
            ..BASE
        },
        Scenario {
            name: "a move; a link breaks, a job fails, or the engine is late",
            faults: TROUBLES,
            faults_max: 1,
            ..BASE
        },
        Scenario {
            name: "a move; a node reboots, or its container ends",
            faults: &[Fault::NodeReboots, Fault::ContainerEnds],
            faults_max: 1,
            ..BASE
        },
        Scenario {
            name: "a move with a proxy that holds, and one limit that passes early",
            proxies: 1,
            hurries: 1,
            ..BASE
        },
        Scenario {
            name: "there, back and there again while old snapshots are deleted and news are late",
            late_news: true,
            requests: &[Ask::Move(2), Ask::Move(1), Ask::Move(2)],
            ..BASE
        },
        Scenario {
            name: "three nodes: on to the third, then back to the first",
            nodes: 3,
            before: &[Ask::Deploy(1), Ask::Move(2)],
            requests: &[Ask::Move(3), Ask::Move(1)],
            ..BASE
        },
        Scenario {
            name: "a change of image in place; any process dies",
            requests: &[Ask::Change(1)],
            faults: DEATHS,
            faults_max: 1,
            ..BASE
        },
        Scenario {
            name: "a removal, then a deployment elsewhere; any process dies",
            requests: &[Ask::Remove, Ask::Deploy(2)],
            faults: DEATHS,
            faults_max: 1,
            ..BASE
        },
    ]
}

/// What takes longer.
pub fn large() -> Vec<Scenario> {
    vec![
        Scenario {
            name: "a move with a proxy that holds; control dies",
            proxies: 1,
            faults: &[Fault::ControlDies],
            faults_max: 1,
            ..BASE
        },
        Scenario {
            name: "a move back by a delta; two faults of every kind",
            before: &[Ask::Deploy(1), Ask::Move(2)],
            requests: &[Ask::Move(1)],
            faults: ALL,
            faults_max: 2,
            ..BASE
        },
        Scenario {
            name: "there and back; one fault of every kind, and a limit passes early",
            requests: &[Ask::Move(2), Ask::Move(1)],
            faults: ALL,
            faults_max: 1,
            hurries: 1,
            ..BASE
        },
        Scenario {
            name: "three nodes: on to the third; one fault of every kind",
            nodes: 3,
            before: &[Ask::Deploy(1), Ask::Move(2)],
            requests: &[Ask::Move(3)],
            faults: ALL,
            faults_max: 1,
            ..BASE
        },
    ]
}

fn cluster() -> ClusterId {
    ClusterId(Uuid::from_u128(99))
}

fn node_id(number: u8) -> NodeId {
    NodeId(Uuid::from_u128(u128::from(number)))
}

fn network(text: &str) -> Network {
    text.parse().expect("a network")
}

pub(crate) fn container_network() -> Network {
    network("10.213.0.0/16")
}

/// What a node's agent says of it.
pub(crate) fn hello(node: NodeId, boot: u8, address: Ipv4Addr) -> AgentHello {
    AgentHello {
        cluster: cluster(),
        node,
        name: None,
        boot: BootId(Uuid::from_u128(u128::from(boot) + 1)),
        version: "model".to_owned(),
        stream_address: (address, 4524).into(),
        node_address: address,
        storage: StorageKind::Btrfs,
        pool: PoolUsage {
            size_bytes: 1 << 40,
            free_bytes: 1 << 39,
        },
        volumes: Vec::new(),
        services: Vec::new(),
    }
}

fn service() -> ServiceId {
    "db".parse().expect("a name")
}

/// A database with one volume and one port.
fn deployment(node: u8, image: &str) -> PlanRequest {
    let mut spec = ServiceSpec::of_image(image);
    spec.restart = RestartPolicy::Always;
    spec.ports.push(PortMapping {
        internal: 5432,
        external: 5432,
    });
    spec.mounts.push(VolumeMount {
        read_only: false,
        volume: VolumeName::new("data").expect("a name"),
        target: "/data".to_owned(),
        size_bytes_max: None,
    });
    let name = ServiceName::new("db").expect("a name");
    PlanRequest {
        application: Application {
            name: ApplicationName::default(),
            services: [(name.clone(), spec)].into(),
        },
        placement: Placement {
            services: [(name, format!("n{node}"))].into(),
            exact_nodes: Default::default(),
            remove_absent: false,
        },
    }
}

impl Scenario {
    /// The state in which the exploration begins, reached without a fault.
    pub(crate) fn start(&self, machine: &mut Machine) -> Result<State, Violation> {
        let mut state = self.empty();
        let quiet = Self {
            requests: &[],
            faults: &[],
            faults_max: 0,
            hurries: 0,
            ..self.clone()
        };
        state = quiet.settle(machine, state)?;
        for request in self.before {
            quiet.ask(machine, &mut state, request)?;
            state = quiet.settle(machine, state)?;
        }
        machine.replies.clear();
        Ok(state)
    }

    /// Goes on with whatever comes first until nothing does.
    fn settle(&self, machine: &mut Machine, mut state: State) -> Result<State, Violation> {
        'steps: loop {
            for action in enabled(&state, self) {
                if let Some(next) = apply(machine, self, &state, action)? {
                    state = next;
                    continue 'steps;
                }
            }
            return Ok(state);
        }
    }

    fn empty(&self) -> State {
        let meta = MetaRecord {
            cluster: cluster(),
            generation: Generation::default(),
            service_network: network("10.214.0.0/16"),
            container_network: container_network(),
        };
        let mut store = Store::from([(Key::Meta, Record::Meta(meta))]);
        let mut nodes = Vec::new();
        for number in 1..=self.nodes {
            let address = Ipv4Addr::new(10, 0, 0, number);
            let record = NodeRecord {
                id: node_id(number),
                name: NodeName::new(format!("n{number}")).expect("a name"),
                address,
                stream_address: Some((address, 4524).into()),
                tunnel: Some((address, 4525).into()),
                joined: UnixMs(0),
            };
            store.insert(Key::Node(record.id), Record::Node(record));
            nodes.push(Node {
                id: node_id(number),
                agent: None,
                confirmed: false,
                boot: 0,
                ledger: Shared::new(Ledger::default()),
                pool: Shared::new(Default::default()),
                engine: Shared::new(Default::default()),
                jobs: Vec::new(),
                late: Vec::new(),
                inbox: Default::default(),
                probes: Vec::new(),
                news: Vec::new(),
                receptions: Vec::new(),
            });
        }
        let proxy = |number: u8| Proxy {
            session: None,
            table: Shared::new(RouteTable::new(node_id(number))),
            up: Default::default(),
            down: Default::default(),
        };
        State {
            clock_ms: 1_000,
            control: None,
            store: Shared::new(store),
            nodes,
            links: Vec::new(),
            proxies: (1..=self.proxies).map(proxy).collect(),
            next_session: 1,
            asked: 0,
            news_are_late: self.late_news,
            faults: 0,
            hurries: 0,
            written: Vec::new(),
        }
    }

    /// The operator asks for something, which is begun at once.
    pub(crate) fn ask(
        &self,
        machine: &mut Machine,
        state: &mut State,
        request: &Ask,
    ) -> Result<(), Violation> {
        let plan_of = |request| Request::Plan(Box::new(request));
        match request {
            Ask::Deploy(node) => {
                let plan = plan_of(deployment(*node, "postgres:15"));
                self.deploy(machine, state, plan)
            }
            Ask::Change(node) => {
                let plan = plan_of(deployment(*node, "postgres:16"));
                self.deploy(machine, state, plan)
            }
            Ask::Move(node) => {
                let node = format!("n{node}");
                let service = service();
                self.request(machine, state, Request::Move(MoveRequest { service, node }))
            }
            Ask::Remove => {
                let service = service();
                self.request(machine, state, Request::Remove(RemoveRequest { service }))
            }
        }
    }

    fn deploy(
        &self,
        machine: &mut Machine,
        state: &mut State,
        plan: Request,
    ) -> Result<(), Violation> {
        machine.replies.clear();
        self.request(machine, state, plan)?;
        let answer = machine.replies.pop().map(|(_, answer)| answer);
        if let Some(Ok(Response::Plan(plan))) = answer {
            let request = Request::Deploy(Box::new(DeployRequest { plan: *plan }));
            self.request(machine, state, request)?;
        }
        Ok(())
    }

    fn request(
        &self,
        machine: &mut Machine,
        state: &mut State,
        request: Request,
    ) -> Result<(), Violation> {
        // No two operations may have the same id: the counter of generations is never the same twice.
        let counted = state.store.get(&Key::Meta).map_or(0, |meta| match meta {
            Record::Meta(meta) => meta.generation.0,
            _ => 0,
        });
        let event = Event::Request {
            id: RequestId(counted),
            user: "operator".to_owned(),
            request,
            seed: u128::from(counted) << 64 | 0x5eed,
        };
        machine.control(state, &event)?;
        let answer = machine.replies.last().map(|(_, answer)| answer);
        match answer {
            Some(Err(error)) if state.faults == 0 && state.hurries == 0 => {
                let what = format!("a request was refused: {error:?}");
                Err(broken(Property::CalmSucceeds, what))
            }
            _ => Ok(()),
        }
    }
}

impl Action {
    /// Whether it is a fault of the world rather than its normal course.
    pub(crate) fn is_fault(self) -> bool {
        matches!(
            self,
            Self::Hurry
                | Self::CrashControl(..)
                | Self::CrashAgent(..)
                | Self::Reboot(_)
                | Self::Cut(..)
                | Self::FailJob(..)
                | Self::DelayCall(..)
                | Self::ContainerEnds(_)
        )
    }
}
