//! Attacks on every listener of a cluster that runs: what each got, and what those who belong there saw
//! meanwhile. The table is `docs/attacks.md`; the test fails when the page says something else.
//!
//! `FLOCKER_WRITE_ATTACKS=1` has the page written anew.

mod certificates;
mod floods;
mod legitimate;
mod messages;
mod slow;
mod streams;
mod table;
mod wire;

use crate::support::databases::{await_redis, redis};
use crate::support::{Cluster, manifests};
use flocker_control::StateDirectory;
use flocker_net::pki::{Authority, Identity, Role, key_and_request};
use flocker_net::tls::{ALPN_HTTP1, ConnectOptions, Credentials, Expect, TlsError, connect};
use flocker_testkit::images::Image;
use flocker_types::access::UserRole;
use flocker_types::ids::{NodeId, VolumeId};
use legitimate::Legitimate;
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};
use table::Table;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

const PORT: u16 = 6379;
const CONTROL_PORT: u16 = 4523;
const AGENT_PORT: u16 = 4524;
const TUNNEL_PORT: u16 = 4525;
/// For what ends soon.
const SOON: Duration = Duration::from_secs(30);

/// What is read from and written to.
trait Both: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Both for T {}
/// A connection over TLS.
type Tls = Box<dyn Both>;

/// A listener of ours that speaks TLS.
#[derive(Clone, Copy)]
pub(crate) struct Listener {
    name: &'static str,
    at: SocketAddr,
    expect: NodeOr,
}

#[derive(Clone, Copy)]
enum NodeOr {
    Control,
    Node(NodeId),
}

impl Listener {
    fn expect(&self) -> Expect {
        match self.expect {
            NodeOr::Control => Expect::Control,
            NodeOr::Node(id) => Expect::Node(id),
        }
    }
}

/// A cluster under attack. A cache runs on n2; what is attacked is there, and control on n1. The attacker
/// has what n3 has, or less.
pub(crate) struct Stage {
    cluster: Cluster,
    authority: Authority,
    nodes: [NodeId; 3],
    volume: VolumeId,
    legitimate: Legitimate,
}

impl Stage {
    async fn set() -> Self {
        let cluster = Cluster::up(&[Image::Redis]).await;
        let on = [("n1", &[][..]), ("n2", &["cache"]), ("n3", &[])];
        let files = [manifests::redis(&[("cache", PORT)]), manifests::nodes(&on)];
        cluster.deploy(&files).await;
        await_redis(cluster.at("n1", PORT), "SET greeting hello", "+OK").await;
        let directory = cluster.node("n1").unwrap().state_directory();
        let files = StateDirectory::new(&directory.join("control"));
        let authority = Authority::load(&files.authority_certificate(), &files.authority_key());
        let authority = authority.unwrap();
        let view = cluster.view().await;
        let nodes = ["n1", "n2", "n3"].map(|name| {
            let node = view.nodes.iter().find(|one| one.name.as_str() == name);
            node.unwrap().id
        });
        let volume = view.volumes[0].id;
        let own = credentials_of(
            &authority,
            &authority,
            Role::Node(nodes[0]),
            SystemTime::now(),
        );
        let legitimate = Legitimate::start(&cluster, own, nodes[1], volume);
        Self {
            cluster,
            authority,
            nodes,
            volume,
            legitimate,
        }
    }

    fn control(&self) -> Listener {
        Listener {
            name: "control, 4523",
            at: self.cluster.at("n1", CONTROL_PORT),
            expect: NodeOr::Control,
        }
    }

    fn agent(&self) -> Listener {
        Listener {
            name: "agent, 4524",
            at: self.cluster.at("n2", AGENT_PORT),
            expect: NodeOr::Node(self.nodes[1]),
        }
    }

    fn tunnels(&self) -> Listener {
        Listener {
            name: "proxy's tunnels, 4525",
            at: self.cluster.at("n2", TUNNEL_PORT),
            expect: NodeOr::Node(self.nodes[1]),
        }
    }

    fn listeners(&self) -> [Listener; 3] {
        [self.control(), self.agent(), self.tunnels()]
    }

    /// Whoever may come in at a listener: a person at control, a node elsewhere.
    fn member_of(&self, listener: &Listener) -> Role {
        match listener.expect {
            NodeOr::Control => user("mallory", UserRole::Admin),
            NodeOr::Node(_) => Role::Node(self.nodes[2]),
        }
    }

    /// Credentials that are as they should be.
    fn credentials(&self, role: Role) -> Credentials {
        credentials_of(&self.authority, &self.authority, role, SystemTime::now())
    }

    /// A connection over which HTTP is spoken at control, and something else elsewhere.
    async fn open(&self, listener: &Listener, credentials: &Credentials) -> Result<Tls, TlsError> {
        let options = ConnectOptions {
            alpn: match listener.expect {
                NodeOr::Control => &[ALPN_HTTP1],
                NodeOr::Node(_) => &[],
            },
            ..ConnectOptions::default()
        };
        let stream = connect(listener.at, credentials, &listener.expect(), options).await?;
        Ok(Box::new(stream))
    }

