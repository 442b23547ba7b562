//! What may travel on a link: every message type has a sign of life.
//!
//! The link sends and swallows it; users of the link never see one.

use flocker_types::link::{AgentMessage, ProxyMessage, ToAgent, ToProxy};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A message type of a link.
pub trait LinkMessage: Serialize + DeserializeOwned + Send + 'static {
    /// The sign of life.
    fn heartbeat() -> Self;
    /// Whether it is the sign of life.
    fn is_heartbeat(&self) -> bool;
}

macro_rules! link_message {
    ($($message:ident),+) => {
        $(impl LinkMessage for $message {
            fn heartbeat() -> Self {
                Self::Heartbeat
            }

            fn is_heartbeat(&self) -> bool {
                matches!(self, Self::Heartbeat)
            }
        })+
    };
}

link_message!(AgentMessage, ToAgent, ProxyMessage, ToProxy);
