//! The receiving half of a transfer: reads frames, hashes their content, and hands it on as a plain
//! stream of bytes.
//!
//! The target's agent calls it and gives the stream to the volume store, which asks for the checksum
//! at the end. A task reads ahead by a few frames, so that the network overlaps with the disk.

use super::frame::{FrameKind, FrameReader};
use super::{EndOfStream, QUEUED_FRAMES_MAX, StreamError, StreamProgress};
use bytes::{Buf, Bytes};
use flocker_types::volume::Checksum;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::{mpsc, oneshot, watch};

/// The content of an incoming stream. It ends without an error only when all of it came, whole.
#[derive(Debug)]
pub struct IncomingStream {
    contents: mpsc::Receiver<Result<Bytes, String>>,
    current: Bytes,
}

/// What came, once it has come.
#[derive(Debug)]
pub struct IncomingResult {
    outcome: oneshot::Receiver<Result<EndOfStream, StreamError>>,
}

impl IncomingResult {
    /// The checksum of what came and its length; to be asked after the stream has been read to its
    /// end, as the verification in `VolumeStore::receive` is.
    ///
    /// # Errors
    /// Why it did not come whole.
    pub fn finish(mut self) -> Result<(Checksum, u64), StreamError> {
        let outcome = self.outcome.try_recv().unwrap_or_else(|_| {
            let why = "the stream has not ended".to_owned();
            Err(StreamError::Mismatch(why))
        });
        outcome.map(|end| (end.checksum, end.bytes))
    }
}

/// Receives the data frames of one stream and its end. The reader comes back through the handle.
///
/// Must be called within a tokio runtime. Dropping the stream ends the reception.
pub fn receive_stream<R>(
    reader: FrameReader<R>,
    progress: watch::Sender<StreamProgress>,
) -> (IncomingStream, IncomingResult)
where
    R: AsyncRead + Send + Unpin + 'static,
{
    let (contents_in, contents) = mpsc::channel(QUEUED_FRAMES_MAX);
    let (outcome_in, outcome) = oneshot::channel();
    tokio::spawn(async move {
        let result = read_all(reader, &contents_in, &progress).await;
        let complaint = result.as_ref().err().map(ToString::to_string);
        // The outcome is there before the stream ends, so whoever saw the end finds it.
        let _ = outcome_in.send(result);
        if let Some(complaint) = complaint {
            let _ = contents_in.send(Err(complaint)).await;
        }
    });
    let stream = IncomingStream {
        contents,
        current: Bytes::new(),
    };
    (stream, IncomingResult { outcome })
}

async fn read_all<R: AsyncRead + Unpin>(
    mut reader: FrameReader<R>,
    contents: &mpsc::Sender<Result<Bytes, String>>,
    progress: &watch::Sender<StreamProgress>,
) -> Result<EndOfStream, StreamError> {
    let mut hasher = blake3::Hasher::new();
    let mut so_far = StreamProgress::default();
    loop {
        let frame = reader.frame().await?;
        so_far.wire_bytes += frame.wire_bytes;
        match frame.kind {
            FrameKind::Data => {
                hasher.update(&frame.content);
                so_far.bytes += u64::try_from(frame.content.len()).unwrap_or(0);
                let taken = contents.send(Ok(frame.content)).await;
                taken.map_err(|_| StreamError::Abandoned)?;
                progress.send_replace(so_far);
            }
            FrameKind::End => {
                let claimed: EndOfStream = serde_json::from_slice(&frame.content)
                    .map_err(|error| StreamError::BadFrame(format!("an end: {error}")))?;
                let found = EndOfStream {
                    checksum: Checksum(hasher.finalize().to_hex().to_string()),
                    bytes: so_far.bytes,
                };
                if claimed != found {
                    let why = format!(
                        "{} bytes with checksum {} were sent, {} bytes with checksum {} arrived",
                        claimed.bytes, claimed.checksum, found.bytes, found.checksum
                    );
                    return Err(StreamError::Mismatch(why));
                }
                return Ok(found);
            }
            got => {
                let expected = "data";
                return Err(StreamError::Unexpected { expected, got });
            }
        }
    }
}

impl AsyncRead for IncomingStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.current.is_empty() {
            match ready!(self.contents.poll_recv(context)) {
                Some(Ok(content)) => self.current = content,
                Some(Err(why)) => return Poll::Ready(Err(io::Error::other(why))),
                None => return Poll::Ready(Ok(())),
            }
        }
        let length = self.current.len().min(buffer.remaining());
        buffer.put_slice(&self.current[..length]);
        self.current.advance(length);
        Poll::Ready(Ok(()))
    }
}
