//! What people ask for.

use super::Control;
use super::event::{Command, Request, RequestId, Response};
use crate::cluster::{Key, NodeRecord, TokenRecord};
use crate::mutant::{Mutant, planted};
use crate::operation;
use crate::plan;
use flocker_types::api::{
    ApiError, ErrorCode, MoveRequest, PlanRequest, RemoveRequest, RemoveVolumeRequest,
    RestoreVolumeRequest, Started,
};
use flocker_types::app::{Application, Placement};
use flocker_types::ids::{NodeId, NodeName, OperationId, ServiceId, VolumeId};
use flocker_types::operation::OperationKind;
use flocker_types::plan::{Plan, PlanStep, PlannedVolume};
use flocker_types::time::UnixMs;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use uuid::Uuid;

pub(super) fn error(code: ErrorCode, message: String, hint: &str) -> ApiError {
    ApiError {
        code,
        message,
        hint: (!hint.is_empty()).then(|| hint.to_owned()),
    }
}

/// Ids from the randomness that came with a request.
pub(crate) struct Ids {
    seed: u128,
    next: u128,
}

impl Ids {
    pub(crate) fn new(seed: u128) -> Self {
        Self { seed, next: 0 }
    }

    /// Another id. The seed is random, so its sum with a counter is as unique as it is.
    pub(crate) fn uuid(&mut self) -> Uuid {
        self.next += 1;
        let odd_constant = 0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835_u128;
        let mixed = self.seed.wrapping_add(self.next.wrapping_mul(odd_constant));
        uuid::Builder::from_random_bytes(mixed.to_be_bytes()).into_uuid()
    }
}

pub(super) fn handle(
    control: &mut Control,
    id: RequestId,
    user: &str,
    request: Request,
    seed: u128,
) {
    let mut ids = Ids::new(seed);
    let answer = match request {
        Request::Plan(request) => plan::plan(&control.state, &control.observed(), &request)
            .map(|plan| Response::Plan(Box::new(plan))),
        Request::Deploy(request) => control.deploy(&request.plan, user, &mut ids),
        Request::Move(request) => control.move_service(&request, user, &mut ids),
        Request::Remove(request) => control.remove_service(&request, user, &mut ids),
        Request::RemoveVolume(request) => control.remove_volume(&request),
        Request::RestoreVolume(request) => control.restore_volume(&request),
        Request::Backup => Ok(Response::Backup(Box::new(control.state.clone()))),
        Request::Status => Ok(Response::Status(Box::new(control.view()))),
        Request::Operation(operation) => control
            .operation_view(operation)
            .map(|view| Response::Operation(Box::new(view)))
            .ok_or_else(|| no_operation(operation)),
        Request::OperationEnd(operation) => {
            if !control.state.operations.contains_key(&operation) {
                return control.reply(id, Err(no_operation(operation)));
            }
            control.waiting.push((id, operation));
            return;
        }
        Request::AddToken(token) => control.add_token(token),
        Request::Join {
            token,
            name,
            address,
        } => control.join(&token, name, address, NodeId(ids.uuid())),
        Request::Access(request) => control.access(request, user),
        Request::Logs {
            service,
            tail,
            follow,
        } => match control.begin_logs(id, &service, tail, follow) {
            Ok(()) => return,
            Err(error) => Err(error),
        },
    };
    control.reply(id, answer);
}

fn no_operation(id: OperationId) -> ApiError {
    let message = format!("there is no operation {id}");
    error(
        ErrorCode::NotFound,
        message,
        "flocker status shows those that go on",
    )
}

impl Control {
    /// Executes a plan, if everything that it was made from is still so.
    fn deploy(&mut self, plan: &Plan, user: &str, ids: &mut Ids) -> Result<Response, ApiError> {
        for step in &plan.steps {
            self.check_step(step)?;
        }
        let services: Vec<_> = plan.steps.iter().collect();
        let addresses = self.free_addresses(&services)?;
        let mut operations = Vec::new();
        for step in &plan.steps {
            let address = addresses.get(&step.service).copied();
            operations.push(operation::begin(self, step, address, ids));
        }
        if !plan.steps.is_empty() {
            self.publish(format!("{user}: {}", summary(plan)), None, None, None);
        }
        Ok(Response::Started(Started { operations }))
    }

    fn check_step(&self, step: &PlanStep) -> Result<(), ApiError> {
        let id = &step.service;
        let stale = |why: String| {
            let message = format!("{id}: the plan is out of date: {why}");
            Err(error(
                ErrorCode::Conflict,
                message,
                "run the same command again for a new plan",
            ))
        };
        let record = self.state.services.get(id);
        if let Some(operation) = record.and_then(|record| record.operation)
            && !planted(Mutant::TwoOperations)
        {
            return stale(format!("operation {} goes on", operation.short()));
        }
        let node = record.and_then(|record| record.node);
        let fits = match step.kind {
            OperationKind::Start => node.is_none() || node == step.target,
            OperationKind::Move => node.is_some() && node == step.source && node != step.target,
            OperationKind::Replace => node.is_some() && node == step.target,
            OperationKind::Remove => node.is_some() && node == step.source,
        };
        if !fits && !planted(Mutant::StalePlanExecuted) {
            return stale("the service has changed its node".to_owned());
        }
        for planned in &step.volumes {
            let now = self.state.volume_named(&id.application, &planned.name);
            let same = now.map(|v| (v.id, v.epoch)) == planned.id.zip(planned.epoch);
            if !same && !planted(Mutant::StalePlanExecuted) {
                return stale(format!("its volume {} has changed", planned.name));
            }
        }
        for node in step.source.iter().chain(&step.target) {
            if self.links.agent(*node).is_none() {
                return stale(format!("the agent of {} is away", self.node_name(*node)));
            }
        }
        Ok(())
    }

