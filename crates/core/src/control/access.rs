//! Users, revocations and certificates: what is remembered of them, and who is told.
//!
//! The shell checks who may ask, and signs. What is revoked here is durable before anybody hears of it;
//! then every agent and proxy is told, and the links of who is revoked are closed.

use super::Control;
use super::event::{AccessRequest, Command, Response};
use super::requests::error;
use crate::cluster::Key;
use flocker_types::access::{
    AccessNotice, REVOCATION_KEPT_MS, REVOCATIONS_MAX, RenewNodesRequest, Revocation,
    RevokeRequest, Revoked, UserRecord,
};
use flocker_types::api::{ApiError, ErrorCode};
use flocker_types::ids::{NodeId, NodeName};
use flocker_types::link::{ToAgent, ToProxy};
use flocker_types::time::UnixMs;

/// Users that a cluster remembers.
const USERS_MAX: usize = 10_000;

impl Control {
    /// What every agent and proxy has to know when it connects, if there is anything.
    pub(super) fn revoked_notice(&self) -> Option<AccessNotice> {
        let revocations: Vec<Revocation> = self.state.revocations.values().cloned().collect();
        (!revocations.is_empty()).then_some(AccessNotice::Revoked { revocations })
    }

    pub(super) fn access(
        &mut self,
        request: AccessRequest,
        by: &str,
    ) -> Result<Response, ApiError> {
        match request {
            AccessRequest::AddUser(user) => self.add_user(user),
            AccessRequest::UserRenewed {
                name,
                serial,
                issued,
                expires,
            } => {
                if let Some(user) = self.state.users.get_mut(&name) {
                    (user.serial, user.issued, user.expires) = (serial, issued, expires);
                    self.state.touch(Key::User(name));
                }
                Ok(Response::Done)
            }
            AccessRequest::Users => Ok(Response::Users(
                self.state.users.values().cloned().collect(),
            )),
            AccessRequest::Revoke(request) => self.revoke(request, by),
            AccessRequest::RenewNodes(request) => self.renew_nodes(&request),
        }
    }

    fn add_user(&mut self, user: UserRecord) -> Result<Response, ApiError> {
        if let Some(old) = self.state.users.get(&user.name)
            && old.revoked.is_none()
        {
            let message = format!("there is a user {} already, as {}", old.name, old.role);
            let hint = format!(
                "choose another name; or revoke the old certificates first: flocker user revoke {}",
                old.name
            );
            return Err(error(ErrorCode::Conflict, message, &hint));
        }
        if self.state.users.len() >= USERS_MAX && !self.state.users.contains_key(&user.name) {
            let message = format!("there are {USERS_MAX} users already");
            let hint = "programs that do the same can share a certificate";
            return Err(error(ErrorCode::Conflict, message, hint));
        }
        let message = format!(
            "{} lets in user {} as {}",
            user.added_by, user.name, user.role
        );
        self.publish(message, None, None, None);
        self.state.touch(Key::User(user.name.clone()));
        self.state.users.insert(user.name.clone(), user);
        Ok(Response::Done)
    }

    fn revoke(&mut self, request: RevokeRequest, by: &str) -> Result<Response, ApiError> {
        self.forget_old_revocations();
        let (whom, name) = match request {
            RevokeRequest::Node(text) => {
                let Some(node) = self.state.node_called(&text) else {
                    return Err(no_node(&text));
                };
                (Revoked::Node(node.id), format!("node {}", node.name))
            }
            // A user of whom nothing is known may have a certificate all the same: the store may have
            // been rebuilt.
            RevokeRequest::User(name) => (Revoked::User(name.clone()), format!("user {name}")),
            RevokeRequest::Serial(serial) => {
                let words = format!("certificate {serial}");
                (Revoked::Serial(serial), words)
            }
        };
        let known = self.state.revocations.contains_key(&whom);
        if !known && self.state.revocations.len() >= REVOCATIONS_MAX {
            let message = format!("{REVOCATIONS_MAX} revocations are in force already");
            let hint = "they are forgotten when their certificates have expired";
            return Err(error(ErrorCode::Conflict, message, hint));
        }
        let before = self.state.revocations.get(&whom).map(|old| old.until);
        let revocation = Revocation {
            whom: whom.clone(),
            until: self.now.wall.max(before.unwrap_or_default()),
            by: by.to_owned(),
            mark: None,
        };
        self.publish(
            format!("{by}: the certificates of {name} are revoked"),
            None,
            None,
            None,
        );
        self.state.touch(Key::Revocation(whom.clone()));
        self.state
            .revocations
            .insert(whom.clone(), revocation.clone());
        self.tell_everybody(&AccessNotice::Revoked {
            revocations: vec![revocation.clone()],
        });
        self.shut_out(&whom, revocation.until);
        Ok(Response::Revoked(revocation))
    }

