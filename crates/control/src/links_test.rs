//! A link over real TLS whose other end does not read: it is closed, and nobody else notices.

use crate::api::{self, Api, ClusterFacts, Office};
use crate::audit::AuditLog;
use crate::authorities::Authorities;
use crate::certificates::Certificates;
use crate::config::StateDirectory;
use crate::shell::{Core, Handle, Keeper, Shell};
use flocker_core::cluster::TokenRecord;
use flocker_core::control::{Command, Event, Output, Request, Response, Session};
use flocker_net::link::{Link, LinkLimits, PROXY_PATH, connect};
use flocker_net::pki::{Authority, Identity, NODE_VALIDITY, Role, Sealer};
use flocker_net::serve::{ServeLimits, serve_tls};
use flocker_net::tls::{ALPN_HTTP2, ClientCertificates, Credentials, server_config};
use flocker_store::MemoryStore;
use flocker_types::ids::{ClusterId, Generation, NodeId};
use flocker_types::link::{ProxyMessage, ToProxy};
use flocker_types::route::{Route, RoutePort, RouteState};
use flocker_types::time::{Monotonic, Now};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const LIMIT: Duration = Duration::from_secs(20);
const CLUSTER: ClusterId = ClusterId(Uuid::from_u128(1));

/// Tells both proxies a large route at each request, and says who is connected and lost.
struct Talker {
    heard: mpsc::Sender<Event>,
}

fn large_route() -> Route {
    let port = |internal| RoutePort {
        internal,
        external: None,
    };
    Route {
        service: "web".parse().unwrap(),
        generation: Generation(1),
        cluster_address: Ipv4Addr::LOCALHOST,
        ports: (1..=2_000).map(port).collect(),
        state: RouteState::Down,
    }
}

impl Core for Talker {
    fn step(&mut self, _: Now, event: Event) -> Output {
        let mut output = Output::default();
        match event {
            Event::Request { id, .. } => {
                for session in [Session(0), Session(1)] {
                    let route = ToProxy::Route(large_route());
                    output.commands.push(Command::ToProxy(session, route));
                }
                output.commands.push(Command::Reply(id, Ok(Response::Done)));
            }
            Event::ProxyConnected { .. } | Event::ProxyLost { .. } => {
                self.heard.try_send(event).unwrap();
            }
            _ => {}
        }
        output
    }
    fn next_deadline(&self) -> Option<Monotonic> {
        None
    }
    fn token(&self, _: &str) -> Option<&TokenRecord> {
        None
    }
}

struct Served {
    address: SocketAddr,
    handle: Handle,
    heard: mpsc::Receiver<Event>,
    proxy: Credentials,
    node: NodeId,
    stop: tokio_util::sync::DropGuard,
    _directory: tempfile::TempDir,
}

async fn serve(links: LinkLimits) -> Served {
    let authority = Authority::create(CLUSTER).unwrap();
    let node = NodeId(Uuid::from_u128(2));
    let credentials = |role| {
        let identity = Identity {
            cluster: CLUSTER,
            role,
        };
        let issued = authority.issue(&identity, NODE_VALIDITY).unwrap();
        let pem = authority.certificate_pem();
        Credentials::from_pem(&issued.certificate_pem, &issued.key_pem, pem).unwrap()
    };
    let (control, proxy) = (credentials(Role::Control), credentials(Role::Node(node)));
    let tls = server_config(&control, ClientCertificates::Optional, &[ALPN_HTTP2]).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, heard) = mpsc::channel(16);
    let keeper = Keeper::of_empty(Box::new(MemoryStore::default()));
    let (shell, handle) = Shell::new(Box::new(Talker { heard: sender }), keeper);
    let stop = CancellationToken::new();
    let facts = ClusterFacts {
        cluster: CLUSTER,
        control: address,
        service_network: "10.213.0.0/16".to_owned(),
        container_network: "10.214.0.0/16".to_owned(),
        state_dir: "/nowhere".into(),
    };
    let directory = tempfile::tempdir().unwrap();
    let files = StateDirectory::new(directory.path());
    let office = Office {
        authorities: Arc::new(Authorities::only(authority, &files)),
        certificates: Certificates::open(files.certificates(), CLUSTER),
        credentials: control,
        validity: NODE_VALIDITY,
        sealer: Sealer::create().unwrap(),
        audit: AuditLog::open(directory.path()).unwrap(),
    };
    let api = Api::new(handle.clone(), office, facts, links, stop.clone());
    shell.spawn(stop.clone());
    let limits = ServeLimits::default();
    tokio::spawn(serve_tls(
        listener,
        tls,
        api::router(api),
        limits,
        stop.clone(),
    ));
    Served {
        address,
        handle,
        heard,
        proxy,
        node,
        stop: stop.drop_guard(),
        _directory: directory,
    }
}

impl Served {
    /// A proxy that is connected.
    async fn proxy(&mut self, limits: LinkLimits) -> Link<ProxyMessage, ToProxy> {
        let link = connect(self.address, &self.proxy, PROXY_PATH, limits);
        let link: Link<ProxyMessage, ToProxy> = link.await.unwrap();
        let hello = ProxyMessage::Hello {
            cluster: CLUSTER,
            node: self.node,
            version: "test".to_owned(),
            tunnel: self.address,
        };
        link.sender.send(hello).await.unwrap();
        let heard = tokio::time::timeout(LIMIT, self.heard.recv())
            .await
            .unwrap();
        assert!(matches!(heard, Some(Event::ProxyConnected { .. })));
        link
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_does_not_read_is_closed_and_delays_nobody() {
    let links = LinkLimits {
        queue_messages_max: 16,
        ..LinkLimits::default()
    };
    let mut served = serve(links).await;
    let stuck_limits = LinkLimits {
        queue_messages_max: 1,
        receive_ms_max: 600_000,
        ..LinkLimits::default()
    };
    let stuck = served.proxy(stuck_limits).await;
    let mut good = served.proxy(LinkLimits::default()).await;
    let mut rounds = 0;
    let lost = loop {
        if let Ok(event) = served.heard.try_recv() {
            break event;
        }
        // The loop answers, and the other proxy is told, at every round.
        let answer = served.handle.ask("ops", Request::Status, LIMIT).await;
        assert_eq!(answer, Ok(Response::Done));
        let told = tokio::time::timeout(LIMIT, good.receiver.recv()).await;
        assert!(matches!(told, Ok(Some(ToProxy::Route(_)))), "{told:?}");
        rounds += 1;
        assert!(
            rounds < 2_000,
            "{rounds} messages wait for the one that does not read"
        );
    };
    assert_eq!(
        lost,
        Event::ProxyLost {
            session: Session(0)
        }
    );
    assert!(rounds > 16, "its queue was not even full");
    assert_eq!(good.handle.reason(), None);
    drop(stuck);
    drop(served.stop);
}
