//! Who may do what, on a real cluster: a viewer is refused, a revoked user and a revoked node are shut out
//! at once while services go on, certificates change under load, and a secret is nowhere but in its
//! container.

use crate::support::databases::{await_redis, redis};
use crate::support::{Cluster, LIMIT, THREE, manifests};
use flocker_net::tls::{ConnectOptions, CredentialFiles, Credentials, Expect, TlsError, connect};
use flocker_testkit::images::Image;
use flocker_testkit::sandbox::Role;
use flocker_testkit::tool::{Tool, ToolError};
use flocker_testkit::wait::{self, WaitError};
use flocker_types::access::{AuditAnswer, AuditRecord, CertificateView};
use flocker_types::api::LinkView;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

const PORT: u16 = 6379;
const AGENT_PORT: u16 = 4524;
const PROXY_PORT: u16 = 4525;
const SECRET: &str = "correct-horse-battery-staple-90125";

/// Runs a command as another user, whose contexts are in a directory of the test's.
async fn as_user(home: &Path, words: &[&str]) -> Result<String, ToolError> {
    let tool = Tool::new(env!("CARGO_BIN_EXE_flocker"));
    let tool = tool
        .args(words.iter().copied())
        .env("XDG_CONFIG_HOME", home);
    tool.limit(LIMIT).run().await
}