    /// What follows for who is revoked.
    fn shut_out(&mut self, whom: &Revoked, at: UnixMs) {
        match whom {
            Revoked::Node(node) => {
                for session in self.links.sessions_of(*node) {
                    let reason = "the node's certificate is revoked".to_owned();
                    self.commands.push(Command::Close(session, reason));
                }
            }
            Revoked::User(name) => {
                if let Some(user) = self.state.users.get_mut(name) {
                    user.revoked = Some(at);
                    self.state.touch(Key::User(name.clone()));
                }
            }
            // Whose it is, only connections know; the shell closes those.
            Revoked::Serial(serial) => {
                let mut users = self.state.users.values_mut();
                if let Some(user) = users.find(|user| user.serial == *serial) {
                    user.revoked = Some(at);
                    let key = Key::User(user.name.clone());
                    self.state.touch(key);
                }
            }
        }
    }

    /// Certificates from so long ago have expired.
    fn forget_old_revocations(&mut self) {
        let now = self.now.wall.0;
        let old: Vec<Revoked> = self
            .state
            .revocations
            .values()
            .filter(|revocation| revocation.until.0.saturating_add(REVOCATION_KEPT_MS) < now)
            .map(|revocation| revocation.whom.clone())
            .collect();
        for whom in old {
            self.state.revocations.remove(&whom);
            self.state.touch(Key::Revocation(whom));
        }
    }

    fn tell_everybody(&mut self, notice: &AccessNotice) {
        for node in self.links.agents() {
            self.tell_agent(node, ToAgent::Access(notice.clone()));
        }
        for session in self.links.proxies() {
            let message = ToProxy::Access(notice.clone());
            self.commands.push(Command::ToProxy(session, message));
        }
    }

    fn renew_nodes(&mut self, request: &RenewNodesRequest) -> Result<Response, ApiError> {
        let nodes: Vec<NodeId> = match &request.node {
            None => self.links.agents().into_iter().collect(),
            Some(text) => {
                let Some(node) = self.state.node_called(text) else {
                    return Err(no_node(text));
                };
                let (id, name) = (node.id, node.name.clone());
                if self.links.agent(id).is_none() {
                    let message = format!("the agent of {name} is away");
                    let hint = "try again when flocker status shows it as connected";
                    return Err(error(ErrorCode::Unavailable, message, hint));
                }
                vec![id]
            }
        };
        for node in nodes {
            self.tell_agent(node, ToAgent::Access(AccessNotice::Renew));
        }
        Ok(Response::Done)
    }

    /// Takes a token for a new certificate of a node that is a member.
    pub(super) fn join_again(
        &mut self,
        token: &str,
        name: &NodeName,
        id: NodeId,
    ) -> Result<Response, ApiError> {
        let Some(node) = self.state.nodes.get(&id) else {
            return Err(no_node(&id.to_string()));
        };
        if node.name != *name {
            let message = format!("the token is for node {}, not for {name}", node.name);
            let hint = format!("use it there, or make another one: flocker token --node {name}");
            return Err(error(ErrorCode::Conflict, message, &hint));
        }
        self.state.tokens.remove(token);
        self.state.touch(Key::Token(token.to_owned()));
        let message = format!("node {name} gets a new certificate by a token");
        self.publish(message, None, Some(id), None);
        Ok(Response::Joined { node: id })
    }
}

fn no_node(text: &str) -> ApiError {
    let message = format!("there is no node {text}");
    error(
        ErrorCode::NotFound,
        message,
        "flocker node ls lists the nodes",
    )
}
