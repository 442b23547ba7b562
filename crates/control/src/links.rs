//! The links of agents and proxies: from the first hello to the end of the connection.
//!
//! The API's link routes start one task for each. It checks that the hello is that of the node in
//! the certificate, then hands on what is said. It waits for the loop when that is busy, never the
//! other way round.

use crate::shell::{Handle, Input, Outgoing, Stopping, Who};
use flocker_core::control::Session;
use flocker_net::link::{Link, LinkMessage};
use flocker_types::ids::{ClusterId, NodeId};
use flocker_types::link::{AgentMessage, ProxyMessage, ToAgent, ToProxy};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// A new link has to say hello within this time, in milliseconds.
const HELLO_MS_MAX: u64 = 10_000;

/// Whose link it is, by its certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Member {
    /// The cluster that vouches for it.
    pub(crate) cluster: ClusterId,
    /// The node.
    pub(crate) node: NodeId,
}

/// Why a link was not taken, or did not go on.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum End {
    #[error("it said no hello within {HELLO_MS_MAX} ms")]
    NoHello,
    #[error("its first message is no hello")]
    NotHello,
    #[error("it said hello twice")]
    SecondHello,
    #[error("its hello is that of node {node} of cluster {cluster}, its certificate is not")]
    OtherMember { cluster: ClusterId, node: NodeId },
    #[error("control closed it: {0}")]
    Closed(String),
    #[error("it ended: {0}")]
    Ended(String),
    #[error(transparent)]
    Stopping(#[from] Stopping),
}

/// Serves an agent's link until it ends.
pub(crate) async fn serve_agent(
    handle: Handle,
    member: Member,
    mut link: Link<ToAgent, AgentMessage>,
) {
    let end = async {
        let AgentMessage::Hello(hello) = first(&mut link.receiver).await? else {
            return Err(End::NotHello);
        };
        check(member, hello.cluster, hello.node)?;
        let outgoing = Outgoing::Agent(link.sender);
        let (session, closed) = handle.connect(Who::Agent(hello), outgoing).await?;
        let take = |message| match message {
            AgentMessage::Hello(_) => Err(End::SecondHello),
            message => Ok(Input::Agent(session, message)),
        };
        Err(pass_on(&handle, session, &mut link.receiver, closed, take).await)
    };
    let end: Result<(), End> = end.await;
    finish("agent", member, end, &link.handle);
}

/// Serves a proxy's link until it ends.
pub(crate) async fn serve_proxy(
    handle: Handle,
    member: Member,
    mut link: Link<ToProxy, ProxyMessage>,
) {
    let end = async {
        let ProxyMessage::Hello {
            cluster,
            node,
            tunnel,
            ..
        } = first(&mut link.receiver).await?
        else {
            return Err(End::NotHello);
        };
        check(member, cluster, node)?;
        let outgoing = Outgoing::Proxy(link.sender);
        let (session, closed) = handle
            .connect(Who::Proxy { node, tunnel }, outgoing)
            .await?;
        let take = |message| match message {
            ProxyMessage::Hello { .. } => Err(End::SecondHello),
            message => Ok(Input::Proxy(session, message)),
        };
        Err(pass_on(&handle, session, &mut link.receiver, closed, take).await)
    };
    let end: Result<(), End> = end.await;
    finish("proxy", member, end, &link.handle);
}

async fn first<In: LinkMessage>(receiver: &mut mpsc::Receiver<In>) -> Result<In, End> {
    let limit = Duration::from_millis(HELLO_MS_MAX);
    let first = tokio::time::timeout(limit, receiver.recv()).await;
    first.ok().flatten().ok_or(End::NoHello)
}

fn check(member: Member, cluster: ClusterId, node: NodeId) -> Result<(), End> {
    if (Member { cluster, node }) == member {
        Ok(())
    } else {
        Err(End::OtherMember { cluster, node })
    }
}

/// Hands on what is said until the link ends, from either side, and tells the loop that it did.
async fn pass_on<In: LinkMessage>(
    handle: &Handle,
    session: Session,
    receiver: &mut mpsc::Receiver<In>,
    mut closed: oneshot::Receiver<String>,
    take: impl Fn(In) -> Result<Input, End>,
) -> End {
    let end = loop {
        tokio::select! {
            biased;
            reason = &mut closed => break match reason {
                Ok(reason) => End::Closed(reason),
                Err(_) => Stopping.into(),
            },
            message = receiver.recv() => match message {
                None => break End::Ended("the connection is gone".to_owned()),
                Some(message) => match take(message) {
                    Err(end) => break end,
                    Ok(input) => if let Err(stopping) = handle.give(input).await {
                        break stopping.into();
                    },
                },
            },
        }
    };
    handle.lost(session).await;
    end
}

fn finish(
    kind: &'static str,
    member: Member,
    end: Result<(), End>,
    link: &flocker_net::link::LinkHandle,
) {
    let Err(end) = end else { return };
    let reason = link.reason();
    link.close();
    let node = member.node;
    match end {
        End::Ended(_) => {
            let reason = reason.map(|reason| reason.to_string()).unwrap_or_default();
            tracing::info!(kind, %node, reason, "a link ended");
        }
        End::Stopping(_) => tracing::debug!(kind, %node, "a link ends with control"),
        end => tracing::warn!(kind, %node, reason = %end, "a link was closed"),
    }
}

#[cfg(test)]
#[path = "links_test.rs"]
mod tests;
