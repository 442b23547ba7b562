//! What goes wrong, begins and ends here. Nothing else in the world knows the scenario's faults.

use crate::agent_process::RESTART_US;
use crate::event::What;
use crate::network::Host;
use crate::scenario::{Action, Containers, Fault, Place, Role};
use crate::world::{Process, World};
use crate::{control_process, engine::Grace};
use flocker_core::agent::Event;
use flocker_types::ids::NodeId;

impl World {
    /// An action of the scenario begins.
    pub(crate) fn begin_action(&mut self, index: usize) {
        let Some(timed) = self.scenario.actions.get(index).cloned() else {
            return;
        };
        match timed.action {
            Action::Order(order) => self.order(order),
            Action::Fault(fault) => {
                self.trace.say(self.now_us, || format!("FAULT {fault:?}"));
                let left_ms = self.scenario.faults_end_ms.saturating_sub(timed.at_ms);
                let lasts_us = timed.lasts_ms.min(left_ms) * 1_000;
                self.begin_fault(&fault, lasts_us);
                self.after(lasts_us, What::ActionEnds(index));
            }
        }
    }

    /// It ends.
    pub(crate) fn end_action(&mut self, index: usize) {
        let action = self
            .scenario
            .actions
            .get(index)
            .map(|timed| timed.action.clone());
        if let Some(Action::Fault(fault)) = action {
            self.trace.say(self.now_us, || format!("OVER  {fault:?}"));
            self.end_fault(&fault);
        }
    }

    fn process(&self, role: Role) -> Option<Process> {
        match role {
            Role::Control => Some(Process::Control),
            Role::Agent(number) => self.numbered(number).map(Process::Agent),
            Role::Proxy(number) => self.numbered(number).map(Process::Proxy),
        }
    }

    fn everybody(&self) -> Vec<Host> {
        let nodes = self.nodes.keys().map(|id| Host::Node(*id));
        [Host::Control, Host::Outside]
            .into_iter()
            .chain(nodes)
            .collect()
    }

    /// The ways that a fault closes.
    fn ways(&self, fault: &Fault) -> Vec<(Host, Host)> {
        let pair = |one: Place, other: Place| {
            let (one, other) = (self.host(one)?, self.host(other)?);
            (one != other).then_some((one, other))
        };
        match fault {
            Fault::CutOneWay(from, to) => pair(*from, *to).into_iter().collect(),
            Fault::Cut(one, other) => {
                let way = pair(*one, *other);
                way.into_iter()
                    .flat_map(|(a, b)| [(a, b), (b, a)])
                    .collect()
            }
            Fault::Isolate(place) => {
                let Some(host) = self.host(*place) else {
                    return Vec::new();
                };
                // Nodes that join later are not cut off: they are not in this list at the end either.
                let first = self.scenario.nodes;
                let here = |other: &Host| match other {
                    Host::Node(id) => (1..=first).any(|n| crate::world::node_id(n) == *id),
                    _ => true,
                };
                let others = self
                    .everybody()
                    .into_iter()
                    .filter(|other| *other != host && here(other));
                others
                    .flat_map(|other| [(host, other), (other, host)])
                    .collect()
            }
            _ => Vec::new(),
        }
    }

    fn begin_fault(&mut self, fault: &Fault, lasts_us: u64) {
        for (from, to) in self.ways(fault) {
            self.cut_way(from, to);
        }
        match fault {
            Fault::Kill(role) => self.kill(*role),
            Fault::Pause(role) => {
                if let Some(process) = self.process(*role) {
                    self.pause(process);
                }
            }
            Fault::WallClock(Place::Control, by) => self.control.wall_offset_ms += by,
            Fault::SlowStore(ms) => self.control.store_us.1 += ms * 1_000,
            Fault::StoreFails(times) => self.control.store_failures += times,
            Fault::RegistryDown => self.registry_down += 1,
            Fault::Slow(one, other, ms) => self.slow_down(*one, *other, ms * 1_000),
            Fault::Exit(service, code) => self.exit(*service, *code),
            Fault::Unhealthy(service) => self.unhealthy(*service),
            fault => self.begin_on_node(fault, lasts_us),
        }
    }

    fn begin_on_node(&mut self, fault: &Fault, lasts_us: u64) {
        let Some(id) = fault.node().and_then(|number| self.numbered(number)) else {
            return;
        };
        let until = self.now_us + lasts_us;
        let node = self.node_mut(id);
        match fault {
            Fault::PowerLoss(_) => self.power_off(id),
            Fault::EngineDown(_, containers) => self.engine_down(id, *containers),
            Fault::CutStreams(_, times) => node.streams_to_cut += times,
            Fault::DamageStreams(_, times) => node.streams_to_damage += times,
            Fault::Echo(_, times) => node.echoes.due += times,
            Fault::SlowDisk(_, factor) => node.slow = *factor,
            Fault::FullPool(_) => node.pool.full += 1,
            Fault::FullDisk(_) => node.state_full += 1,
            Fault::StorageFails(_, call, times) => {
                node.pool.failing.insert(*call, *times);
            }
            Fault::RuntimeFails(_, call, times) => {
                node.engine.failing.insert(*call, *times);
            }
            Fault::RuntimeHangs(_, call) => {
                node.engine.hanging.insert(*call, until);
            }
            Fault::ImagesGone(_) => node.engine.images.clear(),
            Fault::WallClock(_, by) => node.wall_offset_ms += by,
            _ => {}
        }
    }

