//! Numbered rows in Redis: a list per client, with its last number and its length beside it, all
//! three changed in one transaction.
//!
//! Holds the little of the Redis protocol that it needs.

use super::LoadError;
use super::verify::Verification;
use super::writers::{Failure, NumberedRows, WritersReport};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// Longest string and longest array that an answer may have.
const BULK_BYTES_MAX: usize = 1 << 20;
const ARRAY_ITEMS_MAX: usize = 10_000_000;
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
const READ_LIMIT: Duration = Duration::from_secs(120);

/// The lists of a Redis server.
#[derive(Debug, Clone)]
pub struct RedisLists {
    address: SocketAddr,
}

/// A connection.
#[derive(Debug)]
pub struct RedisSession {
    stream: BufReader<TcpStream>,
    /// Whether the client's last number has been looked at since the connection was made.
    has_looked: bool,
}

/// An answer of Redis.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Reply {
    Text(String),
    Number(i64),
    Nothing,
    Items(Vec<Reply>),
    Refused(String),
}

impl RedisLists {
    /// Deletes what earlier writers left. The server must answer.
    pub async fn create(address: SocketAddr) -> Result<Self, LoadError> {
        let rows = Self { address };
        let doing = "empty Redis";
        let mut session = rows.open().await.map_err(LoadError::failure(doing))?;
        session
            .ask(&["FLUSHDB"])
            .await
            .map_err(LoadError::failure(doing))?;
        Ok(rows)
    }

    /// Reads every list back and compares, also with the last numbers and lengths beside them.
    pub async fn verify(&self, report: &WritersReport) -> Result<Verification, LoadError> {
        let doing = "read the lists back";
        let read = tokio::time::timeout(READ_LIMIT, self.read_all(report));
        let (present, foreign) = read
            .await
            .map_err(LoadError::of(doing))?
            .map_err(LoadError::failure(doing))?;
        Ok(Verification::of(report, present, foreign))
    }

    async fn read_all(&self, report: &WritersReport) -> Result<TwoLists, Failure> {
        let mut session = self.open().await?;
        let (mut present, mut foreign) = (Vec::new(), Vec::new());
        for client in report.clients.iter().map(|report| report.client) {
            let [list, last, count] = keys(client);
            let Reply::Items(items) = session.ask(&["LRANGE", &list, "0", "-1"]).await? else {
                return Err(Failure::Never(format!("{list} is not a list")));
            };
            let numbers: Vec<u64> = items.iter().filter_map(Reply::as_number).collect();
            for (key, expected) in [(&last, numbers.last().copied()), (&count, len(&numbers))] {
                let seen = session.ask(&["GET", key]).await?.as_number();
                if seen.unwrap_or_default() != expected.unwrap_or_default() {
                    foreign.push((client, seen.unwrap_or_default()));
                }
            }
            let in_order = numbers.is_sorted();
            if !in_order || numbers.len() != items.len() {
                foreign.push((client, 0));
            }
            present.extend(numbers.into_iter().map(|number| (client, number)));
        }
        Ok((present, foreign))
    }
}

/// Rows that are there, and those that are there but wrong.
type TwoLists = (Vec<(u32, u64)>, Vec<(u32, u64)>);

fn len(numbers: &[u64]) -> Option<u64> {
    u64::try_from(numbers.len()).ok()
}

fn keys(client: u32) -> [String; 3] {
    ["rows", "last", "count"].map(|kind| format!("flocker:{client}:{kind}"))
}

impl NumberedRows for RedisLists {
    type Session = RedisSession;

    async fn open(&self) -> Result<RedisSession, Failure> {
        let connect = tokio::time::timeout(CONNECT_LIMIT, TcpStream::connect(self.address));
        let stream = connect.await.map_err(again)?.map_err(again)?;
        stream.set_nodelay(true).map_err(again)?;
        Ok(RedisSession {
            stream: BufReader::new(stream),
            has_looked: false,
        })
    }

