//! One long-lived stream of messages, both ways, between control and an agent or a proxy.
//!
//! ```text
//!  user of the link          |        one HTTP/2 stream         |        user of the link
//!  sender  -> OutgoingBody --+--> request body  --> read_task --+--> receiver      (control)
//!  receiver <- read_task  <--+--- response body <- OutgoingBody-+<-- sender
//! ```
//!
//! Messages are JSON, one a line. Whoever has nothing to say sends heartbeats, which the users never
//! see; whoever hears nothing for too long closes. The shells of agent, proxy and control use it. It
//! neither keeps nor repeats messages: what was under way when a link closes is lost, and the hello
//! of the next link says what is so.

mod client;
mod message;
mod outgoing;
mod reader;
mod reconnect;
mod server;

pub use client::{LinkError, connect};
pub use message::LinkMessage;
pub use outgoing::OutgoingBody;
pub use reader::BoxError;
pub use reconnect::{BACKOFF_MS_MAX, BACKOFF_MS_MIN, LinkTarget, run_with_reconnect};
pub use server::accept;

use flocker_types::link::{HEARTBEAT_INTERVAL_MS, LINK_TIMEOUT_MS, MESSAGE_BYTES_MAX};
use std::sync::{Arc, OnceLock};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Where control answers agents.
pub const AGENT_PATH: &str = "/v1/link/agent";
/// Where control answers proxies.
pub const PROXY_PATH: &str = "/v1/link/proxy";

/// What a link allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkLimits {
    /// With nothing to say, a heartbeat is sent this often, in milliseconds.
    pub heartbeat_ms: u64,
    /// A peer that is silent for longer is gone, in milliseconds.
    pub silence_ms_max: u64,
    /// Longest message, in bytes.
    pub message_bytes_max: usize,
    /// Messages that wait to be sent, and messages that wait to be received.
    pub queue_messages_max: usize,
    /// A user who does not take a waiting message for longer closes the link, in milliseconds.
    pub receive_ms_max: u64,
    /// How long connecting may take until control's answer begins, in milliseconds.
    pub connect_ms_max: u64,
}

impl Default for LinkLimits {
    fn default() -> Self {
        Self {
            heartbeat_ms: HEARTBEAT_INTERVAL_MS,
            silence_ms_max: LINK_TIMEOUT_MS,
            message_bytes_max: MESSAGE_BYTES_MAX,
            queue_messages_max: 1_024,
            receive_ms_max: 30_000,
            connect_ms_max: crate::tls::CONNECT_MS_MAX,
        }
    }
}

/// Why a link closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CloseReason {
    /// This side closed it.
    #[error("closed from this side")]
    Here,
    /// The other side closed it in good order.
    #[error("closed by the other side")]
    Peer,
    /// Nothing was heard, not even a heartbeat.
    #[error("the other side was silent for {silence_ms} ms")]
    Silence {
        /// For how long.
        silence_ms: u64,
    },
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// What came is no message.
    #[error("the other side sent what is not a message: {0}")]
    NotAMessage(String),
    /// What came is too long.
    #[error("the other side sent a message of more than {bytes_max} bytes")]
    TooLongReceived {
        /// What is allowed.
        bytes_max: usize,
    },
    /// What was to be sent is too long, or cannot be written as JSON.
    #[error("a message cannot be sent: {0}")]
    Unsendable(String),
    /// The user of this side stopped taking messages.
    #[error("messages were not taken on this side for {waited_ms} ms")]
    NotTaken {
        /// For how long.
        waited_ms: u64,
    },
}

/// One end of a link.
///
/// It closes when the handle closes it, when all senders or the receiver are dropped, and when the
/// other side is gone. After that the sender refuses, and the receiver ends after the messages
/// that had come.
#[derive(Debug)]
pub struct Link<Out, In> {
    /// Takes messages to the other side; each leaves at once. Waits when the other side is slow.
    pub sender: mpsc::Sender<Out>,
    /// Messages from the other side.
    pub receiver: mpsc::Receiver<In>,
    /// Closes the link, and says when and why it closed.
    pub handle: LinkHandle,
}

/// Closes a link, and says when and why it closed. Clones are of the same link.
#[derive(Debug, Clone)]
pub struct LinkHandle {
    cancel: CancellationToken,
    reason: Arc<OnceLock<CloseReason>>,
}

impl LinkHandle {
    fn new() -> Self {
        Self {
            cancel: CancellationToken::new(),
            reason: Arc::default(),
        }
    }

    /// Closes the link from this side. Messages that were not yet sent are dropped.
    pub fn close(&self) {
        self.close_because(CloseReason::Here);
    }

    /// Waits until the link is closed and says why it is.
    pub async fn closed(&self) -> CloseReason {
        self.cancel.cancelled().await;
        self.reason().unwrap_or(CloseReason::Here)
    }

    /// Why the link is closed, if it is.
    pub fn reason(&self) -> Option<CloseReason> {
        self.reason.get().cloned()
    }

    /// The first reason stays: what comes after it is its consequence.
    fn close_because(&self, reason: CloseReason) {
        if self.reason.set(reason).is_ok() {
            self.cancel.cancel();
        }
    }
}

#[cfg(test)]
#[path = "link_test.rs"]
mod tests;
