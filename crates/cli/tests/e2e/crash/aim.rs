//! Hitting an operation in exactly the step that is aimed at.

use super::cells::{Aim, Cell, Fault, Process, Refusal};
use super::faults::{Ends, strike};
use crate::support::{Cluster, LIMIT};
use flocker_testkit::sandbox::{Role, Target};
use flocker_testkit::wait::{self, WaitError};
use flocker_types::ids::OperationId;
use std::path::PathBuf;
use std::time::Duration;

/// Where agents listen for each other's streams.
const STREAM_PORT: u16 = 4524;
const HOLD: &str = "hold after";

/// Makes ready what has to be so before the operation begins.
pub(super) async fn before(cluster: &Cluster, cell: &Cell, ends: Ends) {
    match (cell.step.refusal, cell.step.aim) {
        (Refusal::AtHold, _) => arm(cluster, HOLD),
        (_, Aim::Halted(place) | Aim::HaltedFor(place, _)) => arm(cluster, place),
        _ => {}
    }
    if cell.step.refusal == Refusal::AtFirst {
        refuse(cluster, ends).await;
    }
}

/// Waits for the step and strikes; says which one was hit.
pub(super) async fn hit(cluster: &Cluster, cell: &Cell, id: OperationId, ends: Ends) -> String {
    if cell.step.refusal == Refusal::AtHold {
        await_halt(cluster).await;
        refuse(cluster, ends).await;
        if let Aim::Halted(place) | Aim::HaltedFor(place, _) = cell.step.aim {
            arm(cluster, place);
        }
        go_on(cluster).await;
    }
    let name = cell.step.name.to_owned();
    match cell.step.aim {
        Aim::Seen(phase) => {
            let seen = cluster.wait_phase(id, phase).await;
            strike(cluster, cell.process, cell.fault, ends).await;
            if seen == phase {
                name
            } else {
                seen.to_string()
            }
        }
        Aim::SeenFor(phase, milliseconds) => {
            cluster.wait_phase(id, phase).await;
            tokio::time::sleep(Duration::from_millis(milliseconds)).await;
            let view = cluster.operation(id).await;
            strike(cluster, cell.process, cell.fault, ends).await;
            let seen = view.map_or(phase, |view| view.operation.phase);
            if seen == phase {
                name
            } else {
                seen.to_string()
            }
        }
        Aim::Halted(_) => {
            await_halt(cluster).await;
            strike(cluster, cell.process, cell.fault, ends).await;
            if cell.process != Process::Control || cell.fault == Fault::Cut {
                go_on(cluster).await;
            }
            name
        }
        Aim::Begun | Aim::Connected => panic!("{name} is hit by the join itself"),
        Aim::HaltedFor(_, milliseconds) => {
            await_halt(cluster).await;
            go_on(cluster).await;
            tokio::time::sleep(Duration::from_millis(milliseconds)).await;
            let view = cluster.operation(id).await;
            strike(cluster, cell.process, cell.fault, ends).await;
            let is_over = view.is_some_and(|view| view.operation.finished.is_some());
            if is_over { "over".to_owned() } else { name }
        }
    }
}

fn halt_file(cluster: &Cluster) -> PathBuf {
    let state = cluster.node("n1").unwrap().state_directory();
    state.join("control/halt")
}

/// Control will stop itself there.
pub(super) fn arm(cluster: &Cluster, place: &str) {
    let file = halt_file(cluster);
    #[cfg(not(feature = "test-halt"))]
    panic!(
        "only with --features test-halt does control read {}: {place}",
        file.display()
    );
    #[cfg(feature = "test-halt")]
    std::fs::write(file, place).unwrap();
}

/// No operation after this one is stopped.
pub(super) fn disarm(cluster: &Cluster) {
    let _never_armed = std::fs::remove_file(halt_file(cluster));
}

pub(super) async fn await_halt(cluster: &Cluster) {
    let what = "control to stop itself";
    wait::until::<_, WaitError, _, _>(what, LIMIT, || async {
        Ok(cluster
            .is_frozen("n1", Role::Control)
            .unwrap()
            .then_some(()))
    })
    .await
    .unwrap();
}

pub(super) async fn go_on(cluster: &Cluster) {
    let control = Target::One(Role::Control);
    cluster.thaw("n1", control).await.unwrap();
}

async fn refuse(cluster: &Cluster, ends: Ends) {
    let refused = cluster.refuse(ends.target, ends.source, STREAM_PORT).await;
    refused.unwrap();
}
