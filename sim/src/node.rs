//! A node: a machine with a disk, a pool, an engine, an agent and a proxy.

use crate::agent_process::AgentInput;
use crate::agent_process::AgentProcess;
use crate::echo::Echoes;
use crate::engine::{Call, Container, Engine, Grace};
use crate::event::{Life, What};
use crate::pool::Pool;
use crate::proxy_process::ProxyProcess;
use crate::rng::Rng;
use crate::world::World;
use flocker_core::agent::{ContainerRunSeen, Event, Ledger};
use flocker_types::ids::{BootId, ClusterId, NodeId, ServiceId};
use std::net::Ipv4Addr;
use uuid::Uuid;

/// A container writes by itself about this often, in microseconds.
const WRITES_EVERY_US: u64 = 1_500_000;

/// Where a node's proxy is reached by the others.
pub(crate) const TUNNEL_PORT: u16 = 4525;

/// A node.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) name: String,
    pub(crate) address: Ipv4Addr,
    pub(crate) cluster: ClusterId,
    pub(crate) powered: bool,
    pub(crate) boot: BootId,
    pub(crate) wall_offset_ms: i64,
    pub(crate) drift_ppm: i64,
    /// Everything on the disk takes so many times as long.
    pub(crate) slow: u64,
    /// The disk with the ledger is full.
    pub(crate) state_full: u32,
    pub(crate) agent: AgentProcess,
    pub(crate) proxy: ProxyProcess,
    pub(crate) ledger: Ledger,
    pub(crate) pool: Pool,
    pub(crate) engine: Engine,
    pub(crate) streams_to_cut: u32,
    pub(crate) streams_to_damage: u32,
    pub(crate) echoes: Echoes,
    pub(crate) rng: Rng,
}

impl Node {
    pub(crate) fn new(seed: u64, id: NodeId, cluster: ClusterId, number: u8) -> Self {
        let mut rng = Rng::fork(seed, 100 + u64::from(number));
        let drift = rng.below(2 * crate::clock::DRIFT_PPM_MAX + 1);
        let centre = i64::try_from(crate::clock::DRIFT_PPM_MAX).unwrap_or(0);
        Self {
            id,
            name: format!("n{number}"),
            address: Ipv4Addr::new(10, 0, 0, number),
            cluster,
            powered: true,
            boot: BootId(Uuid::from_u128(1)),
            wall_offset_ms: 0,
            drift_ppm: i64::try_from(drift).unwrap_or(0) - centre,
            slow: 1,
            state_full: 0,
            agent: AgentProcess::default(),
            proxy: ProxyProcess::default(),
            ledger: Ledger::default(),
            pool: Pool::default(),
            engine: Engine::new(),
            streams_to_cut: 0,
            streams_to_damage: 0,
            echoes: Echoes::default(),
            rng,
        }
    }

    /// Time that the disk takes.
    pub(crate) fn disk_us(&mut self, low: u64, high: u64) -> u64 {
        self.rng.between(low, high) * self.slow
    }

    pub(crate) fn disk_full(&self) -> bool {
        self.state_full > 0
    }

    /// The service's container, if it runs.
    pub(crate) fn running(&self, service: &ServiceId) -> Option<&Container> {
        let container = self.engine.containers.get(service);
        container.filter(|container| container.is_running())
    }
}

impl World {
    /// A node's engine does what it was asked for.
    pub(crate) fn engine_acts(&mut self, id: NodeId, life: Life, number: u64) {
        let node = self.node_mut(id);
        if node.engine.life != life || !node.powered {
            return;
        }
        let Some(call) = node.engine.calls.remove(&number) else {
            return;
        };
        let result = match node.engine.fails(&call) {
            Err(failure) => Err(failure),
            Ok(()) => match call {
                Call::Create(service, request) => node.engine.create(&service, *request),
                Call::Start(service) => self.start_container(id, &service),
                Call::Stop(service, grace) => {
                    self.end_container(id, &service, 0, grace);
                    Ok(())
                }
                Call::Remove(service) => node.engine.remove(&service),
            },
        };
        self.node_mut(id).engine.results.insert(number, result);
    }

    fn start_container(
        &mut self,
        id: NodeId,
        service: &ServiceId,
    ) -> Result<(), flocker_types::task::Failure> {
        let now = self.now_us;
        let node = self.node_mut(id);
        if !node.engine.start(service)? {
            return Ok(());
        }
        let name = node.name.clone();
        let listens = node.rng.between(20_000, 700_000);
        let run = node.engine.containers.get(service).map_or(0, |c| c.number);
        self.trace
            .say(now, || format!("{service} starts on {name}"));
        self.checks
            .container_started(now, id, service, &self.nodes, &self.control.store);
        self.after(listens, What::Listens(id, service.clone(), run));
        self.after(1_000, What::Writes(id, service.clone(), run));
        Ok(())
    }

