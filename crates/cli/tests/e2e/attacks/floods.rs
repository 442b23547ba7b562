//! Ten thousand connections that say nothing, to each listener: from one address, and from a hundred.

use super::table::Table;
use super::{PORT, Stage};
use flocker_testkit::sandbox::Role;
use flocker_testkit::tool::Tool;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::net::TcpSocket;
use tokio::sync::Semaphore;

const FLOOD: usize = 10_000;
/// Connections on their way at one time.
const CONNECTING_MAX: usize = 256;
/// For one that does not come about: the queue of the listener may be full.
const CONNECT_LIMIT: Duration = Duration::from_secs(20);
/// Connections of those who belong there.
const OTHERS: usize = 64;
/// Most that may be open for a moment, before those that are pushed out are closed.
const PEAK_MAX: usize = FLOOD / 2;
/// For a flood and everything else that this process has open.
const DESCRIPTORS: u64 = 16_384;
/// The flood lasts so long after its last connection: longer than the unproved may stay.
const LASTS: Duration = Duration::from_secs(8);
/// The attacker's addresses are these of the sandbox's network.
const FIRST_ADDRESS: u8 = 100;
const ADDRESSES: u8 = 100;

pub(super) async fn try_all(stage: &Stage, table: &mut Table) {
    prepare(stage).await;
    let published = SocketAddr::from((stage.cluster.address("n2"), PORT));
    let servers = [
        ("n1", Role::Control),
        ("n2", Role::Agent),
        ("n2", Role::Proxy),
    ];
    for (listener, (node, role)) in stage.listeners().into_iter().zip(servers) {
        let server = Server {
            name: listener.name,
            at: listener.at,
            process: pid(stage, node, role),
            sockets_each: 1,
        };
        one_address(stage, table, &server, 128).await;
        everywhere(stage, table, &server).await;
    }
    let server = Server {
        name: "a published port",
        at: published,
        process: pid(stage, "n2", Role::Proxy),
        // The client's and the container's.
        sockets_each: 2,
    };
    one_address(stage, table, &server, 4_096).await;
}

/// Who is flooded.
struct Server {
    name: &'static str,
    at: SocketAddr,
    process: i32,
    /// Sockets that one connection takes.
    sockets_each: usize,
}

fn pid(stage: &Stage, node: &str, role: Role) -> i32 {
    let place = stage.cluster.node(node).unwrap();
    stage.cluster.process(place, role).unwrap().unwrap().pid
}

/// Sockets that a process has open.
fn sockets(pid: i32) -> usize {
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let is_socket = |link: PathBuf| link.to_string_lossy().starts_with("socket:");
    open.flatten()
        .filter(|entry| std::fs::read_link(entry.path()).is_ok_and(is_socket))
        .count()
}

/// Addresses for the attacker, on the bridge, and descriptors enough.
async fn prepare(stage: &Stage) {
    let record = stage.cluster.record();
    let bridge = record.bridge();
    for last in FIRST_ADDRESS..FIRST_ADDRESS + ADDRESSES {
        let address = record.subnet.address(last);
        let add = format!("ip addr add {address}/24 dev {bridge}");
        Tool::words(&add).run().await.unwrap();
    }
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let hard = line.and_then(|line| line.split_whitespace().nth(4)?.parse::<u64>().ok());
    let most = hard.unwrap_or(DESCRIPTORS).max(DESCRIPTORS);
    let raise = format!(
        "prlimit --pid {} --nofile={most}:{most}",
        std::process::id()
    );
    Tool::words(&raise).run().await.unwrap();
}

async fn one_address(stage: &Stage, table: &mut Table, server: &Server, open_max: usize) {
    let source = stage.cluster.record().subnet.address(FIRST_ADDRESS);
    let doing = flood(server, open_max, move |_| source);
    let attack = "10,000 silent connections from one address";
    stage.attack(table, attack, server.name, doing).await;
}

async fn everywhere(stage: &Stage, table: &mut Table, server: &Server) {
    let subnet = stage.cluster.record().subnet;
    let source = move |number: usize| {
        let number = u8::try_from(number % usize::from(ADDRESSES)).unwrap();
        subnet.address(FIRST_ADDRESS + number)
    };
    let doing = flood(server, 1_024, source);
    let attack = "10,000 silent connections from 100 addresses";
    stage.attack(table, attack, server.name, doing).await;
}

/// Opens them, keeps them for a while, and says how many the other side has kept.
async fn flood(server: &Server, open_max: usize, source: impl Fn(usize) -> Ipv4Addr) -> String {
    let (begun, before) = (Instant::now(), sockets(server.process));
    let process = server.process;
    let most = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&most);
    let counting = tokio::spawn(async move {
        loop {
            seen.fetch_max(sockets(process), Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    let turns = Arc::new(Semaphore::new(CONNECTING_MAX));
    let mut connecting = Vec::with_capacity(FLOOD);
    for number in 0..FLOOD {
        let turn = Arc::clone(&turns).acquire_owned().await.unwrap();
        let (from, at) = (source(number), server.at);
        connecting.push(tokio::spawn(async move {
            let _turn = turn;
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind((from, 0).into()).unwrap();
            let connected = tokio::time::timeout(CONNECT_LIMIT, socket.connect(at)).await;
            connected.ok().and_then(Result::ok)
        }));
    }
    let mut streams = Vec::with_capacity(FLOOD);
    for one in connecting {
        streams.extend(one.await.unwrap());
    }
    let (made, took) = (streams.len(), begun.elapsed());
    // What was pushed out last is closed by then.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let stay = sockets(server.process).saturating_sub(before) / server.sockets_each;
    tokio::time::sleep(LASTS).await;
    counting.abort();
    let peak = most.load(Ordering::Relaxed).saturating_sub(before) / server.sockets_each;
    println!("{made} of {FLOOD} made in {took:.1?}; {stay} stay, at the peak {peak} were open");
    // Beyond their share they are reset, some before they know that they are connected.
    if made < (FLOOD * 9 / 10).min(open_max) {
        return format!("only {made} came about");
    }
    match stay <= open_max + OTHERS && peak <= PEAK_MAX {
        true => format!("at most {open_max} stay, the others are closed"),
        false => format!("{stay} stay, at the peak {peak} were open"),
    }
}
