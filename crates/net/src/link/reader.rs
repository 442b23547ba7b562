//! The receiving half of a link: a task that reads the other side's body.
//!
//! Both sides of a link start one. It ends with the link, and closes the link when it ends.

use super::{CloseReason, LinkHandle, LinkLimits, LinkMessage};
use crate::lines::LineBuffer;
use bytes::{Buf, Bytes};
use http_body_util::BodyExt;
use hyper::body::Body;
use std::error::Error as StdError;
use std::time::Duration;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::time::timeout;

/// Why a body could not be read on.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// Starts reading `body`, and returns where its messages come out.
pub(super) fn start<In, B>(body: B, handle: LinkHandle, limits: LinkLimits) -> mpsc::Receiver<In>
where
    In: LinkMessage,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    let (sender, receiver) = mpsc::channel(limits.queue_messages_max);
    tokio::spawn(async move {
        let cancelled = handle.cancel.clone();
        let reason = tokio::select! {
            biased;
            () = cancelled.cancelled() => return,
            reason = read(Box::pin(body), &sender, &limits) => reason,
            () = sender.closed() => CloseReason::Here,
        };
        handle.close_because(reason);
    });
    receiver
}

async fn read<In, B>(
    mut body: std::pin::Pin<Box<B>>,
    messages: &mpsc::Sender<In>,
    limits: &LinkLimits,
) -> CloseReason
where
    In: LinkMessage,
    B: Body,
    B::Error: Into<BoxError>,
{
    let mut lines = LineBuffer::new(limits.message_bytes_max);
    let silence_max = Duration::from_millis(limits.silence_ms_max);
    loop {
        let frame = match timeout(silence_max, body.frame()).await {
            Err(_) => {
                return CloseReason::Silence {
                    silence_ms: limits.silence_ms_max,
                };
            }
            Ok(None) => return CloseReason::Peer,
            Ok(Some(Err(error))) => return CloseReason::Broken(chain(error.into().as_ref())),
            Ok(Some(Ok(frame))) => frame,
        };
        let Ok(mut data) = frame.into_data() else {
            continue; // Trailers mean nothing to us.
        };
        lines.push(&data.copy_to_bytes(data.remaining()));
        loop {
            match lines.next_line() {
                Ok(None) => break,
                Ok(Some(line)) => {
                    if let Err(reason) = deliver(&line, messages, limits).await {
                        return reason;
                    }
                }
                Err(_) => {
                    return CloseReason::TooLongReceived {
                        bytes_max: limits.message_bytes_max,
                    };
                }
            }
        }
    }
}

async fn deliver<In: LinkMessage>(
    line: &Bytes,
    messages: &mpsc::Sender<In>,
    limits: &LinkLimits,
) -> Result<(), CloseReason> {
    let message: In = serde_json::from_slice(line)
        .map_err(|error| CloseReason::NotAMessage(error.to_string()))?;
    if message.is_heartbeat() {
        return Ok(());
    }
    // No timer unless it is needed.
    let message = match messages.try_send(message) {
        Ok(()) => return Ok(()),
        Err(TrySendError::Closed(_)) => return Err(CloseReason::Here),
        Err(TrySendError::Full(message)) => message,
    };
    let receive_max = Duration::from_millis(limits.receive_ms_max);
    match timeout(receive_max, messages.send(message)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(CloseReason::Here),
        Err(_) => Err(CloseReason::NotTaken {
            waited_ms: limits.receive_ms_max,
        }),
    }
}

/// An error and its causes in one line, for reasons that outlive the error.
pub(super) fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
