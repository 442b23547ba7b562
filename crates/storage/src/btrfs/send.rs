//! Produces a volume stream with the kernel's send ioctl, on a thread of its own, through a pipe.
//!
//! Only the btrfs store calls it. No process is started: the ioctl writes the same bytes that
//! `btrfs send` would.

use super::sys::{self, SendContent, SendProtocol};
use crate::proved_reader::ProvedReader;
use crate::receive_process::PIPE_BYTES;
use crate::volume_store::{SendStream, StorageErrorKind};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use tokio::net::unix::pipe;

/// Starts the stream from `from` (or from nothing) to `to`. Dropping the reader stops it.
pub(super) fn start(
    from: Option<OwnedFd>,
    to: OwnedFd,
    protocol: SendProtocol,
) -> Result<SendStream, StorageErrorKind> {
    let failed = |error| StorageErrorKind::io("make the pipe to send through", error);
    let (reader, writer) = io::pipe().map_err(failed)?;
    // A smaller pipe is only slower.
    let _ = rustix::pipe::fcntl_setpipe_size(&reader, PIPE_BYTES);
    let reader = OwnedFd::from(reader);
    rustix::io::ioctl_fionbio(&reader, true).map_err(|error| failed(error.into()))?;
    let pipe = pipe::Receiver::from_owned_fd(reader).map_err(failed)?;
    let sender = tokio::task::spawn_blocking(move || {
        let parent = from.as_ref().map(AsFd::as_fd);
        sys::send(
            to.as_fd(),
            parent,
            writer.as_fd(),
            SendContent::Full,
            protocol,
        )
    });
    Ok(SendStream {
        reader: Box::new(ProvedReader::new(pipe, sender)),
        bytes_estimate: None,
    })
}
