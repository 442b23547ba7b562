//! A PostgreSQL service under test: its manifest, the clients that write to it, and the proof that
//! every row that was acknowledged is there.

use super::case::HEAL_LIMIT;
use crate::support::Cluster;
use crate::support::databases::wait_until_it_answers;
use crate::support::manifests::{File, nodes};
use flocker_testkit::load::{PostgresRows, Verification, WriterSpec, Writers};
use flocker_testkit::wait::{self, WaitError};
use std::time::Duration;
use tokio_postgres::Config;

const WRITERS: WriterSpec = WriterSpec {
    clients: 2,
    pace: Duration::from_millis(25),
    limit: Duration::from_secs(900),
};

/// A service in a manifest: its name and its port.
pub(super) type Named = (&'static str, u16);

/// The service of every operation with one service that exists.
pub(super) const DB: Named = ("db", 5432);
/// The two that change places.
pub(super) const SIDES: [Named; 2] = [("left", 5441), ("right", 5442)];
/// The service of a deployment of something new.
pub(super) const FRESH: Named = ("fresh", 5450);

/// Manifests that put services on nodes. Stops and starts take their time, so that they can be hit. A
/// first start that was cut short begins anew: the image itself would go on with half a database. Its
/// port is open as soon as that is done.
pub(super) fn placed(application: &str, services: &[(Named, &'static str)]) -> [File; 2] {
    let mut text = format!("name: {application}\nservices:\n");
    for ((name, port), _) in services {
        text += &format!(
            r#"  {name}:
    image: postgres:15
    command:
      - sh
      - -c
      - |
        trap 'sleep 0.5; kill -INT $$p; wait $$p; exit 0' TERM
        sleep 0.5
        cd /var/lib/postgresql/data
        [ -e whole ] || find . -mindepth 1 -delete
        docker-entrypoint.sh postgres -c shared_buffers=16MB & p=$$!
        until [ -e whole ] || {{ pg_isready -qh 127.0.0.1 && touch whole && sync; }}; do sleep 0.2; done
        wait $$p
    stop_signal: SIGTERM
    stop_grace_period: 3s
    environment: {{POSTGRES_PASSWORD: secret}}
    ports: ["{port}:5432"]
    volumes: ["{name}-data:/var/lib/postgresql/data"]
    restart: always
"#
        );
    }
    text += "volumes:\n";
    for ((name, _), _) in services {
        text += &format!("  {name}-data: {{}}\n");
    }
    let on = |wanted: &str| {
        let there = services.iter().filter(|(_, node)| *node == wanted);
        there.map(|((name, _), _)| *name).collect::<Vec<_>>()
    };
    let (second, third) = (on("n2"), on("n3"));
    [
        ("compose.yml", text),
        nodes(&[("n2", &second), ("n3", &third)]),
    ]
}

/// A service whose clients write.
pub(super) struct Subject {
    pub(super) service: String,
    config: Config,
    rows: PostgresRows,
    writers: Writers,
}

impl Subject {
    /// Begins to write to a service that runs, by the first node's proxy.
    pub(super) async fn writing(cluster: &Cluster, service: String, port: u16) -> Self {
        let config = cluster.postgres_at("n1", port);
        wait_until_it_answers(&config).await;
        let rows = PostgresRows::create(&config).await.unwrap();
        let writers = Writers::start(rows.clone(), WRITERS);
        let subject = Self {
            service,
            config,
            rows,
            writers,
        };
        subject.more_rows().await;
        subject
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    /// Waits until clients get on.
    pub(super) async fn more_rows(&self) {
        let aim = self.writers.acknowledged() + 20;
        let what = format!("more rows in {}", self.service);
        wait::until::<_, WaitError, _, _>(&what, HEAL_LIMIT, || async {
            Ok((self.writers.acknowledged() >= aim).then_some(()))
        })
        .await
        .unwrap();
    }

    pub(super) fn take_longest_wait(&self) -> Duration {
        self.writers.take_longest_wait()
    }

    /// Ends the clients and reads everything back; panics when it is not all there, once.
    pub(super) async fn verify(self) -> Verification {
        let report = self.writers.stop().await;
        let verified = self.rows.verify(&report).await.unwrap();
        assert!(verified.is_whole(), "{}: {verified:#?}", self.service);
        verified
    }
}
