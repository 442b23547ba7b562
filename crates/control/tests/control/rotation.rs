//! A new authority takes the place of the old one: who signs, who is waited for, who is shut out, and a
//! control that is started again in between.

use crate::cluster::{Cluster, LIMIT, refusal};
use flocker_net::client::ApiClient;
use flocker_net::pki::{MemberCertificate, Role, key_and_request};
use flocker_net::tls::Credentials;
use flocker_types::access::{
    CertificateResponse, DropAuthorityRequest, HeldRequest, LeftBehind, NodeProcess, RenewRequest,
    RevokeRequest, RotateRequest, RotationPhase, RotationView,
};
use flocker_types::api::ClusterView;
use std::time::Duration;

/// A member with the newest certificate that it has got.
struct Member {
    credentials: Credentials,
    trusted: usize,
}

impl Member {
    fn of(credentials: Credentials) -> Self {
        Self {
            credentials,
            trusted: 1,
        }
    }

    fn client(&self, cluster: &Cluster) -> ApiClient {
        ApiClient::new(cluster.address, self.credentials.clone())
    }

    fn issuer(&self) -> String {
        self.credentials.certificate().issuer
    }

    async fn renew(&mut self, cluster: &Cluster) {
        let key = key_and_request().unwrap();
        let request = RenewRequest {
            certificate_request: key.request_pem,
        };
        let path = "/v1/certificates/renew";
        let answer: CertificateResponse = self.client(cluster).post(path, &request).await.unwrap();
        self.trusted = answer.authority.matches("BEGIN CERTIFICATE").count();
        let (pem, trusted) = (&answer.certificate, &answer.authority);
        self.credentials = Credentials::from_pem(pem, &key.key_pem, trusted).unwrap();
        assert_eq!(
            MemberCertificate::from_pem(pem).unwrap().issuer,
            self.issuer()
        );
    }

    /// As the agent and the proxy of a node do.
    async fn tell(&self, cluster: &Cluster, process: NodeProcess) {
        let request = HeldRequest {
            process,
            authorities: self.credentials.authorities(),
        };
        let client = self.client(cluster);
        let () = client
            .post("/v1/certificates/held", &request)
            .await
            .unwrap();
    }

    async fn tell_both(&self, cluster: &Cluster) {
        for process in [NodeProcess::Agent, NodeProcess::Proxy] {
            self.tell(cluster, process).await;
        }
    }

    async fn status(&self, cluster: &Cluster) -> Option<RotationView> {
        let view: ClusterView = self.client(cluster).get("/v1/status").await.unwrap();
        view.rotation
    }

