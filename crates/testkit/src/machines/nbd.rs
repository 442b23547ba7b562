//! Serves a [`VolatileDisk`] to one virtual machine at a time by the network block device protocol, over a
//! Unix socket.
//!
//! Speaks the part of the protocol that qemu needs: one export of any name, reads, writes, flushes, in
//! the order in which they come. Never flushes on its own.

use super::disk::{BLOCK_BYTES, CutReport, VolatileDisk};
use crate::wait::{self, WaitError};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

const GREETING: &[u8; 8] = b"NBDMAGIC";
const OPTION_MAGIC: u64 = u64::from_be_bytes(*b"IHAVEOPT");
const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
const REQUEST_MAGIC: u32 = 0x2560_9513;
const REPLY_MAGIC: u32 = 0x6744_6698;
/// Fixed newstyle handshake, no padding of zeroes.
const HANDSHAKE_FLAGS: u16 = 0b11;
/// There are flags; the disk has a cache that can be flushed.
const EXPORT_FLAGS: u16 = 0b101;
const OPTION_ABORT: u32 = 2;
const OPTION_INFO: u32 = 6;
const OPTION_GO: u32 = 7;
const REPLY_ACK: u32 = 1;
const REPLY_INFO: u32 = 3;
const REPLY_UNSUPPORTED: u32 = (1 << 31) + 1;
const INFO_EXPORT: u16 = 0;
const INFO_BLOCK_SIZE: u16 = 3;
const READ: u16 = 0;
const WRITE: u16 = 1;
const DISCONNECT: u16 = 2;
const FLUSH: u16 = 3;
/// What is answered to a request that cannot be.
const INVALID: u32 = 22;
/// Longest request; qemu splits longer ones.
const REQUEST_BYTES_MAX: u32 = 8 << 20;
const OPTION_BYTES_MAX: u32 = 8 << 10;
/// How long the last requests of a machine that was killed may take.
const END_LIMIT: Duration = Duration::from_secs(20);

type SharedDisk = Arc<Mutex<VolatileDisk>>;

/// A disk that machines can connect to.
#[derive(Debug)]
pub struct DiskServer {
    disk: SharedDisk,
    connections: watch::Receiver<u32>,
    task: JoinHandle<()>,
}

impl DiskServer {
    /// Serves a disk at a socket until dropped.
    pub fn start(disk: VolatileDisk, socket: &Path) -> io::Result<Self> {
        let listener = UnixListener::bind(socket)?;
        let disk = Arc::new(Mutex::new(disk));
        let (count, connections) = watch::channel(0);
        let task = tokio::spawn(accept(listener, Arc::clone(&disk), count));
        Ok(Self {
            disk,
            connections,
            task,
        })
    }

    /// Makes what was written so far durable, as if the machine had asked for it.
    pub fn flush(&self) -> io::Result<()> {
        locked(&self.disk).flush()
    }

    /// How many versions of blocks a cut could lose now.
    pub fn unflushed(&self) -> usize {
        locked(&self.disk).unflushed()
    }

    /// The power goes, which must have ended the machine already. Waits until what it had sent has
    /// been read, so that nothing is written later.
    pub async fn cut(&self, seed: u64) -> io::Result<CutReport> {
        wait::until::<_, WaitError, _, _>(
            "the machine to let go of its disk",
            END_LIMIT,
            || async { Ok((*self.connections.borrow() == 0).then_some(())) },
        )
        .await
        .map_err(io::Error::other)?;
        locked(&self.disk).cut(seed)
    }
}

impl Drop for DiskServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn locked(disk: &SharedDisk) -> std::sync::MutexGuard<'_, VolatileDisk> {
    disk.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One machine after the other.
async fn accept(listener: UnixListener, disk: SharedDisk, count: watch::Sender<u32>) {
    while let Ok((stream, _)) = listener.accept().await {
        count.send_modify(|count| *count += 1);
        if let Err(error) = serve(stream, &disk).await
            && error.kind() != io::ErrorKind::UnexpectedEof
        {
            tracing::warn!(%error, "a machine's disk was let go of");
        }
        count.send_modify(|count| *count -= 1);
    }
}

