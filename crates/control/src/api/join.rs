//! Routes by which servers become nodes: making a token, and joining with one.
//!
//! A token is checked here, taken by the core in one durable step, and only then is a certificate
//! signed. Guessing is slow: few may try at once, every refusal takes the same time, and an address
//! that was refused too often has to wait.

use super::access::Subject;
use super::extract::{Body, PeerIp, User};
use super::refusal::Refusal;
use super::{ANSWER_MS_MAX, Api};
use crate::shell::{unexpected, wall_clock};
use axum::Json;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use flocker_core::cluster::TokenRecord;
use flocker_core::control::{Request, Response};
use flocker_net::pki::{self, JoinToken, Role, TokenProof, TokenRefused};
use flocker_types::api::{
    ApiError, ErrorCode, JoinRequest, JoinResponse, NodeView, TokenRequest, TokenResponse,
};
use flocker_types::ids::NodeId;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep_until, timeout};
use uuid::Uuid;

/// Longest time for which a token is good, in milliseconds: a week.
pub const TOKEN_VALID_MS_MAX: u64 = 7 * 24 * 60 * 60 * 1_000;
/// Every refusal of a token takes this long, in milliseconds.
const REFUSAL_MS: u64 = 500;
/// Attempts at joining that are looked at at once; more wait.
const JOINS_OPEN_MAX: usize = 32;
/// Refusals of one address within [`REFUSALS_MS`] after which it has to wait.
const REFUSALS_MAX: u32 = 20;
/// See [`REFUSALS_MAX`], in milliseconds.
const REFUSALS_MS: u64 = 60_000;
/// Addresses that are remembered for having been refused.
const REFUSED_ADDRESSES_MAX: usize = 1_024;

/// Who tries to join now, and who was refused of late.
pub(super) struct JoinGate {
    open: Semaphore,
    refused: Mutex<BTreeMap<IpAddr, Refused>>,
}

/// Refusals of one address.
#[derive(Debug, Clone, Copy)]
struct Refused {
    since: Instant,
    count: u32,
}

impl Refused {
    fn is_over(&self, now: Instant) -> bool {
        now.duration_since(self.since) >= Duration::from_millis(REFUSALS_MS)
    }
}

impl Default for JoinGate {
    fn default() -> Self {
        Self {
            open: Semaphore::new(JOINS_OPEN_MAX),
            refused: Mutex::default(),
        }
    }
}

impl JoinGate {
    /// Waits for a place, unless this address was refused too often.
    async fn enter(&self, peer: IpAddr) -> Result<SemaphorePermit<'_>, Refusal> {
        let busy = |message: String| {
            Refusal::new(
                StatusCode::TOO_MANY_REQUESTS,
                ErrorCode::Unavailable,
                message,
            )
            .hint("try again in a minute")
        };
        if !self.may_try(peer, Instant::now()) {
            return Err(busy(format!(
                "too many join tokens from {peer} were refused"
            )));
        }
        let limit = Duration::from_millis(ANSWER_MS_MAX);
        match timeout(limit, self.open.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(busy("too many servers join at once".to_owned())),
        }
    }

    fn may_try(&self, peer: IpAddr, now: Instant) -> bool {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.retain(|_, earlier| !earlier.is_over(now));
        match refused.get(&peer) {
            Some(earlier) => earlier.count < REFUSALS_MAX,
            // With the memory full nobody new may try: there is an attack going on.
            None => refused.len() < REFUSED_ADDRESSES_MAX,
        }
    }

    fn note_refusal(&self, peer: IpAddr, now: Instant) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = refused.entry(peer).or_insert(Refused {
            since: now,
            count: 0,
        });
        entry.count = entry.count.saturating_add(1);
    }
}

/// `POST /v1/tokens`: makes a token with which one server may join, once.
///
/// Takes a [`TokenRequest`] (from 1 ms to a week), answers 200 with a [`TokenResponse`]. The token is
/// shown here and never again.
pub(super) async fn make_token(
    State(api): State<Arc<Api>>,
    user: User,
    Body(request): Body<TokenRequest>,
) -> Result<Json<TokenResponse>, Refusal> {
    let valid_ms = request.valid_ms;
    if !(1..=TOKEN_VALID_MS_MAX).contains(&valid_ms) {
        return Err(Refusal::invalid(format!(
            "a token cannot be valid for {valid_ms} ms: valid_ms is from 1 to {TOKEN_VALID_MS_MAX}"
        )));
    }
    let node = match &request.node {
        Some(text) => Some(node_called(&api, &user, text).await?),
        None => None,
    };
    let token = JoinToken::create(api.authorities.current().fingerprint()).map_err(|error| {
        tracing::error!(%error, "no join token could be made");
        Refusal::from(ApiError {
            code: ErrorCode::Internal,
            message: error.to_string(),
            hint: Some("try again".to_owned()),
        })
    })?;
    let mut expires = wall_clock();
    expires.0 = expires.0.saturating_add(valid_ms);
    let record = token.record(expires);
    let record = TokenRecord {
        id: record.id,
        secret_sha256: record.secret_sha256,
        expires: record.expires,
        node,
    };
    match api.ask(&user, Request::AddToken(record)).await? {
        Response::Done => Ok(Json(TokenResponse {
            token: token.to_string(),
            expires,
        })),
        other => Err(unexpected(&other).into()),
    }
}

