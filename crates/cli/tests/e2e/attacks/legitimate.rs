//! Those who belong to the cluster, and use it while it is attacked.

use super::{AGENT_PORT, CONTROL_PORT, PORT, TUNNEL_PORT};
use crate::support::Cluster;
use crate::support::databases::redis;
use flocker_net::client::ApiClient;
use flocker_net::tls::{ConnectOptions, Credentials, Expect, connect};
use flocker_storage::stream::{FrameReader, FrameWriter};
use flocker_types::api::ClusterView;
use flocker_types::ids::{NodeId, VolumeId};
use flocker_types::stream::{StreamReply, StreamRequest};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;

/// How long anything may take.
const LIMIT: Duration = Duration::from_secs(10);
/// Between two tries of one.
const PAUSE: Duration = Duration::from_millis(100);
const KINDS: [&str; 5] = ["user", "agent", "tunnel", "client at n2", "client at n3"];

/// What one kind has seen since the attack began.
#[derive(Debug, Clone, Default)]
struct Seen {
    asked: u64,
    failures: Vec<String>,
    longest: Duration,
}

/// What all have seen.
#[derive(Debug)]
pub(super) struct Saw(Vec<(&'static str, Seen)>);

impl Saw {
    /// For the test's output: how often each was served, and the longest wait.
    pub(super) fn figures(&self) -> String {
        let figure =
            |(kind, seen): &(&str, Seen)| format!("{kind} {} {:.0?}", seen.asked, seen.longest);
        self.0.iter().map(figure).collect::<Vec<_>>().join(", ")
    }

    /// For the table.
    pub(super) fn words(&self) -> String {
        let failing: Vec<String> = self
            .0
            .iter()
            .filter(|(_, seen)| !seen.failures.is_empty())
            .map(|(kind, seen)| {
                let first = &seen.failures[0];
                format!(
                    "{} of {} of the {kind} failed: {first}",
                    seen.failures.len(),
                    seen.asked
                )
            })
            .collect();
        match failing.is_empty() {
            true => "all served".to_owned(),
            false => failing.join("; "),
        }
    }
}

/// What each of them needs.
struct Ways {
    api: Credentials,
    control: SocketAddr,
    node: Credentials,
    peer: Mutex<(NodeId, SocketAddr)>,
    tunnel: (NodeId, SocketAddr),
    clients: [SocketAddr; 2],
    volume: VolumeId,
}

/// Them, at work.
pub(crate) struct Legitimate {
    ways: Arc<Ways>,
    seen: Arc<Mutex<Vec<Seen>>>,
    /// Grows with each attack; a try that began before is not counted for it.
    working: Vec<JoinHandle<()>>,
    round: Arc<Mutex<u64>>,
}

impl Legitimate {
    pub(super) fn start(
        cluster: &Cluster,
        node: Credentials,
        n2: NodeId,
        volume: VolumeId,
    ) -> Self {
        let ways = Arc::new(Ways {
            api: cluster.credentials(),
            control: cluster.at("n1", CONTROL_PORT),
            node,
            peer: Mutex::new((n2, cluster.at("n2", AGENT_PORT))),
            tunnel: (n2, cluster.at("n2", TUNNEL_PORT)),
            clients: [cluster.at("n2", PORT), cluster.at("n3", PORT)],
            volume,
        });
        let seen = Arc::new(Mutex::new(vec![Seen::default(); KINDS.len()]));
        let round = Arc::new(Mutex::new(0));
        let working = (0..KINDS.len())
            .map(|kind| {
                let (ways, seen, round) =
                    (Arc::clone(&ways), Arc::clone(&seen), Arc::clone(&round));
                tokio::spawn(work(kind, ways, seen, round))
            })
            .collect();
        Self {
            ways,
            seen,
            working,
            round,
        }
    }

    /// From now on this agent is asked.
    pub(super) fn ask_agent(&self, node: NodeId, at: SocketAddr) {
        *self.ways.peer.lock().unwrap() = (node, at);
    }

    /// Does something, and says what they saw from its beginning to its end, each at least once.
    pub(super) async fn during(&self, doing: impl Future<Output = String>) -> (String, Saw) {
        *self.round.lock().unwrap() += 1;
        *self.seen.lock().unwrap() = vec![Seen::default(); KINDS.len()];
        let got = doing.await;
        let deadline = Instant::now() + 2 * LIMIT;
        loop {
            let seen = self.seen.lock().unwrap().clone();
            if seen.iter().all(|one| one.asked > 0) {
                return (got, Saw(KINDS.into_iter().zip(seen).collect()));
            }
            assert!(Instant::now() < deadline, "somebody does nothing: {seen:?}");
            tokio::time::sleep(PAUSE).await;
        }
    }

    pub(super) async fn stop(&self) {
        for one in &self.working {
            one.abort();
        }
        tokio::task::yield_now().await;
    }
}

async fn work(kind: usize, ways: Arc<Ways>, seen: Arc<Mutex<Vec<Seen>>>, round: Arc<Mutex<u64>>) {
    loop {
        let of_round = *round.lock().unwrap();
        let begun = Instant::now();
        let done = tokio::time::timeout(LIMIT, ask(kind, &ways)).await;
        let done = done.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        if *round.lock().unwrap() == of_round {
            let mut seen = seen.lock().unwrap();
            let mine = &mut seen[kind];
            mine.asked += 1;
            mine.longest = mine.longest.max(begun.elapsed());
            if let Err(error) = done {
                mine.failures.push(error.to_string());
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn ask(kind: usize, ways: &Ways) -> io::Result<()> {
    match kind {
        0 => {
            let api = ApiClient::new(ways.control, ways.api.clone());
            let view: Result<ClusterView, _> = api.get("/v1/status").await;
            view.map(drop).map_err(io::Error::other)
        }
        1 => agent(ways).await,
        2 => tunnel(ways).await,
        client => greeting(&redis(ways.clients[client - 3], "GET greeting").await?),
    }
}

fn greeting(answer: &str) -> io::Result<()> {
    match answer {
        "hello" => Ok(()),
        _ => Err(io::Error::other(format!("it answered {answer:?}"))),
    }
}

async fn agent(ways: &Ways) -> io::Result<()> {
    let (node, at) = *ways.peer.lock().unwrap();
    let options = ConnectOptions::default();
    let stream = connect(at, &ways.node, &Expect::Node(node), options).await;
    let (reader, writer) = tokio::io::split(stream.map_err(io::Error::other)?);
    let (mut reader, mut writer) = (
        FrameReader::new(reader, LIMIT),
        FrameWriter::new(writer, LIMIT),
    );
    let request = StreamRequest::Ask {
        volume: ways.volume,
    };
    writer.request(&request).await.map_err(io::Error::other)?;
    match reader.reply().await.map_err(io::Error::other)? {
        StreamReply::Have { .. } => Ok(()),
        other => Err(io::Error::other(format!("{other:?}"))),
    }
}

async fn tunnel(ways: &Ways) -> io::Result<()> {
    let (node, at) = ways.tunnel;
    let options = ConnectOptions::default();
    let stream = connect(at, &ways.node, &Expect::Node(node), options).await;
    let mut stream = stream.map_err(io::Error::other)?;
    stream.write_all(&tunnel_request(&wish())).await?;
    let mut answer = [0; 2];
    stream.read_exact(&mut answer).await?;
    if answer != [3, 0] {
        return Err(io::Error::other(format!("the tunnel says {answer:?}")));
    }
    stream.write_all(b"PING\r\n").await?;
    let mut pong = [0; 5];
    stream.read_exact(&mut pong).await?;
    match &pong {
        b"+PONG" => Ok(()),
        other => Err(io::Error::other(format!("it answered {other:?}"))),
    }
}

/// What is asked for on a tunnel to the Redis.
fn wish() -> String {
    format!("{{\"service\":\"cache\",\"internal_port\":{PORT}}}")
}

/// A tunnel's request, as the other proxies write it.
pub(super) fn tunnel_request(json: &str) -> Vec<u8> {
    let length = u16::try_from(json.len()).unwrap();
    let mut bytes = vec![1];
    bytes.extend(length.to_be_bytes());
    bytes.extend(json.as_bytes());
    bytes
}
