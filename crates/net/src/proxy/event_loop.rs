//! The proxy's one loop: takes an event, steps the route table, carries out its effects, answers
//! control.
//!
//! ```text
//!  control --link--> Loop --effects--> listeners, addresses, services --> connections
//!     ^                |  ^                                                   |
//!     +---- outbox ----+  +---------------- events ---------------------------+
//! ```
//!
//! Owns the table. Started by [`super::Proxy::run`]. Never relays a byte itself, and never waits for
//! a disk before it answers control.

use super::addresses::AddressKeeper;
use super::events::{ControlEvent, Event};
use super::limits::{ADDRESS_CHECK_INTERVAL_MS, RETRY_INTERVAL_MS};
use super::listener::Destination;
use super::outbox::Outbox;
use super::ports::{Ports, Standing};
use super::service::{HoldSummary, Published};
use super::shared::Shared;
use flocker_core::route::{Effect, Outcome, RouteTable, Target};
use flocker_types::ids::{Generation, ServiceId};
use flocker_types::link::{ProxyMessage, ToProxy};
use flocker_types::route::{Route, RouteState};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

/// From so many changes of addresses on, all are compared at once.
const ADDRESS_CHANGES_ONE_BY_ONE_MAX: usize = 8;

/// A service whose route is not wholly in force.
#[derive(Debug, PartialEq, Eq)]
enum Concern {
    /// It is being found out why.
    Unclear,
    /// Control was told this.
    Reported(String),
}

/// When control is to hear of a service that is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// It sent a route and waits for the answer.
    Expected,
    /// Only if it was not in force before.
    OnRecovery,
}

/// Whether an empty table means that there are no services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Knowledge {
    /// Neither control nor the disk has said yet.
    Nothing,
    /// The table is what it should be, as far as known.
    Routes,
}

/// See the module.
pub(crate) struct Loop {
    pub(crate) shared: Arc<Shared>,
    pub(crate) table: RouteTable,
    pub(crate) ports: Ports,
    pub(crate) addresses: AddressKeeper,
    pub(crate) hello: ProxyMessage,
    pub(crate) saved: watch::Sender<Vec<Arc<Route>>>,
    pub(crate) events: mpsc::Sender<Event>,
    outbox: Outbox,
    concerns: BTreeMap<ServiceId, Concern>,
    version: u64,
    knowledge: Knowledge,
}

/// What a loop is made of.
pub(crate) struct Parts {
    pub(crate) shared: Arc<Shared>,
    pub(crate) table: RouteTable,
    pub(crate) ports: Ports,
    pub(crate) addresses: AddressKeeper,
    pub(crate) hello: ProxyMessage,
    pub(crate) saved: watch::Sender<Vec<Arc<Route>>>,
    pub(crate) events: mpsc::Sender<Event>,
}

impl Loop {
    pub(crate) fn new(parts: Parts) -> Self {
        Self {
            shared: parts.shared,
            table: parts.table,
            ports: parts.ports,
            addresses: parts.addresses,
            hello: parts.hello,
            saved: parts.saved,
            events: parts.events,
            outbox: Outbox::default(),
            concerns: BTreeMap::new(),
            version: 0,
            knowledge: Knowledge::Nothing,
        }
    }

