//! A page as a browser sees it, at a node's published port.

use super::LIMIT;
use flocker_testkit::wait::{self, WaitError};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const REQUEST_LIMIT: Duration = Duration::from_secs(20);

/// One request; the status line, the header and the body as one text.
pub(crate) async fn http(at: SocketAddr, method: &str) -> std::io::Result<String> {
    let exchange = async {
        let mut stream = TcpStream::connect(at).await?;
        let request = format!("{method} / HTTP/1.0\r\nContent-Length: 0\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    };
    tokio::time::timeout(REQUEST_LIMIT, exchange).await?
}

/// Waits until the page contains a text.
pub(crate) async fn await_page(at: SocketAddr, method: &str, expected: &str) {
    let what = format!("the page at {at} to show \"{expected}\"");
    wait::until::<_, WaitError, _, _>(&what, LIMIT, || async {
        let page = http(at, method).await.unwrap_or_default();
        Ok(page.contains(expected).then_some(()))
    })
    .await
    .unwrap();
}
