//! Control's core: what the cluster does next.
//!
//! One state machine. Its durable half is the [`State`]; the rest is what the connected agents and
//! proxies have said and is rebuilt when they connect again. Every step handles one event, then
//! drives each operation as far as it goes, then does the chores.
//!
//! Called by control's shell alone. It never waits, and it never sends anything that does not
//! follow from what the same step has made durable.

mod access;
mod chores;
mod event;
mod handlers;
mod links;
mod logs;
mod requests;
mod view;

pub use event::{AccessRequest, Command, Event, Output, Request, RequestId, Response, Session};

use crate::cluster::{Key, State, TokenRecord};
use crate::operation::Live;
use crate::plan::Observed;
pub(crate) use chores::{demotion_head, newest_common};
use flocker_types::api::EventRecord;
use flocker_types::ids::{
    Generation, NodeId, OperationId, ServiceId, SnapshotName, TaskId, VolumeId,
};
use flocker_types::limits::OperationLimits;
use flocker_types::link::{ToAgent, ToProxy};
use flocker_types::route::{Backend, Route, RoutePort, RouteState};
use flocker_types::task::{ContainerState, Directive, ServiceStatus, Task, Want};
use flocker_types::time::{Monotonic, Now, UnixMs};
pub(crate) use requests::Ids;

use links::Links;
use std::collections::{BTreeMap, BTreeSet};

/// The state machine of `flocker control`.
#[derive(Debug, Clone)]
pub struct Control {
    pub(crate) state: State,
    /// How long operations wait.
    pub(crate) limits: OperationLimits,
    pub(crate) links: Links,
    /// What each agent last said of each service.
    pub(crate) statuses: BTreeMap<(ServiceId, NodeId), ServiceStatus>,
    /// What each proxy has in force of each service.
    pub(crate) applied: BTreeMap<(ServiceId, NodeId), Generation>,
    /// What each proxy could not put in force.
    pub(crate) route_problems: BTreeMap<(ServiceId, NodeId), String>,
    pub(crate) live: BTreeMap<OperationId, Live>,
    chores: BTreeMap<TaskId, (NodeId, Task)>,
    waiting: Vec<(RequestId, OperationId)>,
    logs: BTreeMap<u64, logs::LogRequest>,
    /// Snapshots that sources have seen arrive on a node and that the node itself has not told of yet:
    /// what it said before they came may arrive after them.
    pub(crate) confirmed: BTreeMap<(VolumeId, NodeId), Vec<SnapshotName>>,
    /// Since when the grace time that is left of volumes to be deleted is being counted.
    grace_since: BTreeMap<VolumeId, Monotonic>,
    event_sequence: u64,
    pub(crate) now: Now,
    pub(crate) commands: Vec<Command>,
}

impl Control {
    /// Control over a state that was just read from the store. Call [`step`](Self::step) with
    /// [`Event::Tick`] first: operations that were under way go on from there.
    pub fn new(state: State) -> Self {
        let zero = Now {
            monotonic: Monotonic::default(),
            wall: UnixMs::default(),
        };
        Self {
            state,
            limits: OperationLimits::default(),
            links: Links::default(),
            statuses: BTreeMap::new(),
            applied: BTreeMap::new(),
            route_problems: BTreeMap::new(),
            live: BTreeMap::new(),
            chores: BTreeMap::new(),
            waiting: Vec::new(),
            logs: BTreeMap::new(),
            confirmed: BTreeMap::new(),
            grace_since: BTreeMap::new(),
            event_sequence: 0,
            now: zero,
            commands: Vec::new(),
        }
    }

    /// The same, with other limits for its operations.
    #[must_use]
    pub fn with_limits(self, limits: OperationLimits) -> Self {
        Self { limits, ..self }
    }

    /// The state, to look at.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The state, to keep.
    pub(crate) fn into_state(self) -> State {
        self.state
    }

    /// A token by its public id, if there is one that has not been used.
    pub fn token(&self, id: &str) -> Option<&TokenRecord> {
        self.state.tokens.get(id)
    }

    /// When the next tick is needed at the latest; none when only events matter.
    pub fn next_deadline(&self) -> Option<Monotonic> {
        self.live.values().filter_map(|live| live.wake).min()
    }

    /// Takes one event and says what follows from it.
    pub fn step(&mut self, now: Now, event: Event) -> Output {
        assert!(now.monotonic >= self.now.monotonic, "time went back");
        self.now = now;
        self.handle(event);
        self.drive_operations();
        self.do_chores();
        self.check_invariants();
        Output {
            changes: self.state.take_changes(),
            commands: std::mem::take(&mut self.commands),
        }
    }

    fn drive_operations(&mut self) {
        let running: BTreeSet<OperationId> = self
            .state
            .services
            .values()
            .filter_map(|service| service.operation)
            .collect();
        for id in running {
            crate::operation::drive(self, id);
        }
        self.answer_waiting();
    }