async fn serve(stream: UnixStream, disk: &SharedDisk) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    stream.write_all(GREETING).await?;
    stream.write_u64(OPTION_MAGIC).await?;
    stream.write_u16(HANDSHAKE_FLAGS).await?;
    let _client_flags = stream.read_u32().await?;
    while let Negotiation::GoesOn = negotiate(&mut stream, disk).await? {}
    let mut buffer = Vec::new();
    while let Session::GoesOn = answer(&mut stream, disk, &mut buffer).await? {}
    Ok(())
}

/// Whether options are still talked about.
enum Negotiation {
    GoesOn,
    Done,
}

/// Whether another request may come.
enum Session {
    GoesOn,
    Over,
}

async fn negotiate(
    stream: &mut BufReader<UnixStream>,
    disk: &SharedDisk,
) -> io::Result<Negotiation> {
    expect(stream.read_u64().await? == OPTION_MAGIC, "an option")?;
    let option = stream.read_u32().await?;
    let length = stream.read_u32().await?;
    expect(length <= OPTION_BYTES_MAX, "a short option")?;
    let mut words = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    stream.read_exact(&mut words).await?;
    match option {
        OPTION_GO | OPTION_INFO => {
            let mut export = INFO_EXPORT.to_be_bytes().to_vec();
            export.extend(locked(disk).bytes().to_be_bytes());
            export.extend(EXPORT_FLAGS.to_be_bytes());
            reply(stream, option, REPLY_INFO, &export).await?;
            let block = u32::try_from(BLOCK_BYTES).map_err(io::Error::other)?;
            let mut sizes = INFO_BLOCK_SIZE.to_be_bytes().to_vec();
            for size in [block, block, REQUEST_BYTES_MAX] {
                sizes.extend(size.to_be_bytes());
            }
            reply(stream, option, REPLY_INFO, &sizes).await?;
            reply(stream, option, REPLY_ACK, &[]).await?;
            Ok(match option {
                OPTION_GO => Negotiation::Done,
                _ => Negotiation::GoesOn,
            })
        }
        OPTION_ABORT => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => {
            reply(stream, option, REPLY_UNSUPPORTED, &[]).await?;
            Ok(Negotiation::GoesOn)
        }
    }
}

async fn reply(
    stream: &mut BufReader<UnixStream>,
    option: u32,
    kind: u32,
    data: &[u8],
) -> io::Result<()> {
    let mut bytes = OPTION_REPLY_MAGIC.to_be_bytes().to_vec();
    bytes.extend(option.to_be_bytes());
    bytes.extend(kind.to_be_bytes());
    bytes.extend(
        u32::try_from(data.len())
            .map_err(io::Error::other)?
            .to_be_bytes(),
    );
    bytes.extend(data);
    stream.write_all(&bytes).await
}

async fn answer(
    stream: &mut BufReader<UnixStream>,
    disk: &SharedDisk,
    buffer: &mut Vec<u8>,
) -> io::Result<Session> {
    expect(stream.read_u32().await? == REQUEST_MAGIC, "a request")?;
    let _flags = stream.read_u16().await?;
    let kind = stream.read_u16().await?;
    let cookie = stream.read_u64().await?;
    let offset = stream.read_u64().await?;
    let length = stream.read_u32().await?;
    if kind == DISCONNECT {
        return Ok(Session::Over);
    }
    expect(length <= REQUEST_BYTES_MAX, "a request of bearable length")?;
    buffer.clear();
    if matches!(kind, READ | WRITE) {
        buffer.resize(usize::try_from(length).map_err(io::Error::other)?, 0);
    }
    let done = match kind {
        READ => locked(disk).read(offset, buffer),
        WRITE => {
            stream.read_exact(buffer).await?;
            locked(disk).write(offset, buffer)
        }
        FLUSH => locked(disk).flush(),
        _ => Err(io::ErrorKind::Unsupported.into()),
    };
    let mut head = REPLY_MAGIC.to_be_bytes().to_vec();
    head.extend(done.as_ref().map_or(INVALID, |()| 0).to_be_bytes());
    head.extend(cookie.to_be_bytes());
    stream.write_all(&head).await?;
    if kind == READ && done.is_ok() {
        stream.write_all(buffer).await?;
    }
    Ok(Session::GoesOn)
}

