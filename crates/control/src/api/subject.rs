//! What a request is for, in words for the audit log.
//!
//! Names of services, nodes, volumes and users; never an environment, a command or a key.

use flocker_core::control::{AccessRequest, Request};
use flocker_types::access::RevokeRequest;
use flocker_types::plan::{Plan, PlanStep};

/// Steps of a plan that are named; more are counted.
const STEPS_NAMED_MAX: usize = 10;

/// In words.
pub(super) fn of(request: &Request) -> String {
    match request {
        Request::Plan(_) => "a plan".to_owned(),
        Request::Deploy(request) => deploy(&request.plan),
        Request::Move(request) => format!("move {} to {}", request.service, request.node),
        Request::Remove(request) => format!("remove {}", request.service),
        Request::RemoveVolume(request) => format!(
            "delete volume {} in {} ms",
            request.volume, request.grace_ms
        ),
        Request::RestoreVolume(request) => format!("restore volume {}", request.volume),
        Request::Status => "the status".to_owned(),
        Request::Backup => "a backup of everything".to_owned(),
        Request::Operation(id) | Request::OperationEnd(id) => format!("operation {id}"),
        Request::AddToken(token) => match token.node {
            Some(node) => format!("token {} for node {node}", token.id),
            None => format!("token {}", token.id),
        },
        Request::Join { token, name, .. } => format!("join as {name} by token {token}"),
        Request::Access(request) => access(request),
        Request::Logs { service, .. } => format!("the log of {service}"),
    }
}

fn deploy(plan: &Plan) -> String {
    let step = |step: &PlanStep| match &step.target_name {
        Some(node) => format!("{} {} on {node}", step.kind, step.service),
        None => format!("{} {}", step.kind, step.service),
    };
    let named = plan.steps.iter().take(STEPS_NAMED_MAX).map(step);
    let mut words = named.collect::<Vec<_>>().join(", ");
    if let Some(more @ 1..) = plan.steps.len().checked_sub(STEPS_NAMED_MAX) {
        words.push_str(&format!(" and {more} more"));
    }
    match words.is_empty() {
        true => "a plan with nothing to do".to_owned(),
        false => words,
    }
}

fn access(request: &AccessRequest) -> String {
    match request {
        AccessRequest::AddUser(user) => {
            format!(
                "let in user {} as {}, certificate {}",
                user.name, user.role, user.serial
            )
        }
        AccessRequest::UserRenewed { name, serial, .. } => {
            format!("new certificate {serial} for user {name}")
        }
        AccessRequest::Users => "the users".to_owned(),
        AccessRequest::Revoke(RevokeRequest::Node(name)) => format!("revoke node {name}"),
        AccessRequest::Revoke(RevokeRequest::User(name)) => format!("revoke user {name}"),
        AccessRequest::Revoke(RevokeRequest::Serial(serial)) => {
            format!("revoke certificate {serial}")
        }
        AccessRequest::RenewNodes(request) => match &request.node {
            Some(node) => format!("new certificate for node {node}"),
            None => "new certificates for all nodes".to_owned(),
        },
    }
}
