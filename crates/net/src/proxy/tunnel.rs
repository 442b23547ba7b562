//! Tunnels: connections from one node's proxy to another's, each for one connection of a client.
//!
//! ```text
//!  client - proxy A ==== TLS, both show their certificates ==== proxy B - container
//!             |  version, length, {"service", "internal_port"}  ->  |
//!             |  <-  one byte: seen                                 |
//!             |  <-  one byte: ok, refused or moved                 |
//!             |  <-> the client's and the container's bytes         |
//! ```
//!
//! [`super::tunnels_ready`] opens them, the loop starts [`accept_tunnels`]. Only nodes of our own cluster are
//! let in, and what comes through a tunnel never leaves through another.

use super::connection::{carry, note_unreached};
use super::limits::{TUNNEL_CONNECT_MS_MAX, TUNNEL_HEADER_BYTES_MAX, TUNNEL_HEADER_MS_MAX};
use super::listener::pause_after;
use super::reach::{Unreached, Wanted};
use super::relay::{ByteStream, End, tune};
use super::shared::Shared;
use super::tunnels_ready::TunnelOpener;
use crate::door::Unproved;
use crate::pki::{Identity, Role};
use crate::tls::{self, ClientCertificates, Credentials, ServerTls, TlsError};
use flocker_core::route::Origin;
use flocker_types::ids::{ClusterId, ServiceId};
use serde::{Deserialize, Serialize};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// First byte of a request.
const PROTOCOL: u8 = 1;
/// Bytes before the request's JSON: the version and the length.
const PREFIX_BYTES: usize = 3;
const OK: u8 = 0;
const REFUSED: u8 = 1;
const MOVED: u8 = 2;
const SEEN: u8 = 3;

/// What a tunnel is for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Request {
    pub(crate) service: ServiceId,
    pub(crate) internal_port: u16,
}

/// Why a tunnel leads nowhere.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TunnelFailure {
    #[error("it refuses")]
    Refused,
    #[error("it says that the service is not there")]
    Moved,
    #[error("no connection to it")]
    Connect(#[source] Box<TlsError>),
    #[error("the connection to it broke")]
    Broken(#[from] io::Error),
}

/// Both sides of tunnels: how to open and how to accept them.
#[derive(Debug)]
pub(crate) struct Tunnels {
    pub(crate) opener: Arc<TunnelOpener>,
    cluster: ClusterId,
    server: ServerTls,
}

impl Tunnels {
    pub(crate) fn new(credentials: Credentials) -> Result<Self, TlsError> {
        let server = tls::server_config(&credentials, ClientCertificates::Required, &[])?;
        Ok(Self {
            cluster: credentials.identity().cluster,
            opener: TunnelOpener::new(credentials),
            server,
        })
    }

    /// Whether a peer may use our tunnels.
    fn lets_in(&self, peer: &Identity) -> bool {
        peer.cluster == self.cluster && matches!(peer.role, Role::Node(_))
    }
}

/// Asks for a container on a tunnel. Gives up when the other proxy does not even see the request
/// within the limit; then waits for as long as it holds.
pub(crate) async fn ask<S: ByteStream + 'static>(
    mut stream: S,
    request: &Request,
    seen_ms_max: u64,
) -> Result<Box<dyn ByteStream>, TunnelFailure> {
    let sent = async {
        stream.write_all(&encode(request)?).await?;
        stream.flush().await?;
        stream.read_u8().await
    };
    let seen = timeout(Duration::from_millis(seen_ms_max), sent).await;
    let seen = seen.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    if seen != SEEN {
        let text = format!("an unexpected answer ({seen}) on a tunnel");
        return Err(io::Error::other(text).into());
    }
    match stream.read_u8().await? {
        OK => Ok(Box::new(stream)),
        MOVED => Err(TunnelFailure::Moved),
        _ => Err(TunnelFailure::Refused),
    }
}

fn encode(request: &Request) -> io::Result<Vec<u8>> {
    let body = serde_json::to_vec(request)?;
    let length = u16::try_from(body.len())
        .ok()
        .filter(|length| *length <= TUNNEL_HEADER_BYTES_MAX)
        .ok_or_else(|| io::Error::other("the request is too long for a tunnel"))?;
    let mut bytes = Vec::with_capacity(PREFIX_BYTES + body.len());
    bytes.push(PROTOCOL);
    bytes.extend(length.to_be_bytes());
    bytes.extend(body);
    Ok(bytes)
}