    /// The status, once it is as wanted.
    async fn until(&self, cluster: &Cluster, wanted: impl Fn(&Option<RotationView>) -> bool) {
        let until = tokio::time::Instant::now() + LIMIT;
        loop {
            let seen = self.status(cluster).await;
            if wanted(&seen) {
                return;
            }
            assert!(tokio::time::Instant::now() < until, "{seen:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn drop_old(
        &self,
        cluster: &Cluster,
        left_behind: LeftBehind,
    ) -> Result<(), (u16, String)> {
        let request = DropAuthorityRequest { left_behind };
        let answer = self
            .client(cluster)
            .post::<_, ()>("/v1/authority/drop", &request)
            .await;
        match answer {
            Ok(()) => Ok(()),
            Err(error) => {
                let (status, refusal) = refusal::<()>(Err(error));
                Err((status, refusal.message))
            }
        }
    }
}

async fn begin(cluster: &Cluster, ops: &Member, overlap_ms: u64) {
    let request = RotateRequest { overlap_ms };
    let client = ops.client(cluster);
    let () = client.post("/v1/authority/rotate", &request).await.unwrap();
}

fn is_at(phase: RotationPhase) -> impl Fn(&Option<RotationView>) -> bool {
    move |view| view.as_ref().is_some_and(|view| view.phase == phase)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_authority_takes_the_old_ones_place_and_nobody_is_shut_out() {
    let mut cluster = Cluster::start().await;
    let mut ops = Member::of(cluster.user_credentials());
    let mut node = Member::of(cluster.node_credentials(cluster.first));
    let (old_ops, old) = (Member::of(cluster.user_credentials()), ops.issuer());
    assert_eq!(ops.status(&cluster).await, None);
    begin(&cluster, &ops, 3_600_000).await;
    let client = ops.client(&cluster);
    let request = RotateRequest { overlap_ms: 1 };
    let again = client.post::<_, ()>("/v1/authority/rotate", &request);
    assert_eq!(refusal(again.await).0, 409);
    let (status, message) = ops
        .drop_old(&cluster, LeftBehind::ShutOut)
        .await
        .unwrap_err();
    assert!(
        status == 409 && message.contains("not every node trusts"),
        "{message}"
    );
    // Nodes trust the new one before anybody shows them a certificate of it.
    node.renew(&cluster).await;
    assert_eq!((node.trusted, node.issuer()), (2, old.clone()));
    node.tell(&cluster, NodeProcess::Agent).await;
    cluster.restart().await;
    let view = ops.status(&cluster).await.unwrap();
    assert_eq!(
        view.phase,
        RotationPhase::Introducing,
        "its proxy has said nothing yet"
    );
    assert_eq!(
        (view.nodes, view.users),
        (vec!["n1".to_owned()], vec!["ops".to_owned()])
    );
    node.tell(&cluster, NodeProcess::Proxy).await;
    ops.until(&cluster, is_at(RotationPhase::Issuing)).await;
    cluster.restart().await;
    node.renew(&cluster).await;
    let new = node.issuer();
    assert_ne!(new, old);
    node.tell_both(&cluster).await;
    let (status, message) = ops
        .drop_old(&cluster, LeftBehind::WaitedFor)
        .await
        .unwrap_err();
    assert!(status == 409 && message.contains("user ops"), "{message}");
    // Certificates are dated by the second; the newest one counts.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    ops.renew(&cluster).await;
    assert_eq!((ops.trusted, ops.issuer()), (2, new.clone()));
    for asker in [&ops, &old_ops] {
        let view = asker.status(&cluster).await.unwrap();
        assert_eq!(view.users, Vec::<String>::new());
    }
    ops.drop_old(&cluster, LeftBehind::WaitedFor).await.unwrap();
    // The old one's certificates are worth nothing, at the next start as well.
    for _ in 0..2 {
        let refused = old_ops
            .client(&cluster)
            .get::<ClusterView>("/v1/status")
            .await;
        assert!(refused.is_err(), "{refused:?}");
        assert!(is_at(RotationPhase::Dropping)(&ops.status(&cluster).await));
        cluster.restart().await;
    }
    node.renew(&cluster).await;
    assert_eq!((node.trusted, node.issuer()), (1, new));
    node.tell_both(&cluster).await;
    ops.until(&cluster, Option::is_none).await;
    let key = std::fs::read_dir(cluster.directory.path()).unwrap();
    let rotation = key
        .flatten()
        .any(|entry| entry.file_name() == "rotation.json");
    assert!(!rotation, "nothing of the change is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_node_is_not_waited_for_and_who_is_left_behind_is_shut_out() {
    let cluster = Cluster::start().await;
    let mut ops = Member::of(cluster.user_credentials());
    let mut node = Member::of(cluster.node_credentials(cluster.first));
    let (token, _) = cluster.token(60_000).await;
    cluster.join(&token, "n2", 2).await.unwrap();
    let eve = Member::of(cluster.user("eve", flocker_types::access::UserRole::Viewer));
    eve.status(&cluster).await;
    begin(&cluster, &ops, 0).await;
    node.renew(&cluster).await;
    node.tell_both(&cluster).await;
    let view = ops.status(&cluster).await.unwrap();
    assert_eq!(view.nodes, ["n2"], "it has never come");
    let request = RevokeRequest::Node("n2".to_owned());
    let client = ops.client(&cluster);
    let () = client.post("/v1/revocations", &request).await.unwrap();
    ops.until(&cluster, is_at(RotationPhase::Issuing)).await;
    node.renew(&cluster).await;
    node.tell_both(&cluster).await;
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    ops.renew(&cluster).await;
    let (_, message) = ops
        .drop_old(&cluster, LeftBehind::WaitedFor)
        .await
        .unwrap_err();
    assert!(message.ends_with("user eve"), "{message}");
    // The time is over, but somebody hangs on the old one: it is not dropped by itself.
    tokio::time::sleep(Duration::from_millis(3_000)).await;
    assert!(is_at(RotationPhase::Issuing)(&eve.status(&cluster).await));
    ops.drop_old(&cluster, LeftBehind::ShutOut).await.unwrap();
    let refused = eve.client(&cluster).get::<ClusterView>("/v1/status").await;
    assert!(refused.is_err());
    // Another change can begin when this one is over.
    node.renew(&cluster).await;
    node.tell_both(&cluster).await;
    ops.until(&cluster, Option::is_none).await;
    begin(&cluster, &ops, 0).await;
    assert!(matches!(node.credentials.identity().role, Role::Node(_)));
}

/// The ends of certificates of nodes that have not come since control's start are in the status.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_seen_of_certificates_is_there_after_a_restart() {
    let mut cluster = Cluster::start().await;
    let node = Member::of(cluster.node_credentials(cluster.first));
    node.tell(&cluster, NodeProcess::Agent).await;
    cluster.restart().await;
    let view = cluster.status().await;
    let shown = view.certificates.iter().find(|one| one.whose == "node n1");
    assert_eq!(shown.unwrap().serial, node.credentials.certificate().serial);
}
