//! The newest certificate of each node that control has seen, for the warnings before its end.
//!
//! The API notes what links show and what it issues; the status reads. It is known anew when nodes connect.

use flocker_net::pki::MemberCertificate;
use flocker_types::ids::NodeId;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// By node.
#[derive(Debug, Default)]
pub(crate) struct NodeCertificates(Mutex<BTreeMap<NodeId, MemberCertificate>>);

impl NodeCertificates {
    /// Remembers a certificate, unless a newer one is known.
    pub(crate) fn note(&self, node: NodeId, certificate: MemberCertificate) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_newer = |old: &MemberCertificate| old.issued <= certificate.issued;
        if known.get(&node).is_none_or(is_newer) {
            known.insert(node, certificate);
        }
    }

    /// The newest of a node, if one was seen.
    pub(crate) fn of(&self, node: NodeId) -> Option<MemberCertificate> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&node).cloned()
    }
}
