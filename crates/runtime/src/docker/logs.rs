//! Copies a container's log to whoever asked for it: in order, in bounded batches.
//!
//! Docker 20.10 sometimes drops an unterminated last line of a log that is followed to its end;
//! whole lines always come, and without following everything does.

use super::Docker;
use super::engine::limited;
use super::errors::failed;
use super::log_lines::LogLines;
use crate::runtime_trait::{LogSink, RuntimeError, RuntimeErrorKind};
use bollard::container::LogOutput;
use bollard::query_parameters::LogsOptionsBuilder;
use flocker_types::api::{LogLine, LogStream};
use flocker_types::ids::ServiceId;
use flocker_types::link::Follow;
use futures_util::StreamExt;

/// Pieces of output that are put together to one batch.
const PIECES_PER_BATCH_MAX: usize = 128;
/// A listener that takes nothing for so long has gone.
const LISTENER_MS_MAX: u64 = 60_000;
/// A log that is not followed and stands still for so long has failed.
const SILENCE_MS_MAX: u64 = 30_000;
/// Following waits for as long as the container is silent; this only bounds one wait.
const FOLLOW_SILENCE_MS_MAX: u64 = 365 * 24 * 3_600_000;

impl Docker {
    /// Copies the log; `Ok` at its end, or when nobody listens any more.
    pub(super) async fn copy_logs(
        &self,
        service: &ServiceId,
        tail: Option<u32>,
        follow: Follow,
        sink: LogSink,
    ) -> Result<(), RuntimeError> {
        let verb = "read the log of";
        let action = format!("{verb} {service}");
        let Some(found) = self.find(service, verb).await? else {
            return Err(failed(action, RuntimeErrorKind::NoContainer));
        };
        let options = LogsOptionsBuilder::new()
            .stdout(true)
            .stderr(true)
            .follow(follow == Follow::Yes)
            .tail(&tail.map_or_else(|| "all".to_owned(), |lines| lines.to_string()))
            .build();
        let silence_ms_max = match follow {
            Follow::Yes => FOLLOW_SILENCE_MS_MAX,
            Follow::No => SILENCE_MS_MAX,
        };
        let output = self.engine.client().logs(&found.id, Some(options));
        let mut output = output.ready_chunks(PIECES_PER_BATCH_MAX);
        let mut partial = LogLines::default();
        loop {
            let next = limited(&action, silence_ms_max, "the log", output.next());
            let pieces = tokio::select! {
                biased;
                () = sink.closed() => return Ok(()),
                pieces = next => pieces?,
            };
            let mut lines = Vec::new();
            let Some(pieces) = pieces else {
                partial.finish(&mut lines);
                send(&action, &sink, lines).await?;
                return Ok(());
            };
            for piece in pieces {
                let piece = piece.map_err(|error| self.engine.error(&action, error))?;
                let stream = match piece {
                    LogOutput::StdErr { .. } => LogStream::Stderr,
                    _ => LogStream::Stdout,
                };
                partial.take(stream, &piece.into_bytes(), &mut lines);
            }
            if send(&action, &sink, lines).await? == Listener::Gone {
                return Ok(());
            }
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Listener {
    There,
    Gone,
}

async fn send(action: &str, sink: &LogSink, lines: Vec<LogLine>) -> Result<Listener, RuntimeError> {
    if lines.is_empty() {
        return Ok(Listener::There);
    }
    let sent = limited(action, LISTENER_MS_MAX, "the listener", sink.send(lines)).await?;
    Ok(match sent {
        Ok(()) => Listener::There,
        Err(_) => Listener::Gone,
    })
}
