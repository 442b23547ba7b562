//! Routes that show how things are: status, operations, health, version.

use super::extract::{Certificate, PathOf, User};
use super::refusal::Refusal;
use super::{Api, OPERATION_END_MS_MAX, authority, expiry, secrets};
use crate::Backup;
use crate::shell::{unexpected, wall_clock};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use flocker_core::control::{Request, Response};
use flocker_types::api::{ApiError, ClusterView, ErrorCode, OperationView};
use flocker_types::ids::{ClusterId, OperationId};
use flocker_types::time::UnixMs;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// The loop has to take a question within this time to count as healthy, in milliseconds.
const HEALTH_MS_MAX: u64 = 2_000;

/// `GET /v1/health`: control answers, and its loop goes round.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Health {
    /// Always `ok`; otherwise the answer is 503.
    pub status: String,
}

/// `GET /v1/version`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Version {
    /// Of control.
    pub version: String,
    /// The cluster that it controls.
    pub cluster: ClusterId,
    /// Its clock.
    pub now: UnixMs,
}

/// `GET /v1/status`: everything at one moment. Answers 200 with a [`ClusterView`].
pub(super) async fn status(
    State(api): State<Arc<Api>>,
    Certificate(own): Certificate,
    user: User,
) -> Result<Json<ClusterView>, Refusal> {
    match api.ask(&user, Request::Status).await? {
        Response::Status(mut view) => {
            secrets::hide(&mut view);
            view.certificates = expiry::certificates(&api, &view, &own);
            view.rotation = authority::view(&api, &view);
            Ok(Json(*view))
        }
        other => Err(unexpected(&other).into()),
    }
}

/// `GET /v1/backup`: the whole store as of one moment, as the file that `flocker control restore`
/// reads; the authority is not in it.
pub(super) async fn backup(State(api): State<Arc<Api>>, user: User) -> Result<String, Refusal> {
    let state = match api.ask(&user, Request::Backup).await? {
        Response::Backup(state) => state,
        other => return Err(unexpected(&other).into()),
    };
    Backup::of(&state, wall_clock()).encode().map_err(|error| {
        Refusal::from(ApiError {
            code: ErrorCode::Internal,
            message: format!("the backup cannot be written: {error}"),
            hint: Some("this is a mistake in flocker; please report it".to_owned()),
        })
    })
}

/// `GET /v1/operations/{id}`: an operation as it is now. Answers 200 with an [`OperationView`], or
/// 404 when there is none (any more) with this id.
pub(super) async fn operation(
    State(api): State<Arc<Api>>,
    user: User,
    PathOf(id): PathOf<OperationId>,
) -> Result<Json<OperationView>, Refusal> {
    operation_in(api.ask(&user, Request::Operation(id)).await?)
}

/// `GET /v1/operations/{id}/end`: waits until the operation has ended, an hour at the longest, then
/// answers as `GET /v1/operations/{id}`. After an hour, and when control stops, it answers 503: ask
/// again.
pub(super) async fn operation_end(
    State(api): State<Arc<Api>>,
    user: User,
    PathOf(id): PathOf<OperationId>,
) -> Result<Json<OperationView>, Refusal> {
    let limit = Duration::from_millis(OPERATION_END_MS_MAX);
    let request = Request::OperationEnd(id);
    operation_in(api.handle.ask(&user.name, request, limit).await?)
}

fn operation_in(response: Response) -> Result<Json<OperationView>, Refusal> {
    match response {
        Response::Operation(mut view) => {
            secrets::hide_operation(&mut view);
            Ok(Json(*view))
        }
        other => Err(unexpected(&other).into()),
    }
}

/// `GET /v1/health`: for any member of the cluster. Answers 200 with [`Health`], or 503 when the
/// loop does not go round.
pub(super) async fn health(State(api): State<Arc<Api>>) -> Result<Json<Health>, Refusal> {
    let limit = Duration::from_millis(HEALTH_MS_MAX);
    match tokio::time::timeout(limit, api.handle.answers()).await {
        Ok(answered) => answered.map_err(ApiError::from)?,
        Err(_) => {
            return Err(Refusal::new(
                StatusCode::SERVICE_UNAVAILABLE,
                ErrorCode::Unavailable,
                format!("control's loop did not answer within {HEALTH_MS_MAX} ms"),
            )
            .hint("its disk may be slow or full: look at its log"));
        }
    }
    Ok(Json(Health {
        status: "ok".to_owned(),
    }))
}

/// `GET /v1/version`: for any member of the cluster. Answers 200 with [`Version`].
pub(super) async fn version(State(api): State<Arc<Api>>) -> Json<Version> {
    Json(Version {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        cluster: api.facts.cluster,
        now: wall_clock(),
    })
}
