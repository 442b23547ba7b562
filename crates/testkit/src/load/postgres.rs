//! Numbered rows in PostgreSQL, each inserted in a transaction of its own.
//!
//! A row's content is a function of its numbers, so that reading back shows damage too. A second
//! try of a row that is there already fails on the unique constraint, which is how a client whose
//! acknowledgement was lost learns that it was not needed.

use super::verify::Verification;
use super::writers::{Failure, NumberedRows, WritersReport};
use super::{LoadError, chain};
use futures_util::{TryStreamExt, pin_mut};
use std::time::Duration;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, Error, NoTls, Statement};

/// Text beside the numbers in each row, to give it a usual size.
const FILLING: &str = "the quick brown fox jumps over the lazy dog, and the dog does not mind";
/// After this long without an answer from the other side, a connection is given up.
const SILENCE_LIMIT: Duration = Duration::from_secs(5);
const READ_LIMIT: Duration = Duration::from_secs(120);

/// The table `flocker_rows` of a database.
#[derive(Debug, Clone)]
pub struct PostgresRows {
    config: Config,
}

/// A connection with its statement.
pub struct PostgresSession {
    client: Client,
    insert: Statement,
}

impl PostgresRows {
    /// Makes the table, anew. The database must answer.
    pub async fn create(config: &Config) -> Result<Self, LoadError> {
        let doing = "make the table of the load writers";
        let mut config = config.clone();
        config
            .tcp_user_timeout(SILENCE_LIMIT)
            .connect_timeout(SILENCE_LIMIT);
        let client = connect(&config).await.map_err(LoadError::of(doing))?;
        let script = "DROP TABLE IF EXISTS flocker_rows; CREATE TABLE flocker_rows (\
             client integer NOT NULL, number bigint NOT NULL, content text NOT NULL, \
             UNIQUE (client, number))";
        client
            .batch_execute(script)
            .await
            .map_err(LoadError::of(doing))?;
        Ok(Self { config })
    }

    /// Reads everything back, by a scan of the table and not by its index, and compares.
    pub async fn verify(&self, report: &WritersReport) -> Result<Verification, LoadError> {
        let doing = "read the rows back";
        let read = tokio::time::timeout(READ_LIMIT, self.read_all());
        let (present, foreign) = read
            .await
            .map_err(LoadError::of(doing))?
            .map_err(LoadError::of(doing))?;
        Ok(Verification::of(report, present, foreign))
    }

    async fn read_all(&self) -> Result<(Vec<(u32, u64)>, Vec<(u32, u64)>), Error> {
        let client = connect(&self.config).await?;
        client
            .batch_execute("SET enable_indexscan = off; SET enable_indexonlyscan = off")
            .await?;
        let query = "SELECT client, number, content FROM flocker_rows";
        let rows = client.query_raw(query, Vec::<i32>::new()).await?;
        pin_mut!(rows);
        let (mut present, mut foreign) = (Vec::new(), Vec::new());
        while let Some(row) = rows.try_next().await? {
            let (client, number): (i32, i64) = (row.try_get(0)?, row.try_get(1)?);
            let known = u32::try_from(client).ok().zip(u64::try_from(number).ok());
            let (client, number) = known.unwrap_or((u32::MAX, 0));
            if row.try_get::<_, &str>(2)? == content(client, number) {
                present.push((client, number));
            } else {
                foreign.push((client, number));
            }
        }
        Ok((present, foreign))
    }
}

fn content(client: u32, number: u64) -> String {
    format!("{client}/{number}: {FILLING}")
}

pub(super) async fn connect(config: &Config) -> Result<Client, Error> {
    let (client, connection) = config.connect(NoTls).await?;
    // It ends when the client is dropped; its error reaches the client's calls.
    tokio::spawn(connection);
    Ok(client)
}

impl NumberedRows for PostgresRows {
    type Session = PostgresSession;

    async fn open(&self) -> Result<PostgresSession, Failure> {
        let client = connect(&self.config).await.map_err(failure)?;
        let insert = "INSERT INTO flocker_rows (client, number, content) VALUES ($1, $2, $3)";
        let insert = client.prepare(insert).await.map_err(failure)?;
        Ok(PostgresSession { client, insert })
    }

    async fn write(
        &self,
        session: &mut PostgresSession,
        client: u32,
        number: u64,
    ) -> Result<(), Failure> {
        let text = content(client, number);
        let too_many = |_| Failure::Never("too many rows".to_owned());
        let client = i32::try_from(client).map_err(too_many)?;
        let number = i64::try_from(number).map_err(too_many)?;
        let inserted = session
            .client
            .execute(&session.insert, &[&client, &number, &text])
            .await;
        match inserted {
            Ok(_one) => Ok(()),
            Err(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => Ok(()),
            Err(error) => Err(failure(error)),
        }
    }
}

/// A refusal in words of SQL is for good, but for those of a server that comes or goes.
#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` calls")]
fn failure(error: Error) -> Failure {
    let passes = |state: &SqlState| {
        ["08", "40", "53", "57", "58"]
            .iter()
            .any(|class| state.code().starts_with(class))
    };
    match error.code() {
        Some(state) if !passes(state) => Failure::Never(chain(&error)),
        _ => Failure::Again(chain(&error)),
    }
}
