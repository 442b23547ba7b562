//! One cell of the crash matrix being run: an operation under load, a fault in one of its steps, the
//! end of the fault, and what must be so after it.

use super::aim;
use super::cells::{Cell, Operation};
use super::faults::{Ends, undo_everything};
use super::subject::{DB, FRESH, Named, SIDES, Subject, placed};
use super::table::Row;
use crate::support::Cluster;
use flocker_testkit::load::fill_postgres;
use flocker_types::api::{RemoveRequest, RemoveVolumeRequest, Started};
use flocker_types::ids::OperationId;
use flocker_types::operation::{Operation as Record, OperationKind, OperationStatus, Phase};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// By then all must be well again.
pub(super) const HEAL_LIMIT: Duration = Duration::from_secs(240);
/// What makes a copy long enough to be hit.
const COPY_BYTES: u64 = 64 << 20;
const APPLICATION: &str = "matrix";
const SWAPPED: &str = "swap";

/// What the operation of a cell is about.
struct Stage {
    ends: Ends,
    /// The application, which is a new one each time something new is deployed.
    application: String,
    /// The services, the one that is aimed at first.
    services: Vec<Named>,
    subjects: Vec<Subject>,
}

/// Runs a cell; panics when something is not as it must be.
pub(super) async fn run(cluster: Arc<Cluster>, cell: Cell, lasts: Duration, number: usize) -> Row {
    let mut stage = set(&cluster, cell.operation, number).await;
    if cell.step.name == "copy" {
        let filled = fill_postgres(stage.subjects[0].config(), COPY_BYTES).await;
        filled.unwrap();
    }
    for subject in &stage.subjects {
        subject.take_longest_wait();
    }
    aim::before(&cluster, &cell, stage.ends).await;
    let ids = begin(&cluster, cell.operation, &stage).await;
    let hit = aim::hit(&cluster, &cell, ids[0], stage.ends).await;
    tokio::time::sleep(lasts).await;
    undo_everything(&cluster).await;
    aim::disarm(&cluster);

    let healed = Instant::now();
    let mut ends = Vec::new();
    for (id, (name, _)) in ids.iter().zip(&stage.services) {
        let ended = cluster.wait_operation(*id, HEAL_LIMIT).await.operation;
        let service = format!("{}/{name}", stage.application);
        let runs_on = judge(&cluster, &service, &ended).await;
        ends.push((ended, runs_on));
    }
    cluster.assert_heals(HEAL_LIMIT).await;
    let asked_again = run_again(&cluster, &mut stage, &ends).await;
    for subject in &stage.subjects {
        subject.more_rows().await;
    }
    let healed_after = healed.elapsed();
    assert!(healed_after < HEAL_LIMIT, "healed after {healed_after:?}");
    let mut row = Row::of(&cell, &hit, lasts);
    row.end = ends
        .iter()
        .map(|(ended, _)| end(&ended.status))
        .collect::<Vec<_>>()
        .join("; ")
        + asked_again;
    row.runs_on = places(&ends, stage.ends);
    row.healed_after_ms = milliseconds(healed_after);
    for subject in stage.subjects {
        row.longest_wait_ms = row
            .longest_wait_ms
            .max(milliseconds(subject.take_longest_wait()));
        cluster.assert_one_running_copy(&subject.service).await;
        let verified = subject.verify().await;
        row.acknowledged += verified.acknowledged;
        row.found += verified.rows;
    }
    if cell.operation == Operation::Deploy {
        clear(&cluster, &stage.application).await;
    }
    row
}

/// Makes sure that the services run and are written to, as the operation needs it.
async fn set(cluster: &Arc<Cluster>, operation: Operation, number: usize) -> Stage {
    let mut stage = Stage {
        ends: Ends {
            source: "n2",
            target: "n3",
        },
        application: APPLICATION.to_owned(),
        services: vec![DB],
        subjects: Vec::new(),
    };
    match operation {
        Operation::Deploy => {
            stage.application = format!("fresh-{number}");
            stage.services = vec![FRESH];
            if number % 2 == 1 {
                stage.ends = turned(stage.ends);
            }
            return stage;
        }
        Operation::Swap => {
            stage.application = SWAPPED.to_owned();
            stage.services = SIDES.to_vec();
        }
        _ => {}
    }
    let first = format!("{}/{}", stage.application, stage.services[0].0);
    if cluster
        .service(&first)
        .await
        .is_none_or(|view| view.node.is_none())
    {
        let nodes = [stage.ends.source, stage.ends.target];
        let services: Vec<_> = stage.services.iter().copied().zip(nodes).collect();
        run_all(cluster, &stage.application, &services).await;
    }
    if cluster.assert_one_running_copy(&first).await != stage.ends.source {
        stage.ends = turned(stage.ends);
    }
    if operation == Operation::Swap {
        // An earlier swap may have ended with both on one node.
        let nodes = [stage.ends.source, stage.ends.target];
        let services: Vec<_> = stage.services.iter().copied().zip(nodes).collect();
        run_all(cluster, &stage.application, &services).await;
    }
    for (name, port) in &stage.services {
        let service = format!("{}/{name}", stage.application);
        let subject = Subject::writing(cluster, service, *port).await;
        stage.subjects.push(subject);
    }
    if operation == Operation::DeployWithData {
        for id in remove(cluster, &first).await {
            cluster.wait_success(id).await;
        }
    }
    stage
}

