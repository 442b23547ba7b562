//! What tests of the network use: namespaces of their own, proxies in them without a control,
//! containers that are only sockets.

use super::events::ControlEvent;
use super::{ProxyConfig, ProxyLimits, serve};
use crate::pki::{Authority, Identity, NODE_VALIDITY, Role};
use crate::tls::Credentials;
use flocker_types::ids::{ClusterId, Generation, NodeId, ServiceId};
use flocker_types::link::{ProxyMessage, ToProxy};
use flocker_types::route::{Backend, Route, RoutePort, RouteState};
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

static COUNTER: AtomicU32 = AtomicU32::new(0);
/// Nothing that a test waits for takes longer, in milliseconds.
const PATIENCE_MS: u64 = 10_000;

/// A network namespace with its loopback up, deleted when dropped.
pub(crate) struct Namespace {
    name: String,
}

impl Namespace {
    pub(crate) fn new(label: &str) -> Self {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = format!("flk-{label}-{}-{number}", std::process::id());
        run("ip", &["netns", "add", &name]);
        let namespace = Self { name };
        namespace.ip(&["link", "set", "lo", "up"]);
        namespace
    }

    /// Joins two namespaces by a cable.
    pub(crate) fn connect(a: &Self, a_address: &str, b: &Self, b_address: &str) {
        let veth = ["link", "add", "eth0", "type", "veth", "peer", "name"];
        let mut arguments = veth.to_vec();
        arguments.extend(["eth0", "netns", &b.name]);
        a.ip(&arguments);
        for (side, address) in [(a, a_address), (b, b_address)] {
            side.ip(&["addr", "add", address, "dev", "eth0"]);
            side.ip(&["link", "set", "eth0", "up"]);
        }
    }

    /// Runs `ip` inside, returns what it prints.
    pub(crate) fn ip(&self, arguments: &[&str]) -> String {
        let mut all = vec!["-n", self.name.as_str()];
        all.extend(arguments);
        run("ip", &all)
    }

    /// Starts a program inside. It is killed when the value that comes back is dropped.
    pub(crate) fn start(&self, program: &str, arguments: &[&str]) -> Program {
        let child = Command::new("ip")
            .args(["netns", "exec", &self.name, program])
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Program(child)
    }

