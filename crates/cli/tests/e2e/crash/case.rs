//! One case of the crash matrix: a move under load, a fault in one of its phases, the end of the
//! fault, and what must be so after it.

use super::table::Row;
use crate::support::databases::wait_until_it_answers;
use crate::support::manifests::{File, nodes};
use crate::support::{Cluster, THREE};
use flocker_testkit::load::{PostgresRows, WriterSpec, Writers, fill_postgres};
use flocker_testkit::sandbox::{Role, Target};
use flocker_testkit::wait::{self, WaitError};
use flocker_types::operation::{OperationStatus, Phase};
use std::sync::Arc;
use std::time::{Duration, Instant};

const AGENT: Target = Target::One(Role::Agent);
const SERVICE: &str = "matrix/db";
const PORT: u16 = 5432;
/// A fault that is over soon.
pub(super) const SHORT: Duration = Duration::from_secs(2);
/// A fault that lasts longer than an operation waits for a node.
pub(super) const LONG: Duration = Duration::from_secs(40);
/// By then all must be well again.
const HEAL_LIMIT: Duration = Duration::from_secs(90);
/// What makes a copy long enough to be hit.
const COPY_BYTES: u64 = 96 << 20;
/// How far into the start its victim is hit.
const INTO_START: Duration = Duration::from_millis(300);
const WRITERS: WriterSpec = WriterSpec {
    clients: 2,
    pace: Duration::from_millis(10),
    limit: Duration::from_secs(600),
};

/// Stops and starts take their time, so that they can be hit; the health check shows the start's end.
const MANIFEST: &str = r#"
name: matrix
services:
  db:
    image: postgres:15
    command:
      - sh
      - -c
      - |
        trap 'sleep 0.7; kill -INT $$p; wait $$p; exit 0' TERM
        sleep 0.7
        docker-entrypoint.sh postgres & p=$$!
        wait $$p
    stop_signal: SIGTERM
    stop_grace_period: 20s
    environment: {POSTGRES_PASSWORD: secret}
    ports: ["5432:5432"]
    volumes: ["data:/var/lib/postgresql/data"]
    restart: always
    healthcheck:
      test: [CMD, pg_isready, -h, 127.0.0.1, -U, postgres]
      interval: 300ms
      timeout: 5s
      retries: 100
volumes:
  data: {}
"#;

/// Who is hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Victim {
    /// Control is killed.
    Control,
    /// The agent of the move's source is killed.
    Source,
    /// The agent of its target is killed.
    Target,
    /// The cable between the two is cut.
    Link,
    /// The container engine of the source is killed.
    SourceEngine,
    /// The container engine of the target is killed.
    TargetEngine,
    /// The source loses power: everything on it ends at once.
    SourcePower,
    /// The target loses power.
    TargetPower,
    /// The agent of the source stands still, and goes on later as if nothing had happened.
    SourceFrozen,
    /// The agent of the target stands still.
    TargetFrozen,
    /// The source is cut off from everybody.
    SourceAlone,
    /// The target is cut off from everybody.
    TargetAlone,
}

impl Victim {
    pub(super) const ALL: [Self; 12] = [
        Self::Control,
        Self::Source,
        Self::Target,
        Self::Link,
        Self::SourceEngine,
        Self::TargetEngine,
        Self::SourcePower,
        Self::TargetPower,
        Self::SourceFrozen,
        Self::TargetFrozen,
        Self::SourceAlone,
        Self::TargetAlone,
    ];
}

/// Who is hit when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Case {
    pub(super) victim: Victim,
    pub(super) phase: Phase,
    pub(super) fault: Duration,
}

/// Deploys the service, on a node without control.
pub(super) async fn deploy(cluster: &Cluster) {
    let files: [File; 2] = [
        ("compose.yml", MANIFEST.to_owned()),
        nodes(&[("n2", &["db"])]),
    ];
    cluster.deploy(&files).await;
}

