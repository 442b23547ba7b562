//! One handler for each kind of event.

use super::event::{Command, Event, Response, Session};
use super::links::AgentFacts;
use super::{Control, requests};
use crate::cluster::{CopyRecord, usage};
use crate::mutant::{Mutant, planted};
use flocker_types::ids::{NodeId, ServiceId, SnapshotName, VolumeId};
use flocker_types::link::{AgentHello, AgentMessage, ProxyMessage, ToAgent, ToProxy};
use flocker_types::task::{ContainerState, ServiceStatus, TaskReport};
use flocker_types::volume::VolumeCopy;
use std::net::SocketAddr;

/// Snapshots of one copy that control keeps in mind; far more than pruning leaves.
const SNAPSHOTS_PER_COPY_MAX: usize = 10_000;

impl Control {
    pub(super) fn handle(&mut self, event: Event) {
        match event {
            Event::AgentConnected { session, hello } => self.agent_connected(session, &hello),
            Event::AgentMessage { session, message } => {
                if let Some(node) = self.links.agent_node(session) {
                    self.agent_message(node, message);
                }
            }
            Event::AgentLost { session } => {
                if let Some(node) = self.links.agent_down(session, self.now) {
                    self.end_logs_of(node);
                    let name = self.node_name(node);
                    self.publish(
                        format!("the agent of {name} is away"),
                        None,
                        Some(node),
                        None,
                    );
                }
            }
            Event::ProxyConnected {
                session,
                node,
                tunnel,
            } => {
                self.proxy_connected(session, node, tunnel);
            }
            Event::ProxyMessage { session, message } => {
                if let Some(node) = self.links.proxy_node(session) {
                    self.proxy_message(node, message);
                }
            }
            Event::ProxyLost { session } => {
                if let Some(node) = self.links.proxy_down(session, self.now) {
                    self.applied.retain(|(_, proxy), _| *proxy != node);
                    self.route_problems.retain(|(_, proxy), _| *proxy != node);
                    let name = self.node_name(node);
                    self.publish(
                        format!("the proxy of {name} is away"),
                        None,
                        Some(node),
                        None,
                    );
                }
            }
            Event::Request {
                id,
                user,
                request,
                seed,
            } => {
                requests::handle(self, id, &user, request, seed);
            }
            Event::RequestGone(id) => self.request_gone(id),
            Event::Tick => {}
        }
    }

    fn agent_connected(&mut self, session: Session, hello: &AgentHello) {
        let node = hello.node;
        if hello.cluster != self.state.meta.cluster || !self.state.nodes.contains_key(&node) {
            let reason = format!("node {node} is not a member of this cluster");
            self.commands.push(Command::Close(session, reason));
            return;
        }
        let facts = AgentFacts {
            version: hello.version.clone(),
            storage: hello.storage,
            pool: hello.pool,
        };
        if let Some(old) = self.links.agent_up(node, session, facts, self.now) {
            let reason = "the same node has connected again".to_owned();
            self.commands.push(Command::Close(old, reason));
            // What was being sent on the old connection goes no further, and its end is nobody's news.
            self.end_logs_of(node);
        }
        if let Some(record) = self.state.nodes.get_mut(&node)
            && record.stream_address != Some(hello.stream_address)
        {
            record.stream_address = Some(hello.stream_address);
            self.state.touch(crate::cluster::Key::Node(node));
        }
        self.statuses.retain(|(_, of), _| *of != node);
        for status in &hello.services {
            if self.state.services.contains_key(&status.service) {
                self.statuses
                    .insert((status.service.clone(), node), status.clone());
            }
        }
        self.fold_inventory(node, &hello.volumes);
        let of_node =
            |service: &crate::cluster::ServiceRecord| service.directives.get(&node).cloned();
        let directives = self.state.services.values().filter_map(of_node).collect();
        self.commands
            .push(Command::ToAgent(session, ToAgent::Welcome { directives }));
        if let Some(notice) = self.revoked_notice() {
            self.commands
                .push(Command::ToAgent(session, ToAgent::Access(notice)));
        }
        if !planted(Mutant::TasksNotGivenAgain) {
            self.send_tasks_again(node, session);
        }
        let name = self.node_name(node);
        self.publish(
            format!("the agent of {name} is connected"),
            None,
            Some(node),
            None,
        );
    }

    /// Everything that the node had not finished.
    fn send_tasks_again(&mut self, node: NodeId, session: Session) {
        let of_operations = self
            .state
            .operations
            .values()
            .filter(|record| record.operation.finished.is_none())
            .filter_map(|record| record.task.as_ref())
            .filter(|(of, _)| *of == node)
            .map(|(_, task)| task.clone());
        let of_chores = self
            .chores
            .values()
            .filter(|(of, _)| *of == node)
            .map(|(_, t)| t.clone());
        let tasks: Vec<_> = of_operations.chain(of_chores).collect();
        for task in tasks {
            self.commands
                .push(Command::ToAgent(session, ToAgent::Task(task)));
        }
    }

