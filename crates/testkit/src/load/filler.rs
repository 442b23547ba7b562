//! Fills a PostgreSQL database to a size, quickly.
//!
//! Called before moves whose size matters. The rows are made inside the server.

use super::LoadError;
use super::postgres::connect;
use futures_util::future::try_join_all;
use std::time::Duration;
use tokio_postgres::{Config, Error};

/// What a row takes on disk: a kibibyte of text with its header; seven go into a page of 8 KiB.
const ROW_BYTES: u64 = 8192 / 7;
/// Rows of one statement.
const BATCH_ROWS: u64 = 20_000;
const CONNECTIONS: u64 = 2;
const FILL_LIMIT: Duration = Duration::from_secs(300);

/// Makes the table `flocker_filling` of about `bytes` and returns the size of the whole database.
pub async fn fill_postgres(config: &Config, bytes: u64) -> Result<u64, LoadError> {
    let doing = "fill the database";
    let filled = tokio::time::timeout(FILL_LIMIT, fill(config, bytes));
    filled
        .await
        .map_err(LoadError::of(doing))?
        .map_err(LoadError::of(doing))
}

async fn fill(config: &Config, bytes: u64) -> Result<u64, Error> {
    let client = connect(config).await?;
    let table = "DROP TABLE IF EXISTS flocker_filling; \
                 CREATE TABLE flocker_filling (number bigint, content text); \
                 ALTER TABLE flocker_filling ALTER content SET STORAGE PLAIN";
    client.batch_execute(table).await?;
    let rows = bytes / ROW_BYTES;
    let part = rows.div_ceil(CONNECTIONS);
    try_join_all((0..CONNECTIONS).map(|index| {
        let end = rows.min((index + 1) * part);
        insert(config, index * part, end)
    }))
    .await?;
    // Written out now, so that what is measured next is not this.
    client.batch_execute("CHECKPOINT").await?;
    let size: i64 = client
        .query_one("SELECT pg_database_size(current_database())", &[])
        .await?
        .try_get(0)?;
    Ok(u64::try_from(size).unwrap_or_default())
}

async fn insert(config: &Config, mut from: u64, end: u64) -> Result<(), Error> {
    let client = connect(config).await?;
    while from < end {
        let to = end.min(from + BATCH_ROWS);
        let statement = format!(
            "INSERT INTO flocker_filling SELECT i, repeat(md5(i::text), 32) \
             FROM generate_series({from}, {}) AS i",
            to - 1
        );
        client.batch_execute(&statement).await?;
        from = to;
    }
    Ok(())
}
