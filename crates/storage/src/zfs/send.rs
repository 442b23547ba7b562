//! Produces a volume stream with `zfs send`, and tells whether two snapshots differ.
//!
//! Only the ZFS store calls it.

use crate::command::command_line;
use crate::proved_reader::ProvedReader;
use crate::receive_process::PIPE_BYTES;
use crate::volume_store::{SendStream, StorageErrorKind};
use std::io;
use std::process::Stdio;
use tokio::io::AsyncReadExt;
use tokio::process::Command;

/// Length of a record; a stream between equal snapshots is a begin and an end.
const RECORD_BYTES: usize = 312;
/// Error output that is kept.
const STDERR_BYTES_MAX: u64 = 4 << 10;

/// Starts the stream from `from` (or from nothing) to `to`, both full names. Dropping the reader
/// stops it.
pub(super) fn start(from: Option<&str>, to: &str) -> Result<SendStream, StorageErrorKind> {
    let mut arguments = vec!["send"];
    if let Some(from) = from {
        arguments.extend(["-i", from]);
    }
    arguments.push(to);
    let line = command_line("zfs", &arguments);
    let mut child = Command::new("zfs")
        .args(&arguments)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| StorageErrorKind::io("start `zfs`", error))?;
    let closed = || StorageErrorKind::io("read from `zfs`", io::ErrorKind::BrokenPipe.into());
    let stdout = child.stdout.take().ok_or_else(closed)?;
    let stderr = child.stderr.take().ok_or_else(closed)?;
    // A smaller pipe is only slower.
    let _ = rustix::pipe::fcntl_setpipe_size(&stdout, PIPE_BYTES);
    let finished = tokio::spawn(async move {
        let mut complaints = Vec::new();
        stderr
            .take(STDERR_BYTES_MAX)
            .read_to_end(&mut complaints)
            .await?;
        let status = child.wait().await?;
        if status.success() {
            return Ok(());
        }
        let why = String::from_utf8_lossy(&complaints);
        Err(io::Error::other(format!("`{line}` failed: {}", why.trim())))
    });
    Ok(SendStream {
        reader: Box::new(ProvedReader::new(stdout, finished)),
        bytes_estimate: None,
    })
}

/// Whether anything was written between two snapshots of one filesystem. Whatever is not understood
/// counts as a difference.
pub(super) async fn differ(before: &str, after: &str) -> Result<bool, StorageErrorKind> {
    let stream = start(Some(before), after)?;
    let mut bytes = Vec::new();
    let limit = u64::try_from(2 * RECORD_BYTES + 1).unwrap_or(0);
    let read = stream.reader.take(limit).read_to_end(&mut bytes).await;
    read.map_err(|error| StorageErrorKind::io(format!("compare {before} and {after}"), error))?;
    Ok(bytes.len() != 2 * RECORD_BYTES)
}
