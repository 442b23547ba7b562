//! The routes in force on one node and the listeners that follow from them.
//!
//! The proxy's loop owns one table, hands it what control says, and carries out the effects in the
//! order given. Never does IO; every method is a plain function of the table and its arguments.

use super::decision::{Decision, Origin, decide};
use crate::mutant::{Mutant, planted};
use flocker_types::ids::{Generation, NodeId, ServiceId};
use flocker_types::route::{Backend, Route, RouteState};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// Services that are gone and whose last generation is remembered, at most. The ones with the
/// lowest generations are forgotten first.
pub const REMEMBERED_GONE_MAX: usize = 16_384;

/// Something to listen on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ListenerKey {
    /// A published port, at every address of the node.
    External(u16),
    /// A port at a service's own cluster address.
    Cluster(Ipv4Addr, u16),
}

impl ListenerKey {
    /// The port's number.
    pub fn port(self) -> u16 {
        match self {
            Self::External(port) | Self::Cluster(_, port) => port,
        }
    }
}

impl fmt::Display for ListenerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::External(port) => write!(f, "port {port}"),
            Self::Cluster(address, port) => write!(f, "{address}:{port}"),
        }
    }
}

/// What a listener leads to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// The service.
    pub service: ServiceId,
    /// The port of its container.
    pub internal_port: u16,
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is in the table now (or was before).
    Applied,
    /// It was older than what the table knows, and changed nothing.
    Stale {
        /// The lowest generation that would have been accepted.
        accepted_from: Generation,
    },
}

/// What the proxy has to do. Effects come in an order in which they can be carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// The service's route is another one: connections that wait, or that are on their way to a
    /// container, decide again.
    WakeHeld(ServiceId),
    /// Give the node this address.
    AddAddress(Ipv4Addr),
    /// Listen here.
    Open(ListenerKey, Target),
    /// An open listener leads elsewhere from now on.
    Retarget(ListenerKey, Target),
    /// Stop listening here.
    Close(ListenerKey),
    /// Take this address from the node.
    RemoveAddress(Ipv4Addr),
    /// End the relays of this service that lead to any other backend than `keep`: what they lead
    /// to is gone, even where no packet can say so any more.
    CloseRelays {
        /// Whose.
        service: ServiceId,
        /// The backend that serves now.
        keep: Option<Backend>,
    },
}

/// What the table has to say after a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Whether the message counted.
    pub outcome: Outcome,
    /// What to do because of it.
    pub effects: Vec<Effect>,
}

/// Why part of a route cannot be in force.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Another service was there first.
    #[error("{key} belongs to service {owner}; publish one of the two at another port")]
    Taken {
        /// What both want.
        key: ListenerKey,
        /// Who keeps it.
        owner: ServiceId,
    },
    /// Nobody can listen at port 0.
    #[error("port 0 cannot be published; choose a port between 1 and 65535")]
    PortZero,
}

/// A service's wish to have a listener.
#[derive(Debug, Clone, Copy)]
struct Claim {
    /// The generation in which the service first wanted it; the lowest one keeps it. Stays when
    /// later generations want it still, so that a move does not lose the port to a rival.
    since: Generation,
    internal_port: u16,
}

/// Every route in force on one node.
#[derive(Debug, Clone)]
pub struct RouteTable {
    node: NodeId,
    routes: BTreeMap<ServiceId, Arc<Route>>,
    /// For services that are gone: the lowest generation with which they may come back.
    floors: BTreeMap<ServiceId, Generation>,
    claims: BTreeMap<ListenerKey, BTreeMap<ServiceId, Claim>>,
    addresses: BTreeMap<Ipv4Addr, BTreeSet<ServiceId>>,
}

/// What was so before a message, recorded for whatever it touches, so that effects are only the
/// difference in the end.
#[derive(Debug, Default)]
struct Before {
    owners: BTreeMap<ListenerKey, Option<Target>>,
    addresses: BTreeMap<Ipv4Addr, bool>,
    woken: Vec<ServiceId>,
    closed: Vec<Effect>,
}

impl RouteTable {
    /// An empty table for `node`.
    pub fn new(node: NodeId) -> Self {
        Self {
            node,
            routes: BTreeMap::new(),
            floors: BTreeMap::new(),
            claims: BTreeMap::new(),
            addresses: BTreeMap::new(),
        }
    }

    /// Puts a route in force unless it is older than what is known of its service.
    #[must_use]
    pub fn apply(&mut self, route: Route) -> Change {
        let mut before = Before::default();
        let outcome = self.put(route, &mut before);
        Change {
            outcome,
            effects: self.difference(before),
        }
    }

