//! Containers' logs on their way to control. Each request is a task of its own; the loop begins and
//! ends them.

use crate::run::Node;
use flocker_types::ids::ServiceId;
use flocker_types::link::{AgentMessage, Follow};
use flocker_types::task::{Failure, Retry};
use std::collections::HashMap;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Batches of lines that may wait for the link.
const BATCHES_MAX: usize = 16;
/// Logs that are sent at the same time.
const REQUESTS_MAX: usize = 64;

/// The logs that are being sent.
pub(crate) struct Logs {
    node: Node,
    running: HashMap<u64, CancellationToken>,
}

impl Logs {
    pub(crate) fn new(node: Node) -> Self {
        Self {
            node,
            running: HashMap::new(),
        }
    }

    pub(crate) fn begin(
        &mut self,
        request: u64,
        service: ServiceId,
        tail: Option<u32>,
        follow: Follow,
        link: mpsc::Sender<AgentMessage>,
    ) {
        self.running.retain(|_, cancel| !cancel.is_cancelled());
        if self.running.len() >= REQUESTS_MAX {
            let message = format!("{REQUESTS_MAX} logs of this node are being read already");
            let end = Some(Err(Failure {
                message,
                retry: Retry::MayHelp,
            }));
            // A full link is noticed by the loop.
            drop(link.try_send(AgentMessage::Log {
                request,
                lines: Vec::new(),
                end,
            }));
            return;
        }
        let cancel = CancellationToken::new();
        self.running.insert(request, cancel.clone());
        let runtime = self.node.runtime.clone();
        tokio::spawn(async move {
            let (sink, mut batches) = mpsc::channel(BATCHES_MAX);
            let pump = async {
                while let Some(lines) = batches.recv().await {
                    let message = AgentMessage::Log {
                        request,
                        lines,
                        end: None,
                    };
                    if link.send(message).await.is_err() {
                        return;
                    }
                }
            };
            let read = runtime.logs(&service, tail, follow, sink);
            tokio::select! {
                () = cancel.cancelled() => {}
                (result, ()) = async { tokio::join!(read, pump) } => {
                    let end = result.map_err(|error| Failure {
                        message: error.to_string(),
                        retry: Retry::MayHelp,
                    });
                    let end = AgentMessage::Log { request, lines: Vec::new(), end: Some(end) };
                    drop(link.send(end).await);
                }
            }
            cancel.cancel();
        });
    }

    pub(crate) fn end(&mut self, request: u64) {
        if let Some(cancel) = self.running.remove(&request) {
            cancel.cancel();
        }
    }

    pub(crate) fn end_all(&mut self) {
        for (_, cancel) in self.running.drain() {
            cancel.cancel();
        }
    }
}
