//! Time as the core sees it: handed in with every event, never read.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Milliseconds since some fixed start of the process that counts them (a monotonic clock).
/// Only differences mean anything, and only within one process.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
    Default,
)]
#[serde(transparent)]
pub struct Monotonic(pub u64);

impl Monotonic {
    /// The moment `milliseconds` later.
    #[must_use]
    pub fn plus_ms(self, milliseconds: u64) -> Self {
        Self(self.0.saturating_add(milliseconds))
    }

    /// Milliseconds since `earlier`; zero if that is in the future.
    pub fn since_ms(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Wall-clock milliseconds since 1970-01-01 UTC. For people and for records; nothing that must be
/// right depends on it.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
    Default,
)]
#[serde(transparent)]
pub struct UnixMs(pub u64);

/// Both clocks, read once by the shell for each event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// For every deadline and duration.
    pub monotonic: Monotonic,
    /// For records that people read.
    pub wall: UnixMs,
}
