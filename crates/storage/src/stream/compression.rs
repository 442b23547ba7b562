//! Whether compressing the next piece of a stream makes the stream faster.
//!
//! The sender asks before each piece and tells what each step of it took. Two things are weighed:
//!
//! - a forecast: reading (and compressing) a piece overlaps with writing the one before it, so the slower
//!   of the two sets the pace. How well data compresses is looked at now and then; how fast the line
//!   is tell the plain pieces. Compressed ones tell only that it is no slower than they were: what
//!   they waited for may be a receiver that decompresses them.
//! - a trial: where the forecast promises much, a stretch is sent compressed, and has to prove
//!   faster than the plain stretch before it. Plain pieces, too, may have waited for the receiver,
//!   and then a smaller stream is no faster.
//!
//! All rates are smoothed over several pieces, since a single one may vanish into a buffer or meet a
//! busy CPU. Neither forecasts nor trials cost more than some two hundredths of the stream.

use super::smoothed::{Smoothed, SmoothedRatio};
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

/// The first pieces are compressed: a short stream over a slow line gains much by it and over a fast
/// line loses little.
const FIRST_PIECES: u64 = 4;
/// Of plain pieces, one in so many is compressed to see how well that goes.
const PROBE_INTERVAL_PIECES: u64 = 64;
/// Nor may such probes take more than one part in so many of the stream's time.
const PROBE_TIME_PART: u32 = 50;
/// Compressing begins when it promises to be faster by this, in hundredths, ...
const BEGIN_PERCENT: u64 = 125;
/// ... goes on while it promises at least this, ...
const GO_ON_PERCENT: u64 = 105;
/// ... and if it has proved at least this.
const PROVED_PERCENT: u64 = 110;
/// How long the promise must stand before it is tried: pieces, or some pieces and a time.
const PROMISE: Stretch = Stretch::new(128, 4, Duration::from_millis(500));
/// How long a trial is. What was sent before it and lies in buffers distorts its beginning.
const TRIAL: Stretch = Stretch::new(128, 16, Duration::from_secs(2));
/// A trial that is slower than sending plain after so many pieces is given up: buffers make it look
/// faster than it is, never slower.
const TRIAL_PIECES_MIN: u64 = 16;
/// How long a trial of sending plain again is, which can only be worse by what compressing saves.
const PLAIN_TRIAL: Stretch = Stretch::new(64, 16, Duration::from_secs(2));
/// Pieces between two trials; doubled each time that one fails.
const TRIAL_INTERVAL_PIECES_MIN: u64 = 64 * 64;
const TRIAL_INTERVAL_PIECES_MAX: u64 = 16 * TRIAL_INTERVAL_PIECES_MIN;
/// A piece that keeps more than this of its size, in hundredths, goes as it is.
const INCOMPRESSIBLE_PERCENT: usize = 90;

/// How a piece goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Plain,
    Compressed,
}

/// One piece that has gone out.
#[derive(Debug, Clone, Copy)]
pub(super) struct SentPiece {
    pub(super) way: Way,
    pub(super) content_bytes: usize,
    pub(super) wire_bytes: usize,
    /// How long the connection took to accept it.
    pub(super) writing: Duration,
    /// Time since the piece before it had gone out.
    pub(super) since_last: Duration,
}

/// When a stretch is long enough to judge by.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    pieces: u64,
    pieces_min: u64,
    time: Duration,
}

impl Stretch {
    const fn new(pieces: u64, pieces_min: u64, time: Duration) -> Self {
        Self {
            pieces,
            pieces_min,
            time,
        }
    }

    fn is_over(self, run: &Run) -> bool {
        run.pieces >= self.pieces || (run.pieces >= self.pieces_min && run.time >= self.time)
    }
}

/// Pieces of one way, one after another.
#[derive(Debug, Clone, Copy, Default)]
struct Run {
    pieces: u64,
    time: Duration,
    pace: Smoothed,
}

impl Run {
    fn add(&mut self, piece: &SentPiece) {
        self.pieces += 1;
        self.time += piece.since_last;
        self.pace.add(piece.content_bytes, piece.since_last);
    }
}

