//! Routes by which the cluster's authority is changed, and by which nodes say whom they trust.
//!
//! What is signed by whom is [`crate::authorities`]' business, and when a phase is over that of
//! [`crate::rotation`].

use super::access::{Chain, Subject};
use super::extract::{Body, Certificate, User};
use super::refusal::Refusal;
use super::{ANSWER_MS_MAX, Api};
use crate::authorities::{AuthoritiesError, NotNow};
use crate::config::StateDirectory;
use crate::init::issue_for_control;
use crate::rotation;
use crate::shell::{unexpected, wall_clock};
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use flocker_core::control::{Request, Response};
use flocker_types::access::{
    DropAuthorityRequest, HeldRequest, LeftBehind, RotateRequest, RotationView,
};
use flocker_types::api::{ApiError, ClusterView, ErrorCode};
use std::sync::Arc;
use std::time::Duration;

/// Longest time for which both are trusted, in milliseconds: a year, for which certificates are good.
pub const OVERLAP_MS_MAX: u64 = 365 * 24 * 60 * 60 * 1_000;

fn conflict(message: impl Into<String>, hint: &str) -> Refusal {
    Refusal::from(ApiError {
        code: ErrorCode::Conflict,
        message: message.into(),
        hint: Some(hint.to_owned()),
    })
}

fn not_now(reason: NotNow) -> Refusal {
    match reason {
        NotNow::UnderWay => conflict(
            "the authority is being changed already",
            "flocker status shows how far it is",
        ),
        NotNow::None => conflict(
            "there is no old authority to drop",
            "flocker authority rotate begins a change",
        ),
        NotNow::Introducing => conflict(
            "not every node trusts the new authority yet",
            "flocker status shows which ones are waited for; one that will not come back can be \
             revoked: flocker node revoke NAME",
        ),
    }
}

fn unkept(error: &AuthoritiesError) -> Refusal {
    tracing::error!(error = %Chain(error), "the authority was not changed");
    Refusal::from(ApiError {
        code: ErrorCode::Internal,
        message: Chain(error).to_string(),
        hint: Some("look at the disk of control's server, then try again".to_owned()),
    })
}

/// Control shows and trusts at once what the change has made, and not only some time after the answer.
fn take_over(api: &Api) -> Result<(), Refusal> {
    let files = StateDirectory::new(&api.facts.state_dir);
    let (current, trusted) = (api.authorities.current(), api.authorities.trusted_pem());
    issue_for_control(&current, &trusted, &files, api.validity)
        .and_then(|newer| Ok(api.credentials.replace(&newer)?))
        .map_err(|error| {
            tracing::error!(error = %Chain(&error), "control has no certificate of its authority");
            Refusal::from(ApiError {
                code: ErrorCode::Internal,
                message: format!("the change is made, but control has not taken it over: {error}"),
                hint: Some("start control again: it takes it over then".to_owned()),
            })
        })
}

/// How far a change is, if one goes on.
pub(super) fn view(api: &Api, status: &ClusterView) -> Option<RotationView> {
    let rotation = api.authorities.rotation()?;
    let revocations = api.credentials.revocations();
    let now = wall_clock();
    Some(rotation::view(
        &rotation,
        status,
        &api.certificates,
        revocations,
        now,
    ))
}

/// `POST /v1/authority/rotate`: begins to put a new authority in the place of the present one.
///
/// Takes a [`RotateRequest`], answers 204 when the new one is on the disk; 409 while a change goes on.
pub(super) async fn rotate(
    State(api): State<Arc<Api>>,
    Extension(subject): Extension<Subject>,
    Body(request): Body<RotateRequest>,
) -> Result<StatusCode, Refusal> {
    let overlap_ms = request.overlap_ms;
    if overlap_ms > OVERLAP_MS_MAX {
        return Err(Refusal::invalid(format!(
            "both authorities cannot be trusted for {overlap_ms} ms: overlap_ms is at most \
             {OVERLAP_MS_MAX}"
        )));
    }
    subject.set(format!("a new authority, both trusted for {overlap_ms} ms"));
    let begun = api.authorities.begin(wall_clock(), overlap_ms);
    match begun.map_err(|error| unkept(&error))? {
        Ok(()) => take_over(&api).map(|()| StatusCode::NO_CONTENT),
        Err(reason) => Err(not_now(reason)),
    }
}

/// `POST /v1/authority/drop`: the old authority is not trusted any more.
///
/// Takes a [`DropAuthorityRequest`], answers 204; 409 when nodes do not trust the new one yet, or when
/// somebody would be shut out and the request does not say that this is meant.
pub(super) async fn drop_old(
    State(api): State<Arc<Api>>,
    user: User,
    Body(request): Body<DropAuthorityRequest>,
) -> Result<StatusCode, Refusal> {
    user.subject.set("drop the old authority".to_owned());
    let limit = Duration::from_millis(ANSWER_MS_MAX);
    let view = match api.handle.ask(&user.name, Request::Status, limit).await? {
        Response::Status(view) => view,
        other => return Err(unexpected(&other).into()),
    };
    if request.left_behind == LeftBehind::WaitedFor
        && let Some(rotation) = self::view(&api, &view)
        && !(rotation.nodes.is_empty() && rotation.users.is_empty())
    {
        let nodes = rotation.nodes.iter().map(|node| format!("node {node}"));
        let users = rotation.users.iter().map(|user| format!("user {user}"));
        let who: Vec<String> = nodes.chain(users).collect();
        return Err(conflict(
            format!(
                "these have no certificate of the new authority: {}",
                who.join(", ")
            ),
            "nodes renew by themselves when they are connected; users: flocker user renew. \
             flocker authority drop --shut-out does not wait for them",
        ));
    }
    match api.authorities.drop_old().map_err(|error| unkept(&error))? {
        Ok(()) => take_over(&api).map(|()| StatusCode::NO_CONTENT),
        Err(reason) => Err(not_now(reason)),
    }
}

/// `POST /v1/certificates/held`: a node's agent or proxy says whom it trusts; which certificate it shows,
/// its connection says.
///
/// Takes a [`HeldRequest`], answers 204.
pub(super) async fn held(
    State(api): State<Arc<Api>>,
    Certificate(shown): Certificate,
    Body(request): Body<HeldRequest>,
) -> StatusCode {
    api.certificates
        .note_held(&shown, request.process, request.authorities);
    StatusCode::NO_CONTENT
}
