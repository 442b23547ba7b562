//! The proxy: answers at every published address of every application, on every node.
//!
//! Owns the node's listeners for services, the relays behind them, the tunnels between nodes, and the
//! holding of connections while a service moves. `flocker proxy` runs it; control tells it what the
//! routes are. It decides nothing: where a connection goes is the route table's word
//! ([`flocker_core::route`]).

mod addresses;
mod connection;
mod event_loop;
mod events;
mod limits;
mod listener;
mod outbox;
mod port_owner;
mod ports;
mod reach;
mod relay;
mod saved;
mod service;
mod shared;
mod tunnel;
mod tunnels_ready;

/// For the fuzzers' harness.
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing {
    pub(crate) use super::port_owner::fuzzed as port_table;
    pub(crate) use super::saved::fuzzed as saved_routes;
    pub(crate) use super::tunnel::fuzzed as tunnel_head;
}
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use limits::ProxyLimits;
pub use saved::SavedError;

use crate::link::{Link, LinkLimits, LinkTarget, PROXY_PATH, run_with_reconnect};
use crate::renewal::{CertificateKeeper, CertificatePlace, Turn};
use crate::tls::{CredentialFiles, Credentials, RevocationsError, TlsError};
use addresses::AddressKeeper;
use event_loop::{Loop, Parts};
use events::ControlEvent;
use flocker_core::route::RouteTable;
use flocker_types::ids::{ClusterId, NodeId};
use flocker_types::link::{ProxyMessage, ToProxy};
use limits::{CONTROL_QUEUE_MAX, EVENT_QUEUE_MAX};
use ports::Ports;
use shared::Shared;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tunnel::Tunnels;

/// In the state directory: the process id of the newest proxy.
const PID_FILE_NAME: &str = "proxy.pid";
/// In the state directory: what control has said is revoked.
const REVOKED_FILE_NAME: &str = "revoked.json";
/// After relays were told to end, how long that may take, in milliseconds.
const END_MS_MAX: u64 = 1_000;
/// How long the last saving of routes may take at the end, in milliseconds.
const LAST_SAVE_MS_MAX: u64 = 2_000;

/// How a proxy runs.
#[derive(Debug, Clone)]
pub struct ProxyConfig {
    /// Its cluster.
    pub cluster: ClusterId,
    /// Its node.
    pub node: NodeId,
    /// Where control answers.
    pub control: SocketAddr,
    /// The node's certificate and key.
    pub credentials: Credentials,
    /// The directory in which these are, to be renewed.
    pub certificates: PathBuf,
    /// Where to listen for other proxies.
    pub tunnel_listen: SocketAddr,
    /// Where other proxies reach that; control tells them.
    pub tunnel_address: SocketAddr,
    /// Where to keep the last routes. Made if missing.
    pub state_directory: PathBuf,
    /// The interface for service addresses; none when somebody else sees to the addresses.
    pub interface: Option<String>,
    /// What it allows.
    pub limits: ProxyLimits,
}

