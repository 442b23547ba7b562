//! The load writers against real databases that are killed while they write.

use crate::support::{one_number, pg_config, run_container, spec};
use flocker_testkit::images::{self, Image};
use flocker_testkit::load::{Damage, PostgresRows, RedisLists, WriterSpec, Writers, fill_postgres};
use flocker_testkit::sandbox::{NodePlace, Sandbox, SandboxGuard};
use flocker_testkit::wait::{self, WaitError};
use std::net::SocketAddr;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);
const WRITERS: WriterSpec = WriterSpec {
    clients: 4,
    pace: Duration::ZERO,
    limit: Duration::from_secs(120),
};

async fn with(image: Image) -> SandboxGuard {
    let sandbox = SandboxGuard::up_bare(&spec(1)).await.unwrap();
    let sockets: Vec<_> = sandbox
        .nodes()
        .iter()
        .map(NodePlace::docker_socket)
        .collect();
    images::provide(&sockets, &[image]).await.unwrap();
    sandbox
}

async fn more_rows(writers: &Writers, rows: u64) {
    let aim = writers.acknowledged() + rows;
    wait::until::<_, WaitError, _, _>("more rows", LIMIT, || async {
        Ok((writers.acknowledged() >= aim).then_some(()))
    })
    .await
    .unwrap();
}

async fn docker(sandbox: &Sandbox, words: &str) {
    let tool = sandbox
        .tool_on("n1", "docker")
        .unwrap()
        .args(words.split(' '));
    tool.run().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_survive_a_postgresql_that_is_killed_and_stopped_while_clients_write() {
    let sandbox = with(Image::Postgres).await;
    run_container(&sandbox, "n1", "pg -e POSTGRES_PASSWORD=s", "postgres:15").await;
    let config = pg_config(&sandbox.nodes()[0], "postgres", "s");
    one_number(&config, "SELECT 1::bigint").await;
    let rows = PostgresRows::create(&config).await.unwrap();
    let writers = Writers::start(rows.clone(), WRITERS);
    more_rows(&writers, 200).await;
    let before = writers.take_longest_wait();
    for end in ["kill pg", "stop pg"] {
        docker(&sandbox, end).await;
        docker(&sandbox, "start pg").await;
        more_rows(&writers, 200).await;
    }
    let during = writers.take_longest_wait();
    assert!(
        during > before,
        "{before:?} before, {during:?} while it was away"
    );
    let report = writers.stop().await;
    assert!(
        report.clients.iter().all(|client| client.reconnects >= 2),
        "{report:?}"
    );
    let seen = rows.verify(&report).await.unwrap();
    assert!(seen.is_whole(), "{seen:?}");
    assert!(seen.rows >= 600 && seen.acknowledged == report.acknowledged());

    // A verification that cannot fail is none: take a row away, change another, add a third.
    let client = connect(&config).await;
    let damage = "DELETE FROM flocker_rows WHERE client = 1 AND number = 7; \
                  UPDATE flocker_rows SET content = 'x' WHERE client = 2 AND number = 9; \
                  INSERT INTO flocker_rows VALUES (9, 1, 'y')";
    client.batch_execute(damage).await.unwrap();
    let seen = rows.verify(&report).await.unwrap();
    assert!(
        seen.damage.contains(&Damage::Lost {
            client: 1,
            number: 7
        }),
        "{seen:?}"
    );
    assert!(
        seen.damage.contains(&Damage::Lost {
            client: 2,
            number: 9
        }),
        "{seen:?}"
    );
    assert!(
        seen.damage.contains(&Damage::Foreign {
            client: 9,
            number: 1
        }),
        "{seen:?}"
    );
}

async fn connect(config: &tokio_postgres::Config) -> tokio_postgres::Client {
    let (client, connection) = config.connect(tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_is_filled_to_the_size_asked_for_and_a_wrong_password_ends_the_writers() {
    let sandbox = with(Image::Postgres).await;
    run_container(&sandbox, "n1", "pg -e POSTGRES_PASSWORD=s", "postgres:15").await;
    let mut config = pg_config(&sandbox.nodes()[0], "postgres", "s");
    one_number(&config, "SELECT 1::bigint").await;
    let bytes = 100 << 20;
    let size = fill_postgres(&config, bytes).await.unwrap();
    assert!((bytes..bytes * 5 / 4).contains(&size), "{size} for {bytes}");

    let rows = PostgresRows::create(&config).await.unwrap();
    drop(rows);
    config.password("wrong");
    let error = PostgresRows::create(&config).await.unwrap_err();
    assert!(error.to_string().contains("password"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_survive_a_redis_that_is_killed_while_clients_write() {
    let sandbox = with(Image::Redis).await;
    run_container(&sandbox, "n1", "redis", "redis:7 --appendonly yes").await;
    let address = SocketAddr::from((sandbox.nodes()[0].address, 6379));
    let rows = wait::until::<_, WaitError, _, _>("Redis", LIMIT, || async move {
        Ok(RedisLists::create(address).await.ok())
    })
    .await
    .unwrap();
    let writers = Writers::start(rows.clone(), WRITERS);
    for _ in 0..2 {
        more_rows(&writers, 500).await;
        docker(&sandbox, "kill redis").await;
        docker(&sandbox, "start redis").await;
    }
    more_rows(&writers, 100).await;
    let report = writers.stop().await;
    let seen = rows.verify(&report).await.unwrap();
    assert!(seen.is_whole(), "{seen:?}");
    assert!(seen.rows >= 1100, "{seen:?}");

    docker(&sandbox, "exec redis redis-cli LREM flocker:1:rows 1 5").await;
    docker(&sandbox, "exec redis redis-cli RPUSH flocker:2:rows 6").await;
    let seen = rows.verify(&report).await.unwrap();
    assert!(
        seen.damage.contains(&Damage::Lost {
            client: 1,
            number: 5
        }),
        "{seen:?}"
    );
    assert!(
        seen.damage.contains(&Damage::Doubled {
            client: 2,
            number: 6
        }),
        "{seen:?}"
    );
}
