//! Runs `btrfs receive` on a volume stream, confined to the copy's snapshot directory.
//!
//! Only the btrfs store calls it. The stream comes from another machine, so the process is started in
//! a root directory of its own (`-C`): whatever paths the stream names, it reaches this volume's
//! snapshots and nothing else. Whether they are what they should be is checked by the caller.

use super::send::PIPE_BYTES;
use crate::volume_store::StorageErrorKind;
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, Command};

/// Bytes that are read from the stream at once.
const CHUNK_BYTES: usize = 256 << 10;
/// Error output that is kept.
const STDERR_BYTES_MAX: u64 = 4 << 10;
/// How long the process may work on after the stream's last byte.
const FINISH_LIMIT: Duration = Duration::from_secs(300);

type Stream = Box<dyn AsyncRead + Send + Unpin>;

/// How feeding the process ended.
enum Fed {
    /// The stream ended.
    Whole,
    /// The process takes no more.
    Refused,
}

/// Receives the whole stream into `directory`. How long the stream may stall is its reader's
/// business. When this returns, the process has ended.
pub(super) async fn run(directory: &Path, stream: Stream) -> Result<(), StorageErrorKind> {
    let command = format!("btrfs receive -C {}", directory.display());
    let mut child = Command::new("btrfs")
        .args(["-q", "receive", "-C"])
        .arg(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| {
            StorageErrorKind::io("start `btrfs` (is btrfs-progs installed?)", error)
        })?;
    let failed = |what: &'static str| move |error| StorageErrorKind::io(what, error);
    let closed = || failed("talk to `btrfs receive`")(io::ErrorKind::BrokenPipe.into());
    let stdin = child.stdin.take().ok_or_else(closed)?;
    let stderr = child.stderr.take().ok_or_else(closed)?;
    let complaints = tokio::spawn(async move {
        let mut text = Vec::new();
        // What could be read serves; without it the exit status speaks.
        let _ = stderr.take(STDERR_BYTES_MAX).read_to_end(&mut text).await;
        String::from_utf8_lossy(&text).into_owned()
    });
    let fed = tokio::select! {
        fed = feed(stream, stdin) => fed,
        // It ended before the stream did; why is read below.
        _ = child.wait() => Ok(Fed::Refused),
    };
    let fed = match fed {
        Ok(fed) => fed,
        Err(error) => {
            // It must not write on while the caller cleans up.
            child.kill().await.map_err(failed("end `btrfs receive`"))?;
            return Err(StorageErrorKind::BadStream(error.to_string()));
        }
    };
    let status = finish(&mut child, &command).await?;
    if !status.success() {
        return Err(explain(&command, &complaints.await.unwrap_or_default()));
    }
    match fed {
        Fed::Whole => Ok(()),
        Fed::Refused => Err(StorageErrorKind::BadStream(
            "it goes on after its end".to_owned(),
        )),
    }
}

/// Reads a stream to its end for a snapshot that is here already.
pub(super) async fn discard(mut stream: Stream) -> Result<(), StorageErrorKind> {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match stream.read(&mut chunk).await {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) => return Err(StorageErrorKind::BadStream(error.to_string())),
        }
    }
}

async fn feed(mut stream: Stream, mut stdin: ChildStdin) -> io::Result<Fed> {
    // A smaller pipe is only slower.
    let _ = rustix::pipe::fcntl_setpipe_size(&stdin, PIPE_BYTES);
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let length = stream.read(&mut chunk).await?;
        if length == 0 {
            return Ok(Fed::Whole);
        }
        if stdin.write_all(&chunk[..length]).await.is_err() {
            return Ok(Fed::Refused);
        }
    }
}

async fn finish(
    child: &mut Child,
    command: &str,
) -> Result<std::process::ExitStatus, StorageErrorKind> {
    let failed = |error| StorageErrorKind::io("wait for `btrfs receive`", error);
    if let Ok(status) = tokio::time::timeout(FINISH_LIMIT, child.wait()).await {
        return status.map_err(failed);
    }
    child.kill().await.map_err(failed)?;
    let why = format!("it did not finish within {} s", FINISH_LIMIT.as_secs());
    Err(StorageErrorKind::command(command, &why))
}

/// Tells a damaged stream from a full disk and from any other failure.
fn explain(command: &str, stderr: &str) -> StorageErrorKind {
    let damaged = [
        "crc32 mismatch",
        "invalid",
        "unexpected",
        "short read",
        "truncated",
        "not a send stream",
        "stream version",
    ];
    match StorageErrorKind::command(command, stderr) {
        StorageErrorKind::Command { command, stderr } => {
            let lower = stderr.to_ascii_lowercase();
            if damaged.iter().any(|text| lower.contains(text)) {
                return StorageErrorKind::BadStream(stderr);
            }
            StorageErrorKind::Command { command, stderr }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_output_is_told_apart() {
        let kind = |stderr| explain("btrfs receive -C /p", stderr);
        assert!(matches!(
            kind("ERROR: writing to a failed: No space left on device\n"),
            StorageErrorKind::NoSpace(_)
        ));
        assert!(matches!(
            kind("ERROR: crc32 mismatch in command\n"),
            StorageErrorKind::BadStream(_)
        ));
        assert!(matches!(
            kind("ERROR: cannot find parent subvolume\n"),
            StorageErrorKind::Command { .. }
        ));
    }
}
