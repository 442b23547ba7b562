//! Links: whose hello is taken, what becomes of an older one, and a deployment over them.

use crate::cluster::{Cluster, LIMIT, refusal};
use crate::fake::{self, Obedient};
use flocker_net::link::{AGENT_PATH, LinkError, LinkLimits, PROXY_PATH, connect};
use flocker_types::api::{ApiError, ClusterView, LinkView, LogLine, OperationView};
use flocker_types::ids::{ClusterId, NodeId};
use flocker_types::link::{AgentMessage, ProxyMessage, ToAgent, ToProxy};
use flocker_types::operation::OperationStatus;
use flocker_types::task::ContainerState;
use uuid::Uuid;

#[tokio::test]
async fn agent_and_proxy_are_welcomed_and_shown() {
    let cluster = Cluster::start().await;
    let credentials = cluster.node_credentials(cluster.first);
    let before = cluster.status().await;
    assert_eq!(before.nodes[0].agent, LinkView::Never);
    let mut agent = fake::agent_link(&cluster, &credentials).await;
    let hello = fake::agent_hello(cluster.id, cluster.first);
    agent.sender.send(hello.clone()).await.unwrap();
    let directives = Vec::new();
    assert_eq!(
        fake::next(&mut agent).await,
        Some(ToAgent::Welcome { directives })
    );
    let mut proxy = fake::proxy_link(&cluster, &credentials).await;
    let proxy_hello = fake::proxy_hello(cluster.id, cluster.first);
    proxy.sender.send(proxy_hello).await.unwrap();
    let routes = Vec::new();
    assert_eq!(
        fake::next(&mut proxy).await,
        Some(ToProxy::Welcome { routes })
    );
    let view = cluster.status().await;
    assert!(matches!(view.nodes[0].agent, LinkView::Connected(_)));
    assert!(matches!(view.nodes[0].proxy, LinkView::Connected(_)));
    assert_eq!(view.nodes[0].version.as_deref(), Some("test"));

    // The same node again: the older connection ends, the newer one stays.
    let mut newer = fake::agent_link(&cluster, &credentials).await;
    newer.sender.send(hello).await.unwrap();
    assert!(fake::next(&mut newer).await.is_some());
    assert_eq!(fake::next(&mut agent).await, None);
    let view = cluster.status().await;
    assert!(matches!(view.nodes[0].agent, LinkView::Connected(_)));
    newer.handle.close();
    drop(proxy);
    let gone = |link: &LinkView| matches!(link, LinkView::Lost(_));
    cluster
        .status_when(|view| gone(&view.nodes[0].agent) && gone(&view.nodes[0].proxy))
        .await;
}

#[tokio::test]
async fn only_the_hello_of_the_certificates_node_is_taken() {
    let cluster = Cluster::start().await;
    let credentials = cluster.node_credentials(cluster.first);
    let stranger = NodeId(Uuid::new_v4());
    let elsewhere = ClusterId(Uuid::new_v4());
    for hello in [
        fake::agent_hello(cluster.id, stranger),
        fake::agent_hello(elsewhere, cluster.first),
        AgentMessage::VolumeGone {
            volume: flocker_types::ids::VolumeId(Uuid::new_v4()),
        },
    ] {
        let mut link = fake::agent_link(&cluster, &credentials).await;
        link.sender.send(hello).await.unwrap();
        assert_eq!(fake::next(&mut link).await, None);
    }
    let mut link = fake::proxy_link(&cluster, &credentials).await;
    let hello: ProxyMessage = fake::proxy_hello(cluster.id, stranger);
    link.sender.send(hello).await.unwrap();
    assert_eq!(fake::next(&mut link).await, None);
    // A certificate of ours for a node that is no member (any more).
    let credentials = cluster.node_credentials(stranger);
    let mut link = fake::agent_link(&cluster, &credentials).await;
    let hello = fake::agent_hello(cluster.id, stranger);
    link.sender.send(hello).await.unwrap();
    assert_eq!(fake::next(&mut link).await, None);
    assert_eq!(cluster.status().await.nodes[0].agent, LinkView::Never);
}

#[tokio::test]
async fn a_second_hello_ends_the_link() {
    let cluster = Cluster::start().await;
    let credentials = cluster.node_credentials(cluster.first);
    let mut link = fake::agent_link(&cluster, &credentials).await;
    let hello = fake::agent_hello(cluster.id, cluster.first);
    link.sender.send(hello.clone()).await.unwrap();
    assert!(fake::next(&mut link).await.is_some());
    link.sender.send(hello).await.unwrap();
    assert_eq!(fake::next(&mut link).await, None);
}

