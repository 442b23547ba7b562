//! The cells in which a server becomes a node, beside a service that is written to all the while.
//!
//! After each, control's store is put back to what it was and the server is made new, so that it can
//! join again.

use super::aim;
use super::case::{HEAL_LIMIT, milliseconds, run_all};
use super::cells::{Aim, Cell, Fault, Process};
use super::faults::{Ends, strike, undo_everything};
use super::subject::{DB, Subject};
use super::table::Row;
use crate::support::Cluster;
use crate::support::databases::wait_until_it_answers;
use flocker_testkit::process::ProcessRecord;
use flocker_testkit::sandbox::{Role, Sandbox, Target};
use flocker_testkit::wait::{self, WaitError};
use flocker_types::api::{LinkView, NodeView};
use nix::sys::signal::Signal;
use std::path::PathBuf;
use std::time::{Duration, Instant};

const SERVER: &str = "n4";
const SERVICE: &str = "matrix/db";
const ENDS: Ends = Ends {
    source: "n1",
    target: SERVER,
};

/// Whether the cluster has a server that may join.
pub(super) fn has_server(cluster: &Cluster) -> bool {
    cluster.node(SERVER).is_ok()
}

/// Adds the server, deploys the service, and keeps a copy of control's store.
pub(super) async fn make_ready(cluster: &mut Cluster) {
    run_all(cluster, "matrix", &[(DB, "n2")]).await;
    cluster.assert_heals(HEAL_LIMIT).await;
    stop_control(cluster, Signal::SIGTERM).await;
    std::fs::copy(store(cluster), copy_of_store(cluster)).unwrap();
    cluster.add_server().await;
}

async fn stop_control(cluster: &Cluster, signal: Signal) {
    let control = Target::One(Role::Control);
    let sandbox: &Sandbox = cluster;
    sandbox.kill("n1", control, signal).await.unwrap();
}

fn store(cluster: &Cluster) -> PathBuf {
    let state = cluster.node("n1").unwrap().state_directory();
    state.join("control/state.redb")
}

fn copy_of_store(cluster: &Cluster) -> PathBuf {
    store(cluster).with_extension("before")
}

/// Runs a cell; panics when something is not as it must be.
pub(super) async fn run(cluster: &Cluster, cell: Cell, lasts: Duration) -> Row {
    begin_anew(cluster).await;
    let subject = Subject::writing(cluster, SERVICE.to_owned(), DB.1).await;
    subject.take_longest_wait();
    if let Aim::Halted(place) = cell.step.aim {
        aim::arm(cluster, place);
    }
    let joining = start_join(cluster).await;
    match cell.step.aim {
        Aim::Halted(_) => hit_registration(cluster, &cell, joining).await,
        _ => {
            await_end(joining).await;
            start_roles(cluster).await;
            if cell.step.aim == Aim::Connected {
                await_nodes("the new agent to connect", cluster, |nodes| {
                    nodes
                        .iter()
                        .any(|node| node.name.as_str() == SERVER && is_up(node.agent))
                })
                .await;
            }
            strike(cluster, cell.process, cell.fault, ENDS).await;
        }
    }
    tokio::time::sleep(lasts).await;
    undo(cluster, joining).await;

    let healed = Instant::now();
    await_end(joining).await;
    let mut end = "joined";
    if !cluster.has_joined(SERVER).unwrap() {
        end = "joined when asked again";
        await_nodes("control to answer", cluster, |_| true).await;
        await_end(start_join(cluster).await).await;
        assert!(cluster.has_joined(SERVER).unwrap(), "{}", log(cluster));
    }
    start_roles(cluster).await;
    await_nodes("four nodes to be connected", cluster, |nodes| {
        nodes.len() == 4
            && nodes
                .iter()
                .all(|node| is_up(node.agent) && is_up(node.proxy))
    })
    .await;
    wait_until_it_answers(&cluster.postgres_at(SERVER, DB.1)).await;
    subject.more_rows().await;
    let mut row = Row::of(&cell, cell.step.name, lasts);
    row.healed_after_ms = milliseconds(healed.elapsed());
    row.longest_wait_ms = milliseconds(subject.take_longest_wait());
    row.end = end.to_owned();
    assert_eq!(cluster.assert_one_running_copy(SERVICE).await, "n2");
    row.runs_on = "unmoved".to_owned();
    let verified = subject.verify().await;
    row.acknowledged = verified.acknowledged;
    row.found = verified.rows;
    row
}

/// Makes the server new and lets control forget it.
async fn begin_anew(cluster: &Cluster) {
    cluster.renew(SERVER).await.unwrap();
    stop_control(cluster, Signal::SIGKILL).await;
    std::fs::copy(copy_of_store(cluster), store(cluster)).unwrap();
    undo_everything(cluster).await;
    await_nodes("three nodes to be connected", cluster, |nodes| {
        nodes.len() == 3
            && nodes
                .iter()
                .all(|node| is_up(node.agent) && is_up(node.proxy))
    })
    .await;
}

async fn start_join(cluster: &Cluster) -> ProcessRecord {
    let token = cluster.run(&["token"]).await;
    cluster.start_join(SERVER, token.trim()).unwrap()
}

async fn start_roles(cluster: &Cluster) {
    for role in [Role::Agent, Role::Proxy] {
        cluster.start(SERVER, role).await.unwrap();
    }
}

/// Control has stopped itself while it registers the node.
async fn hit_registration(cluster: &Cluster, cell: &Cell, joining: ProcessRecord) {
    aim::await_halt(cluster).await;
    match (cell.process, cell.fault) {
        (Process::JoinCommand, Fault::Killed) => assert!(joining.signal(Signal::SIGKILL)),
        (Process::JoinCommand, _) => assert!(joining.signal(Signal::SIGSTOP)),
        _ => strike(cluster, cell.process, cell.fault, ENDS).await,
    }
    if cell.process != Process::Control || cell.fault == Fault::Cut {
        aim::go_on(cluster).await;
    }
}

async fn undo(cluster: &Cluster, joining: ProcessRecord) {
    cluster.heal(SERVER).await.unwrap();
    cluster.thaw_all(SERVER).await.unwrap();
    joining.signal(Signal::SIGCONT);
    undo_everything(cluster).await;
    aim::disarm(cluster);
    if !cluster.is_running(SERVER, Role::Docker).unwrap() {
        let is_off = cluster.tool_on(SERVER, "true").is_err();
        match is_off {
            true => cluster.boot(SERVER).await.unwrap(),
            false => cluster.start(SERVER, Role::Docker).await.unwrap(),
        }
    }
}

async fn await_end(joining: ProcessRecord) {
    wait::until::<_, WaitError, _, _>("flocker join to end", HEAL_LIMIT, || async {
        Ok((!joining.is_running()).then_some(()))
    })
    .await
    .unwrap();
}

fn is_up(link: LinkView) -> bool {
    matches!(link, LinkView::Connected(_))
}

async fn await_nodes(what: &str, cluster: &Cluster, is_so: impl Fn(&[NodeView]) -> bool) {
    let is_so = &is_so;
    wait::until::<_, WaitError, _, _>(what, HEAL_LIMIT, || async move {
        Ok(is_so(&cluster.view().await.nodes).then_some(()))
    })
    .await
    .unwrap();
}

/// What `flocker join` said.
fn log(cluster: &Cluster) -> String {
    let log = cluster.node(SERVER).unwrap().log("join");
    std::fs::read_to_string(log).unwrap_or_default()
}
