//! Who may use which route, and the gate in front of every route that sees to it.
//!
//! The router is built from [`Rule`]s, so there is no route without one. The gate refuses who may not,
//! and who is revoked, before anything of the request is looked at; it writes refusals, and requests that
//! change something, into the audit log. What a request means it does not know: handlers tell it.

use super::Api;
use super::refusal::{Refusal, Said};
use crate::audit::{Asked, AuditError, Client, Ended};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::MethodRouter;
use flocker_net::pki::{MemberCertificate, Role};
use flocker_net::serve::PeerAddress;
use flocker_types::access::{AuditAnswer, UserRole};
use flocker_types::api::ErrorCode;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, OnceLock};

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    /// Whoever reaches the port.
    Anybody,
    /// Every user and every node.
    Member,
    /// Nodes.
    Node,
    /// Users of this role, and of the mightier ones.
    User(UserRole),
}

/// What a route does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// It shows something.
    Looks,
    /// It changes something, and goes into the audit log.
    Changes,
}

/// Who may use a route, and whether that is written down.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rule {
    pub(super) who: Who,
    pub(super) effect: Effect,
}

/// What a request is for, in words for the audit log. Handlers fill it in.
#[derive(Debug, Clone, Default)]
pub(super) struct Subject(Arc<OnceLock<String>>);

impl Subject {
    /// The first words count.
    pub(super) fn set(&self, words: String) {
        // A second question of the same request is part of the first one's business.
        let _ = self.0.set(words);
    }

    fn take(&self) -> Option<String> {
        self.0.get().cloned()
    }
}

/// Puts the gate in front of a route.
pub(super) fn gated(
    api: &Arc<Api>,
    rule: Rule,
    handler: MethodRouter<Arc<Api>>,
) -> MethodRouter<Arc<Api>> {
    handler.route_layer(from_fn_with_state((Arc::clone(api), rule), gate))
}

async fn gate(
    State((api, rule)): State<(Arc<Api>, Rule)>,
    mut request: Request,
    next: Next,
) -> Response {
    let member = request
        .extensions()
        .get::<Option<MemberCertificate>>()
        .cloned()
        .flatten();
    let asked = asked(&request, member.as_ref());
    if let Err(refusal) = admit(&api, rule.who, member.as_ref(), request.uri().path()) {
        let client = match member {
            Some(_) => Client::Member,
            None => Client::Stranger,
        };
        tracing::warn!(who = asked.who, address = %asked.address, request = asked.request, "refused");
        let written = api.audit.refused(asked, client, refusal.message()).await;
        if let Err(error) = written {
            tracing::error!(error = %Chain(&error), "a refusal is not in the audit log");
        }
        return refusal.into_response();
    }
    if let Some(member) = &member {
        api.certificates.note(member);
    }
    if rule.effect == Effect::Looks {
        return next.run(request).await;
    }
    let subject = Subject::default();
    request.extensions_mut().insert(subject.clone());
    let entry = match api.audit.begin(asked).await {
        Ok(entry) => entry,
        Err(error) => {
            tracing::error!(error = %Chain(&error), "a request was not carried out");
            return unwritten(&error).into_response();
        }
    };
    // Goes on when the client does not wait: what is begun gets its answer into the log.
    let carried_out = tokio::spawn(async move {
        let response = next.run(request).await;
        let ended = ended(&subject, &response);
        if let Err(error) = api.audit.end(entry, ended).await {
            tracing::error!(error = %Chain(&error), "an answer is not in the audit log");
        }
        response
    });
    carried_out.await.unwrap_or_else(|error| {
        tracing::error!(%error, "a request broke off");
        let (status, code) = (StatusCode::INTERNAL_SERVER_ERROR, ErrorCode::Internal);
        Refusal::new(status, code, "control failed at this request")
            .hint("look at control's log")
            .into_response()
    })
}

/// A request that could not be written down is not carried out.
fn unwritten(error: &AuditError) -> Refusal {
    let (status, message, hint) = match error.is_full() {
        true => (
            StatusCode::INSUFFICIENT_STORAGE,
            "nothing was done: the disk of the audit log is full",
            "make room on the disk of control's server, then try again; nothing has to be restarted",
        ),
        false => (
            StatusCode::SERVICE_UNAVAILABLE,
            "nothing was done: the audit log cannot be written",
            "look at the disk of control's server, and at control's log",
        ),
    };
    Refusal::new(status, ErrorCode::Unavailable, message).hint(hint)
}

fn asked(request: &Request, member: Option<&MemberCertificate>) -> Asked {
    let peer = request.extensions().get::<PeerAddress>();
    Asked {
        who: member.map_or("nobody".to_owned(), |member| {
            member.identity.role.to_string()
        }),
        // The server always says.
        address: peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0.ip()),
        request: format!("{} {}", request.method(), request.uri().path()),
    }
}

fn ended(subject: &Subject, response: &Response) -> Ended {
    let said = response.extensions().get::<Said>();
    let answer = match response.status() {
        status if status.is_success() => AuditAnswer::Allowed,
        StatusCode::FORBIDDEN => AuditAnswer::Refused,
        _ => AuditAnswer::Failed,
    };
    Ended {
        subject: subject.take(),
        answer,
        reason: said.map(|said| match said.code {
            // It may quote the body.
            ErrorCode::Invalid => "the request is not well formed".to_owned(),
            _ => said.message.clone(),
        }),
    }
}

/// TLS has verified the certificate against our own authority, so the cluster is ours.
fn admit(
    api: &Api,
    who: Who,
    member: Option<&MemberCertificate>,
    path: &str,
) -> Result<(), Refusal> {
    if who == Who::Anybody {
        return Ok(());
    }
    let Some(member) = member else {
        return Err(Refusal::forbidden(format!("{path} needs a certificate"))
            .hint("give the credentials of a user of this cluster"));
    };
    let role = &member.identity.role;
    if api.credentials.revocations().covers(member) {
        return Err(
            Refusal::forbidden(format!("the certificate of {role} is revoked")).hint(match role {
                Role::Node(_) => {
                    "an admin can let the node in again: flocker token --node NAME, then on the \
                         node flocker join --again"
                }
                _ => "an admin can give you a new one: flocker user add NAME --role ROLE",
            }),
        );
    }
    match (who, role) {
        (Who::Member, Role::User { .. } | Role::Node(_)) | (Who::Node, Role::Node(_)) => Ok(()),
        (Who::User(needed), Role::User { role, .. }) if *role >= needed => Ok(()),
        (Who::User(needed), Role::User { name, role }) => Err(Refusal::forbidden(format!(
            "{path} needs the role {needed}, and {name} is {role}"
        ))
        .hint(format!(
            "ask an admin to do it, or for a certificate with that role: flocker user add NAME \
             --role {needed}"
        ))),
        (who, role) => Err(wrong_kind(who, role, path)),
    }
}

fn wrong_kind(who: Who, role: &Role, path: &str) -> Refusal {
    let wanted = match who {
        Who::User(_) => "a user",
        Who::Node => "a node",
        Who::Member | Who::Anybody => "a user or a node",
    };
    Refusal::forbidden(format!(
        "{path} is for {wanted}, and this is the certificate of {role}"
    ))
    .hint(format!("give the credentials of {wanted} of this cluster"))
}

/// An error with its causes, in one line.
pub(crate) struct Chain<'a>(pub(crate) &'a dyn std::error::Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut next = self.0.source();
        while let Some(cause) = next {
            write!(f, ": {cause}")?;
            next = cause.source();
        }
        Ok(())
    }
}
