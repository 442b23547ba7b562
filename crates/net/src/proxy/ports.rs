//! The listeners that are open, and those that should be and cannot.
//!
//! The loop says what to open, retarget and close; this keeps trying where a port cannot be had, and
//! knows why not. Never decides which service a port belongs to: the route table does.

use super::events::Event;
use super::listener::{Destination, Listener, probe, socket_address};
use super::port_owner::{self, PortOwner};
use super::shared::Shared;
use flocker_core::route::ListenerKey;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Why a listener is not open.
#[derive(Debug)]
struct Fault {
    destination: Destination,
    /// For people; none while it is still being found out.
    reason: Option<String>,
}

/// How a listener is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Open.
    Open,
    /// Somebody else has the port, and who is being found out.
    Unclear,
    /// It cannot be opened now, and why.
    Closed(String),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Ports {
    shared: Arc<Shared>,
    events: mpsc::Sender<Event>,
    /// The proxy before us, which may still have our ports during an upgrade.
    predecessor: Option<u32>,
    open: BTreeMap<ListenerKey, Listener>,
    faults: BTreeMap<ListenerKey, Fault>,
    /// Open listeners with each port number.
    numbers: BTreeMap<u16, usize>,
}

impl Ports {
    pub(crate) fn new(
        shared: Arc<Shared>,
        events: mpsc::Sender<Event>,
        predecessor: Option<u32>,
    ) -> Self {
        Self {
            shared,
            events,
            predecessor,
            open: BTreeMap::new(),
            faults: BTreeMap::new(),
            numbers: BTreeMap::new(),
        }
    }

    /// Opens a listener, now or as soon as it can be.
    pub(crate) fn open(&mut self, key: ListenerKey, destination: Destination) {
        // A port number of which we have a listener already cannot be probed.
        let probed = if self.numbers.contains_key(&key.port()) {
            Ok(())
        } else {
            probe(socket_address(key))
        };
        match probed.and_then(|()| self.listen(key, destination.clone())) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                self.faults
                    .entry(key)
                    .and_modify(|fault| fault.destination = destination.clone())
                    .or_insert(Fault {
                        destination,
                        reason: None,
                    });
                self.look_for_owners(key);
            }
            Err(error) => self.fail(key, destination, describe(key, &error)),
        }
    }

    /// Connections of this listener go elsewhere from now on.
    pub(crate) fn retarget(&mut self, key: ListenerKey, destination: Destination) {
        if let Some(listener) = self.open.get(&key) {
            listener.retarget(destination);
        } else if let Some(fault) = self.faults.get_mut(&key) {
            fault.destination = destination;
        }
    }

    /// Closes a listener, or stops trying to open it.
    pub(crate) fn close(&mut self, key: ListenerKey) {
        self.faults.remove(&key);
        if self.open.remove(&key).is_none() {
            return;
        }
        if let Some(count) = self.numbers.get_mut(&key.port()) {
            *count -= 1;
            if *count == 0 {
                self.numbers.remove(&key.port());
            }
        }
    }

    /// Closes everything.
    pub(crate) fn close_all(&mut self) {
        self.open.clear();
        self.faults.clear();
        self.numbers.clear();
    }

    /// Tries again what could not be opened.
    pub(crate) fn retry(&mut self) {
        let faults: Vec<(ListenerKey, Destination)> = self
            .faults
            .iter()
            .map(|(key, fault)| (*key, fault.destination.clone()))
            .collect();
        for (key, destination) in faults {
            self.open(key, destination);
        }
    }

    /// Takes note of who has a port. Where that is ourselves (a listener that is just closing) or
    /// the proxy that we replace, we listen beside it.
    pub(crate) fn owners_found(&mut self, key: ListenerKey, owners: &[PortOwner]) {
        let Some(fault) = self.faults.get(&key) else {
            return;
        };
        let destination = fault.destination.clone();
        let ours = |owner: &PortOwner| {
            owner.pid == std::process::id() || Some(owner.pid) == self.predecessor
        };
        let foreign = owners.iter().filter(|owner| !ours(owner));
        let names: Vec<String> = foreign.map(ToString::to_string).collect();
        if !owners.is_empty() && names.is_empty() {
            if let Err(error) = self.listen(key, destination.clone()) {
                self.fail(key, destination, describe(key, &error));
            }
            return;
        }
        let who = match names.is_empty() {
            true => "another program".to_owned(),
            false => names.join(" and "),
        };
        let reason = format!(
            "{key} is taken by {who}; stop that program or publish another port (it is tried \
             again every second)"
        );
        self.fail(key, destination, reason);
    }

    /// How a listener is.
    pub(crate) fn standing(&self, key: ListenerKey) -> Standing {
        match self.faults.get(&key) {
            None => Standing::Open,
            Some(Fault { reason: None, .. }) => Standing::Unclear,
            Some(Fault {
                reason: Some(reason),
                ..
            }) => Standing::Closed(reason.clone()),
        }
    }

    fn listen(&mut self, key: ListenerKey, destination: Destination) -> io::Result<()> {
        let listener = Listener::open(key, destination, &self.shared)?;
        self.faults.remove(&key);
        if self.open.insert(key, listener).is_none() {
            *self.numbers.entry(key.port()).or_default() += 1;
        }
        Ok(())
    }

    fn fail(&mut self, key: ListenerKey, destination: Destination, reason: String) {
        let reason = Some(reason);
        self.faults.insert(
            key,
            Fault {
                destination,
                reason,
            },
        );
    }

    fn look_for_owners(&self, key: ListenerKey) {
        let events = self.events.clone();
        self.shared.tasks.spawn_blocking(move || {
            let owners = port_owner::find(key);
            // Full: the next attempt, in a second, finds out again.
            let _ = events.try_send(Event::PortOwners { key, owners });
        });
    }
}

fn describe(key: ListenerKey, error: &io::Error) -> String {
    let hint = match error.kind() {
        io::ErrorKind::PermissionDenied => "the proxy needs CAP_NET_BIND_SERVICE",
        io::ErrorKind::AddrInUse => "stop the program that has it or publish another port",
        _ => "it is tried again every second",
    };
    format!("{key} cannot be listened on: {error}; {hint}")
}
