//! The newest certificate of each node and user that control has seen or issued, and what each process of
//! a node says that it trusts: for the warnings before an end, and for a change of the authority.
//!
//! The API notes what connections show and what it issues; the status and [`crate::rotation`] read. It is
//! kept in a file, so that a node that is away shows up with its end after a restart too. It decides
//! nothing, and a file that is lost fills again as members come.

use crate::authorities::Rotation;
use flocker_net::pki::{FileError, Identity, MemberCertificate, Role, read_text, write_secret};
use flocker_net::tls::Revocations;
use flocker_types::access::{NodeProcess, UserRole};
use flocker_types::ids::{ClusterId, NodeId};
use flocker_types::time::UnixMs;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Users that are remembered; control has as many at most.
const USERS_MAX: usize = 10_000;
/// Authorities that a process may say it trusts.
const TRUSTED_MAX: usize = 8;

/// By member. Clones are of the same list.
#[derive(Debug, Clone)]
pub(crate) struct Certificates {
    cluster: ClusterId,
    path: Arc<PathBuf>,
    known: Arc<Mutex<Known>>,
}

#[derive(Debug, Default, PartialEq, Eq, Clone, Serialize, Deserialize)]
struct Known {
    nodes: BTreeMap<NodeId, OfNode>,
    users: BTreeMap<String, OfUser>,
}

#[derive(Debug, Default, PartialEq, Eq, Clone, Serialize, Deserialize)]
struct OfNode {
    newest: Option<Shown>,
    #[serde(default)]
    held: HeldBy,
}

#[derive(Debug, PartialEq, Eq, Clone, Serialize, Deserialize)]
struct OfUser {
    role: UserRole,
    newest: Shown,
}

/// A certificate, without whose it is.
#[derive(Debug, PartialEq, Eq, Clone, Serialize, Deserialize)]
pub(crate) struct Shown {
    serial: String,
    issued: UnixMs,
    expires: UnixMs,
    /// The identifier of the key that has signed it.
    pub(crate) issuer: String,
}

/// What a process shows, and the authorities that it trusts.
#[derive(Debug, PartialEq, Eq, Clone, Serialize, Deserialize)]
pub(crate) struct Held {
    pub(crate) shows: Shown,
    pub(crate) trusts: Vec<String>,
}

/// By process of a node, as far as they have said.
#[derive(Debug, Default, PartialEq, Eq, Clone, Serialize, Deserialize)]
pub(crate) struct HeldBy {
    pub(crate) agent: Option<Held>,
    pub(crate) proxy: Option<Held>,
}

impl Shown {
    fn of(certificate: &MemberCertificate) -> Self {
        Self {
            serial: certificate.serial.clone(),
            issued: certificate.issued,
            expires: certificate.expires,
            issuer: certificate.issuer.clone(),
        }
    }

    fn of_member(&self, cluster: ClusterId, role: Role) -> MemberCertificate {
        MemberCertificate {
            identity: Identity { cluster, role },
            serial: self.serial.clone(),
            issued: self.issued,
            expires: self.expires,
            issuer: self.issuer.clone(),
        }
    }
}

impl Certificates {
    /// Goes on with the list in this file, or begins one.
    pub(crate) fn open(path: PathBuf, cluster: ClusterId) -> Self {
        let known = read(&path).unwrap_or_else(|reason| {
            tracing::warn!(reason, "the list of certificates begins anew");
            Known::default()
        });
        Self {
            cluster,
            path: Arc::new(path),
            known: Arc::new(Mutex::new(known)),
        }
    }

    /// Remembers a certificate that was shown, unless one is known that is as new.
    pub(crate) fn note(&self, certificate: &MemberCertificate) {
        self.remember(certificate, |old| old.issued < certificate.issued);
    }

    /// Remembers one that was issued: of two of the same second it is the newer one.
    pub(crate) fn note_issued(&self, certificate: &MemberCertificate) {
        self.remember(certificate, |old| old.issued <= certificate.issued);
    }

