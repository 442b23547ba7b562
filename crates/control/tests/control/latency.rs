//! How long things take through control. Measurements, run by hand:
//! `cargo nextest run -p flocker-control --run-ignored only --no-capture latency`.

use crate::cluster::Cluster;
use crate::fake::{self, Obedient};
use flocker_types::api::{ClusterView, LinkView, OperationView, TokenRequest, TokenResponse};
use flocker_types::link::{AgentMessage, ToAgent};
use flocker_types::task::{TaskOutcome, TaskReport, Work};
use std::time::{Duration, Instant};

fn summary(what: &str, mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    format!(
        "{what}: p50 {:?}, p99 {:?}, {} times",
        at(50),
        at(99),
        times.len()
    )
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn latency_of_requests() {
    let cluster = Cluster::start().await;
    let client = cluster.client();
    client.get::<ClusterView>("/v1/status").await.unwrap();
    let mut times = Vec::new();
    for _ in 0..1_000 {
        let begun = Instant::now();
        client.get::<ClusterView>("/v1/status").await.unwrap();
        times.push(begun.elapsed());
    }
    println!("{}", summary("GET /v1/status", times));
    let mut times = Vec::new();
    for _ in 0..300 {
        let begun = Instant::now();
        let request = TokenRequest { valid_ms: 60_000 };
        client
            .post::<_, TokenResponse>("/v1/tokens", &request)
            .await
            .unwrap();
        times.push(begun.elapsed());
    }
    println!("{}", summary("POST /v1/tokens (one redb commit)", times));
}

/// From an agent's word to the command that follows from it: two messages over TLS, two steps of
/// the core, one durable write.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn latency_from_event_to_command() {
    let cluster = Cluster::start().await;
    let credentials = cluster.node_credentials(cluster.first);
    let mut agent = fake::agent_link(&cluster, &credentials).await;
    agent
        .sender
        .send(fake::agent_hello(cluster.id, cluster.first))
        .await
        .unwrap();
    fake::next(&mut agent).await.unwrap();
    let mut times = Vec::new();
    for round in 0..100 {
        let started = fake::deploy(&cluster, &[&format!("web{round}")]).await;
        let task = loop {
            match fake::next(&mut agent).await.unwrap() {
                ToAgent::Task(task) => break task,
                _ => continue,
            }
        };
        assert!(matches!(task.work, Work::Prepare { .. }));
        let id = task.id;
        assert_eq!(id.operation, started.operations[0]);
        let result = Ok(TaskOutcome::Prepared(fake::prepared()));
        let begun = Instant::now();
        agent
            .sender
            .send(AgentMessage::Task(TaskReport { id, result }))
            .await
            .unwrap();
        loop {
            if let ToAgent::Directive(_) = fake::next(&mut agent).await.unwrap() {
                break;
            }
        }
        times.push(begun.elapsed());
    }
    println!(
        "{}",
        summary("from the report of a task to the next directive", times)
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn latency_of_a_deployment() {
    let cluster = Cluster::start().await;
    let _node = Obedient::start(&cluster).await;
    let connected = |link: &LinkView| matches!(link, LinkView::Connected(_));
    cluster
        .status_when(|view| connected(&view.nodes[0].agent) && connected(&view.nodes[0].proxy))
        .await;
    let client = cluster.client();
    let mut times = Vec::new();
    for round in 0..50 {
        let begun = Instant::now();
        let started = fake::deploy(&cluster, &[&format!("web{round}")]).await;
        let path = format!("/v1/operations/{}/end", started.operations[0]);
        client.get::<OperationView>(&path).await.unwrap();
        times.push(begun.elapsed());
    }
    println!(
        "{}",
        summary(
            "plan, deploy and the end of the operation, with an agent that does nothing",
            times
        )
    );
}
