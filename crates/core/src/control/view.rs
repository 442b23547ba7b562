//! The cluster as people see it.

use super::Control;
use crate::cluster::{NodeRecord, ServiceRecord, VolumeRecord};
use flocker_types::api::{ClusterView, CopyView, NodeView, OperationView, ServiceView, VolumeView};
use flocker_types::ids::{NodeId, NodeName, OperationId};
use flocker_types::task::{ContainerState, Failure, Retry};

/// Ended operations in a status.
const ENDED_SHOWN_MAX: usize = 20;

impl Control {
    pub(super) fn view(&self) -> ClusterView {
        let mut operations: Vec<OperationView> = self
            .state
            .operations
            .keys()
            .filter_map(|id| self.operation_view(*id))
            .collect();
        operations.sort_by_key(|view| {
            (
                view.operation.finished.is_some(),
                std::cmp::Reverse(view.operation.started),
            )
        });
        let running = operations
            .iter()
            .filter(|v| v.operation.finished.is_none())
            .count();
        operations.truncate(running + ENDED_SHOWN_MAX);
        let mut nodes: Vec<NodeView> = self
            .state
            .nodes
            .values()
            .map(|node| self.node_view(node))
            .collect();
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        let volumes = self.state.volumes.values().map(|v| self.volume_view(v));
        let mut volumes: Vec<_> = volumes.collect();
        volumes.sort_by(|a, b| (&a.application, &a.name).cmp(&(&b.application, &b.name)));
        ClusterView {
            cluster: self.state.meta.cluster,
            at: self.now.wall,
            nodes,
            services: self
                .state
                .services
                .values()
                .map(|s| self.service_view(s))
                .collect(),
            volumes,
            operations,
            // The shell knows them.
            certificates: Vec::new(),
            rotation: None,
        }
    }

    fn node_view(&self, node: &NodeRecord) -> NodeView {
        let facts = self.links.facts(node.id);
        NodeView {
            id: node.id,
            name: node.name.clone(),
            address: node.address,
            agent: self.links.agent_view(node.id),
            proxy: self.links.proxy_view(node.id),
            storage: facts.map(|facts| facts.storage),
            pool: facts.map(|facts| facts.pool),
            version: facts.map(|facts| facts.version.clone()),
        }
    }

    fn name_of(&self, node: NodeId) -> Option<NodeName> {
        self.state.nodes.get(&node).map(|node| node.name.clone())
    }

    fn service_view(&self, service: &ServiceRecord) -> ServiceView {
        let status = service.node.and_then(|node| self.status(&service.id, node));
        let away = || {
            ContainerState::Failed(Failure {
                message: "nothing is known of it: the agent of its node is away".to_owned(),
                retry: Retry::MayHelp,
            })
        };
        let connected = service
            .node
            .is_some_and(|node| self.links.agent(node).is_some());
        let state = match (service.node, status) {
            (None, _) => ContainerState::Absent,
            (Some(_), Some(status)) if connected => status.state.clone(),
            (Some(_), None) if connected => ContainerState::Absent,
            (Some(_), _) => away(),
        };
        ServiceView {
            id: service.id.clone(),
            node: service.node.and_then(|node| self.name_of(node)),
            problems: self.problems(service, &state),
            state,
            spec: service.spec.clone(),
            cluster_address: service.cluster_address,
            volumes: service.volumes.clone(),
            operation: service.operation,
        }
    }

    fn problems(&self, service: &ServiceRecord, state: &ContainerState) -> Vec<String> {
        let mut problems = Vec::new();
        let id = &service.id;
        if service.node.is_some() && service.operation.is_none() {
            match state {
                ContainerState::Failed(failure) => problems.push(failure.message.clone()),
                ContainerState::Unhealthy { message } => problems.push(format!(
                    "its health check fails: {message}; see flocker logs {id}"
                )),
                ContainerState::Stopped { exit_code, .. } => {
                    let code = exit_code.map_or_else(|| "unknown".to_owned(), |c| c.to_string());
                    problems.push(format!(
                        "it has stopped (exit code {code}); see flocker logs {id}, start it again \
                         with flocker deploy"
                    ));
                }
                _ => {}
            }
        }
        for ((of, proxy), message) in &self.route_problems {
            if of == id {
                let name = self.node_name(*proxy);
                problems.push(format!("the proxy of {name} cannot serve it: {message}"));
            }
        }
        problems
    }

    fn volume_view(&self, volume: &VolumeRecord) -> VolumeView {
        let unknown = || NodeName::new("unknown").expect("a valid name");
        let name = |node| self.name_of(node).unwrap_or_else(unknown);
        VolumeView {
            id: volume.id,
            application: volume.application.clone(),
            name: volume.name.clone(),
            holder: name(volume.holder),
            epoch: volume.epoch,
            service: self
                .state
                .user_of(volume.id)
                .map(|service| service.id.clone()),
            size_bytes_max: volume.size_bytes_max,
            destroy_after: volume.destroy_after,
            copies: volume
                .copies
                .iter()
                .map(|(node, copy)| CopyView {
                    node: name(*node),
                    role: copy.role,
                    epoch: copy.epoch,
                    head: copy.snapshots.last().cloned(),
                    snapshots: u32::try_from(copy.snapshots.len()).unwrap_or(u32::MAX),
                    used_bytes: copy.used_bytes,
                })
                .collect(),
        }
    }

    pub(super) fn operation_view(&self, id: OperationId) -> Option<OperationView> {
        let record = self.state.operations.get(&id)?;
        Some(OperationView {
            operation: record.operation.clone(),
            source_name: record.operation.source.and_then(|node| self.name_of(node)),
            target_name: record.operation.target.and_then(|node| self.name_of(node)),
            progress: self.live.get(&id).and_then(|live| live.progress),
        })
    }
}
