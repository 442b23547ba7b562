//! Moves a change of the authority on: sees who trusts and shows what, has nodes renew, and goes to the
//! next phase when nobody is waited for any more.
//!
//! It waits for the nodes that are in the store and not revoked, connected or not: one that missed a
//! phase would be alone. See `docs/decisions/0017-a-new-authority-is-trusted-before-it-signs.md`.

use crate::authorities::{Authorities, Rotation};
use crate::certificates::{Certificates, HeldBy};
use crate::shell::{Handle, wall_clock};
use flocker_core::control::{AccessRequest, Request, Response};
use flocker_net::pki::Role;
use flocker_net::tls::Revocations;
use flocker_types::access::{RenewNodesRequest, RotationPhase, RotationView};
use flocker_types::api::{ClusterView, LinkView, NodeView};
use flocker_types::ids::NodeId;
use flocker_types::time::UnixMs;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Between two looks while a change goes on, in milliseconds.
const LOOK_MS: u64 = 2_000;
/// A node that was told to renew is told again after this long, in milliseconds.
const TELL_AGAIN_MS: u64 = 30_000;
/// For an answer of the core, in milliseconds.
const ANSWER_MS_MAX: u64 = 30_000;
/// In whose name the core is asked.
const CONTROL: &str = "control";

/// What is looked at.
pub(crate) struct Turning {
    pub(crate) handle: Handle,
    pub(crate) authorities: Arc<Authorities>,
    pub(crate) certificates: Certificates,
    pub(crate) revocations: Revocations,
}

impl Turning {
    /// Goes on for ever.
    pub(crate) async fn run(self) {
        let mut told = BTreeMap::new();
        let mut changes = self.authorities.changes();
        loop {
            let Some(rotation) = self.authorities.rotation() else {
                told.clear();
                // The sender is in `self`, so waiting cannot fail.
                let _ = changes.changed().await;
                continue;
            };
            self.step(&rotation, &mut told).await;
            sleep(Duration::from_millis(LOOK_MS)).await;
        }
    }

    async fn step(&self, rotation: &Rotation, told: &mut BTreeMap<NodeId, Instant>) {
        let limit = Duration::from_millis(ANSWER_MS_MAX);
        let Ok(Response::Status(view)) = self.handle.ask(CONTROL, Request::Status, limit).await
        else {
            return;
        };
        let waiting = waiting_nodes(rotation, &view, &self.certificates, &self.revocations);
        if waiting.is_empty() {
            told.clear();
            return self.next_phase(rotation);
        }
        for node in waiting {
            let lately = |at: &Instant| at.elapsed() < Duration::from_millis(TELL_AGAIN_MS);
            let connected = matches!(node.agent, LinkView::Connected(_));
            if !connected || told.get(&node.id).is_some_and(lately) {
                continue;
            }
            told.insert(node.id, Instant::now());
            let renew = AccessRequest::RenewNodes(RenewNodesRequest {
                node: Some(node.id.to_string()),
            });
            let asked = self
                .handle
                .ask(CONTROL, Request::Access(renew), limit)
                .await;
            if let Err(error) = asked {
                tracing::warn!(node = %node.name, %error, "a node was not told to renew");
            }
        }
    }

    fn next_phase(&self, rotation: &Rotation) {
        let (what, done) = match rotation.phase {
            RotationPhase::Introducing => (
                "every node trusts the new authority: its certificates are given out",
                self.authorities.issue(),
            ),
            RotationPhase::Issuing => {
                let now = wall_clock();
                let users = self
                    .certificates
                    .users_without(rotation, &self.revocations, now);
                if now < rotation.until || !users.is_empty() {
                    return;
                }
                let what = "nobody has a certificate of the old authority any more: it is dropped";
                (what, self.authorities.drop_old().map(drop))
            }
            RotationPhase::Dropping => (
                "no node trusts the old authority any more: the change is done",
                self.authorities.end(),
            ),
        };
        match done {
            Ok(()) => tracing::info!(what),
            Err(error) => {
                let error = crate::api::Chain(&error).to_string();
                tracing::error!(error, "the change of the authority does not go on");
            }
        }
    }
}

/// The nodes that this phase waits for.
fn waiting_nodes<'a>(
    rotation: &Rotation,
    view: &'a ClusterView,
    certificates: &Certificates,
    revocations: &Revocations,
) -> Vec<&'a NodeView> {
    let mut nodes: Vec<&NodeView> = view.nodes.iter().collect();
    nodes.retain(|node| {
        let newest = certificates.of(node.id);
        let revoked = match &newest {
            Some(newest) => revocations.covers(newest),
            None => revocations.until(&Role::Node(node.id)).is_some(),
        };
        !revoked && !is_through(rotation, &certificates.held(node.id))
    });
    nodes
}

/// Whether a node has done what this phase is for, in both of its processes.
fn is_through(rotation: &Rotation, held: &HeldBy) -> bool {
    let both = [&held.agent, &held.proxy];
    both.into_iter().all(|one| {
        one.as_ref().is_some_and(|held| match rotation.phase {
            RotationPhase::Introducing => held.trusts.contains(&rotation.new),
            RotationPhase::Issuing => held.shows.issuer == rotation.new,
            RotationPhase::Dropping => !held.trusts.contains(&rotation.old),
        })
    })
}

/// How far it is, for the status.
pub(crate) fn view(
    rotation: &Rotation,
    status: &ClusterView,
    certificates: &Certificates,
    revocations: &Revocations,
    now: UnixMs,
) -> RotationView {
    let nodes = waiting_nodes(rotation, status, certificates, revocations);
    RotationView {
        phase: rotation.phase,
        begun: rotation.begun,
        until: rotation.until,
        nodes: nodes.iter().map(|node| node.name.to_string()).collect(),
        users: match rotation.phase {
            RotationPhase::Dropping => Vec::new(),
            _ => certificates.users_without(rotation, revocations, now),
        },
    }
}
