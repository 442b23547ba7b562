//! The planner: from what is wanted and what is, to a plan. Pure: the same input gives the same
//! plan, planning again after the plan was carried out gives an empty one, and nothing is changed.

mod diff;
mod estimate;
mod order;
mod placement;

pub use estimate::estimate;
pub(crate) use estimate::{delta_ms, stop_and_start};

use crate::cluster::{ServiceRecord, State, VolumeRecord};
use crate::mutant::{Mutant, planted};
use flocker_types::api::{ApiError, ErrorCode, PlanRequest};
use flocker_types::app::{Application, ServiceSpec};
use flocker_types::ids::{NodeId, ServiceId};
use flocker_types::operation::OperationKind;
use flocker_types::plan::{Plan, PlanStep, PlannedVolume};
use flocker_types::volume::PoolUsage;
use std::collections::{BTreeMap, BTreeSet};

/// What is known of the cluster beyond its durable state.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observed {
    /// Nodes whose agents are connected.
    pub connected: BTreeSet<NodeId>,
    /// Their pools.
    pub pools: BTreeMap<NodeId, PoolUsage>,
    /// Services whose container runs, or is being started, on the node where it shall be.
    pub running: BTreeSet<ServiceId>,
}

/// Makes a plan.
///
/// # Errors
/// What cannot be done, all of it in one message, a line each, with what to do.
pub fn plan(state: &State, observed: &Observed, request: &PlanRequest) -> Result<Plan, ApiError> {
    let mut planner = Planner {
        state,
        observed,
        application: &request.application,
        problems: Vec::new(),
        warnings: Vec::new(),
        unchanged: Vec::new(),
        steps: Vec::new(),
    };
    let placed = placement::place(&mut planner, &request.placement);
    for name in order::by_dependency(&request.application) {
        if let Some(target) = placed.get(&name) {
            planner.service(&name, *target);
        }
    }
    placement::removals(&mut planner, &request.placement, &placed);
    planner.check_ports();
    planner.check_room();
    planner.finish()
}

struct Planner<'a> {
    state: &'a State,
    observed: &'a Observed,
    application: &'a Application,
    problems: Vec<String>,
    warnings: Vec<String>,
    unchanged: Vec<ServiceId>,
    steps: Vec<PlanStep>,
}

