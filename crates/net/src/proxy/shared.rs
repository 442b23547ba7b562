//! What every task of one proxy may use: who we are, the limits, and the slots they bound.
//!
//! Made once by the loop. Holds no routes: those are in each [`super::service::Service`].

use super::limits::{DESCRIPTORS_RESERVED, ProxyLimits};
use super::service::Directory;
use super::tunnel::Tunnels;
use crate::door::{Door, DoorLimits};
use crate::pki::Identity;
use flocker_types::ids::NodeId;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// See the module.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) node: NodeId,
    pub(crate) limits: ProxyLimits,
    pub(crate) directory: Directory,
    pub(crate) tunnels: Tunnels,
    /// One for each connection from a client.
    pub(crate) client_slots: Arc<Semaphore>,
    /// One for each connection from another proxy.
    pub(crate) tunnel_slots: Arc<Semaphore>,
    /// Who stands at the tunnels' listener.
    pub(crate) tunnel_door: Door<Identity>,
    /// How many connections each client's address has.
    pub(crate) clients: Door<IpAddr>,
    /// Every task of the proxy.
    pub(crate) tasks: TaskTracker,
    /// No new connections from now on.
    pub(crate) stopping: CancellationToken,
    /// Relays end.
    pub(crate) stopped: CancellationToken,
}

impl Shared {
    pub(crate) fn new(node: NodeId, limits: ProxyLimits, tunnels: Tunnels) -> Arc<Self> {
        // Each connection needs two descriptors.
        let affordable = descriptors_max().saturating_sub(DESCRIPTORS_RESERVED) / 2;
        let wanted = u64::from(limits.connections_max) + u64::from(limits.tunnels_max);
        if affordable < wanted {
            tracing::warn!(
                affordable,
                wanted,
                "the limit of open files allows fewer connections than configured (raise \
                 LimitNOFILE)"
            );
        }
        // Clients and other proxies get their shares, so neither can starve the other.
        let share = |part: u32| {
            let slots = match wanted > affordable {
                true => u64::from(part) * affordable / wanted.max(1),
                false => u64::from(part),
            };
            let slots = usize::try_from(slots).unwrap_or(Semaphore::MAX_PERMITS);
            Arc::new(Semaphore::new(slots.clamp(1, Semaphore::MAX_PERMITS)))
        };
        Arc::new(Self {
            node,
            limits,
            directory: Directory::default(),
            tunnels,
            client_slots: share(limits.connections_max),
            tunnel_slots: share(limits.tunnels_max),
            tunnel_door: Door::new(DoorLimits {
                // One node can use half of the room.
                per_member_max: usize::try_from(limits.tunnels_max / 2).unwrap_or(usize::MAX),
                ..DoorLimits::default()
            }),
            clients: Door::new(DoorLimits {
                unproved_max: usize::MAX,
                unproved_per_address_max: usize::try_from(limits.connections_per_address_max)
                    .unwrap_or(usize::MAX),
                per_member_max: 0,
            }),
            tasks: TaskTracker::new(),
            stopping: CancellationToken::new(),
            stopped: CancellationToken::new(),
        })
    }
}

/// Raises the limit of open files as far as we may, and says what it is.
fn descriptors_max() -> u64 {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if setrlimit(Resource::Nofile, limit).is_err() {
        limit = getrlimit(Resource::Nofile);
    }
    limit.current.unwrap_or(u64::MAX)
}
