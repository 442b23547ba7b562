//! Senders that keep a listener waiting, a byte at a time: before the handshake, in a head, in a body, on
//! a link, in a frame, on a tunnel. All at once, to save time.

use super::messages::link_request;
use super::table::Table;
use super::{Stage, Tls, plain};
use flocker_net::pki::Role;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Between two bytes.
const PAUSE: Duration = Duration::from_millis(500);
/// Longer than any limit.
const LIMIT: Duration = Duration::from_secs(90);

/// How long it may go on, in seconds, as the documentation says.
struct Slow {
    attack: &'static str,
    listener: &'static str,
    limit_s: u64,
    stream: Tls,
    /// What is said at once.
    first: Vec<u8>,
    /// What comes byte by byte, over and over.
    drip: &'static [u8],
}

/// Drips until the other side ends it; says after which of its limits that was.
async fn drip(mut slow: Slow) -> (&'static str, &'static str, String) {
    let begun = Instant::now();
    slow.stream.write_all(&slow.first).await.unwrap();
    slow.stream.flush().await.unwrap();
    let (mut reader, mut writer) = tokio::io::split(slow.stream);
    let dripping = dripping(&mut writer, slow.drip);
    let reading = read_to_end(&mut reader);
    let ended = tokio::time::timeout(LIMIT, async {
        tokio::select! {
            () = dripping => {}
            () = reading => {}
        }
    })
    .await;
    let (took, limit_s) = (begun.elapsed(), slow.limit_s);
    println!(
        "{}, {}: ended {} after {took:.1?}",
        slow.attack,
        slow.listener,
        ended.is_ok()
    );
    // A machine with much to do is late, never early.
    let on_time = took >= Duration::from_secs(limit_s).mul_f64(0.8)
        && took <= Duration::from_secs(limit_s + 15);
    let got = match (ended, on_time) {
        (Err(_), _) => "open".to_owned(),
        (Ok(()), true) => format!("closed after {limit_s} s"),
        (Ok(()), false) => format!("closed after {took:.0?}"),
    };
    (slow.attack, slow.listener, got)
}

async fn dripping(writer: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) {
    for byte in bytes.iter().cycle() {
        tokio::time::sleep(PAUSE).await;
        let sent = async {
            writer.write_all(&[*byte]).await?;
            writer.flush().await
        };
        if sent.await.is_err() {
            return;
        }
    }
}

async fn read_to_end(reader: &mut (impl AsyncRead + Unpin)) {
    let mut read = vec![0; 4096];
    while !matches!(reader.read(&mut read).await, Ok(0) | Err(_)) {}
}

async fn all(stage: &Stage) -> Vec<Slow> {
    let mut all = Vec::new();
    for listener in stage.listeners() {
        all.push(Slow {
            attack: "a handshake byte by byte",
            listener: listener.name,
            limit_s: 5,
            stream: Box::new(plain(listener.at).await),
            first: b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
            drip: b"\0",
        });
    }
    let control = |attack, limit_s, stream, first: &[u8], drip| Slow {
        attack,
        listener: "control, 4523",
        limit_s,
        stream,
        first: first.to_vec(),
        drip,
    };
    let head = b"GET /v1/status HTTP/1.1\r\nx: ";
    let member = stage.member(&stage.control()).await;
    all.push(control("a head byte by byte", 30, member, head, b"a"));
    let body = b"POST /v1/tokens HTTP/1.1\r\nhost: flocker.internal\r\nconnection: close\r\n\
        content-type: application/json\r\ncontent-length: 100000\r\n\r\n";
    let member = stage.member(&stage.control()).await;
    all.push(control("a body byte by byte", 30, member, body, b" "));
    let node = stage.credentials(Role::Node(stage.nodes[2]));
    let link = stage.open(&stage.control(), &node).await.unwrap();
    let attack = "a hello on a node's link, byte by byte";
    all.push(control(attack, 10, link, &link_request(), b"1\r\n \r\n"));
    let agent = |attack, first: &[u8], stream| Slow {
        attack,
        listener: "agent, 4524",
        limit_s: 30,
        stream,
        first: first.to_vec(),
        drip: b"F",
    };
    let member = stage.member(&stage.agent()).await;
    let begun = b"FLKF\x01\x01\x00\x00\x00\x00\x10\x00\x00\x00\x10\x00\0\0\0\0";
    all.push(agent("a request of 1 MiB byte by byte", begun, member));
    all.push(Slow {
        attack: "a request byte by byte",
        listener: "proxy's tunnels, 4525",
        limit_s: 60,
        stream: stage.member(&stage.tunnels()).await,
        first: b"\x01\x03\xff".to_vec(),
        drip: b" ",
    });
    all
}

pub(super) async fn try_all(stage: &Stage, table: &mut Table) {
    let all = all(stage).await;
    let count = all.len();
    let mut rows = Vec::new();
    let doing = async {
        let dripping: Vec<_> = all.into_iter().map(|one| tokio::spawn(drip(one))).collect();
        for one in dripping {
            rows.push(one.await.unwrap());
        }
        String::new()
    };
    let (_, saw) = stage.legitimate.during(doing).await;
    assert_eq!(rows.len(), count);
    for (attack, listener, got) in rows {
        table.add(attack, listener, &got, &saw.words());
    }
}
