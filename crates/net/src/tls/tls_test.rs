//! TLS over the loopback address: who gets in, who does not, and what is said about it.

use super::*;
use crate::pki::{Fingerprint, Identity, Role};
use crate::testing::{ANY, Cluster, node, user, within};
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const DAY: Duration = Duration::from_secs(86_400);

type Accepted = Result<Option<Identity>, TlsError>;

/// Accepts one connection, sends one byte, and tells how that went.
async fn serve_one(
    credentials: &Credentials,
    clients: ClientCertificates,
) -> (SocketAddr, tokio::task::JoinHandle<Accepted>) {
    let listener = TcpListener::bind(ANY).await.unwrap();
    let address = listener.local_addr().unwrap();
    let config = server_config(credentials, clients, &[]).unwrap();
    let task = tokio::spawn(async move {
        let (stream, peer) = listener.accept().await.unwrap();
        let (mut stream, member) = accept(stream, peer, &config, HANDSHAKE_MS_MAX).await?;
        stream.write_all(b"!").await.unwrap();
        stream.shutdown().await.unwrap();
        Ok(member.map(|member| member.identity))
    });
    (address, task)
}

/// A client with these credentials against such a server.
async fn meet(
    server: &Credentials,
    client: &Credentials,
    expect: Expect,
) -> (Result<(), TlsError>, Accepted) {
    let (address, task) = serve_one(server, ClientCertificates::Required).await;
    let connected = within(
        "connecting",
        connect(address, client, &expect, ConnectOptions::default()),
    )
    .await;
    let result = match connected {
        Ok(mut stream) => match stream.read_u8().await {
            Ok(byte) => {
                assert_eq!(byte, b'!');
                Ok(())
            }
            Err(error) => Err(TlsError::refused_by_peer(address, &error).unwrap()),
        },
        Err(error) => Err(error),
    };
    (result, within("accepting", task).await.unwrap())
}

