//! The store is lost, or damaged, and made again from agents that only talk.

use crate::cluster::{Cluster, LIMIT, init_request, refusal};
use crate::fake;
use flocker_control::recovery::{
    ExistingStore, Recovery, RecoveryBase, RecoveryError, RecoveryRequest, Wanted,
};
use flocker_control::{Backup, ControlConfig, StateDirectory};
use flocker_types::access::{AccessNotice, Revocation, RevokeRequest, Revoked};
use flocker_types::ids::NodeId;
use flocker_types::link::{AgentMemory, AgentMessage, ToAgent};
use flocker_types::time::UnixMs;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

fn store(cluster: &Cluster) -> PathBuf {
    StateDirectory::new(cluster.directory.path()).store()
}

fn request(cluster: &Cluster, base: RecoveryBase) -> RecoveryRequest {
    let networks = init_request();
    let directory = cluster.directory.path().to_owned();
    RecoveryRequest {
        config: ControlConfig::new(cluster.address, directory, cluster.first),
        cluster: cluster.id,
        service_network: networks.service_network,
        container_network: networks.container_network,
        base,
    }
}

fn one() -> Wanted {
    Wanted {
        count: Some(1),
        ..Wanted::default()
    }
}

/// An agent that answers what it is asked, for as long as the link lives.
async fn agent(cluster: &Cluster) -> tokio::task::JoinHandle<()> {
    let credentials = cluster.node_credentials(cluster.first);
    let mut link = fake::agent_link(cluster, &credentials).await;
    let hello = fake::agent_hello(cluster.id, cluster.first);
    link.sender.send(hello).await.unwrap();
    tokio::spawn(async move {
        while let Some(message) = link.receiver.recv().await {
            assert_eq!(message, ToAgent::Recall, "nothing else may be said");
            let memory = AgentMessage::Memory(Box::default());
            link.sender.send(memory).await.unwrap();
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_store_is_made_again_and_control_goes_on() {
    let mut cluster = Cluster::start().await;
    std::fs::remove_file(store(&cluster)).unwrap();
    let refused = Recovery::open(request(&cluster, RecoveryBase::Store)).await;
    assert!(
        matches!(refused, Err(RecoveryError::Listen { .. })),
        "control runs, whatever became of its file"
    );
    cluster.stop().await;

    let mut recovery = Recovery::open(request(&cluster, RecoveryBase::Store))
        .await
        .unwrap();
    let answer = cluster
        .client()
        .get::<serde_json::Value>("/v1/status")
        .await;
    let (status, error) = refusal(answer);
    assert_eq!(status, 503, "{error:?}");
    let nobody = recovery
        .gather(&one(), Duration::from_millis(50), |_| {})
        .await;
    assert!(nobody.nodes.is_empty() && !nobody.enough, "{nobody:?}");

    let talks = agent(&cluster).await;
    let gathered = recovery.gather(&one(), LIMIT, |_| {}).await;
    assert!(
        gathered.enough && gathered.missing.is_empty(),
        "{gathered:?}"
    );
    let recovered = recovery.rebuild(&one(), BTreeMap::new()).unwrap();
    assert!(recovered.state.nodes.contains_key(&cluster.first));
    let kept = recovery.write(recovered.state).await.unwrap();
    assert_eq!(kept, None, "there was nothing to set aside");
    talks.await.unwrap();
    cluster.start_again().await;
    assert_eq!(cluster.status().await.nodes.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_store_is_named_and_set_aside() {
    let mut cluster = Cluster::start().await;
    let client = cluster.client();
    let mut stream = client.stream_lines("/v1/backup").await.unwrap();
    let mut text = String::new();
    while let Some(line) = stream.next().await {
        text.push_str(&line.unwrap());
        text.push('\n');
    }
    let backup = Backup::decode(&text).unwrap();
    cluster.stop().await;
    std::fs::write(store(&cluster), "this was a store").unwrap();
    let error = cluster.fails_to_start().await;
    assert!(
        error.contains("flocker control restore") && error.contains("flocker recover"),
        "{error}"
    );

    let base = |existing| RecoveryBase::Backup {
        state: Box::new(backup.state().unwrap()),
        existing,
    };
    let refused = Recovery::open(request(&cluster, base(ExistingStore::Refuse))).await;
    assert!(matches!(refused, Err(RecoveryError::Exists { .. })));
    let request = request(&cluster, base(ExistingStore::SetAside));
    let mut recovery = Recovery::open(request).await.unwrap();
    let wanted = Wanted::default();
    let missing = recovery
        .gather(&wanted, Duration::from_millis(50), |_| {})
        .await;
    assert!(
        missing.missing.contains("n1"),
        "the backup knows it: {missing:?}"
    );
    let talks = agent(&cluster).await;
    recovery.gather(&wanted, LIMIT, |_| {}).await;
    let recovered = recovery.rebuild(&wanted, BTreeMap::new()).unwrap();
    let kept = recovery.write(recovered.state).await.unwrap().unwrap();
    assert_eq!(std::fs::read_to_string(kept).unwrap(), "this was a store");
    talks.await.unwrap();
    cluster.start_again().await;
    assert_eq!(cluster.status().await.nodes[0].name.as_str(), "n1");
}

/// An agent that remembers what it was told is revoked.
async fn remembers(
    cluster: &Cluster,
    node: NodeId,
    revocations: Vec<Revocation>,
) -> tokio::task::JoinHandle<()> {
    let credentials = cluster.node_credentials(node);
    let mut link = fake::agent_link(cluster, &credentials).await;
    link.sender
        .send(fake::agent_hello(cluster.id, node))
        .await
        .unwrap();
    tokio::spawn(async move {
        while let Some(message) = link.receiver.recv().await {
            assert_eq!(message, ToAgent::Recall, "nothing else may be said");
            let memory = AgentMemory {
                revocations: revocations.clone(),
                ..AgentMemory::default()
            };
            // A node that is revoked meanwhile is cut off.
            link.sender
                .send(AgentMessage::Memory(Box::new(memory)))
                .await
                .ok();
        }
    })
}

/// What control has told an agent is revoked.
async fn told(cluster: &Cluster) -> Vec<Revocation> {
    let credentials = cluster.node_credentials(cluster.first);
    let mut link = fake::agent_link(cluster, &credentials).await;
    let hello = fake::agent_hello(cluster.id, cluster.first);
    link.sender.send(hello).await.unwrap();
    loop {
        let said = fake::next(&mut link).await.unwrap();
        if let ToAgent::Access(AccessNotice::Revoked { revocations }) = said {
            return revocations;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_revoked_comes_back_from_the_nodes_and_nobody_can_invent_any() {
    let mut cluster = Cluster::start().await;
    let (token, _) = cluster.token(60_000).await;
    let second = cluster.join(&token, "n2", 2).await.unwrap().node;
    for request in [
        RevokeRequest::User("eve".to_owned()),
        RevokeRequest::Node("n2".to_owned()),
    ] {
        let () = cluster
            .client()
            .post("/v1/revocations", &request)
            .await
            .unwrap();
    }
    let known = told(&cluster).await;
    assert!(
        known.len() == 2 && known.iter().all(|one| one.mark.is_some()),
        "{known:?}"
    );
    cluster.stop().await;
    std::fs::remove_file(store(&cluster)).unwrap();
    let base = RecoveryBase::Store;
    let mut recovery = Recovery::open(request(&cluster, base)).await.unwrap();
    // A node that lies: without a mark, with that of another entry, and with a later moment.
    let lie = |whom, until: u64, mark: &Option<String>| Revocation {
        whom,
        until: UnixMs(until),
        by: "ops".to_owned(),
        mark: mark.clone(),
    };
    let mut all = known.clone();
    all.push(lie(Revoked::User("ops".to_owned()), u64::MAX, &None));
    all.push(lie(
        Revoked::User("ops".to_owned()),
        u64::MAX,
        &known[0].mark,
    ));
    let later = Revocation {
        until: UnixMs(u64::MAX),
        ..known[0].clone()
    };
    all.push(later);
    // The revoked one comes first, and counts until somebody says that it is revoked.
    let revoked = remembers(&cluster, second, Vec::new()).await;
    recovery.gather(&one(), LIMIT, |_| {}).await;
    let talks = remembers(&cluster, cluster.first, all).await;
    let name = format!("node-{}", cluster.first.short());
    let wanted = Wanted {
        names: [name.clone()].into(),
        ..Wanted::default()
    };
    let gathered = recovery.gather(&wanted, LIMIT, |_| {}).await;
    assert_eq!(gathered.nodes, [name].into(), "{gathered:?}");
    let recovered = recovery.rebuild(&wanted, BTreeMap::new()).unwrap();
    let found: Vec<(Revoked, UnixMs)> = recovered
        .state
        .revocations
        .values()
        .map(|one| (one.whom.clone(), one.until))
        .collect();
    let expected: BTreeMap<Revoked, UnixMs> = known
        .iter()
        .map(|one| (one.whom.clone(), one.until))
        .collect();
    assert_eq!(found, expected.into_iter().collect::<Vec<_>>());
    recovery.write(recovered.state).await.unwrap();
    talks.await.unwrap();
    revoked.await.unwrap();
    cluster.start_again().await;
    assert_eq!(told(&cluster).await.len(), 2);
}