    fn fold_inventory(&mut self, node: NodeId, copies: &[VolumeCopy]) {
        let gone: Vec<VolumeId> = self
            .state
            .volumes
            .values()
            .filter(|volume| volume.copies.contains_key(&node))
            .map(|volume| volume.id)
            .filter(|id| copies.iter().all(|copy| copy.label.id != *id))
            .filter(|id| !self.confirmed.contains_key(&(*id, node)))
            .collect();
        for id in gone {
            self.volume_gone(node, id);
        }
        for copy in copies {
            self.volume_reported(node, copy);
        }
    }

    fn agent_message(&mut self, node: NodeId, message: AgentMessage) {
        match message {
            // Control that has its state asks nobody what it was.
            AgentMessage::Hello(_) | AgentMessage::Memory(_) | AgentMessage::Heartbeat => {}
            AgentMessage::Service(status) => self.service_reported(node, status),
            AgentMessage::Progress { id, progress } => {
                let record = self.state.operations.get(&id.operation);
                let task = record.and_then(|record| record.task.as_ref());
                if task.is_some_and(|(of, task)| *of == node && task.id == id)
                    && let Some(live) = self.live.get_mut(&id.operation)
                {
                    live.progress = Some(progress);
                }
            }
            AgentMessage::Task(report) => self.task_reported(node, &report),
            AgentMessage::Volume(copy) => self.volume_reported(node, &copy),
            AgentMessage::VolumeGone { volume } => self.volume_gone(node, volume),
            AgentMessage::Pool(pool) => self.links.set_pool(node, pool),
            AgentMessage::Log {
                request,
                lines,
                end,
            } => self.log_lines(node, request, lines, end),
        }
    }

    fn service_reported(&mut self, node: NodeId, status: ServiceStatus) {
        let service = status.service.clone();
        // Nothing is kept for a name that only this node knows.
        if !self.state.services.contains_key(&service) {
            return;
        }
        let before = self.status(&service, node);
        if before.is_some_and(|before| before.generation > status.generation) {
            return;
        }
        if before.map(|before| &before.state) != Some(&status.state) {
            self.tell_change(node, &status);
        }
        self.statuses.insert((service, node), status);
    }

    /// Changes that nobody asked for are worth an event.
    fn tell_change(&mut self, node: NodeId, status: &ServiceStatus) {
        let service = status.service.clone();
        let record = self.state.services.get(&service);
        if record.is_none_or(|record| record.node != Some(node) || record.operation.is_some()) {
            return;
        }
        let name = self.node_name(node);
        let message = match &status.state {
            ContainerState::Stopped {
                exit_code: Some(code),
                ..
            } => {
                format!("{service} ended on {name} with exit code {code}")
            }
            ContainerState::Failed(failure) => format!("{service} fails on {name}: {failure}"),
            ContainerState::Unhealthy { message } => {
                format!("{service} is unhealthy on {name}: {message}")
            }
            ContainerState::Running { .. } => format!("{service} runs on {name}"),
            _ => return,
        };
        self.publish(message, Some(&service), Some(node), None);
    }

    fn task_reported(&mut self, node: NodeId, report: &TaskReport) {
        self.tell_agent(node, ToAgent::Recorded(report.id));
        if let Some((of, _)) = self.chores.get(&report.id) {
            if *of != node {
                return;
            }
            self.chores.remove(&report.id);
            if let Err(failure) = &report.result {
                let name = self.node_name(node);
                self.publish(format!("on {name}: {failure}"), None, Some(node), None);
                self.delay_chores(node);
            }
            return;
        }
        crate::operation::task_ended(self, node, report);
    }

