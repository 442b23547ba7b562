//! What the proxy allows: every queue, wait and retry, with its unit.
//!
//! Whoever configures a proxy may choose others; tests choose short ones.

/// Connections that the kernel accepts for us before we take them, per listener.
pub(crate) const LISTEN_BACKLOG: i32 = 1_024;
/// Messages from control that wait for the loop.
pub(crate) const CONTROL_QUEUE_MAX: usize = 256;
/// Reports of connections and tasks that wait for the loop.
pub(crate) const EVENT_QUEUE_MAX: usize = 4_096;
/// Answers to control that wait for the link to take them. Reached only when control takes nothing
/// for a long time; the oldest is dropped then, and the next welcome makes up for it.
pub(crate) const OUTBOX_MESSAGES_MAX: usize = 65_536;
/// A port that could not be had, or an address, is tried again this often, in milliseconds.
pub(crate) const RETRY_INTERVAL_MS: u64 = 1_000;
/// Addresses are compared with what they should be this often, in milliseconds.
pub(crate) const ADDRESS_CHECK_INTERVAL_MS: u64 = 10_000;
/// One attempt to reach a container, in milliseconds.
pub(crate) const ATTEMPT_MS_MAX: u64 = 1_000;
/// Between two attempts to reach a container, or to ask the other proxy again, in milliseconds.
pub(crate) const ATTEMPT_INTERVAL_MS: u64 = 20;
/// Between two attempts to reach another proxy that did not answer, in milliseconds.
pub(crate) const TUNNEL_ATTEMPT_INTERVAL_MS: u64 = 100;
/// After the kernel refused to hand over a connection (no file descriptors, say) the next try
/// comes after this long, in milliseconds.
pub(crate) const ACCEPT_PAUSE_MS: u64 = 50;
/// Connecting to another proxy, TCP and TLS, takes at most this, in milliseconds.
pub(crate) const TUNNEL_CONNECT_MS_MAX: u64 = 5_000;
/// Handshakes with one other proxy that go on at one time: when hundreds of connections are released
/// together, the first ones shall not wait for the last one's share of the processor.
pub(crate) const TUNNEL_HANDSHAKES_PER_PEER_MAX: usize = 8;
/// A tunnel that was kept ready is given up for a new one when the other proxy does not say within
/// this that it has seen the request, in milliseconds.
pub(crate) const TUNNEL_SEEN_MS_MAX: u64 = 500;
/// Tunnels to one other proxy that are kept ready.
pub(crate) const TUNNELS_READY_PER_PEER_MAX: usize = 4;
/// A tunnel is kept ready for this long, in milliseconds: less than the other proxy waits for the
/// request.
pub(crate) const TUNNEL_READY_MS_MAX: u64 = 30_000;
/// For this long after the last use tunnels to a proxy are kept ready, in milliseconds.
pub(crate) const TUNNELS_KEPT_READY_MS: u64 = 60_000;
/// An accepted tunnel must say what it wants within this, in milliseconds.
pub(crate) const TUNNEL_HEADER_MS_MAX: u64 = 60_000;
/// Longest request on a tunnel, in bytes.
pub(crate) const TUNNEL_HEADER_BYTES_MAX: u16 = 1_024;
/// File descriptors that are not for connections.
pub(crate) const DESCRIPTORS_RESERVED: u64 = 1_024;

/// What a proxy allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProxyLimits {
    /// Connections from clients at one time; further ones wait in the kernel.
    pub connections_max: u32,
    /// Of these, from one address; further ones are reset. Many people may share an address, and
    /// nobody may take all the room.
    pub connections_per_address_max: u32,
    /// Connections from other proxies at one time.
    pub tunnels_max: u32,
    /// Connections of one service that wait during a hold; further ones are reset.
    pub held_per_service_max: u32,
    /// While a route says that its container serves and it cannot be reached, a connection is kept
    /// for this long, in milliseconds: the container may just be starting.
    pub unreachable_ms_max: u64,
    /// A connection that was not held reaches a container within this, in milliseconds, or is
    /// reset, however often routes change in the meantime.
    pub reach_ms_max: u64,
    /// When the proxy ends, relays may go on for this long, in milliseconds.
    pub drain_ms_max: u64,
}

impl Default for ProxyLimits {
    fn default() -> Self {
        Self {
            connections_max: 16_384,
            connections_per_address_max: 4_096,
            tunnels_max: 16_384,
            held_per_service_max: 4_096,
            unreachable_ms_max: 5_000,
            reach_ms_max: 30_000,
            drain_ms_max: 1_000,
        }
    }
}