fn refusal(result: Result<(), TlsError>) -> PeerRefusal {
    match result {
        Err(TlsError::Refused { refusal, .. }) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn members_meet_and_know_each_other() {
    let cluster = Cluster::new();
    let control = cluster.credentials(Role::Control);
    for role in [node(1), user()] {
        let client = cluster.credentials(role.clone());
        let (result, accepted) = meet(&control, &client, Expect::Control).await;
        result.unwrap();
        assert_eq!(accepted.unwrap(), Some(cluster.identity(role)));
    }
    let Role::Node(id) = node(2) else {
        unreachable!()
    };
    let (server, client) = (cluster.credentials(node(2)), cluster.credentials(node(1)));
    meet(&server, &client, Expect::Node(id)).await.0.unwrap();
}

#[tokio::test]
async fn another_clusters_server_is_not_accepted() {
    let (ours, theirs) = (Cluster::new(), Cluster::new());
    let (server, client) = (theirs.credentials(Role::Control), ours.credentials(node(1)));
    let (result, _) = meet(&server, &client, Expect::Control).await;
    assert_eq!(refusal(result), PeerRefusal::UnknownAuthority);
}

#[tokio::test]
async fn another_clusters_client_is_not_let_in() {
    let ours = Cluster::new();
    let theirs = Cluster::imitating(&ours);
    let client = theirs.credentials_trusting(node(1), &ours);
    let (result, accepted) = meet(&ours.credentials(Role::Control), &client, Expect::Control).await;
    assert!(
        matches!(result, Err(TlsError::RefusedByPeer { .. })),
        "{result:?}"
    );
    assert!(matches!(
        accepted,
        Err(TlsError::Refused {
            refusal: PeerRefusal::UnknownAuthority,
            ..
        })
    ));
}

#[tokio::test]
async fn dates_are_checked_on_both_sides_and_clocks_are_named() {
    let cluster = Cluster::new();
    let now = SystemTime::now();
    let good = cluster.credentials(node(1));
    let old = cluster.credentials_at(Role::Control, now - 400 * DAY);
    let (result, _) = meet(&old, &good, Expect::Control).await;
    let expired = refusal(result);
    assert_eq!(
        expired,
        PeerRefusal::Expired {
            ago: "35 days".to_owned()
        }
    );
    assert!(expired.hint().contains("clocks"));
    let early = cluster.credentials_at(Role::Control, now + 10 * DAY);
    let (result, _) = meet(&early, &good, Expect::Control).await;
    assert_eq!(
        refusal(result),
        PeerRefusal::NotYetValid {
            ahead: "9 days".to_owned()
        }
    );
    let control = cluster.credentials(Role::Control);
    let client = cluster.credentials_at(node(1), now - 400 * DAY);
    let (result, accepted) = meet(&control, &client, Expect::Control).await;
    let text = result.unwrap_err().to_string();
    assert!(text.contains("our certificate has expired"), "{text}");
    assert!(
        accepted
            .unwrap_err()
            .to_string()
            .contains("expired 35 days ago")
    );
}

#[tokio::test]
async fn a_server_has_to_be_the_one_that_was_meant() {
    let cluster = Cluster::new();
    let client = cluster.credentials(node(1));
    let Role::Node(id) = node(3) else {
        unreachable!()
    };
    for (presented, expected) in [
        (node(2), Expect::Control),
        (Role::Control, Expect::Node(id)),
        (node(2), Expect::Node(id)),
    ] {
        let server = cluster.credentials(presented.clone());
        let (result, _) = meet(&server, &client, expected.clone()).await;
        let text = result.unwrap_err().to_string();
        assert!(text.starts_with("127.0.0.1:"), "{text}");
        assert!(
            text.contains(&format!("it is {presented}, expected ")),
            "{text}"
        );
    }
}

#[tokio::test]
async fn a_user_cannot_be_a_server() {
    let cluster = Cluster::new();
    let (server, client) = (cluster.credentials(user()), cluster.credentials(node(1)));
    let (result, _) = meet(&server, &client, Expect::Control).await;
    assert_eq!(refusal(result), PeerRefusal::WrongPurpose);
}

#[tokio::test]
async fn without_a_certificate_only_where_that_is_allowed() {
    let cluster = Cluster::new();
    let control = cluster.credentials(Role::Control);
    let pin = cluster.authority.fingerprint();
    let (address, task) = serve_one(&control, ClientCertificates::Optional).await;
    let mut stream = connect_pinned(address, pin, ConnectOptions::default())
        .await
        .unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'!');
    assert_eq!(task.await.unwrap().unwrap(), None);

    let (address, task) = serve_one(&control, ClientCertificates::Required).await;
    let mut stream = connect_pinned(address, pin, ConnectOptions::default())
        .await
        .unwrap();
    let error = stream.read_u8().await.unwrap_err();
    let error = TlsError::refused_by_peer(address, &error).unwrap();
    assert!(error.to_string().contains("wants a certificate"), "{error}");
    assert!(matches!(
        task.await.unwrap(),
        Err(TlsError::Refused {
            refusal: PeerRefusal::NoCertificate,
            ..
        })
    ));
}

#[tokio::test]
async fn a_pin_accepts_control_of_its_cluster_only() {
    let cluster = Cluster::new();
    let pinned = async |server: Role, pin: Fingerprint| {
        let server = cluster.credentials(server);
        let (address, _task) = serve_one(&server, ClientCertificates::Optional).await;
        let connected = connect_pinned(address, pin, ConnectOptions::default()).await;
        connected.map(|_| ())
    };
    let right = cluster.authority.fingerprint();
    pinned(Role::Control, right).await.unwrap();
    let wrong = Cluster::new().authority.fingerprint();
    assert_eq!(
        refusal(pinned(Role::Control, wrong).await),
        PeerRefusal::OtherAuthority
    );
    assert!(matches!(
        refusal(pinned(node(1), right).await),
        PeerRefusal::WrongIdentity { .. }
    ));
}

#[tokio::test]
async fn a_pin_is_not_satisfied_by_a_certificate_that_is_merely_shown() {
    let ours = Cluster::new();
    // An impostor shows the pinned authority beside a certificate that it issued to itself.
    let impostor = Cluster::imitating(&ours).credentials_trusting(Role::Control, &ours);
    let (address, _task) = serve_one(&impostor, ClientCertificates::Optional).await;
    let pin = ours.authority.fingerprint();
    let connected = connect_pinned(address, pin, ConnectOptions::default()).await;
    assert_eq!(
        refusal(connected.map(|_| ())),
        PeerRefusal::UnknownAuthority
    );
}

#[tokio::test]
async fn nobody_a_silent_one_and_a_stranger_are_told_apart() {
    let cluster = Cluster::new();
    let credentials = cluster.credentials(node(1));
    let options = ConnectOptions {
        connect_ms_max: 200,
        ..ConnectOptions::default()
    };
    let listener = TcpListener::bind(ANY).await.unwrap();
    let address = listener.local_addr().unwrap();
    // It accepts (in the kernel), and never says a word.
    let error = connect(address, &credentials, &Expect::Control, options)
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            TlsError::Timeout {
                phase: "agreeing on TLS",
                ..
            }
        ),
        "{error:?}"
    );
    assert!(error.retry_can_help());
    let stranger = tokio::spawn(async move {
        // The first in the queue is the connection that was given up above.
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").await;
        }
    });
    let options = ConnectOptions::default();
    let error = connect(address, &credentials, &Expect::Control, options)
        .await
        .unwrap_err();
    assert!(matches!(error, TlsError::Handshake { .. }), "{error:?}");
    within("the stranger's end", stranger).await.unwrap();
    let error = connect(address, &credentials, &Expect::Control, options)
        .await
        .unwrap_err();
    assert!(matches!(error, TlsError::Connect { .. }), "{error:?}");
}

