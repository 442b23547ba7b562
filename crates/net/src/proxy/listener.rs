//! Listening sockets and the tasks that accept from them.
//!
//! The loop opens and closes them. A listener leads to whatever destination was last set, so a port
//! can pass from one service to another without being closed. Never decides who has a port.

use super::connection::serve_client;
use super::limits::{ACCEPT_PAUSE_MS, LISTEN_BACKLOG};
use super::relay::reset;
use super::service::Service;
use super::shared::Shared;
use flocker_core::route::ListenerKey;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Where connections of a listener go.
#[derive(Debug, Clone)]
pub(crate) struct Destination {
    pub(crate) service: Arc<Service>,
    pub(crate) internal_port: u16,
}

/// An open listener. Closes when dropped.
#[derive(Debug)]
pub(crate) struct Listener {
    destination: watch::Sender<Destination>,
    closed: CancellationToken,
}

impl Listener {
    /// Listens at `key` and accepts from now on.
    pub(crate) fn open(
        key: ListenerKey,
        destination: Destination,
        shared: &Arc<Shared>,
    ) -> io::Result<Self> {
        let socket = TcpListener::from_std(listen(socket_address(key))?)?;
        let (destination, receiver) = watch::channel(destination);
        let closed = CancellationToken::new();
        let accepting = accept_until_closed(socket, receiver, closed.clone(), Arc::clone(shared));
        shared.tasks.spawn(accepting);
        Ok(Self {
            destination,
            closed,
        })
    }

    /// New connections go there from now on.
    pub(crate) fn retarget(&self, destination: Destination) {
        self.destination.send_replace(destination);
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.closed.cancel();
    }
}

/// The socket address of a listener.
pub(crate) fn socket_address(key: ListenerKey) -> SocketAddr {
    match key {
        ListenerKey::External(port) => SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port),
        ListenerKey::Cluster(address, port) => SocketAddr::new(IpAddr::V4(address), port),
    }
}

/// Checks that no other program has the port. Without this, a program of the same user that
/// shares its port (SO_REUSEPORT) would get half of our connections.
pub(crate) fn probe(address: SocketAddr) -> io::Result<()> {
    socket()?.bind(&address.into())
}

/// A listening socket that shares its port with our others: one at every address and one at a
/// cluster address can have the same number (the kernel prefers the more specific one), and a new
/// proxy can start while the old one ends.
pub(crate) fn listen(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = socket()?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    socket.listen(LISTEN_BACKLOG)?;
    Ok(socket.into())
}

fn socket() -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    // Connections of an earlier proxy that are still closing do not keep us from the port.
    socket.set_reuse_address(true)?;
    // The address may come later than we do.
    socket.set_freebind_v4(true)?;
    Ok(socket)
}

async fn accept_until_closed(
    socket: TcpListener,
    destination: watch::Receiver<Destination>,
    closed: CancellationToken,
    shared: Arc<Shared>,
) {
    let accepting = async {
        loop {
            let (stream, peer) = match socket.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    pause_after(&error).await;
                    continue;
                }
            };
            let Some(place) = shared.clients.knock(peer.ip()) else {
                tracing::debug!(%peer, "this address has too many connections");
                reset(&stream);
                continue;
            };
            // Without a free slot this connection waits here and the next ones in the kernel.
            let Ok(slot) = Arc::clone(&shared.client_slots).acquire_owned().await else {
                return;
            };
            let destination = destination.borrow().clone();
            let connection = serve_client(Arc::clone(&shared), destination, stream, (slot, place));
            shared.tasks.spawn(connection);
        }
    };
    tokio::select! {
        biased;
        () = closed.cancelled() => {}
        () = shared.stopping.cancelled() => {}
        () = accepting => return,
    }
    // Who got into the queue before we leave is still served: closing the socket would reset them.
    let Ok(socket) = socket.into_std() else {
        return;
    };
    while let Ok(slot) = Arc::clone(&shared.client_slots).try_acquire_owned()
        && let Ok((stream, peer)) = socket.accept()
        && let Some(place) = shared.clients.knock(peer.ip())
        && stream.set_nonblocking(true).is_ok()
        && let Ok(stream) = TcpStream::from_std(stream)
    {
        let destination = destination.borrow().clone();
        let connection = serve_client(Arc::clone(&shared), destination, stream, (slot, place));
        shared.tasks.spawn(connection);
    }
}

/// Waits a moment after an error that would come again at once.
pub(crate) async fn pause_after(error: &io::Error) {
    if error.kind() == io::ErrorKind::ConnectionAborted {
        return;
    }
    tracing::warn!(%error, "the kernel handed over no connection; trying again");
    tokio::time::sleep(Duration::from_millis(ACCEPT_PAUSE_MS)).await;
}
