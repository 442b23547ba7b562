//! The sending half of a link: an HTTP body that is made as the messages come.
//!
//! Hyper polls it: as the body of the request on the connecting side, as the body of the response
//! on control's. It adds heartbeats when there is nothing else, and never reads.

use super::{CloseReason, LinkHandle, LinkLimits, LinkMessage};
use bytes::{BufMut, Bytes, BytesMut};
use hyper::body::{Body, Frame};
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep, sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;

/// Messages that wait already are sent together up to about this many bytes.
const BATCH_BYTES_MAX: usize = 64 * 1024;

/// A link's messages as the body of a request or a response.
pub struct OutgoingBody<Out> {
    messages: mpsc::Receiver<Out>,
    handle: LinkHandle,
    closed: Pin<Box<WaitForCancellationFutureOwned>>,
    idle: Pin<Box<Sleep>>,
    heartbeat: Duration,
    message_bytes_max: usize,
}

impl<Out: LinkMessage> OutgoingBody<Out> {
    /// The body and the sender that feeds it.
    pub(super) fn new(handle: LinkHandle, limits: &LinkLimits) -> (Self, mpsc::Sender<Out>) {
        let (sender, messages) = mpsc::channel(limits.queue_messages_max);
        let heartbeat = Duration::from_millis(limits.heartbeat_ms);
        let body = Self {
            messages,
            closed: Box::pin(handle.cancel.clone().cancelled_owned()),
            handle,
            idle: Box::pin(sleep(heartbeat)),
            heartbeat,
            message_bytes_max: limits.message_bytes_max,
        };
        (body, sender)
    }

    /// Adds one message to the batch.
    fn write(&self, message: &Out, batch: &mut BytesMut) -> Result<(), CloseReason> {
        let start = batch.len();
        serde_json::to_writer(batch.writer(), message)
            .map_err(|error| CloseReason::Unsendable(error.to_string()))?;
        let length = batch.len() - start;
        if length > self.message_bytes_max {
            return Err(CloseReason::Unsendable(format!(
                "it has {length} bytes, and {} are allowed",
                self.message_bytes_max
            )));
        }
        batch.put_u8(b'\n');
        Ok(())
    }

    fn poll_batch(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, CloseReason>> {
        if self.closed.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(CloseReason::Here));
        }
        let mut batch = BytesMut::new();
        while batch.len() < BATCH_BYTES_MAX {
            match self.messages.poll_recv(cx) {
                Poll::Ready(Some(message)) => self.write(&message, &mut batch)?,
                // What was sent before the last sender went still leaves.
                Poll::Ready(None) if batch.is_empty() => {
                    return Poll::Ready(Err(CloseReason::Here));
                }
                Poll::Ready(None) | Poll::Pending => break,
            }
        }
        if batch.is_empty() {
            if self.idle.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.write(&Out::heartbeat(), &mut batch)?;
        }
        self.idle.as_mut().reset(Instant::now() + self.heartbeat);
        Poll::Ready(Ok(batch.freeze()))
    }
}

impl<Out: LinkMessage> Body for OutgoingBody<Out> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        match std::task::ready!(this.poll_batch(cx)) {
            Ok(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            Err(reason) => {
                this.handle.close_because(reason);
                Poll::Ready(None)
            }
        }
    }
}

impl<Out> Drop for OutgoingBody<Out> {
    /// Nobody will send what is still in the queue: the connection is gone, or never came.
    fn drop(&mut self) {
        self.handle
            .close_because(CloseReason::Broken("it was shut down".to_owned()));
    }
}
