//! What an agent writes down, so that after a crash or a reboot it knows what it was told.

use flocker_types::ids::{BootId, Epoch, Generation, NodeId, ServiceId, VolumeId};
use flocker_types::task::Directive;
use flocker_types::volume::VolumeLabel;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// An agent's durable memory. One small file; written whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct Ledger {
    /// The kernel's start in which the agent last ran.
    pub boot: Option<BootId>,
    /// The newest directive for each service.
    pub directives: BTreeMap<ServiceId, Directive>,
    /// The fixed container address of each service.
    pub addresses: BTreeMap<ServiceId, Ipv4Addr>,
    /// The directive under which each service's container was last started: one that ended under an
    /// older directive did not end by itself under this one.
    pub started_under: BTreeMap<ServiceId, Generation>,
    /// Time that each service's container gets to stop, in milliseconds; needed after its run
    /// directive is gone.
    pub stop_grace_ms: BTreeMap<ServiceId, u64>,
    /// For each service that was told to stop and not yet to go: the run directive before. Nothing is
    /// done with it here; control asks for it when its own store is gone.
    #[serde(default)]
    pub stopped: BTreeMap<ServiceId, Directive>,
    /// Volumes that may be received, and from whom alone.
    pub grants: BTreeMap<VolumeId, Grant>,
}

/// Permission to receive a volume.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Grant {
    /// The only node whose streams are accepted.
    pub source: NodeId,
    /// Its epoch; streams of another are refused.
    pub epoch: Epoch,
    /// The label under which to receive.
    pub label: VolumeLabel,
}