    async fn write(
        &self,
        session: &mut RedisSession,
        client: u32,
        number: u64,
    ) -> Result<(), Failure> {
        let [list, last, count] = keys(client);
        let text = number.to_string();
        if !session.has_looked {
            let seen = session.ask(&["GET", &last]).await?.as_number();
            session.has_looked = true;
            if seen == Some(number) {
                return Ok(());
            }
        }
        let transaction: [&[&str]; 5] = [
            &["MULTI"],
            &["RPUSH", &list, &text],
            &["SET", &last, &text],
            &["INCR", &count],
            &["EXEC"],
        ];
        match session.ask_all(&transaction).await?.pop() {
            Some(Reply::Items(done)) if done.len() == 3 => Ok(()),
            other => Err(Failure::Again(format!(
                "the transaction ended with {other:?}"
            ))),
        }
    }
}

impl RedisSession {
    async fn ask(&mut self, words: &[&str]) -> Result<Reply, Failure> {
        let mut replies = self.ask_all(&[words]).await?;
        replies
            .pop()
            .ok_or_else(|| Failure::Again("no answer".to_owned()))
    }

    /// Sends commands together and reads all answers. The first refusal is the result, if any.
    async fn ask_all(&mut self, commands: &[&[&str]]) -> Result<Vec<Reply>, Failure> {
        let mut text = String::new();
        for words in commands {
            text += &format!("*{}\r\n", words.len());
            for word in *words {
                text += &format!("${}\r\n{word}\r\n", word.len());
            }
        }
        self.stream
            .write_all(text.as_bytes())
            .await
            .map_err(again)?;
        let mut replies = Vec::with_capacity(commands.len());
        for _ in commands {
            replies.push(read_reply(&mut self.stream).await.map_err(again)?);
        }
        match replies.iter().find_map(Reply::as_refusal) {
            // LOADING, READONLY, MASTERDOWN ...: states that pass. Wrong types and words do not.
            Some(refusal) if refusal.starts_with("ERR") || refusal.starts_with("WRONGTYPE") => {
                Err(Failure::Never(refusal.to_owned()))
            }
            Some(refusal) => Err(Failure::Again(refusal.to_owned())),
            None => Ok(replies),
        }
    }
}

impl Reply {
    fn as_number(&self) -> Option<u64> {
        match self {
            Self::Text(text) => text.parse().ok(),
            Self::Number(number) => u64::try_from(*number).ok(),
            _ => None,
        }
    }

    fn as_refusal(&self) -> Option<&str> {
        match self {
            Self::Refused(text) => Some(text),
            _ => None,
        }
    }
}

/// Reads one answer; an array of plain answers is as deep as it goes.
async fn read_reply(stream: &mut BufReader<TcpStream>) -> io::Result<Reply> {
    let line = read_line(stream).await?;
    if let Some(count) = line.strip_prefix('*') {
        let Ok(count) = count.parse::<usize>() else {
            return Ok(Reply::Nothing); // "*-1": the transaction was given up
        };
        if count > ARRAY_ITEMS_MAX {
            return Err(io::Error::other("an array too long"));
        }
        let mut items = Vec::new();
        for _ in 0..count {
            let line = read_line(stream).await?;
            items.push(read_plain(&line, stream).await?);
        }
        return Ok(Reply::Items(items));
    }
    read_plain(&line, stream).await
}

async fn read_plain(line: &str, stream: &mut BufReader<TcpStream>) -> io::Result<Reply> {
    let wrong = || io::Error::other(format!("not an answer of Redis: {line:?}"));
    let (kind, rest) = line.split_at_checked(1).ok_or_else(wrong)?;
    match kind {
        "+" => Ok(Reply::Text(rest.to_owned())),
        "-" => Ok(Reply::Refused(rest.to_owned())),
        ":" => rest.parse().map(Reply::Number).map_err(|_| wrong()),
        "$" if rest == "-1" => Ok(Reply::Nothing),
        "$" => {
            let length: usize = rest.parse().map_err(|_| wrong())?;
            if length > BULK_BYTES_MAX {
                return Err(io::Error::other("a string too long"));
            }
            let mut bytes = vec![0; length + 2];
            stream.read_exact(&mut bytes).await?;
            bytes.truncate(length);
            String::from_utf8(bytes)
                .map(Reply::Text)
                .map_err(io::Error::other)
        }
        _ => Err(wrong()),
    }
}

async fn read_line(stream: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut line = String::new();
    if stream.read_line(&mut line).await? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end().to_owned())
}

fn again(error: impl std::error::Error) -> Failure {
    Failure::Again(error.to_string())
}
