//! HTTP requests to the API of control, as the command line makes them.
//!
//! One HTTP/2 connection, opened by the first request and used again. It knows how requests fail;
//! what they mean, [`flocker_types::api`] says.

mod error;
mod stream;

pub use error::ClientError;
pub use stream::{LineStream, STREAM_LINE_BYTES_MAX};

use crate::pki::{DNS_NAME, Fingerprint};
use crate::tls::{self, ALPN_HTTP2, ConnectOptions, Credentials, Expect, LastWord, Watched};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::header::{ACCEPT, CONTENT_TYPE};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

/// What the client allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientLimits {
    /// How long connecting may take, in milliseconds.
    pub connect_ms_max: u64,
    /// How long an answer may take, connecting included, in milliseconds. For a stream: until it
    /// begins.
    pub request_ms_max: u64,
    /// Longest answer, in bytes.
    pub response_bytes_max: usize,
    /// Control is asked for a sign of life this often while an answer is under way, in milliseconds.
    pub ping_ms: u64,
    /// How long it has to give one, in milliseconds.
    pub ping_ms_max: u64,
}

impl Default for ClientLimits {
    fn default() -> Self {
        Self {
            connect_ms_max: tls::CONNECT_MS_MAX,
            request_ms_max: 30_000,
            response_bytes_max: 64 * 1024 * 1024,
            ping_ms: 5_000,
            ping_ms_max: 5_000,
        }
    }
}

/// A client of control's API. Clones share the connection.
#[derive(Debug, Clone)]
pub struct ApiClient(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    control: SocketAddr,
    trust: Trust,
    limits: ClientLimits,
    connection: Mutex<Option<Open>>,
}

#[derive(Debug)]
enum Trust {
    Credentials(Credentials),
    Pinned(Fingerprint),
}

/// An open connection.
#[derive(Debug, Clone)]
struct Open {
    requests: SendRequest<Full<Bytes>>,
    last_word: LastWord,
}

/// Whether a connection was there before the request for which it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Connection {
    New,
    Reused,
}

impl ApiClient {
    /// A client of control at this address. Connects with the first request.
    pub fn new(control: SocketAddr, credentials: Credentials) -> Self {
        Self::with_limits(control, credentials, ClientLimits::default())
    }

    /// As [`ApiClient::new`], with other limits.
    pub fn with_limits(
        control: SocketAddr,
        credentials: Credentials,
        limits: ClientLimits,
    ) -> Self {
        Self::build(control, Trust::Credentials(credentials), limits)
    }

    /// A client without a certificate, for `POST /v1/join`: it talks only to control of the cluster
    /// whose authority the join token names.
    pub fn pinned(control: SocketAddr, authority: Fingerprint) -> Self {
        Self::build(control, Trust::Pinned(authority), ClientLimits::default())
    }

    fn build(control: SocketAddr, trust: Trust, limits: ClientLimits) -> Self {
        Self(Arc::new(Inner {
            control,
            trust,
            limits,
            connection: Mutex::new(None),
        }))
    }

