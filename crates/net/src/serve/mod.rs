//! Serving HTTP over TLS, as control does for its API and its links.
//!
//! Any tower service can be served; handlers find who is there as an `Option<MemberCertificate>` and
//! [`PeerAddress`] among the request's extensions. It routes nothing and lets everybody in whom the
//! TLS configuration lets in; connections of who is revoked later it ends.

use crate::door::{Door, DoorLimits, Unproved};
use crate::link::BoxError;
use crate::pki::{Identity, MemberCertificate, Role};
use crate::tls::{self, ALPN_HTTP2, HANDSHAKE_MS_MAX, ServerTls, TlsError};
use hyper::body::{Body, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::{Service, ServiceExt};

/// What the server allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServeLimits {
    /// Connections of members at one time; more are closed.
    pub connections_max: usize,
    /// Who may stand at the door; for one more, one of those who stand there is closed.
    pub door: DoorLimits,
    /// Of these, connections without a certificate; more are closed. They cannot crowd out members.
    pub strangers_max: usize,
    /// How long a connection without a certificate may last, in milliseconds.
    pub stranger_ms_max: u64,
    /// How long a TLS handshake may take, in milliseconds.
    pub handshake_ms_max: u64,
    /// How long an HTTP/1 client may take to send a request's head, in milliseconds.
    pub head_ms_max: u64,
    /// An HTTP/2 client is asked for a sign of life this often, in milliseconds.
    pub ping_ms: u64,
    /// How long it has to answer, in milliseconds.
    pub ping_ms_max: u64,
    /// How long requests under way may go on after a shutdown began, in milliseconds.
    pub shutdown_ms_max: u64,
}

impl Default for ServeLimits {
    fn default() -> Self {
        Self {
            // 1,000 nodes with an agent and a proxy each, and as many people and programs.
            connections_max: 4_096,
            door: DoorLimits::default(),
            strangers_max: 64,
            stranger_ms_max: 60_000,
            handshake_ms_max: HANDSHAKE_MS_MAX,
            head_ms_max: 30_000,
            ping_ms: 5_000,
            ping_ms_max: 5_000,
            shutdown_ms_max: 1_000,
        }
    }
}

/// Where a request came from, among its extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerAddress(pub SocketAddr);

/// After a failure to accept (no file descriptors, say) the next try waits this long.
const ACCEPT_RETRY_MS: u64 = 50;

