//! Opens tunnels, and keeps a few to each peer in use ready, so that a client does not wait for a
//! TLS handshake.
//!
//! [`super::reach`] asks for tunnels; the loop has the old ones thrown away. What is said on a tunnel
//! is in [`super::tunnel`].

use super::limits::{
    TUNNEL_CONNECT_MS_MAX, TUNNEL_HANDSHAKES_PER_PEER_MAX, TUNNEL_READY_MS_MAX, TUNNEL_SEEN_MS_MAX,
    TUNNELS_KEPT_READY_MS, TUNNELS_READY_PER_PEER_MAX,
};
use super::relay::{ByteStream, tune};
use super::tunnel::{Request, TunnelFailure, ask};
use crate::tls::{self, ConnectOptions, Credentials, Expect, Guarded};
use flocker_types::ids::NodeId;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

/// A connection to another node's proxy, which ends when that node is revoked.
type Tunnel = Guarded<tokio_rustls::client::TlsStream<TcpStream>>;

/// Another node's proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Peer {
    node: NodeId,
    address: SocketAddr,
}

/// What is kept for one peer.
#[derive(Debug)]
struct Shelf {
    ready: Vec<Ready>,
    last_use: Instant,
    filling: Filling,
    handshakes: Arc<Semaphore>,
}

impl Default for Shelf {
    fn default() -> Self {
        Self {
            ready: Vec::new(),
            last_use: Instant::now(),
            filling: Filling::No,
            handshakes: Arc::new(Semaphore::new(TUNNEL_HANDSHAKES_PER_PEER_MAX)),
        }
    }
}

/// Whether somebody opens tunnels for a shelf at this moment: one at a time is enough.
#[derive(Debug, PartialEq, Eq)]
enum Filling {
    Yes,
    No,
}

#[derive(Debug)]
struct Ready {
    since: Instant,
    stream: Tunnel,
}

impl Ready {
    fn is_fresh(&self) -> bool {
        self.since.elapsed() < Duration::from_millis(TUNNEL_READY_MS_MAX)
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct TunnelOpener {
    credentials: Credentials,
    shelves: Mutex<BTreeMap<Peer, Shelf>>,
}

impl TunnelOpener {
    pub(crate) fn new(credentials: Credentials) -> Arc<Self> {
        Arc::new(Self {
            credentials,
            shelves: Mutex::new(BTreeMap::new()),
        })
    }

    /// Opens a tunnel to a container on another node. Waits for as long as the other proxy holds;
    /// the caller stops waiting when its own route changes.
    pub(crate) async fn open(
        self: &Arc<Self>,
        node: NodeId,
        address: SocketAddr,
        request: &Request,
    ) -> Result<Box<dyn ByteStream>, TunnelFailure> {
        let peer = Peer { node, address };
        if let Some(ready) = self.take(peer) {
            self.fill(peer);
            match ask(ready.stream, request, TUNNEL_SEEN_MS_MAX).await {
                // The peer was restarted or is gone: its other ready tunnels are no better.
                Err(TunnelFailure::Broken(_)) => self.clear(peer),
                answered => return answered,
            }
        }
        let stream = self.connect(peer).await?;
        self.fill(peer);
        ask(stream, request, TUNNEL_CONNECT_MS_MAX).await
    }

    /// Throws away what is old, and renews it for peers that were used lately.
    pub(crate) fn renew(self: &Arc<Self>) {
        let mut in_use = Vec::new();
        self.shelves().retain(|peer, shelf| {
            shelf.ready.retain(Ready::is_fresh);
            if shelf.last_use.elapsed() < Duration::from_millis(TUNNELS_KEPT_READY_MS) {
                in_use.push(*peer);
                return true;
            }
            !shelf.ready.is_empty() || shelf.filling == Filling::Yes
        });
        for peer in in_use {
            self.fill(peer);
        }
    }

    async fn connect(&self, peer: Peer) -> Result<Tunnel, TunnelFailure> {
        let handshakes = Arc::clone(&self.shelves().entry(peer).or_default().handshakes);
        let limit = Duration::from_millis(TUNNEL_CONNECT_MS_MAX);
        let turn = timeout(limit, handshakes.acquire()).await;
        let _turn = turn.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?;
        let options = ConnectOptions {
            connect_ms_max: TUNNEL_CONNECT_MS_MAX,
            ..ConnectOptions::default()
        };
        let expect = Expect::Node(peer.node);
        let stream = tls::connect(peer.address, &self.credentials, &expect, options)
            .await
            .map_err(|error| TunnelFailure::Connect(Box::new(error)))?;
        tune(stream.get_ref().0);
        Ok(Guarded::of_peer(stream, self.credentials.revocations())?)
    }

    fn take(&self, peer: Peer) -> Option<Ready> {
        let mut shelves = self.shelves();
        let shelf = shelves.entry(peer).or_default();
        shelf.last_use = Instant::now();
        shelf.ready.retain(Ready::is_fresh);
        shelf.ready.pop()
    }

    fn clear(&self, peer: Peer) {
        if let Some(shelf) = self.shelves().get_mut(&peer) {
            shelf.ready.clear();
        }
    }

    /// Starts filling a peer's shelf, unless it is full or that goes on already.
    fn fill(self: &Arc<Self>, peer: Peer) {
        if let Some(shelf) = self.shelves().get_mut(&peer) {
            let full = shelf.ready.len() >= TUNNELS_READY_PER_PEER_MAX;
            if full || shelf.filling == Filling::Yes {
                return;
            }
            shelf.filling = Filling::Yes;
            tokio::spawn(fill_shelf(Arc::downgrade(self), peer));
        }
    }

    /// Puts a tunnel on its shelf. Says whether there is room for another.
    fn put(&self, peer: Peer, stream: Tunnel) -> Room {
        let mut shelves = self.shelves();
        let Some(shelf) = shelves.get_mut(&peer) else {
            return Room::None;
        };
        let since = Instant::now();
        shelf.ready.push(Ready { since, stream });
        if shelf.ready.len() < TUNNELS_READY_PER_PEER_MAX {
            return Room::Left;
        }
        shelf.filling = Filling::No;
        Room::None
    }

    fn stop_filling(&self, peer: Peer) {
        if let Some(shelf) = self.shelves().get_mut(&peer) {
            shelf.filling = Filling::No;
        }
    }

    fn shelves(&self) -> MutexGuard<'_, BTreeMap<Peer, Shelf>> {
        // Nothing in the critical sections panics; were it so, the shelves would still be usable.
        self.shelves.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(PartialEq, Eq)]
enum Room {
    Left,
    None,
}

/// Opens tunnels one after the other until the shelf is full, the peer does not answer (the next
/// client finds out why), or the proxy ends.
async fn fill_shelf(opener: Weak<TunnelOpener>, peer: Peer) {
    while let Some(opener) = opener.upgrade() {
        let Ok(stream) = opener.connect(peer).await else {
            return opener.stop_filling(peer);
        };
        if opener.put(peer, stream) == Room::None {
            return;
        }
    }
}
