//! The disk under the store is full: orders are refused with the reason, the rest goes on, and when
//! there is room again so does control, with everything that it had acknowledged.

use crate::cluster::{Cluster, LIMIT, refusal};
use crate::fake;
use flocker_control::{ControlError, KeepError};
use flocker_net::client::ApiClient;
use flocker_net::pki::Role;
use flocker_store::StoreTrouble;
use flocker_types::access::{AuditAnswer, AuditRecord, AuditView, RevokeRequest, UserRole};
use flocker_types::api::{ClusterView, TokenRequest, TokenResponse};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A small filesystem in memory, gone with its guard.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path) -> Self {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=48m", "tmpfs"])
            .arg(at)
            .status();
        assert!(mounted.unwrap().success(), "this test needs root");
        Self(at.to_owned())
    }

    /// Leaves so much room, in bytes.
    fn fill(&self, left_bytes: u64) {
        let mut filler = File::options()
            .create(true)
            .append(true)
            .open(self.0.join("filler"))
            .unwrap();
        let page = [1_u8; 4096];
        while free_bytes(&self.0) > left_bytes {
            // The last page may find no room; then it is full.
            if filler.write_all(&page).is_err() {
                return;
            }
        }
    }

    fn make_room(&self) {
        std::fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: control may not have let go yet.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
        let _ = std::fs::remove_dir(&self.0);
    }
}

fn free_bytes(path: &Path) -> u64 {
    let stat = rustix::fs::statvfs(path).unwrap();
    stat.f_bavail * stat.f_frsize
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_orders_and_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let disk = SmallDisk::mount(directory.path());
    let mut cluster = Cluster::start_in(directory, |store| Box::new(store)).await;
    let client = cluster.client();
    let (acknowledged, _) = cluster.token(60_000).await;

    disk.fill(1 << 20);
    let request = TokenRequest {
        valid_ms: 60_000,
        node: None,
    };
    let answer = client
        .post::<_, TokenResponse>("/v1/tokens", &request)
        .await;
    let (status, error) = refusal(answer);
    assert_eq!(status, 507, "{error:?}");
    assert!(error.message.contains("nearly full"), "{error:?}");
    assert_eq!(
        cluster.status().await.nodes.len(),
        1,
        "it can still be looked at"
    );
    let credentials = cluster.node_credentials(cluster.first);
    let mut agent = fake::agent_link(&cluster, &credentials).await;
    let hello = fake::agent_hello(cluster.id, cluster.first);
    agent.sender.send(hello).await.unwrap();
    assert!(
        fake::next(&mut agent).await.is_some(),
        "an agent is welcome"
    );

    disk.make_room();
    let (second, _) = cluster.token(60_000).await;
    // Now without any room at all: whether a write still finds some or not, control either goes on
    // or ends, and has lost nothing.
    disk.fill(0);
    let credentials = cluster.node_credentials(cluster.first);
    let mut again = fake::proxy_link(&cluster, &credentials).await;
    let hello = fake::proxy_hello(cluster.id, cluster.first);
    again.sender.send(hello).await.unwrap();
    if fake::next(&mut again).await.is_none() {
        let ended = tokio::time::timeout(LIMIT, &mut cluster.running).await;
        let ended = ended.unwrap().unwrap().unwrap_err();
        let ControlError::Keep(KeepError::Store(error)) = ended else {
            panic!("{ended:?}");
        };
        assert_eq!(error.trouble, StoreTrouble::Full, "{error:?}");
        disk.make_room();
        cluster.start_again().await;
    } else {
        disk.make_room();
        cluster.restart().await;
    }
    for (token, last) in [(acknowledged, 2), (second, 3)] {
        let joined = cluster.join(&token, &format!("n{last}"), last).await;
        assert!(joined.is_ok(), "what was acknowledged is there: {joined:?}");
    }
}

/// What cannot be written down is not done; looking goes on, and so does control when there is room again.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_of_the_audit_log_refuses_what_would_not_be_in_it() {
    let directory = tempfile::tempdir().unwrap();
    let audit = directory.path().join("audit");
    std::fs::create_dir(&audit).unwrap();
    let disk = SmallDisk::mount(&audit);
    let cluster = Cluster::start_in(directory, |store| Box::new(store)).await;
    let client = cluster.client();
    let (token, _) = cluster.token(60_000).await;
    disk.fill(0);
    // What is left of the log's last page is used up by this.
    let request = TokenRequest {
        valid_ms: 60_000,
        node: None,
    };
    let mut asked = 0;
    let (status, error) = loop {
        asked += 1;
        assert!(asked < 1_000, "the disk is never full");
        let answer = client
            .post::<_, TokenResponse>("/v1/tokens", &request)
            .await;
        if answer.is_err() {
            break refusal(answer);
        }
    };
    assert_eq!(status, 507, "{error:?}");
    assert!(error.message.contains("audit log is full"), "{error:?}");
    let revoked = client
        .post::<_, ()>("/v1/revocations", &RevokeRequest::User("eve".to_owned()))
        .await;
    assert_eq!(refusal(revoked).0, 507);
    let eve = Role::User {
        name: "eve".to_owned(),
        role: UserRole::Admin,
    };
    let eve = ApiClient::new(cluster.address, cluster.credentials(eve));
    eve.get::<ClusterView>("/v1/status").await.unwrap();
    // Whoever may not is refused as always, though that is not in the log either.
    let viewer = Role::User {
        name: "vic".to_owned(),
        role: UserRole::Viewer,
    };
    let viewer = ApiClient::new(cluster.address, cluster.credentials(viewer));
    let answer = viewer
        .post::<_, TokenResponse>("/v1/tokens", &request)
        .await;
    assert_eq!(refusal(answer).0, 403);
    disk.make_room();
    cluster.token(60_000).await;
    let joined = cluster.join(&token, "n2", 2).await;
    assert!(joined.is_ok(), "{joined:?}");
    let log: AuditView = client.get("/v1/audit?limit=10000").await.unwrap();
    let count = |answer| log.records.iter().filter(|r| r.answer == answer).count();
    // Each request that was carried out, and nothing that was not.
    assert!(count(AuditAnswer::Allowed) >= 3, "{log:?}");
    let revocation = |record: &AuditRecord| record.request.contains("revocations");
    assert!(!log.records.iter().any(revocation), "{log:?}");
}