async fn refused(home: &Path, words: &[&str]) -> String {
    match as_user(home, words).await {
        Ok(output) => panic!("{words:?} was done: {output}"),
        Err(error) => {
            let mut text = error.to_string();
            let mut next = std::error::Error::source(&error);
            while let Some(cause) = next {
                text.push_str(&cause.to_string());
                next = cause.source();
            }
            text
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_revocation_renewal_and_secrets() {
    let cluster = Cluster::up(&[Image::Redis]).await;
    let on = [("n1", &[][..]), ("n2", &["cache"]), ("n3", &[])];
    let files = [manifests::redis(&[("cache", PORT)]), manifests::nodes(&on)];
    cluster.deploy(&files).await;
    let at = cluster.at("n1", PORT);
    await_redis(at, "SET greeting hello", "+OK").await;
    let home = tempfile::tempdir().unwrap();
    users(&cluster, home.path()).await;
    secrets(&cluster, home.path()).await;
    renewal_under_load(&cluster).await;
    a_node_is_shut_out(&cluster).await;
    assert_eq!(redis(at, "GET greeting").await.unwrap(), "hello");
}

async fn users(cluster: &Cluster, home: &Path) {
    let file = home.join("eve.flocker");
    let out = file.display().to_string();
    cluster
        .run(&["user", "add", "eve", "--role", "viewer", "--out", &out])
        .await;
    as_user(home, &["context", "import", &out]).await.unwrap();
    let shown = as_user(home, &["status"]).await.unwrap();
    assert!(shown.contains("cache"), "{shown}");
    let error = refused(home, &["move", "cache", "n1"]).await;
    assert!(error.contains("needs the role operator"), "{error}");
    let error = refused(home, &["audit"]).await;
    assert!(error.contains("needs the role admin"), "{error}");
    as_user(home, &["user", "renew"]).await.unwrap();
    as_user(home, &["ps"]).await.unwrap();
    cluster.run(&["user", "revoke", "eve", "--yes"]).await;
    let error = refused(home, &["status"]).await;
    assert!(error.contains("is revoked"), "{error}");
    let text = cluster.run(&["audit", "--user", "eve", "--json"]).await;
    let records: Vec<AuditRecord> = serde_json::from_str(&text).unwrap();
    let count = |answer| records.iter().filter(|r| r.answer == answer).count();
    assert_eq!(count(AuditAnswer::Allowed), 1, "the renewal: {text}");
    assert!(count(AuditAnswer::Refused) >= 3, "{text}");
    cluster.assert_one_running_copy("cache").await;
}

async fn secrets(cluster: &Cluster, home: &Path) {
    let file = home.join("compose.yaml");
    let compose = format!(
        "name: vault\nservices:\n  keeper:\n    image: redis:7\n    environment:\n      \
         API_KEY: {SECRET}\n      PLAIN: seen\n    x-flocker:\n      node: n2\n      \
         secret_environment: [API_KEY]\n"
    );
    std::fs::write(&file, compose).unwrap();
    let path = file.display().to_string();
    let mut said = cluster.run(&["deploy", &path, "--plan", "--json"]).await;
    said.push_str(&cluster.run(&["deploy", &path, "--yes"]).await);
    said.push_str(&cluster.run(&["deploy", &path, "--yes", "--json"]).await);
    let environment = cluster.exec("n2", "vault/keeper", &["env"]).await;
    assert!(environment.contains(SECRET), "its container has it");
    for words in [
        &["status", "--json"][..],
        &["ps", "--json"],
        &["audit", "--json"],
        &["events", "--json"],
    ] {
        said.push_str(&cluster.run(words).await);
    }
    assert!(said.contains("keeper") && said.contains("API_KEY"));
    assert!(!said.contains(SECRET), "an answer tells it");
    for node in cluster.nodes() {
        for role in Role::FLOCKER {
            let log = std::fs::read_to_string(node.log(role.name())).unwrap_or_default();
            assert!(
                !log.contains(SECRET),
                "{} of {} tells it",
                role.name(),
                node.name
            );
        }
    }
    let mut processes = 0;
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let arguments = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let arguments = String::from_utf8_lossy(&arguments).into_owned();
        assert!(!arguments.contains(SECRET), "ps shows it: {arguments}");
        processes += usize::from(!arguments.is_empty());
    }
    assert!(processes > 10, "the look at processes saw none");
    let audit = cluster.nodes()[0].state_directory().join("control/audit");
    for entry in std::fs::read_dir(audit).unwrap().flatten() {
        let text = std::fs::read_to_string(entry.path()).unwrap();
        assert!(!text.contains(SECRET), "the audit log has it");
    }
    // A move takes it along without anybody saying it again.
    cluster.move_to("vault/keeper", "n1").await;
    let environment = cluster.exec("n1", "vault/keeper", &["env"]).await;
    assert!(environment.contains(SECRET));
}

/// The serial numbers of control's and the nodes' certificates.
async fn serials(cluster: &Cluster) -> BTreeSet<String> {
    let view = cluster.view().await;
    let all = view.certificates.into_iter();
    all.filter(|one| one.whose == "control" || one.whose.starts_with("node "))
        .map(|one| one.serial)
        .collect()
}

/// For how long certificates are issued from control's next start on.
async fn set_validity(cluster: &Cluster, line: &str) {
    let file = cluster.nodes()[0].state_directory().join("node.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let lines = text.lines();
    let rest: Vec<&str> = lines
        .filter(|line| !line.starts_with("certificate_validity"))
        .collect();
    std::fs::write(&file, format!("{}\n{line}\n", rest.join("\n"))).unwrap();
    cluster.kill("n1", Role::Control).await;
    cluster.start("n1", Role::Control).await.unwrap();
    cluster.await_ready().await.unwrap();
    cluster.run(&["node", "renew", "--all"]).await;
}

/// One request after the other, until it is stopped.
struct Load {
    stop: Arc<AtomicBool>,
    asking: JoinHandle<(u64, u64)>,
}

impl Load {
    fn start(at: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let asking = tokio::spawn(async move {
            let (mut asked, mut failed) = (0, 0);
            while !stopped.load(Ordering::Relaxed) {
                let answer = redis(at, "GET greeting").await;
                asked += 1;
                failed += u64::from(answer.ok().as_deref() != Some("hello"));
            }
            (asked, failed)
        });
        Self { stop, asking }
    }

    /// How many requests were made, and how many of them failed.
    async fn stop(self) -> (u64, u64) {
        self.stop.store(true, Ordering::Relaxed);
        self.asking.await.unwrap()
    }
}

async fn renewal_under_load(cluster: &Cluster) {
    let load = Load::start(cluster.at("n3", PORT));
    // And one connection that is open all the time.
    let mut held = TcpStream::connect(cluster.at("n3", PORT)).await.unwrap();
    set_validity(cluster, "certificate_validity = \"60s\"").await;
    let mut seen = serials(cluster).await;
    let first = seen.len();
    assert_eq!(first, 4);
    let what = "control and every node to renew twice";
    let grown = tokio::sync::Mutex::new(&mut seen);
    wait::until::<_, WaitError, _, _>(what, Duration::from_secs(400), || async {
        let now = serials(cluster).await;
        let mut seen = grown.lock().await;
        seen.extend(now);
        Ok((seen.len() >= 3 * first).then_some(()))
    })
    .await
    .unwrap();
    held.write_all(b"PING\r\n").await.unwrap();
    let mut pong = [0; 5];
    held.read_exact(&mut pong).await.unwrap();
    assert_eq!(&pong, b"+PONG", "it is the connection from before");
    let (asked, failed) = load.stop().await;
    println!("{asked} requests during renewals, {failed} failed");
    assert!(asked > 0);
    assert_eq!(failed, 0, "of {asked}");
    // Streams between nodes are made with the new certificates.
    cluster.move_to("cache", "n1").await;
    cluster.move_to("cache", "n2").await;
    let view = cluster.view().await;
    let warned = view.certificates.iter().filter(|one| one.warning.is_some());
    assert_eq!(warned.count(), 0, "{:#?}", view.certificates);
    set_validity(cluster, "").await;
    let what = "long certificates again";
    wait::until::<_, WaitError, _, _>(what, LIMIT, || async {
        let view = cluster.view().await;
        let tomorrow = view.at.0 + 86_400_000;
        let is_long = |one: &CertificateView| one.expires.0 > tomorrow;
        Ok(view.certificates.iter().all(is_long).then_some(()))
    })
    .await
    .unwrap();
}

/// A connection as an agent or a proxy opens it; an error when this side is refused at once.
async fn knock(
    cluster: &Cluster,
    node: &str,
    port: u16,
    credentials: &Credentials,
) -> Result<impl AsyncRead + Unpin + use<>, TlsError> {
    let view = cluster.view().await;
    let id = view.nodes.iter().find(|one| one.name.as_str() == node);
    let expect = Expect::Node(id.unwrap().id);
    let at = SocketAddr::from((cluster.address(node), port));
    connect(at, credentials, &expect, ConnectOptions::default()).await
}

/// What becomes of a connection on which nothing is said.
async fn end_of(
    stream: &mut (impl AsyncRead + Unpin),
    limit: Duration,
) -> Option<std::io::Result<u8>> {
    tokio::time::timeout(limit, stream.read_u8()).await.ok()
}

async fn a_node_is_shut_out(cluster: &Cluster) {
    let directory = cluster.node("n3").unwrap().state_directory().join("certs");
    let stolen = Credentials::load(&directory, CredentialFiles::NODE).unwrap();
    let mut open = Vec::new();
    for port in [AGENT_PORT, PROXY_PORT] {
        let mut stream = knock(cluster, "n2", port, &stolen).await.unwrap();
        let quiet = end_of(&mut stream, Duration::from_millis(500)).await;
        assert!(quiet.is_none(), "it is let in: {quiet:?}");
        open.push(stream);
    }
    cluster.run(&["node", "revoke", "n3", "--yes"]).await;
    let begun = std::time::Instant::now();
    for stream in &mut open {
        let end = end_of(stream, LIMIT).await;
        assert!(matches!(end, Some(Err(_))), "{end:?}");
    }
    println!(
        "streams of the revoked node were cut after {:.1?}",
        begun.elapsed()
    );
    let is_lost = |link: LinkView| matches!(link, LinkView::Lost(_));
    let what = "the revoked node's links to be closed";
    wait::until::<_, WaitError, _, _>(what, LIMIT, || async {
        let view = cluster.view().await;
        let node = view.nodes.iter().find(|one| one.name.as_str() == "n3");
        let lost = node.is_some_and(|node| is_lost(node.agent) && is_lost(node.proxy));
        Ok(lost.then_some(()))
    })
    .await
    .unwrap();
    assert_shut_out(cluster, &stolen).await;
    // A node that starts while control is away knows it all the same.
    cluster.kill("n1", Role::Control).await;
    cluster.kill("n2", Role::Agent).await;
    cluster.start("n2", Role::Agent).await.unwrap();
    let at = SocketAddr::from((cluster.address("n2"), AGENT_PORT));
    wait::until::<_, WaitError, _, _>("the agent of n2 to listen", LIMIT, || async {
        Ok(TcpStream::connect(at).await.ok())
    })
    .await
    .unwrap();
    let node = stolen_target(cluster);
    let error = greet(at, &stolen, node).await;
    assert!(error.contains("revoked"), "{error}");
    cluster.start("n1", Role::Control).await.unwrap();
    // Waits until control answers again.
    cluster.view().await;
    for node in ["n1", "n2"] {
        await_redis(cluster.at(node, PORT), "GET greeting", "hello").await;
    }
    lets_it_in_again(cluster).await;
}

async fn assert_shut_out(cluster: &Cluster, stolen: &Credentials) {
    for port in [AGENT_PORT, PROXY_PORT] {
        let at = SocketAddr::from((cluster.address("n2"), port));
        let error = greet(at, stolen, stolen_target(cluster)).await;
        assert!(error.contains("revoked"), "{error}");
    }
}

/// The id of n2, from its own file: control may be away.
fn stolen_target(cluster: &Cluster) -> Expect {
    let directory = cluster.node("n2").unwrap().state_directory().join("certs");
    let own = Credentials::load(&directory, CredentialFiles::NODE).unwrap();
    match own.identity().role {
        flocker_net::pki::Role::Node(id) => Expect::Node(id),
        _ => panic!("a node's certificate is a node's"),
    }
}

/// How a connection is refused, in words.
async fn greet(at: SocketAddr, credentials: &Credentials, expect: Expect) -> String {
    match connect(at, credentials, &expect, ConnectOptions::default()).await {
        Err(error) => error.to_string(),
        Ok(mut stream) => match end_of(&mut stream, LIMIT).await {
            Some(Err(error)) => TlsError::refused_by_peer(at, &error)
                .map_or(error.to_string(), |refused| refused.to_string()),
            other => format!("it was let in: {other:?}"),
        },
    }
}

async fn lets_it_in_again(cluster: &Cluster) {
    let token = cluster.run(&["token", "--node", "n3"]).await;
    let state = cluster.node("n3").unwrap().state_directory();
    let (control, state) = (
        cluster.address("n1").to_string(),
        state.display().to_string(),
    );
    let words = [
        "join",
        &control,
        "--token",
        token.trim(),
        "--again",
        "--state-dir",
        &state,
    ];
    let join = cluster
        .tool_on("n3", env!("CARGO_BIN_EXE_flocker"))
        .unwrap();
    join.args(words).run().await.unwrap();
    for role in [Role::Agent, Role::Proxy] {
        cluster.kill("n3", role).await;
        cluster.start("n3", role).await.unwrap();
    }
    cluster.await_ready().await.unwrap();
    cluster.move_to("cache", "n3").await;
    for node in THREE {
        assert_eq!(
            redis(cluster.at(node, PORT), "GET greeting").await.unwrap(),
            "hello"
        );
    }
}