/// Runs a case; panics when something is not as it must be.
pub(super) async fn run(cluster: Arc<Cluster>, case: Case) -> Row {
    let source = cluster.assert_one_running_copy(SERVICE).await;
    let target = if source == "n2" { "n3" } else { "n2" };
    let slow_proxy = matches!(case.phase, Phase::Hold | Phase::Release);
    let config = cluster.postgres_at(if slow_proxy { target } else { "n1" }, PORT);
    wait_until_it_answers(&config).await;
    if case.phase == Phase::Copy {
        fill_postgres(&config, COPY_BYTES).await.unwrap();
    }
    let rows = PostgresRows::create(&config).await.unwrap();
    let writers = Writers::start(rows.clone(), WRITERS);
    more_rows(&writers).await;
    if slow_proxy {
        // Control waits half a second for a proxy that does not answer.
        cluster
            .freeze("n1", Target::One(Role::Proxy))
            .await
            .unwrap();
    }
    writers.take_longest_wait();
    let id = cluster.start_move(SERVICE, target).await;
    let mut hit = cluster.wait_phase(id, case.phase).await;
    if case.phase == Phase::Start {
        tokio::time::sleep(INTO_START).await;
        hit = cluster
            .operation(id)
            .await
            .map_or(hit, |view| view.operation.phase);
    }
    strike(&cluster, case.victim, source, target).await;
    tokio::time::sleep(case.fault).await;
    undo_everything(&cluster).await;

    let healed = Instant::now();
    let ended = cluster.wait_operation(id, HEAL_LIMIT).await.operation;
    let runs_on = cluster.one_running_copy(SERVICE, HEAL_LIMIT).await;
    more_rows(&writers).await;
    let healed_after = healed.elapsed();
    let longest_wait = writers.take_longest_wait();
    assert!(
        healed_after < HEAL_LIMIT,
        "healed only after {healed_after:?}"
    );
    cluster.assert_heals(HEAL_LIMIT).await;
    assert_eq!(cluster.assert_one_running_copy(SERVICE).await, runs_on);
    let report = writers.stop().await;
    let verified = rows.verify(&report).await.unwrap();
    assert!(verified.is_whole(), "{verified:#?}");
    let succeeded = ended.status == OperationStatus::Succeeded;
    let expected = if succeeded { target } else { source };
    assert_eq!(runs_on, expected, "the move says otherwise: {ended:#?}");
    Row {
        victim: format!("{:?}", case.victim),
        aimed_at: case.phase.to_string(),
        hit: hit.to_string(),
        end: end(&ended.status),
        runs_on: (if runs_on == source {
            "source"
        } else {
            "target"
        })
        .to_owned(),
        healed_after_ms: milliseconds(healed_after),
        longest_wait_ms: milliseconds(longest_wait),
        rows: verified.acknowledged,
        failure: None,
    }
}

fn end(status: &OperationStatus) -> String {
    match status {
        OperationStatus::Failed { failure, phase } => format!("failed in {phase}: {failure}"),
        OperationStatus::Succeeded => "succeeded".to_owned(),
        other => panic!("an operation that has ended is {other:?}"),
    }
}

async fn strike(cluster: &Cluster, victim: Victim, source: &str, target: &str) {
    match victim {
        Victim::Control => cluster.kill("n1", Role::Control).await,
        Victim::Source => cluster.kill(source, Role::Agent).await,
        Victim::Target => cluster.kill(target, Role::Agent).await,
        Victim::Link => cluster.cut(source, target).await.unwrap(),
        Victim::SourceEngine => cluster.kill(source, Role::Docker).await,
        Victim::TargetEngine => cluster.kill(target, Role::Docker).await,
        Victim::SourcePower => cluster.power_off(source).await.unwrap(),
        Victim::TargetPower => cluster.power_off(target).await.unwrap(),
        Victim::SourceFrozen => drop(cluster.freeze(source, AGENT).await.unwrap()),
        Victim::TargetFrozen => drop(cluster.freeze(target, AGENT).await.unwrap()),
        Victim::SourceAlone => cluster.cut_all(source).await.unwrap(),
        Victim::TargetAlone => cluster.cut_all(target).await.unwrap(),
    }
}

/// Ends whatever fault there is.
pub(super) async fn undo_everything(cluster: &Cluster) {
    for node in ["n2", "n3"] {
        cluster.heal(node).await.unwrap();
        cluster.thaw(node, AGENT).await.unwrap();
    }
    cluster.thaw("n1", Target::One(Role::Proxy)).await.unwrap();
    cluster.start("n1", Role::Control).await.unwrap();
    for node in THREE {
        if !cluster.is_running(node, Role::Docker).unwrap() {
            match cluster.is_running(node, Role::Proxy).unwrap() {
                true => cluster.start(node, Role::Docker).await.unwrap(),
                false => cluster.power_on(node).await.unwrap(),
            }
        }
        cluster.start(node, Role::Agent).await.unwrap();
    }
}

async fn more_rows(writers: &Writers) {
    let aim = writers.acknowledged() + 20;
    wait::until::<_, WaitError, _, _>("more rows", HEAL_LIMIT, || async {
        Ok((writers.acknowledged() >= aim).then_some(()))
    })
    .await
    .unwrap();
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
