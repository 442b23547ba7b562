//! PostgreSQL and Redis as clients of the cluster see them, at a node's published port.

use super::{Cluster, LIMIT};
use flocker_testkit::wait::{self, WaitError};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_postgres::{Client, Config, NoTls};

/// For one exchange with a Redis.
const EXCHANGE_LIMIT: Duration = Duration::from_secs(10);
const ANSWER_BYTES_MAX: usize = 4096;

impl Cluster {
    /// How to reach the PostgreSQL of [`super::manifests::postgres`] by a node.
    pub(crate) fn postgres_at(&self, node: &str, port: u16) -> Config {
        let mut config = Config::new();
        config
            .host(self.address(node).to_string())
            .port(port)
            .user("postgres")
            .password("secret")
            .dbname("postgres")
            .connect_timeout(Duration::from_secs(30));
        config
    }
}

/// Connects once.
pub(crate) async fn connect(config: &Config) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = config.connect(NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// The one number that a query yields.
pub(crate) async fn number(client: &Client, query: &str) -> i64 {
    client.query_one(query, &[]).await.unwrap().get(0)
}

/// One command to a Redis and its answer, over a connection of its own.
pub(crate) async fn redis(address: SocketAddr, command: &str) -> std::io::Result<String> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        stream
            .write_all(format!("{command}\r\n").as_bytes())
            .await?;
        let mut answer = vec![0; ANSWER_BYTES_MAX];
        let length = stream.read(&mut answer).await?;
        let text = String::from_utf8_lossy(&answer[..length]).into_owned();
        // A bulk string's first line is its length.
        let body = match text.split_once("\r\n") {
            Some((first, rest)) if first.starts_with('$') => rest.to_owned(),
            _ => text,
        };
        Ok(body.trim_end().to_owned())
    };
    tokio::time::timeout(EXCHANGE_LIMIT, exchange).await?
}

/// Waits until a Redis gives the expected answer.
pub(crate) async fn await_redis(address: SocketAddr, command: &str, expected: &str) {
    let what = format!("{command} at {address} to answer {expected}");
    wait::until::<_, WaitError, _, _>(&what, LIMIT, || async {
        let answer = redis(address, command).await.ok();
        Ok((answer.as_deref() == Some(expected)).then_some(()))
    })
    .await
    .unwrap();
}

/// Waits until a PostgreSQL takes queries: its port is open a moment before that.
pub(crate) async fn wait_until_it_answers(config: &Config) -> Client {
    wait::until::<_, WaitError, _, _>("PostgreSQL to answer", LIMIT, || async {
        Ok(connect(config).await.ok())
    })
    .await
    .unwrap()
}
