//! One frame: its bytes, writing it, and reading it without believing it.
//!
//! The sender and the receiver of streams use it, and agents for requests and replies. It keeps
//! no more than one frame in memory.

use super::StreamError;
use bytes::{Bytes, BytesMut};
use crc_fast::{CrcAlgorithm, Digest};
use flocker_types::stream::{StreamReply, StreamRequest};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Most bytes of a frame's payload, and of its content.
pub const PAYLOAD_BYTES_MAX: usize = 1 << 20;
/// Bytes before the payload.
pub(super) const HEADER_BYTES: usize = 20;
const MAGIC: [u8; 4] = *b"FLKF";
const VERSION: u8 = 1;
const FLAG_ZSTD: u8 = 1;
const CRC_OFFSET: usize = 16;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameKind {
    /// A [`StreamRequest`].
    Request,
    /// A [`StreamReply`].
    Reply,
    /// A piece of the stream.
    Data,
    /// The stream is complete.
    End,
    /// The stream will not be completed; the payload says why.
    Error,
    /// Nothing new, but still there.
    Progress,
}

impl fmt::Display for FrameKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Request => "a request",
            Self::Reply => "a reply",
            Self::Data => "data",
            Self::End => "an end",
            Self::Error => "an error",
            Self::Progress => "a sign of life",
        })
    }
}

impl FrameKind {
    fn to_byte(self) -> u8 {
        match self {
            Self::Request => 1,
            Self::Reply => 2,
            Self::Data => 3,
            Self::End => 4,
            Self::Error => 5,
            Self::Progress => 6,
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Request,
            2 => Self::Reply,
            3 => Self::Data,
            4 => Self::End,
            5 => Self::Error,
            6 => Self::Progress,
            _ => return None,
        })
    }
}

/// A frame that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What it is.
    pub kind: FrameKind,
    /// Its content, decompressed.
    pub content: Bytes,
    /// Bytes that it took on the wire.
    pub wire_bytes: u64,
}

/// Whether a payload is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    /// It is the content.
    Plain,
    /// Zstandard; decompresses to this many bytes.
    Zstd { content_bytes: usize },
}

/// Fills in the header of a frame whose payload is in `buffer` after [`HEADER_BYTES`] of room.
pub(super) fn seal(buffer: &mut [u8], kind: FrameKind, encoding: Encoding) {
    let payload_bytes = buffer.len() - HEADER_BYTES;
    let (flags, content_bytes) = match encoding {
        Encoding::Plain => (0, payload_bytes),
        Encoding::Zstd { content_bytes } => (FLAG_ZSTD, content_bytes),
    };
    assert!(
        payload_bytes <= PAYLOAD_BYTES_MAX && content_bytes <= PAYLOAD_BYTES_MAX,
        "frames are made within their limit"
    );
    let length = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX).to_le_bytes();
    buffer[..4].copy_from_slice(&MAGIC);
    buffer[4..8].copy_from_slice(&[VERSION, kind.to_byte(), flags, 0]);
    buffer[8..12].copy_from_slice(&length(payload_bytes));
    buffer[12..16].copy_from_slice(&length(content_bytes));
    let (header, payload) = buffer.split_at(HEADER_BYTES);
    let crc = checksum(&header[..CRC_OFFSET], payload);
    buffer[CRC_OFFSET..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
}

