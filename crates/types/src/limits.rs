//! How long an operation waits for what it needs: every limit with its default.
//!
//! Control's shell reads them from a file, the core obeys them. No safety property depends on any of
//! them: too short a limit turns operations back, too long a one keeps people waiting.

use serde::{Deserialize, Serialize};

/// The limits of operations, in milliseconds. What is not said keeps its default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OperationLimits {
    /// A node that a running operation needs may be away this long.
    pub node_away_ms: u64,
    /// The services that an operation depends on may take this long.
    pub dependency_ms: u64,
    /// Making a volume or preparing a container may go without progress this long.
    pub prepare_stall_ms: u64,
    /// A stream may go without progress this long while the service runs.
    pub copy_stall_ms: u64,
    /// The last delta may go without progress this long: clients wait.
    pub last_delta_stall_ms: u64,
    /// Proxies keep connections this long before they let go of them.
    pub hold_ms: u64,
    /// Proxies that have not confirmed a route within this time are not waited for.
    pub route_confirm_ms: u64,
    /// Beyond its grace time a container may take this long to stop.
    pub stop_ms: u64,
    /// Source and target may take this long to agree on a head that both have.
    pub head_ms: u64,
    /// A container may take this long to become ready, beyond what its health check allows for.
    pub start_ms: u64,
    /// The source may take this long to clean up after a move.
    pub keep_ms: u64,
    /// On the way back the source may take this long to run again.
    pub back_ms: u64,
}

impl Default for OperationLimits {
    fn default() -> Self {
        Self {
            node_away_ms: 30_000,
            dependency_ms: 600_000,
            prepare_stall_ms: 120_000,
            copy_stall_ms: 30_000,
            last_delta_stall_ms: 10_000,
            hold_ms: 120_000,
            route_confirm_ms: 500,
            stop_ms: 30_000,
            head_ms: 10_000,
            start_ms: 120_000,
            keep_ms: 60_000,
            back_ms: 120_000,
        }
    }
}