/// What is being done.
#[derive(Debug, Clone, Copy)]
enum Phase {
    /// The first pieces, of which so many have not gone out yet.
    First(u64),
    /// Sending plain. The run is as long as compressing has been promising to be faster.
    Plain { promising: Run },
    /// Trying to compress, against this plain pace.
    Trying { plain: Smoothed, run: Run },
    /// Compressing.
    Compressed { run: Run },
    /// Trying to send plain, against this compressed pace.
    TryingPlain { compressed: Smoothed, run: Run },
}

/// Decides for one stream.
#[derive(Debug)]
pub(super) struct Adviser {
    setting: Compression,
    phase: Phase,
    /// Reading and hashing, by content.
    reading: Smoothed,
    /// Compressing, by content.
    compressing: Smoothed,
    ratio: SmoothedRatio,
    /// Writing, by what is written.
    writing_plain: Smoothed,
    writing_compressed: Smoothed,
    first_pieces_left: u64,
    until_probe_pieces: u64,
    probing_time: Duration,
    whole_time: Duration,
    until_trial_pieces: u64,
    trial_interval_pieces: u64,
}

impl Adviser {
    pub(super) fn new(setting: Compression) -> Self {
        Self {
            setting,
            phase: Phase::First(FIRST_PIECES),
            reading: Smoothed::default(),
            compressing: Smoothed::default(),
            ratio: SmoothedRatio::default(),
            writing_plain: Smoothed::default(),
            writing_compressed: Smoothed::default(),
            first_pieces_left: FIRST_PIECES,
            until_probe_pieces: PROBE_INTERVAL_PIECES,
            probing_time: Duration::ZERO,
            whole_time: Duration::ZERO,
            until_trial_pieces: 0,
            trial_interval_pieces: TRIAL_INTERVAL_PIECES_MIN,
        }
    }

    /// A piece was read and hashed.
    pub(super) fn read(&mut self, content_bytes: usize, took: Duration) {
        self.reading.add(content_bytes, took);
    }

    /// Whether to compress the next piece.
    pub(super) fn compress_next(&mut self) -> bool {
        match self.setting {
            Compression::Never => return false,
            Compression::Always => return true,
            Compression::WhenFaster => {}
        }
        match self.phase {
            Phase::Trying { .. } | Phase::Compressed { .. } => true,
            Phase::First(_) => {
                let compress = self.first_pieces_left > 0;
                self.first_pieces_left = self.first_pieces_left.saturating_sub(1);
                compress
            }
            Phase::Plain { .. } | Phase::TryingPlain { .. } => {
                self.until_probe_pieces = self.until_probe_pieces.saturating_sub(1);
                let cheap = self.probing_time * PROBE_TIME_PART <= self.whole_time;
                let probe = self.until_probe_pieces == 0 && cheap;
                if probe {
                    self.until_probe_pieces = PROBE_INTERVAL_PIECES;
                }
                probe
            }
        }
    }

    /// A piece was compressed; whether what came out is worth sending.
    pub(super) fn compressed(
        &mut self,
        content_bytes: usize,
        compressed_bytes: usize,
        took: Duration,
    ) -> bool {
        self.compressing.add(content_bytes, took);
        self.ratio.add(content_bytes, compressed_bytes);
        let worth = compressed_bytes * 100 <= content_bytes * INCOMPRESSIBLE_PERCENT;
        match self.phase {
            Phase::First(_) => {
                self.probing_time += took;
                if !worth {
                    self.go_plain();
                }
            }
            Phase::Plain { .. } | Phase::TryingPlain { .. } => self.probing_time += took,
            Phase::Trying { .. } | Phase::Compressed { .. } => {}
        }
        worth
    }

