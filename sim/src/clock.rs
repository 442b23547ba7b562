//! Clocks: each process counts time from its own start and at its own rate; each machine has its own
//! idea of the date.
//!
//! The world's time is in microseconds and nobody in it can read it.

use flocker_types::time::{Monotonic, Now, UnixMs};

/// A monotonic clock may be this much too fast or too slow, in millionths: the stated drift bound.
pub(crate) const DRIFT_PPM_MAX: u64 = 1_000;

const MILLION: i128 = 1_000_000;
/// The date when a run begins.
const BEGIN_UNIX_MS: u64 = 1_700_000_000_000;

/// A process's clocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    pub(crate) started_us: u64,
    pub(crate) drift_ppm: i64,
}

fn unsigned(value: i128) -> u64 {
    u64::try_from(value.max(0)).unwrap_or(u64::MAX)
}

impl Clock {
    /// What the process reads; `wall_offset_ms` is how wrong its machine's date is.
    pub(crate) fn read(self, now_us: u64, wall_offset_ms: i64) -> Now {
        let elapsed = i128::from(now_us.saturating_sub(self.started_us));
        let counted = elapsed * (MILLION + i128::from(self.drift_ppm)) / MILLION / 1_000;
        Now {
            monotonic: Monotonic(unsigned(counted)),
            wall: wall(now_us, wall_offset_ms),
        }
    }

    /// The world's time at which the process's monotonic clock shows `at`.
    pub(crate) fn when(self, at: Monotonic) -> u64 {
        let wanted = i128::from(at.0) * 1_000 * MILLION;
        let rate = MILLION + i128::from(self.drift_ppm);
        self.started_us + unsigned((wanted + rate - 1) / rate)
    }
}

/// The date on a machine.
pub(crate) fn wall(now_us: u64, offset_ms: i64) -> UnixMs {
    UnixMs((BEGIN_UNIX_MS + now_us / 1_000).saturating_add_signed(offset_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_has_come_when_it_has_come() {
        for drift_ppm in [-1_000, -1, 0, 7, 1_000] {
            let clock = Clock {
                started_us: 12_345,
                drift_ppm,
            };
            for at in [1, 500, 30_000, 123_457] {
                let when = clock.when(Monotonic(at));
                assert!(
                    clock.read(when, 0).monotonic >= Monotonic(at),
                    "{drift_ppm} {at}"
                );
                assert!(clock.read(when - 1_001, 0).monotonic < Monotonic(at));
            }
        }
    }
}
