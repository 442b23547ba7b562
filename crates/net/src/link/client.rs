//! The agent's and the proxy's end of a link: one connection to control, with one request.
//!
//! Used directly by tests, and by [`super::run_with_reconnect`] for the shells.

use super::outgoing::OutgoingBody;
use super::reader::{self, chain};
use super::{Link, LinkHandle, LinkLimits, LinkMessage};
use crate::tls::{self, ALPN_HTTP2, ConnectOptions, Credentials, Expect, TlsError, Watched};
use flocker_types::api::ApiError;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::{Instant, timeout, timeout_at};

/// After a link closed, what is under way has this long to leave, in milliseconds.
const LINGER_MS_MAX: u64 = 500;
/// Longest refusal that is read, in bytes.
const REFUSAL_BYTES_MAX: usize = 64 * 1024;

/// A link to control did not come about.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// No connection. [`TlsError::retry_can_help`] says whether to try again.
    #[error("no connection to control")]
    Tls(#[from] TlsError),
    /// Control did not answer in time. Trying again may help.
    #[error("control at {peer} did not answer the link request within {limit_ms} ms")]
    Timeout {
        /// Where.
        peer: SocketAddr,
        /// How long.
        limit_ms: u64,
    },
    /// The connection broke before the link was there. Trying again may help.
    #[error("the connection to control at {peer} broke")]
    Broken {
        /// Where.
        peer: SocketAddr,
        /// What happened.
        source: hyper::Error,
    },
    /// Control does not want this link. Trying again helps if control changes its mind.
    #[error("control at {peer} refused the link ({status}): {reason}")]
    Refused {
        /// Where.
        peer: SocketAddr,
        /// The HTTP status.
        status: StatusCode,
        /// What control said.
        reason: String,
    },
}

impl LinkError {
    /// Whether trying again, with nothing changed here, can help.
    pub fn retry_can_help(&self) -> bool {
        match self {
            Self::Tls(error) => error.retry_can_help(),
            Self::Timeout { .. } | Self::Broken { .. } | Self::Refused { .. } => true,
        }
    }
}

/// Opens a link to control at `peer`.
///
/// # Errors
/// [`LinkError`] says why there is none.
pub async fn connect<Out: LinkMessage, In: LinkMessage>(
    peer: SocketAddr,
    credentials: &Credentials,
    path: &str,
    limits: LinkLimits,
) -> Result<Link<Out, In>, LinkError> {
    let deadline = Instant::now() + Duration::from_millis(limits.connect_ms_max);
    let options = ConnectOptions {
        alpn: &[ALPN_HTTP2],
        connect_ms_max: limits.connect_ms_max,
    };
    let stream = tls::connect(peer, credentials, &Expect::Control, options).await?;
    let late = |_| LinkError::Timeout {
        peer,
        limit_ms: limits.connect_ms_max,
    };
    let handle = LinkHandle::new();
    let (outgoing, sender) = OutgoingBody::new(handle.clone(), &limits);
    // Boxed: HTTP/2's handshake is large, and callers should not carry it about.
    let requesting = Box::pin(request(peer, stream, path, outgoing, &handle));
    let response = timeout_at(deadline, requesting).await.map_err(late)??;
    if response.status() != StatusCode::OK {
        let status = response.status();
        let reason = timeout_at(deadline, refusal(response))
            .await
            .map_err(late)?;
        return Err(LinkError::Refused {
            peer,
            status,
            reason,
        });
    }
    let receiver = reader::start(response.into_body(), handle.clone(), limits);
    Ok(Link {
        sender,
        receiver,
        handle,
    })
}

async fn request<Out: LinkMessage>(
    peer: SocketAddr,
    stream: tokio_rustls::client::TlsStream<tokio::net::TcpStream>,
    path: &str,
    outgoing: OutgoingBody<Out>,
    handle: &LinkHandle,
) -> Result<Response<Incoming>, LinkError> {
    let stream = Watched::new(stream);
    let last_word = stream.last_word();
    let broken = |source: hyper::Error| match last_word.refusal(peer) {
        Some(error) => LinkError::Tls(error),
        None => LinkError::Broken { peer, source },
    };
    let (mut requests, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    let closed = handle.cancel.clone();
    tokio::spawn(async move {
        tokio::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => Some(ended),
            () = closed.cancelled() => None,
        };
        let ended = match ended {
            // Over a cut cable nothing leaves any more, so the wait for it has a limit.
            None => timeout(Duration::from_millis(LINGER_MS_MAX), connection)
                .await
                .ok(),
            ended => ended,
        };
        if let Some(Err(error)) = ended {
            tracing::debug!(%peer, error = chain(&error), "the link's connection ended");
        }
    });
    let request = Request::builder()
        .method(Method::POST)
        .uri(format!("https://{}{path}", crate::pki::DNS_NAME))
        .header(hyper::header::CONTENT_TYPE, "application/x-ndjson")
        .body(outgoing)
        .expect("the paths of links are valid in a URI");
    requests.send_request(request).await.map_err(broken)
}

async fn refusal(response: Response<Incoming>) -> String {
    let body = Limited::new(response.into_body(), REFUSAL_BYTES_MAX);
    let Ok(body) = body.collect().await else {
        return "no reason was given".to_owned();
    };
    let bytes = body.to_bytes();
    match serde_json::from_slice::<ApiError>(&bytes) {
        Ok(error) => match error.hint {
            Some(hint) => format!("{}; {hint}", error.message),
            None => error.message,
        },
        Err(_) => String::from_utf8_lossy(&bytes).into_owned(),
    }
}
