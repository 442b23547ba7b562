//! Joining: a token lets one server in, once, in time, and nobody else.

use crate::cluster::{Cluster, join_request, refusal};
use flocker_net::client::ApiClient;
use flocker_net::pki::{Identity, JoinToken, Role};
use flocker_types::api::{ErrorCode, JoinResponse, TokenRequest, TokenResponse};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const HOUR_MS: u64 = 3_600_000;

#[tokio::test]
async fn a_token_lets_one_server_in_once_even_after_a_restart() {
    let mut cluster = Cluster::start().await;
    let (token, _) = cluster.token(HOUR_MS).await;
    let joined = cluster.join(&token, "n2", 2).await.unwrap();
    assert_eq!(joined.cluster, cluster.id);
    assert_eq!(joined.control, cluster.address);
    assert_eq!(joined.service_network, "10.213.0.0/16");
    assert_eq!(joined.authority, cluster.authority.certificate_pem());
    let certificate = identity_in(&joined.certificate);
    assert_eq!(certificate.role, Role::Node(joined.node));
    let names: Vec<_> = cluster.status().await.nodes;
    assert_eq!(names[1].id, joined.node);
    assert_eq!(names[1].name.as_str(), "n2");

    let (status, error) = refusal(cluster.join(&token, "n3", 3).await);
    assert_eq!((status, error.code), (403, ErrorCode::Forbidden));
    cluster.restart().await;
    let (status, _) = refusal(cluster.join(&token, "n3", 3).await);
    assert_eq!(status, 403);
    assert_eq!(cluster.status().await.nodes.len(), 2);
}

#[tokio::test]
async fn a_server_whose_answer_was_lost_joins_again_with_another_token() {
    let cluster = Cluster::start().await;
    let (token, _) = cluster.token(HOUR_MS).await;
    let lost = cluster.join(&token, "n2", 2).await.unwrap();
    // Not with the name or the address alone, which may be another server's.
    for (name, last) in [("n2", 3), ("n3", 2)] {
        let (token, _) = cluster.token(HOUR_MS).await;
        let (status, error) = refusal(cluster.join(&token, name, last).await);
        assert_eq!((status, error.code), (409, ErrorCode::Conflict));
    }
    let (token, _) = cluster.token(HOUR_MS).await;
    let joined = cluster.join(&token, "n2", 2).await.unwrap();
    assert_ne!(joined.node, lost.node);
    let nodes = cluster.status().await.nodes;
    assert_eq!(nodes.len(), 2);
    assert_eq!(nodes[1].id, joined.node);
}

fn identity_in(pem: &str) -> Identity {
    use rustls_pki_types::{CertificateDer, pem::PemObject};
    Identity::from_certificate(&CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_come_with_one_token_one_is_let_in() {
    let cluster = Cluster::start().await;
    let (token, _) = cluster.token(HOUR_MS).await;
    let names: Vec<String> = (2..10).map(|number| format!("n{number}")).collect();
    let attempts = names
        .iter()
        .zip(2..)
        .map(|(name, last)| cluster.join(&token, name, last));
    let answers = futures_util::future::join_all(attempts).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    assert_eq!(cluster.status().await.nodes.len(), 2);
}

#[tokio::test]
async fn a_token_that_is_wrong_or_late_takes_its_time() {
    let cluster = Cluster::start().await;
    // First the good one: making a token sweeps the expired ones away.
    let (good, _) = cluster.token(HOUR_MS).await;
    let (token, response) = cluster.token(1).await;
    let expires = Duration::from_millis(response.expires.0);
    while SystemTime::now().duration_since(UNIX_EPOCH).unwrap() < expires {
        tokio::task::yield_now().await;
    }
    let unknown = JoinToken::create(cluster.authority.fingerprint()).unwrap();
    for (token, said) in [(&unknown, "not one of this cluster"), (&token, "expired")] {
        let begun = Instant::now();
        let (status, error) = refusal(cluster.join(token, "n2", 2).await);
        assert_eq!((status, error.code), (403, ErrorCode::Forbidden));
        assert!(error.message.contains(said), "{error:?}");
        assert!(begun.elapsed() >= Duration::from_millis(500));
    }
    let mut request = join_request(&good, "n2", 2);
    let other = if &request.token[30..31] == "z" {
        "y"
    } else {
        "z"
    };
    request.token.replace_range(30..31, other);
    let client = ApiClient::pinned(cluster.address, good.authority);
    let (status, _) = refusal(client.post::<_, JoinResponse>("/v1/join", &request).await);
    assert_eq!(status, 403);
    cluster.join(&good, "n2", 2).await.unwrap();
}

#[tokio::test]
async fn what_is_refused_for_another_reason_does_not_use_the_token_up() {
    let cluster = Cluster::start().await;
    let (token, _) = cluster.token(HOUR_MS).await;
    let client = ApiClient::pinned(cluster.address, token.authority);
    let mut request = join_request(&token, "n2", 2);
    request.certificate_request = "-----BEGIN NONSENSE-----".to_owned();
    let (status, error) = refusal(client.post::<_, JoinResponse>("/v1/join", &request).await);
    assert_eq!((status, error.code), (400, ErrorCode::Invalid));
    let (status, error) = refusal(cluster.join(&token, "n1", 2).await);
    assert_eq!((status, error.code), (409, ErrorCode::Conflict));
    cluster.join(&token, "n2", 2).await.unwrap();
}

#[tokio::test]
async fn a_token_has_a_sensible_life() {
    let cluster = Cluster::start().await;
    for valid_ms in [0, u64::MAX] {
        let request = TokenRequest {
            valid_ms,
            node: None,
        };
        let answer = cluster
            .client()
            .post::<_, TokenResponse>("/v1/tokens", &request)
            .await;
        let (status, error) = refusal(answer);
        assert_eq!((status, error.code), (400, ErrorCode::Invalid));
        assert!(error.message.contains(&valid_ms.to_string()), "{error:?}");
    }
}
