//! The adviser on lines and data that exist only as numbers.

use super::compression::{Adviser, Compression, SentPiece, Way};
use std::collections::VecDeque;
use std::time::Duration;

const PIECE: usize = 256 << 10;
/// Pieces that wait between compressing and writing.
const QUEUE: usize = 4;

/// What a stream meets, as nanoseconds for each byte.
#[derive(Clone, Copy)]
struct Circumstances {
    reading: f64,
    compressing: f64,
    /// Of what goes over the wire.
    line: f64,
    /// Of content: what the receiver needs for it, compressed or not.
    receiver: f64,
    /// What is left after compressing, in hundredths.
    ratio_percent: usize,
}

const FAST: Circumstances = Circumstances {
    reading: 0.8,
    compressing: 2.5,
    line: 1.0,
    receiver: 0.0,
    ratio_percent: 30,
};
const SLOW: Circumstances = Circumstances { line: 90.0, ..FAST };

fn noisy(circumstances: Circumstances) -> Circumstances {
    Circumstances {
        ratio_percent: 100,
        ..circumstances
    }
}

/// A stream in these circumstances. Line and receiver are reached through a buffer: what fits into it
/// takes no time to write.
struct Simulation {
    adviser: Adviser,
    queued: VecDeque<(Way, usize)>,
    /// Nanoseconds of work that the buffer hides.
    backlog: f64,
    random: u64,
    pieces: usize,
    compressed: usize,
    elapsed: f64,
    compressing: f64,
}

/// Bytes that sockets hide.
const BUFFER_BYTES: f64 = 4e6;

impl Simulation {
    fn new() -> Self {
        Self {
            adviser: Adviser::new(Compression::WhenFaster),
            queued: VecDeque::new(),
            backlog: 0.0,
            random: 1,
            pieces: 0,
            compressed: 0,
            elapsed: 0.0,
            compressing: 0.0,
        }
    }

    /// Between a half and one and a half, with one piece in sixteen taking three times as long: a machine
    /// that others use, too.
    fn disturbed(&mut self, nanos: f64) -> f64 {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let eighths = (self.random >> 60) as f64 / 16.0;
        let accident = if (self.random >> 52) & 15 == 0 {
            3.0
        } else {
            1.0
        };
        nanos * (0.5 + eighths) * accident
    }

    /// Sends pieces; returns in hundredths how many of them were compressed.
    fn run(&mut self, pieces: usize, at: Circumstances) -> usize {
        let before = (self.pieces, self.compressed);
        for _ in 0..pieces {
            self.piece(at);
        }
        (self.compressed - before.1) * 100 / (self.pieces - before.0)
    }

    fn piece(&mut self, at: Circumstances) {
        let content = PIECE as f64;
        let mut front = self.disturbed(at.reading * content);
        self.adviser.read(PIECE, nanos(front));
        let (mut way, mut wire) = (Way::Plain, PIECE);
        if self.adviser.compress_next() {
            let took = self.disturbed(at.compressing * content);
            let after = PIECE * at.ratio_percent / 100;
            if self.adviser.compressed(PIECE, after, nanos(took)) {
                (way, wire) = (Way::Compressed, after);
            }
            front += took;
            self.compressing += took;
        }
        self.pieces += 1;
        self.compressed += usize::from(way == Way::Compressed);
        self.queued.push_back((way, wire));
        if self.queued.len() <= QUEUE {
            self.elapsed += front;
            return;
        }
        let (way, wire) = self.queued.pop_front().unwrap();
        // The far side works while we read and compress.
        self.backlog = (self.backlog - front).max(0.0);
        let work = self.disturbed((at.line * wire as f64).max(at.receiver * content));
        let hidden = BUFFER_BYTES * at.line.max(at.receiver);
        self.backlog += work;
        let writing = (self.backlog - hidden).max(0.0);
        self.backlog -= writing;
        self.elapsed += front + writing;
        self.adviser.sent(&SentPiece {
            way,
            content_bytes: PIECE,
            wire_bytes: wire,
            writing: nanos(writing),
            since_last: nanos(front + writing),
        });
    }
}

fn nanos(nanos: f64) -> Duration {
    Duration::from_secs_f64(nanos / 1e9)
}

#[test]
fn a_fast_line_gets_compressible_data_plain() {
    let mut stream = Simulation::new();
    let percent = stream.run(4_000, FAST);
    assert!(percent <= 2, "{percent} % were compressed");
    let cost = stream.compressing / stream.elapsed;
    assert!(cost < 0.06, "{cost}");
}

#[test]
fn a_fast_line_gets_noise_plain() {
    let mut stream = Simulation::new();
    assert_eq!(stream.run(4_000, noisy(FAST)), 0);
    let cost = stream.compressing / stream.elapsed;
    assert!((0.001..0.06).contains(&cost), "it goes on looking: {cost}");
}

#[test]
fn a_slow_line_gets_compressible_data_compressed() {
    let mut stream = Simulation::new();
    // The first pieces vanish into buffers, so nobody can know yet.
    let percent = stream.run(200, SLOW);
    assert!(percent >= 60, "{percent} % were compressed");
    let percent = stream.run(12_000, SLOW);
    assert!(percent >= 97, "{percent} % were compressed");
}

#[test]
fn a_slow_line_gets_noise_plain() {
    let mut stream = Simulation::new();
    assert_eq!(stream.run(4_000, noisy(SLOW)), 0);
    assert!(stream.compressing / stream.elapsed < 0.03);
}

#[test]
fn a_line_that_changes_is_noticed_either_way() {
    let mut stream = Simulation::new();
    stream.run(1_000, FAST);
    stream.run(200, SLOW);
    let percent = stream.run(1_000, SLOW);
    assert!(percent >= 95, "slow: {percent} % were compressed");
    stream.run(300, FAST);
    let percent = stream.run(1_000, FAST);
    assert!(percent <= 2, "fast again: {percent} % were compressed");
    // Data that changes is noticed, too.
    stream.run(300, SLOW);
    stream.run(300, noisy(SLOW));
    stream.run(400, SLOW);
    let percent = stream.run(300, SLOW);
    assert!(percent >= 90, "text again: {percent} % were compressed");
}

#[test]
fn a_slow_receiver_is_not_taken_for_a_slow_line() {
    // It needs its time for the content, however small that was on the wire.
    let busy = Circumstances {
        receiver: 5.0,
        compressing: 1.5,
        ..FAST
    };
    let mut stream = Simulation::new();
    let percent = stream.run(16_000, busy);
    assert!(percent <= 5, "{percent} % were compressed");
}

#[test]
fn the_other_settings_are_obeyed() {
    for (setting, expected) in [(Compression::Always, 100), (Compression::Never, 0)] {
        for circumstances in [FAST, SLOW] {
            let mut stream = Simulation::new();
            stream.adviser = Adviser::new(setting);
            assert_eq!(stream.run(300, circumstances), expected);
        }
    }
}
