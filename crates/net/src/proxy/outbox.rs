//! Messages to control, in order, never making the loop wait.
//!
//! The loop puts them in and, while it has nothing else to do, lets the link take them. Without a
//! link they are dropped: control hears everything again after the next welcome.

use super::limits::OUTBOX_MESSAGES_MAX;
use flocker_types::link::ProxyMessage;
use std::collections::VecDeque;
use std::future::pending;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    link: Option<mpsc::Sender<ProxyMessage>>,
    waiting: VecDeque<ProxyMessage>,
}

impl Outbox {
    /// A new link; what waited for an older one is void.
    pub(crate) fn link(&mut self, link: mpsc::Sender<ProxyMessage>) {
        self.waiting.clear();
        self.link = Some(link);
    }

    /// There is no link now.
    pub(crate) fn unlink(&mut self) {
        self.waiting.clear();
        self.link = None;
    }

    /// Hands a message to the link, at once if it takes it.
    pub(crate) fn send(&mut self, message: ProxyMessage) {
        let Some(link) = &self.link else {
            return;
        };
        let message = if self.waiting.is_empty() {
            match link.try_send(message) {
                Ok(()) => return,
                Err(TrySendError::Closed(_)) => return self.unlink(),
                Err(TrySendError::Full(message)) => message,
            }
        } else {
            message
        };
        if self.waiting.len() >= OUTBOX_MESSAGES_MAX {
            tracing::warn!("control takes no messages; the oldest is dropped");
            self.waiting.pop_front();
        }
        self.waiting.push_back(message);
    }

    /// Moves one waiting message to the link; never ends while there is none. May be dropped at
    /// any time without losing a message.
    pub(crate) async fn move_one(&mut self) {
        let Some(link) = self.link.clone().filter(|_| !self.waiting.is_empty()) else {
            return pending().await;
        };
        let Ok(permit) = link.reserve().await else {
            return self.unlink();
        };
        if let Some(message) = self.waiting.pop_front() {
            permit.send(message);
        }
    }
}
