//! Rates of something that comes in pieces, smoothed over the latest of them.
//!
//! The adviser on compression keeps its measurements in these. Pure values.

use std::time::Duration;

/// Each new piece takes this part of the older ones' weight away: about this many count.
const PIECES: u64 = 16;
/// The same for ratios, which come seldom: only now and then is a piece compressed to see how it goes.
const RATIOS: u64 = 4;

/// Bytes and the time that they took, both decaying; so long pieces weigh more than short ones, and one
/// that took long by accident is outweighed by its neighbours.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Smoothed {
    bytes: u64,
    nanos: u64,
}

impl Smoothed {
    /// Counts one more piece.
    pub(super) fn add(&mut self, bytes: usize, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.bytes = decayed(self.bytes, PIECES).saturating_add(as_u64(bytes));
        self.nanos = decayed(self.nanos, PIECES).saturating_add(nanos);
    }

    /// Nanoseconds that a mebibyte takes; none before the first piece.
    pub(super) fn nanos_per_mib(self) -> Option<u64> {
        let scaled = u128::from(self.nanos) << 20;
        let per_mib = scaled.checked_div(u128::from(self.bytes))?;
        Some(u64::try_from(per_mib).unwrap_or(u64::MAX))
    }
}

/// How much of its size data keeps when it is compressed, smoothed likewise.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct SmoothedRatio {
    before: u64,
    after: u64,
}

impl SmoothedRatio {
    /// Counts one more piece.
    pub(super) fn add(&mut self, before: usize, after: usize) {
        self.before = decayed(self.before, RATIOS).saturating_add(as_u64(before));
        self.after = decayed(self.after, RATIOS).saturating_add(as_u64(after));
    }

    /// What is left of so much; nothing is known before the first piece.
    pub(super) fn of(self, whole: u64) -> Option<u64> {
        let scaled = u128::from(whole) * u128::from(self.after);
        let part = scaled.checked_div(u128::from(self.before))?;
        Some(u64::try_from(part).unwrap_or(u64::MAX))
    }
}

fn decayed(sum: u64, pieces: u64) -> u64 {
    sum - sum / pieces
}

fn as_u64(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
