//! The limits with which control runs in the crash matrix: short ones, so that a fault can last longer
//! than all of them in the time that there is.

use super::faults::undo_everything;
use crate::support::Cluster;
use flocker_testkit::sandbox::Role;
use flocker_types::limits::OperationLimits;
use std::time::Duration;

/// Not less than what healthy processes need on a busy machine.
pub(super) fn limits() -> OperationLimits {
    OperationLimits {
        node_away_ms: 4_000,
        dependency_ms: 10_000,
        prepare_stall_ms: 10_000,
        copy_stall_ms: 8_000,
        last_delta_stall_ms: 5_000,
        hold_ms: 10_000,
        route_confirm_ms: 500,
        stop_ms: 5_000,
        head_ms: 4_000,
        start_ms: 15_000,
        keep_ms: 8_000,
        back_ms: 6_000,
    }
}

/// Gives control these limits, which it reads when it starts.
pub(super) async fn shorten(cluster: &Cluster) {
    let lines = serde_json::to_value(limits()).unwrap();
    let lines = lines.as_object().unwrap().iter();
    let text: String = lines
        .map(|(name, value)| format!("{name} = {value}\n"))
        .collect();
    let control = cluster
        .node("n1")
        .unwrap()
        .state_directory()
        .join("control");
    std::fs::write(control.join("limits.toml"), text).unwrap();
    cluster.kill("n1", Role::Control).await;
    undo_everything(cluster).await;
    cluster.assert_heals(Duration::from_secs(60)).await;
}