fn expect(is_so: bool, what: &str) -> io::Result<()> {
    match is_so {
        true => Ok(()),
        false => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("expected {what}"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: u64 = 64 << 12;

    /// Connects as qemu does, up to the first request.
    async fn connect(socket: &Path) -> UnixStream {
        let mut stream = UnixStream::connect(socket).await.unwrap();
        let mut greeting = [0; 18];
        stream.read_exact(&mut greeting).await.unwrap();
        assert_eq!(&greeting[..8], GREETING);
        stream.write_u32(3).await.unwrap();
        // Something that we do not speak, then the export.
        for (option, reply_kind) in [(8, REPLY_UNSUPPORTED), (OPTION_GO, REPLY_INFO)] {
            stream.write_u64(OPTION_MAGIC).await.unwrap();
            stream.write_u32(option).await.unwrap();
            stream.write_u32(6).await.unwrap();
            stream.write_all(&[0; 6]).await.unwrap();
            assert_eq!(stream.read_u64().await.unwrap(), OPTION_REPLY_MAGIC);
            assert_eq!(stream.read_u32().await.unwrap(), option);
            assert_eq!(stream.read_u32().await.unwrap(), reply_kind);
            let length = stream.read_u32().await.unwrap();
            let mut data = vec![0; usize::try_from(length).unwrap()];
            stream.read_exact(&mut data).await.unwrap();
            if option == OPTION_GO {
                assert_eq!(data[2..10], BYTES.to_be_bytes());
            }
        }
        // The block sizes with their head of 20 bytes, and the acknowledgement.
        stream.read_exact(&mut [0; 34 + 20]).await.unwrap();
        stream
    }

    async fn request(stream: &mut UnixStream, kind: u16, offset: u64, data: &[u8], length: u32) {
        stream.write_u32(REQUEST_MAGIC).await.unwrap();
        stream.write_u16(0).await.unwrap();
        stream.write_u16(kind).await.unwrap();
        stream.write_u64(77).await.unwrap();
        stream.write_u64(offset).await.unwrap();
        stream.write_u32(length).await.unwrap();
        stream.write_all(data).await.unwrap();
        if kind != DISCONNECT {
            assert_eq!(stream.read_u32().await.unwrap(), REPLY_MAGIC);
        }
    }

    async fn status(stream: &mut UnixStream) -> u32 {
        let error = stream.read_u32().await.unwrap();
        assert_eq!(stream.read_u64().await.unwrap(), 77);
        error
    }

    #[tokio::test]
    async fn a_machine_writes_flushes_and_reads_again_after_a_cut() {
        let directory = tempfile::tempdir().unwrap();
        let disk = VolatileDisk::open(&directory.path().join("disk"), BYTES, 1).unwrap();
        let socket = directory.path().join("socket");
        let server = DiskServer::start(disk, &socket).unwrap();
        let mut machine = connect(&socket).await;
        let block = [5; BLOCK_BYTES];
        request(&mut machine, WRITE, 4096, &block, 4096).await;
        assert_eq!(status(&mut machine).await, 0);
        request(&mut machine, FLUSH, 0, &[], 0).await;
        assert_eq!(status(&mut machine).await, 0);
        request(&mut machine, WRITE, 8192, &block, 4096).await;
        assert_eq!(status(&mut machine).await, 0);
        request(&mut machine, WRITE, 8192, &block[..512], 512).await;
        assert_eq!(status(&mut machine).await, INVALID);
        drop(machine);

        // This seed's disk had not begun to write its cache out.
        let seed = (0..).find(|seed| super::super::dice::Dice::new(*seed).below(5) == 0);
        let report = server.cut(seed.unwrap()).await.unwrap();
        assert_eq!((report.unflushed_blocks, report.lost_blocks), (1, 1));
        let mut machine = connect(&socket).await;
        let mut seen = vec![0; 8192];
        request(&mut machine, READ, 4096, &[], 8192).await;
        assert_eq!(status(&mut machine).await, 0);
        machine.read_exact(&mut seen).await.unwrap();
        assert_eq!(seen[..BLOCK_BYTES], block);
        assert_eq!(seen[BLOCK_BYTES..], [0; BLOCK_BYTES]);
        request(&mut machine, DISCONNECT, 0, &[], 0).await;
    }
}