    /// A copy is as its node says. The record changes only if the news is of interest for longer
    /// than this connection, so that a copy that is used a little more, or whose use
    /// was not measured yet, costs no write. A node that was never told to have a copy is not
    /// believed.
    pub(super) fn volume_reported(&mut self, node: NodeId, copy: &VolumeCopy) {
        let id = copy.label.id;
        let Some(volume) = self.state.volumes.get(&id) else {
            return;
        };
        if !volume.may_be_on(node) || copy.snapshots.len() > SNAPSHOTS_PER_COPY_MAX {
            return;
        }
        let known = volume.copies.get(&node).and_then(|known| known.used_bytes);
        let news = copy
            .used_bytes
            .filter(|used_bytes| usage::is_news(known, *used_bytes));
        let listed = copy.snapshots.iter().map(|snapshot| snapshot.name.clone());
        let mut snapshots: Vec<SnapshotName> = listed.collect();
        if let Some(awaited) = self.confirmed.get_mut(&(id, node)) {
            awaited.retain(|name| !snapshots.contains(name));
            snapshots.extend(awaited.iter().cloned());
            if awaited.is_empty() {
                self.confirmed.remove(&(id, node));
            }
        }
        let record = CopyRecord {
            role: copy.role,
            epoch: copy.label.epoch,
            snapshots,
            used_bytes: news.or(known),
        };
        if volume.copies.get(&node) != Some(&record)
            && let Some(volume) = self.state.volume_mut(id)
        {
            volume.copies.insert(node, record);
        }
        if let Some(last) = copy.snapshots.last()
            && let Some(checksum) = &last.checksum
        {
            crate::operation::head_reported(self, node, id, &last.name, checksum);
        }
    }

    pub(super) fn volume_gone(&mut self, node: NodeId, id: VolumeId) {
        self.confirmed.remove(&(id, node));
        let Some(volume) = self.state.volumes.get(&id) else {
            return;
        };
        // It was told to delete it, and will not make it any more.
        let deleted = volume.destroy_after.is_some() && volume.granted.contains(&node);
        if !deleted && !volume.copies.contains_key(&node) {
            return;
        }
        if let Some(volume) = self.state.volume_mut(id) {
            volume.copies.remove(&node);
            if deleted {
                volume.granted.remove(&node);
            }
        }
    }

    fn proxy_connected(&mut self, session: Session, node: NodeId, tunnel: SocketAddr) {
        let Some(record) = self.state.nodes.get_mut(&node) else {
            let reason = format!("node {node} is not a member of this cluster");
            self.commands.push(Command::Close(session, reason));
            return;
        };
        if record.tunnel != Some(tunnel) {
            record.tunnel = Some(tunnel);
            self.state.touch(crate::cluster::Key::Node(node));
            self.tunnel_moved(node);
        }
        if let Some(old) = self.links.proxy_up(node, session, self.now) {
            let reason = "the same node has connected again".to_owned();
            self.commands.push(Command::Close(old, reason));
        }
        let routes = self
            .state
            .services
            .values()
            .map(|service| service.route.clone())
            .collect();
        self.commands
            .push(Command::ToProxy(session, ToProxy::Welcome { routes }));
        if let Some(notice) = self.revoked_notice() {
            self.commands
                .push(Command::ToProxy(session, ToProxy::Access(notice)));
        }
        let name = self.node_name(node);
        self.publish(
            format!("the proxy of {name} is connected"),
            None,
            Some(node),
            None,
        );
    }

    /// Routes that lead to a node whose proxy is reached elsewhere now.
    fn tunnel_moved(&mut self, node: NodeId) {
        let services: Vec<ServiceId> = self
            .state
            .services
            .values()
            .filter(|service| service.node == Some(node) && service.operation.is_none())
            .map(|service| service.id.clone())
            .collect();
        for service in services {
            if let Some(backend) = self.backend(&service, node) {
                self.set_route(&service, flocker_types::route::RouteState::Serving(backend));
            }
        }
    }

    fn proxy_message(&mut self, node: NodeId, message: ProxyMessage) {
        match message {
            ProxyMessage::Hello { .. } | ProxyMessage::Heartbeat => {}
            // Below: nothing is kept for a service that only this node knows.
            ProxyMessage::Applied {
                service,
                generation,
                held: _,
            } if self.state.services.contains_key(&service) => {
                let applied = self.applied.entry((service.clone(), node)).or_default();
                *applied = generation.max(*applied);
                self.route_problems.remove(&(service, node));
            }
            ProxyMessage::Problem {
                service,
                generation: _,
                message,
            } if self.state.services.contains_key(&service) => {
                let name = self.node_name(node);
                let text = format!("the proxy of {name} cannot serve {service}: {message}");
                let old = self.route_problems.insert((service.clone(), node), message);
                if old.is_none() {
                    self.publish(text, Some(&service), Some(node), None);
                }
            }
            ProxyMessage::Waited {
                service,
                connections,
                longest_ms,
            } => {
                crate::operation::clients_waited(self, &service, connections, longest_ms);
            }
            ProxyMessage::Applied { .. } | ProxyMessage::Problem { .. } => {}
        }
    }

    pub(super) fn reply(
        &mut self,
        id: super::RequestId,
        answer: Result<Response, flocker_types::api::ApiError>,
    ) {
        self.commands.push(Command::Reply(id, answer));
    }
}