    /// Runs until the shutdown, then stops listening.
    pub(crate) async fn run(
        &mut self,
        saved: Vec<Route>,
        mut control: mpsc::Receiver<ControlEvent>,
        mut events: mpsc::Receiver<Event>,
        shutdown: CancellationToken,
    ) {
        self.addresses.open().await;
        if !saved.is_empty() {
            self.welcome(saved).await;
        }
        let mut retry = ticks(RETRY_INTERVAL_MS);
        let mut check = ticks(ADDRESS_CHECK_INTERVAL_MS);
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(event) = control.recv() => self.on_control(event).await,
                Some(event) = events.recv() => self.on_event(event),
                () = self.outbox.move_one() => {}
                _ = retry.tick() => self.on_retry().await,
                _ = check.tick() => self.check_addresses().await,
            }
        }
        self.ports.close_all();
    }

    async fn on_control(&mut self, event: ControlEvent) {
        match event {
            ControlEvent::Linked(link) => {
                self.outbox.link(link);
                self.outbox.send(self.hello.clone());
            }
            ControlEvent::Lost => self.outbox.unlink(),
            ControlEvent::Message(ToProxy::Welcome { routes }) => self.welcome(routes).await,
            ControlEvent::Message(ToProxy::Route(route)) => self.one_route(route).await,
            ControlEvent::Message(ToProxy::Gone {
                service,
                generation,
            }) => self.gone(service, generation).await,
            // Who keeps the link has acted on what is said of certificates.
            ControlEvent::Message(ToProxy::Access(_) | ToProxy::Heartbeat) => {}
        }
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::HoldEnded { service, summary } => self.report_hold(service, summary),
            Event::PortOwners { key, owners } => {
                self.ports.owners_found(key, &owners);
                self.look_at_concerns();
            }
        }
    }

    async fn on_retry(&mut self) {
        self.shared.tunnels.opener.renew();
        self.ports.retry();
        if self.addresses.fault().is_some() {
            self.check_addresses().await;
        }
        self.look_at_concerns();
    }

    /// Compares the node's service addresses with what they should be, once that is known.
    async fn check_addresses(&mut self) {
        if self.knowledge == Knowledge::Routes {
            self.addresses.replace_all(&self.table.addresses()).await;
        }
    }

    /// Takes over the full set of routes and answers for each.
    async fn welcome(&mut self, routes: Vec<Route>) {
        self.knowledge = Knowledge::Routes;
        let effects = self.table.replace_all(routes);
        let changed = !effects.is_empty();
        self.carry_out(effects).await;
        let services: Vec<ServiceId> = self.table.routes().map(|r| r.service.clone()).collect();
        for service in services {
            self.settle(&service, Answer::Expected);
        }
        self.look_at_concerns();
        if changed {
            self.save();
        }
    }

    async fn one_route(&mut self, route: Route) {
        let (service, generation) = (route.service.clone(), route.generation);
        let change = self.table.apply(route);
        if let Outcome::Stale { accepted_from } = change.outcome {
            tracing::info!(%service, %generation, %accepted_from, "an older route is ignored");
        }
        let changed = !change.effects.is_empty();
        self.carry_out(change.effects).await;
        self.settle(&service, Answer::Expected);
        self.look_at_concerns();
        if changed {
            self.save();
        }
    }

    async fn gone(&mut self, service: ServiceId, generation: Generation) {
        let change = self.table.gone(&service, generation);
        if let Outcome::Stale { accepted_from } = change.outcome {
            tracing::info!(%service, %generation, %accepted_from, "an older removal is ignored");
            return self.settle(&service, Answer::Expected);
        }
        let changed = !change.effects.is_empty();
        self.carry_out(change.effects).await;
        self.concerns.remove(&service);
        self.outbox.send(ProxyMessage::Applied {
            service,
            generation,
            held: 0,
        });
        self.look_at_concerns();
        if changed {
            self.save();
        }
    }

    async fn carry_out(&mut self, effects: Vec<Effect>) {
        self.version += 1;
        let of_addresses =
            |effect: &&Effect| matches!(effect, Effect::AddAddress(_) | Effect::RemoveAddress(_));
        let all_at_once =
            effects.iter().filter(of_addresses).count() > ADDRESS_CHANGES_ONE_BY_ONE_MAX;
        if all_at_once {
            self.addresses.replace_all(&self.table.addresses()).await;
        }
        for effect in effects {
            match effect {
                Effect::WakeHeld(service) => self.wake(&service),
                Effect::AddAddress(address) if !all_at_once => self.addresses.add(address).await,
                Effect::RemoveAddress(address) if !all_at_once => {
                    self.addresses.remove(address).await;
                }
                Effect::AddAddress(_) | Effect::RemoveAddress(_) => {}
                Effect::Open(key, target) => {
                    let destination = self.destination(&target);
                    self.ports.open(key, destination);
                }
                Effect::Retarget(key, target) => {
                    let destination = self.destination(&target);
                    self.ports.retarget(key, destination);
                }
                Effect::Close(key) => self.ports.close(key),
                Effect::CloseRelays { service, keep } => {
                    if let Some(shared) = self.shared.directory.get(&service) {
                        shared.close_relays(self.version, keep);
                    }
                    if self.table.route(&service).is_none() {
                        self.shared.directory.remove(&service);
                    }
                }
            }
        }
    }

    /// Publishes a service's route to its connections.
    fn wake(&mut self, id: &ServiceId) {
        let route = self.table.route(id).cloned();
        let service = self.shared.directory.get_or_add(id, &self.events);
        let held = matches!(
            route.as_deref(),
            Some(Route {
                state: RouteState::Held { .. },
                ..
            })
        );
        // The ledger opens before anybody can want to wait, and closes after the last who could.
        if held {
            service.hold();
        }
        let version = self.version;
        service.publish(Published { version, route });
        if !held && let Some(summary) = service.release() {
            self.report_hold(id.clone(), summary);
        }
    }

    fn report_hold(&mut self, service: ServiceId, summary: HoldSummary) {
        self.outbox.send(ProxyMessage::Waited {
            service,
            connections: summary.connections,
            longest_ms: summary.longest_ms,
        });
    }

    fn destination(&self, target: &Target) -> Destination {
        Destination {
            service: self
                .shared
                .directory
                .get_or_add(&target.service, &self.events),
            internal_port: target.internal_port,
        }
    }

    /// Tells control how a service stands, where it has to know.
    fn settle(&mut self, id: &ServiceId, answer: Answer) {
        let Some(route) = self.table.route(id).cloned() else {
            self.concerns.remove(id);
            return;
        };
        let generation = route.generation;
        match self.standing(&route) {
            Standing::Open => {
                let recovered = self.concerns.remove(id).is_some();
                if recovered || answer == Answer::Expected {
                    let service = self.shared.directory.get(id);
                    self.outbox.send(ProxyMessage::Applied {
                        service: id.clone(),
                        generation,
                        held: service.map_or(0, |service| service.waiting()),
                    });
                }
            }
            Standing::Unclear => {
                self.concerns.insert(id.clone(), Concern::Unclear);
            }
            Standing::Closed(message) => {
                let concern = Concern::Reported(message.clone());
                let known = self.concerns.get(id) == Some(&concern);
                if known && answer == Answer::OnRecovery {
                    return;
                }
                tracing::warn!(service = %id, %message, "a route is not wholly in force");
                self.concerns.insert(id.clone(), concern);
                self.outbox.send(ProxyMessage::Problem {
                    service: id.clone(),
                    generation,
                    message,
                });
            }
        }
    }

    /// Whether a route is in force, over all its listeners and its address.
    fn standing(&self, route: &Route) -> Standing {
        let mut unclear = false;
        let mut reasons: Vec<String> = Vec::new();
        reasons.extend(self.addresses.fault().map(str::to_owned));
        let problems = self.table.problems(&route.service);
        reasons.extend(problems.iter().map(ToString::to_string));
        for key in self.table.wanted(&route.service) {
            let owned = |owner: Target| owner.service == route.service;
            if !self.table.owner(key).is_some_and(owned) {
                continue;
            }
            match self.ports.standing(key) {
                Standing::Open => {}
                Standing::Unclear => unclear = true,
                Standing::Closed(reason) => reasons.push(reason),
            }
        }
        match (unclear, reasons.is_empty()) {
            (true, _) => Standing::Unclear,
            (false, true) => Standing::Open,
            (false, false) => Standing::Closed(reasons.join("; ")),
        }
    }

    fn look_at_concerns(&mut self) {
        let services: Vec<ServiceId> = self.concerns.keys().cloned().collect();
        for service in services {
            self.settle(&service, Answer::OnRecovery);
        }
    }

    fn save(&self) {
        let routes = self.table.routes().cloned().collect();
        self.saved.send_replace(routes);
    }
}

fn ticks(interval_ms: u64) -> tokio::time::Interval {
    let period = Duration::from_millis(interval_ms);
    let mut ticks = interval_at(Instant::now() + period, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