    /// Cheap checks after every step. A failure is a mistake of ours, and going on would make it
    /// worse; the shell has written nothing of this step yet.
    fn check_invariants(&self) {
        for service in self.state.services.values() {
            if let Some(id) = service.operation {
                let operation = &self.state.operations[&id].operation;
                assert_eq!(
                    operation.service, service.id,
                    "operation of another service"
                );
                assert!(
                    operation.finished.is_none(),
                    "a finished operation holds its service"
                );
            }
            let run = service
                .directives
                .values()
                .filter(|directive| matches!(directive.want, Want::Run { .. }))
                .count();
            assert!(run <= 1, "{} is told to run on {run} nodes", service.id);
        }
    }

    /// What the planner needs beyond the state.
    pub(crate) fn observed(&self) -> Observed {
        let running = self
            .state
            .services
            .values()
            .filter(|service| {
                let status = service.node.and_then(|node| self.status(&service.id, node));
                status.is_some_and(|status| {
                    matches!(
                        status.state,
                        ContainerState::Running { .. }
                            | ContainerState::Starting
                            | ContainerState::Unhealthy { .. }
                    )
                })
            })
            .map(|service| service.id.clone())
            .collect();
        Observed {
            connected: self.links.agents(),
            pools: self.links.pools(),
            running,
        }
    }

    /// What a node last said of a service.
    pub(crate) fn status(&self, service: &ServiceId, node: NodeId) -> Option<&ServiceStatus> {
        self.statuses.get(&(service.clone(), node))
    }

    /// Tells a node in which state a service shall be there, from now on.
    pub(crate) fn direct(&mut self, service: &ServiceId, node: NodeId, want: Want) -> Generation {
        let generation = self.state.next_generation();
        let directive = Directive {
            service: service.clone(),
            generation,
            want,
        };
        if let Some(record) = self.state.service_mut(service) {
            record.directives.insert(node, directive.clone());
        }
        self.tell_agent(node, ToAgent::Directive(directive));
        generation
    }

    /// Sends to a node's agent, if it is connected. Whatever must arrive is also part of what the
    /// agent gets when it connects.
    pub(crate) fn tell_agent(&mut self, node: NodeId, message: ToAgent) {
        if let Some(session) = self.links.agent(node) {
            self.commands.push(Command::ToAgent(session, message));
        }
    }

    /// Tells every proxy how a service is reached from now on.
    pub(crate) fn set_route(&mut self, service: &ServiceId, state: RouteState) {
        let generation = self.state.next_generation();
        let Some(record) = self.state.service_mut(service) else {
            return;
        };
        let exposed = record
            .prepared
            .as_ref()
            .map_or(&[][..], |p| &p.exposed_ports[..]);
        let mut ports: Vec<RoutePort> = record
            .spec
            .ports
            .iter()
            .map(|port| RoutePort {
                internal: port.internal,
                external: Some(port.external),
            })
            .collect();
        for internal in record.spec.expose.iter().chain(exposed) {
            if ports.iter().all(|port| port.internal != *internal) {
                ports.push(RoutePort {
                    internal: *internal,
                    external: None,
                });
            }
        }
        if record.node.is_none() && state == RouteState::Down {
            // Its ports are free for others.
            ports.clear();
        }
        record.route = Route {
            generation,
            ports,
            state,
            ..record.route.clone()
        };
        let route = record.route.clone();
        for session in self.links.proxies() {
            self.commands
                .push(Command::ToProxy(session, ToProxy::Route(route.clone())));
        }
    }

    /// Where a service that runs on a node is reached, once that is known.
    pub(crate) fn backend(&self, service: &ServiceId, node: NodeId) -> Option<Backend> {
        let prepared = self.state.services.get(service)?.prepared.as_ref()?;
        let tunnel = self.state.nodes.get(&node)?.tunnel?;
        Some(Backend {
            node,
            tunnel,
            container: prepared.address,
        })
    }

    /// Says that something happened, to whoever listens.
    pub(crate) fn publish(
        &mut self,
        message: String,
        service: Option<&ServiceId>,
        node: Option<NodeId>,
        operation: Option<OperationId>,
    ) {
        self.event_sequence += 1;
        let node = node
            .and_then(|id| self.state.nodes.get(&id))
            .map(|node| node.name.clone());
        self.commands.push(Command::Publish(EventRecord {
            sequence: self.event_sequence,
            at: self.now.wall,
            message,
            service: service.cloned(),
            node,
            operation,
        }));
    }

    /// A node's name, for people.
    pub(crate) fn node_name(&self, id: NodeId) -> String {
        self.state
            .nodes
            .get(&id)
            .map_or_else(|| id.short(), |node| node.name.to_string())
    }

    /// Gives a task of an operation to a node, and remembers it until it has ended.
    pub(crate) fn touch_operation(&mut self, id: OperationId) {
        self.state.touch(Key::Operation(id));
    }
}
