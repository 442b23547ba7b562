//! A database that is written to without stopping, moved round the nodes again and again: no row that
//! was acknowledged is lost or doubled, and what a move costs is measured.

use crate::support::databases::wait_until_it_answers;
use crate::support::{Cluster, LIMIT, THREE, manifests, settings};
use flocker_testkit::images::Image;
use flocker_testkit::load::{PostgresRows, WriterSpec, Writers, fill_postgres};
use flocker_testkit::wait::{self, WaitError};
use flocker_types::operation::Operation;
use flocker_types::volume::StorageKind;
use std::time::Duration;

const PORT: u16 = 5432;
const WRITERS: WriterSpec = WriterSpec {
    clients: 4,
    pace: Duration::from_millis(5),
    limit: Duration::from_secs(1800),
};

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_under_load_goes_round_three_nodes_on_btrfs() {
    let bytes = settings::data_bytes();
    let pool_bytes = (4 << 30) + bytes * 4;
    let cluster = Cluster::up_on(StorageKind::Btrfs, pool_bytes, &[Image::Postgres]).await;
    goes_round(&cluster, bytes, settings::moves()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_under_load_goes_round_three_nodes_on_zfs() {
    let bytes = settings::zfs_data_bytes();
    let pool_bytes = (3 << 30) + bytes * 4;
    let cluster = Cluster::up_on(StorageKind::Zfs, pool_bytes, &[Image::Postgres]).await;
    goes_round(&cluster, bytes, 5).await;
}

async fn goes_round(cluster: &Cluster, bytes: u64, moves: u64) {
    let files = [
        manifests::postgres(PORT),
        manifests::nodes(&[("n1", &["db"])]),
    ];
    cluster.deploy(&files).await;
    let config = cluster.postgres_at("n3", PORT);
    wait_until_it_answers(&config).await;
    let size = fill_postgres(&config, bytes).await.unwrap();
    println!("the database has {} MiB", size >> 20);
    let rows = PostgresRows::create(&config).await.unwrap();
    let writers = Writers::start(rows.clone(), WRITERS);
    more_rows(&writers).await;
    let mut seen = Vec::new();
    for (number, node) in THREE
        .into_iter()
        .cycle()
        .skip(1)
        .take(to_usize(moves))
        .enumerate()
    {
        writers.take_longest_wait();
        let moved = cluster.move_to("db", node).await.operation;
        more_rows(&writers).await;
        let wait = writers.take_longest_wait();
        assert_eq!(cluster.assert_one_running_copy("db").await, node);
        println!("{}", line(number + 1, node, &moved, wait));
        let full = moved.rounds.iter().filter(|round| round.full).count();
        assert_eq!(full, usize::from(number < 2), "{:#?}", moved.rounds);
        seen.push(Seen {
            pause_ms: moved.pause_ms.expect("a move has a pause"),
            predicted_ms: moved.predicted.expect("a move predicts").pause_ms(),
            wait_ms: u64::try_from(wait.as_millis()).unwrap(),
        });
    }
    let report = writers.stop().await;
    let verified = rows.verify(&report).await.unwrap();
    println!("{verified:?}, {} clients", report.clients.len());
    assert!(verified.is_whole(), "{verified:#?}");
    assert!(
        report.clients.iter().all(|client| client.failure.is_none()),
        "{report:#?}"
    );
    summary("pause", seen.iter().map(|seen| seen.pause_ms));
    summary("predicted", seen.iter().map(|seen| seen.predicted_ms));
    summary(
        "longest wait of a client",
        seen.iter().map(|seen| seen.wait_ms),
    );
}

/// What one move cost.
struct Seen {
    pause_ms: u64,
    predicted_ms: u64,
    wait_ms: u64,
}

fn line(number: usize, node: &str, moved: &Operation, wait: Duration) -> String {
    let rounds: Vec<String> = moved
        .rounds
        .iter()
        .map(|round| format!("{}K/{}ms", round.bytes >> 10, round.milliseconds))
        .collect();
    let predicted = moved.predicted.map(|predicted| predicted.pause_ms());
    let phases: Vec<String> = moved
        .phase_ms
        .iter()
        .map(|(p, ms)| format!("{p} {ms}"))
        .collect();
    format!(
        "move {number:2} to {node}: pause {:?} ms, predicted {predicted:?}, client {wait:.0?}, held {} \
         up to {} ms; rounds {}; {}",
        moved.pause_ms,
        moved.held.connections,
        moved.held.longest_ms,
        rounds.join(" "),
        phases.join(", ")
    )
}

/// Least, middle and greatest of some milliseconds.
fn summary(what: &str, values: impl Iterator<Item = u64>) {
    let mut values: Vec<u64> = values.collect();
    values.sort_unstable();
    let (min, max) = (values[0], values[values.len() - 1]);
    println!(
        "{what}: min {min} ms, median {} ms, max {max} ms",
        values[values.len() / 2]
    );
}

async fn more_rows(writers: &Writers) {
    let aim = writers.acknowledged() + 100;
    wait::until::<_, WaitError, _, _>("more rows", LIMIT, || async {
        Ok((writers.acknowledged() >= aim).then_some(()))
    })
    .await
    .unwrap();
}

fn to_usize(number: u64) -> usize {
    usize::try_from(number).unwrap()
}
