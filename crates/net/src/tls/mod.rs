//! TLS in which both ends are known by their identity in the cluster.
//!
//! Agents (volume streams), the links, the API's server and its clients use it. It checks that a
//! peer is who it was expected to be; what the peer may then do is for its callers to decide.

mod accept;
mod connect;
mod credentials;
mod error;
mod guarded;
mod revoked;
mod verify;
mod watched;

pub use accept::{ClientCertificates, HANDSHAKE_MS_MAX, ServerTls, accept, server_config};
pub use connect::{CONNECT_MS_MAX, ConnectOptions, connect, connect_pinned, peer_certificate};
pub use credentials::{CredentialFiles, Credentials, CredentialsError};
pub use error::{PeerRefusal, TlsError};
pub(crate) use guarded::Guarded;
pub use revoked::{Revocations, RevocationsError};
pub use verify::Expect;
pub(crate) use watched::{LastWord, Watched};

/// ALPN for HTTP/2.
pub const ALPN_HTTP2: &[u8] = b"h2";
/// ALPN for HTTP/1.1.
pub const ALPN_HTTP1: &[u8] = b"http/1.1";

use rustls::crypto::CryptoProvider;
use std::sync::{Arc, LazyLock};

/// The one provider of cryptography.
fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(rustls::crypto::ring::default_provider()));
    Arc::clone(&PROVIDER)
}

#[cfg(test)]
#[path = "tls_test.rs"]
mod tests;
