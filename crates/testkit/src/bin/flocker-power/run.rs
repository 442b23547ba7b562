//! One run: a move under load, the plug pulled in one of its phases, the machine switched on again, and
//! what must be so after it.

use crate::cluster::{BOOT_LIMIT, Cluster, SERVICE, slowly};
use crate::say;
use crate::table::{Aim, Row, Side};
use anyhow::{Context, Result, anyhow, ensure};
use flocker_testkit::load::{
    Failure, NumberedRows, PostgresRows, PostgresSession, WriterSpec, Writers, fill_postgres,
};
use flocker_testkit::machines::{Dice, Machine};
use flocker_testkit::sandbox::{Role, Target};
use flocker_testkit::wait;
use flocker_types::operation::{Operation, OperationStatus, Phase};
use flocker_types::volume::StorageKind;
use std::time::{Duration, Instant};

const WRITERS: WriterSpec = WriterSpec {
    clients: 2,
    pace: Duration::from_millis(50),
    limit: Duration::from_secs(1800),
};
/// How much there is in the database besides the rows.
pub(crate) const FILLING_BYTES: u64 = 24 << 20;
/// What makes a copy long enough to be hit.
const COPY_BYTES: u64 = 12 << 20;
/// Rows before the move begins, and after everything is well again.
const ROWS: u64 = 20;
const CONNECT_AGAIN_AFTER: Duration = Duration::from_secs(1);
const PHASE_LIMIT: Duration = Duration::from_secs(240);
/// By then all must be well again.
const HEAL_LIMIT: Duration = Duration::from_secs(600);

/// Rows whose clients wait a second before they connect again: a hundred refused connections a second
/// would keep a slow machine from booting.
struct Patient(PostgresRows);

impl NumberedRows for Patient {
    type Session = PostgresSession;

    async fn open(&self) -> Result<PostgresSession, Failure> {
        let opened = self.0.open().await;
        if opened.is_err() {
            tokio::time::sleep(CONNECT_AGAIN_AFTER).await;
        }
        opened
    }

    async fn write(
        &self,
        session: &mut PostgresSession,
        client: u32,
        number: u64,
    ) -> Result<(), Failure> {
        self.0.write(session, client, number).await
    }
}

/// Runs it. An error says what is not as it must be, or what the test itself could not do.
pub(crate) async fn run(
    cluster: &mut Cluster,
    storage: StorageKind,
    aim: Aim,
    number: u64,
    row: &mut Option<Row>,
) -> Result<()> {
    let mut dice = Dice::new(number);
    let source = one_running_copy(cluster).await?;
    let target = 1 - source;
    let config = cluster.database()?;
    let answers = "PostgreSQL to answer";
    let rows = slowly(answers, PHASE_LIMIT, || async {
        Ok(PostgresRows::create(&config).await.ok())
    })
    .await?;
    if aim.phase == Phase::Copy {
        fill_postgres(&config, COPY_BYTES).await?;
    }
    let writers = Writers::start(Patient(rows.clone()), WRITERS);
    more_rows(&writers).await?;
    let slow_proxy = matches!(aim.phase, Phase::Hold | Phase::Release);
    if slow_proxy {
        // Control waits half a second for a proxy that does not answer.
        freeze(cluster).await?;
    }
    let name = cluster.machines[target].name().to_owned();
    let id = cluster.start_move(&name).await?;
    await_phase(cluster, &id, aim.phase).await?;
    if aim.misses == 0 {
        tokio::time::sleep(Duration::from_millis(dice.below(into_phase_ms(aim.phase)))).await;
    }
    let victim = match aim.side {
        Side::Source => source,
        Side::Target => target,
    };
    await_unflushed(&cluster.machines[victim], into_phase_ms(aim.phase)).await;
    let seed = dice.draw();
    let cut = cluster.machines[victim].pull_plug(seed).await?;
    let off = Instant::now();
    let hit = operation(cluster, &id).await?;
    if slow_proxy {
        thaw(cluster).await?;
    }
    tokio::time::sleep(Duration::from_millis(500 + dice.below(8000))).await;
    let off_ms = off.elapsed().as_millis();
    cluster.machines[victim].plug_in()?;
    let filled = row.insert(Row {
        run: number,
        storage,
        side: aim.side,
        aimed_at: aim.phase,
        hit: match hit.finished {
            Some(_) => "after it".to_owned(),
            None => hit.phase.to_string(),
        },
        seed,
        off_ms,
        unflushed_blocks: cut.unflushed_blocks,
        lost_blocks: cut.lost_blocks,
        end: String::new(),
        runs_on: String::new(),
        healed_after_ms: 0,
        rows: 0,
        result: String::new(),
    });
    say(&format!(
        "run {number}: {} of the {} lost power in {} (aimed at {}), {} of {} unflushed blocks lost",
        cluster.machines[victim].name(),
        aim.side.name(),
        filled.hit,
        aim.phase,
        cut.lost_blocks,
        cut.unflushed_blocks
    ));
    heal_and_check(cluster, &id, source, &rows, writers, filled).await
}

