//! The engine's event stream, cut down to what happens to our containers.
//!
//! One task per subscription reads the engine and fills a bounded channel. It ends, and the channel
//! closes, when the engine goes away, when nobody listens, or when the listener is too slow: in each
//! case the listener lists the containers and subscribes again, so nothing is missed for good.

use super::Docker;
use super::engine::QUERY_MS_MAX;
use super::labels::{LABEL_GATE, LABEL_SERVICE, of_cluster};
use crate::runtime_trait::{ContainerEvent, ContainerRun, Health, RuntimeError};
use bollard::models::EventMessage;
use bollard::query_parameters::EventsOptionsBuilder;
use flocker_types::ids::ServiceId;
use futures_util::{Stream, StreamExt};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc;

/// Events that wait for the listener.
const EVENTS_QUEUED_MAX: usize = 1_024;

/// What an engine's event means to us.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Meaning {
    /// Exactly this.
    Event(ContainerEvent),
    /// The container became unhealthy; why has to be asked for.
    Unhealthy(ServiceId),
    /// Nothing.
    Nothing,
}

impl Docker {
    /// Subscribes to what happens from now on.
    pub(super) async fn subscribe(&self) -> Result<mpsc::Receiver<ContainerEvent>, RuntimeError> {
        let action = "watch the containers";
        // The client library sends the request only when the stream is first read. Events since
        // this moment are asked for, so that none falls into the gap.
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let ping = self.engine.client().ping();
        self.engine.call(action, QUERY_MS_MAX, ping).await?;
        let mut filters = of_cluster(self.cluster);
        filters.insert("type".to_owned(), vec!["container".to_owned()]);
        let options = EventsOptionsBuilder::new()
            .since(&format!("{}.{:09}", since.as_secs(), since.subsec_nanos()))
            .filters(&filters)
            .build();
        let messages = self.engine.client().events(Some(options));
        let (sender, receiver) = mpsc::channel(EVENTS_QUEUED_MAX);
        let docker = self.clone();
        tokio::spawn(async move { docker.forward(messages, sender).await });
        Ok(receiver)
    }

    async fn forward(
        &self,
        messages: impl Stream<Item = Result<EventMessage, bollard::errors::Error>>,
        sender: mpsc::Sender<ContainerEvent>,
    ) {
        let mut messages = std::pin::pin!(messages);
        loop {
            let message = tokio::select! {
                biased;
                () = sender.closed() => return,
                message = messages.next() => message,
            };
            let event = match message {
                None => return,
                Some(Err(error)) => {
                    tracing::warn!(%error, "the engine's event stream broke");
                    return;
                }
                Some(Ok(message)) if self.is_at_gate(&message) => continue,
                Some(Ok(message)) => match read_event(&message) {
                    Meaning::Nothing => continue,
                    Meaning::Event(event) => event,
                    Meaning::Unhealthy(service) => {
                        let output = self.health_output(&service).await;
                        ContainerEvent::Health(service, Health::Unhealthy(output))
                    }
                },
            };
            if let Err(mpsc::error::TrySendError::Full(_)) = sender.try_send(event) {
                tracing::warn!("too many events wait for the agent; it has to list again");
                return;
            }
        }
    }

    /// Whether it happened to a container at its gate: for others that one has not begun to run.
    fn is_at_gate(&self, message: &EventMessage) -> bool {
        let Some(actor) = &message.actor else {
            return false;
        };
        let attributes = actor.attributes.as_ref();
        let label = |name: &str| attributes.and_then(|all| all.get(name));
        if label(LABEL_GATE).is_none() || message.action.as_deref() == Some("destroy") {
            return false;
        }
        let service = label(LABEL_SERVICE).and_then(|text| text.parse().ok());
        let held = service.and_then(|service: ServiceId| self.gates.held(&service));
        message.action.as_deref() == Some("start")
            || held.is_some_and(|held| Some(&held.id) == actor.id.as_ref())
    }

    /// What the last health check wrote; empty when that is not to be had any more.
    async fn health_output(&self, service: &ServiceId) -> String {
        let found = self.find(service, "read the health of").await;
        match found.ok().flatten().map(|found| found.info.run) {
            Some(ContainerRun::Running {
                health: Health::Unhealthy(output),
                ..
            }) => output,
            _ => String::new(),
        }
    }
}

fn read_event(message: &EventMessage) -> Meaning {
    let Some(attributes) = message
        .actor
        .as_ref()
        .and_then(|actor| actor.attributes.as_ref())
    else {
        return Meaning::Nothing;
    };
    let Some(service) = attributes
        .get(LABEL_SERVICE)
        .and_then(|text| text.parse::<ServiceId>().ok())
    else {
        return Meaning::Nothing;
    };
    let event = match message.action.as_deref().unwrap_or_default() {
        "start" => ContainerEvent::Started(service),
        "die" => {
            let code = attributes
                .get("exitCode")
                .and_then(|code| code.parse().ok());
            ContainerEvent::Exited(service, code.unwrap_or_default())
        }
        "destroy" => ContainerEvent::Removed(service),
        "health_status: healthy" => ContainerEvent::Health(service, Health::Healthy),
        "health_status: starting" => ContainerEvent::Health(service, Health::Starting),
        // The engine may add words after it.
        action if action.starts_with("health_status: unhealthy") => {
            return Meaning::Unhealthy(service);
        }
        _ => return Meaning::Nothing,
    };
    Meaning::Event(event)
}

/// For the fuzzers' harness.
#[cfg(any(test, fuzzing))]
pub(super) fn fuzzed(message: &EventMessage) {
    let _ = read_event(message);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meaning(action: &str, more: &str) -> Meaning {
        let text = format!(
            r#"{{"status":"x","id":"c1","from":"busybox","Type":"container","Action":"{action}",
                "Actor":{{"ID":"c1","Attributes":{{"io.flocker.service":"shop/db",
                "io.flocker.cluster":"8c5b2f31-0000-4000-8000-000000000000"{more}}}}},
                "scope":"local","time":1795197038,"timeNano":1795197038075159215}}"#
        );
        read_event(&serde_json::from_str(&text).unwrap())
    }

    #[test]
    fn the_engines_events_become_ours() {
        let db: ServiceId = "shop/db".parse().unwrap();
        assert_eq!(
            meaning("start", ""),
            Meaning::Event(ContainerEvent::Started(db.clone()))
        );
        assert_eq!(
            meaning("die", r#","exitCode":"137""#),
            Meaning::Event(ContainerEvent::Exited(db.clone(), 137))
        );
        assert_eq!(
            meaning("health_status: healthy", ""),
            Meaning::Event(ContainerEvent::Health(db.clone(), Health::Healthy))
        );
        assert_eq!(
            meaning("health_status: unhealthy", ""),
            Meaning::Unhealthy(db.clone())
        );
        assert_eq!(
            meaning("destroy", ""),
            Meaning::Event(ContainerEvent::Removed(db))
        );
        assert_eq!(meaning("exec_create: /bin/check", ""), Meaning::Nothing);
        assert_eq!(meaning("kill", ""), Meaning::Nothing);
    }

    #[test]
    fn an_event_without_our_labels_means_nothing() {
        let message = serde_json::from_str(r#"{"Type":"container","Action":"start"}"#).unwrap();
        assert_eq!(read_event(&message), Meaning::Nothing);
    }
}