/// Why a proxy does not run. Nothing that comes later ends it: what goes wrong then is reported to
/// control and tried again.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// The state directory cannot be used.
    #[error("cannot use the proxy's state directory {}", path.display())]
    StateDirectory {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is not known what is revoked.
    #[error("a proxy does not start without knowing whose certificates are revoked")]
    Revoked(#[from] RevocationsError),
    /// The credentials cannot be used.
    #[error("cannot prepare TLS for tunnels")]
    Tls(#[source] Box<TlsError>),
    /// The address for other proxies cannot be had.
    #[error("cannot listen for other proxies at {address}")]
    TunnelListen {
        /// Which.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A node's proxy.
#[derive(Debug)]
pub struct Proxy;

impl Proxy {
    /// Runs a proxy until `shutdown`, then lets its relays go on for as long as the limits say.
    /// Service addresses and the saved routes stay.
    ///
    /// # Errors
    /// [`ProxyError`] when it cannot start.
    pub async fn run(config: ProxyConfig, shutdown: CancellationToken) -> Result<(), ProxyError> {
        let place = CertificatePlace {
            control: config.control,
            directory: config.certificates.clone(),
            files: CredentialFiles::NODE,
            revoked: config.state_directory.join(REVOKED_FILE_NAME),
        };
        let revocations = config.credentials.revocations();
        revocations.load(&place.revoked)?;
        let keeper = CertificateKeeper::new(config.credentials.clone(), place);
        let (events, control) = mpsc::channel(CONTROL_QUEUE_MAX);
        let target = LinkTarget {
            control: config.control,
            credentials: config.credentials.clone(),
            path: PROXY_PATH,
            limits: LinkLimits::default(),
        };
        let unlink = shutdown.child_token();
        let _unlink_at_the_end = unlink.clone().drop_guard();
        let linked = tokio::spawn(keep_linked(target, events, keeper.clone(), unlink));
        let renewed = tokio::spawn(async move { keeper.run(Turn::Second).await });
        let served = serve(config, control, shutdown).await;
        linked.abort();
        renewed.abort();
        served
    }
}

/// Passes on what the link brings, over all its lives.
async fn keep_linked(
    target: LinkTarget,
    events: mpsc::Sender<ControlEvent>,
    keeper: CertificateKeeper,
    unlink: CancellationToken,
) {
    let session = |mut link: Link<ProxyMessage, ToProxy>| {
        let (events, keeper) = (events.clone(), keeper.clone());
        async move {
            // Sending fails only when the loop has ended, and then the link ends too.
            let mut listening = events.send(ControlEvent::Linked(link.sender)).await.is_ok();
            while listening {
                let Some(message) = link.receiver.recv().await else {
                    break;
                };
                if let ToProxy::Access(notice) = message {
                    keeper.notice(notice);
                    continue;
                }
                listening = events.send(ControlEvent::Message(message)).await.is_ok();
            }
            let _ = events.send(ControlEvent::Lost).await;
        }
    };
    run_with_reconnect(target, unlink, session).await;
}

/// Everything but the link to control.
async fn serve(
    config: ProxyConfig,
    control: mpsc::Receiver<ControlEvent>,
    shutdown: CancellationToken,
) -> Result<(), ProxyError> {
    let directory = config.state_directory.clone();
    let predecessor = prepare(&directory).map_err(|source| ProxyError::StateDirectory {
        path: directory.clone(),
        source,
    })?;
    let saved = saved::load(&directory).unwrap_or_else(|error| {
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        tracing::warn!(%error, cause, "starting without saved routes");
        Vec::new()
    });
    let tunnels =
        Tunnels::new(config.credentials).map_err(|error| ProxyError::Tls(Box::new(error)))?;
    let address = config.tunnel_listen;
    let tunnel_listener = listener::listen(address)
        .and_then(TcpListener::from_std)
        .map_err(|source| ProxyError::TunnelListen { address, source })?;
    let shared = Shared::new(config.node, config.limits, tunnels);
    let accepting = tunnel::accept_tunnels(tunnel_listener, Arc::clone(&shared));
    shared.tasks.spawn(accepting);

    let (event_sender, events) = mpsc::channel(EVENT_QUEUE_MAX);
    let (saved_sender, saved_receiver) = watch::channel(Vec::new());
    let saving = tokio::spawn(saved::keep_saving(directory, saved_receiver));
    let ports = Ports::new(Arc::clone(&shared), event_sender.clone(), predecessor);
    let mut event_loop = Loop::new(Parts {
        shared: Arc::clone(&shared),
        table: RouteTable::new(config.node),
        ports,
        addresses: AddressKeeper::new(config.interface),
        hello: ProxyMessage::Hello {
            cluster: config.cluster,
            node: config.node,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            tunnel: config.tunnel_address,
        },
        saved: saved_sender,
        events: event_sender,
    });
    event_loop.run(saved, control, events, shutdown).await;
    end(&shared, config.limits.drain_ms_max).await;
    drop(event_loop);
    if timeout(Duration::from_millis(LAST_SAVE_MS_MAX), saving)
        .await
        .is_err()
    {
        tracing::warn!("the last routes were not saved within {LAST_SAVE_MS_MAX} ms");
    }
    Ok(())
}

/// Lets relays go on for a while, then ends them.
async fn end(shared: &Shared, drain_ms_max: u64) {
    shared.stopping.cancel();
    shared.tasks.close();
    let drained = timeout(Duration::from_millis(drain_ms_max), shared.tasks.wait()).await;
    shared.stopped.cancel();
    if drained.is_err() {
        let _ = timeout(Duration::from_millis(END_MS_MAX), shared.tasks.wait()).await;
    }
}

/// Makes the state directory, and says which proxy used it last.
fn prepare(directory: &Path) -> io::Result<Option<u32>> {
    fs::create_dir_all(directory)?;
    let path = directory.join(PID_FILE_NAME);
    let predecessor = match fs::read_to_string(&path) {
        Ok(text) => text.trim().parse().ok(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    fs::write(&path, format!("{}\n", std::process::id()))?;
    Ok(predecessor)
}