/// Waits until everything is well, and looks whether it is as it must be.
async fn heal_and_check(
    cluster: &Cluster,
    id: &str,
    source: usize,
    rows: &PostgresRows,
    writers: Writers,
    row: &mut Row,
) -> Result<()> {
    let begun = Instant::now();
    let ended = slowly("the move to end", HEAL_LIMIT, || async {
        let seen = operation(cluster, id).await?;
        Ok(seen.finished.map(|_| seen))
    })
    .await?;
    row.end = match &ended.status {
        OperationStatus::Succeeded => "succeeded".to_owned(),
        OperationStatus::Failed { failure, phase } => format!("failed in {phase}: {failure}"),
        other => format!("{other:?}"),
    };
    cluster.await_connected(HEAL_LIMIT).await?;
    let runs_on = one_running_copy(cluster).await?;
    more_rows(&writers).await?;
    row.healed_after_ms = begun.elapsed().as_millis();
    let is_source = runs_on == source;
    row.runs_on = (if is_source { "source" } else { "target" }).to_owned();
    let report = writers.stop().await;
    let failures: Vec<_> = report
        .clients
        .iter()
        .filter_map(|client| client.failure.clone())
        .collect();
    ensure!(failures.is_empty(), "a client was refused: {failures:?}");
    let verified = rows.verify(&report).await?;
    ensure!(verified.is_whole(), "acknowledged rows: {verified:?}");
    row.rows = verified.acknowledged;
    cluster
        .check_database(runs_on)
        .await
        .context("PostgreSQL's own check")?;
    ensure!(
        one_running_copy(cluster).await? == runs_on,
        "{SERVICE} went elsewhere after it had healed"
    );
    ensure!(
        is_source != (ended.status == OperationStatus::Succeeded),
        "it runs on the {}, and the move {}",
        row.runs_on,
        row.end
    );
    Ok(())
}

/// How far into a phase the cut may come, at most: about as long as the phase takes.
fn into_phase_ms(phase: Phase) -> u64 {
    match phase {
        Phase::Copy => 2_000,
        Phase::Start => 4_000,
        Phase::Prepare | Phase::Stop | Phase::LastDelta | Phase::Keep => 600,
        _ => 200,
    }
}

/// Waits a little for a moment in which the cut has something to lose: between a write and its flush.
async fn await_unflushed(machine: &Machine, limit_ms: u64) {
    let deadline = Instant::now() + Duration::from_millis(limit_ms);
    while machine.unflushed() == 0 && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn operation(cluster: &Cluster, id: &str) -> Result<Operation> {
    let seen = cluster.operation(id).await?;
    Ok(seen
        .ok_or_else(|| anyhow!("control does not tell of {id}"))?
        .operation)
}

async fn await_phase(cluster: &Cluster, id: &str, phase: Phase) -> Result<()> {
    wait::until(&format!("phase {phase}"), PHASE_LIMIT, || async {
        let seen = operation(cluster, id).await?;
        Ok((seen.phase >= phase || seen.finished.is_some()).then_some(()))
    })
    .await
}

/// Waits until the database runs once and returns where. More than one copy is never right.
async fn one_running_copy(cluster: &Cluster) -> Result<usize> {
    wait::until(
        "one container of the database to run",
        BOOT_LIMIT,
        || async {
            let running = cluster.running_on().await?.unwrap_or_default();
            ensure!(running.len() <= 1, "{} copies run", running.len());
            Ok(running.first().copied())
        },
    )
    .await
}

async fn more_rows(writers: &Writers) -> Result<()> {
    let aim = writers.acknowledged() + ROWS;
    slowly("rows to be acknowledged", HEAL_LIMIT, || async {
        Ok((writers.acknowledged() >= aim).then_some(()))
    })
    .await
}

async fn freeze(cluster: &Cluster) -> Result<()> {
    let proxy = Target::One(Role::Proxy);
    cluster.sandbox().freeze("n1", proxy).await?;
    Ok(())
}

async fn thaw(cluster: &Cluster) -> Result<()> {
    let proxy = Target::One(Role::Proxy);
    cluster.sandbox().thaw("n1", proxy).await?;
    Ok(())
}