    /// A connection of a member that is let in.
    async fn member(&self, listener: &Listener) -> Tls {
        let credentials = self.credentials(self.member_of(listener));
        self.open(listener, &credentials).await.unwrap()
    }

    /// Does something while those who belong here go on, and writes down what came of it.
    fn attack<'a>(
        &'a self,
        table: &'a mut Table,
        attack: &'a str,
        listener: &'a str,
        doing: impl Future<Output = String> + 'a,
    ) -> impl Future<Output = ()> + 'a {
        // Boxed, so that the sum of all attacks stays small.
        let doing = Box::pin(doing);
        async move {
            let (got, saw) = self.legitimate.during(doing).await;
            let (words, figures) = (saw.words(), saw.figures());
            println!("{attack} | {listener} | {got} | {words} | {figures}");
            table.add(attack, listener, &got, &words);
        }
    }
}

fn user(name: &str, role: UserRole) -> Role {
    Role::User {
        name: name.to_owned(),
        role,
    }
}

/// Credentials that `signer` has signed, for a member of the cluster of `trusted`.
fn credentials_of(
    signer: &Authority,
    trusted: &Authority,
    role: Role,
    at: SystemTime,
) -> Credentials {
    let key = key_and_request().unwrap();
    let identity = Identity {
        cluster: trusted.cluster(),
        role,
    };
    let day = Duration::from_secs(24 * 60 * 60);
    let signed = signer.sign_request_at(&key.request_pem, &identity, day, at);
    Credentials::from_pem(&signed.unwrap(), &key.key_pem, trusted.certificate_pem()).unwrap()
}

/// What comes back on a connection, as HTTP, until it is over: the status, or how it ended.
async fn answer(stream: &mut Tls, request: &[u8]) -> String {
    // A server may have refused before it has read all.
    let _sent = stream.write_all(request).await;
    let _sent = stream.flush().await;
    let mut read = vec![0; 16 * 1024];
    match tokio::time::timeout(SOON, stream.read(&mut read)).await {
        Err(_) => "no answer, open".to_owned(),
        Ok(Err(error)) => refusal_in(&error.to_string()),
        Ok(Ok(0)) => "closed".to_owned(),
        Ok(Ok(length)) => {
            let text = String::from_utf8_lossy(&read[..length]);
            let mut words = text.split_whitespace();
            match (words.next(), words.next()) {
                (Some(http), Some(status)) if http.starts_with("HTTP/") => status.to_owned(),
                _ => format!("{length} bytes"),
            }
        }
    }
}

/// How a connection ends that says no more: closed, or how long it stayed open.
async fn end_of(stream: &mut (impl AsyncRead + Unpin), limit: Duration) -> String {
    let mut read = vec![0; 16 * 1024];
    let ending = async {
        loop {
            match stream.read(&mut read).await {
                Ok(0) => return "closed".to_owned(),
                Ok(_) => {}
                Err(error) => return refusal_in(&error.to_string()),
            }
        }
    };
    let ended = tokio::time::timeout(limit, ending).await;
    ended.unwrap_or_else(|_| "open".to_owned())
}

/// The reason of a refusal, in few words, from an error's text.
fn refusal_in(text: &str) -> String {
    for (part, words) in [
        ("UnknownCA", "refused in the handshake: unknown authority"),
        (
            "was not issued by",
            "refused in the handshake: unknown authority",
        ),
        // Its name is that of our authority, its signature is not.
        (
            "DecryptError",
            "refused in the handshake: unknown authority",
        ),
        (
            "not valid there",
            "refused in the handshake: unknown authority",
        ),
        ("CertificateExpired", "refused in the handshake: expired"),
        ("has expired", "refused in the handshake: expired"),
        ("CertificateRevoked", "refused in the handshake: revoked"),
        ("is revoked", "refused in the handshake: revoked"),
    ] {
        if text.contains(part) {
            return words.to_owned();
        }
    }
    // However a closed connection shows itself.
    "closed".to_owned()
}

/// Waits until the cache answers by n3, so that one attack does not hide in the next.
async fn still_there(stage: &Stage) {
    let at = stage.cluster.at("n3", PORT);
    assert_eq!(redis(at, "GET greeting").await.unwrap(), "hello");
}

/// Connects without saying anything.
async fn plain(at: SocketAddr) -> TcpStream {
    tokio::time::timeout(SOON, TcpStream::connect(at))
        .await
        .unwrap()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_each_attack_got() {
    let begun = Instant::now();
    let stage = Stage::set().await;
    let mut table = Table::default();
    Box::pin(certificates::try_all(&stage, &mut table)).await;
    streams::try_all(&stage, &mut table).await;
    messages::try_all(&stage, &mut table).await;
    slow::try_all(&stage, &mut table).await;
    floods::try_all(&stage, &mut table).await;
    still_there(&stage).await;
    // Last: it leaves a server behind that never connects.
    Box::pin(certificates::replayed_token(&stage, &mut table)).await;
    stage.cluster.assert_one_running_copy("cache").await;
    stage.legitimate.stop().await;
    println!("{} attacks in {:.1?}", table.len(), begun.elapsed());
    table.check();
}
