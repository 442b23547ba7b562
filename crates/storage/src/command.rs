//! Runs the filesystems' commands: with a limit on time and output, no shell, and an error that has
//! the command line and what it complained about.
//!
//! Pools and the ZFS store use it. It knows no command.

use crate::volume_store::StorageErrorKind;
use std::ffi::OsStr;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

/// How long an ordinary command may take.
const COMMAND_LIMIT: Duration = Duration::from_secs(120);
/// Output that is read of a command.
const OUTPUT_BYTES_MAX: u64 = 64 << 20;
/// Error output that is kept.
const STDERR_BYTES_MAX: u64 = 4 << 10;

/// Runs a command to its end and returns its output.
pub(crate) async fn run<A: AsRef<OsStr>>(
    program: &str,
    arguments: &[A],
) -> Result<String, StorageErrorKind> {
    let line = command_line(program, arguments);
    let mut child = Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| StorageErrorKind::io(format!("start `{program}`"), error))?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let work = async {
        let (output, complaints) = tokio::join!(
            read_bounded(stdout, OUTPUT_BYTES_MAX),
            read_bounded(stderr, STDERR_BYTES_MAX),
        );
        (output, complaints, child.wait().await)
    };
    let Ok((output, complaints, status)) = tokio::time::timeout(COMMAND_LIMIT, work).await else {
        let why = format!("it did not end within {} s", COMMAND_LIMIT.as_secs());
        return Err(StorageErrorKind::command(line, &why));
    };
    let failed = |error| StorageErrorKind::io(format!("run `{line}`"), error);
    let status = status.map_err(failed)?;
    let complaints = String::from_utf8_lossy(&complaints.unwrap_or_default()).into_owned();
    if !status.success() {
        let why = if complaints.trim().is_empty() {
            status.to_string()
        } else {
            complaints
        };
        return Err(StorageErrorKind::command(line, &why));
    }
    let output = output.map_err(failed)?;
    Ok(String::from_utf8_lossy(&output).into_owned())
}

/// The command as a person would type it.
pub(crate) fn command_line<A: AsRef<OsStr>>(program: &str, arguments: &[A]) -> String {
    let mut line = program.to_owned();
    for argument in arguments {
        line.push(' ');
        line.push_str(&argument.as_ref().to_string_lossy());
    }
    line
}

async fn read_bounded(
    source: Option<impl AsyncRead + Unpin>,
    bytes_max: u64,
) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(mut source) = source {
        (&mut source)
            .take(bytes_max)
            .read_to_end(&mut bytes)
            .await?;
        // The rest is taken and dropped, so that the command does not wait for a reader.
        tokio::io::copy(&mut source, &mut tokio::io::sink()).await?;
    }
    Ok(bytes)
}
