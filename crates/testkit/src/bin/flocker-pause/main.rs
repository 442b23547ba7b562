//! `make bench-pause`: for how long clients wait while a database moves, phase by phase, beside the same
//! steps in a bare script.
//!
//! Makes a sandbox of two nodes, lets clients write to PostgreSQL and Redis, moves each to and fro, and
//! takes everything down again. Uses Flocker only by its commands.

mod cluster;
mod floor;
mod options;
mod table;

use anyhow::{Context, Result};
use cluster::Cluster;
use flocker_testkit::load::{
    NumberedRows, PostgresRows, RedisLists, Verification, WriterSpec, Writers, WritersReport,
};
use options::Options;
use std::process::ExitCode;
use std::time::Duration;
use table::{Row, Table, say};

const WRITERS: WriterSpec = WriterSpec {
    clients: 4,
    pace: Duration::from_millis(10),
    limit: Duration::from_secs(3_600),
};
/// Rows that the clients write at least between two moves.
const ROWS_BETWEEN: u64 = 200;

/// A service that is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    Postgres,
    Redis,
}

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(usage) => {
            say(&usage);
            return ExitCode::from(2);
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let done = match runtime {
        Ok(runtime) => runtime.block_on(measure(&options)),
        Err(error) => Err(error).context("cannot start"),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("\nThe measurement did not succeed: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn measure(options: &Options) -> Result<()> {
    let cluster = Cluster::up(options).await?;
    for subject in [Subject::Postgres, Subject::Redis] {
        cluster.deploy(subject).await?;
        match subject {
            Subject::Postgres => {
                let config = cluster.postgres("n2")?;
                cluster::fill(&config, options.data_bytes).await?;
                let rows = PostgresRows::create(&config).await?;
                let written = moves(&cluster, subject, options, rows.clone()).await?;
                judge(&rows.verify(&written).await?)?;
            }
            Subject::Redis => {
                let address = cluster.redis("n2")?;
                cluster::fill_redis(address, options.data_bytes.min(100 << 20)).await?;
                let rows = RedisLists::create(address).await?;
                let written = moves(&cluster, subject, options, rows.clone()).await?;
                judge(&rows.verify(&written).await?)?;
            }
        }
        cluster.remove(subject).await?;
        if options.floor {
            floor::measure(&cluster, subject, options).await?;
        }
    }
    Ok(())
}

fn judge(seen: &Verification) -> Result<()> {
    anyhow::ensure!(
        seen.is_whole(),
        "{} rows are not as they were acknowledged",
        seen.damaged
    );
    Ok(())
}

/// Moves the service to and fro; the first move copies everything and is not counted.
async fn moves<R: NumberedRows>(
    cluster: &Cluster,
    subject: Subject,
    options: &Options,
    rows: R,
) -> Result<WritersReport> {
    let writers = Writers::start(rows, WRITERS);
    let mut table = Table::new(&format!("{subject:?}: flocker move"));
    for number in 0..=options.moves {
        cluster::more_rows(&writers, ROWS_BETWEEN).await?;
        let _of_before = writers.take_longest_wait();
        let to = if number % 2 == 0 { "n2" } else { "n1" };
        let operation = cluster.move_to(subject, to).await?;
        cluster::more_rows(&writers, u64::from(WRITERS.clients) * 4).await?;
        if number > 0 {
            table.add(Row::of(&operation, writers.take_longest_wait()));
        }
    }
    table.print();
    Ok(writers.stop().await)
}