    fn free_addresses(
        &self,
        steps: &[&PlanStep],
    ) -> Result<BTreeMap<ServiceId, Ipv4Addr>, ApiError> {
        let mut taken = self
            .state
            .services
            .values()
            .map(|service| service.cluster_address)
            .collect();
        let mut addresses = BTreeMap::new();
        for step in steps
            .iter()
            .filter(|step| !self.state.services.contains_key(&step.service))
        {
            let network = self.state.meta.service_network;
            let address = network.free_address(&taken).map_err(|full| {
                error(
                    ErrorCode::Conflict,
                    full.to_string(),
                    "remove services that are not needed",
                )
            })?;
            taken.insert(address);
            addresses.insert(step.service.clone(), address);
        }
        Ok(addresses)
    }

    /// A move is a deployment of what runs, elsewhere.
    fn move_service(
        &mut self,
        request: &MoveRequest,
        user: &str,
        ids: &mut Ids,
    ) -> Result<Response, ApiError> {
        let record = self.service_named(&request.service)?;
        if record.node.is_none() {
            let message = format!("{} does not run", record.id);
            return Err(error(
                ErrorCode::Conflict,
                message,
                "start it with flocker deploy",
            ));
        }
        let services = [(record.id.name.clone(), record.spec.clone())].into();
        let plan_request = PlanRequest {
            application: Application {
                name: record.id.application.clone(),
                services,
            },
            placement: Placement {
                services: [(record.id.name.clone(), request.node.clone())].into(),
                ..Placement::default()
            },
        };
        let plan = plan::plan(&self.state, &self.observed(), &plan_request)?;
        self.deploy(&plan, user, ids)
    }

    fn remove_service(
        &mut self,
        request: &RemoveRequest,
        user: &str,
        ids: &mut Ids,
    ) -> Result<Response, ApiError> {
        let record = self.service_named(&request.service)?;
        let Some(node) = record.node else {
            return Ok(Response::Started(Started {
                operations: Vec::new(),
            }));
        };
        let id = &record.id;
        let volumes = record.spec.mounts.iter().map(|mount| {
            let volume = self.state.volume_named(&id.application, &mount.volume);
            PlannedVolume {
                name: mount.volume.clone(),
                id: volume.map(|volume| volume.id),
                epoch: volume.map(|volume| volume.epoch),
                size_bytes_max: mount.size_bytes_max,
            }
        });
        let step = PlanStep {
            service: id.clone(),
            kind: OperationKind::Remove,
            source: Some(node),
            source_name: None,
            target: None,
            target_name: None,
            spec: record.spec.clone(),
            volumes: volumes.collect(),
            changes: Vec::new(),
            copy_bytes: 0,
            copy_ms: 0,
            pause: None,
        };
        let plan = Plan {
            based_on: self.state.meta.generation,
            seal: String::new(),
            steps: vec![step],
            unchanged: Vec::new(),
            warnings: Vec::new(),
        };
        self.deploy(&plan, user, ids)
    }

    pub(super) fn service_named(
        &self,
        id: &ServiceId,
    ) -> Result<&crate::cluster::ServiceRecord, ApiError> {
        self.state.services.get(id).ok_or_else(|| {
            let message = format!("there is no service {id}");
            error(
                ErrorCode::NotFound,
                message,
                "flocker ps lists the services",
            )
        })
    }

    fn remove_volume(&mut self, request: &RemoveVolumeRequest) -> Result<Response, ApiError> {
        let user = self
            .state
            .user_of(request.volume)
            .filter(|user| user.is_placed());
        if let Some(user) = user
            && !planted(Mutant::VolumeInUseDeleted)
        {
            let message = format!("the volume is in use by {}", user.id);
            let hint = format!("remove the service first: flocker rm {}", user.id);
            return Err(error(ErrorCode::Conflict, message, &hint));
        }
        let destroy_after = UnixMs(self.now.wall.0.saturating_add(request.grace_ms));
        let Some(volume) = self.state.volumes.get(&request.volume) else {
            return Err(no_volume(request.volume));
        };
        if volume.destroy_after.is_some() && volume.grace_left_ms == 0 {
            // It has begun: there is nothing left to wait for, and nothing to take back.
            return Ok(Response::Done);
        }
        let message = format!("volume {} will be deleted", volume.name);
        if let Some(volume) = self.state.volume_mut(request.volume) {
            volume.destroy_after = Some(destroy_after);
            volume.grace_left_ms = request.grace_ms;
            self.grace_since.remove(&request.volume);
        }
        self.publish(message, None, None, None);
        Ok(Response::Done)
    }

