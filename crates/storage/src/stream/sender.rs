//! The sending half of a transfer: reads a volume stream, hashes, compresses when that is faster, and
//! writes frames, no faster than allowed.
//!
//! The source's agent calls it after the target has said that it is ready. Reading, hashing and
//! compressing run in a task of their own, so that they overlap with writing.

use super::compression::{Adviser, Compression, SentPiece, Way};
use super::frame::{Encoding, FrameKind, FrameWriter, HEADER_BYTES, seal};
use super::{CHUNK_BYTES, EndOfStream, QUEUED_FRAMES_MAX, StreamError, StreamProgress};
use flocker_types::volume::Checksum;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// Zstandard's level: higher ones are slower than any line worth compressing for.
const ZSTD_LEVEL: i32 = 1;
/// The longest text of an error frame.
const ERROR_BYTES_MAX: usize = 4 << 10;

type Source = Box<dyn AsyncRead + Send + Unpin>;

/// How to send.
#[derive(Debug, Clone, Copy)]
pub struct SendOptions {
    /// What may be compressed.
    pub compression: Compression,
    /// Most bytes on the wire per second.
    pub bytes_per_second_max: Option<u64>,
    /// How long the source may take for its next bytes; a filesystem may search for long.
    pub source_limit: Duration,
}

impl Default for SendOptions {
    fn default() -> Self {
        Self {
            compression: Compression::WhenFaster,
            bytes_per_second_max: None,
            source_limit: Duration::from_secs(600),
        }
    }
}

/// What was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// Of the content.
    pub checksum: Checksum,
    /// The content, before compression.
    pub bytes: u64,
    /// What went over the wire.
    pub wire_bytes: u64,
}

/// What the reading task hands to the writing one.
enum Piece {
    /// A sealed data frame and the length of its content.
    Frame {
        buffer: Vec<u8>,
        content_bytes: usize,
        way: Way,
    },
    /// The source is silent; the other side shall know that we live.
    Silence,
    /// The source has ended.
    End(EndOfStream),
    /// The source failed.
    Failed(StreamError),
}

/// Sends everything that `source` yields, then the end frame with its checksum. The receiver's reply
/// is the caller's to read. When the source fails, the receiver is told.
///
/// # Errors
/// The source failed, or the connection broke or stalls.
pub async fn send_stream<W: AsyncWrite + Unpin>(
    writer: &mut FrameWriter<W>,
    source: Source,
    options: SendOptions,
    progress: &watch::Sender<StreamProgress>,
) -> Result<Sent, StreamError> {
    let (pieces_in, mut pieces) = mpsc::channel(QUEUED_FRAMES_MAX);
    let (spares, spares_out) = mpsc::channel(QUEUED_FRAMES_MAX + 2);
    let adviser = Arc::new(Mutex::new(Adviser::new(options.compression)));
    let reading = Reading {
        source,
        hasher: blake3::Hasher::new(),
        bytes: 0,
        compressor: None,
        adviser: Arc::clone(&adviser),
        spares: spares_out,
        silence: writer.stall_limit() / 4,
        limit: options.source_limit,
    };
    let task = tokio::spawn(reading.run(pieces_in));
    // The task ends with this call, also when it is given up.
    let _abort = AbortOnDrop(task);
    let started_at = writer.written_bytes();
    let mut pace = Pace::new(options.bytes_per_second_max);
    let mut last = Instant::now();
    let mut bytes = 0;
    loop {
        match pieces.recv().await {
            Some(Piece::Frame {
                buffer,
                content_bytes,
                way,
            }) => {
                let begun = Instant::now();
                pace.wait(buffer.len()).await;
                writer.sealed(&buffer).await?;
                let now = Instant::now();
                lock(&adviser).sent(&SentPiece {
                    way,
                    content_bytes,
                    wire_bytes: buffer.len(),
                    writing: now.duration_since(begun),
                    since_last: now.duration_since(last),
                });
                last = now;
                bytes += u64::try_from(content_bytes).unwrap_or(0);
                let wire_bytes = writer.written_bytes() - started_at;
                progress.send_replace(StreamProgress { bytes, wire_bytes });
                // A full box of spares means that this one is not needed.
                let _ = spares.try_send(buffer);
            }
            Some(Piece::Silence) => writer.frame(FrameKind::Progress, &[]).await?,
            Some(Piece::End(end)) => {
                writer.json(FrameKind::End, &end).await?;
                return Ok(Sent {
                    checksum: end.checksum,
                    bytes: end.bytes,
                    wire_bytes: writer.written_bytes() - started_at,
                });
            }
            Some(Piece::Failed(error)) => {
                // The source's failure is what matters, whether or not the receiver hears of it.
                let why = reason(&error);
                let _ = writer.frame(FrameKind::Error, why.as_bytes()).await;
                return Err(error);
            }
            None => {
                let source = io::Error::other("the reading task ended without a word");
                return Err(StreamError::Source(source));
            }
        }
    }
}

/// What the receiver is told of a failure.
fn reason(error: &StreamError) -> String {
    let mut why = error.to_string();
    if let Some(source) = std::error::Error::source(error) {
        why = format!("{why}: {source}");
    }
    why.truncate(why.floor_char_boundary(ERROR_BYTES_MAX));
    why
}

