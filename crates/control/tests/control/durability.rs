//! A store that fails ends control before anything leaves it; what had left is there afterwards.

use crate::cluster::{Cluster, LIMIT, refusal};
use crate::fake;
use flocker_control::{ControlError, KeepError};
use flocker_store::{Commit, Entry, RedbStore, StateStore, StoreError, StoreTrouble, Transaction};
use flocker_types::api::{ErrorCode, TokenRequest, TokenResponse};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A real store whose disk can be made to fail.
#[derive(Debug)]
struct Failing {
    store: RedbStore,
    fails: Arc<AtomicBool>,
}

impl StateStore for Failing {
    fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        self.store.get(key)
    }
    fn range(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        self.store.range(prefix)
    }
    fn commit(&mut self, transaction: &Transaction) -> Result<Commit, StoreError> {
        if self.fails.load(Ordering::SeqCst) {
            return Err(StoreError {
                action: "write",
                path: "the test's disk".to_owned(),
                trouble: StoreTrouble::Full,
                source: "it is full".into(),
            });
        }
        self.store.commit(transaction)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn control_ends_before_anything_that_is_not_durable_leaves_it() {
    let fails = Arc::new(AtomicBool::new(false));
    let switch = Arc::clone(&fails);
    let mut cluster = Cluster::start_with(|store| {
        Box::new(Failing {
            store,
            fails: switch,
        })
    })
    .await;
    let credentials = cluster.node_credentials(cluster.first);
    let client = cluster.client();
    let request = TokenRequest {
        valid_ms: 60_000,
        node: None,
    };
    client
        .post::<_, TokenResponse>("/v1/tokens", &request)
        .await
        .unwrap();
    let mut agent = fake::agent_link(&cluster, &credentials).await;

    fails.store(true, Ordering::SeqCst);
    // The hello changes the node's record (its stream address), so no welcome may come.
    let hello = fake::agent_hello(cluster.id, cluster.first);
    agent.sender.send(hello).await.unwrap();
    assert_eq!(fake::next(&mut agent).await, None);
    let ended = tokio::time::timeout(LIMIT, &mut cluster.running).await;
    let ended = ended.unwrap().unwrap().unwrap_err();
    assert!(
        matches!(ended, ControlError::Keep(KeepError::Store(_))),
        "{ended:?}"
    );
    assert!(client.get::<serde_json::Value>("/v1/health").await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_not_durable_is_not_answered_as_if_it_were() {
    let fails = Arc::new(AtomicBool::new(true));
    let mut cluster = Cluster::start_with(|store| Box::new(Failing { store, fails })).await;
    let request = TokenRequest {
        valid_ms: 60_000,
        node: None,
    };
    let answer = cluster
        .client()
        .post::<_, TokenResponse>("/v1/tokens", &request)
        .await;
    let (status, error) = refusal(answer);
    assert_eq!((status, error.code), (503, ErrorCode::Unavailable));
    let ended = tokio::time::timeout(LIMIT, &mut cluster.running).await;
    assert!(ended.unwrap().unwrap().is_err());
}
