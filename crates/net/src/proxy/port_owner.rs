//! Who has a TCP port on this node: what a person needs to know when we cannot have it.
//!
//! Called by the proxy's loop, on a thread that may block, when a port is in use. Reads /proc
//! only; what it may not read (other users' processes, without root) it leaves out.

use super::listener::socket_address;
use flocker_core::route::ListenerKey;
use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};

/// State of a listening socket in /proc/net/tcp.
const LISTENING: &str = "0A";

/// A program that has a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PortOwner {
    pub(crate) pid: u32,
    pub(crate) command: String,
}

impl fmt::Display for PortOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pid {})", self.command, self.pid)
    }
}

/// Finds the programs with sockets at an address that `key` would conflict with; listening ones
/// if there are any.
pub(crate) fn find(key: ListenerKey) -> Vec<PortOwner> {
    // The thread's own view: another thread of this process may be in another namespace.
    let tables = ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"];
    let text: String = tables
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .collect();
    let (listening, other) = inodes(&text, key);
    let wanted = if listening.is_empty() {
        other
    } else {
        listening
    };
    if wanted.is_empty() {
        return Vec::new();
    }
    let Ok(processes) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    processes
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| has_socket(*pid, &wanted))
        .map(|pid| PortOwner {
            pid,
            command: command(pid),
        })
        .collect()
}

/// The inodes of listening sockets, and of others, that overlap with `key`.
fn inodes(table: &str, key: ListenerKey) -> (BTreeSet<u64>, BTreeSet<u64>) {
    let wanted = socket_address(key);
    let mut listening = BTreeSet::new();
    let mut other = BTreeSet::new();
    for line in table.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, local, _, state, _, _, _, _, _, inode, ..] = fields[..] else {
            continue;
        };
        let Some((address, port)) = parse_local(local) else {
            continue;
        };
        let overlaps = wanted.ip().is_unspecified()
            || address.is_none()
            || address.map(IpAddr::V4) == Some(wanted.ip());
        let (true, true, Ok(inode)) = (overlaps, port == wanted.port(), inode.parse()) else {
            continue;
        };
        if state == LISTENING {
            listening.insert(inode);
        } else if inode != 0 {
            other.insert(inode);
        }
    }
    (listening, other)
}

/// Reads `0100007F:1F90`. No address means every address; an IPv6 socket is taken for one of
/// those, because one without IPV6_V6ONLY answers IPv4 as well.
fn parse_local(text: &str) -> Option<(Option<Ipv4Addr>, u16)> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    if address.len() != 8 {
        return Some((None, port));
    }
    let address = u32::from_str_radix(address, 16).ok()?;
    let address = Ipv4Addr::from(address.to_ne_bytes());
    Some(((!address.is_unspecified()).then_some(address), port))
}

fn has_socket(pid: u32, wanted: &BTreeSet<u64>) -> bool {
    let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return false;
    };
    files.flatten().any(|file| {
        let target = fs::read_link(file.path()).unwrap_or_default();
        let inode = target
            .to_str()
            .and_then(|text| text.strip_prefix("socket:[")?.strip_suffix(']'))
            .and_then(|text| text.parse().ok());
        inode.is_some_and(|inode: u64| wanted.contains(&inode))
    })
}

fn command(pid: u32) -> String {
    match fs::read_to_string(format!("/proc/{pid}/comm")) {
        Ok(name) => name.trim_end().to_owned(),
        Err(_) => "a process".to_owned(),
    }
}

/// For the fuzzers' harness: reads a table of sockets.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzzed(table: &str) {
    for key in [
        ListenerKey::External(8080),
        ListenerKey::Cluster(Ipv4Addr::LOCALHOST, 80),
    ] {
        let (listening, other) = inodes(table, key);
        assert!(listening.len() + other.len() <= table.lines().count());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 111 1 0 100 0 0 10 0
   1: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 222 1 0 100 0 0 10 0
   2: 0100007F:1F90 0100007F:C001 01 00000000:00000000 00:00000000 00000000     0        0 333 1 0 100 0 0 10 0
   3: 00000000000000000000000000000000:01BB 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 444 1 0 100 0 0 10 0
";

    #[test]
    fn sockets_that_overlap_are_found_by_address_and_port() {
        let at = |key| inodes(TABLE, key);
        let set = |inodes: &[u64]| inodes.iter().copied().collect::<BTreeSet<u64>>();
        assert_eq!(at(ListenerKey::External(8080)), (set(&[111]), set(&[333])));
        assert_eq!(at(ListenerKey::External(443)).0, set(&[444]));
        let local = ListenerKey::Cluster(Ipv4Addr::LOCALHOST, 8080);
        assert_eq!(at(local).0, set(&[111]));
        let cluster = Ipv4Addr::new(10, 96, 0, 1);
        assert_eq!(at(ListenerKey::Cluster(cluster, 8080)).0, set(&[]));
        assert_eq!(at(ListenerKey::Cluster(cluster, 80)).0, set(&[222]));
    }

    #[test]
    fn our_own_listener_is_found_with_its_pid() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let owners = find(ListenerKey::External(port));
        assert!(owners.iter().any(|owner| owner.pid == std::process::id()));
    }
}