    fn end_fault(&mut self, fault: &Fault) {
        for (from, to) in self.ways(fault) {
            self.mend_way(from, to);
        }
        match fault {
            Fault::Kill(role) => self.revive(*role),
            Fault::Pause(role) => {
                if let Some(process) = self.process(*role) {
                    self.resume(process);
                }
            }
            Fault::SlowStore(ms) => self.control.store_us.1 -= ms * 1_000,
            Fault::StoreFails(_) => self.control.store_failures = 0,
            Fault::RegistryDown => self.registry_down -= 1,
            Fault::Slow(one, other, _) => self.slow_down(*one, *other, 0),
            Fault::Unhealthy(service) => self.healthy(*service),
            fault => self.end_on_node(fault),
        }
    }

    fn end_on_node(&mut self, fault: &Fault) {
        let Some(id) = fault.node().and_then(|number| self.numbered(number)) else {
            return;
        };
        let node = self.node_mut(id);
        match fault {
            Fault::PowerLoss(_) => self.after(0, What::PowerOn(id)),
            Fault::EngineDown(..) => {
                let life = node.engine.life;
                self.after(0, What::EngineUp(id, life));
            }
            Fault::CutStreams(..) => node.streams_to_cut = 0,
            Fault::DamageStreams(..) => node.streams_to_damage = 0,
            Fault::Echo(..) => node.echoes.due = 0,
            Fault::SlowDisk(..) => node.slow = 1,
            Fault::FullPool(_) => node.pool.full -= 1,
            Fault::FullDisk(_) => node.state_full -= 1,
            Fault::StorageFails(_, call, _) => {
                node.pool.failing.remove(call);
            }
            Fault::RuntimeFails(_, call, _) => {
                node.engine.failing.remove(call);
            }
            Fault::RuntimeHangs(_, call) => {
                node.engine.hanging.remove(call);
            }
            _ => {}
        }
    }

    /// A process is killed.
    fn kill(&mut self, role: Role) {
        match (role, self.process(role)) {
            (Role::Control, _) => {
                self.control.held_down += 1;
                self.end_control_process();
            }
            (_, Some(Process::Agent(id))) => {
                self.node_mut(id).agent.held_down += 1;
                self.end_agent_process(id);
            }
            (_, Some(Process::Proxy(id))) => {
                self.node_mut(id).proxy.held_down += 1;
                self.end_proxy_process(id);
            }
            _ => {}
        }
    }

    /// And started again.
    fn revive(&mut self, role: Role) {
        match (role, self.process(role)) {
            (Role::Control, _) => {
                self.control.held_down -= 1;
                self.after(control_process::RESTART_US, What::ControlStart);
            }
            (_, Some(Process::Agent(id))) => {
                self.node_mut(id).agent.held_down -= 1;
                self.after(RESTART_US, What::AgentStart(id));
            }
            (_, Some(Process::Proxy(id))) => {
                self.node_mut(id).proxy.held_down -= 1;
                self.after(RESTART_US, What::ProxyStart(id));
            }
            _ => {}
        }
    }

    fn slow_down(&mut self, one: Place, other: Place, extra_us: u64) {
        if let (Some(one), Some(other)) = (self.host(one), self.host(other)) {
            self.network.slow_down(one, other, extra_us);
            self.network.slow_down(other, one, extra_us);
        }
    }

    fn running_on(&self, service: usize) -> Option<(NodeId, flocker_types::ids::ServiceId)> {
        let id = self.scenario.services.get(service)?.id();
        let node = self
            .nodes
            .values()
            .find(|node| node.running(&id).is_some())?;
        Some((node.id, id))
    }

    fn exit(&mut self, service: usize, code: i64) {
        if let Some((node, id)) = self.running_on(service) {
            self.end_container(node, &id, code, Grace::Ignores);
        }
    }

    fn unhealthy(&mut self, service: usize) {
        if let Some((node, id)) = self.running_on(service) {
            let message = "the check fails".to_owned();
            let event = Event::Unhealthy {
                service: id,
                message,
            };
            self.agent_event(node, event);
        }
    }

    fn healthy(&mut self, service: usize) {
        if let Some((node, id)) = self.running_on(service)
            && self.nodes[&node].running(&id).is_some_and(|c| c.listens)
        {
            self.agent_event(node, Event::Ready { service: id });
        }
    }
}

impl Fault {
    /// The node that it befalls, where it is one node.
    fn node(&self) -> Option<u8> {
        match self {
            Self::PowerLoss(node)
            | Self::EngineDown(node, _)
            | Self::CutStreams(node, _)
            | Self::DamageStreams(node, _)
            | Self::Echo(node, _)
            | Self::SlowDisk(node, _)
            | Self::FullPool(node)
            | Self::FullDisk(node)
            | Self::StorageFails(node, ..)
            | Self::RuntimeFails(node, ..)
            | Self::RuntimeHangs(node, _)
            | Self::ImagesGone(node)
            | Self::WallClock(Place::Node(node), _) => Some(*node),
            _ => None,
        }
    }

    /// Whether a container may stay down by it, until somebody deploys it again. An engine that takes
    /// its containers with it while the agent is dead looks as if they had ended by themselves.
    pub fn hinders_starts(&self) -> bool {
        matches!(
            self,
            Self::Exit(..)
                | Self::RuntimeFails(..)
                | Self::RuntimeHangs(..)
                | Self::StorageFails(..)
                | Self::FullPool(_)
                | Self::FullDisk(_)
                | Self::ImagesGone(_)
                | Self::RegistryDown
                | Self::EngineDown(_, Containers::Die)
        )
    }

    /// Whether containers may go down with it.
    pub fn stops_containers(&self) -> bool {
        matches!(
            self,
            Self::PowerLoss(_) | Self::EngineDown(_, Containers::Die) | Self::Exit(..)
        )
    }
}
