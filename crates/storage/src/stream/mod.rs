//! How a volume stream (or an image) crosses the network: frames with checksums, compressed when that is
//! faster, limited in size, rate and silence.
//!
//! Two agents' shells call it, over whatever carries bytes between them (TLS, in tests a pipe). It
//! knows nothing of volumes: what a request means and whether it may be honoured is the agent's.
//!
//! ```text
//! frame   = header payload
//! header  = "FLKF" version:u8 kind:u8 flags:u8 zero:u8 payload_bytes:u32 content_bytes:u32 crc:u32
//! ```
//!
//! Numbers are little-endian. The CRC-32C covers the header before it, and the payload. The content
//! is the payload after decompression. A transfer is a request frame, a reply frame, data frames, and an
//! end frame that carries the sender's checksum of all content; see `flocker_types::stream`.

mod bounded;
mod compression;
#[cfg(test)]
mod compression_test;
mod frame;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod receiver;
mod sender;
mod smoothed;
#[cfg(test)]
mod tests;

pub use bounded::{BoundedStream, Measuring, content_bytes_max, reserve_bytes};
pub use compression::Compression;
pub use frame::{Frame, FrameKind, FrameReader, FrameWriter, PAYLOAD_BYTES_MAX};
pub use receiver::{IncomingResult, IncomingStream, receive_stream};
pub use sender::{SendOptions, Sent, send_stream};

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Content of one data frame; the receiver accepts up to [`PAYLOAD_BYTES_MAX`].
pub(crate) const CHUNK_BYTES: usize = 256 << 10;
/// Frames that wait between reading and writing, on either side.
pub(crate) const QUEUED_FRAMES_MAX: usize = 4;
/// How long the other side may be silent, unless told otherwise.
pub const STALL_LIMIT_DEFAULT: Duration = Duration::from_secs(30);

/// How far a transfer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StreamProgress {
    /// Content so far, before compression.
    pub bytes: u64,
    /// What it took on the wire.
    pub wire_bytes: u64,
}

/// Payload of the end frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EndOfStream {
    pub(crate) checksum: flocker_types::volume::Checksum,
    pub(crate) bytes: u64,
}

/// A transfer that failed.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The connection broke.
    #[error("the connection broke while {doing}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The other side was silent for too long.
    #[error("nothing moved for {} s while {doing}", limit.as_secs())]
    Stalled {
        /// What was waited for.
        doing: &'static str,
        /// How long.
        limit: Duration,
    },
    /// What came is no frame, or a damaged one.
    #[error("the frame is damaged: {0}")]
    BadFrame(String),
    /// A frame came that does not belong there.
    #[error("expected {expected}, got {got}")]
    Unexpected {
        /// What should have come.
        expected: &'static str,
        /// What came.
        got: FrameKind,
    },
    /// The content is not what the sender says it sent.
    #[error("the data that arrived is not what was sent: {0}")]
    Mismatch(String),
    /// The volume's data could not be read at the source.
    #[error("cannot read the volume's data")]
    Source(#[source] std::io::Error),
    /// The other side gave up, and said why.
    #[error("the other side gave up: {0}")]
    Remote(String),
    /// Nobody takes what arrives any more.
    #[error("the receiver of the data has gone")]
    Abandoned,
}

impl StreamError {
    /// Whether the same transfer may succeed later. All of these can pass by themselves, except a
    /// peer that speaks something else.
    pub fn retry_may_help(&self) -> bool {
        !matches!(self, Self::Unexpected { .. })
    }
}
