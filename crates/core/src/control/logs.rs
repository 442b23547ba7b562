//! Containers' logs on their way from an agent to whoever asked.

use super::Control;
use super::event::{RequestId, Response};
use super::requests::error;
use flocker_types::api::{ApiError, ErrorCode, LogLine};
use flocker_types::ids::{NodeId, ServiceId};
use flocker_types::link::{Follow, ToAgent};
use flocker_types::task::Failure;

/// A log that is being sent to somebody.
#[derive(Debug, Clone)]
pub(super) struct LogRequest {
    pub(super) id: RequestId,
    node: NodeId,
}

impl Control {
    pub(super) fn begin_logs(
        &mut self,
        id: RequestId,
        service: &ServiceId,
        tail: Option<u32>,
        follow: Follow,
    ) -> Result<(), ApiError> {
        let record = self.service_named(service)?;
        let Some(node) = record.node else {
            let message = format!("{service} does not run anywhere");
            return Err(error(
                ErrorCode::Conflict,
                message,
                "start it with flocker deploy",
            ));
        };
        if self.links.agent(node).is_none() {
            let message = format!("the agent of {} is away", self.node_name(node));
            return Err(error(
                ErrorCode::Unavailable,
                message,
                "see flocker node ls",
            ));
        }
        self.logs.insert(id.0, LogRequest { id, node });
        let service = service.clone();
        self.tell_agent(
            node,
            ToAgent::Logs {
                request: id.0,
                service,
                tail,
                follow,
            },
        );
        Ok(())
    }

    pub(super) fn log_lines(
        &mut self,
        node: NodeId,
        request: u64,
        lines: Vec<LogLine>,
        end: Option<Result<(), Failure>>,
    ) {
        let log = self.logs.get(&request).filter(|log| log.node == node);
        let Some(log) = log else {
            return;
        };
        let id = log.id;
        if end.is_some() {
            self.logs.remove(&request);
        }
        if let Some(Err(failure)) = end {
            self.reply(id, Err(error(ErrorCode::Unavailable, failure.message, "")));
        } else {
            self.reply(
                id,
                Ok(Response::Log {
                    lines,
                    end: end.is_some(),
                }),
            );
        }
    }

    pub(super) fn end_logs_of(&mut self, node: NodeId) {
        let name = self.node_name(node);
        let ended: Vec<(u64, RequestId)> = self
            .logs
            .iter()
            .filter(|(_, log)| log.node == node)
            .map(|(n, l)| (*n, l.id))
            .collect();
        for (number, id) in ended {
            self.logs.remove(&number);
            let message = format!("the agent of {name} went away");
            self.reply(id, Err(error(ErrorCode::Unavailable, message, "try again")));
        }
    }

    pub(super) fn log_gone(&mut self, id: RequestId) {
        if let Some(log) = self.logs.remove(&id.0) {
            self.tell_agent(log.node, ToAgent::LogsEnd { request: id.0 });
        }
    }
}