    /// Runs a test in a thread and a runtime that are inside, and waits for its end.
    pub(crate) fn run<T: Send>(&self, test: impl AsyncFnOnce(&Self) -> T + Send) -> T {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                self.enter();
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .unwrap();
                runtime.block_on(test(self))
            });
            match thread.join() {
                Ok(value) => value,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// Moves the calling thread inside.
    fn enter(&self) {
        use std::os::fd::AsFd;
        let file = std::fs::File::open(format!("/run/netns/{}", self.name)).unwrap();
        rustix::thread::move_into_link_name_space(
            file.as_fd(),
            Some(rustix::thread::LinkNameSpaceType::Network),
        )
        .unwrap();
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip")
            .args(["netns", "del", &self.name])
            .output();
    }
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

/// A program that a test started.
pub(crate) struct Program(std::process::Child);

impl Program {
    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Waits for a line that it prints.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        let output = self.0.stdout.as_mut().unwrap();
        BufReader::new(output).read_line(&mut line).unwrap();
        line.trim().to_owned()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits for something that has to come.
pub(crate) async fn soon<T>(what: &str, waited: impl Future<Output = T>) -> T {
    match timeout(Duration::from_millis(PATIENCE_MS), waited).await {
        Ok(value) => value,
        Err(_) => panic!("waited {PATIENCE_MS} ms in vain for {what}"),
    }
}

pub(crate) fn node(number: u8) -> NodeId {
    format!("00000000-0000-4000-8000-0000000000{number:02x}")
        .parse()
        .unwrap()
}

pub(crate) fn service(name: &str) -> ServiceId {
    name.parse().unwrap()
}

/// The certificate authority of a test's cluster.
pub(crate) struct TestCluster {
    id: ClusterId,
    authority: Authority,
}

impl TestCluster {
    pub(crate) fn new() -> Self {
        let id: ClusterId = "00000000-0000-4000-8000-00000000c1c1".parse().unwrap();
        let authority = Authority::create(id).unwrap();
        Self { id, authority }
    }

    pub(crate) fn credentials(&self, role: Role) -> Credentials {
        let cluster = self.id;
        let identity = Identity { cluster, role };
        let issued = self.authority.issue(&identity, NODE_VALIDITY).unwrap();
        let authority = self.authority.certificate_pem();
        Credentials::from_pem(&issued.certificate_pem, &issued.key_pem, authority).unwrap()
    }

    /// A configuration for a proxy of node `number`, reached by others at `address`.
    pub(crate) fn config(&self, number: u8, address: Ipv4Addr, directory: &Path) -> ProxyConfig {
        let tunnel = SocketAddr::from((address, TUNNEL_PORT));
        ProxyConfig {
            cluster: self.id,
            node: node(number),
            control: SocketAddr::from((Ipv4Addr::LOCALHOST, 1)),
            credentials: self.credentials(Role::Node(node(number))),
            certificates: directory.to_owned(),
            tunnel_listen: tunnel,
            tunnel_address: tunnel,
            state_directory: directory.to_owned(),
            interface: Some("flocker0".to_owned()),
            limits: ProxyLimits {
                drain_ms_max: 0,
                ..ProxyLimits::default()
            },
        }
    }
}

pub(crate) const TUNNEL_PORT: u16 = 4_526;

/// A proxy that the test controls.
pub(crate) struct TestProxy {
    control: mpsc::Sender<ControlEvent>,
    answers: mpsc::Receiver<ProxyMessage>,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
    _guard: DropGuard,
}

impl TestProxy {
    /// Starts a proxy; linked, without routes.
    pub(crate) async fn start(config: ProxyConfig) -> Self {
        let mut proxy = Self::unlinked(config);
        let (sender, answers) = mpsc::channel(1_000);
        proxy.answers = answers;
        proxy.tell(ControlEvent::Linked(sender)).await;
        let hello = proxy.answer("a hello", |_| true).await;
        assert!(matches!(hello, ProxyMessage::Hello { .. }), "{hello:?}");
        proxy
    }

    /// Starts a proxy that hears nothing from control.
    pub(crate) fn unlinked(config: ProxyConfig) -> Self {
        let (control, receiver) = mpsc::channel(100);
        let shutdown = CancellationToken::new();
        let serving = serve(config, receiver, shutdown.clone());
        let task = tokio::spawn(async { serving.await.unwrap() });
        Self {
            control,
            answers: mpsc::channel(1).1,
            _guard: shutdown.clone().drop_guard(),
            shutdown,
            task,
        }
    }

    pub(crate) async fn tell(&self, event: ControlEvent) {
        self.control.send(event).await.unwrap();
    }

    /// Sends a route and waits until it is in force; says how many connections are held.
    pub(crate) async fn apply(&mut self, route: Route) -> u32 {
        let sent = route.clone();
        self.tell(ControlEvent::Message(ToProxy::Route(route)))
            .await;
        loop {
            match self.answer("the route to be applied", |_| true).await {
                ProxyMessage::Applied {
                    service,
                    generation,
                    held,
                } if service == sent.service && generation == sent.generation => return held,
                ProxyMessage::Problem { message, .. } => panic!("{message}"),
                _ => {}
            }
        }
    }

    /// The next message to control that fits.
    pub(crate) async fn answer(
        &mut self,
        what: &str,
        fits: impl Fn(&ProxyMessage) -> bool,
    ) -> ProxyMessage {
        soon(what, async {
            loop {
                let message = self.answers.recv().await.expect("the proxy runs");
                if fits(&message) {
                    return message;
                }
            }
        })
        .await
    }

    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        soon("the proxy's end", self.task).await.unwrap();
    }
}

/// A route for a service with one port: `port` on every node, [`inside`] in its container. (With
/// the same number a test's container, which has no namespace of its own, would be in the way.)
pub(crate) fn route(name: &str, generation: u64, port: u16, state: RouteState) -> Route {
    Route {
        service: service(name),
        generation: Generation(generation),
        cluster_address: CLUSTER_ADDRESS,
        ports: vec![RoutePort {
            internal: inside(port),
            external: Some(port),
        }],
        state,
    }
}

/// See [`route`].
pub(crate) fn inside(port: u16) -> u16 {
    port + 1_000
}

pub(crate) const CLUSTER_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 7);

/// The state of a route that leads to `container` on node `number`.
pub(crate) fn serving(number: u8, address: Ipv4Addr, container: Ipv4Addr) -> RouteState {
    RouteState::Serving(Backend {
        node: node(number),
        tunnel: SocketAddr::from((address, TUNNEL_PORT)),
        container,
    })
}

/// A container that is only a socket: it says its name (one byte), then sends back whatever comes,
/// and `!` after the client's end.
pub(crate) struct Container {
    task: JoinHandle<()>,
}

impl Container {
    pub(crate) async fn start(address: Ipv4Addr, port: u16, name: u8) -> Self {
        // Shared, so that a listener of the proxy at every address is no obstacle.
        let listener = super::listener::listen(SocketAddr::from((address, port))).unwrap();
        let listener = TcpListener::from_std(listener).unwrap();
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(echo(stream, name));
            }
        });
        Self { task }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn echo(mut stream: TcpStream, name: u8) {
    let (mut read, mut write) = stream.split();
    let echoed = async {
        write.write_all(&[name]).await?;
        tokio::io::copy(&mut read, &mut write).await?;
        write.write_all(b"!").await?;
        write.shutdown().await
    };
    // A client that goes away in the middle is no concern of the container.
    let _ = echoed.await;
}

/// Connects and reads the name of the container that answers.
pub(crate) async fn ask(address: impl Into<SocketAddr>) -> std::io::Result<(TcpStream, u8)> {
    let mut stream = TcpStream::connect(address.into()).await?;
    let name = stream.read_u8().await?;
    Ok((stream, name))
}