    /// Removes a service, unless a newer route of it is in force.
    #[must_use]
    pub fn gone(&mut self, service: &ServiceId, generation: Generation) -> Change {
        let current = self.newest(service);
        if generation < current {
            return Change {
                outcome: Outcome::Stale {
                    accepted_from: current,
                },
                effects: Vec::new(),
            };
        }
        let mut before = Before::default();
        self.remove(service, generation.next(), &mut before);
        Change {
            outcome: Outcome::Applied,
            effects: self.difference(before),
        }
    }

    /// Takes over the full set of routes: services that are not in it are gone. A route in it that
    /// is older than the one in force is ignored all the same.
    #[must_use]
    pub fn replace_all(&mut self, routes: Vec<Route>) -> Vec<Effect> {
        let mut before = Before::default();
        let named: BTreeSet<ServiceId> = routes.iter().map(|r| r.service.clone()).collect();
        let missing: Vec<(ServiceId, Generation)> = self
            .routes
            .values()
            .filter(|route| !named.contains(&route.service))
            .map(|route| (route.service.clone(), route.generation))
            .collect();
        for (service, generation) in missing {
            self.remove(&service, generation, &mut before);
        }
        for route in routes {
            self.put(route, &mut before);
        }
        self.difference(before)
    }

    /// Decides for a connection; see [`decide`].
    pub fn decide(&self, service: &ServiceId, internal_port: u16, origin: Origin) -> Decision {
        decide(
            self.route(service).map(Arc::as_ref),
            self.node,
            internal_port,
            origin,
        )
    }

    /// The route of a service.
    pub fn route(&self, service: &ServiceId) -> Option<&Arc<Route>> {
        self.routes.get(service)
    }

    /// All routes in force, by service.
    pub fn routes(&self) -> impl ExactSizeIterator<Item = &Arc<Route>> {
        self.routes.values()
    }

    /// Everything to listen on, and where it leads.
    pub fn listeners(&self) -> BTreeMap<ListenerKey, Target> {
        self.claims
            .keys()
            .filter_map(|key| Some((*key, self.owner(*key)?)))
            .collect()
    }

    /// Every cluster address that this node must have.
    pub fn addresses(&self) -> BTreeSet<Ipv4Addr> {
        self.addresses.keys().copied().collect()
    }

    /// Every listener that a service's route wants, whether the service has it or a rival.
    pub fn wanted(&self, service: &ServiceId) -> Vec<ListenerKey> {
        let route = self.routes.get(service);
        route.map_or_else(Vec::new, |route| {
            wanted_listeners(route).into_keys().collect()
        })
    }

    /// What of a service's route cannot be in force because of other routes.
    pub fn problems(&self, service: &ServiceId) -> Vec<Problem> {
        let Some(route) = self.routes.get(service) else {
            return Vec::new();
        };
        let mut problems: Vec<Problem> = wanted_listeners(route)
            .into_keys()
            .filter_map(|key| {
                let owner = self.owner(key)?.service;
                (owner != *service).then_some(Problem::Taken { key, owner })
            })
            .collect();
        let zero =
            |port: &flocker_types::route::RoutePort| port.internal == 0 || port.external == Some(0);
        if route.ports.iter().any(zero) {
            problems.push(Problem::PortZero);
        }
        problems
    }

    /// Who has a listener.
    pub fn owner(&self, key: ListenerKey) -> Option<Target> {
        let (service, claim) = self
            .claims
            .get(&key)?
            .iter()
            .min_by_key(|(service, claim)| (claim.since, *service))?;
        Some(Target {
            service: service.clone(),
            internal_port: claim.internal_port,
        })
    }

    /// The lowest generation that a message about this service may carry.
    fn newest(&self, service: &ServiceId) -> Generation {
        match self.routes.get(service) {
            Some(route) => route.generation,
            None => self.floors.get(service).copied().unwrap_or_default(),
        }
    }

    fn put(&mut self, route: Route, before: &mut Before) -> Outcome {
        let accepted_from = self.newest(&route.service);
        if route.generation < accepted_from && !planted(Mutant::OldRouteApplied) {
            return Outcome::Stale { accepted_from };
        }
        let old = self.routes.get(&route.service).cloned();
        if old.as_deref() == Some(&route) {
            return Outcome::Applied;
        }
        let service = route.service.clone();
        let wanted = wanted_listeners(&route);
        if let Some(old) = &old {
            for key in wanted_listeners(old).into_keys() {
                if !wanted.contains_key(&key) {
                    self.unclaim(key, &service, before);
                }
            }
            if old.cluster_address != route.cluster_address {
                self.drop_address(old.cluster_address, &service, before);
            }
        }
        for (key, internal_port) in wanted {
            self.remember(key, before);
            self.claims
                .entry(key)
                .or_default()
                .entry(service.clone())
                .and_modify(|claim| claim.internal_port = internal_port)
                .or_insert(Claim {
                    since: route.generation,
                    internal_port,
                });
        }
        self.take_address(route.cluster_address, &service, before);
        before.woken.push(service.clone());
        before.closed.extend(relays_to_close(&service, &route));
        self.floors.remove(&service);
        self.routes.insert(service, Arc::new(route));
        Outcome::Applied
    }