    fn restore_volume(&mut self, request: &RestoreVolumeRequest) -> Result<Response, ApiError> {
        let Some(volume) = self.state.volumes.get(&request.volume) else {
            return Err(no_volume(request.volume));
        };
        if volume.destroy_after.is_none() {
            return Ok(Response::Done);
        }
        if volume.grace_left_ms == 0 {
            let message = format!("the grace time of volume {} is over", volume.name);
            let hint = "its deletion has begun and cannot be taken back";
            return Err(error(ErrorCode::Conflict, message, hint));
        }
        if let Some(other) = self.state.volume_named(&volume.application, &volume.name) {
            let message = format!("there is a new volume {} ({})", other.name, other.id);
            return Err(error(ErrorCode::Conflict, message, "delete that one first"));
        }
        if let Some(volume) = self.state.volume_mut(request.volume) {
            volume.destroy_after = None;
            volume.grace_left_ms = 0;
        }
        Ok(Response::Done)
    }

    fn add_token(&mut self, token: TokenRecord) -> Result<Response, ApiError> {
        let now = self.now.wall;
        let expired: Vec<String> = self
            .state
            .tokens
            .values()
            .filter(|token| token.expires < now)
            .map(|token| token.id.clone())
            .collect();
        for id in expired {
            self.state.tokens.remove(&id);
            self.state.touch(Key::Token(id));
        }
        self.state.touch(Key::Token(token.id.clone()));
        self.state.tokens.insert(token.id.clone(), token);
        Ok(Response::Done)
    }

    /// Takes the token, so that it can never be used again, and registers the node.
    fn join(
        &mut self,
        token: &str,
        name: NodeName,
        address: Ipv4Addr,
        id: NodeId,
    ) -> Result<Response, ApiError> {
        let record = self.state.tokens.get(token);
        if record.is_none_or(|record| record.expires < self.now.wall) {
            let message = "the token is unknown, has been used, or has expired".to_owned();
            return Err(error(
                ErrorCode::Forbidden,
                message,
                "make a new one: flocker token",
            ));
        }
        if let Some(node) = record.and_then(|record| record.node) {
            return self.join_again(token, &name, node);
        }
        let clash = self
            .state
            .nodes
            .values()
            .find(|n| n.name == name || n.address == address);
        if let Some(unborn) = clash
            .filter(|node| node.name == name && node.address == address && node.is_unborn())
            .map(|node| node.id)
        {
            // Its answer was lost, or the server was made new before it began.
            self.state.nodes.remove(&unborn);
            self.state.touch(Key::Node(unborn));
        } else if let Some(clash) = clash {
            let message = format!(
                "node {} with address {} is a member already",
                clash.name, clash.address
            );
            return Err(error(
                ErrorCode::Conflict,
                message,
                "choose another --name or --address; if this server is that node, and its \
                 certificate is lost or revoked: flocker token --node NAME, flocker join --again",
            ));
        }
        if !planted(Mutant::TokenKept) {
            self.state.tokens.remove(token);
            self.state.touch(Key::Token(token.to_owned()));
        }
        self.publish(format!("node {name} ({address}) joins"), None, None, None);
        let record = NodeRecord {
            id,
            name,
            address,
            stream_address: None,
            tunnel: None,
            joined: self.now.wall,
        };
        self.state.nodes.insert(id, record);
        self.state.touch(Key::Node(id));
        Ok(Response::Joined { node: id })
    }

    pub(super) fn request_gone(&mut self, id: RequestId) {
        self.waiting.retain(|(waiting, _)| *waiting != id);
        self.log_gone(id);
    }

    pub(super) fn answer_waiting(&mut self) {
        let ended = |control: &Self, id: OperationId| {
            let record = control.state.operations.get(&id);
            record.is_none_or(|record| record.operation.finished.is_some())
        };
        let (done, rest) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition::<Vec<_>, _>(|(_, operation)| ended(self, *operation));
        self.waiting = rest;
        for (request, operation) in done {
            let answer = self
                .operation_view(operation)
                .map(|view| Response::Operation(Box::new(view)))
                .ok_or_else(|| no_operation(operation));
            self.commands.push(Command::Reply(request, answer));
        }
    }
}

/// What a plan does, for the record: "move db on n2, start web on n1".
fn summary(plan: &Plan) -> String {
    let step = |step: &PlanStep| match &step.target_name {
        Some(node) => format!("{} {} on {node}", step.kind, step.service),
        None => format!("{} {}", step.kind, step.service),
    };
    plan.steps.iter().map(step).collect::<Vec<_>>().join(", ")
}

fn no_volume(id: VolumeId) -> ApiError {
    let message = format!("there is no volume {id}");
    error(
        ErrorCode::NotFound,
        message,
        "flocker volume ls lists the volumes",
    )
}
