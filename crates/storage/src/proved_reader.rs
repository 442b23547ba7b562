//! A reader whose end of file counts only once its writer has said that it wrote everything.
//!
//! Both stores hand it out with what they send: a stream that was cut off must not look like a short
//! one. It starts nothing; dropped, it stops a writer that is a task (which ends its process), while
//! one that is a thread ends with its pipe.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::task::JoinHandle;

/// What comes out of a pipe, and the task that ends with the writer's word on it.
pub(crate) struct ProvedReader<R> {
    pipe: R,
    writer: Option<JoinHandle<io::Result<()>>>,
}

impl<R> ProvedReader<R> {
    pub(crate) fn new(pipe: R, writer: JoinHandle<io::Result<()>>) -> Self {
        let writer = Some(writer);
        Self { pipe, writer }
    }
}

impl<R> Drop for ProvedReader<R> {
    fn drop(&mut self) {
        if let Some(writer) = &self.writer {
            writer.abort();
        }
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for ProvedReader<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        if self.writer.is_some() {
            ready!(Pin::new(&mut self.pipe).poll_read(context, buffer))?;
            if buffer.filled().len() > before || buffer.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
        }
        let Some(writer) = self.writer.as_mut() else {
            return Poll::Ready(Ok(()));
        };
        let result = ready!(Pin::new(writer).poll(context));
        self.writer = None;
        Poll::Ready(result.map_err(io::Error::other).flatten())
    }
}
