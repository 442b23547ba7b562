//! What the proxy's loop waits for.
//!
//! Connections, listeners and the link to control send these; the loop alone acts on them.

use super::port_owner::PortOwner;
use super::service::HoldSummary;
use flocker_core::route::ListenerKey;
use flocker_types::ids::ServiceId;
use flocker_types::link::{ProxyMessage, ToProxy};
use tokio::sync::mpsc;

/// From the proxy's own tasks.
#[derive(Debug)]
pub(crate) enum Event {
    /// The last connection of a hold that had ended got its turn.
    HoldEnded {
        service: ServiceId,
        summary: HoldSummary,
    },
    /// A port was in use: by these, as far as could be found.
    PortOwners {
        key: ListenerKey,
        owners: Vec<PortOwner>,
    },
}

/// From the link to control.
#[derive(Debug)]
pub(crate) enum ControlEvent {
    /// There is a link; messages to control go here.
    Linked(mpsc::Sender<ProxyMessage>),
    /// A message came.
    Message(ToProxy),
    /// The link is gone.
    Lost,
}
