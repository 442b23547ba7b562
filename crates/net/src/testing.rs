//! What the tests of this crate share: a cluster's authority, credentials from it, a TLS server on
//! the loopback address, and a cable that can be cut.
//!
//! Nothing in it is compiled into the crate itself.

use crate::pki::{Authority, Identity, NODE_VALIDITY, Role};
use crate::serve::{ServeLimits, serve_tls};
use crate::tls::{ALPN_HTTP1, ALPN_HTTP2, ClientCertificates, Credentials, server_config};
use axum::Router;
use flocker_types::ids::{ClusterId, NodeId};
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Nothing in these tests takes longer, even on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);
/// The loopback address with a port that the kernel picks.
pub(crate) const ANY: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// Waits for what must happen.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match timeout(LIMIT, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what} did not happen within {LIMIT:?}"),
    }
}

pub(crate) struct Cluster {
    pub(crate) authority: Authority,
}

pub(crate) fn node(number: u128) -> Role {
    Role::Node(NodeId(Uuid::from_u128(number)))
}

pub(crate) fn user() -> Role {
    Role::User {
        name: "ops".to_owned(),
        role: flocker_types::access::UserRole::Admin,
    }
}

impl Cluster {
    pub(crate) fn new() -> Self {
        Self::with_id(ClusterId(Uuid::new_v4()))
    }

    /// One that says it is another, with an authority of its own.
    pub(crate) fn imitating(other: &Self) -> Self {
        Self::with_id(other.authority.cluster())
    }

    fn with_id(cluster: ClusterId) -> Self {
        let authority = Authority::create(cluster).unwrap();
        Self { authority }
    }

    /// What a member of this cluster has who trusts another's authority.
    pub(crate) fn credentials_trusting(&self, role: Role, other: &Self) -> Credentials {
        let identity = self.identity(role);
        let issued = self.authority.issue(&identity, NODE_VALIDITY).unwrap();
        Credentials::from_pem(
            &issued.certificate_pem,
            &issued.key_pem,
            other.authority.certificate_pem(),
        )
        .unwrap()
    }

    pub(crate) fn identity(&self, role: Role) -> Identity {
        Identity {
            cluster: self.authority.cluster(),
            role,
        }
    }

    pub(crate) fn credentials(&self, role: Role) -> Credentials {
        self.credentials_at(role, SystemTime::now())
    }

    /// Issued as if `now` were the time.
    pub(crate) fn credentials_at(&self, role: Role, now: SystemTime) -> Credentials {
        let issued = self
            .authority
            .issue_at(&self.identity(role), NODE_VALIDITY, now)
            .unwrap();
        Credentials::from_pem(
            &issued.certificate_pem,
            &issued.key_pem,
            self.authority.certificate_pem(),
        )
        .unwrap()
    }
}

/// A server of a router over TLS, as control is one.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    cancel: CancellationToken,
    task: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start(credentials: &Credentials, router: Router) -> Self {
        let limits = ServeLimits {
            shutdown_ms_max: 100,
            ..ServeLimits::default()
        };
        Self::start_on(
            ANY,
            credentials,
            router,
            ClientCertificates::Required,
            limits,
        )
        .await
    }

    pub(crate) async fn start_on(
        address: SocketAddr,
        credentials: &Credentials,
        router: Router,
        clients: ClientCertificates,
        limits: ServeLimits,
    ) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let config = server_config(credentials, clients, &[ALPN_HTTP2, ALPN_HTTP1]).unwrap();
        let cancel = CancellationToken::new();
        let task = tokio::spawn(serve_tls(listener, config, router, limits, cancel.clone()));
        Self {
            address,
            cancel,
            task,
        }
    }

    /// Ends the server and returns when it has ended.
    pub(crate) async fn stop(self) {
        self.cancel.cancel();
        within("the server's end", self.task).await.unwrap();
    }
}

/// Forwards TCP to a server until it is cut. After that both ends stay open and hear nothing, as
/// with a cable that was pulled.
pub(crate) struct Cable {
    pub(crate) address: SocketAddr,
    cut: CancellationToken,
    end: CancellationToken,
}

impl Cable {
    pub(crate) async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind(ANY).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (cut, end) = (CancellationToken::new(), CancellationToken::new());
        let (was_cut, ended) = (cut.clone(), end.clone());
        tokio::spawn(async move {
            let (mut near, _) = listener.accept().await.unwrap();
            let mut far = TcpStream::connect(server).await.unwrap();
            near.set_nodelay(true).unwrap();
            far.set_nodelay(true).unwrap();
            tokio::select! {
                _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                () = was_cut.cancelled() => ended.cancelled().await,
            }
        });
        Self { address, cut, end }
    }

    pub(crate) fn cut(&self) {
        self.cut.cancel();
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

/// Opens many connections that say nothing, each from its address.
pub(crate) async fn flood(
    address: SocketAddr,
    count: usize,
    source: impl Fn(usize) -> std::net::Ipv4Addr,
) -> Vec<tokio::net::TcpStream> {
    raise_descriptors();
    let mut streams = Vec::with_capacity(count);
    for number in 0..count {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind((source(number), 0).into()).unwrap();
        // The queue of the listener may be full for a moment; one that is refused has knocked too.
        if let Ok(stream) = within("a connection", socket.connect(address)).await {
            streams.push(stream);
        }
    }
    streams
}

fn raise_descriptors() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
}

/// Memory that this process has now.
pub(crate) fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kib.unwrap() << 10
}
