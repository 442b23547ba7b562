//! `make test-power`: machines lose power in each phase of a move, and each time one copy of the
//! database runs afterwards, whole.
//!
//! Goes on where the table of earlier runs has holes; every run is written down as it ends. Started by
//! `scripts/test-power.sh`, which makes what the machines boot.

mod cluster;
mod run;
mod table;

use anyhow::{Context, Result, bail};
use cluster::{Cluster, Places};
use flocker_testkit::load::fill_postgres;
use flocker_types::volume::StorageKind;
use std::future::Future;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use table::Table;
use tokio::signal::unix::{SignalKind, signal};

const USAGE: &str =
    "usage: flocker-power GUEST-DIRECTORY TABLE [RUNS-PER-PHASE-AND-SIDE] [zfs|btrfs] [RUNS-NOW]";
const DATABASE_LIMIT: Duration = Duration::from_secs(600);

/// What the test was asked for.
struct Options {
    places: Places,
    table: PathBuf,
    wanted: usize,
    storage: StorageKind,
    runs_max: u64,
}

/// Prints a line; one that nobody reads any more is no reason to stop.
fn say(line: &str) {
    let _closed = writeln!(std::io::stdout(), "{line}");
}

fn main() -> ExitCode {
    let done = options().and_then(|options| {
        tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .context("cannot start")?
            .block_on(until_told(test(&options)))
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Ends the test early when it is told to, with everything cleaned up.
async fn until_told(test: impl Future<Output = Result<()>>) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        done = test => done,
        _ = terminate.recv() => bail!("ended by a signal; run it again to go on"),
        _ = interrupt.recv() => bail!("ended by a signal; run it again to go on"),
    }
}

fn options() -> Result<Options> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let word = |index: usize, default: &str| {
        let given = words.get(index).map_or("", String::as_str);
        (if given.is_empty() { default } else { given }).to_owned()
    };
    if !(2..=5).contains(&words.len()) {
        bail!(USAGE);
    }
    let own = std::env::current_exe().context("cannot find this program's own place")?;
    Ok(Options {
        places: Places {
            flocker: own.with_file_name("flocker"),
            guest: word(0, "").into(),
        },
        table: word(1, "").into(),
        wanted: word(2, "10").parse().context(USAGE)?,
        storage: match word(3, "zfs").as_str() {
            "zfs" => StorageKind::Zfs,
            "btrfs" => StorageKind::Btrfs,
            _ => bail!(USAGE),
        },
        runs_max: word(4, "100000").parse().context(USAGE)?,
    })
}

async fn test(options: &Options) -> Result<()> {
    let mut table = Table::open(&options.table)?;
    let mut up: Option<Cluster> = None;
    let (mut runs, mut failed) = (0, 0);
    while let Some(aim) = table.next_aim(options.storage, options.wanted) {
        if runs == options.runs_max {
            break;
        }
        runs += 1;
        let number = table.next_run();
        let mut cluster = match up.take() {
            Some(cluster) => cluster,
            None => new_cluster(options, number).await?,
        };
        let mut row = None;
        let done = run::run(&mut cluster, options.storage, aim, number, &mut row).await;
        match (done, row) {
            (Ok(()), Some(mut row)) => {
                row.result = "clean".to_owned();
                table.add(&row)?;
                say(&format!(
                    "run {number}: clean after {} s, {} rows; the move {}",
                    row.healed_after_ms / 1000,
                    row.rows,
                    row.end
                ));
                up = Some(cluster);
            }
            (Err(error), row) => {
                failed += 1;
                say(&format!("run {number}: FAILED: {error:#}"));
                let logs = failure_directory(&options.table, number);
                cluster.save_logs(&logs).await?;
                say(&format!("what the processes said is in {}", logs.display()));
                // Without a row the plug had not been pulled: nothing was tested.
                let Some(mut row) = row else {
                    bail!("the test itself failed before the cut: {error:#}");
                };
                row.result = format!("FAILED: {error:#}");
                table.add(&row)?;
            }
            (Ok(()), None) => bail!("a run without a row"),
        }
    }
    match failed {
        0 => Ok(()),
        _ => bail!("{failed} of {runs} runs failed"),
    }
}

async fn new_cluster(options: &Options, number: u64) -> Result<Cluster> {
    let begun = Instant::now();
    let cluster = Cluster::up(&options.places, options.storage, number).await?;
    let config = cluster.database()?;
    cluster::slowly("PostgreSQL to answer", DATABASE_LIMIT, || async {
        let answered = config.connect(tokio_postgres::NoTls).await;
        Ok(answered.ok().map(drop))
    })
    .await?;
    fill_postgres(&config, run::FILLING_BYTES).await?;
    say(&format!(
        "the machines are up after {:.0?}",
        begun.elapsed()
    ));
    Ok(cluster)
}

/// Beside the program, since it is for this machine's user only.
fn failure_directory(table: &Path, number: u64) -> PathBuf {
    let base = std::env::var_os("POWER_LOGS").map_or_else(std::env::temp_dir, PathBuf::from);
    let stem = table
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    base.join(format!("{stem}-run-{number}"))
}
