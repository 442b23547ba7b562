//! Runs cells, in several sandboxes beside each other, and writes each outcome at once.

use super::case;
use super::cells::{Cell, Fault, Operation};
use super::join;
use super::limits::shorten;
use super::table::{Row, Table, file_in_docs};
use crate::support::{Cluster, settings};
use flocker_testkit::images::Image;
use flocker_testkit::tool::Tool;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

/// A cell that was hit in another step than that aimed at is run so often in all.
const TRIES_MAX: usize = 3;

/// A cell and how long its fault lasts.
type Work = (Cell, Duration);

/// The whole matrix, or what is missing of it.
pub(super) struct Whole {
    minutes: u64,
}

impl Whole {
    /// What the environment asks for, if it does.
    pub(super) fn wanted() -> Option<Self> {
        let minutes = settings::matrix_minutes();
        (minutes > 0).then_some(Self { minutes })
    }

    pub(super) async fn go(&self) {
        let file = settings::matrix_table().unwrap_or_else(|| file_in_docs("crash-matrix.tsv"));
        let table = Table::open(&file);
        table.summarize();
        let only = settings::matrix_only();
        let is_wanted = |cell: &Cell| {
            let is_missing = table
                .row(cell)
                .is_none_or(|row| !row.has_held() || settings::matrix_again());
            let key = cell.key().join("/");
            cell.senseless().is_none() && is_missing && only.iter().all(|part| key.contains(part))
        };
        let cells = Cell::every().into_iter().filter(is_wanted);
        let mut cells: Vec<Work> = cells.map(|cell| (cell, cell.lasts())).collect();
        // The short ones first: they show the most in the same time.
        cells.sort_by_key(|(cell, _)| Fault::ALL.iter().position(|fault| *fault == cell.fault));
        println!("{} cells to run", cells.len());
        let end = Instant::now() + Duration::from_secs(self.minutes * 60);
        let failed = run(cells, table, settings::matrix_sandboxes(), Some(end)).await;
        assert!(failed.is_empty(), "{}", failed.join("\n"));
    }
}

/// What the sandboxes share.
struct Shared {
    cells: Mutex<VecDeque<(usize, Work)>>,
    table: Mutex<Table>,
    failed: Mutex<Vec<String>>,
    end: Option<Instant>,
    commit: String,
}

/// Runs these cells until `end`, and returns the lines of those that failed.
pub(super) async fn run(
    cells: Vec<Work>,
    table: Table,
    sandboxes: usize,
    end: Option<Instant>,
) -> Vec<String> {
    let git = Tool::words("git rev-parse --short HEAD").run().await;
    let shared = Arc::new(Shared {
        cells: Mutex::new(cells.into_iter().enumerate().collect()),
        table: Mutex::new(table),
        failed: Mutex::new(Vec::new()),
        end,
        commit: git.unwrap_or_default().trim().to_owned(),
    });
    let workers: Vec<_> = (0..sandboxes)
        .map(|_| tokio::spawn(work(Arc::clone(&shared))))
        .collect();
    for worker in workers {
        worker.await.unwrap();
    }
    let failed = shared.failed.lock().unwrap();
    failed.clone()
}

/// One sandbox after the other, each until a cell fails in it.
async fn work(shared: Arc<Shared>) {
    let mut present: Option<Arc<Cluster>> = None;
    while let Some((number, (cell, lasts))) = shared.next() {
        let is_join = cell.operation == Operation::Join;
        let fits = |cluster: &Arc<Cluster>| join::has_server(cluster) == is_join;
        let cluster = match present.take().filter(fits) {
            Some(cluster) => cluster,
            None => fresh(is_join).await,
        };
        let row = run_cell(&cluster, cell, lasts, number).await;
        if row.has_held() {
            present = Some(cluster);
        } else {
            cluster.print_logs();
        }
        shared.note(row);
    }
}

async fn fresh(with_server: bool) -> Arc<Cluster> {
    let mut cluster = Cluster::up(&[Image::Postgres]).await;
    shorten(&cluster).await;
    if with_server {
        join::make_ready(&mut cluster).await;
    }
    Arc::new(cluster)
}

/// Runs a cell until it is hit where that is wanted.
async fn run_cell(cluster: &Arc<Cluster>, cell: Cell, lasts: Duration, number: usize) -> Row {
    for attempt in 1.. {
        // A task of its own, so that one failure does not hide what the other cells show.
        let number = number * TRIES_MAX + attempt;
        let cluster_of_task = Arc::clone(cluster);
        let run = tokio::spawn(async move {
            match cell.operation {
                Operation::Join => join::run(&cluster_of_task, cell, lasts).await,
                _ => case::run(cluster_of_task, cell, lasts, number).await,
            }
        });
        let row = match run.await {
            Ok(row) => row,
            // The sandbox is not used again, whatever is left in it.
            Err(error) => Row::failed(&cell, lasts, &error.to_string()),
        };
        if row.is_hit() || !row.has_held() || attempt == TRIES_MAX {
            return row;
        }
    }
    unreachable!("the last attempt returns")
}

impl Shared {
    fn is_over(&self) -> bool {
        self.end.is_some_and(|end| Instant::now() >= end)
    }

    fn next(&self) -> Option<(usize, Work)> {
        if self.is_over() {
            return None;
        }
        self.cells.lock().unwrap().pop_front()
    }

    fn note(&self, mut row: Row) {
        let now = jiff::Timestamp::try_from(SystemTime::now()).unwrap();
        row.date = now.strftime("%Y-%m-%dT%H:%MZ").to_string();
        row.commit.clone_from(&self.commit);
        println!("{}", row.line());
        if !row.has_held() {
            self.failed.lock().unwrap().push(row.line());
        }
        self.table.lock().unwrap().put(row);
    }
}
