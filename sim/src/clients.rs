//! Clients: they write numbered records into services through the proxies' routes, are held while
//! a route is held, and remember what was acknowledged.

use crate::event::What;
use crate::network::Host;
use crate::rng::Rng;
use crate::world::World;
use flocker_core::route::{Decision, ListenerKey, Origin};
use flocker_types::ids::{NodeId, ServiceId};
use std::collections::BTreeMap;

/// A connection that reaches nothing is kept for this long, in microseconds.
const REACH_US_MAX: u64 = 3_000_000;
/// Between two attempts to reach a container, in microseconds.
const ATTEMPT_US: u64 = 40_000;

/// Somebody who uses a service again and again.
#[derive(Debug)]
pub(crate) struct Client {
    service: ServiceId,
    every_us: (u64, u64),
    rng: Rng,
}

/// One connection of a client.
#[derive(Debug)]
struct Visit {
    service: ServiceId,
    /// The proxy that it came to.
    entry: NodeId,
    /// Where it is now.
    at: NodeId,
    origin: Origin,
    began_us: u64,
    held_since_us: Option<u64>,
    reads: bool,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    pub(crate) all: Vec<Client>,
    visits: BTreeMap<u64, Visit>,
    /// They have gone home.
    pub(crate) stopped: bool,
}

impl World {
    /// Somebody begins to use a service.
    pub(crate) fn add_client(&mut self, service: ServiceId, every_us: (u64, u64)) {
        let number = self.clients.all.len();
        let label = 1_000 + u64::try_from(number).unwrap_or(0);
        let mut rng = Rng::fork(self.scenario.seed, label);
        let first = rng.between(0, every_us.1);
        self.clients.all.push(Client {
            service,
            every_us,
            rng,
        });
        self.after(first, What::Client(number));
    }

    /// A client comes.
    pub(crate) fn client_comes(&mut self, number: usize) {
        if self.clients.stopped {
            return;
        }
        let nodes: Vec<NodeId> = self.nodes.keys().copied().collect();
        let now = self.now_us;
        let Some(client) = self.clients.all.get_mut(number) else {
            return;
        };
        let entry = nodes[client.rng.index(nodes.len())];
        let wait = client.rng.between(client.every_us.0, client.every_us.1);
        let visit = Visit {
            service: client.service.clone(),
            entry,
            at: entry,
            origin: Origin::Client,
            began_us: now,
            held_since_us: None,
            reads: client.rng.chance(100),
        };
        self.next_number += 1;
        let id = self.next_number;
        self.clients.visits.insert(id, visit);
        let delay = self.network.delay_us(Host::Outside, Host::Node(entry));
        self.after(delay, What::Visit(id));
        self.after(wait, What::Client(number));
    }

    /// At which proxy a visit is, for whoever asks whether that stands still.
    pub(crate) fn visited(&self, id: u64) -> Option<NodeId> {
        self.clients.visits.get(&id).map(|visit| visit.at)
    }

    pub(crate) fn visit_waited_us(&self, id: u64) -> u64 {
        let visit = self.clients.visits.get(&id);
        let since = visit.and_then(|visit| visit.held_since_us);
        since.map_or(0, |since| self.now_us - since)
    }

    /// A visit is at a proxy and goes on from there.
    pub(crate) fn visit_arrives(&mut self, id: u64) {
        let Some(mut visit) = self.clients.visits.remove(&id) else {
            return;
        };
        let Some(decision) = self.decide(&visit) else {
            return;
        };
        let late = self.now_us - visit.began_us >= REACH_US_MAX;
        let next = match decision {
            Decision::Hold { limit_ms } => self.hold_visit(id, &mut visit, limit_ms),
            Decision::Refuse if visit.origin == Origin::Client => None,
            Decision::Refuse => {
                visit.at = visit.entry;
                visit.origin = Origin::Client;
                (!late).then_some(ATTEMPT_US)
            }
            Decision::Tunnel { node, .. } => {
                let here = Host::Node(visit.at);
                let cut = self.network.is_cut_either_way(here, Host::Node(node));
                if cut {
                    (!late).then_some(100_000)
                } else {
                    visit.at = node;
                    visit.origin = Origin::Tunnel;
                    Some(self.network.delay_us(here, Host::Node(node)))
                }
            }
            Decision::Local(address) => {
                if self.serve(&visit, address.ip()) {
                    None
                } else {
                    (!late).then_some(ATTEMPT_US)
                }
            }
        };
        if let Some(wait) = next {
            if !matches!(decision, Decision::Hold { .. }) && visit.held_since_us.take().is_some() {
                visit.began_us = self.now_us;
            }
            self.clients.visits.insert(id, visit);
            self.after(wait, What::Visit(id));
        }
    }

