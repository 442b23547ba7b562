//! Listening to nodes while there is no state: each agent is asked what it remembers, each proxy where
//! it is reached. Nobody is told anything else, so nothing is started, stopped or confirmed.

use flocker_core::recover::NodeEvidence;
use flocker_net::link::{Link, LinkLimits};
use flocker_net::pki::MemberCertificate;
use flocker_net::tls::{Credentials, Revocations};
use flocker_types::ids::{ClusterId, NodeId};
use flocker_types::link::{AgentHello, AgentMemory, AgentMessage, ProxyMessage, ToAgent, ToProxy};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// A node has to say hello, and then what it remembers, each within this time, in milliseconds.
const ANSWER_MS_MAX: u64 = 10_000;

/// Something that a node said.
#[derive(Debug)]
pub(super) enum Arrival {
    /// An agent has told everything.
    Agent(Box<NodeEvidence>, MemberCertificate),
    /// A proxy has said hello.
    Proxy {
        /// Its node.
        node: NodeId,
        /// Where other proxies reach it.
        tunnel: SocketAddr,
    },
    /// A node came and could not be understood.
    Trouble {
        /// Which.
        node: NodeId,
        /// Why.
        reason: String,
    },
}

/// Where the links of nodes end meanwhile.
#[derive(Debug, Clone)]
pub(crate) struct Gate {
    cluster: ClusterId,
    revocations: Revocations,
    limits: LinkLimits,
    arrivals: mpsc::Sender<Arrival>,
    stop: CancellationToken,
}

impl Gate {
    pub(super) fn new(
        credentials: &Credentials,
        limits: LinkLimits,
        arrivals: mpsc::Sender<Arrival>,
        stop: CancellationToken,
    ) -> Self {
        Self {
            cluster: credentials.identity().cluster,
            revocations: credentials.revocations().clone(),
            limits,
            arrivals,
            stop,
        }
    }

    pub(crate) fn limits(&self) -> LinkLimits {
        self.limits
    }

    /// Whether this certificate, as far as the base knows, is worth nothing.
    pub(crate) fn has_revoked(&self, certificate: &MemberCertificate) -> bool {
        self.revocations.covers(certificate)
    }

    /// Serves an agent's link until the recovery ends, so that it does not come again and again.
    pub(crate) async fn hear_agent(
        self,
        shown: MemberCertificate,
        node: NodeId,
        mut link: Link<ToAgent, AgentMessage>,
    ) {
        let arrival = match self.ask_agent(node, &mut link).await {
            Ok((hello, memory)) => {
                let found = NodeEvidence {
                    hello,
                    memory,
                    tunnel: None,
                };
                Arrival::Agent(Box::new(found), shown)
            }
            Err(reason) => Arrival::Trouble { node, reason },
        };
        self.arrive(arrival).await;
        self.keep(link).await;
    }

    async fn ask_agent(
        &self,
        node: NodeId,
        link: &mut Link<ToAgent, AgentMessage>,
    ) -> Result<(AgentHello, AgentMemory), String> {
        let Some(AgentMessage::Hello(hello)) = next(&mut link.receiver).await else {
            return Err("its agent did not say hello".to_owned());
        };
        if (hello.cluster, hello.node) != (self.cluster, node) {
            return Err("its agent's hello is not that of its certificate".to_owned());
        }
        let version = hello.version.clone();
        let too_old = || {
            format!(
                "its agent (version {version}) did not say what it remembers; upgrade it to this \
                 version and restart it"
            )
        };
        let asked = link.sender.send(ToAgent::Recall).await;
        asked.map_err(|_| too_old())?;
        loop {
            match next(&mut link.receiver).await {
                Some(AgentMessage::Memory(memory)) => return Ok((*hello, *memory)),
                Some(_) => {}
                None => return Err(too_old()),
            }
        }
    }

    /// Serves a proxy's link until the recovery ends.
    pub(crate) async fn hear_proxy(self, node: NodeId, mut link: Link<ToProxy, ProxyMessage>) {
        let reason = match next(&mut link.receiver).await {
            Some(ProxyMessage::Hello {
                cluster,
                node: named,
                tunnel,
                ..
            }) if (cluster, named) == (self.cluster, node) => {
                self.arrive(Arrival::Proxy { node, tunnel }).await;
                return self.keep(link).await;
            }
            Some(_) => "its proxy's hello is not that of its certificate",
            None => "its proxy did not say hello",
        };
        let reason = reason.to_owned();
        self.arrive(Arrival::Trouble { node, reason }).await;
    }

    async fn arrive(&self, arrival: Arrival) {
        // When nobody takes it any more the recovery is over.
        self.arrivals.send(arrival).await.ok();
    }

    async fn keep<Out, In>(&self, mut link: Link<Out, In>) {
        loop {
            tokio::select! {
                () = self.stop.cancelled() => break,
                message = link.receiver.recv() => if message.is_none() {
                    break;
                },
            }
        }
        link.handle.close();
    }
}

async fn next<In>(receiver: &mut mpsc::Receiver<In>) -> Option<In> {
    let limit = Duration::from_millis(ANSWER_MS_MAX);
    tokio::time::timeout(limit, receiver.recv()).await.ok()?
}
