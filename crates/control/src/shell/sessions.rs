//! The connections of agents and proxies, as the loop sees them: a bounded queue each.
//!
//! Only the loop uses it. It never waits: a connection whose queue is full is closed, and its agent
//! or proxy comes back and is told everything anew. Each connection is reported to the core as lost
//! exactly once, whoever ended it, and nothing of it is reported after that.

use crate::authorities::Authorities;
use flocker_core::control::{Event, Session};
use flocker_types::access::AccessNotice;
use flocker_types::link::{ToAgent, ToProxy};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::oneshot;

/// The loop's end of a connection.
#[derive(Debug)]
pub(crate) struct Connection {
    /// What is to be written.
    pub(crate) outgoing: Outgoing,
    /// Takes the reason when the loop closes the connection.
    pub(crate) close: oneshot::Sender<String>,
}

/// Messages on their way to a node.
#[derive(Debug)]
pub(crate) enum Outgoing {
    /// To its agent.
    Agent(mpsc::Sender<ToAgent>),
    /// To its proxy.
    Proxy(mpsc::Sender<ToProxy>),
}

/// Every open connection.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    open: BTreeMap<Session, Connection>,
    /// Marks what nodes are to keep; none in tests of the loop alone.
    pub(super) authorities: Option<Arc<Authorities>>,
}

impl Sessions {
    fn mark(&self, notice: &mut AccessNotice) {
        if let Some(authorities) = &self.authorities {
            authorities.mark(notice);
        }
    }

    pub(super) fn add(&mut self, session: Session, connection: Connection) {
        let before = self.open.insert(session, connection);
        assert!(before.is_none(), "session numbers are used once");
    }

    pub(super) fn has(&self, session: Session) -> bool {
        self.open.contains_key(&session)
    }

    /// Forgets a connection that ended; the event that tells the core so, unless it knows.
    pub(super) fn remove(&mut self, session: Session) -> Option<Event> {
        self.open
            .remove(&session)
            .map(|connection| lost(session, &connection))
    }

    /// Ends a connection.
    pub(super) fn close(&mut self, session: Session, reason: String) -> Option<Event> {
        let connection = self.open.remove(&session)?;
        let event = lost(session, &connection);
        // The connection may have ended by itself at this moment.
        drop(connection.close.send(reason));
        Some(event)
    }

    pub(super) fn send_agent(&mut self, session: Session, mut message: ToAgent) -> Option<Event> {
        if let ToAgent::Access(notice) = &mut message {
            self.mark(notice);
        }
        let Outgoing::Agent(queue) = &self.open.get(&session)?.outgoing else {
            return self.close(session, "control took it for an agent".to_owned());
        };
        let sent = queue.try_send(message);
        self.settle(session, &sent)
    }

    pub(super) fn send_proxy(&mut self, session: Session, mut message: ToProxy) -> Option<Event> {
        if let ToProxy::Access(notice) = &mut message {
            self.mark(notice);
        }
        let Outgoing::Proxy(queue) = &self.open.get(&session)?.outgoing else {
            return self.close(session, "control took it for a proxy".to_owned());
        };
        let sent = queue.try_send(message);
        self.settle(session, &sent)
    }

    fn settle<M>(&mut self, session: Session, sent: &Result<(), TrySendError<M>>) -> Option<Event> {
        match sent {
            Ok(()) => None,
            Err(TrySendError::Full(_)) => {
                self.close(session, "it reads too slowly: its queue is full".to_owned())
            }
            // Its own task is about to report the end.
            Err(TrySendError::Closed(_)) => None,
        }
    }
}

fn lost(session: Session, connection: &Connection) -> Event {
    match connection.outgoing {
        Outgoing::Agent(_) => Event::AgentLost { session },
        Outgoing::Proxy(_) => Event::ProxyLost { session },
    }
}
