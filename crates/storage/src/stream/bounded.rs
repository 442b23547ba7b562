//! A stream that comes from somebody who may lie: it ends with an error when it brings more than was
//! announced, or more than the pool can take without harm to everybody else.
//!
//! The receiving agent puts it round what arrives, before the volume store sees it. What was written
//! may be in memory for a while and is not measured yet, so two things are counted: never more content
//! than the pool had room for at the beginning, and room whenever the pool is measured, every few
//! mebibytes, since others write too.

use flocker_types::volume::PoolUsage;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, ReadBuf};

/// Beyond what was announced, one part in so many is taken: what surrounds the data in a stream.
const OVERHEAD_PART: u64 = 8;
/// And so much, whatever was announced, in bytes.
const OVERHEAD_BYTES: u64 = 32 << 20;
/// The pool is measured before every so many bytes.
const MEASURED_EVERY_BYTES: u64 = 8 << 20;
/// One part in so many of a pool stays free of what other nodes send.
const RESERVE_PART: u64 = 20;
/// And at least so much, in bytes.
const RESERVE_BYTES_MIN: u64 = 32 << 20;

/// Most content of a stream that was announced with this length, in bytes.
pub fn content_bytes_max(announced: u64) -> u64 {
    announced
        .saturating_add(announced / OVERHEAD_PART)
        .saturating_add(OVERHEAD_BYTES)
}

/// What stays free in a pool, whatever other nodes send, in bytes.
pub fn reserve_bytes(pool: PoolUsage) -> u64 {
    (pool.size_bytes / RESERVE_PART).max(RESERVE_BYTES_MIN)
}

/// Measures a pool.
pub type Measuring = Pin<Box<dyn Future<Output = io::Result<PoolUsage>> + Send>>;

/// See the module.
pub struct BoundedStream<R> {
    inner: R,
    content_bytes_left: Option<u64>,
    room_bytes_left: Option<u64>,
    unmeasured_bytes_left: u64,
    measure: Box<dyn FnMut() -> Measuring + Send>,
    measuring: Option<Measuring>,
}

impl<R> fmt::Debug for BoundedStream<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoundedStream")
            .field("content_bytes_left", &self.content_bytes_left)
            .finish_non_exhaustive()
    }
}

impl<R> BoundedStream<R> {
    /// Bounds `inner` by what was announced, if anything was, and by the pool.
    pub fn new(
        inner: R,
        announced_bytes: Option<u64>,
        measure: impl FnMut() -> Measuring + Send + 'static,
    ) -> Self {
        Self {
            inner,
            content_bytes_left: announced_bytes.map(content_bytes_max),
            room_bytes_left: None,
            unmeasured_bytes_left: 0,
            measure: Box::new(measure),
            measuring: None,
        }
    }

    /// Until the pool was measured and has room.
    fn poll_room(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.unmeasured_bytes_left > 0 {
            return Poll::Ready(Ok(()));
        }
        let measuring = self.measuring.get_or_insert_with(|| (self.measure)());
        let usage = ready!(measuring.as_mut().poll(context));
        self.measuring = None;
        let usage = usage?;
        let reserve = reserve_bytes(usage);
        let room = usage.free_bytes.saturating_sub(reserve);
        let room = room.min(*self.room_bytes_left.get_or_insert(room));
        if room == 0 {
            let free = usage.free_bytes;
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::StorageFull,
                format!(
                    "the pool has {free} bytes left, and {reserve} are not for what other nodes send"
                ),
            )));
        }
        self.unmeasured_bytes_left = room.min(MEASURED_EVERY_BYTES);
        Poll::Ready(Ok(()))
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for BoundedStream<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        ready!(this.poll_room(context))?;
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.inner).poll_read(context, buffer))?;
        let read = u64::try_from(buffer.filled().len() - before).unwrap_or(u64::MAX);
        this.unmeasured_bytes_left = this.unmeasured_bytes_left.saturating_sub(read);
        if let Some(left) = &mut this.room_bytes_left {
            *left = left.saturating_sub(read);
        }
        if let Some(left) = &mut this.content_bytes_left {
            let Some(rest) = left.checked_sub(read) else {
                buffer.set_filled(before);
                return Poll::Ready(Err(io::Error::new(
                    io::ErrorKind::FileTooLarge,
                    "it brings more than was announced",
                )));
            };
            *left = rest;
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use tokio::io::AsyncReadExt;

    const MIB: u64 = 1 << 20;

    fn pool(free_mib: u64) -> PoolUsage {
        PoolUsage {
            size_bytes: 1_000 * MIB,
            free_bytes: free_mib * MIB,
        }
    }

    /// Reads an endless stream until its error; how much came before it, and the error.
    async fn read_all(mut stream: impl AsyncRead + Unpin) -> (u64, io::Error) {
        let mut chunk = vec![0; 256 << 10];
        let mut total = 0;
        loop {
            match stream.read(&mut chunk).await {
                Ok(length) => total += u64::try_from(length).unwrap(),
                Err(error) => return (total, error),
            }
        }
    }

    #[tokio::test]
    async fn no_more_comes_than_was_announced_and_a_little() {
        let measure = || -> Measuring { Box::pin(async { Ok(pool(1_000)) }) };
        let stream = BoundedStream::new(tokio::io::repeat(7), Some(80 * MIB), measure);
        let (total, error) = read_all(stream).await;
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        assert!(total <= 122 * MIB, "{total}");
    }

    #[tokio::test]
    async fn the_reserve_of_the_pool_is_not_touched() {
        let written = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&written);
        let measure = move || -> Measuring {
            let free_bytes = (200 * MIB).saturating_sub(seen.load(Ordering::Relaxed));
            let usage = PoolUsage {
                free_bytes,
                ..pool(0)
            };
            Box::pin(async move { Ok(usage) })
        };
        let mut stream = BoundedStream::new(tokio::io::repeat(7), None, measure);
        let mut chunk = vec![0; 256 << 10];
        let error = loop {
            match stream.read(&mut chunk).await {
                Ok(length) => {
                    written.fetch_add(u64::try_from(length).unwrap(), Ordering::Relaxed);
                }
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        let total = written.load(Ordering::Relaxed);
        // 5 % of the pool, but for one read.
        assert!((149 * MIB..=151 * MIB).contains(&total), "{total}");
    }

    #[tokio::test]
    async fn what_is_written_and_not_measured_yet_counts() {
        let measure = || -> Measuring { Box::pin(async { Ok(pool(200)) }) };
        let stream = BoundedStream::new(tokio::io::repeat(7), None, measure);
        let (total, error) = read_all(stream).await;
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert!((149 * MIB..=151 * MIB).contains(&total), "{total}");
    }

    #[tokio::test]
    async fn what_keeps_to_its_announcement_passes() {
        let measure = || -> Measuring { Box::pin(async { Ok(pool(500)) }) };
        let content = vec![7; 20 << 20];
        let source = io::Cursor::new(content.clone());
        let mut stream = BoundedStream::new(source, Some(20 * MIB), measure);
        let mut arrived = Vec::new();
        stream.read_to_end(&mut arrived).await.unwrap();
        assert!(arrived == content);
    }
}
