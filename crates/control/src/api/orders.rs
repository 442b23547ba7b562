//! Routes by which people give orders: plan, deploy, move, remove.

use super::extract::{Body, User};
use super::refusal::Refusal;
use super::{ANSWER_MS_MAX, Api, room, secrets, subject};
use crate::shell::unexpected;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use flocker_core::control::{Request, Response};
use flocker_types::api::{
    DeployRequest, MoveRequest, PlanRequest, RemoveRequest, RemoveVolumeRequest,
    RestoreVolumeRequest, Started,
};
use flocker_types::app::Application;
use flocker_types::plan::Plan;
use std::sync::Arc;
use std::time::Duration;

type DoneAnswer = Result<StatusCode, Refusal>;
type StartedAnswer = Result<(StatusCode, Json<Started>), Refusal>;

impl Api {
    /// Asks the core something that it answers at once.
    pub(super) async fn ask(&self, user: &User, request: Request) -> Result<Response, Refusal> {
        user.subject.set(subject::of(&request));
        room::check(&self.facts.state_dir, &request)?;
        let limit = Duration::from_millis(ANSWER_MS_MAX);
        Ok(self.handle.ask(&user.name, request, limit).await?)
    }

    async fn start(&self, user: &User, request: Request) -> StartedAnswer {
        match self.ask(user, request).await? {
            Response::Started(started) => Ok((StatusCode::ACCEPTED, Json(started))),
            other => Err(unexpected(&other).into()),
        }
    }

    async fn get_done(&self, user: &User, request: Request) -> DoneAnswer {
        match self.ask(user, request).await? {
            Response::Done => Ok(StatusCode::NO_CONTENT),
            other => Err(unexpected(&other).into()),
        }
    }
}

/// `POST /v1/plan`: what a deployment would do, step by step, with estimates. Changes nothing.
///
/// Takes a [`PlanRequest`] (up to [`PLAN_BODY_BYTES_MAX`](super::PLAN_BODY_BYTES_MAX) bytes),
/// answers 200 with a [`Plan`].
pub(super) async fn plan(
    State(api): State<Arc<Api>>,
    user: User,
    Body(request): Body<PlanRequest>,
) -> Result<Json<Plan>, Refusal> {
    check(&request.application)?;
    secrets::check_given(&request.application)?;
    match api.ask(&user, Request::Plan(Box::new(request))).await? {
        Response::Plan(mut plan) => {
            secrets::seal(&api, &mut plan)?;
            Ok(Json(*plan))
        }
        other => Err(unexpected(&other).into()),
    }
}

/// Everything else that is wrong with an application shows when it is planned.
fn check(application: &Application) -> Result<(), Refusal> {
    match application.mistakes().as_slice() {
        [] => Ok(()),
        mistakes => Err(Refusal::invalid(mistakes.join("\n"))
            .hint("docs/openapi.json says what a service is; `flocker check` reads manifests")),
    }
}

/// `POST /v1/deploy`: executes a plan as it was shown.
///
/// Takes a [`DeployRequest`] (up to [`PLAN_BODY_BYTES_MAX`](super::PLAN_BODY_BYTES_MAX) bytes),
/// answers 202 with [`Started`], or 409 when the cluster has changed since the plan was made.
pub(super) async fn deploy(
    State(api): State<Arc<Api>>,
    user: User,
    Body(mut request): Body<DeployRequest>,
) -> StartedAnswer {
    secrets::open(&api, &mut request.plan)?;
    api.start(&user, Request::Deploy(Box::new(request))).await
}

/// `POST /v1/services/move`: moves a service with its data to another node.
///
/// Takes a [`MoveRequest`], answers 202 with [`Started`]; 404 when there is no such service or
/// node, 409 when another operation of the service goes on.
pub(super) async fn move_service(
    State(api): State<Arc<Api>>,
    user: User,
    Body(request): Body<MoveRequest>,
) -> StartedAnswer {
    api.start(&user, Request::Move(request)).await
}

/// `POST /v1/services/remove`: stops a service. Its volumes stay.
///
/// Takes a [`RemoveRequest`], answers 202 with [`Started`]; 404 when there is no such service, 409
/// when another operation of the service goes on.
pub(super) async fn remove_service(
    State(api): State<Arc<Api>>,
    user: User,
    Body(request): Body<RemoveRequest>,
) -> StartedAnswer {
    api.start(&user, Request::Remove(request)).await
}

/// `POST /v1/volumes/remove`: deletes a volume on every node, after a time in which it can be restored.
///
/// Takes a [`RemoveVolumeRequest`], answers 204; 404 when there is no such volume, 409 when a service
/// uses it.
pub(super) async fn remove_volume(
    State(api): State<Arc<Api>>,
    user: User,
    Body(request): Body<RemoveVolumeRequest>,
) -> DoneAnswer {
    api.get_done(&user, Request::RemoveVolume(request)).await
}

/// `POST /v1/volumes/restore`: takes the deletion of a volume back while there is time.
///
/// Takes a [`RestoreVolumeRequest`], answers 204; 404 when the volume is gone, 409 when another one
/// has its name now.
pub(super) async fn restore_volume(
    State(api): State<Arc<Api>>,
    user: User,
    Body(request): Body<RestoreVolumeRequest>,
) -> DoneAnswer {
    api.get_done(&user, Request::RestoreVolume(request)).await
}