impl Planner<'_> {
    fn id(&self, name: &flocker_types::ids::ServiceName) -> ServiceId {
        ServiceId {
            application: self.application.name.clone(),
            name: name.clone(),
        }
    }

    fn service(&mut self, name: &flocker_types::ids::ServiceName, target: NodeId) {
        let id = self.id(name);
        let Some(spec) = self.application.services.get(name) else {
            return;
        };
        let record = self.state.services.get(&id);
        if let Some(operation) = record.and_then(|record| record.operation)
            && !planted(Mutant::TwoOperations)
        {
            self.problems.push(format!(
                "{id}: operation {} is still going on; wait for it (flocker status), then try again",
                operation.short()
            ));
            return;
        }
        if !self.check_ties(&id, record, spec, target) {
            return;
        }
        let volumes = self.state.existing_volumes(&id.application, spec);
        let Some(source) = self.source(&id, record, &volumes, target) else {
            return;
        };
        let old_spec = record
            .filter(|record| record.node.is_some())
            .map(|record| &record.spec);
        let changes = old_spec.map_or_else(Vec::new, |old| diff::changes(old, spec));
        let kind = match record.and_then(|record| record.node) {
            None => OperationKind::Start,
            Some(node) if node != target => OperationKind::Move,
            Some(_) if !changes.is_empty() => OperationKind::Replace,
            Some(_) if self.observed.running.contains(&id) => {
                self.unchanged.push(id);
                return;
            }
            Some(_) => OperationKind::Start,
        };
        if let Some(tie) = spec.container.ties().first() {
            self.warnings.push(format!(
                "{id}: {tie} belongs to {}: the service stays there, and what is in it is neither \
                 copied nor moved",
                self.names([target])
            ));
        }
        self.push_step(id, kind, source, Some(target), spec.clone(), changes);
    }

    /// A service that uses something of its node stays there; false after a problem.
    fn check_ties(
        &mut self,
        id: &ServiceId,
        record: Option<&ServiceRecord>,
        spec: &ServiceSpec,
        target: NodeId,
    ) -> bool {
        let had_ties = record.filter(|record| !record.spec.container.ties().is_empty());
        let elsewhere = had_ties
            .and_then(|record| record.node)
            .filter(|node| *node != target);
        if let (Some(node), Some(tie)) = (elsewhere, spec.container.ties().first()) {
            self.problems.push(format!(
                "{id}: {tie} ties it to {}, so it cannot be moved to {}; put the same there, remove \
                 the service (flocker rm {id}), and deploy it on that node",
                self.names([node]),
                self.names([target])
            ));
        }
        elsewhere.is_none() || spec.container.ties().is_empty()
    }

    /// Where the service, or the data that it has from before, is now. `None` after a problem.
    fn source(
        &mut self,
        id: &ServiceId,
        record: Option<&ServiceRecord>,
        volumes: &[Option<&VolumeRecord>],
        target: NodeId,
    ) -> Option<Option<NodeId>> {
        for volume in volumes.iter().flatten() {
            if let Some(user) = self.state.user_of(volume.id).filter(|user| user.id != *id)
                && user.is_placed()
            {
                self.problems.push(format!(
                    "{id}: its volume {} is in use by {}; remove that service first \
                     (flocker rm {}), or give this one a volume of its own",
                    volume.name, user.id, user.id
                ));
                return None;
            }
        }
        let holders: BTreeSet<NodeId> = volumes
            .iter()
            .flatten()
            .filter(|volume| volume.created)
            .map(|volume| volume.holder)
            .collect();
        let away: Vec<NodeId> = holders
            .iter()
            .copied()
            .filter(|holder| *holder != target)
            .collect();
        let source = record
            .and_then(|record| record.node)
            .or_else(|| away.first().copied());
        if away.iter().any(|holder| Some(*holder) != source) {
            self.problems.push(format!(
                "{id}: its volumes are on several nodes ({}); deploy it first on one of them \
                 with only that node's volumes",
                self.names(holders.iter().copied())
            ));
            return None;
        }
        for node in source.into_iter().chain([target]) {
            if !self.observed.connected.contains(&node) {
                let what = if node == target {
                    "it is to run"
                } else {
                    "it and its data are"
                };
                self.problems.push(format!(
                    "{id}: {what} on {}, whose agent is not connected; start it there \
                     (flocker agent) or choose another node",
                    self.names([node])
                ));
                return None;
            }
        }
        Some(source)
    }

    fn names(&self, nodes: impl IntoIterator<Item = NodeId>) -> String {
        let names: Vec<String> = nodes
            .into_iter()
            .map(|id| {
                self.state
                    .nodes
                    .get(&id)
                    .map_or_else(|| id.short(), |node| node.name.to_string())
            })
            .collect();
        names.join(", ")
    }

    fn push_step(
        &mut self,
        service: ServiceId,
        kind: OperationKind,
        source: Option<NodeId>,
        target: Option<NodeId>,
        spec: ServiceSpec,
        changes: Vec<String>,
    ) {
        let name = |id: Option<NodeId>| {
            id.and_then(|id| self.state.nodes.get(&id))
                .map(|node| node.name.clone())
        };
        let volumes: Vec<PlannedVolume> = spec
            .mounts
            .iter()
            .map(|mount| {
                let existing = self.state.volume_named(&service.application, &mount.volume);
                PlannedVolume {
                    name: mount.volume.clone(),
                    id: existing.map(|volume| volume.id),
                    epoch: existing.map(|volume| volume.epoch),
                    size_bytes_max: mount.size_bytes_max,
                }
            })
            .collect();
        let mut step = PlanStep {
            kind,
            source,
            source_name: name(source),
            target,
            target_name: name(target),
            volumes,
            changes,
            copy_bytes: 0,
            copy_ms: 0,
            pause: None,
            service,
            spec,
        };
        estimate(self.state, &mut step);
        self.steps.push(step);
    }

    /// Two services of the cluster may not publish the same port.
    fn check_ports(&mut self) {
        let removed: BTreeSet<&ServiceId> = self
            .steps
            .iter()
            .filter(|step| step.kind == OperationKind::Remove)
            .map(|step| &step.service)
            .collect();
        let mut problems = Vec::new();
        for step in self
            .steps
            .iter()
            .filter(|step| step.kind != OperationKind::Remove)
        {
            for port in &step.spec.ports {
                let other = self.state.publisher_of(port.external).filter(|other| {
                    other.id != step.service
                        && !removed.contains(&other.id)
                        && !self.steps.iter().any(|changed| {
                            changed.service == other.id
                                && changed
                                    .spec
                                    .ports
                                    .iter()
                                    .all(|p| p.external != port.external)
                        })
                });
                if let Some(other) = other {
                    problems.push(format!(
                        "{}: port {} is published by {} already; choose another external port",
                        step.service, port.external, other.id
                    ));
                }
            }
        }
        self.problems.append(&mut problems);
    }

    /// What is copied to a node must fit into its pool.
    fn check_room(&mut self) {
        let mut needed: BTreeMap<NodeId, u64> = BTreeMap::new();
        for step in &self.steps {
            if let Some(target) = step.target {
                *needed.entry(target).or_default() += step.copy_bytes;
            }
        }
        for (node, bytes) in needed {
            if let Some(pool) = self.observed.pools.get(&node)
                && bytes > pool.free_bytes
            {
                self.problems.push(format!(
                    "{}: {} MiB are to be copied there and its pool has {} MiB left; make room \
                     (flocker volume ls) or choose another node",
                    self.names([node]),
                    bytes >> 20,
                    pool.free_bytes >> 20
                ));
            }
        }
    }

    fn finish(self) -> Result<Plan, ApiError> {
        if self.problems.is_empty() {
            return Ok(Plan {
                based_on: self.state.meta.generation,
                seal: String::new(),
                steps: self.steps,
                unchanged: self.unchanged,
                warnings: self.warnings,
            });
        }
        Err(ApiError {
            code: ErrorCode::Conflict,
            message: self.problems.join("\n"),
            hint: None,
        })
    }
}
