//! Striking a victim, and ending whatever fault there is.

use super::cells::{Fault, Process};
use crate::support::{Cluster, THREE};
use flocker_testkit::sandbox::{Role, Target};

/// Source and target of an operation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ends {
    pub(super) source: &'static str,
    pub(super) target: &'static str,
}

/// Which node and which of its processes; no process for the whole node.
fn victim(process: Process, ends: Ends) -> (&'static str, Option<Role>) {
    let Ends { source, target } = ends;
    match process {
        Process::Control => ("n1", Some(Role::Control)),
        Process::AgentOfSource => (source, Some(Role::Agent)),
        Process::AgentOfTarget => (target, Some(Role::Agent)),
        Process::ProxyOfSource => (source, Some(Role::Proxy)),
        Process::ProxyOfTarget => (target, Some(Role::Proxy)),
        Process::EngineOfSource => (source, Some(Role::Docker)),
        Process::EngineOfTarget => (target, Some(Role::Docker)),
        Process::NodeOfSource | Process::Link => (source, None),
        Process::NodeOfTarget | Process::JoinCommand => (target, None),
    }
}

/// The fault begins.
pub(super) async fn strike(cluster: &Cluster, process: Process, fault: Fault, ends: Ends) {
    let (node, role) = victim(process, ends);
    match (fault, role) {
        (Fault::Cut, None) if process == Process::Link => {
            cluster.cut(ends.source, ends.target).await.unwrap();
        }
        (Fault::Killed, Some(role)) => cluster.kill(node, role).await,
        (Fault::Killed, None) => cluster.power_off(node).await.unwrap(),
        (Fault::Frozen, Some(role)) => {
            let hit = cluster.freeze(node, Target::One(role)).await.unwrap();
            assert_eq!(hit, [role], "{} of {node}", role.name());
        }
        (Fault::Frozen, None) => cluster.freeze_all(node).await.unwrap(),
        (Fault::Cut, Some(role)) => cluster.cut_process(node, role).await.unwrap(),
        (Fault::Cut, None) => cluster.cut_all(node).await.unwrap(),
    }
}

/// Ends whatever fault there is.
pub(super) async fn undo_everything(cluster: &Cluster) {
    for node in THREE {
        cluster.heal(node).await.unwrap();
        cluster.thaw_all(node).await.unwrap();
    }
    cluster.start("n1", Role::Control).await.unwrap();
    for node in THREE {
        let is_off = |role| !cluster.is_running(node, role).unwrap();
        if is_off(Role::Docker) && is_off(Role::Proxy) {
            cluster.power_on(node).await.unwrap();
        }
        for role in [Role::Docker, Role::Agent, Role::Proxy] {
            cluster.start(node, role).await.unwrap();
        }
    }
}