/// Deploys services and waits until they run, on a machine that may be too busy for control's patience.
pub(super) async fn run_all(
    cluster: &Cluster,
    application: &str,
    services: &[(Named, &'static str)],
) {
    for id in cluster.start_deploy(&placed(application, services)).await {
        let ended = cluster.wait_operation(id, HEAL_LIMIT).await.operation;
        let is_tried_on = matches!(
            ended.status,
            OperationStatus::Succeeded
                | OperationStatus::Failed {
                    phase: Phase::Start,
                    ..
                }
        );
        assert!(is_tried_on, "{ended:#?}");
        cluster
            .one_running_copy(&ended.service.to_string(), HEAL_LIMIT)
            .await;
    }
}

fn turned(ends: Ends) -> Ends {
    Ends {
        source: ends.target,
        target: ends.source,
    }
}

async fn remove(cluster: &Cluster, service: &str) -> Vec<OperationId> {
    let service = service.parse().unwrap();
    let request = RemoveRequest { service };
    let started: Started = cluster
        .api
        .post("/v1/services/remove", &request)
        .await
        .unwrap();
    started.operations
}

/// Begins the operation; the first id is that of the one that is aimed at.
async fn begin(cluster: &Cluster, operation: Operation, stage: &Stage) -> Vec<OperationId> {
    let first = format!("{}/{}", stage.application, stage.services[0].0);
    let Ends { source, target } = stage.ends;
    match operation {
        Operation::Join => panic!("a server joins elsewhere: join.rs"),
        Operation::Move | Operation::Rollback => vec![cluster.start_move(&first, target).await],
        Operation::Remove => remove(cluster, &first).await,
        Operation::Deploy | Operation::DeployWithData | Operation::Swap => {
            let nodes = [target, source];
            let services: Vec<_> = stage.services.iter().copied().zip(nodes).collect();
            let files = placed(&stage.application, &services);
            let mut ids = cluster.start_deploy(&files).await;
            assert_eq!(ids.len(), stage.services.len(), "an operation per service");
            // A plan's steps are in no promised order.
            let view = cluster.operation(ids[0]).await;
            if view.is_some_and(|view| view.operation.service.to_string() != first) {
                ids.reverse();
            }
            ids
        }
    }
}

/// Waits until the service is where the operation says that it is, and nowhere else.
async fn judge(cluster: &Cluster, service: &str, ended: &Record) -> Option<&'static str> {
    let is_committed = match &ended.status {
        OperationStatus::Failed { phase, .. } => *phase > Phase::Commit,
        _ => true,
    };
    let expected = match (ended.kind, is_committed) {
        (OperationKind::Remove, true) | (OperationKind::Start, false) => None,
        (_, true) => ended.target,
        (_, false) => ended.source,
    };
    let Some(expected) = expected else {
        let running = cluster.running_on(service).await;
        assert!(
            running.is_empty(),
            "{service} runs on {running:?}: {ended:#?}"
        );
        return None;
    };
    let runs_on = cluster.one_running_copy(service, HEAL_LIMIT).await;
    let view = cluster.view().await;
    let node = view.nodes.iter().find(|node| node.id == expected);
    let expected = node.map(|node| node.name.to_string());
    assert_eq!(
        Some(runs_on),
        expected.as_deref(),
        "the operation says otherwise: {ended:#?}"
    );
    Some(runs_on)
}

/// What does not run now, because it was removed or not started, is deployed as a person would.
async fn run_again(
    cluster: &Arc<Cluster>,
    stage: &mut Stage,
    ends: &[(Record, Option<&'static str>)],
) -> &'static str {
    let mut asked = "";
    for ((name, port), (ended, runs_on)) in stage.services.clone().iter().zip(ends) {
        if runs_on.is_none() {
            let services = [((*name, *port), stage.ends.target)];
            run_all(cluster, &stage.application, &services).await;
            if ended.kind == OperationKind::Start {
                asked = "; succeeded when asked again";
            }
        }
    }
    if stage.subjects.is_empty() {
        for (name, port) in &stage.services {
            let service = format!("{}/{name}", stage.application);
            let subject = Subject::writing(cluster, service, *port).await;
            stage.subjects.push(subject);
        }
    }
    asked
}

/// Takes a service that was deployed for one cell away, with its data.
async fn clear(cluster: &Cluster, application: &str) {
    let service = format!("{application}/{}", FRESH.0);
    for id in remove(cluster, &service).await {
        cluster.wait_success(id).await;
    }
    let view = cluster.view().await;
    let volumes = view.volumes.iter();
    for volume in volumes.filter(|volume| volume.application.to_string() == application) {
        let request = RemoveVolumeRequest {
            volume: volume.id,
            grace_ms: 0,
        };
        let path = "/v1/volumes/remove";
        let removed: Result<(), _> = cluster.api.post(path, &request).await;
        removed.unwrap();
    }
}

fn end(status: &OperationStatus) -> String {
    match status {
        OperationStatus::Failed { failure, phase } => format!("failed in {phase}: {failure}"),
        OperationStatus::Succeeded => "succeeded".to_owned(),
        other => panic!("an operation that has ended is {other:?}"),
    }
}

/// Where each service runs after its operation. The second one goes the other way.
fn places(ends: &[(Record, Option<&'static str>)], of: Ends) -> String {
    let targets = [of.target, of.source];
    let place = |((_, runs_on), target): (&(Record, Option<&'static str>), &str)| match runs_on {
        None => "nowhere",
        Some(node) if *node == target => "target",
        Some(_) => "source",
    };
    let all: Vec<&str> = ends.iter().zip(targets).map(place).collect();
    all.join(", ")
}

pub(super) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