#[tokio::test]
async fn a_client_that_never_begins_is_given_up() {
    let cluster = Cluster::new();
    let control = cluster.credentials(Role::Control);
    let config = server_config(&control, ClientCertificates::Required, &[]).unwrap();
    let listener = TcpListener::bind(ANY).await.unwrap();
    let _silent = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let (stream, peer) = listener.accept().await.unwrap();
    let error = within("giving up", accept(stream, peer, &config, 50))
        .await
        .unwrap_err();
    assert!(
        matches!(error, TlsError::Timeout { limit_ms: 50, .. }),
        "{error:?}"
    );
}

#[test]
fn credentials_survive_their_files_and_fit_together() {
    let cluster = Cluster::new();
    let directory = tempfile::tempdir().unwrap();
    let issue = |role| {
        let identity = cluster.identity(role);
        cluster
            .authority
            .issue(&identity, crate::pki::NODE_VALIDITY)
            .unwrap()
    };
    let (one, two) = (issue(node(1)), issue(node(2)));
    let authority = cluster.authority.certificate_pem();
    let files = CredentialFiles::NODE;
    Credentials::save(directory.path(), files, &one, authority).unwrap();
    let loaded = Credentials::load(directory.path(), files).unwrap();
    assert_eq!(*loaded.identity(), cluster.identity(node(1)));
    assert_eq!(
        loaded.authority_fingerprint(),
        cluster.authority.fingerprint()
    );
    assert_eq!(
        format!("{loaded:?}"),
        format!("Credentials({})", loaded.identity())
    );
    let mixed = Credentials::from_pem(&one.certificate_pem, &two.key_pem, authority);
    assert!(matches!(mixed, Err(CredentialsError::Unusable { .. })));
    let missing = Credentials::load(directory.path(), CredentialFiles::USER).unwrap_err();
    let cause = std::error::Error::source(&missing).unwrap().to_string();
    assert!(cause.ends_with("user.pem"), "{cause}");
    let other = Cluster::new();
    let other = other.authority.certificate_pem();
    let foreign = Credentials::from_pem(&one.certificate_pem, &one.key_pem, other);
    assert!(matches!(
        foreign,
        Err(CredentialsError::OtherCluster { .. })
    ));
}
