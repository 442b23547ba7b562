//! Ten thousand connections that say nothing, and others that say it slowly: who belongs here is served,
//! and the process keeps its size.

use super::tests::{ask, http1_over, server};
use super::*;
use crate::testing::{Cluster, flood, resident_bytes, user, within};
use crate::tls::{ConnectOptions, Expect, connect, connect_pinned};
use std::net::Ipv4Addr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const FLOOD: usize = 10_000;

#[tokio::test]
async fn ten_thousand_connections_from_one_address_keep_nobody_out() {
    let cluster = Cluster::new();
    let server = server(&cluster, ServeLimits::default()).await;
    let before = resident_bytes();
    let mut silent = flood(server.address, FLOOD, |_| Ipv4Addr::new(127, 0, 0, 2)).await;
    let credentials = cluster.credentials(user());
    let member = connect(
        server.address,
        &credentials,
        &Expect::Control,
        ConnectOptions::default(),
    );
    let mut member = http1_over(member.await.unwrap()).await;
    assert_eq!(
        ask(&mut member, "/who").await,
        cluster.identity(user()).to_string()
    );
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 128 << 20, "{grown} bytes more are resident");
    // Those that were let in to say who they are have to do that soon.
    let first = silent.first_mut().unwrap();
    let ended = within("the first one's end", first.read_u8()).await;
    assert!(ended.is_err());
    server.stop().await;
}

#[tokio::test]
async fn ten_thousand_connections_from_everywhere_keep_nobody_out() {
    let cluster = Cluster::new();
    let server = server(&cluster, ServeLimits::default()).await;
    let source = |number: usize| Ipv4Addr::new(127, 0, 1, u8::try_from(number % 200).unwrap());
    let _silent = flood(server.address, FLOOD, source).await;
    let credentials = cluster.credentials(user());
    // More come while it asks.
    let more = flood(server.address, FLOOD / 10, source);
    let asked = within("an answer during the flood", async {
        let options = ConnectOptions::default();
        let member = connect(server.address, &credentials, &Expect::Control, options).await;
        ask(&mut http1_over(member.unwrap()).await, "/who").await
    });
    let (_more, asked) = tokio::join!(more, asked);
    assert_eq!(asked, cluster.identity(user()).to_string());
    server.stop().await;
}

#[tokio::test]
async fn a_head_that_comes_byte_by_byte_is_cut_off() {
    let cluster = Cluster::new();
    let limits = ServeLimits {
        head_ms_max: 500,
        ..ServeLimits::default()
    };
    let server = server(&cluster, limits).await;
    let pin = cluster.authority.fingerprint();
    let slow = connect_pinned(server.address, pin, ConnectOptions::default());
    let (mut reader, mut writer) = tokio::io::split(slow.await.unwrap());
    let began = tokio::time::Instant::now();
    let dripping = async {
        for byte in b"GET /who HTTP/1.1\r\nhost: flocker.internal\r\nx: "
            .iter()
            .cycle()
        {
            if writer.write_all(&[*byte]).await.is_err() {
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    let closed = async {
        let mut answer = Vec::new();
        let _ = reader.read_to_end(&mut answer).await;
    };
    within("the end of the slow one", async {
        tokio::select! {
            () = dripping => {}
            () = closed => {}
        }
    })
    .await;
    assert!(began.elapsed() >= Duration::from_millis(400));
    server.stop().await;
}
