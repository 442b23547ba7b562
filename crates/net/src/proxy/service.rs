//! What all connections of one service share: its route as it changes, who waits, which relays
//! must end, and counters.
//!
//! The proxy's loop is the only writer of the route; connections read it and wait for the next.
//! Never opens a socket and decides nothing.

use super::events::Event;
use flocker_types::ids::ServiceId;
use flocker_types::route::{Backend, Route};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// A route as the loop published it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Published {
    /// Counts every change that the loop publishes, over all services.
    pub(crate) version: u64,
    /// None for a service that is gone.
    pub(crate) route: Option<Arc<Route>>,
}

/// Which relays may live on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RelayGate {
    /// Relays that were established by a later version are not meant.
    version: u64,
    keep: Option<Backend>,
}

/// A relay's own place: by which version it leads where.
#[derive(Debug, Clone)]
pub(crate) struct Established {
    pub(crate) version: u64,
    pub(crate) backend: Backend,
}

impl RelayGate {
    fn lets_live(&self, relay: &Established) -> bool {
        self.version <= relay.version || self.keep.as_ref() == Some(&relay.backend)
    }
}

/// Numbers for people, since the proxy's start.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Connections that reached a container.
    pub(crate) relayed: AtomicU64,
    /// Connections that were reset without having reached one.
    pub(crate) refused: AtomicU64,
    /// Bytes from clients.
    pub(crate) bytes_in: AtomicU64,
    /// Bytes to clients.
    pub(crate) bytes_out: AtomicU64,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64, amount: u64) {
        counter.fetch_add(amount, Ordering::Relaxed);
    }
}

/// Connections that wait in the present hold, or did in the one that ends.
#[derive(Debug, Default)]
struct HoldLedger {
    holding: bool,
    waiting: u32,
    total: u32,
    longest_ms: u64,
}

/// How a hold went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HoldSummary {
    pub(crate) connections: u32,
    pub(crate) longest_ms: u64,
}

impl HoldLedger {
    fn summary(&mut self) -> HoldSummary {
        let summary = HoldSummary {
            connections: self.total,
            longest_ms: self.longest_ms,
        };
        *self = Self::default();
        summary
    }
}

/// Whether a connection may wait.
pub(crate) enum Place {
    /// It may, for as long as it keeps this.
    Taken(HeldPlace),
    /// The hold has just ended: look at the route again.
    Released,
    /// Too many wait already.
    Full,
}

/// One service.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) id: ServiceId,
    pub(crate) counters: Counters,
    route: watch::Sender<Published>,
    gate: watch::Sender<RelayGate>,
    hold: Mutex<HoldLedger>,
    events: mpsc::Sender<Event>,
}

impl Service {
    pub(crate) fn new(id: ServiceId, events: mpsc::Sender<Event>) -> Arc<Self> {
        Arc::new(Self {
            id,
            counters: Counters::default(),
            route: watch::Sender::new(Published::default()),
            gate: watch::Sender::new(RelayGate::default()),
            hold: Mutex::new(HoldLedger::default()),
            events,
        })
    }

    /// The route, now and as it changes.
    pub(crate) fn route(&self) -> watch::Receiver<Published> {
        self.route.subscribe()
    }

    /// Publishes a route, which wakes everybody who waits for it.
    pub(crate) fn publish(&self, published: Published) {
        self.route.send_replace(published);
    }

    /// Says which relays may live on; the others end.
    pub(crate) fn close_relays(&self, version: u64, keep: Option<Backend>) {
        self.gate.send_replace(RelayGate { version, keep });
    }

    /// Resolves when a relay has to end because its backend serves no more.
    pub(crate) async fn backend_gone(&self, relay: &Established) {
        let mut gate = self.gate.subscribe();
        // The sender is in `self`, so waiting cannot fail.
        let _ = gate.wait_for(|gate| !gate.lets_live(relay)).await;
    }

    /// Connections may wait from now on.
    pub(crate) fn hold(&self) {
        self.ledger().holding = true;
    }

    /// Nobody starts waiting any more. Says how the hold went if nobody waits; otherwise the last
    /// connection that leaves says it. None when there was no hold.
    pub(crate) fn release(&self) -> Option<HoldSummary> {
        let mut ledger = self.ledger();
        if !ledger.holding {
            return None;
        }
        ledger.holding = false;
        (ledger.waiting == 0).then(|| ledger.summary())
    }

    /// Connections that wait now.
    pub(crate) fn waiting(&self) -> u32 {
        self.ledger().waiting
    }

    /// Asks for a place among those that wait.
    pub(crate) fn take_place(self: &Arc<Self>, held_max: u32) -> Place {
        let mut ledger = self.ledger();
        if !ledger.holding {
            return Place::Released;
        }
        if ledger.waiting >= held_max {
            return Place::Full;
        }
        ledger.waiting += 1;
        ledger.total = ledger.total.saturating_add(1);
        Place::Taken(HeldPlace {
            service: Arc::clone(self),
            since: Instant::now(),
        })
    }

    fn ledger(&self) -> MutexGuard<'_, HoldLedger> {
        // Nothing in the critical sections panics; were it so, the numbers would still be usable.
        self.hold.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn leave(&self, since: Instant) {
        let waited_ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut ledger = self.ledger();
        ledger.waiting -= 1;
        ledger.longest_ms = ledger.longest_ms.max(waited_ms);
        if ledger.holding || ledger.waiting > 0 {
            return;
        }
        let summary = ledger.summary();
        drop(ledger);
        // Full means that the loop is far behind; this is only a number for a report.
        let _ = self.events.try_send(Event::HoldEnded {
            service: self.id.clone(),
            summary,
        });
    }
}

/// A connection's place among those that wait; given back when dropped.
pub(crate) struct HeldPlace {
    service: Arc<Service>,
    pub(crate) since: Instant,
}

impl Drop for HeldPlace {
    fn drop(&mut self) {
        self.service.leave(self.since);
    }
}

/// Every service with a route, for connections that come with a service's name (tunnels).
#[derive(Debug, Default)]
pub(crate) struct Directory {
    services: RwLock<BTreeMap<ServiceId, Arc<Service>>>,
}

impl Directory {
    pub(crate) fn get(&self, id: &ServiceId) -> Option<Arc<Service>> {
        let services = self.services.read().unwrap_or_else(PoisonError::into_inner);
        services.get(id).cloned()
    }

    pub(crate) fn get_or_add(&self, id: &ServiceId, events: &mpsc::Sender<Event>) -> Arc<Service> {
        let mut services = self
            .services
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        match services.get(id) {
            Some(service) => Arc::clone(service),
            None => {
                let service = Service::new(id.clone(), events.clone());
                services.insert(id.clone(), Arc::clone(&service));
                service
            }
        }
    }

    pub(crate) fn remove(&self, id: &ServiceId) {
        let mut services = self
            .services
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        services.remove(id);
    }
}