    fn remove(&mut self, service: &ServiceId, floor: Generation, before: &mut Before) {
        if let Some(old) = self.routes.remove(service) {
            for key in wanted_listeners(&old).into_keys() {
                self.unclaim(key, service, before);
            }
            self.drop_address(old.cluster_address, service, before);
            before.woken.push(service.clone());
            before.closed.push(Effect::CloseRelays {
                service: service.clone(),
                keep: None,
            });
        }
        self.floors.insert(service.clone(), floor);
        if self.floors.len() > REMEMBERED_GONE_MAX {
            let oldest = self.floors.iter().min_by_key(|(_, floor)| **floor);
            if let Some(oldest) = oldest.map(|(service, _)| service.clone()) {
                self.floors.remove(&oldest);
            }
        }
    }

    fn unclaim(&mut self, key: ListenerKey, service: &ServiceId, before: &mut Before) {
        self.remember(key, before);
        if let Some(claims) = self.claims.get_mut(&key) {
            claims.remove(service);
            if claims.is_empty() {
                self.claims.remove(&key);
            }
        }
    }

    fn take_address(&mut self, address: Ipv4Addr, service: &ServiceId, before: &mut Before) {
        let present = self.addresses.contains_key(&address);
        before.addresses.entry(address).or_insert(present);
        self.addresses
            .entry(address)
            .or_default()
            .insert(service.clone());
    }

    fn drop_address(&mut self, address: Ipv4Addr, service: &ServiceId, before: &mut Before) {
        let present = self.addresses.contains_key(&address);
        before.addresses.entry(address).or_insert(present);
        if let Some(services) = self.addresses.get_mut(&address) {
            services.remove(service);
            if services.is_empty() {
                self.addresses.remove(&address);
            }
        }
    }

    fn remember(&self, key: ListenerKey, before: &mut Before) {
        let owner = self.owner(key);
        before.owners.entry(key).or_insert(owner);
    }

    fn difference(&self, before: Before) -> Vec<Effect> {
        let mut effects: Vec<Effect> = before.woken.into_iter().map(Effect::WakeHeld).collect();
        let mut late = Vec::new();
        for (address, present) in before.addresses {
            match (present, self.addresses.contains_key(&address)) {
                (false, true) => effects.push(Effect::AddAddress(address)),
                (true, false) => late.push(Effect::RemoveAddress(address)),
                _ => {}
            }
        }
        let mut closing = Vec::new();
        for (key, owner) in before.owners {
            match (owner, self.owner(key)) {
                (None, Some(now)) => effects.push(Effect::Open(key, now)),
                (Some(_), None) => closing.push(Effect::Close(key)),
                (Some(was), Some(now)) if was != now => effects.push(Effect::Retarget(key, now)),
                _ => {}
            }
        }
        effects.extend(closing);
        effects.extend(late);
        effects.extend(before.closed);
        effects
    }
}

/// Which relays end when `route` comes in force. A hold ends none: the container still runs, and
/// what it answers while it stops belongs to its clients.
fn relays_to_close(service: &ServiceId, route: &Route) -> Option<Effect> {
    let keep = match &route.state {
        RouteState::Serving(backend) => Some(backend.clone()),
        RouteState::Down => None,
        RouteState::Held { .. } => return None,
    };
    Some(Effect::CloseRelays {
        service: service.clone(),
        keep,
    })
}

/// What a route wants to listen on, with the internal port that each leads to.
fn wanted_listeners(route: &Route) -> BTreeMap<ListenerKey, u16> {
    let mut wanted = BTreeMap::new();
    let ports = route.ports.iter().filter(|port| port.internal != 0);
    for port in ports.clone() {
        let key = ListenerKey::Cluster(route.cluster_address, port.internal);
        wanted.insert(key, port.internal);
    }
    for port in ports {
        let Some(external) = port.external.filter(|external| *external != 0) else {
            continue;
        };
        wanted
            .entry(ListenerKey::External(external))
            .or_insert(port.internal);
        wanted
            .entry(ListenerKey::Cluster(route.cluster_address, external))
            .or_insert(port.internal);
    }
    wanted
}
