//! The server itself: kernel, room, addresses, ports.

use super::finding::Finding;
use crate::quantity;
use flocker_core::cluster::Network;
use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

/// The oldest kernel that Flocker has been seen to work on, of Debian 12.
const KERNEL_TRIED: (u32, u32) = (6, 1);
/// The oldest with all that Flocker uses: `openat2`, with which nothing leaves a volume's directory.
const KERNEL_MIN: (u32, u32) = (5, 6);
/// Less room for a node's own state than this is bad, in bytes: ledgers and the store are small, but
/// nothing may be acknowledged that is not written.
const ROOM_BYTES_MIN: u64 = 64 << 20;
/// Less than this deserves a look, in bytes.
const ROOM_BYTES_WANTED: u64 = 1 << 30;
/// How long a role of this server may take to accept a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(1);
/// Routes of the kernel.
const ROUTES: &str = "/proc/net/route";
/// Interfaces that Flocker has made begin with one of these.
const OWN_INTERFACES: [&str; 2] = ["flocker", "flk-"];

/// The kernel.
pub(super) fn system() -> Finding {
    let name = rustix::system::uname();
    let release = name.release().to_string_lossy();
    let found = format!("Linux {release}, {}", name.machine().to_string_lossy());
    match kernel_version(&release) {
        Some(version) if version < KERNEL_MIN => Finding::bad(
            "system",
            format!("{found}: too old"),
            format!(
                "Flocker needs Linux {}.{} or newer",
                KERNEL_MIN.0, KERNEL_MIN.1
            ),
        ),
        Some(version) if version < KERNEL_TRIED => Finding::notable(
            "system",
            found,
            format!(
                "it should work; nobody has tried Flocker on a kernel before {}.{}",
                KERNEL_TRIED.0, KERNEL_TRIED.1
            ),
        ),
        Some(_) => Finding::well("system", found),
        None => Finding::unknown("system", found, "the kernel's version was not understood"),
    }
}

fn kernel_version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// Room where a node keeps its state.
pub(super) fn room(directory: &Path) -> Finding {
    let place = directory.ancestors().find(|path| path.exists());
    let place = place.unwrap_or(Path::new("/"));
    let shown = directory.display();
    match rustix::fs::statvfs(place) {
        Ok(stat) => {
            let free = stat.f_bavail.saturating_mul(stat.f_frsize);
            let found = format!("{} free at {shown}", quantity::bytes(free));
            // Filesystems that make inodes as they need them say zero.
            if stat.f_files > 0 && stat.f_favail == 0 {
                let found = format!("no file can be made at {shown}: no inode is free");
                return Finding::bad("disk", found, format!("df -i {}", place.display()));
            }
            let look = format!("make room: du -xh {} | sort -h | tail", place.display());
            match free {
                free if free < ROOM_BYTES_MIN => Finding::bad("disk", found, look),
                free if free < ROOM_BYTES_WANTED => Finding::notable("disk", found, look),
                _ => Finding::well("disk", found),
            }
        }
        Err(error) => Finding::unknown(
            "disk",
            format!("the room at {shown} is not known: {error}"),
            "run it as root",
        ),
    }
}

/// The address by which other servers reach this one.
pub(super) fn address(address: Ipv4Addr) -> Finding {
    match crate::server::check_address(address) {
        Ok(()) => Finding::well("address", format!("{address} is this server's")),
        Err(_) => Finding::bad(
            "address",
            format!("{address}, the node's address, is not an address of this server"),
            "give it back to this server (`ip -4 address` lists those it has); the other nodes know it by \
             that one",
        ),
    }
}

/// A port of a role: of this node's while it runs, free otherwise.
pub(super) fn port(address: Ipv4Addr, port: u16, role: &'static str, wanted: Wanted) -> Finding {
    let place = SocketAddrV4::new(address, port);
    let answers = TcpStream::connect_timeout(&place.into(), CONNECT_LIMIT).is_ok();
    match (wanted, answers) {
        (Wanted::Listening, true) => Finding::well(role, format!("listens on {place}")),
        (Wanted::Listening, false) => Finding::bad(
            role,
            format!("nothing listens on {place}"),
            format!(
                "systemctl restart flocker-{role}; journalctl -u flocker-{role} says why it ended"
            ),
        ),
        (Wanted::Free, _) => {
            match TcpListener::bind(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port)) {
                Ok(_) => Finding::well("ports", format!("{port} is free for the {role}")),
                Err(error) => Finding::bad(
                    "ports",
                    format!("the {role} cannot have port {port}: {error}"),
                    format!(
                        "ss -ltnp sport = :{port}\nstop what that shows, or choose others by --port"
                    ),
                ),
            }
        }
    }
}

