//! Carries bytes both ways between a client and a container.
//!
//! Called by a connection once both ends are there. Each direction ends on its own (half-close);
//! an error on either side ends both abruptly, so that neither peer mistakes a cut for an orderly
//! end. Never looks at the bytes.

use super::service::Counters;
use std::io;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

/// A direction's buffer at first, in bytes: what an idle connection costs.
const BUFFER_BYTES_MIN: usize = 4 * 1024;
/// A direction's buffer once reads keep filling it, in bytes.
const BUFFER_BYTES_MAX: usize = 64 * 1024;
/// A silent peer is probed after this long, in seconds ...
const KEEPALIVE_IDLE_SECONDS: u64 = 60;
/// ... this often, in seconds; after nine probes without answer the kernel gives it up.
const KEEPALIVE_INTERVAL_SECONDS: u64 = 10;

/// A stream of bytes in both directions.
pub(crate) trait ByteStream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> ByteStream for T {}

/// One of the two ends of a relay.
pub(crate) enum End {
    /// A client or a container.
    Plain(TcpStream),
    /// Another node's proxy.
    Tunnel(Box<dyn ByteStream>),
}

/// Prepares a socket for relaying: small writes leave at once, dead peers are noticed.
pub(crate) fn tune(stream: &TcpStream) {
    // Neither can fail on a TCP socket; if one did, the relay works without it.
    let _ = stream.set_nodelay(true);
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(KEEPALIVE_IDLE_SECONDS))
        .with_interval(Duration::from_secs(KEEPALIVE_INTERVAL_SECONDS));
    let _ = socket2::SockRef::from(stream).set_tcp_keepalive(&keepalive);
}

/// Makes the peer see a reset instead of an orderly end when the stream is dropped.
pub(crate) fn reset(stream: &TcpStream) {
    let _ = stream.set_zero_linger();
}

/// Relays until both directions have ended or `cut` resolves.
pub(crate) async fn relay(
    client: &mut End,
    backend: &mut End,
    counters: &Counters,
    cut: impl Future<Output = ()>,
) {
    let copied = async {
        match (&mut *client, &mut *backend) {
            (End::Plain(client), End::Plain(backend)) => {
                both_ways(client.split(), backend.split(), counters).await
            }
            (End::Plain(client), End::Tunnel(backend)) => {
                both_ways(client.split(), tokio::io::split(backend), counters).await
            }
            (End::Tunnel(client), End::Plain(backend)) => {
                both_ways(tokio::io::split(client), backend.split(), counters).await
            }
            (End::Tunnel(client), End::Tunnel(backend)) => {
                let (client, backend) = (tokio::io::split(client), tokio::io::split(backend));
                both_ways(client, backend, counters).await
            }
        }
    };
    let orderly = tokio::select! {
        biased;
        () = cut => false,
        result = copied => result.is_ok(),
    };
    if !orderly {
        for end in [client, backend] {
            // A tunnel that is dropped without its closing message tells the other proxy the same.
            if let End::Plain(stream) = end {
                reset(stream);
            }
        }
    }
}

async fn both_ways<CR, CW, BR, BW>(
    (client_read, client_write): (CR, CW),
    (backend_read, backend_write): (BR, BW),
    counters: &Counters,
) -> io::Result<()>
where
    CR: AsyncRead + Unpin,
    CW: AsyncWrite + Unpin,
    BR: AsyncRead + Unpin,
    BW: AsyncWrite + Unpin,
{
    let inward = one_way(client_read, backend_write, &counters.bytes_in);
    let outward = one_way(backend_read, client_write, &counters.bytes_out);
    tokio::try_join!(inward, outward)?;
    Ok(())
}

async fn one_way<R, W>(mut from: R, mut to: W, counter: &AtomicU64) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut buffer = vec![0; BUFFER_BYTES_MIN];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..count]).await?;
        to.flush().await?;
        Counters::add(counter, u64::try_from(count).unwrap_or(u64::MAX));
        if count == buffer.len() && count < BUFFER_BYTES_MAX {
            buffer.resize(count * 4, 0);
        }
    }
}