    /// A container ends, at its stop signal or by itself.
    pub(crate) fn end_container(&mut self, id: NodeId, service: &ServiceId, code: i64, how: Grace) {
        let now = self.now_us;
        if self.nodes[&id].running(service).is_none() {
            return;
        }
        if how == Grace::Heeds {
            self.next_number += 1;
            let last = self.next_number;
            self.write_record(id, service, last);
            let run = self.nodes[&id].engine.containers[service].number;
            self.synced(id, service, run, None);
        }
        let node = self.node_mut(id);
        let (life, name) = (node.agent.life, node.name.clone());
        let settles = now + node.rng.between(1_000, 150_000);
        if let Some(container) = node.engine.containers.get_mut(service) {
            container.run = ContainerRunSeen::Exited { code: Some(code) };
            container.listens = false;
            container.expected_by = None;
            container.settled_at_us = settles;
            container.settling_for = life;
        }
        self.trace.say(now, || format!("{service} ends on {name}"));
        self.checks.container_ended(now, id, service);
        // The engine's events reach whoever listens then.
        let news = settles + self.node_mut(id).rng.between(100, 5_000);
        self.queue
            .push(news, What::WatcherHears(id, service.clone(), code));
    }

    /// A container answers at its ports.
    pub(crate) fn container_listens(&mut self, id: NodeId, service: &ServiceId, run: u64) {
        let node = self.node_mut(id);
        let Some(container) = node.engine.containers.get_mut(service) else {
            return;
        };
        if container.number == run && container.is_running() {
            container.listens = true;
            let expected = container.expected_by == Some(node.agent.life);
            self.checks.listens(id, service);
            if expected {
                self.tell_ready(id, service);
            }
        }
    }

    /// The agent's watcher begins to knock.
    pub(crate) fn expect_ready(&mut self, id: NodeId, service: &ServiceId) {
        let node = self.node_mut(id);
        let life = node.agent.life;
        let Some(container) = node.engine.containers.get_mut(service) else {
            return;
        };
        container.expected_by = Some(life);
        if container.listens && container.is_running() {
            self.tell_ready(id, service);
        }
    }

    fn tell_ready(&mut self, id: NodeId, service: &ServiceId) {
        let node = self.node_mut(id);
        let life = node.agent.life;
        let wait = node.rng.between(10, 8_000);
        let event = Event::Ready {
            service: service.clone(),
        };
        let input = Box::new(AgentInput::Event(event));
        self.after(wait, What::AgentTold(id, life, input));
    }

    /// A container writes by itself, now and again.
    pub(crate) fn container_writes(&mut self, id: NodeId, service: &ServiceId, run: u64) {
        let Some(container) = self.nodes[&id].running(service) else {
            return;
        };
        if container.number != run || container.volumes().is_empty() {
            return;
        }
        self.next_number += 1;
        let record = self.next_number;
        self.write_record(id, service, record);
        let node = self.node_mut(id);
        let sync = node.disk_us(500, 30_000);
        let next = node.rng.between(WRITES_EVERY_US / 2, WRITES_EVERY_US * 2);
        self.after(sync, What::Synced(id, service.clone(), run, None));
        self.after(next, What::Writes(id, service.clone(), run));
    }

    /// The engine goes away, with its containers or without; it comes back after a while.
    pub(crate) fn engine_down(&mut self, id: NodeId, containers_too: crate::scenario::Containers) {
        let node = self.node_mut(id);
        if !node.engine.up {
            return;
        }
        node.engine.up = false;
        node.engine.forget_calls();
        let life = node.agent.life;
        if node.agent.core.is_some() {
            node.agent.watches = false;
            self.after(300_000, What::WatcherLooks(id, life));
        }
        if containers_too == crate::scenario::Containers::Die {
            let running: Vec<ServiceId> = self.nodes[&id]
                .engine
                .containers
                .iter()
                .filter(|(_, container)| container.is_running())
                .map(|(service, _)| service.clone())
                .collect();
            for service in running {
                self.end_container(id, &service, 137, Grace::Ignores);
            }
        }
    }

    pub(crate) fn engine_up(&mut self, id: NodeId, life: Life) {
        let node = self.node_mut(id);
        if node.engine.life == life && node.powered {
            node.engine.up = true;
        }
    }

    /// The machine loses its power.
    pub(crate) fn power_off(&mut self, id: NodeId) {
        let now = self.now_us;
        if !self.nodes[&id].powered {
            return;
        }
        let name = self.nodes[&id].name.clone();
        self.trace.say(now, || format!("{name} loses its power"));
        self.node_mut(id).powered = false;
        self.end_agent_process(id);
        self.end_proxy_process(id);
        let node = self.node_mut(id);
        node.engine.forget_calls();
        node.engine.up = false;
        let running: Vec<ServiceId> = node
            .engine
            .containers
            .iter()
            .filter(|(_, container)| container.is_running())
            .map(|(service, _)| service.clone())
            .collect();
        for service in running {
            if let Some(container) = self.node_mut(id).engine.containers.get_mut(&service) {
                container.run = ContainerRunSeen::Exited { code: Some(137) };
                container.listens = false;
                container.settled_at_us = 0;
            }
            self.checks.container_ended(now, id, &service);
        }
        let node = self.node_mut(id);
        for (volume, kept) in node.pool.lose_power() {
            self.checks
                .lost_unsynced(id, volume, kept, &self.nodes[&id]);
        }
        self.note_blocked();
    }

    /// And has it again: a new start of the kernel; its processes start.
    pub(crate) fn power_on(&mut self, id: NodeId) {
        let node = self.node_mut(id);
        if node.powered {
            return;
        }
        node.powered = true;
        node.boot = BootId(Uuid::from_u128(node.boot.0.as_u128() + 1));
        node.engine.up = true;
        let (one, other) = (
            node.rng.between(1_000, 900_000),
            node.rng.between(1_000, 900_000),
        );
        self.after(one, What::AgentStart(id));
        self.after(other, What::ProxyStart(id));
        self.note_blocked();
    }
}