#[tokio::test]
async fn a_user_gets_no_link_and_learns_why() {
    let cluster = Cluster::start().await;
    let credentials = cluster.user_credentials();
    for path in [AGENT_PATH, PROXY_PATH] {
        let limits = LinkLimits::default();
        let refused =
            connect::<AgentMessage, ToAgent>(cluster.address, &credentials, path, limits).await;
        let Err(LinkError::Refused { status, reason, .. }) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(status.as_u16(), 403);
        assert!(reason.contains("user ops"), "{reason}");
    }
}

async fn with_obedient_node() -> (Cluster, Obedient) {
    let cluster = Cluster::start().await;
    let node = Obedient::start(&cluster).await;
    let connected = |link: &LinkView| matches!(link, LinkView::Connected(_));
    cluster
        .status_when(|view| connected(&view.nodes[0].agent) && connected(&view.nodes[0].proxy))
        .await;
    (cluster, node)
}

async fn deployed(cluster: &Cluster) -> OperationView {
    let started = fake::deploy(cluster, &["web"]).await;
    let path = format!("/v1/operations/{}/end", started.operations[0]);
    cluster.client().get(&path).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_goes_through_and_its_log_is_read() {
    let (cluster, _node) = with_obedient_node().await;
    let view = deployed(&cluster).await;
    assert_eq!(
        view.operation.status,
        OperationStatus::Succeeded,
        "{view:#?}"
    );
    let status = cluster.status().await;
    assert!(matches!(
        status.services[0].state,
        ContainerState::Running { .. }
    ));

    let path = "/v1/services/shop/web/logs?tail=2";
    let mut log = cluster.client().stream_lines(path).await.unwrap();
    let mut texts = Vec::new();
    while let Some(line) = log.next().await {
        let line: LogLine = serde_json::from_str(&line.unwrap()).unwrap();
        texts.push(line.text);
    }
    assert_eq!(texts, ["one", "two"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_ends_for_its_agent_when_nobody_reads_and_for_its_reader_when_control_stops() {
    let (cluster, mut node) = with_obedient_node().await;
    deployed(&cluster).await;
    let path = "/v1/services/shop/web/logs?follow=yes";
    let mut logs = Vec::new();
    for _ in 0..2 {
        let mut log = cluster.client().stream_lines(path).await.unwrap();
        for text in ["one", "two"] {
            let line = tokio::time::timeout(LIMIT, log.next()).await.unwrap();
            assert!(line.unwrap().unwrap().contains(text));
        }
        logs.push(log);
    }
    drop(logs.remove(0));
    let ended = tokio::time::timeout(LIMIT, node.ended_logs.recv()).await;
    assert!(matches!(ended, Ok(Some(_))), "{ended:?}");
    assert!(
        node.ended_logs.try_recv().is_err(),
        "the other log is still read"
    );
    cluster.shutdown.cancel();
    let last = tokio::time::timeout(LIMIT, logs[0].next()).await.unwrap();
    let last: ApiError = serde_json::from_str(&last.unwrap().unwrap()).unwrap();
    assert!(last.message.contains("broke off"), "{last:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_for_an_operation_hears_that_control_stops() {
    let cluster = Cluster::start().await;
    let credentials = cluster.node_credentials(cluster.first);
    let mut agent = fake::agent_link(&cluster, &credentials).await;
    let hello = fake::agent_hello(cluster.id, cluster.first);
    agent.sender.send(hello).await.unwrap();
    assert!(fake::next(&mut agent).await.is_some());
    // This agent never does what it is told, so the operation goes on.
    let started = fake::deploy(&cluster, &["web"]).await;
    let path = format!("/v1/operations/{}", started.operations[0]);
    let client = cluster.client();
    client.get::<OperationView>(&path).await.unwrap();
    let path = format!("{path}/end");
    let waiting = client.get::<OperationView>(&path);
    let stop = async {
        // On the same connection, so answered only after the other request has arrived.
        client.get::<ClusterView>("/v1/status").await.unwrap();
        cluster.shutdown.cancel();
    };
    let (answer, ()) = tokio::join!(waiting, stop);
    let (status, error) = refusal(answer);
    assert_eq!(status, 503);
    assert!(error.message.contains("stopping"), "{error:?}");
}