    /// Where the proxy at which it is would have it go; none when it reaches no proxy.
    fn decide(&self, visit: &Visit) -> Option<Decision> {
        let node = self.nodes.get(&visit.at)?;
        let table = node.proxy.table.as_ref().filter(|_| node.powered)?;
        let route = table.route(&visit.service)?;
        let port = route.ports.iter().find(|port| port.external.is_some())?;
        if visit.origin == Origin::Client {
            // A client knows the service by its published port, which a rival may have.
            let key = ListenerKey::External(port.external?);
            let owner = table.owner(key)?;
            if owner.service != visit.service {
                return None;
            }
        }
        let decision = table.decide(&visit.service, port.internal, visit.origin);
        let obeys = !self.rebellious_proxies || !matches!(decision, Decision::Hold { .. });
        if obeys {
            return Some(decision);
        }
        // A proxy that does not hold sends everybody to whatever runs here.
        let container = node.engine.containers.get(&visit.service)?;
        let address = container.request.address;
        Some(Decision::Local((address, port.internal).into()))
    }

    fn hold_visit(&mut self, id: u64, visit: &mut Visit, limit_ms: u64) -> Option<u64> {
        let now = self.now_us;
        let since = *visit.held_since_us.get_or_insert(now);
        let end = since + limit_ms * 1_000;
        if now >= end {
            return None;
        }
        let held = &mut self.node_mut(visit.at).proxy.held;
        let waiting = held.entry(visit.service.clone()).or_default();
        if !waiting.contains(&id) {
            waiting.push(id);
        }
        Some(end - now)
    }

    /// The container at this address takes the visit; false when none does.
    fn serve(&mut self, visit: &Visit, address: std::net::IpAddr) -> bool {
        let now = self.now_us;
        let Some(node) = self.nodes.get_mut(&visit.at) else {
            return false;
        };
        let here = node.engine.containers.iter().find(|(_, container)| {
            container.is_running() && container.listens && container.request.address == address
        });
        let Some((service, container)) = here else {
            return false;
        };
        let (service, run) = (service.clone(), container.number);
        if service != visit.service {
            self.checks
                .wrong_service(now, visit.at, &visit.service, &service);
            return true;
        }
        if visit.reads {
            self.checks.reads(now, &self.nodes[&visit.at], &service);
            return true;
        }
        self.next_number += 1;
        let record = self.next_number;
        if self.write_record(visit.at, &service, record) {
            let wait = self.node_mut(visit.at).disk_us(500, 12_000);
            self.after(wait, What::Synced(visit.at, service, run, Some(record)));
        }
        true
    }

    /// A container writes a record into each of its volumes; false when the disk is full.
    pub(crate) fn write_record(&mut self, id: NodeId, service: &ServiceId, record: u64) -> bool {
        let now = self.now_us;
        let Some(node) = self.nodes.get_mut(&id) else {
            return false;
        };
        if node.disk_full() {
            return false;
        }
        let Some(container) = node.engine.containers.get(service) else {
            return false;
        };
        for volume in container.request.spec.volumes.clone() {
            if let Some(live) = node
                .pool
                .volumes
                .get_mut(&volume)
                .and_then(|v| v.live.as_mut())
            {
                live.records.push(record);
                self.checks.wrote(now, id, volume, record);
            }
        }
        true
    }

    /// What a container wrote is on the disk, and it says so to whoever wrote.
    pub(crate) fn synced(
        &mut self,
        id: NodeId,
        service: &ServiceId,
        run: u64,
        record: Option<u64>,
    ) {
        let now = self.now_us;
        let Some(node) = self.nodes.get_mut(&id) else {
            return;
        };
        let Some(container) = node.engine.containers.get(service) else {
            return;
        };
        if !container.is_running() || container.number != run || !node.powered {
            return;
        }
        for volume in container.request.spec.volumes.clone() {
            if let Some(live) = node
                .pool
                .volumes
                .get_mut(&volume)
                .and_then(|v| v.live.as_mut())
            {
                let upto = match record {
                    Some(record) => live.records.iter().rposition(|r| *r == record),
                    None => live.records.len().checked_sub(1),
                };
                live.synced = live.synced.max(upto.map_or(0, |index| index + 1));
                if let Some(record) = record {
                    self.checks.acked(now, volume, record);
                }
            }
        }
    }
}
