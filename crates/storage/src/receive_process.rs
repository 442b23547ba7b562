//! Feeds a volume stream to a filesystem's receiving command.
//!
//! Both stores call it. It starts the command, hands on what the stream yields, and makes sure that
//! the process has ended before it returns, so that its caller can clean up in peace.

use crate::command::command_line;
use crate::volume_store::StorageErrorKind;
use std::ffi::OsStr;
use std::io;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, Command};

/// Bytes that are read from the stream at once.
const CHUNK_BYTES: usize = 256 << 10;
/// The pipe to the process; the kernel's own limit for users is the same.
pub(crate) const PIPE_BYTES: usize = 1 << 20;
/// Error output that is kept.
const STDERR_BYTES_MAX: u64 = 4 << 10;
/// How long the process may work on after the stream's last byte.
const FINISH_LIMIT: Duration = Duration::from_secs(300);

/// A volume stream that comes in.
pub(crate) type Stream = Box<dyn AsyncRead + Send + Unpin>;

/// How feeding the process ended.
enum Fed {
    /// The stream ended.
    Whole,
    /// The process takes no more.
    Refused,
}

/// Feeds the whole stream to the command. How long the stream may stall is its reader's business.
/// `damaged` are texts in the command's error output that mean that the stream is at fault.
pub(crate) async fn run<A: AsRef<OsStr>>(
    program: &str,
    arguments: &[A],
    stream: Stream,
    damaged: &[&str],
) -> Result<(), StorageErrorKind> {
    let command = command_line(program, arguments);
    let mut child = Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| StorageErrorKind::io(format!("start `{program}`"), error))?;
    let failed = |what: &'static str| move |error| StorageErrorKind::io(what, error);
    let closed = || failed("talk to the receiving command")(io::ErrorKind::BrokenPipe.into());
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
            child
                .kill()
                .await
                .map_err(failed("end the receiving command"))?;
            return Err(StorageErrorKind::BadStream(error.to_string()));
        }
    };
    let status = finish(&mut child, &command).await?;
    if !status.success() {
        return Err(explain(
            &command,
            &complaints.await.unwrap_or_default(),
            damaged,
        ));
    }
    match fed {
        Fed::Whole => Ok(()),
        Fed::Refused => Err(StorageErrorKind::BadStream(
            "it goes on after its end".to_owned(),
        )),
    }
}

/// Reads a stream to its end for a snapshot that is here already.
pub(crate) async fn discard(mut stream: Stream) -> Result<(), StorageErrorKind> {
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
    let failed = |error| StorageErrorKind::io("wait for the receiving command", error);
    if let Ok(status) = tokio::time::timeout(FINISH_LIMIT, child.wait()).await {
        return status.map_err(failed);
    }
    child.kill().await.map_err(failed)?;
    let why = format!("it did not finish within {} s", FINISH_LIMIT.as_secs());
    Err(StorageErrorKind::command(command, &why))
}

/// Tells a damaged stream from a full disk and from any other failure.
pub(crate) fn explain(command: &str, stderr: &str, damaged: &[&str]) -> StorageErrorKind {
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
