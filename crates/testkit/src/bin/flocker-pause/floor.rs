//! The floor: the steps of a move in a bare script, on one node of the sandbox, while clients write.

use super::cluster::{Cluster, fill, fill_redis, more_rows};
use super::options::Options;
use super::table::{Row, Table};
use super::{ROWS_BETWEEN, Subject, WRITERS};
use anyhow::{Context, Result};
use flocker_testkit::load::{NumberedRows, PostgresRows, RedisLists, Writers};
use std::time::Duration;

const SCRIPT: &str = include_str!("floor.sh");
const LIMIT: Duration = Duration::from_secs(300);

/// Two btrfs filesystems, a container on the first, clients that write to it, and moves to and fro.
pub(crate) async fn measure(cluster: &Cluster, subject: Subject, options: &Options) -> Result<()> {
    run(cluster, subject, "begin", options).await?;
    let done = match subject {
        Subject::Postgres => {
            let config = cluster.postgres("n1")?;
            fill(&config, options.data_bytes).await?;
            let rows = PostgresRows::create(&config).await?;
            rounds(cluster, subject, options, rows).await
        }
        Subject::Redis => {
            let address = cluster.redis("n1")?;
            fill_redis(address, options.data_bytes.min(100 << 20)).await?;
            let rows = RedisLists::create(address).await?;
            rounds(cluster, subject, options, rows).await
        }
    };
    run(cluster, subject, "end", options).await?;
    done
}

async fn rounds<R: NumberedRows>(
    cluster: &Cluster,
    subject: Subject,
    options: &Options,
    rows: R,
) -> Result<()> {
    let writers = Writers::start(rows, WRITERS);
    let title = "docker stop, send | receive, docker start of a container created before";
    let mut table = Table::new(&format!("{subject:?}: the floor, {title}"));
    for number in 0..=options.moves {
        more_rows(&writers, ROWS_BETWEEN).await?;
        run(cluster, subject, "copy", options).await?;
        let _of_before = writers.take_longest_wait();
        let printed = run(cluster, subject, "move", options).await?;
        more_rows(&writers, u64::from(WRITERS.clients) * 4).await?;
        if number > 0 {
            let mut row = Row::read(&printed);
            let wait = writers.take_longest_wait();
            row.add("longest client wait", wait.as_secs_f64() * 1e3);
            table.add(row);
        }
    }
    drop(writers.stop().await);
    table.print();
    Ok(())
}

async fn run(cluster: &Cluster, subject: Subject, what: &str, options: &Options) -> Result<String> {
    let node = cluster.sandbox.node("n1")?;
    let home = node.directory.join("floor");
    let size = options.data_bytes.saturating_mul(4).max(1 << 30);
    let tool = cluster.sandbox.tool_on("n1", "bash")?;
    tool.args(["-c", SCRIPT, "floor"])
        .args([home.display().to_string(), what.to_owned()])
        .args([subject.image().name().to_owned(), size.to_string()])
        .limit(LIMIT)
        .run()
        .await
        .with_context(|| format!("the bare script, {what}"))
}
