//! Whether compressing the next piece of a stream makes the stream faster.
//!
//! The sender asks before each piece and tells how long it took. The answer comes from comparing:
//! stretches of the stream are sent either way, and the faster way is kept, tried against the other
//! one now and then. So it is right whatever the limit is: the wire, this CPU or the receiver.

use std::time::Duration;

/// What may be compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// What arrives sooner for it.
    WhenFaster,
    /// Nothing.
    Never,
    /// Everything that becomes smaller.
    Always,
}

/// Length of the first stretch, which is compressed: a short stream over a slow line gains much by
/// it and over a fast line loses little.
const FIRST_STRETCH_BYTES: u64 = 1 << 20;
/// Length of a stretch.
const STRETCH_BYTES: u64 = 4 << 20;
/// A stretch may end early when it takes long.
const STRETCH_TIME: Duration = Duration::from_millis(250);
/// Stretches between two trials of the other way; doubled each time that the trial fails.
const TRIAL_INTERVAL_MIN: u32 = 8;
const TRIAL_INTERVAL_MAX: u32 = 256;
/// Compressing must be better by this, in hundredths: it costs two CPUs' time.
const ADVANTAGE_PERCENT: u64 = 110;
/// A piece that keeps more than this of its size, in hundredths, counts as incompressible.
const INCOMPRESSIBLE_PERCENT: usize = 90;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Plain,
    Compressed,
}

/// Decides for one stream.
#[derive(Debug)]
pub(super) struct Adviser {
    setting: Compression,
    way: Way,
    /// Bytes per second as last measured, each way.
    plain_rate: Option<u64>,
    compressed_rate: Option<u64>,
    stretch_bytes: u64,
    stretch_time: Duration,
    stretches_until_trial: u32,
    trial_interval: u32,
}

impl Adviser {
    pub(super) fn new(setting: Compression) -> Self {
        Self {
            setting,
            way: Way::Compressed,
            plain_rate: None,
            compressed_rate: None,
            stretch_bytes: 0,
            stretch_time: Duration::ZERO,
            stretches_until_trial: TRIAL_INTERVAL_MIN,
            trial_interval: TRIAL_INTERVAL_MIN,
        }
    }

    /// Whether to compress the next piece.
    pub(super) fn compress_next(&self) -> bool {
        match self.setting {
            Compression::Never => false,
            Compression::Always => true,
            Compression::WhenFaster => self.way == Way::Compressed,
        }
    }

    /// A piece was tried, and whether what came out is worth sending. Incompressible data ends the
    /// trial at once, and the next trial is far away.
    pub(super) fn is_worth_it(&mut self, content_bytes: usize, compressed_bytes: usize) -> bool {
        let worth = compressed_bytes * 100 <= content_bytes * INCOMPRESSIBLE_PERCENT;
        if !worth && self.way == Way::Compressed {
            self.compressed_rate = Some(0);
            self.trial_interval = (self.trial_interval * 2).min(TRIAL_INTERVAL_MAX);
            self.go(Way::Plain);
        }
        worth
    }

    /// A piece has gone out, this long after the one before it.
    pub(super) fn sent(&mut self, content_bytes: usize, took: Duration) {
        self.stretch_bytes += u64::try_from(content_bytes).unwrap_or(0);
        self.stretch_time += took;
        let whole = match self.compressed_rate {
            None => FIRST_STRETCH_BYTES,
            Some(_) => STRETCH_BYTES,
        };
        if self.stretch_bytes < whole && self.stretch_time < STRETCH_TIME {
            return;
        }
        let micros = u64::try_from(self.stretch_time.as_micros()).unwrap_or(u64::MAX);
        let rate = self.stretch_bytes.saturating_mul(1_000_000) / micros.max(1);
        match self.way {
            Way::Plain => self.plain_rate = Some(rate),
            Way::Compressed => self.compressed_rate = Some(rate),
        }
        self.choose();
    }

    fn choose(&mut self) {
        let (Some(plain), Some(compressed)) = (self.plain_rate, self.compressed_rate) else {
            // One way has not been measured yet.
            let other = self.other();
            return self.go(other);
        };
        let better = match compressed > plain.saturating_mul(ADVANTAGE_PERCENT) / 100 {
            true => Way::Compressed,
            false => Way::Plain,
        };
        if better != self.way {
            return self.go(better);
        }
        self.stretches_until_trial = self.stretches_until_trial.saturating_sub(1);
        if self.stretches_until_trial == 0 {
            self.trial_interval = (self.trial_interval * 2).min(TRIAL_INTERVAL_MAX);
            let other = self.other();
            self.go(other);
        } else {
            self.go(self.way);
        }
    }

    fn other(&self) -> Way {
        match self.way {
            Way::Plain => Way::Compressed,
            Way::Compressed => Way::Plain,
        }
    }

    fn go(&mut self, way: Way) {
        if way != self.way {
            self.stretches_until_trial = self.trial_interval;
        }
        self.way = way;
        self.stretch_bytes = 0;
        self.stretch_time = Duration::ZERO;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIECE: usize = 256 << 10;

    /// Sends `pieces` with these costs each way; returns how many went compressed.
    fn simulate(pieces: usize, plain_us: u64, compressed_us: u64) -> usize {
        let mut adviser = Adviser::new(Compression::WhenFaster);
        let mut compressed = 0;
        for _ in 0..pieces {
            let micros = match adviser.compress_next() {
                true => {
                    assert!(adviser.is_worth_it(PIECE, PIECE / 3));
                    compressed += 1;
                    compressed_us
                }
                false => plain_us,
            };
            adviser.sent(PIECE, Duration::from_micros(micros));
        }
        compressed
    }

    #[test]
    fn a_slow_line_is_compressed_and_a_fast_one_is_not() {
        assert!(simulate(1000, 20_000, 7_000) > 900);
        assert!(simulate(1000, 250, 900) < 150);
        // The receiver is the limit either way: compressing would only burn CPU.
        assert!(simulate(1000, 800, 800) < 150);
    }

    #[test]
    fn incompressible_data_is_hardly_tried() {
        let mut adviser = Adviser::new(Compression::WhenFaster);
        let mut tried = 0;
        for _ in 0..4000 {
            if adviser.compress_next() {
                tried += 1;
                assert!(!adviser.is_worth_it(PIECE, PIECE));
            }
            adviser.sent(PIECE, Duration::from_micros(20_000));
        }
        assert!((1..40).contains(&tried), "{tried}");
    }

    #[test]
    fn a_line_that_turns_slow_is_noticed() {
        let mut adviser = Adviser::new(Compression::WhenFaster);
        let mut compressed_late = 0;
        for piece in 0..600 {
            let compress = adviser.compress_next();
            // The first megabytes vanish into buffers.
            let micros = match (piece < 40, compress) {
                (true, false) => 50,
                (true, true) => 900,
                (false, false) => 25_000,
                (false, true) => 5_000,
            };
            compressed_late += usize::from(compress && piece >= 300);
            adviser.sent(PIECE, Duration::from_micros(micros));
        }
        assert!(compressed_late > 250, "{compressed_late}");
    }
}