async fn decode(stream: &mut (impl ByteStream + ?Sized)) -> io::Result<Request> {
    let version = stream.read_u8().await?;
    if version != PROTOCOL {
        let text = format!("version {version} of the tunnel protocol is not known here");
        return Err(io::Error::other(text));
    }
    let length = stream.read_u16().await?;
    if length > TUNNEL_HEADER_BYTES_MAX {
        let text = format!("a request of {length} bytes; {TUNNEL_HEADER_BYTES_MAX} are allowed");
        return Err(io::Error::other(text));
    }
    let mut body = vec![0; usize::from(length)];
    stream.read_exact(&mut body).await?;
    Ok(serde_json::from_slice(&body)?)
}

/// Accepts tunnels until the proxy ends.
pub(crate) async fn accept_tunnels(listener: TcpListener, shared: Arc<Shared>) {
    let accepting = async {
        loop {
            let (stream, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    pause_after(&error).await;
                    continue;
                }
            };
            let visitor = shared.tunnel_door.receive(peer.ip());
            let tunnel = serve_tunnel(Arc::clone(&shared), stream, peer, visitor);
            shared.tasks.spawn(tunnel);
            // Whoever was pushed out goes before the next one comes.
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        biased;
        () = shared.stopping.cancelled() => {}
        () = accepting => {}
    }
}

async fn serve_tunnel(
    shared: Arc<Shared>,
    stream: TcpStream,
    peer: SocketAddr,
    visitor: Unproved<Identity>,
) {
    tune(&stream);
    let config = &shared.tunnels.server;
    let accepted = tokio::select! {
        accepted = tls::accept(stream, peer, config, TUNNEL_CONNECT_MS_MAX) => accepted,
        () = visitor.pushed_out() => return,
    };
    let (stream, member) = match accepted {
        Ok((stream, Some(member))) if shared.tunnels.lets_in(&member.identity) => (stream, member),
        Ok(_) => {
            tracing::warn!(%peer, "a tunnel was refused: its peer is no node of this cluster");
            return;
        }
        Err(error) => {
            tracing::debug!(%peer, %error, "a tunnel was not agreed on");
            return;
        }
    };
    let Ok(_slot) = shared.tunnel_slots.try_acquire() else {
        tracing::warn!(%peer, "no room for another tunnel");
        return;
    };
    let Some(_inhabitant) = visitor.is(&member.identity) else {
        tracing::warn!(%peer, who = %member.identity.role, "it has too many tunnels");
        return;
    };
    tokio::select! {
        biased;
        () = shared.stopped.cancelled() => {}
        () = config.revocations().until_covers(&member) => {
            tracing::warn!(%peer, who = %member.identity.role, "a tunnel ends: its peer is revoked");
        }
        answered = answer(&shared, Box::new(stream)) => {
            if let Err(error) = answered {
                tracing::debug!(%peer, %error, "a tunnel broke before it was one");
            }
        }
    }
}

async fn answer(shared: &Arc<Shared>, mut stream: Box<dyn ByteStream>) -> io::Result<()> {
    let limit = Duration::from_millis(TUNNEL_HEADER_MS_MAX);
    let request = timeout(limit, decode(&mut *stream))
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    reply(&mut *stream, SEEN).await?;
    let Some(service) = shared.directory.get(&request.service) else {
        return reply(&mut *stream, MOVED).await;
    };
    let wanted = Wanted {
        shared,
        service: &service,
        internal_port: request.internal_port,
        origin: Origin::Tunnel,
    };
    let mut nothing = [0; 1];
    let reached = tokio::select! {
        biased;
        // The other proxy sends nothing before our answer: it has given up, or is none of ours.
        _ = stream.read(&mut nothing) => return Ok(()),
        // Boxed: an established relay does not carry the room for getting there.
        reached = Box::pin(wanted.reach()) => reached,
    };
    match reached {
        Ok((backend, established)) => {
            reply(&mut *stream, OK).await?;
            carry(shared, &service, End::Tunnel(stream), backend, &established).await;
            Ok(())
        }
        Err(Unreached::Refused) => reply(&mut *stream, MOVED).await,
        Err(reason) => {
            note_unreached(&service, &reason);
            reply(&mut *stream, REFUSED).await
        }
    }
}

async fn reply(stream: &mut (impl ByteStream + ?Sized), byte: u8) -> io::Result<()> {
    stream.write_all(&[byte]).await?;
    stream.flush().await
}

/// For the fuzzers' harness: reads a request, which is then one that we could have sent.
#[cfg(any(test, fuzzing))]
pub(crate) async fn fuzzed(bytes: &[u8]) {
    let mut stream = tokio::io::join(io::Cursor::new(bytes.to_vec()), tokio::io::sink());
    if let Ok(request) = decode(&mut stream).await {
        let again = encode(&request);
        assert!(again.is_ok() || bytes.len() > usize::from(TUNNEL_HEADER_BYTES_MAX) / 2);
    }
}
