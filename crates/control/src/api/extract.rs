//! What handlers take out of a request: who asks, and the well-formed body, path and query.
//!
//! Everything that is not as it should be becomes a refusal that says what and where. It knows
//! nothing of the cluster.

use super::access::Subject;
use super::refusal::Refusal;
use super::{ANSWER_MS_MAX, BODY_BYTES_MAX, PLAN_BODY_BYTES_MAX};
use axum::Json;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use flocker_net::pki::{MemberCertificate, Role};
use flocker_net::serve::PeerAddress;
use flocker_types::api::ErrorCode;
use flocker_types::ids::NodeId;
use serde::de::DeserializeOwned;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// The user who asks, by the certificate.
pub(super) struct User {
    /// The name.
    pub(super) name: String,
    /// Takes what the request is for.
    pub(super) subject: Subject,
}

/// The node that asks, by its certificate.
pub(super) struct Node {
    /// Which.
    pub(super) id: NodeId,
    /// The certificate.
    pub(super) certificate: MemberCertificate,
}

/// The certificate of whoever asks.
pub(super) struct Certificate(pub(super) MemberCertificate);

/// Whence a request came.
pub(super) struct PeerIp(pub(super) IpAddr);

/// A body in JSON.
pub(super) struct Body<T>(pub(super) T);

/// The variable parts of a path.
pub(super) struct PathOf<T>(pub(super) T);

/// What follows the question mark.
pub(super) struct QueryOf<T>(pub(super) T);

/// The gate has let nobody through who may not; this only says who it is.
fn certificate(parts: &Parts) -> Result<&MemberCertificate, Refusal> {
    match parts.extensions.get::<Option<MemberCertificate>>() {
        Some(Some(certificate)) => Ok(certificate),
        _ => Err(not_for(parts)),
    }
}

fn not_for(parts: &Parts) -> Refusal {
    Refusal::forbidden(format!("{} is not for this certificate", parts.uri.path()))
}

impl<S: Send + Sync> FromRequestParts<S> for User {
    type Rejection = Refusal;
    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Refusal> {
        match &certificate(parts)?.identity.role {
            Role::User { name, .. } => Ok(Self {
                name: name.clone(),
                subject: parts
                    .extensions
                    .get::<Subject>()
                    .cloned()
                    .unwrap_or_default(),
            }),
            _ => Err(not_for(parts)),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Node {
    type Rejection = Refusal;
    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Refusal> {
        let certificate = certificate(parts)?;
        match certificate.identity.role {
            Role::Node(id) => Ok(Self {
                id,
                certificate: certificate.clone(),
            }),
            _ => Err(not_for(parts)),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Certificate {
    type Rejection = Refusal;
    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Refusal> {
        certificate(parts).cloned().map(Self)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for PeerIp {
    type Rejection = std::convert::Infallible;
    async fn from_request_parts(
        parts: &mut Parts,
        _state: &S,
    ) -> Result<Self, std::convert::Infallible> {
        let peer = parts.extensions.get::<PeerAddress>();
        // The server always says; together is a safe place for those of whom it should not.
        let unknown = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        Ok(Self(peer.map_or(unknown, |peer| peer.0.ip())))
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Refusal;
    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let limit = Duration::from_millis(ANSWER_MS_MAX);
        let read = Json::<T>::from_request(request, state);
        let rejection = match tokio::time::timeout(limit, read).await {
            Ok(Ok(Json(value))) => return Ok(Self(value)),
            Ok(Err(rejection)) => rejection,
            Err(_) => {
                return Err(Refusal::new(
                    StatusCode::REQUEST_TIMEOUT,
                    ErrorCode::Invalid,
                    format!("the body did not arrive within {} s", limit.as_secs()),
                ));
            }
        };
        let status = match rejection.status() {
            // To axum JSON of the wrong form is another matter than no JSON.
            StatusCode::UNPROCESSABLE_ENTITY => StatusCode::BAD_REQUEST,
            status => status,
        };
        let text = rejection.body_text();
        let refusal = Refusal::new(status, ErrorCode::Invalid, format!("the body: {text}"));
        Err(match status {
            StatusCode::UNSUPPORTED_MEDIA_TYPE => {
                refusal.hint("send content-type application/json")
            }
            StatusCode::PAYLOAD_TOO_LARGE => refusal.hint(format!(
                "{PLAN_BODY_BYTES_MAX} bytes are allowed for a plan and for what is to be \
                 planned, {BODY_BYTES_MAX} for anything else"
            )),
            _ => refusal.hint("this program and control may have different versions"),
        })
    }
}

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for PathOf<T> {
    type Rejection = Refusal;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        match Path::<T>::from_request_parts(parts, state).await {
            Ok(Path(value)) => Ok(Self(value)),
            Err(rejection) => Err(Refusal::invalid(format!(
                "the path {}: {}",
                parts.uri.path(),
                rejection.body_text()
            ))),
        }
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for QueryOf<T> {
    type Rejection = Refusal;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(value)) => Ok(Self(value)),
            Err(rejection) => Err(Refusal::invalid(format!(
                "the query ?{}: {}",
                parts.uri.query().unwrap_or_default(),
                rejection.body_text()
            ))),
        }
    }
}