    fn remember(&self, certificate: &MemberCertificate, is_newer: impl Fn(&Shown) -> bool) {
        let shown = Shown::of(certificate);
        let mut known = self.known();
        match &certificate.identity.role {
            Role::Control => return,
            Role::Node(node) => {
                let newest = &mut known.nodes.entry(*node).or_default().newest;
                if !newest.as_ref().is_none_or(&is_newer) {
                    return;
                }
                *newest = Some(shown);
            }
            Role::User { name, role } => {
                let newest = known.users.get(name).map(|user| &user.newest);
                let full = newest.is_none() && known.users.len() >= USERS_MAX;
                if full || !newest.is_none_or(&is_newer) {
                    return;
                }
                let user = OfUser {
                    role: *role,
                    newest: shown,
                };
                known.users.insert(name.clone(), user);
            }
        }
        self.keep(&known);
    }

    /// Remembers what a process of a node shows and says that it trusts.
    pub(crate) fn note_held(
        &self,
        certificate: &MemberCertificate,
        process: NodeProcess,
        mut trusts: Vec<String>,
    ) {
        let Role::Node(node) = certificate.identity.role else {
            return;
        };
        self.note(certificate);
        trusts.truncate(TRUSTED_MAX);
        let held = Some(Held {
            shows: Shown::of(certificate),
            trusts,
        });
        let mut known = self.known();
        let by = &mut known.nodes.entry(node).or_default().held;
        let place = match process {
            NodeProcess::Agent => &mut by.agent,
            NodeProcess::Proxy => &mut by.proxy,
        };
        if *place != held {
            *place = held;
            self.keep(&known);
        }
    }

    /// The newest of a node, if one was seen.
    pub(crate) fn of(&self, node: NodeId) -> Option<MemberCertificate> {
        let known = self.known();
        let newest = known.nodes.get(&node)?.newest.as_ref()?;
        Some(newest.of_member(self.cluster, Role::Node(node)))
    }

    /// What the processes of a node have said.
    pub(crate) fn held(&self, node: NodeId) -> HeldBy {
        let known = self.known();
        known
            .nodes
            .get(&node)
            .map(|one| one.held.clone())
            .unwrap_or_default()
    }

    /// Users who can come in, and have no certificate of the new authority yet.
    pub(crate) fn users_without(
        &self,
        rotation: &Rotation,
        revocations: &Revocations,
        now: UnixMs,
    ) -> Vec<String> {
        let known = self.known();
        let hang = known.users.iter().filter(|(name, user)| {
            let role = Role::User {
                name: (*name).clone(),
                role: user.role,
            };
            let newest = user.newest.of_member(self.cluster, role);
            newest.expires > now && newest.issuer != rotation.new && !revocations.covers(&newest)
        });
        hang.map(|(name, _)| name.clone()).collect()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Each change is one assignment.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, known: &Known) {
        let written = serde_json::to_string(known)
            .map_err(|error| error.to_string())
            .and_then(|text| {
                write_secret(&self.path, &text)
                    .map_err(|error| crate::api::Chain(&error).to_string())
            });
        if let Err(reason) = written {
            tracing::warn!(
                reason,
                "the list of certificates is not kept over a restart"
            );
        }
    }
}

fn read(path: &Path) -> Result<Known, String> {
    match read_text(path) {
        Ok(text) => serde_json::from_str(&text).map_err(|error| error.to_string()),
        Err(FileError::Read { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            Ok(Known::default())
        }
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    const CLUSTER: ClusterId = ClusterId(Uuid::from_u128(1));
    const NODE: NodeId = NodeId(Uuid::from_u128(2));

    fn certificate(role: Role, issued: u64) -> MemberCertificate {
        MemberCertificate {
            identity: Identity {
                cluster: CLUSTER,
                role,
            },
            serial: format!("{issued:032x}"),
            issued: UnixMs(issued),
            expires: UnixMs(issued + 1_000),
            issuer: "aa".to_owned(),
        }
    }

    #[test]
    fn what_was_seen_is_there_after_a_restart_and_older_ones_do_not_come_back() {
        let directory = tempfile::tempdir().unwrap();
        let open = || Certificates::open(directory.path().join("certificates.json"), CLUSTER);
        let first = open();
        let newest = certificate(Role::Node(NODE), 9);
        first.note(&newest);
        first.note(&certificate(Role::Node(NODE), 5));
        first.note_held(&newest, NodeProcess::Proxy, vec!["aa".to_owned()]);
        let again = open();
        assert_eq!(again.of(NODE), Some(newest));
        assert_eq!(again.held(NODE).proxy.unwrap().trusts, ["aa"]);
        assert_eq!(again.held(NODE).agent, None);
        std::fs::write(directory.path().join("certificates.json"), "{").unwrap();
        assert_eq!(open().of(NODE), None);
    }
}