    /// A piece has gone out.
    pub(super) fn sent(&mut self, piece: &SentPiece) {
        self.whole_time += piece.since_last;
        match piece.way {
            Way::Plain => self.writing_plain.add(piece.wire_bytes, piece.writing),
            Way::Compressed => self.writing_compressed.add(piece.wire_bytes, piece.writing),
        }
        self.until_trial_pieces = self.until_trial_pieces.saturating_sub(1);
        match self.phase {
            Phase::First(left) if left > 1 => self.phase = Phase::First(left - 1),
            Phase::First(_) => self.go_plain(),
            Phase::Plain { .. } if self.until_trial_pieces > 0 || !self.promises() => {
                self.go_plain();
            }
            Phase::Plain { mut promising } => {
                // A probe, or a piece that was queued before the way changed, proves nothing.
                if piece.way == Way::Plain {
                    promising.add(piece);
                }
                self.phase = Phase::Plain { promising };
                if PROMISE.is_over(&promising) {
                    self.begin_trial(promising.pace);
                }
            }
            Phase::Trying { .. } | Phase::Compressed { .. } if self.is_pointless() => {
                // No trial failed: the line or the data has changed, and may change back.
                self.until_trial_pieces = 0;
                self.go_plain();
            }
            Phase::Trying { plain, mut run } => {
                if piece.way == Way::Compressed {
                    run.add(piece);
                }
                let slower = run.pieces >= TRIAL_PIECES_MIN && is_slower(run.pace, plain);
                if !slower && !TRIAL.is_over(&run) {
                    self.phase = Phase::Trying { plain, run };
                } else if is_faster(run.pace, plain) {
                    self.go_compressed();
                } else {
                    self.trial_failed();
                    self.go_plain();
                }
            }
            Phase::Compressed { mut run } => {
                run.add(piece);
                self.phase = match self.until_trial_pieces {
                    0 => Phase::TryingPlain {
                        compressed: run.pace,
                        run: Run::default(),
                    },
                    _ => Phase::Compressed { run },
                };
            }
            Phase::TryingPlain {
                compressed,
                mut run,
            } => {
                if piece.way == Way::Plain {
                    run.add(piece);
                }
                if !PLAIN_TRIAL.is_over(&run) {
                    self.phase = Phase::TryingPlain { compressed, run };
                } else if is_faster(compressed, run.pace) {
                    self.trial_failed();
                    self.go_compressed();
                } else {
                    self.trial_failed();
                    self.go_plain();
                }
            }
        }
    }

    /// While sending plain: whether compressing would be much faster, if the line set the pace.
    fn promises(&self) -> bool {
        let forecast = || {
            let (plain, compressed) = self.forecast(self.writing_plain)?;
            Some(plain > compressed.saturating_mul(BEGIN_PERCENT) / 100)
        };
        forecast().unwrap_or(false)
    }

    /// While compressing: whether sending plain would be as fast, on a line that is at least as fast as
    /// compressed pieces find it.
    fn is_pointless(&self) -> bool {
        let forecast = || {
            let (plain, compressed) = self.forecast(self.writing_compressed)?;
            Some(plain <= compressed.saturating_mul(GO_ON_PERCENT) / 100)
        };
        forecast().unwrap_or(false)
    }

    /// Nanoseconds that a mebibyte of content would take plain and compressed.
    fn forecast(&self, writing: Smoothed) -> Option<(u64, u64)> {
        let reading = self.reading.nanos_per_mib()?;
        let compressing = self.compressing.nanos_per_mib()?;
        let writing = writing.nanos_per_mib()?;
        let plain = reading.max(writing);
        let compressed = reading
            .saturating_add(compressing)
            .max(self.ratio.of(writing)?);
        Some((plain, compressed))
    }

    fn begin_trial(&mut self, plain: Smoothed) {
        self.writing_compressed = Smoothed::default();
        let run = Run::default();
        self.phase = Phase::Trying { plain, run };
    }

    fn go_plain(&mut self) {
        let promising = Run::default();
        self.phase = Phase::Plain { promising };
    }

    fn go_compressed(&mut self) {
        self.until_trial_pieces = self.trial_interval_pieces;
        self.phase = Phase::Compressed {
            run: Run::default(),
        };
    }

    /// The next trial comes later.
    fn trial_failed(&mut self) {
        self.until_trial_pieces = self.trial_interval_pieces;
        self.trial_interval_pieces =
            (self.trial_interval_pieces * 2).min(TRIAL_INTERVAL_PIECES_MAX);
    }
}

/// Whether the compressed pace has proved faster.
fn is_faster(compressed: Smoothed, plain: Smoothed) -> bool {
    match (compressed.nanos_per_mib(), plain.nanos_per_mib()) {
        (Some(compressed), Some(plain)) => plain > compressed.saturating_mul(PROVED_PERCENT) / 100,
        _ => false,
    }
}

/// Whether the compressed pace is slower already.
fn is_slower(compressed: Smoothed, plain: Smoothed) -> bool {
    match (compressed.nanos_per_mib(), plain.nanos_per_mib()) {
        (Some(compressed), Some(plain)) => compressed > plain,
        _ => false,
    }
}
