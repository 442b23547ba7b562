//! How long things take through control, on loopback and with a real disk. The limits are those of
//! the design; what was measured shows with `--no-capture`.

use crate::cluster::Cluster;
use crate::fake;
use flocker_net::client::ApiClient;
use flocker_store::{MemoryStore, RedbStore, StateStore, Transaction, Write};
use flocker_types::api::{ClusterView, TokenRequest, TokenResponse};
use flocker_types::link::{AgentMessage, ToAgent};
use flocker_types::task::{TaskOutcome, TaskReport, Work};
use std::time::{Duration, Instant};

/// A change reaches every proxy within this time, of which control takes a part.
const CHANGE_LIMIT: Duration = Duration::from_millis(200);

/// The median, and all of it in words.
fn summary(what: &str, mut times: Vec<Duration>) -> (Duration, String) {
    times.sort();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    let count = times.len();
    let text = format!("{what}: p50 {:?}, p99 {:?}, {count} times", at(50), at(99));
    (at(50), text)
}

async fn token_of(client: &ApiClient) -> TokenResponse {
    let request = TokenRequest {
        valid_ms: 60_000,
        node: None,
    };
    client.post("/v1/tokens", &request).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_answered_soon() {
    let cluster = Cluster::start().await;
    let client = cluster.client();
    client.get::<ClusterView>("/v1/status").await.unwrap();
    let mut reads = Vec::new();
    let mut writes = Vec::new();
    for _ in 0..200 {
        let begun = Instant::now();
        client.get::<ClusterView>("/v1/status").await.unwrap();
        reads.push(begun.elapsed());
    }
    for _ in 0..50 {
        let begun = Instant::now();
        token_of(&client).await;
        writes.push(begun.elapsed());
    }
    let (read, text) = summary("GET /v1/status", reads);
    println!("{text}");
    let (write, text) = summary("POST /v1/tokens, one durable write", writes);
    println!("{text}");
    assert!(read < CHANGE_LIMIT && write < CHANGE_LIMIT);
}

fn in_memory(store: &RedbStore) -> MemoryStore {
    let mut memory = MemoryStore::default();
    let entries = store.range("").unwrap();
    let put = entries
        .into_iter()
        .map(|entry| Write::Put(entry.key, entry.value));
    let transaction = Transaction {
        expect: Vec::new(),
        writes: put.collect(),
    };
    memory.commit(&transaction).unwrap();
    memory
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_follows_its_event_soon() {
    let on_disk = Cluster::start().await;
    let (durable, text) = from_report_to_directive("with redb", &on_disk).await;
    println!("{text}");
    let in_memory = Cluster::start_with(|store| Box::new(in_memory(&store))).await;
    let (_, text) = from_report_to_directive("in memory", &in_memory).await;
    println!("{text}");
    assert!(durable < CHANGE_LIMIT);
}

/// From an agent's report of a task to the directive that follows from it: two messages over TLS,
/// one step of the core, one durable write.
async fn from_report_to_directive(what: &str, cluster: &Cluster) -> (Duration, String) {
    let credentials = cluster.node_credentials(cluster.first);
    let mut agent = fake::agent_link(cluster, &credentials).await;
    let hello = fake::agent_hello(cluster.id, cluster.first);
    agent.sender.send(hello).await.unwrap();
    let mut times = Vec::new();
    for round in 0..50 {
        fake::deploy(cluster, &[&format!("web{round}")]).await;
        let id = loop {
            if let ToAgent::Task(task) = fake::next(&mut agent).await.unwrap() {
                assert!(matches!(task.work, Work::Prepare { .. }));
                break task.id;
            }
        };
        let result = Ok(TaskOutcome::Prepared(fake::prepared()));
        let report = AgentMessage::Task(TaskReport { id, result });
        let begun = Instant::now();
        agent.sender.send(report).await.unwrap();
        loop {
            if let ToAgent::Directive(_) = fake::next(&mut agent).await.unwrap() {
                break;
            }
        }
        times.push(begun.elapsed());
    }
    summary(&format!("from report to directive {what}"), times)
}