fn lock(adviser: &Mutex<Adviser>) -> std::sync::MutexGuard<'_, Adviser> {
    // It only holds measurements; a panic elsewhere does not spoil them.
    adviser.lock().unwrap_or_else(PoisonError::into_inner)
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The task that reads, hashes and compresses.
struct Reading {
    source: Source,
    hasher: blake3::Hasher,
    bytes: u64,
    compressor: Option<zstd::bulk::Compressor<'static>>,
    adviser: Arc<Mutex<Adviser>>,
    spares: mpsc::Receiver<Vec<u8>>,
    silence: Duration,
    limit: Duration,
}

/// How filling a buffer ended.
#[derive(PartialEq, Eq)]
enum Filled {
    Full,
    Silent,
    End,
}

impl Reading {
    async fn run(mut self, pieces: mpsc::Sender<Piece>) {
        let mut silent = Duration::ZERO;
        loop {
            let mut buffer = self.spares.try_recv().unwrap_or_default();
            buffer.resize(HEADER_BYTES + CHUNK_BYTES, 0);
            let begun = Instant::now();
            let (length, filled) = match self.fill(&mut buffer[HEADER_BYTES..]).await {
                Ok(filled) => filled,
                Err(error) => {
                    let _ = pieces.send(Piece::Failed(StreamError::Source(error))).await;
                    return;
                }
            };
            buffer.truncate(HEADER_BYTES + length);
            let piece = match length {
                0 => None,
                _ => Some(self.seal(buffer, begun)),
            };
            silent = match length {
                0 => silent + self.silence,
                _ => Duration::ZERO,
            };
            let last = match filled {
                Filled::Full => None,
                Filled::Silent if silent > self.limit => {
                    let (doing, limit) = ("reading the volume's data", self.limit);
                    Some(Piece::Failed(StreamError::Stalled { doing, limit }))
                }
                Filled::Silent => Some(Piece::Silence),
                Filled::End => Some(Piece::End(EndOfStream {
                    checksum: Checksum(self.hasher.finalize().to_hex().to_string()),
                    bytes: self.bytes,
                })),
            };
            for piece in piece.into_iter().chain(last) {
                // Nobody listens any more: the transfer was given up.
                if pieces.send(piece).await.is_err() {
                    return;
                }
            }
            if filled == Filled::End {
                return;
            }
        }
    }

    /// Fills a buffer until it is full, or the source ends or is silent.
    async fn fill(&mut self, buffer: &mut [u8]) -> io::Result<(usize, Filled)> {
        let mut length = 0;
        while length < buffer.len() {
            let read = self.source.read(&mut buffer[length..]);
            match tokio::time::timeout(self.silence, read).await {
                Err(_) => return Ok((length, Filled::Silent)),
                Ok(Ok(0)) => return Ok((length, Filled::End)),
                Ok(Ok(read)) => length += read,
                Ok(Err(error)) => return Err(error),
            }
        }
        Ok((length, Filled::Full))
    }

    fn seal(&mut self, mut buffer: Vec<u8>, begun: Instant) -> Piece {
        let content_bytes = buffer.len() - HEADER_BYTES;
        self.hasher.update(&buffer[HEADER_BYTES..]);
        self.bytes += u64::try_from(content_bytes).unwrap_or(0);
        let read = Instant::now();
        let compress = {
            let mut adviser = lock(&self.adviser);
            adviser.read(content_bytes, read.duration_since(begun));
            adviser.compress_next()
        };
        if compress && let Some(mut compressed) = self.compress(&buffer[HEADER_BYTES..]) {
            let compressed_bytes = compressed.len() - HEADER_BYTES;
            let took = read.elapsed();
            if lock(&self.adviser).compressed(content_bytes, compressed_bytes, took) {
                let encoding = Encoding::Zstd { content_bytes };
                seal(&mut compressed, FrameKind::Data, encoding);
                return Piece::Frame {
                    buffer: compressed,
                    content_bytes,
                    way: Way::Compressed,
                };
            }
        }
        seal(&mut buffer, FrameKind::Data, Encoding::Plain);
        Piece::Frame {
            buffer,
            content_bytes,
            way: Way::Plain,
        }
    }

    /// The compressed content after room for a header; `None` where compressing fails, which only
    /// means that it goes as it is.
    fn compress(&mut self, content: &[u8]) -> Option<Vec<u8>> {
        let compressor = match self.compressor.take() {
            Some(compressor) => compressor,
            None => zstd::bulk::Compressor::new(ZSTD_LEVEL).ok()?,
        };
        let compressor = self.compressor.insert(compressor);
        let bound = zstd::zstd_safe::compress_bound(content.len());
        let mut compressed = vec![0; HEADER_BYTES + bound];
        let length = compressor
            .compress_to_buffer(content, &mut compressed[HEADER_BYTES..])
            .ok()?;
        compressed.truncate(HEADER_BYTES + length);
        Some(compressed)
    }
}

/// Keeps to a rate, on average.
struct Pace {
    bytes_per_second_max: Option<u64>,
    next: Instant,
}

impl Pace {
    fn new(bytes_per_second_max: Option<u64>) -> Self {
        Self {
            bytes_per_second_max,
            next: Instant::now(),
        }
    }

    /// Waits until the bytes may go.
    async fn wait(&mut self, bytes: usize) {
        let Some(rate) = self.bytes_per_second_max else {
            return;
        };
        tokio::time::sleep_until(self.next).await;
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let micros = bytes.saturating_mul(1_000_000) / rate.max(1);
        // Time that nobody used is not saved up.
        self.next = self.next.max(Instant::now()) + Duration::from_micros(micros);
    }
}
