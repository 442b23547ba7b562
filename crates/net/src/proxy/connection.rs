//! One connection of a client, from being accepted to its end.
//!
//! Started by a listener. Never decides where to go: see [`super::reach`].

use super::listener::Destination;
use super::reach::{Unreached, Wanted};
use super::relay::{End, relay, reset, tune};
use super::service::{Counters, Established, Service};
use super::shared::Shared;
use crate::door::Unproved;
use flocker_core::route::Origin;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;

/// Serves a client until it ends.
pub(crate) async fn serve_client(
    shared: Arc<Shared>,
    destination: Destination,
    client: TcpStream,
    _room: (OwnedSemaphorePermit, Unproved<IpAddr>),
) {
    tune(&client);
    let service = destination.service;
    let wanted = Wanted {
        shared: &shared,
        service: &service,
        internal_port: destination.internal_port,
        origin: Origin::Client,
    };
    let reached = tokio::select! {
        biased;
        // A client that reset its connection waits for nothing any more. One that only sent its
        // end still may want the answer.
        _ = client.ready(Interest::ERROR) => return,
        () = shared.stopped.cancelled() => {
            reset(&client);
            return;
        }
        // Boxed: an established relay does not carry the room for getting there.
        reached = Box::pin(wanted.reach()) => reached,
    };
    match reached {
        Ok((backend, established)) => {
            carry(&shared, &service, End::Plain(client), backend, &established).await;
        }
        Err(reason) => {
            note_unreached(&service, &reason);
            reset(&client);
        }
    }
}

/// Relays until both sides have ended, the backend serves no more, or the proxy ends.
pub(crate) async fn carry(
    shared: &Shared,
    service: &Service,
    mut client: End,
    mut backend: End,
    established: &Established,
) {
    Counters::add(&service.counters.relayed, 1);
    let cut = async {
        tokio::select! {
            () = service.backend_gone(established) => {}
            () = shared.stopped.cancelled() => {}
        }
    };
    relay(&mut client, &mut backend, &service.counters, cut).await;
}

/// Counts a connection that reached nothing, and says why to whoever debugs.
pub(crate) fn note_unreached(service: &Service, reason: &Unreached) {
    Counters::add(&service.counters.refused, 1);
    let cause = std::error::Error::source(reason).map(ToString::to_string);
    tracing::debug!(service = %service.id, %reason, cause, "a connection reached no container");
}
