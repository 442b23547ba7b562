//! A connection of ours that breaks off when its peer is revoked.
//!
//! The proxy wraps its tunnels in it: bytes pass through code that knows nothing of certificates. It
//! changes no byte.

use super::Revocations;
use super::connect::peer_certificate;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// A stream that ends with an error once its peer is revoked.
pub(crate) struct Guarded<S> {
    stream: S,
    revoked: Pin<Box<dyn Future<Output = ()> + Send + Sync>>,
}

impl Guarded<TlsStream<TcpStream>> {
    /// Guards a connection by the certificate that its other end has shown.
    pub(crate) fn of_peer(
        stream: TlsStream<TcpStream>,
        revocations: &Revocations,
    ) -> io::Result<Self> {
        let peer = peer_certificate(&stream)
            .ok_or_else(|| io::Error::other("the peer has shown no certificate of a member"))?;
        let revocations = revocations.clone();
        let revoked = Box::pin(async move { revocations.until_covers(&peer).await });
        Ok(Self { stream, revoked })
    }
}

impl<S> Guarded<S> {
    /// A relay always waits to read from both of its ends, so it is enough that readers are woken.
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.revoked.as_mut().poll(cx) {
            Poll::Pending => Ok(()),
            Poll::Ready(()) => {
                // Done is done, also for the other half.
                self.revoked = Box::pin(std::future::ready(()));
                let text = "the peer's certificate is revoked";
                Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
            }
        }
    }
}

impl<S> fmt::Debug for Guarded<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Guarded")
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
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
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
