//! What control's port answers while the store is being made again: agents and proxies are listened
//! to, everybody else is told to wait.
//!
//! [`crate::recovery`] serves it in the place of the whole API.

use super::extract::Node;
use super::refusal::Refusal;
use crate::recovery::Gate;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::post;
use flocker_net::link::{self, AGENT_PATH, PROXY_PATH};
use flocker_types::api::ErrorCode;

/// The routes.
pub(crate) fn router(gate: Gate) -> Router {
    Router::new()
        .route(AGENT_PATH, post(agent_link))
        .route(PROXY_PATH, post(proxy_link))
        .fallback(not_now)
        .with_state(gate)
}

async fn agent_link(
    State(gate): State<Gate>,
    node: Node,
    request: Request,
) -> Result<Response, Refusal> {
    check(&gate, &node)?;
    let (link, response) = link::accept(request.into_body(), gate.limits());
    tokio::spawn(gate.hear_agent(node.certificate, node.id, link));
    Ok(response.map(Body::new))
}

async fn proxy_link(
    State(gate): State<Gate>,
    node: Node,
    request: Request,
) -> Result<Response, Refusal> {
    check(&gate, &node)?;
    let (link, response) = link::accept(request.into_body(), gate.limits());
    tokio::spawn(gate.hear_proxy(node.id, link));
    Ok(response.map(Body::new))
}

fn check(gate: &Gate, node: &Node) -> Result<(), Refusal> {
    match gate.has_revoked(&node.certificate) {
        true => Err(Refusal::forbidden("the node's certificate is revoked")),
        false => Ok(()),
    }
}

async fn not_now() -> Refusal {
    Refusal::new(
        StatusCode::SERVICE_UNAVAILABLE,
        ErrorCode::Unavailable,
        "control's store is being made again from the nodes",
    )
    .hint("services run on meanwhile; try again when `flocker recover` has ended")
}