    /// `GET`: an answer in JSON.
    ///
    /// # Errors
    /// [`ClientError`]; its hint says what to do.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.exchange(Method::GET, path, None).await
    }

    /// `POST`: JSON there and back.
    ///
    /// # Errors
    /// [`ClientError`]; its hint says what to do.
    pub async fn post<B: Serialize, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).map_err(|source| ClientError::Unsendable {
            path: path.to_owned(),
            source,
        })?;
        self.exchange(Method::POST, path, Some(body)).await
    }

    /// `DELETE`: an answer in JSON.
    ///
    /// # Errors
    /// [`ClientError`]; its hint says what to do.
    pub async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.exchange(Method::DELETE, path, None).await
    }

    /// `GET` of something that goes on: server-sent events (the data of each) or lines.
    ///
    /// # Errors
    /// [`ClientError`]; its hint says what to do.
    pub async fn stream_lines(&self, path: &str) -> Result<LineStream, ClientError> {
        let deadline = self.deadline();
        let (response, last_word) = self.respond(Method::GET, path, None, deadline).await?;
        Ok(LineStream::new(self.0.control, last_word, response))
    }

    fn deadline(&self) -> Instant {
        Instant::now() + Duration::from_millis(self.0.limits.request_ms_max)
    }

    async fn exchange<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<T, ClientError> {
        let deadline = self.deadline();
        let (response, last_word) = self.respond(method, path, body, deadline).await?;
        let status = response.status();
        let mut bytes = self.collect(path, response, &last_word, deadline).await?;
        // An answer without content is `()` in JSON.
        if status == StatusCode::NO_CONTENT || bytes.is_empty() {
            bytes = Bytes::from_static(b"null");
        }
        serde_json::from_slice(&bytes).map_err(|source| ClientError::NotUnderstood {
            path: path.to_owned(),
            source,
        })
    }

    /// The response, if it is a good one.
    async fn respond(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
        deadline: Instant,
    ) -> Result<(Response<Incoming>, LastWord), ClientError> {
        let body = body.map(Bytes::from);
        let (mut open, connection) = self.connection(deadline).await?;
        let first = self
            .send(&open, &method, path, body.clone(), deadline)
            .await;
        let response = match first {
            // Control may have been restarted since. What it never got is sent again, and what
            // changes nothing may be.
            Err(ClientError::Broken { ref source, .. })
                if connection == Connection::Reused
                    && (source.is_canceled() || method == Method::GET) =>
            {
                open = self.connection(deadline).await?.0;
                self.send(&open, &method, path, body, deadline).await?
            }
            first => first?,
        };
        let status = response.status();
        if status.is_success() {
            return Ok((response, open.last_word));
        }
        let bytes = self
            .collect(path, response, &open.last_word, deadline)
            .await?;
        Err(ClientError::from_refusal(path, status, &bytes))
    }

    async fn send(
        &self,
        open: &Open,
        method: &Method,
        path: &str,
        body: Option<Bytes>,
        deadline: Instant,
    ) -> Result<Response<Incoming>, ClientError> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("https://{DNS_NAME}{path}"))
            .header(ACCEPT, "application/json, text/event-stream");
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let request = request
            .body(Full::new(body.unwrap_or_default()))
            .map_err(|source| ClientError::BadPath {
                path: path.to_owned(),
                source,
            })?;
        let control = self.0.control;
        let mut requests = open.requests.clone();
        match timeout_at(deadline, requests.send_request(request)).await {
            Err(_) => Err(self.late(path)),
            Ok(Err(source)) => {
                *self.0.connection.lock().await = None;
                Err(ClientError::broken(control, path, source, &open.last_word))
            }
            Ok(Ok(response)) => Ok(response),
        }
    }

    async fn collect(
        &self,
        path: &str,
        response: Response<Incoming>,
        last_word: &LastWord,
        deadline: Instant,
    ) -> Result<Bytes, ClientError> {
        let bytes_max = self.0.limits.response_bytes_max;
        let body = Limited::new(response.into_body(), bytes_max).collect();
        match timeout_at(deadline, body).await {
            Err(_) => Err(self.late(path)),
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) => match error.downcast::<hyper::Error>() {
                Ok(source) => Err(ClientError::broken(
                    self.0.control,
                    path,
                    *source,
                    last_word,
                )),
                Err(_) => Err(ClientError::TooLong {
                    path: path.to_owned(),
                    bytes_max,
                }),
            },
        }
    }

    fn late(&self, path: &str) -> ClientError {
        ClientError::Timeout {
            control: self.0.control,
            path: path.to_owned(),
            limit_ms: self.0.limits.request_ms_max,
        }
    }

    /// The open connection, or a new one. Requests that come while it is being opened wait for it.
    async fn connection(&self, deadline: Instant) -> Result<(Open, Connection), ClientError> {
        let Ok(mut place) = timeout_at(deadline, self.0.connection.lock()).await else {
            return Err(self.late("(waiting for the connection)"));
        };
        if let Some(open) = place.as_ref().filter(|open| !open.requests.is_closed()) {
            return Ok((open.clone(), Connection::Reused));
        }
        let open = self.open().await?;
        *place = Some(open.clone());
        Ok((open, Connection::New))
    }

    async fn open(&self) -> Result<Open, ClientError> {
        let Inner {
            control, limits, ..
        } = *self.0.as_ref();
        let options = ConnectOptions {
            alpn: &[ALPN_HTTP2],
            connect_ms_max: limits.connect_ms_max,
        };
        let stream = match &self.0.trust {
            Trust::Credentials(credentials) => {
                tls::connect(control, credentials, &Expect::Control, options).await?
            }
            Trust::Pinned(authority) => tls::connect_pinned(control, *authority, options).await?,
        };
        let stream = Watched::new(stream);
        let last_word = stream.last_word();
        let (requests, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(Duration::from_millis(limits.ping_ms))
            .keep_alive_timeout(Duration::from_millis(limits.ping_ms_max))
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|source| ClientError::broken(control, "(connecting)", source, &last_word))?;
        tokio::spawn(async move {
            // Each request under way hears of a failure on its own.
            if let Err(error) = connection.await {
                tracing::debug!(%control, %error, "the connection to control ended");
            }
        });
        Ok(Open {
            requests,
            last_word,
        })
    }
}

#[cfg(test)]
#[path = "client_test.rs"]
mod tests;
