//! Messages that are too long, or none at all, at every listener.

use super::legitimate::tunnel_request;
use super::table::Table;
use super::wire::frame;
use super::{SOON, Stage, answer, end_of, plain};
use tokio::io::AsyncWriteExt;

/// Bytes that mean nothing, always the same.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    std::iter::repeat_with(next).take(length).collect()
}

fn post(path: &str, length: usize) -> Vec<u8> {
    format!(
        "POST {path} HTTP/1.1\r\nhost: flocker.internal\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n"
    )
    .into_bytes()
}

pub(super) async fn try_all(stage: &Stage, table: &mut Table) {
    for listener in &stage.listeners() {
        let doing = async {
            let mut stream = plain(listener.at).await;
            let _sent = stream.write_all(&noise(64 << 10)).await;
            end_of(&mut stream, SOON).await
        };
        let attack = "64 KiB of noise instead of a handshake";
        stage.attack(table, attack, listener.name, doing).await;
        let doing = async {
            let mut stream = plain(listener.at).await;
            // A record that says that it is longer than records may be.
            let _sent = stream
                .write_all(b"\x16\x03\x01\xff\xff\x01\x00\xff\xff")
                .await;
            let _sent = stream.write_all(&noise(64 << 10)).await;
            end_of(&mut stream, SOON).await
        };
        let attack = "a client hello that announces 16 MiB";
        stage.attack(table, attack, listener.name, doing).await;
    }
    http(stage, table).await;
    links(stage, table).await;
    frames(stage, table).await;
    tunnels(stage, table).await;
}

async fn http(stage: &Stage, table: &mut Table) {
    let mut long_head = b"GET /v1/status HTTP/1.1\r\nx: ".to_vec();
    long_head.extend(std::iter::repeat_n(b'a', 1 << 20));
    let with_body = |path: &str, body: &[u8]| {
        let mut request = post(path, body.len());
        request.extend(body);
        request
    };
    for (attack, request) in [
        ("noise instead of HTTP", noise(4096)),
        ("a head of 1 MiB", long_head),
        ("a body that is no JSON", with_body("/v1/tokens", b"{{{{")),
        (
            "a body of 2 MiB",
            with_body("/v1/tokens", &vec![b'['; 2 << 20]),
        ),
        (
            "a plan of 17 MiB",
            with_body("/v1/plan", &vec![b'['; 17 << 20]),
        ),
        (
            "a body that announces 4 EiB",
            [post("/v1/tokens", 1 << 62), vec![b'['; 2 << 20]].concat(),
        ),
    ] {
        let doing = async {
            let mut stream = stage.member(&stage.control()).await;
            answer(&mut stream, &request).await
        };
        stage.attack(table, attack, "control, 4523", doing).await;
    }
}

/// A chunk of a body whose length nobody knows before.
fn chunk(content: &[u8]) -> Vec<u8> {
    let mut chunk = format!("{:x}\r\n", content.len()).into_bytes();
    chunk.extend(content);
    chunk.extend(b"\r\n");
    chunk
}

/// The beginning of a link's request, of n3's.
pub(super) fn link_request() -> Vec<u8> {
    b"POST /v1/link/agent HTTP/1.1\r\nhost: flocker.internal\r\ntransfer-encoding: chunked\r\n\r\n"
        .to_vec()
}

async fn links(stage: &Stage, table: &mut Table) {
    let credentials = stage.credentials(flocker_net::pki::Role::Node(stage.nodes[2]));
    let deep = [vec![b'['; 1 << 20], b"\n".to_vec()].concat();
    for (attack, message) in [
        (
            "a node's link: noise instead of a message",
            [noise(4096), b"\n".to_vec()].concat(),
        ),
        ("a node's link: a message of 17 MiB", vec![b'a'; 17 << 20]),
        ("a node's link: a million brackets", deep),
        (
            "a node's link: another message than a hello",
            b"\"heartbeat\"\n".to_vec(),
        ),
    ] {
        let doing = async {
            let mut stream = stage.open(&stage.control(), &credentials).await.unwrap();
            let _sent = stream.write_all(&link_request()).await;
            for piece in message.chunks(64 << 10) {
                if stream.write_all(&chunk(piece)).await.is_err() {
                    break;
                }
            }
            let _sent = stream.flush().await;
            end_of(&mut stream, SOON).await
        };
        stage.attack(table, attack, "control, 4523", doing).await;
    }
}

async fn frames(stage: &Stage, table: &mut Table) {
    let mut long = b"FLKF\x01\x01\x00\x00".to_vec();
    long.extend([0xff; 12]);
    let mut damaged = frame(1, b"{\"kind\":\"ask\"}");
    damaged[16] ^= 1;
    // Zstandard, 4 KiB on the wire, 4 GiB announced.
    let mut bomb = b"FLKF\x01\x01\x01\x00\x00\x10\x00\x00\xff\xff\xff\xff\x00\x00\x00\x00".to_vec();
    bomb.extend(noise(4096));
    for (attack, bytes) in [
        ("noise instead of a frame", noise(4096)),
        ("a frame of 4 GiB", long),
        ("a compressed frame of 4 KiB that announces 4 GiB", bomb),
        ("a frame with a wrong checksum", damaged),
        ("a request that is no JSON", frame(1, b"{{{{")),
        ("data where a request belongs", frame(3, &noise(4096))),
    ] {
        let doing = async {
            let mut stream = stage.member(&stage.agent()).await;
            let _sent = stream.write_all(&bytes).await;
            let _sent = stream.flush().await;
            end_of(&mut stream, SOON).await
        };
        stage.attack(table, attack, "agent, 4524", doing).await;
    }
}

async fn tunnels(stage: &Stage, table: &mut Table) {
    for (attack, bytes) in [
        ("noise instead of a request", noise(4096)),
        ("a request of 65,535 bytes", vec![1, 0xff, 0xff, b'{']),
        ("a request that is no JSON", tunnel_request("{{{{")),
        (
            "a request for the node's ssh",
            tunnel_request("{\"service\":\"cache\",\"internal_port\":22}"),
        ),
    ] {
        let doing = async {
            let mut stream = stage.member(&stage.tunnels()).await;
            let _sent = stream.write_all(&bytes).await;
            let _sent = stream.flush().await;
            end_of(&mut stream, SOON).await
        };
        stage
            .attack(table, attack, "proxy's tunnels, 4525", doing)
            .await;
    }
}
