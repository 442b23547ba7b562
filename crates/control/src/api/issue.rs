//! Routes by which certificates come and go: users, renewal, revocation.
//!
//! Keys are made where they are used; only requests for certificates come here. A certificate is dated
//! after every revocation of its member, so that what is issued anew is good.

use super::access::{Chain, Subject};
use super::extract::{Body, Certificate, User};
use super::refusal::Refusal;
use super::{ANSWER_MS_MAX, Api};
use crate::shell::{unexpected, wall_clock};
use axum::Json;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use flocker_core::control::{AccessRequest, Request, Response};
use flocker_net::pki::{AuthorityError, Identity, MemberCertificate, Role, check_user_name};
use flocker_types::access::{
    AddUserRequest, CertificateResponse, RenewNodesRequest, RenewRequest, RevokeRequest, UserRecord,
};
use flocker_types::api::{ApiError, ErrorCode};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

impl Api {
    /// A certificate for the key in a request, and what is in it.
    pub(super) fn sign(
        &self,
        request_pem: &str,
        role: Role,
    ) -> Result<(String, MemberCertificate), Refusal> {
        let identity = Identity {
            cluster: self.facts.cluster,
            role,
        };
        let revoked_until = self.credentials.revocations().until(&identity.role);
        // Certificates are dated by the second.
        let after = revoked_until.map_or(0, |until| (until.0 / 1_000 + 1) * 1_000);
        let dated = UNIX_EPOCH + Duration::from_millis(wall_clock().0.max(after));
        let signed = self
            .authorities
            .signer(&identity.role)
            .sign_request_at(request_pem, &identity, self.validity, dated)
            .map_err(unsigned)?;
        match MemberCertificate::from_pem(&signed) {
            Ok(certificate) => Ok((signed, certificate)),
            Err(error) => Err(internal(&error.to_string())),
        }
    }

    fn answer(&self, certificate: String) -> CertificateResponse {
        CertificateResponse {
            cluster: self.facts.cluster,
            certificate,
            authority: self.authorities.trusted_pem(),
        }
    }
}

fn unsigned(error: AuthorityError) -> Refusal {
    match error {
        AuthorityError::BadRequest { .. } => Refusal::invalid(error.to_string())
            .hint("send the certificate request that `flocker` makes, unchanged"),
        other => {
            tracing::error!(error = %Chain(&other), "a certificate could not be signed");
            internal(&other.to_string())
        }
    }
}

fn internal(message: &str) -> Refusal {
    Refusal::from(ApiError {
        code: ErrorCode::Internal,
        message: message.to_owned(),
        hint: Some("look at control's log".to_owned()),
    })
}

/// `GET /v1/users`: everybody who was let in, and who asks. Answers 200 with [`UserRecord`]s.
pub(super) async fn users(
    State(api): State<Arc<Api>>,
    Certificate(own): Certificate,
    user: User,
) -> Result<Json<Vec<UserRecord>>, Refusal> {
    let asked = Request::Access(AccessRequest::Users);
    let mut users = match api.ask(&user, asked).await? {
        Response::Users(users) => users,
        other => return Err(unexpected(&other).into()),
    };
    // Let in by `flocker init`, or before the store was rebuilt.
    if let Role::User { name, role } = own.identity.role
        && users.iter().all(|known| known.name != name)
    {
        users.push(UserRecord {
            name,
            role,
            issued: own.issued,
            expires: own.expires,
            serial: own.serial,
            added_by: "-".to_owned(),
            revoked: None,
        });
    }
    Ok(Json(users))
}

/// `POST /v1/users`: lets a user in.
///
/// Takes an [`AddUserRequest`], answers 200 with a [`CertificateResponse`]; 409 when the name is in use.
pub(super) async fn add_user(
    State(api): State<Arc<Api>>,
    user: User,
    Body(request): Body<AddUserRequest>,
) -> Result<Json<CertificateResponse>, Refusal> {
    check_user_name(&request.name).map_err(|error| Refusal::invalid(error.to_string()))?;
    let role = Role::User {
        name: request.name.clone(),
        role: request.role,
    };
    // What is wrong with the request must show before the user is known.
    let (signed, certificate) = api.sign(&request.certificate_request, role)?;
    let record = UserRecord {
        name: request.name,
        role: request.role,
        issued: certificate.issued,
        expires: certificate.expires,
        serial: certificate.serial.clone(),
        added_by: user.name.clone(),
        revoked: None,
    };
    let added = Request::Access(AccessRequest::AddUser(record));
    match api.ask(&user, added).await? {
        Response::Done => {
            // Before it is used: a change of the authority waits for whoever has it.
            api.certificates.note_issued(&certificate);
            Ok(Json(api.answer(signed)))
        }
        other => Err(unexpected(&other).into()),
    }
}

/// `POST /v1/certificates/renew`: a new certificate for the member that asks, of the same name and role.
///
/// Takes a [`RenewRequest`], answers 200 with a [`CertificateResponse`]. The old one stays good.
pub(super) async fn renew(
    State(api): State<Arc<Api>>,
    Certificate(present): Certificate,
    Extension(subject): Extension<Subject>,
    Body(request): Body<RenewRequest>,
) -> Result<Json<CertificateResponse>, Refusal> {
    let role = present.identity.role;
    subject.set(format!("new certificate for {role}"));
    let (signed, certificate) = api.sign(&request.certificate_request, role.clone())?;
    match role {
        Role::User { name, .. } => {
            let renewed = Request::Access(AccessRequest::UserRenewed {
                name: name.clone(),
                serial: certificate.serial,
                issued: certificate.issued,
                expires: certificate.expires,
            });
            let limit = Duration::from_millis(ANSWER_MS_MAX);
            api.handle.ask(&name, renewed, limit).await?;
        }
        Role::Node(_) => api.certificates.note_issued(&certificate),
        Role::Control => {}
    }
    Ok(Json(api.answer(signed)))
}

/// `POST /v1/revocations`: makes certificates worth nothing, at once and for ever.
///
/// Takes a [`RevokeRequest`], answers 204 when it is durable and every connected agent and proxy is told;
/// 404 when there is no such node.
pub(super) async fn revoke(
    State(api): State<Arc<Api>>,
    user: User,
    Body(request): Body<RevokeRequest>,
) -> Result<StatusCode, Refusal> {
    if let RevokeRequest::Serial(serial) = &request
        && !is_serial(serial)
    {
        return Err(Refusal::invalid(format!(
            "\"{serial}\" is not the serial number of a certificate"
        ))
        .hint("flocker user ls and flocker status --json show them: 32 digits from 0 to f"));
    }
    let asked = Request::Access(AccessRequest::Revoke(request));
    match api.ask(&user, asked).await? {
        Response::Revoked(revocation) => {
            api.credentials.revocations().add(&[revocation]);
            Ok(StatusCode::NO_CONTENT)
        }
        other => Err(unexpected(&other).into()),
    }
}

fn is_serial(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// `POST /v1/nodes/renew`: has connected nodes take new keys and certificates now.
///
/// Takes a [`RenewNodesRequest`], answers 204 when they are told; 404 when there is no such node, 503 when
/// its agent is away.
pub(super) async fn renew_nodes(
    State(api): State<Arc<Api>>,
    user: User,
    Body(request): Body<RenewNodesRequest>,
) -> Result<StatusCode, Refusal> {
    let asked = Request::Access(AccessRequest::RenewNodes(request));
    match api.ask(&user, asked).await? {
        Response::Done => Ok(StatusCode::NO_CONTENT),
        other => Err(unexpected(&other).into()),
    }
}