async fn node_called(api: &Api, user: &User, text: &str) -> Result<NodeId, Refusal> {
    let limit = Duration::from_millis(ANSWER_MS_MAX);
    let view = match api.handle.ask(&user.name, Request::Status, limit).await? {
        Response::Status(view) => view,
        other => return Err(unexpected(&other).into()),
    };
    let is_called = |node: &&NodeView| {
        node.name.as_str() == text
            || node.address.to_string() == text
            || node.id.to_string() == text
    };
    match view.nodes.iter().find(is_called) {
        Some(node) => Ok(node.id),
        None => Err(Refusal::from(ApiError {
            code: ErrorCode::NotFound,
            message: format!("there is no node {text}"),
            hint: Some("flocker node ls lists the nodes".to_owned()),
        })),
    }
}

/// `POST /v1/join`: a server becomes a node. The one route that needs no certificate.
///
/// Takes a [`JoinRequest`] whose `token` is the proof made from the token (its id and secret, not the
/// authority's fingerprint), answers 200 with a [`JoinResponse`]; 403 when the token is not good, 409
/// when the name or address is taken, 503 after too many refusals. The token is used up by an answer
/// of 200, and by nothing else.
pub(super) async fn join(
    State(api): State<Arc<Api>>,
    PeerIp(peer): PeerIp,
    Extension(subject): Extension<Subject>,
    Body(request): Body<JoinRequest>,
) -> Result<Json<JoinResponse>, Refusal> {
    let _place = api.joins.enter(peer).await?;
    let answer_at = Instant::now() + Duration::from_millis(REFUSAL_MS);
    let id = match check_token(&api, &request.token).await? {
        Ok(id) => id,
        Err(refused) => {
            api.joins.note_refusal(peer, Instant::now());
            tracing::warn!(%peer, name = %request.name, reason = %refused, "a join was refused");
            sleep_until(answer_at).await;
            let hint = "make a new token with `flocker token` and use it once";
            return Err(Refusal::forbidden(refused.to_string()).hint(hint));
        }
    };
    // What is wrong with the request must show before the token is used up. The certificate, of
    // nobody, goes no further than here.
    let of_nobody = Role::Node(NodeId(Uuid::nil()));
    api.sign(&request.certificate_request, of_nobody)?;
    let taken = Request::Join {
        token: id,
        name: request.name.clone(),
        address: request.address,
    };
    let user = User {
        name: format!("{} at {peer}", request.name),
        subject,
    };
    let node = match api.ask(&user, taken).await? {
        Response::Joined { node } => node,
        other => return Err(unexpected(&other).into()),
    };
    let (certificate, noted) = api.sign(&request.certificate_request, Role::Node(node))?;
    api.certificates.note_issued(&noted);
    tracing::info!(%node, name = %request.name, address = %request.address, "a node joined");
    Ok(Json(JoinResponse {
        cluster: api.facts.cluster,
        node,
        certificate,
        authority: api.authorities.trusted_pem(),
        control: api.facts.control,
        service_network: api.facts.service_network.clone(),
        container_network: api.facts.container_network.clone(),
    }))
}

/// The id of the token that this proves, or why it proves none.
async fn check_token(api: &Api, proof: &str) -> Result<Result<String, TokenRefused>, Refusal> {
    let Ok(proof) = proof.parse::<TokenProof>() else {
        return Ok(Err(TokenRefused::Unknown));
    };
    let id = proof.id();
    let found = api.handle.token(&id).await.map_err(ApiError::from)?;
    // Where there is none the same work is done, on a record that nothing matches.
    let record = found.unwrap_or_else(|| TokenRecord {
        id: id.clone(),
        secret_sha256: String::new(),
        expires: flocker_types::time::UnixMs(0),
        node: None,
    });
    let record = pki::TokenRecord {
        id: record.id,
        secret_sha256: record.secret_sha256,
        expires: record.expires,
    };
    Ok(record.check(&proof, wall_clock()).map(|()| id))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u32) -> IpAddr {
        IpAddr::V4(std::net::Ipv4Addr::from(0x0a00_0000 + last))
    }

    #[test]
    fn an_address_that_was_refused_too_often_has_to_wait() {
        let gate = JoinGate::default();
        let now = Instant::now();
        for _ in 0..REFUSALS_MAX {
            assert!(gate.may_try(address(1), now));
            gate.note_refusal(address(1), now);
        }
        assert!(!gate.may_try(address(1), now));
        assert!(gate.may_try(address(2), now), "others are not concerned");
        let later = now + Duration::from_millis(REFUSALS_MS);
        assert!(gate.may_try(address(1), later));
    }

    #[test]
    fn refused_addresses_do_not_fill_the_memory() {
        let gate = JoinGate::default();
        let now = Instant::now();
        let full = u32::try_from(REFUSED_ADDRESSES_MAX).unwrap();
        for last in 0..full {
            gate.note_refusal(address(last), now);
        }
        assert!(!gate.may_try(address(full), now));
        assert!(gate.may_try(address(0), now), "it has attempts left");
        let later = now + Duration::from_millis(REFUSALS_MS);
        assert!(gate.may_try(address(full), later));
        assert!(gate.refused.lock().unwrap().is_empty());
    }
}
