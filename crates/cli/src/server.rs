//! What `init` and `join` find out about the server before they change anything: who calls, its
//! address, its name, free ports, whether a container engine answers.

use crate::failure::Failure;
use flocker_types::ids::NodeName;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long the container engine may take to answer.
const ENGINE_LIMIT: Duration = Duration::from_secs(3);
/// Longest answer of it that is read.
const ENGINE_ANSWER_BYTES_MAX: u64 = 256 << 10;
/// An address on another network; nothing is ever sent to it.
const ELSEWHERE: (Ipv4Addr, u16) = (Ipv4Addr::new(192, 0, 2, 1), 9);

/// Refuses everybody but root.
pub(crate) fn check_root(command: &str) -> Result<(), Failure> {
    match rustix::process::geteuid().is_root() {
        true => Ok(()),
        false => Err(Failure::new(format!(
            "`flocker {command}` starts services, which only root may"
        ))
        .hint("run it with sudo; or with --no-start, and start them yourself")),
    }
}

/// The address by which this server reaches other networks.
pub(crate) fn default_address() -> Result<Ipv4Addr, Failure> {
    let found = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))
        .and_then(|socket| socket.connect(ELSEWHERE).and_then(|()| socket.local_addr()));
    match found {
        Ok(SocketAddr::V4(address)) if !address.ip().is_loopback() => Ok(*address.ip()),
        Ok(_) => Err(
            Failure::new("this server has no address for other networks")
                .hint("say by --address how the other servers reach it"),
        ),
        Err(error) => Err(
            Failure::because("this server has no route to other networks", &error)
                .hint("say by --address how the other servers reach it"),
        ),
    }
}

/// Refuses an address that is another machine's.
pub(crate) fn check_address(address: Ipv4Addr) -> Result<(), Failure> {
    let fail = |failure: Failure| failure.hint("give one that `ip -4 address` lists");
    if address.is_unspecified() || address.is_multicast() || address.is_broadcast() {
        return Err(fail(Failure::new(format!(
            "{address} is not an address at which a server can be reached"
        ))));
    }
    match UdpSocket::bind((address, 0)) {
        Ok(_) => Ok(()),
        Err(error) => Err(fail(Failure::because(
            format!("{address} is not an address of this server"),
            &error,
        ))),
    }
}

/// Refuses a port that somebody listens on. Nobody keeps it from being taken afterwards.
pub(crate) fn check_port(port: u16, role: &str) -> Result<(), Failure> {
    match TcpListener::bind(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port)) {
        Ok(_) => Ok(()),
        Err(error) => Err(
            Failure::because(format!("the {role} cannot have port {port}"), &error).hint(format!(
                "`ss -ltnp sport = :{port}` says who has it; stop that, or choose other ports by \
                 --port"
            )),
        ),
    }
}

/// The three ports after the first, which must exist.
pub(crate) fn parse_first_port(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(port @ 1..=65_533) => Ok(port),
        _ => Err(format!("\"{text}\" is not a port from 1 to 65533")),
    }
}

/// The server's own name, as far as it can be a node's.
pub(crate) fn default_name() -> Result<NodeName, Failure> {
    let system = rustix::system::uname();
    let whole = system.nodename().to_string_lossy();
    let first = whole.split('.').next().unwrap_or_default();
    NodeName::new(first).map_err(|error| {
        Failure::because(
            "this server's own name cannot be its name as a node",
            &error,
        )
        .hint("give one by --name")
    })
}

/// Reads `unix:///var/run/docker.sock`, or the path alone.
pub(crate) fn parse_socket(text: &str) -> Result<PathBuf, String> {
    let path = Path::new(text.strip_prefix("unix://").unwrap_or(text));
    match path.is_absolute() {
        true => Ok(path.to_owned()),
        false => Err(format!(
            "\"{text}\" is not a socket; write unix:///var/run/docker.sock"
        )),
    }
}

/// Whether a container engine answers at this socket.
pub(crate) fn check_engine(socket: &Path) -> Result<(), Failure> {
    let what = format!("no container engine answers at {}", socket.display());
    let advice = "the agent will wait for it; start Docker, or give its socket by --docker";
    match ask_engine(socket, "/_ping") {
        Ok(_) => Ok(()),
        Err(error) => Err(Failure::because(what, &error).hint(advice)),
    }
}

/// What the container engine answers to a GET.
pub(crate) fn ask_engine(socket: &Path, path: &str) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(ENGINE_LIMIT))?;
    stream.set_write_timeout(Some(ENGINE_LIMIT))?;
    // HTTP 1.0: the answer ends with the connection, and comes in one piece.
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: docker\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream
        .take(ENGINE_ANSWER_BYTES_MAX)
        .read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.lines().next().unwrap_or_default();
    match status.starts_with("HTTP/1") && status.contains(" 200 ") {
        true => Ok(body.to_owned()),
        false => Err(std::io::Error::other(format!(
            "the answer to {path} begins with {status:?}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_is_refused() {
        let taken = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        assert!(check_port(port, "agent").is_err());
    }

    #[test]
    fn only_own_addresses_are_taken() {
        check_address(Ipv4Addr::LOCALHOST).unwrap();
        for bad in [Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::UNSPECIFIED] {
            assert!(check_address(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_engine_that_does_not_answer_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("docker.sock");
        assert!(check_engine(&socket).is_err());
        let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let engine = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 4_096];
            let length = stream.read(&mut request).unwrap();
            assert!(request[..length].starts_with(b"GET /_ping "));
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nOK").unwrap();
        });
        check_engine(&socket).unwrap();
        engine.join().unwrap();
    }

    #[test]
    fn sockets_are_read_with_and_without_their_scheme() {
        assert_eq!(parse_socket("unix:///run/d.sock"), Ok("/run/d.sock".into()));
        assert_eq!(parse_socket("/run/d.sock"), Ok("/run/d.sock".into()));
        assert!(parse_socket("tcp://localhost:2375").is_err());
    }
}