/// Serves until cancelled; then lets requests under way end, within the limit, and returns.
pub async fn serve_tls<S, B>(
    listener: TcpListener,
    tls: ServerTls,
    service: S,
    limits: ServeLimits,
    cancel: CancellationToken,
) where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    let connections = TaskTracker::new();
    let door = Door::new(limits.door);
    let entrance = Arc::new(Entrance {
        tls,
        limits,
        strangers: Semaphore::new(limits.strangers_max),
        members: Semaphore::new(limits.connections_max),
        cancel: cancel.clone(),
    });
    let accept_all = async {
        loop {
            let (stream, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    sleep(Duration::from_millis(ACCEPT_RETRY_MS)).await;
                    continue;
                }
            };
            let visitor = door.receive(peer.ip());
            let (entrance, service) = (Arc::clone(&entrance), service.clone());
            connections.spawn(async move {
                entrance.serve_one(stream, peer, visitor, service).await;
            });
            // Whoever was pushed out goes before the next one comes.
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        biased;
        () = cancel.cancelled() => {}
        () = accept_all => {}
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

/// What all connections share.
struct Entrance {
    tls: ServerTls,
    limits: ServeLimits,
    strangers: Semaphore,
    members: Semaphore,
    cancel: CancellationToken,
}

impl Entrance {
    async fn serve_one<S, B>(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        visitor: Unproved<Identity>,
        service: S,
    ) where
        S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Into<BoxError>,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        let limits = &self.limits;
        let accepted = tokio::select! {
            biased;
            () = self.cancel.cancelled() => return,
            () = visitor.pushed_out() => return,
            accepted = tls::accept(stream, peer, &self.tls, limits.handshake_ms_max) => accepted,
        };
        let (stream, certificate) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => return report(&error),
        };
        let revocations = self.tls.revocations();
        // Who is revoked hears why, and gets no more room for that than a stranger.
        let member = certificate
            .clone()
            .filter(|certificate| !revocations.covers(certificate));
        let (room, time_max) = match &member {
            Some(_) => (&self.members, None),
            None => (
                &self.strangers,
                Some(Duration::from_millis(limits.stranger_ms_max)),
            ),
        };
        let Ok(_place) = room.try_acquire() else {
            return tracing::warn!(%peer, "too many clients of this kind");
        };
        // A stranger stays at the door.
        let (_inhabitant, visitor) = match &member {
            Some(member) => match visitor.is(&member.identity) {
                Some(inhabitant) => (Some(inhabitant), None),
                None => {
                    let who = &member.identity;
                    return tracing::warn!(%peer, %who, "it has too many connections");
                }
            },
            None => (None, Some(visitor)),
        };
        let service = service_fn(move |mut request: Request<Incoming>| {
            let extensions = request.extensions_mut();
            extensions.insert::<Option<MemberCertificate>>(certificate.clone());
            extensions.insert(PeerAddress(peer));
            service.clone().oneshot(request)
        });
        let builder = http_builder(&stream, limits);
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        tokio::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            who = self.until_revoked(member) => {
                return tracing::warn!(%peer, %who, "a connection ends: its certificate is revoked");
            }
            () = until_pushed_out(visitor.as_ref()) => return,
            () = self.time_to_end(time_max) => {
                connection.as_mut().graceful_shutdown();
                let limit = Duration::from_millis(limits.shutdown_ms_max);
                timeout(limit, connection).await.unwrap_or(Ok(()))
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%peer, %error, "a connection broke");
        }
    }

    /// Waits until a member is revoked, and says who that is.
    async fn until_revoked(&self, member: Option<MemberCertificate>) -> Role {
        match member {
            Some(member) => {
                self.tls.revocations().until_covers(&member).await;
                member.identity.role
            }
            None => std::future::pending().await,
        }
    }

    /// Waits until the server is to end, or a connection has lasted as long as it may.
    async fn time_to_end(&self, time_max: Option<Duration>) {
        match time_max {
            // That it took too long is as good a reason as that all ends.
            Some(time_max) => drop(timeout(time_max, self.cancel.cancelled()).await),
            None => self.cancel.cancelled().await,
        }
    }
}

/// Waits until a stranger has to make room; for a member for ever.
async fn until_pushed_out(stranger: Option<&Unproved<Identity>>) {
    match stranger {
        Some(stranger) => stranger.pushed_out().await,
        None => std::future::pending().await,
    }
}

/// The client said in its handshake which HTTP it speaks.
fn http_builder(
    stream: &TlsStream<TcpStream>,
    limits: &ServeLimits,
) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(limits.head_ms_max));
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_millis(limits.ping_ms))
        .keep_alive_timeout(Duration::from_millis(limits.ping_ms_max));
    if stream.get_ref().1.alpn_protocol() == Some(ALPN_HTTP2) {
        builder.http2_only()
    } else {
        builder.http1_only()
    }
}

/// Anybody can knock at an open port; only what looks like a member of a cluster is news.
fn report(error: &TlsError) {
    match error {
        TlsError::Refused { .. } | TlsError::RefusedByPeer { .. } => {
            tracing::warn!(%error, hint = error.hint(), "a client was not let in");
        }
        _ => tracing::debug!(%error, "a handshake failed"),
    }
}

#[cfg(test)]
mod flood_test;
#[cfg(test)]
#[path = "serve_test.rs"]
mod tests;
