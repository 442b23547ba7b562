//! Brings one connection to a container: decides, holds, connects, and decides again whenever the
//! route changes on the way.
//!
//! Called for connections of clients and of other proxies. Nothing of what the client sends is
//! read before the container is there, so starting over loses nothing.

use super::limits::{ATTEMPT_INTERVAL_MS, ATTEMPT_MS_MAX, TUNNEL_ATTEMPT_INTERVAL_MS};
use super::relay::{End, tune};
use super::service::{Established, HeldPlace, Place, Published, Service};
use super::shared::Shared;
use super::tunnel::{Request, TunnelFailure};
use flocker_core::route::{Decision, Origin, decide};
use flocker_types::ids::NodeId;
use flocker_types::route::{Backend, RouteState};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

/// Why a connection reached no container.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreached {
    #[error("nobody serves it here")]
    Refused,
    #[error("it was held for {0} ms, the hold's limit")]
    HeldTooLong(u64),
    #[error("{0} connections of the service are held already")]
    HeldTooMany(u32),
    #[error("its container did not answer")]
    NoAnswer(#[source] io::Error),
    #[error("the proxy of node {0} did not answer")]
    NoTunnel(NodeId, #[source] TunnelFailure),
    #[error("routes kept changing or disagreeing for {0} ms")]
    Unsettled(u64),
}

/// What a connection wants.
pub(crate) struct Wanted<'a> {
    pub(crate) shared: &'a Arc<Shared>,
    pub(crate) service: &'a Arc<Service>,
    pub(crate) internal_port: u16,
    pub(crate) origin: Origin,
}

impl Wanted<'_> {
    fn decide(&self, published: &Published) -> Decision {
        let (node, port) = (self.shared.node, self.internal_port);
        decide(published.route.as_deref(), node, port, self.origin)
    }

    /// Runs `attempt` for as long as the decision stays the same; none when it changed.
    async fn while_it_stays<T>(
        &self,
        route: &mut watch::Receiver<Published>,
        decision: &Decision,
        attempt: impl Future<Output = T>,
    ) -> Option<T> {
        let changed = async {
            // The sender is in the service, which we keep: waiting cannot fail.
            let _ = route.wait_for(|now| self.decide(now) != *decision).await;
        };
        tokio::select! {
            biased;
            () = changed => None,
            output = attempt => Some(output),
        }
    }

    /// Brings the connection to a container.
    pub(crate) async fn reach(&self) -> Result<(End, Established), Unreached> {
        let limits = self.shared.limits;
        let mut route = self.service.route();
        let mut place: Option<HeldPlace> = None;
        let mut deadline = Instant::now() + Duration::from_millis(limits.reach_ms_max);
        loop {
            if Instant::now() >= deadline {
                return Err(Unreached::Unsettled(limits.reach_ms_max));
            }
            let published = route.borrow_and_update().clone();
            let decision = self.decide(&published);
            if let Decision::Hold { limit_ms } = decision {
                if self.hold(&mut route, &mut place, limit_ms).await? == Held::Waited {
                    // Time in a hold has the hold's limit.
                    deadline = Instant::now() + Duration::from_millis(limits.reach_ms_max);
                }
                continue;
            }
            place = None;
            let attempt = self.attempt(&decision, deadline);
            let Some(outcome) = self.while_it_stays(&mut route, &decision, attempt).await else {
                continue;
            };
            let Some(end) = outcome? else {
                continue;
            };
            let published = route.borrow().clone();
            if let Some(backend) = serving(&published) {
                let version = published.version;
                return Ok((end, Established { version, backend }));
            }
        }
    }

    /// Waits for the end of a hold, at most until its limit.
    async fn hold(
        &self,
        route: &mut watch::Receiver<Published>,
        place: &mut Option<HeldPlace>,
        limit_ms: u64,
    ) -> Result<Held, Unreached> {
        let since = match place {
            Some(place) => place.since,
            None => match self
                .service
                .take_place(self.shared.limits.held_per_service_max)
            {
                Place::Taken(taken) => place.insert(taken).since,
                Place::Released => return Ok(Held::JustEnded),
                Place::Full => {
                    return Err(Unreached::HeldTooMany(
                        self.shared.limits.held_per_service_max,
                    ));
                }
            },
        };
        let end = since + Duration::from_millis(limit_ms);
        let limit = tokio::time::sleep_until(end);
        let decision = Decision::Hold { limit_ms };
        match self.while_it_stays(route, &decision, limit).await {
            None => Ok(Held::Waited),
            Some(()) => Err(Unreached::HeldTooLong(limit_ms)),
        }
    }

    /// Tries what was decided until it works, or until trying longer makes no sense. None means
    /// that the other proxy disagrees: look at the route again.
    async fn attempt(
        &self,
        decision: &Decision,
        deadline: Instant,
    ) -> Result<Option<End>, Unreached> {
        let patience = Duration::from_millis(self.shared.limits.unreachable_ms_max);
        let give_up = deadline.min(Instant::now() + patience);
        match decision {
            Decision::Local(address) => connect_container(*address, give_up).await.map(Some),
            Decision::Tunnel { node, address } => self.tunnel(*node, *address, give_up).await,
            Decision::Hold { .. } | Decision::Refuse => Err(Unreached::Refused),
        }
    }

    async fn tunnel(
        &self,
        node: NodeId,
        address: SocketAddr,
        give_up: Instant,
    ) -> Result<Option<End>, Unreached> {
        let request = Request {
            service: self.service.id.clone(),
            internal_port: self.internal_port,
        };
        loop {
            match self
                .shared
                .tunnels
                .opener
                .open(node, address, &request)
                .await
            {
                Ok(stream) => return Ok(Some(End::Tunnel(stream))),
                Err(TunnelFailure::Refused) => return Err(Unreached::Refused),
                Err(TunnelFailure::Moved) => {
                    // Its route is older or newer than ours; both soon are the same.
                    sleep(Duration::from_millis(ATTEMPT_INTERVAL_MS)).await;
                    return Ok(None);
                }
                Err(failure) => {
                    let pause = Duration::from_millis(TUNNEL_ATTEMPT_INTERVAL_MS);
                    if Instant::now() + pause >= give_up {
                        return Err(Unreached::NoTunnel(node, failure));
                    }
                    sleep(pause).await;
                }
            }
        }
    }
}

#[derive(PartialEq, Eq)]
enum Held {
    Waited,
    JustEnded,
}

fn serving(published: &Published) -> Option<Backend> {
    match &published.route.as_ref()?.state {
        RouteState::Serving(backend) => Some(backend.clone()),
        RouteState::Held { .. } | RouteState::Down => None,
    }
}

/// Connects to a container, which may just be starting.
async fn connect_container(address: SocketAddr, give_up: Instant) -> Result<End, Unreached> {
    loop {
        let failure = match connect_once(address).await {
            Ok(stream) => {
                tune(&stream);
                return Ok(End::Plain(stream));
            }
            Err(failure) => failure,
        };
        let pause = Duration::from_millis(ATTEMPT_INTERVAL_MS);
        if Instant::now() + pause >= give_up {
            return Err(Unreached::NoAnswer(failure));
        }
        sleep(pause).await;
    }
}

async fn connect_once(address: SocketAddr) -> io::Result<TcpStream> {
    let limit = Duration::from_millis(ATTEMPT_MS_MAX);
    let stream = timeout(limit, TcpStream::connect(address))
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
    // Where nobody listens at a local port, TCP can connect a socket with itself.
    if stream.local_addr()? == address {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    Ok(stream)
}