/// Changes one byte of a sealed frame's header and seals it anew.
#[cfg(any(test, fuzzing))]
pub(super) fn reseal(frame: &mut [u8], at: usize) {
    frame[at % CRC_OFFSET] ^= 1 << (at / CRC_OFFSET);
    let (header, payload) = frame.split_at(HEADER_BYTES);
    let crc = checksum(&header[..CRC_OFFSET], payload);
    frame[CRC_OFFSET..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
}

fn checksum(header: &[u8], payload: &[u8]) -> u32 {
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    digest.update(header);
    digest.update(payload);
    u32::try_from(digest.finalize()).unwrap_or(u32::MAX)
}

/// Writes frames.
#[derive(Debug)]
pub struct FrameWriter<W> {
    writer: W,
    stall_limit: Duration,
    written_bytes: u64,
}

impl<W: AsyncWrite + Unpin> FrameWriter<W> {
    /// Writes to `writer`, which may take nothing for at most `stall_limit`.
    pub fn new(writer: W, stall_limit: Duration) -> Self {
        Self {
            writer,
            stall_limit,
            written_bytes: 0,
        }
    }

    /// Bytes written so far.
    pub fn written_bytes(&self) -> u64 {
        self.written_bytes
    }

    /// How long the other side may take nothing.
    pub(super) fn stall_limit(&self) -> Duration {
        self.stall_limit
    }

    /// What it writes to.
    pub fn into_inner(self) -> W {
        self.writer
    }

    /// Writes a request.
    ///
    /// # Errors
    /// The connection broke or stalls.
    pub async fn request(&mut self, request: &StreamRequest) -> Result<(), StreamError> {
        self.json(FrameKind::Request, request).await
    }

    /// Writes a reply.
    ///
    /// # Errors
    /// The connection broke or stalls.
    pub async fn reply(&mut self, reply: &StreamReply) -> Result<(), StreamError> {
        self.json(FrameKind::Reply, reply).await
    }

    pub(super) async fn json(
        &mut self,
        kind: FrameKind,
        value: &impl Serialize,
    ) -> Result<(), StreamError> {
        let invalid = |error: serde_json::Error| StreamError::BadFrame(error.to_string());
        let text = serde_json::to_vec(value).map_err(invalid)?;
        if text.len() > PAYLOAD_BYTES_MAX {
            let length = text.len();
            return Err(StreamError::BadFrame(format!(
                "{kind} of {length} bytes is too long"
            )));
        }
        self.frame(kind, &text).await
    }

    /// Writes a small frame and flushes it.
    pub(super) async fn frame(
        &mut self,
        kind: FrameKind,
        content: &[u8],
    ) -> Result<(), StreamError> {
        let mut buffer = vec![0; HEADER_BYTES];
        buffer.extend_from_slice(content);
        seal(&mut buffer, kind, Encoding::Plain);
        self.sealed(&buffer).await?;
        self.flush().await
    }

    /// Writes a frame that was sealed before.
    pub(super) async fn sealed(&mut self, mut bytes: &[u8]) -> Result<(), StreamError> {
        let doing = "sending data";
        while !bytes.is_empty() {
            let written = tokio::time::timeout(self.stall_limit, self.writer.write(bytes))
                .await
                .map_err(|_| self.stalled(doing))?
                .map_err(|source| StreamError::Io { doing, source })?;
            if written == 0 {
                let source = io::ErrorKind::WriteZero.into();
                return Err(StreamError::Io { doing, source });
            }
            self.written_bytes += u64::try_from(written).unwrap_or(0);
            bytes = &bytes[written..];
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), StreamError> {
        let doing = "sending data";
        tokio::time::timeout(self.stall_limit, self.writer.flush())
            .await
            .map_err(|_| self.stalled(doing))?
            .map_err(|source| StreamError::Io { doing, source })
    }

    fn stalled(&self, doing: &'static str) -> StreamError {
        let limit = self.stall_limit;
        StreamError::Stalled { doing, limit }
    }
}

/// Reads frames, believing nothing: lengths are checked before memory is taken, checksums before
/// anything is decompressed, and nothing decompresses to more than it announced.
pub struct FrameReader<R> {
    reader: R,
    stall_limit: Duration,
    decompressor: Option<zstd::bulk::Decompressor<'static>>,
}

impl<R> fmt::Debug for FrameReader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrameReader")
            .field("stall_limit", &self.stall_limit)
            .finish_non_exhaustive()
    }
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// Reads from `reader`, which may be silent for at most `stall_limit`.
    pub fn new(reader: R, stall_limit: Duration) -> Self {
        Self {
            reader,
            stall_limit,
            decompressor: None,
        }
    }

    /// What it reads from.
    pub fn into_inner(self) -> R {
        self.reader
    }

    /// Reads a frame of any kind, except signs of life, which it waits past.
    ///
    /// # Errors
    /// The connection broke or stalls, or what comes is not a frame.
    pub async fn frame(&mut self) -> Result<Frame, StreamError> {
        loop {
            let frame = self.any_frame().await?;
            match frame.kind {
                FrameKind::Progress => {}
                FrameKind::Error => {
                    let why = String::from_utf8_lossy(&frame.content).into_owned();
                    return Err(StreamError::Remote(why));
                }
                _ => return Ok(frame),
            }
        }
    }

    /// Reads a request.
    ///
    /// # Errors
    /// As [`frame`](Self::frame), or something else came.
    pub async fn request(&mut self) -> Result<StreamRequest, StreamError> {
        self.json(FrameKind::Request, "a request").await
    }

    /// Reads a reply.
    ///
    /// # Errors
    /// As [`frame`](Self::frame), or something else came.
    pub async fn reply(&mut self) -> Result<StreamReply, StreamError> {
        self.json(FrameKind::Reply, "a reply").await
    }

    async fn json<T: DeserializeOwned>(
        &mut self,
        kind: FrameKind,
        expected: &'static str,
    ) -> Result<T, StreamError> {
        let frame = self.frame().await?;
        if frame.kind != kind {
            let got = frame.kind;
            return Err(StreamError::Unexpected { expected, got });
        }
        serde_json::from_slice(&frame.content)
            .map_err(|error| StreamError::BadFrame(format!("{expected}: {error}")))
    }

    async fn any_frame(&mut self) -> Result<Frame, StreamError> {
        let bad = |why: String| Err(StreamError::BadFrame(why));
        let header = self.read(HEADER_BYTES).await?;
        let number = |at: usize| {
            let bytes = [header[at], header[at + 1], header[at + 2], header[at + 3]];
            u32::from_le_bytes(bytes)
        };
        if header[..4] != MAGIC {
            return bad("it does not begin as a frame does".to_owned());
        }
        if header[4] != VERSION {
            let theirs = header[4];
            return bad(format!(
                "it is of version {theirs}, this program reads {VERSION}"
            ));
        }
        let flags = header[6];
        let Some(kind) = FrameKind::from_byte(header[5]) else {
            return bad(format!("its kind {} is unknown", header[5]));
        };
        if flags & !FLAG_ZSTD != 0 || header[7] != 0 {
            return bad(format!("its flags {flags} are unknown"));
        }
        let payload_bytes = usize::try_from(number(8)).unwrap_or(usize::MAX);
        let content_bytes = usize::try_from(number(12)).unwrap_or(usize::MAX);
        if payload_bytes.max(content_bytes) > PAYLOAD_BYTES_MAX {
            let longest = payload_bytes.max(content_bytes);
            return bad(format!("{longest} bytes are more than {PAYLOAD_BYTES_MAX}"));
        }
        let payload = self.read(payload_bytes).await?;
        if checksum(&header[..CRC_OFFSET], &payload) != number(CRC_OFFSET) {
            return bad("its checksum does not match".to_owned());
        }
        let content = match flags & FLAG_ZSTD {
            0 => payload,
            _ => self.decompress(&payload, content_bytes)?,
        };
        if content.len() != content_bytes {
            return bad("its length is not what it says".to_owned());
        }
        Ok(Frame {
            kind,
            content,
            wire_bytes: u64::try_from(HEADER_BYTES + payload_bytes).unwrap_or(0),
        })
    }

    fn decompress(&mut self, payload: &[u8], content_bytes: usize) -> Result<Bytes, StreamError> {
        let bad = |error: io::Error| StreamError::BadFrame(format!("cannot decompress: {error}"));
        let decompressor = match self.decompressor.take() {
            Some(decompressor) => decompressor,
            None => zstd::bulk::Decompressor::new().map_err(bad)?,
        };
        // Writes at most the announced length, whatever the payload claims.
        let decompressor = self.decompressor.insert(decompressor);
        let content = decompressor
            .decompress(payload, content_bytes)
            .map_err(bad)?;
        Ok(Bytes::from(content))
    }

    async fn read(&mut self, length: usize) -> Result<Bytes, StreamError> {
        let doing = "waiting for data";
        let mut bytes = BytesMut::with_capacity(length);
        while bytes.len() < length {
            let missing = u64::try_from(length - bytes.len()).unwrap_or(0);
            let mut limited = (&mut self.reader).take(missing);
            let read = tokio::time::timeout(self.stall_limit, limited.read_buf(&mut bytes))
                .await
                .map_err(|_| StreamError::Stalled {
                    doing,
                    limit: self.stall_limit,
                })?
                .map_err(|source| StreamError::Io { doing, source })?;
            if read == 0 {
                let source = io::ErrorKind::UnexpectedEof.into();
                return Err(StreamError::Io { doing, source });
            }
        }
        Ok(bytes.freeze())
    }
}
