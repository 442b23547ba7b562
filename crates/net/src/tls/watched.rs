//! A TLS stream that remembers how its peer refused our certificate.
//!
//! With TLS 1.3 a client hears of that with its first read, deep below HTTP, which keeps only the
//! text of the error. The link and the API client wrap their streams in it. It changes no byte.

use super::error::{TlsError, alert_in};
use rustls::AlertDescription;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What the peer of a [`Watched`] stream gave as its last word. Clones are of the same stream.
#[derive(Debug, Clone, Default)]
pub(crate) struct LastWord(Arc<OnceLock<AlertDescription>>);

impl LastWord {
    /// The refusal, if there was one.
    pub(crate) fn refusal(&self, peer: SocketAddr) -> Option<TlsError> {
        TlsError::from_alert(peer, *self.0.get()?)
    }
}

/// A stream, watched.
#[derive(Debug)]
pub(crate) struct Watched<S> {
    stream: S,
    last_word: LastWord,
}

impl<S> Watched<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self {
            stream,
            last_word: LastWord::default(),
        }
    }

    pub(crate) fn last_word(&self) -> LastWord {
        self.last_word.clone()
    }

    fn note<T>(&self, result: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &result
            && let Some(alert) = alert_in(error)
        {
            // Only the first counts: the connection is over with it.
            let _ = self.last_word.0.set(alert);
        }
        result
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let result = ready!(Pin::new(&mut self.stream).poll_read(cx, buffer));
        Poll::Ready(self.note(result))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes));
        Poll::Ready(self.note(result))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, slices));
        Poll::Ready(self.note(result))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