/// What a port should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// The role should listen on it.
    Listening,
    /// It should be free.
    Free,
}

/// Whether another interface of this server leads to addresses that Flocker gives out.
pub(super) fn networks(networks: &[(Network, &str)]) -> Vec<Finding> {
    match fs::read_to_string(ROUTES) {
        Ok(routes) => overlaps(networks, &parse_routes(&routes)),
        Err(error) => {
            let found = format!("{ROUTES} cannot be read: {error}");
            vec![Finding::unknown("networks", found, "run it as root")]
        }
    }
}

fn overlaps(networks: &[(Network, &str)], routes: &[Route]) -> Vec<Finding> {
    let one = |(network, what): &(Network, &str)| {
        let clash = routes.iter().find(|route| {
            let own = OWN_INTERFACES
                .iter()
                .any(|own| route.interface.starts_with(own));
            !own && route.meets(network)
        });
        match clash {
            None => Finding::well("networks", format!("{network}, for {what}, is free")),
            Some(Route { interface, .. }) => Finding::bad(
                "networks",
                format!("{network}, for {what}, is in use by the interface {interface}"),
                "move that network (for one of Docker's: `docker network ls`), or make the cluster with \
                 other --service-network and --container-network",
            ),
        }
    };
    networks.iter().map(one).collect()
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Route {
    interface: String,
    base: u32,
    mask: u32,
}

impl Route {
    fn meets(&self, network: &Network) -> bool {
        let (first, last) = network.span();
        let end = self.base | !self.mask;
        // The default route meets everything, and says nothing.
        self.mask != 0 && self.base <= u32::from(last) && u32::from(first) <= end
    }
}

/// Reads the kernel's table; addresses in it are in the machine's byte order.
fn parse_routes(text: &str) -> Vec<Route> {
    let address = |hex: &str| {
        u32::from_str_radix(hex, 16)
            .ok()
            .map(|raw| u32::from_be_bytes(raw.to_ne_bytes()))
    };
    let route = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        Some(Route {
            interface: (*fields.first()?).to_owned(),
            base: address(fields.get(1)?)?,
            mask: address(fields.get(7)?)?,
        })
    };
    text.lines().skip(1).filter_map(route).collect()
}

#[cfg(test)]
mod tests {
    use super::super::finding::State;
    use super::*;

    #[test]
    fn kernels_are_told_by_their_first_two_numbers() {
        assert_eq!(kernel_version("6.1.0-18-amd64"), Some((6, 1)));
        assert_eq!(kernel_version("5.10.219"), Some((5, 10)));
        assert_eq!(kernel_version("unknown"), None);
    }

    const TABLE: &str =
        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth0\t0000000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
flk-8c5b2f31\t0000D50A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0
br-office\t0000D60A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0
";

    #[test]
    fn a_network_that_somebody_else_uses_is_found() {
        let network = |text: &str| text.parse::<Network>().unwrap();
        let wanted = [
            (network("10.214.0.0/16"), "services"),
            (network("10.213.0.0/16"), "containers"),
        ];
        let findings = overlaps(&wanted, &parse_routes(TABLE));
        let states: Vec<State> = findings.iter().map(|finding| finding.state).collect();
        assert_eq!(states, [State::Bad, State::Well], "{findings:?}");
        assert!(findings[0].found.ends_with("the interface br-office"));
    }

    #[test]
    fn a_port_is_judged_by_what_it_should_be() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let number = taken.local_addr().unwrap().port();
        let state = |wanted| port(Ipv4Addr::LOCALHOST, number, "agent", wanted).state;
        assert_eq!(state(Wanted::Listening), State::Well);
        assert_eq!(state(Wanted::Free), State::Bad);
        drop(taken);
        assert_eq!(state(Wanted::Listening), State::Bad);
        assert_eq!(state(Wanted::Free), State::Well);
    }
}
